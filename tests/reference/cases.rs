//! Whole conversations against the Python reference.

use std::path::Path;

use plm::{Finish, LoadOptions, PerceptionLM, Precision};
use plm_processor::MediaKind;
use serde_json::Value;

use crate::reference_data::*;

fn load(dir: &Path) -> PerceptionLM {
    let options = LoadOptions {
        device: device(),
        precision: Precision::F32,
        ..LoadOptions::default()
    };
    PerceptionLM::from_dir(dir, &options).unwrap()
}

fn run_all(plm: &PerceptionLM, cases: &Cases) {
    let mut worst: f32 = 0.0;
    let mut run = 0;
    let has_ffmpeg = cases.cases.iter().any(Case::has_webm) && has_ffmpeg();
    for case in cases.cases.iter().filter(|case| is_wanted(&case.id)) {
        if case.has_webm() && !has_ffmpeg {
            eprintln!("{}: SKIPPED", case.id);
            continue;
        }
        let difference = match (&case.score, case.is_batch()) {
            (Some(_), _) => check_scores(plm, cases, case),
            (None, true) => check_batch(plm, cases, case),
            (None, false) => check_single(plm, cases, case),
        };
        eprintln!("{}: largest difference {difference:.2e}", case.id);
        worst = worst.max(difference);
        run += 1;
    }
    eprintln!("{run} cases, largest difference of a logit {worst:.2e}");
    assert!(run > 0);
}

fn check_single(plm: &PerceptionLM, cases: &Cases, case: &Case) -> f32 {
    let messages = case.messages.as_ref().unwrap();
    let prompt = case.prompt(plm, messages, &cases.media_root);
    assert_eq!(
        prompt.token_ids,
        expand_rle(&case.input_ids_rle),
        "{}: input ids",
        case.id
    );
    for (kind, expected) in [
        (MediaKind::Image, &case.num_tiles),
        (MediaKind::Video, &case.num_video_frames),
    ] {
        if let Some(expected) = expected {
            let media = prompt.media.iter().filter(|m| m.kind == kind);
            let found: Vec<usize> = media.map(|m| m.tiles.len()).collect();
            assert_eq!(Value::from(found), *expected, "{}: {kind:?} tiles", case.id);
        }
    }
    let difference = check_logits(plm, cases, case, &prompt);

    let answer = plm.generate_prompt(&prompt, &case.decoding()).unwrap();
    let expected = ids(&case.greedy_ids);
    match &case.greedy_margins {
        Value::Null => assert_eq!(answer.token_ids, expected, "{}: beams", case.id),
        margins => {
            let margins: Vec<f32> = serde_json::from_value(margins.clone()).unwrap();
            assert_same_ids(&case.id, &answer.token_ids, &expected, &margins);
        }
    }
    if answer.token_ids == expected {
        assert_eq!(Value::from(answer.text), case.greedy_text, "{}", case.id);
    }
    if let Some(stop) = &case.stop_case {
        let mut decoding = case.decoding();
        decoding.stop_ids.push(stop.extra_eos);
        let answer = plm.generate_prompt(&prompt, &decoding).unwrap();
        assert_eq!(answer.token_ids, stop.greedy_ids, "{}: stop id", case.id);
        assert_eq!(answer.finish, Finish::Stop);
    }
    difference
}

fn check_logits(plm: &PerceptionLM, cases: &Cases, case: &Case, prompt: &plm::Prompt) -> f32 {
    let Some((_, expected)) = cases
        .tensor(case, "last_logits")
        .or_else(|| cases.tensor(case, "step_logits_first3"))
    else {
        return 0.0;
    };
    let trace = plm.trace(prompt, false).unwrap();
    let vocab_size = trace.logits.values.len();
    let what = format!("{}: last logits", case.id);
    let mut worst = assert_close(
        &what,
        &trace.logits.values,
        &expected[..vocab_size],
        logit_tolerance(),
    );
    if let Some((_, expected)) = cases.tensor(case, "all_logits") {
        let all = plm.trace(prompt, true).unwrap().logits.values;
        let stride = case.all_logits_stride.unwrap_or(1);
        let found: Vec<f32> = all
            .chunks(vocab_size)
            .step_by(stride)
            .flatten()
            .copied()
            .collect();
        let what = format!("{}: all logits", case.id);
        worst = worst.max(assert_close(&what, &found, expected, logit_tolerance()));
    }
    worst
}

