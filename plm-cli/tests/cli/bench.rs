use crate::{keys, plm, sorted};

#[test]
fn a_tiny_model_is_measured_in_each_format() {
    let run = plm(&[
        "bench",
        "--size",
        "tiny",
        "--formats",
        "bf16,q4",
        "--matmul-precision",
        "high",
        "--tiles",
        "5",
        "--prompts",
        "20,40,1000000",
        "--repeat",
        "1",
        "--json",
    ]);
    let report = run.json();
    assert_eq!(keys(&report), sorted(["machine", "model", "formats"]));
    let machine = &report["machine"];
    assert!(machine["read_bytes_per_s"].as_f64().unwrap() > 0.0);
    assert!(machine["matrix_flops"].as_f64().unwrap() > 0.0);
    let formats = report["formats"].as_array().unwrap();
    let names: Vec<&str> = formats
        .iter()
        .map(|f| f["format"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["bf16", "q4"]);
    for figures in formats {
        for figure in ["load_s", "preprocess_s", "answer_s"] {
            assert!(figures[figure].as_f64().unwrap() > 0.0, "{figure}");
        }
        // What does not fit the model is left out.
        let prefill = figures["prefill"].as_array().unwrap();
        let counts: Vec<u64> = prefill
            .iter()
            .map(|f| f["count"].as_u64().unwrap())
            .collect();
        assert_eq!(counts, [20, 40]);
        assert_eq!(figures["decode"].as_array().unwrap().len(), 2);
        assert_eq!(figures["vision"]["count"], 5);
        assert!(figures["vision"]["flops"].as_u64().unwrap() > 0);
        let vision = &figures["vision"]["limit_flops"];
        let decode = &figures["decode"][0]["limit_bytes_per_s"];
        for limit in [vision, decode] {
            assert!(limit.as_f64().unwrap() > 0.0);
        }
    }
    let bytes = |i: usize| formats[i]["weight_bytes"].as_u64().unwrap();
    assert!(bytes(1) < bytes(0));
}

#[test]
fn sizes_and_formats_are_checked() {
    for args in [
        ["bench", "--size", "2b"],
        ["bench", "--formats", "q5"],
        ["bench", "--repeat", "0"],
        ["bench", "--tiles", "0"],
        ["bench", "--prompts", "0"],
        ["bench", "--matmul-precision", "tf32"],
    ] {
        plm(&args).wrong_arguments();
    }
}
