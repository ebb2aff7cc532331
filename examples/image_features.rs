//! Features of a picture from the vision tower alone, without a language model's answer.
//!
//! ```sh
//! cargo run --release --example image_features
//! ```

use std::error::Error;

use plm::plm_linear::read_back_as;
use plm::{Conversation, EncodeOptions, Image, LoadOptions, PerceptionLM, VisionInputType};

fn main() -> Result<(), Box<dyn Error>> {
    let plm = PerceptionLM::embedded(&LoadOptions::default())?;
    let options = EncodeOptions {
        vision_input_type: Some(VisionInputType::Vanilla),
        ..EncodeOptions::default()
    };

    let mut means = Vec::new();
    for name in ["scene.png", "other.png"] {
        let picture = Image::open(format!("examples/media/{name}"))?;
        let alone = Conversation::ask("", [picture.into()]);
        let prompt = plm.processor().encode(&alone, &options)?;
        let features = plm.model().media_features(&prompt.media[0], plm.device())?;
        println!("{name}: patch features {:?}", features.vision.dims());
        means.push(read_back_as(features.vision.mean_dim(1))?);
    }
    println!("cosine similarity: {:.3}", cosine(&means[0], &means[1]));
    Ok(())
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
