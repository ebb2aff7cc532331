//! Asks about a picture.
//!
//! ```sh
//! cargo run --release --example describe_image                                # embedded checkpoint
//! cargo run --release --example describe_image -- kitchen.jpg Perception-LM-1B
//! ```

use std::error::Error;

use plm::{Conversation, Decoding, Image, LoadOptions, PerceptionLM};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let picture = args.next();
    let picture = picture.unwrap_or_else(|| "tests/fixtures/media/shapes.png".into());
    let plm = match args.next() {
        Some(dir) => PerceptionLM::from_dir(dir, &LoadOptions::default())?,
        None => {
            println!("The embedded checkpoint has random weights: its answer means nothing.");
            PerceptionLM::embedded(&LoadOptions::default())?
        }
    };

    let question = "Describe the picture in detail.";
    let ask = Conversation::ask(question, [Image::open(&picture)?.into()]);
    let answer = plm.generate(&ask, &Decoding::default())?;

    println!("{picture}: {question}");
    println!("{}", answer.text);
    println!(
        "({} prompt tokens, {:?} tiles, {} new tokens)",
        answer.usage.prompt_tokens,
        answer.usage.media_tiles,
        answer.token_ids.len()
    );
    Ok(())
}
