//! Finds a phrase in a picture, and saves the picture with its box.
//!
//! ```sh
//! cargo run --release --example ground                                        # embedded model
//! cargo run --release --example ground -- kitchen.jpg "the red cup" Perception-LM-1B
//! ```

use std::error::Error;

use plm::regions::{BoxFormat, Grounding};
use plm::{Decoding, Image, LoadOptions, PerceptionLM};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let picture = args.next();
    let picture = picture.unwrap_or_else(|| "examples/media/scene.png".into());
    let question = Grounding {
        image: Image::open(&picture)?,
        phrase: args.next().unwrap_or_else(|| "the red circle".into()),
        format: BoxFormat::default(),
    };
    let plm = match args.next() {
        Some(dir) => PerceptionLM::from_dir(dir, &LoadOptions::default())?,
        None => {
            println!("The embedded model says in words where things are: it has not learnt boxes.");
            PerceptionLM::embedded(&LoadOptions::default())?
        }
    };

    let decoding = Decoding {
        max_new_tokens: 32,
        ..Decoding::default()
    };
    let answer = plm.generate(&question.conversation(), &decoding)?;
    let mut parsed = question.read(&answer.text);
    println!("{picture}: {} is at {:?}", question.phrase, parsed.text);
    for misread in &parsed.misread {
        println!("not understood: {misread}");
    }
    if parsed.found.is_empty() {
        // What an answer of a trained model looks like.
        parsed = question.read("[100,175,434,675]");
        println!("drawing {} instead", parsed.text);
    }
    let drawn = parsed
        .found
        .iter()
        .fold(question.image, |drawn, region| drawn.with_box(region));
    let out = std::env::temp_dir().join("plm-annotated.png");
    std::fs::write(&out, drawn.to_png()?)?;
    println!("wrote {}", out.display());
    Ok(())
}
