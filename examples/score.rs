//! Ranks given answers by their log-likelihood.
//!
//! ```sh
//! cargo run --release --example score
//! ```

use std::error::Error;

use plm::{Conversation, Image, LoadOptions, PerceptionLM};

fn main() -> Result<(), Box<dyn Error>> {
    let plm = PerceptionLM::embedded(&LoadOptions::default())?;
    let picture = Image::open("examples/media/scene.png")?;
    let ask = Conversation::ask("Is there a black cross?", [picture.into()]);
    let prompt = plm.encode(&ask)?;

    let mut scores = ["yes", "no", "perhaps"]
        .into_iter()
        .map(|answer| Ok((answer, plm.score(&prompt, answer)?)))
        .collect::<Result<Vec<_>, plm::Error>>()?;
    scores.sort_by(|(_, a), (_, b)| b.log_likelihood.total_cmp(&a.log_likelihood));
    for (answer, score) in scores {
        println!(
            "{answer:8} {:8.3} nats in {} tokens{}",
            score.log_likelihood,
            score.token_ids.len(),
            if score.is_greedy {
                ", the greedy answer"
            } else {
                ""
            }
        );
    }
    Ok(())
}
