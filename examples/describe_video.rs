//! Asks about a video.
//!
//! ```sh
//! cargo run --release --example describe_video                          # embedded model, own clip
//! cargo run --release --example describe_video -- walk.mp4 Perception-LM-1B "When does he fall?"
//! ```

use std::error::Error;

use plm::{
    Content, Conversation, Decoding, FrameRule, FrameSampling, LoadOptions, PerceptionLM, Video,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next();
    let path = path.unwrap_or_else(|| "examples/media/clip.gif".into());
    let plm = match args.next() {
        Some(dir) => PerceptionLM::from_dir(dir, &LoadOptions::default())?,
        None => PerceptionLM::embedded(&LoadOptions::default())?,
    };
    let question = args
        .next()
        .unwrap_or_else(|| "What happens in the clip?".into());

    let video = Video::open(&path)?;
    println!(
        "{path}: {} frames, {:.2} a second",
        video.num_frames(),
        video.fps().unwrap_or_default()
    );
    let video = video.with_sampling(FrameSampling {
        rule: FrameRule::NumFrames(8),
        allow_fewer: true,
        ..FrameSampling::default()
    });
    let prompt = plm.encode(&Conversation::ask(question, [Content::Video(video)]))?;
    let frames = &prompt.media[0].frames;
    let shown: Vec<usize> = frames.iter().map(|frame| frame.index).collect();
    println!("the model is shown frames {shown:?}");
    let decoding = Decoding {
        max_new_tokens: 32,
        ..Decoding::default()
    };
    println!("{}", plm.generate_prompt(&prompt, &decoding)?.text);
    Ok(())
}
