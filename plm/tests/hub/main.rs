//! Downloads from a local server that plays the hub: `fetching` for what arrives and what is asked
//! for, `without_weights` for what is left out, `refusals` for what goes wrong,
//! `offline` for the cache on its own, `shared_cache` for a cache that others use too.
#![cfg(feature = "hub")]
#![allow(missing_docs)]

mod fetching;
mod log;
mod offline;
mod refusals;
mod server;
mod shared_cache;
mod without_weights;

use std::collections::BTreeMap;
use std::path::Path;

use plm::hub::HubOptions;

use server::Hub;

/// The small files of a checkpoint, some that are not wanted, and no weights.
fn small_files() -> BTreeMap<String, Vec<u8>> {
    [
        "config.json",
        "generation_config.json",
        "preprocessor_config.json",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "README.md",
        "LICENSE",
    ]
    .into_iter()
    .map(|name| (name.to_owned(), format!("contents of {name}").into_bytes()))
    .collect()
}

/// Bytes that differ along the file, so that a shifted resume shows.
fn weights(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i.wrapping_mul(31) >> 3) as u8 ^ seed)
        .collect()
}

fn single() -> BTreeMap<String, Vec<u8>> {
    let mut files = small_files();
    files.insert("model.safetensors".to_owned(), weights(3_000_000, 0));
    files.insert(
        "original/consolidated.safetensors".to_owned(),
        weights(10, 1),
    );
    files
}

fn index(shards: &[&str]) -> Vec<u8> {
    let map: Vec<String> = shards
        .iter()
        .enumerate()
        .map(|(i, shard)| format!("\"t{i}\": \"{shard}\""))
        .collect();
    format!(
        "{{\"metadata\": {{}}, \"weight_map\": {{{}}}}}",
        map.join(", ")
    )
    .into_bytes()
}

fn sharded() -> BTreeMap<String, Vec<u8>> {
    let names = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    let mut files = small_files();
    files.insert(
        "model.safetensors.index.json".to_owned(),
        index(&[names[0], names[1], names[0]]),
    );
    files.insert(names[0].to_owned(), weights(50_000, 1));
    files.insert(names[1].to_owned(), weights(70_000, 2));
    files
}

fn options(hub: &Hub, cache: &Path) -> HubOptions {
    HubOptions {
        cache_dir: Some(cache.to_owned()),
        endpoint: Some(hub.endpoint.clone()),
        ..HubOptions::default()
    }
}
