//! Several pictures of different shapes in one question, and what they cost.
//!
//! The embedded model has learnt from one picture at a time; a released one compares them.
//!
//! ```sh
//! cargo run --release --example several_images
//! ```

use std::error::Error;

use plm::{Content, Conversation, Decoding, Image, LoadOptions, PerceptionLM};

fn main() -> Result<(), Box<dyn Error>> {
    let plm = PerceptionLM::embedded(&LoadOptions::default())?;
    let pictures = ["tests/fixtures/media/rings.png", "examples/media/scene.png"]
        .into_iter()
        .map(|path| Image::open(path).map(Content::from))
        .collect::<Result<Vec<_>, _>>()?;
    let ask = Conversation::ask("How many things are there?", pictures);

    let decoding = Decoding {
        max_new_tokens: 24,
        ..Decoding::default()
    };
    let cost = plm.estimate(&ask, &decoding)?;
    println!(
        "{} tokens ({} for {} tiles) of {} positions, {:.1} MB of KV cache",
        cost.prompt_tokens,
        cost.media_tokens,
        cost.num_tiles,
        cost.max_positions,
        cost.kv_cache_bytes as f64 / 1e6
    );
    let answer = plm.generate(&ask, &decoding)?;
    println!("tiles of each picture: {:?}", answer.usage.media_tiles);
    println!("{}", answer.text);
    Ok(())
}
