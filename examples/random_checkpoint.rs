//! Writes a checkpoint of random weights in the released layout, to measure memory and speed at
//! full size without the released weights.
//!
//! ```sh
//! cargo run --release --example random_checkpoint -- 1b /tmp/random-plm-1b     # 3.1 GB in bf16
//! ```

use std::error::Error;
use std::path::PathBuf;

use plm::{Checkpoint, ModelSize, random_checkpoint};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let size: ModelSize = args.next().as_deref().unwrap_or("tiny").parse()?;
    let default_dir = std::env::temp_dir().join(format!("random-plm-{}", size.name()));
    let dir = args.next().map_or(default_dir, PathBuf::from);
    let bytes = random_checkpoint(&dir, size)?;
    println!(
        "{}: {} parameters, {:.2} GB of random bf16 weights",
        dir.display(),
        Checkpoint::from_dir(&dir)?.config.num_parameters(),
        bytes as f64 / 1e9
    );
    Ok(())
}
