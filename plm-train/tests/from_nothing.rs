//! Training from random weights. One test in a process of its own: burn draws all random numbers of a
//! process from one generator.

use std::fs;
use std::path::Path;

use plm::{LoadOptions, PerceptionLM};
use plm_train::{Config, Flow, fine_tune};

/// Trains a folder without weights from nothing; gives the weights as they are in their file.
fn train(dir: &Path, freeze_patch_embed: bool, steps: usize) -> Vec<u8> {
    let text = format!(
        "model = \"model\"\ninit = \"random\"\ntrain = \"all\"\nsteps = {steps}\n\
         dump_dir = \"run-{freeze_patch_embed}-{steps}\"\n\
         freeze_patch_embed = {freeze_patch_embed}\n\
         optim = {{ lr = 1e-3 }}\n[data]\nvision_input_type = \"vanilla\"\n\
         datamix = [{{ path = \"train.jsonl\" }}]\n"
    );
    let path = dir.join("run.toml");
    fs::write(&path, text).unwrap();
    let config = Config::from_file(path).unwrap();
    let outcome = fine_tune(&config, false, |_| Flow::Continue).unwrap();
    PerceptionLM::from_dir(&outcome.dir, &LoadOptions::default()).unwrap();
    fs::read(outcome.dir.join("model.safetensors")).unwrap()
}

fn patch_filters(weights: &[u8]) -> Vec<u8> {
    let tensors = safetensors::SafeTensors::deserialize(weights).unwrap();
    let name = "model.vision_tower.timm_model.patch_embed.proj.weight";
    tensors.tensor(name).unwrap().data().to_vec()
}

#[test]
fn no_weights_are_needed_and_a_seed_gives_the_same() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    fs::create_dir(&model).unwrap();
    for file in fs::read_dir(fixtures.join("tiny")).unwrap() {
        let path = file.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension != "safetensors")
        {
            fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
        }
    }
    fs::copy(
        fixtures.join("media/shapes.png"),
        dir.path().join("shapes.png"),
    )
    .unwrap();
    let row = r#"{"image": "shapes.png", "conversations": [{"from": "human", "value": "What?"}, {"from": "assistant", "value": "Shapes."}]}"#;
    fs::write(dir.path().join("train.jsonl"), row).unwrap();

    let trained = [1, 2].map(|steps| train(dir.path(), false, steps));
    let frozen = [1, 2].map(|steps| train(dir.path(), true, steps));
    assert_ne!(frozen[0], frozen[1], "something is trained");
    let [trained, frozen] =
        [trained, frozen].map(|runs| runs.map(|weights| patch_filters(&weights)));
    assert_ne!(trained[0], trained[1]);
    assert_eq!(frozen[0], frozen[1], "the seed's, and they stay");
}
