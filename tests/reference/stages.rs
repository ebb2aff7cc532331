//! Intermediate results against the reference: tables, tower, projector, decoder layers.

use std::collections::HashMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use plm::{LoadOptions, PerceptionLM, Precision};
use plm_llm::{Llama3Scaling, Rope, Scaling};
use plm_vision::Rope2dConfig;

use crate::reference_data::*;

type Tensors = HashMap<String, (Vec<usize>, Vec<f32>)>;

/// Largest difference of a feature in f32.
const FEATURE_TOLERANCE: f32 = 1e-3;

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// Every `stride`-th row of `[1, rows, width]`, where the stride follows from what was stored.
fn stored_rows(tensor: Tensor<3>, expected: &(Vec<usize>, Vec<f32>)) -> Vec<f32> {
    let [_, rows, width] = tensor.dims();
    let stride = rows.div_ceil(expected.0[0]);
    let values = values(tensor);
    values
        .chunks(width)
        .step_by(stride)
        .flatten()
        .copied()
        .collect()
}

#[test]
fn tables_equal_the_reference() {
    let Some(golden) = golden() else { return };
    let tables = read_f32_tensors(&golden.join("tables.safetensors"));

    let llama3 = |factor| {
        Some(Scaling::Llama3(Llama3Scaling {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_positions: 8192.0,
        }))
    };
    for (name, scaling) in [
        ("1B", llama3(32.0)),
        ("3B", llama3(32.0)),
        ("8B", None),
        ("f8", llama3(8.0)),
    ] {
        let expected = &tables[&format!("text_inv_freq/{name}")].1;
        let rope = Rope {
            theta: 500_000.0,
            scaling,
        };
        let found = rope.inverse_frequencies(2 * expected.len());
        let relative: Vec<f32> = found.iter().zip(expected).map(|(a, b)| a / b).collect();
        assert_close(name, &relative, &vec![1.0; expected.len()], 1e-6);
    }

    for (name, grid, head_dim, offset, reference) in [
        ("L_hd64_g32", 32, 64, 1.0, 32),
        ("G_hd96_g32", 32, 96, 0.0, 32),
        ("L_hd16_g5", 5, 16, 1.0, 5),
        ("hd16_g8_ref24_off1", 8, 16, 1.0, 24),
    ] {
        let (shape, cos) = &tables[&format!("rope2d/{name}/cos")];
        let sin = &tables[&format!("rope2d/{name}/sin")].1;
        let config = Rope2dConfig {
            grid,
            head_dim,
            offset,
            temperature: 10_000.0,
            ref_feat_shape: [reference, reference],
        };
        // The reference stores every angle twice, and every few patches.
        let stride = (grid * grid).div_ceil(shape[0]);
        let angles: Vec<f32> = config
            .angles()
            .chunks(head_dim / 2)
            .step_by(stride)
            .flatten()
            .flat_map(|&angle| [angle, angle])
            .collect();
        let found = |f: fn(f32) -> f32| angles.iter().map(|&a| f(a)).collect::<Vec<_>>();
        assert_close(name, &found(f32::cos), cos, 1e-5);
        assert_close(name, &found(f32::sin), sin, 1e-5);
    }

    let device = Device::flex();
    for (input, output) in [("in_5x5", "out_2x2"), ("in_7x7", "out_3x3")] {
        let (shape, values_in) = &tables[&format!("pool/{input}")];
        let data = TensorData::new(values_in.clone(), shape.clone());
        let grid = Tensor::<3>::from_data(data, &device);
        let pooled = plm_projector::average_pool(grid, 2).unwrap();
        let expected = &tables[&format!("pool/{output}")].1;
        assert_close(output, &values(pooled), expected, 1e-5);
    }

    let (_, x) = &tables["gelu/in"];
    let x = Tensor::<1>::from_data(x.as_slice(), &device);
    let found = values(burn::tensor::activation::gelu(x));
    assert_close("gelu", &found, &tables["gelu/out_erf"].1, 1e-6);
}

/// Runs the vision tower block by block over the tile of `one_image_vanilla`.
fn check_vision(plm: &PerceptionLM, media: &plm_processor::Media, debug: &Tensors) {
    let device = plm.device();
    let tower = &plm.model().vision_tower;
    let size = media.tiles.tile_size() as usize;
    let tiles = TensorData::new(media.pixel_values(), [1, 3, size, size]);
    let tiles = Tensor::<4>::from_data(tiles, device);

    let compare = |name: &str, tensor: Tensor<3>| {
        let Some(expected) = debug.get(&format!("vision/{name}")) else {
            return;
        };
        let difference = assert_close(
            name,
            &stored_rows(tensor, expected),
            &expected.1,
            FEATURE_TOLERANCE,
        );
        eprintln!("vision/{name}: {difference:.2e}");
    };
    compare("patch_embed", tower.patch_embed.forward(tiles.clone()));
    let rope = tower.rope(device);
    let mut x = tower.embed(tiles).unwrap();
    compare("norm_pre", x.clone());
    for (i, block) in tower.blocks.iter().enumerate() {
        let attended = block.attn.forward(block.norm1.forward(x.clone()), &rope);
        compare(&format!("block{i}_attn"), attended);
        x = block.forward(x, &rope);
        compare(&format!("block{i}"), x.clone());
    }
}

