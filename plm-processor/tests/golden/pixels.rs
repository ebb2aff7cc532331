use plm_processor::{Conversation, EncodeOptions, Grid, Image, Media, Tiles, resize};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::{golden, json, number, numbers, processor, reference_image, rows, sha256, text};

#[test]
fn every_grid_is_chosen_as_in_the_reference() {
    let Some(golden) = golden() else { return };
    let table = json(golden.join("tiles.json"));
    assert_eq!(rows(&table, "rows").len(), 622);
    for row in rows(&table, "rows") {
        let row = numbers(row);
        let [
            tile_size,
            max_num_tiles,
            width,
            height,
            columns,
            grid_rows,
            ..,
        ] = row[..]
        else {
            panic!("a row of the table has eight columns")
        };
        let grid = Grid::choose(width, height, tile_size, max_num_tiles);
        assert_eq!((grid.columns, grid.rows), (columns, grid_rows), "{row:?}");
        assert_eq!(grid.len() as u32 + 1, row[7], "{row:?}");
    }
}

#[test]
fn every_resize_is_equal_bit_for_bit() {
    let Some(golden) = golden() else { return };
    let bytes = std::fs::read(golden.join("resize.safetensors")).expect("readable");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    for row in rows(&json(golden.join("resize.json")), "rows") {
        let (from, to) = (numbers(&row["in_wh"]), numbers(&row["out_wh"]));
        let id = number(&row["id"]);
        let pixels = |name: &str| {
            tensors
                .tensor(&format!("{id}/{name}"))
                .expect(name)
                .data()
                .to_vec()
        };
        let source = Image::from_rgb8(from[0], from[1], pixels("in")).expect("a picture");
        let resized = resize(&source, to[0], to[1]).expect("resizes");
        let differing = resized
            .rgb()
            .iter()
            .zip(pixels("hf"))
            .filter(|(a, b)| *a != b)
            .count();
        assert_eq!(differing, 0, "{row}");
    }
}

#[test]
fn every_tile_of_tiny_l_is_equal_by_hash() {
    every_tile_is_equal_by_hash("tinyL");
}

#[test]
fn every_tile_of_tiny_g_is_equal_by_hash() {
    every_tile_is_equal_by_hash("tinyG");
}

#[test]
fn every_tile_of_tiny_o_is_equal_by_hash() {
    every_tile_is_equal_by_hash("tinyO");
}

fn every_tile_is_equal_by_hash(variant: &str) {
    let Some(golden) = golden() else { return };
    let processor = processor(&golden, variant);
    let table = json(golden.join(format!("preproc_{variant}.json")));
    let bytes =
        std::fs::read(golden.join(format!("preproc_{variant}.safetensors"))).expect("readable");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut compared = 0;
    for row in rows(&table, "rows") {
        let file = text(row, "image");
        let image = reference_image(&golden, file);
        let options = options(row);
        let conversation = Conversation::ask("", [image.into()]);
        let size = processor
            .measure(&conversation, &options)
            .expect("measures");
        assert_eq!(size.media[0].grid, grid(row), "{file}");
        assert_eq!(
            size.media[0].num_tiles as u32,
            number(&row["num_tiles"]),
            "{file}"
        );
        assert_eq!(
            size.media[0].num_tokens as u32,
            number(&row["num_image_tokens"]),
            "{file}"
        );
        let prompt = processor.encode(&conversation, &options).expect("encodes");
        let media = &prompt.media[0];
        assert_eq!(media.tiles.grid(), grid(row), "{file}");
        assert_eq!(
            media.num_tokens() as u32,
            number(&row["num_image_tokens"]),
            "{file}"
        );
        assert_eq!(
            media.tiles.len() as u32,
            number(&row["num_tiles"]),
            "{file}"
        );
        for (index, tile) in rows(row, "tiles").iter().enumerate() {
            compare_tile(&media.tiles, index, tile, file);
            compared += 1;
        }
        compare_values(media, &row["tiles"][0]);
        compare_tensors(&tensors, row, &media.tiles);
    }
    assert!(compared > 100, "only {compared} tiles were compared");
}

fn options(row: &Value) -> EncodeOptions {
    EncodeOptions {
        vision_input_type: Some(
            text(row, "vision_input_type")
                .parse()
                .expect("a known type"),
        ),
        max_num_tiles: Some(number(&row["max_num_tiles"])),
        ..EncodeOptions::default()
    }
}

fn grid(row: &Value) -> Option<Grid> {
    row["grid_wh"].as_array().map(|wh| Grid {
        columns: number(&wh[0]),
        rows: number(&wh[1]),
    })
}

fn compare_tile(tiles: &Tiles, index: usize, expected: &Value, file: &str) {
    let tile = tiles.tile_u8(index);
    let side = tiles.tile_size() as usize;
    assert_eq!(
        sha256(tile),
        text(expected, "sha256_u8_chw"),
        "{file} tile {index}"
    );
    if expected["probe_u8"].is_array() {
        let lines = (side / 16..side).step_by(side / 8);
        let probe: Vec<u32> = (0..3)
            .flat_map(|channel| lines.clone().map(move |y| channel * side + y))
            .flat_map(|row| lines.clone().map(move |x| row * side + x))
            .map(|at| u32::from(tile[at]))
            .collect();
        assert_eq!(probe, numbers(&expected["probe_u8"]), "{file} tile {index}");
    }
}

/// Mean and deviation of what the network reads; one tile is enough, since the bytes of all are
/// compared.
fn compare_values(media: &Media, expected: &Value) {
    let values = media.tiles.normalized_tile(0, &media.normalization);
    let values: Vec<f64> = values.into_iter().map(f64::from).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    // The reference divides by one less.
    for (name, ours) in [("mean", mean), ("std", (squares / (count - 1.0)).sqrt())] {
        let theirs = expected[name].as_f64().expect("a number");
        assert!((ours - theirs).abs() < 2e-6, "{name}: {ours} {theirs}");
    }
}

fn compare_tensors(tensors: &SafeTensors<'_>, row: &Value, tiles: &Tiles) {
    let max_num_tiles = number(&row["max_num_tiles"]);
    let key = format!(
        "{}|{}|{max_num_tiles}",
        text(row, "image"),
        text(row, "vision_input_type")
    );
    if let Ok(tensor) = tensors.tensor(&key) {
        assert_eq!(tensor.data(), tiles.as_u8(), "{key}");
    }
    for index in 0..tiles.len() {
        if let Ok(tensor) = tensors.tensor(&format!("{key}|tile{index}")) {
            assert_eq!(tensor.data(), tiles.tile_u8(index), "{key}");
        }
    }
}
