//! Asks about a picture.
//!
//! ```sh
//! cargo run --release --example describe_image                                # embedded model
//! cargo run --release --example describe_image -- kitchen.jpg Perception-LM-1B "What is on the table?"
//! ```

use std::error::Error;

use plm::{Conversation, Decoding, Image, LoadOptions, PerceptionLM};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let picture = args.next();
    let picture = picture.unwrap_or_else(|| "examples/media/scene.png".into());
    let plm = match args.next() {
        Some(dir) => PerceptionLM::from_dir(dir, &LoadOptions::default())?,
        None => PerceptionLM::embedded(&LoadOptions::default())?,
    };
    let question = args.next();
    let question = question.unwrap_or_else(|| "Describe the picture.".into());

    let ask = Conversation::ask(question.as_str(), [Image::open(&picture)?.into()]);
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