/// Runs the decoder layer by layer over the merged embeddings.
fn check_decoder(plm: &PerceptionLM, prompt: &plm::Prompt, debug: &Tensors) {
    let features = plm
        .model()
        .embed_media(&prompt.media[0], plm.device())
        .unwrap();
    let merged = plm
        .model()
        .embed(prompt, &[features], 0, plm.device())
        .unwrap();
    let decoder = &plm.model().language_model;
    let states = decoder
        .hidden_states(merged.unsqueeze(), &mut decoder.new_cache())
        .unwrap();
    for (i, state) in states.into_iter().enumerate() {
        let name = format!("text/hidden{i}");
        let expected = &debug[&name];
        let difference = assert_close(
            &name,
            &stored_rows(state, expected),
            &expected.1,
            FEATURE_TOLERANCE,
        );
        eprintln!("{name}: {difference:.2e}");
    }
}

fn check_variant(variant: &str) {
    let Some(golden) = golden() else { return };
    let options = LoadOptions {
        device: device(),
        precision: Precision::F32,
        ..LoadOptions::default()
    };
    let plm = PerceptionLM::from_dir(golden.join("models").join(variant), &options).unwrap();
    let cases = Cases::read(&golden.join(format!("cases_{variant}")), &golden);
    let debug = read_f32_tensors(&golden.join(format!("debug_{variant}.safetensors")));

    let pictures = cases
        .cases
        .iter()
        .filter(|c| !c.is_video() && !c.is_batch());
    let pictures: Vec<&Case> = pictures.filter(|c| is_wanted(&c.id)).collect();
    assert!(!pictures.is_empty(), "no case of {variant} is wanted");
    for case in pictures {
        let prompt = case.prompt(&plm, case.messages.as_ref().unwrap(), Path::new(&golden));
        if case.id.ends_with("/one_image_vanilla") {
            check_vision(&plm, &prompt.media[0], &debug);
            check_decoder(&plm, &prompt, &debug);
        }
        check_features(&plm, &cases, case, &prompt);
    }
}

/// Compares tower and projector with what the reference stored of them.
fn check_features(plm: &PerceptionLM, cases: &Cases, case: &Case, prompt: &plm::Prompt) {
    let whole = cases.tensor(case, "image_vision");
    let probe = cases.tensor(case, "image_vision_probe");
    if whole.or(probe).is_none() {
        return;
    }
    let leading = usize::from(plm.config().vision.class_token);
    let mut vision = Vec::new();
    let mut projected = Vec::new();
    let (mut patches, mut tokens) = (0, 0);
    for media in &prompt.media {
        let features = plm.model().media_features(media, plm.device()).unwrap();
        patches = features.vision.dims()[1];
        tokens = features.projected.dims()[1];
        vision.extend(values(features.vision));
        projected.extend(values(features.projected));
    }
    let (vision_width, text_width) = (plm.config().vision.width, plm.config().text.hidden_size);

    if let Some((shape, expected)) = whole {
        // The reference's tower gives the cls token too.
        assert_eq!(shape[1], patches + leading);
        let expected: Vec<f32> = expected
            .chunks(shape[1] * vision_width)
            .flat_map(|tile| tile[leading * vision_width..].to_vec())
            .collect();
        assert_close(&case.id, &vision, &expected, FEATURE_TOLERANCE);
        let (_, expected) = cases.tensor(case, "image_projected").unwrap();
        assert_close(&case.id, &projected, expected, FEATURE_TOLERANCE);
    }
    if let Some((shape, expected)) = probe {
        // Every few tokens, counted with the cls token, which comes first and is not kept here. Of
        // many tiles only some are stored.
        let stride = ((patches + leading) / 8).max(1);
        let num_tiles = vision.len() / (patches * vision_width);
        let stored_tiles = match num_tiles {
            0..=12 => (0..num_tiles).collect(),
            _ => vec![0, 1, num_tiles / 2, num_tiles - 1],
        };
        assert_eq!(stored_tiles.len(), shape[0], "{}: tiles", case.id);
        let kept = (0..shape[1])
            .map(|row| row * stride)
            .filter(|&token| token >= leading);
        let kept: Vec<usize> = kept.collect();
        let found: Vec<f32> = stored_tiles
            .iter()
            .flat_map(|tile| {
                kept.iter()
                    .map(move |token| tile * patches + token - leading)
            })
            .flat_map(|patch| &vision[patch * vision_width..(patch + 1) * vision_width])
            .copied()
            .collect();
        let expected: Vec<f32> = expected
            .chunks(shape[1] * vision_width)
            .flat_map(|tile| &tile[(shape[1] - kept.len()) * vision_width..])
            .copied()
            .collect();
        let what = format!("{} vision", case.id);
        let difference = assert_close(&what, &found, &expected, FEATURE_TOLERANCE);
        eprintln!("{what}: {difference:.2e}");
    }
    if let Some((_, expected)) = cases.tensor(case, "image_projected_probe") {
        let stride = (tokens / 8).max(1);
        let found: Vec<f32> = projected
            .chunks(tokens * text_width)
            .flat_map(|tile| tile.chunks(text_width).step_by(stride).flatten())
            .copied()
            .collect();
        let what = format!("{} projected", case.id);
        let difference = assert_close(&what, &found, expected, FEATURE_TOLERANCE);
        eprintln!("{what}: {difference:.2e}");
    }
}

#[test]
fn golden_stages_tiny_l() {
    check_variant("tinyL");
}

#[test]
fn golden_stages_tiny_g() {
    check_variant("tinyG");
}

#[test]
fn golden_stages_tiny_o() {
    check_variant("tinyO");
}
