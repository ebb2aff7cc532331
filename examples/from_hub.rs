//! Downloads a checkpoint from the Hugging Face hub and asks it about a picture.
//!
//! The released checkpoints are gated: accept their licence on the hub and set `HF_TOKEN`.
//!
//! ```sh
//! cargo run --release --example from_hub -- facebook/Perception-LM-1B kitchen.jpg
//! ```

use std::error::Error;
use std::sync::Arc;

use plm::hub::{DownloadProgress, HubOptions};
use plm::{Conversation, Decoding, Image, LoadOptions, PerceptionLM};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [repo, picture] = args.as_slice() else {
        println!("usage: from_hub OWNER/NAME PICTURE (without them, nothing is downloaded)");
        return Ok(());
    };
    let mut hub = HubOptions::from_env();
    hub.progress = Some(Arc::new(|progress: &DownloadProgress| {
        if progress.total_bytes == Some(progress.bytes) {
            println!("fetched {}", progress.file);
        }
    }));
    let plm = PerceptionLM::from_hub(repo, &hub, &LoadOptions::default())?;
    let ask = Conversation::ask("What is in the picture?", [Image::open(picture)?.into()]);
    println!("{}", plm.generate(&ask, &Decoding::default())?.text);
    Ok(())
}