fn check_batch(plm: &PerceptionLM, cases: &Cases, case: &Case) -> f32 {
    let batch = case.batch_messages.as_ref().unwrap();
    let prompts: Vec<plm::Prompt> = batch
        .iter()
        .map(|messages| case.prompt(plm, messages, &cases.media_root))
        .collect();
    let answers = plm.generate_batch(&prompts, &case.decoding()).unwrap();
    let mut worst: f32 = 0.0;
    for (row, (prompt, answer)) in prompts.iter().zip(&answers).enumerate() {
        let what = format!("{} row {row}", case.id);
        let padded = expand_rle(&case.input_ids_rle[row]);
        let padding = padded.len() - prompt.token_ids.len();
        assert_eq!(prompt.token_ids, padded[padding..], "{what}: input ids");

        let margins: Vec<f32> = serde_json::from_value(case.greedy_margins[row].clone()).unwrap();
        assert_same_ids(
            &what,
            &answer.token_ids,
            &ids(&case.greedy_ids[row]),
            &margins,
        );
        let single = plm.generate_prompt(prompt, &case.decoding()).unwrap();
        assert_eq!(
            answer.token_ids, single.token_ids,
            "{what}: batched and alone"
        );

        if let Some((shape, expected)) = cases.tensor(case, "first_logits") {
            let logits = plm.trace(prompt, false).unwrap().logits.values;
            let expected = &expected[row * shape[1]..(row + 1) * shape[1]];
            worst = worst.max(assert_close(&what, &logits, expected, logit_tolerance()));
        }
    }
    worst
}

fn check_scores(plm: &PerceptionLM, cases: &Cases, case: &Case) -> f32 {
    let messages = case.messages.as_ref().unwrap();
    let prompt = case.prompt(plm, messages, &cases.media_root);
    let mut worst: f32 = 0.0;
    for expected in case.score.as_ref().unwrap() {
        let score = plm.score(&prompt, &expected.continuation).unwrap();
        assert_eq!(score.token_ids, expected.continuation_ids, "{}", case.id);
        worst = worst.max(assert_close(
            &case.id,
            &score.token_log_probs,
            &expected.logprobs,
            logit_tolerance(),
        ));
        assert!((score.log_likelihood - expected.sum_logprob).abs() < 1e-2);
        let all = expected.token_is_argmax.iter().all(|&is| is);
        assert_eq!(
            score.is_greedy, all,
            "{}: {}",
            case.id, expected.continuation
        );
    }
    worst
}

#[test]
fn tiny_fixture_answers_like_the_reference() {
    let plm = load(&tiny());
    let cases = Cases::read(&fixtures().join("expected_tiny"), &fixtures().join("media"));
    run_all(&plm, &cases);
}

#[test]
fn gigantic_fixture_answers_like_the_reference() {
    let plm = load(&fixtures().join("gigantic"));
    let cases = Cases::read(
        &fixtures().join("expected_gigantic"),
        &fixtures().join("media"),
    );
    run_all(&plm, &cases);
}

fn run_golden(variant: &str) {
    let Some(golden) = golden() else { return };
    let plm = load(&golden.join("models").join(variant));
    let cases = Cases::read(&golden.join(format!("cases_{variant}")), &golden);
    run_all(&plm, &cases);
}

#[test]
fn golden_tiny_l() {
    run_golden("tinyL");
}

#[test]
fn golden_tiny_g() {
    run_golden("tinyG");
}

#[test]
fn golden_tiny_o() {
    run_golden("tinyO");
}
