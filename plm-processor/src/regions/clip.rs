//! A video of which it is settled what the model will see.

use super::{Interval, RegionFault};
use crate::error::Result;
use crate::video::{FramePosition, FrameRule, FrameSampling, META_MAX_FRAMES, Video};

/// A video whose shown frames are settled, so that a question can count them.
///
/// The subject that a question is about is marked by boxes on the frames
/// ([`Video::with_boxes`]). A clip without boxes is asked about as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    video: Video,
    shown: Vec<FramePosition>,
    /// Number of the first frame of the part that is shown, and how many it has.
    part: (usize, usize),
}

impl Clip {
    /// Settles the frames: those of `sampling`, unless the video has a choice of its own.
    ///
    /// # Errors
    /// As [`Video::positions`].
    pub fn new(video: Video, sampling: FrameSampling) -> Result<Self> {
        let sampling = video.sampling().unwrap_or(sampling);
        let shown = video.positions(&sampling)?;
        let ends = shown.first().zip(shown.last());
        let part = match ends {
            Some((first, last)) if sampling.start_s.is_some() || sampling.end_s.is_some() => {
                (first.index, last.index - first.index + 1)
            }
            _ => (0, video.num_frames()),
        };
        Ok(Self {
            video: video.with_sampling(sampling),
            shown,
            part,
        })
    }

    /// The frames that Meta's code shows of this video: as [`FrameRule::Meta`] with 32 frames, or
    /// 32 at equal distances where frames have no times or are too slow for that rule.
    #[must_use]
    pub fn usual_sampling(video: &Video) -> FrameSampling {
        let has_seconds = video.fps().is_some_and(|fps| fps.round_ties_even() >= 1.0);
        FrameSampling {
            rule: if has_seconds {
                FrameRule::Meta {
                    max_frames: META_MAX_FRAMES,
                }
            } else {
                FrameRule::NumFrames(META_MAX_FRAMES)
            },
            allow_fewer: true,
            ..FrameSampling::default()
        }
    }

    /// The video, which shows the settled frames.
    #[must_use]
    pub fn video(&self) -> &Video {
        &self.video
    }

    /// The frames that are shown.
    #[must_use]
    pub fn shown(&self) -> &[FramePosition] {
        &self.shown
    }

    /// All frames that are shown.
    #[must_use]
    pub fn whole(&self) -> Interval {
        Interval {
            start: 0,
            end: self.shown.len().saturating_sub(1),
        }
    }

    /// The interval that a question names for frames of the video, first and last included.
    ///
    /// As PLM-VideoBench does, a number is divided by the frames of the video for each that is
    /// shown, and cut. If only a part of the video is shown, the part counts instead.
    ///
    /// # Errors
    /// [`RegionFault::NoSuchFrames`] for frames outside of what is shown.
    pub fn interval(&self, first: usize, last: usize) -> Result<Interval> {
        let (start, count) = self.part;
        if first > last || first < start || last >= start + count {
            return Err(RegionFault::NoSuchFrames {
                first,
                last,
                part_first: start,
                part_last: (start + count).saturating_sub(1),
            }
            .into());
        }
        let frames_each = count as f64 / self.shown.len() as f64;
        let number = |frame: usize| ((frame - start) as f64 / frames_each) as usize;
        Ok(Interval {
            start: number(first),
            end: number(last),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;

    fn video(frames: usize) -> Video {
        let picture = Image::from_rgb8(1, 1, vec![0; 3]).unwrap();
        Video::from_frames(vec![picture; frames])
    }

    #[test]
    fn frames_of_the_video_become_frames_shown() {
        let clip = |frames, shown| {
            let video = video(frames).with_sampling(FrameSampling::num_frames(shown));
            Clip::new(video, FrameSampling::default()).unwrap()
        };
        let hundred = clip(100, 32);
        assert_eq!(hundred.shown().len(), 32);
        assert_eq!(
            hundred.interval(10, 50).unwrap(),
            Interval { start: 3, end: 16 }
        );
        assert_eq!(hundred.interval(0, 99).unwrap(), hundred.whole());
        let error = hundred.interval(0, 100).unwrap_err().to_string();
        assert_eq!(
            error,
            "frames 0 to 100 are asked about, but frames 0 to 99 are shown"
        );
        assert!(hundred.interval(5, 4).is_err());
    }

    #[test]
    fn a_video_without_times_is_sampled_evenly() {
        let sampling = Clip::usual_sampling(&video(40));
        assert_eq!(sampling.indices(40, None).unwrap().len(), 32);
        assert_eq!(sampling.indices(3, None).unwrap(), [0, 1, 2]);
    }

    #[test]
    fn a_videos_own_choice_of_frames_stays() {
        let clip = Clip::new(video(3), FrameSampling::num_frames(2)).unwrap();
        assert_eq!(clip.shown().len(), 3);
        assert!(Clip::new(video(0), FrameSampling::default()).is_err());
    }
}
