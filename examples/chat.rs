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
    let picture = Image::open("examples/media/scene.png")?;
    let turns: [Vec<Content>; 2] = [
        vec![picture.into(), "Which word is written?".into()],
        vec!["What colour is the digit?".into()],
    ];

    let mut session = plm.session();
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
