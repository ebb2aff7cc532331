//! A conversation of two turns, streamed. The second question reads only what is new.
//!
//! ```sh
//! cargo run --release --example chat
//! ```

use std::error::Error;
use std::io::{Write, stdout};

use plm::{Content, Decoding, Image, LoadOptions, PerceptionLM};

fn main() -> Result<(), Box<dyn Error>> {
    let plm = PerceptionLM::embedded(&LoadOptions::default())?;
    let decoding = Decoding {
        max_new_tokens: 24,
        ..Decoding::default()
    };
    let picture = Image::open("tests/fixtures/media/rings.png")?;
    let turns: [Vec<Content>; 2] = [
        vec![picture.into(), "What do you see?".into()],
        vec!["Which colour is the outer ring?".into()],
    ];

    let mut session = plm.session().with_system("Answer in one sentence.");
    for turn in turns {
        let mut stream = session.stream(turn, &decoding)?;
        print!("> ");
        for piece in stream.by_ref() {
            print!("{}", piece?);
            stdout().flush()?;
        }
        let usage = stream.answer().usage;
        println!(
            "\n  ({} prompt tokens, {} of them read before)",
            usage.prompt_tokens, usage.cached_tokens
        );
    }
    Ok(())
}
