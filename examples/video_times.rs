//! Maps the frames that the model sees of a video, and the intervals that it names, to times.
//!
//! ```sh
//! cargo run --release --example video_times                    # a clip of the tests
//! cargo run --release --example video_times -- walk.mp4
//! ```

use std::error::Error;

use plm::Video;
use plm::regions::{Clip, DenseCaptions};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1);
    let path = path.unwrap_or_else(|| "tests/fixtures/videos/clip.mp4".into());
    let video = Video::open(&path)?;
    let sampling = Clip::usual_sampling(&video);
    let question = DenseCaptions {
        clip: Clip::new(video, sampling)?,
    };

    let shown = question.clip.shown();
    println!("{path}: {} frames are shown", shown.len());
    for (number, frame) in shown.iter().enumerate() {
        let seconds = frame
            .seconds
            .map_or("no time".into(), |s| format!("{s:.3} s"));
        println!("{number:3}  frame {:5}  {seconds}", frame.index);
    }

    // What a trained model answers to `question.conversation()` looks like this.
    let last = question.clip.whole().end;
    let answer = format!(
        "[0, {}]: It begins.\n[{}, {last}]: It ends.",
        last / 2,
        last / 2 + 1
    );
    for caption in question.read(&answer).found {
        let Some([start, end]) = caption.interval.positions(shown) else {
            continue;
        };
        println!(
            "frames {} to {}, {:?} s to {:?} s: {}",
            start.index, end.index, start.seconds, end.seconds, caption.text
        );
    }
    Ok(())
}
