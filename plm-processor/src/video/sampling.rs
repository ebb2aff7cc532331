//! Which frames of a video are shown.

/// Which frames of a video are shown, and of which part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FrameSampling {
    /// How frames are chosen.
    pub rule: FrameRule,
    /// Where the part that is shown begins, in seconds; the beginning if absent.
    pub start_s: Option<f64>,
    /// Where the part that is shown ends, in seconds; the end if absent.
    pub end_s: Option<f64>,
    /// Whether all frames are taken where more are asked for than there are; otherwise that is an
    /// error, as in the reference.
    pub allow_fewer: bool,
}

/// How frames are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum FrameRule {
    /// Every frame.
    #[default]
    All,
    /// So many frames, at equal distances from the first on, as the reference does.
    NumFrames(usize),
    /// So many frames a second of the video, at least one, as the reference does.
    Fps(f64),
    /// One frame a second, but at most so many, as Meta's own code does: where there are more,
    /// some of them, and where there are fewer, frames from the whole clip instead. Last frame
    /// included.
    Meta {
        /// The most frames.
        max_frames: usize,
    },
}

/// Frames that Meta's own code shows at most.
pub const META_MAX_FRAMES: usize = 32;

/// Why frames cannot be chosen.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingFault {
    /// There is no frame at all.
    #[error("it has no frame")]
    Empty,
    /// More frames are asked for than there are.
    #[error(
        "{wanted} frames are asked for, but there are {available}; ask for fewer (`num_frames`)"
    )]
    TooMany {
        /// Frames asked for.
        wanted: usize,
        /// Frames that there are.
        available: usize,
    },
    /// No frame is asked for.
    #[error("0 frames are asked for; ask for at least 1")]
    None,
    /// A rate that is no rate.
    #[error("a rate of {fps} frames a second is asked for; it must be above 0")]
    Rate {
        /// The rate.
        fps: f64,
    },
    /// Seconds are asked for where frames have no time.
    #[error("its frames have no times, so it can only be sampled by `num_frames`")]
    NoTimes,
    /// A part that is not in the video.
    #[error("the part from {start_s} s to {end_s} s is not in it; it lasts {duration_s} s")]
    Range {
        /// Beginning of the part.
        start_s: f64,
        /// End of the part.
        end_s: f64,
        /// Duration of the video.
        duration_s: f64,
    },
    /// Fewer than half a frame a second, of which Meta's rule cannot take one a second.
    #[error(
        "it has {fps} frames a second, and Meta's rule needs at least 0.5; sample it by `num_frames`"
    )]
    TooSlow {
        /// Frames a second.
        fps: f64,
    },
}

impl FrameSampling {
    /// So many frames of the whole video.
    #[must_use]
    pub fn num_frames(count: usize) -> Self {
        Self {
            rule: FrameRule::NumFrames(count),
            ..Self::default()
        }
    }

    /// So many frames a second of the whole video.
    #[must_use]
    pub fn fps(fps: f64) -> Self {
        Self {
            rule: FrameRule::Fps(fps),
            ..Self::default()
        }
    }

    /// The frames of a video of `total` frames, `fps` a second if they have times.
    ///
    /// # Errors
    /// [`SamplingFault`] when they cannot be chosen.
    pub fn indices(&self, total: usize, fps: Option<f64>) -> Result<Vec<usize>, SamplingFault> {
        let Some(last) = total.checked_sub(1) else {
            return Err(SamplingFault::Empty);
        };
        let (first, last) = self.part(last, fps)?;
        let count = last - first + 1;
        let indices = match self.rule {
            FrameRule::All => (0..count).collect(),
            FrameRule::NumFrames(0) => return Err(SamplingFault::None),
            FrameRule::NumFrames(wanted) => self.equally(wanted, count)?,
            FrameRule::Fps(wanted) => {
                if !(wanted.is_finite() && wanted > 0.0) {
                    return Err(SamplingFault::Rate { fps: wanted });
                }
                let fps = fps.ok_or(SamplingFault::NoTimes)?;
                let wanted = (count as f64 / fps * wanted) as usize;
                self.equally(wanted.max(1), count)?
            }
            FrameRule::Meta { max_frames: 0 } => return Err(SamplingFault::None),
            FrameRule::Meta { max_frames } => {
                let fps = fps.ok_or(SamplingFault::NoTimes)?;
                by_second(count, fps, max_frames)?
            }
        };
        Ok(indices.into_iter().map(|index| first + index).collect())
    }

    /// First and last frame of the part that is shown.
    fn part(&self, last: usize, fps: Option<f64>) -> Result<(usize, usize), SamplingFault> {
        if self.start_s.is_none() && self.end_s.is_none() {
            return Ok((0, last));
        }
        let fps = fps.ok_or(SamplingFault::NoTimes)?;
        let duration_s = (last + 1) as f64 / fps;
        let start_s = self.start_s.unwrap_or(0.0);
        let end_s = self.end_s.unwrap_or(duration_s);
        // As Meta's own code, which also takes the two in either order.
        let (start_s, end_s) = (start_s.min(end_s), start_s.max(end_s));
        let start = (start_s * fps) as usize;
        if !(start_s >= 0.0 && end_s.is_finite() && start <= last) {
            return Err(SamplingFault::Range {
                start_s,
                end_s,
                duration_s,
            });
        }
        let end = ((end_s * fps) as usize).min(last);
        // A part of no length still shows two frames, if there are two.
        Ok((
            start,
            if end == start {
                (start + 1).min(last)
            } else {
                end
            },
        ))
    }

    /// The reference's rule: frame `i` of `wanted` is `⌊i · count / wanted⌋`.
    fn equally(&self, wanted: usize, count: usize) -> Result<Vec<usize>, SamplingFault> {
        let wanted = match (wanted > count, self.allow_fewer) {
            (true, false) => {
                return Err(SamplingFault::TooMany {
                    wanted,
                    available: count,
                });
            }
            (true, true) => count,
            (false, _) => wanted,
        };
        Ok((0..wanted).map(|i| i * count / wanted).collect())
    }
}

/// Meta's rule (`core/data/preprocessor.py` of perception_models).
fn by_second(count: usize, fps: f64, max_frames: usize) -> Result<Vec<usize>, SamplingFault> {
    let stride = fps.round_ties_even() as usize;
    if stride == 0 {
        return Err(SamplingFault::TooSlow { fps });
    }
    let seconds: Vec<usize> = (0..count).step_by(stride).collect();
    Ok(match seconds.len() {
        found if found > max_frames => evenly(found, max_frames)
            .map(|position| seconds[position])
            .collect(),
        found if found < max_frames => evenly(count, count.min(max_frames)).collect(),
        _ => seconds,
    })
}

/// `wanted` of `count` positions, first and last included.
fn evenly(count: usize, wanted: usize) -> impl Iterator<Item = usize> {
    let step = (count - 1) as f64 / (wanted - 1).max(1) as f64;
    (0..wanted).map(move |i| (i as f64 * step).round_ties_even() as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meta(max_frames: usize) -> FrameSampling {
        FrameSampling {
            rule: FrameRule::Meta { max_frames },
            ..FrameSampling::default()
        }
    }

    #[test]
    fn frames_stand_at_equal_distances_from_the_first() {
        let indices = FrameSampling::num_frames(5).indices(17, None);
        assert_eq!(indices, Ok(vec![0, 3, 6, 10, 13]));
        let indices = FrameSampling::fps(0.5).indices(500, Some(60.0));
        assert_eq!(indices, Ok(vec![0, 125, 250, 375]));
        let all = FrameSampling::default().indices(3, None);
        assert_eq!(all, Ok(vec![0, 1, 2]));
    }

    #[test]
    fn more_frames_than_there_are_are_an_error_unless_fewer_will_do() {
        let sampling = FrameSampling::num_frames(4);
        let error = sampling.indices(3, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "4 frames are asked for, but there are 3; ask for fewer (`num_frames`)"
        );
        let lenient = FrameSampling {
            allow_fewer: true,
            ..sampling
        };
        assert_eq!(lenient.indices(3, None), Ok(vec![0, 1, 2]));
    }

    #[test]
    fn a_part_is_given_in_seconds() {
        let part = FrameSampling {
            start_s: Some(1.0),
            end_s: Some(2.0),
            ..FrameSampling::num_frames(2)
        };
        assert_eq!(part.indices(40, Some(10.0)), Ok(vec![10, 15]));
        let outside = FrameSampling {
            start_s: Some(9.0),
            end_s: None,
            ..part
        };
        let error = outside.indices(40, Some(10.0)).unwrap_err().to_string();
        assert_eq!(error, "the part from 4 s to 9 s is not in it; it lasts 4 s");
        assert_eq!(part.indices(40, None), Err(SamplingFault::NoTimes));
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!(
            FrameSampling::num_frames(0).indices(3, None),
            Err(SamplingFault::None)
        );
        for fps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = FrameSampling::fps(fps).indices(3, Some(1.0));
            assert!(matches!(error, Err(SamplingFault::Rate { .. })), "{fps}");
        }
        let slow = meta(8).indices(3, Some(0.4));
        assert_eq!(slow, Err(SamplingFault::TooSlow { fps: 0.4 }));
        let empty = meta(8).indices(0, Some(1.0));
        assert_eq!(empty, Err(SamplingFault::Empty));
    }

    proptest! {
        #[test]
        fn indices_rise_and_exist(
            total in 1usize..5000, wanted in 1usize..200, fps in 0.6f64..120.0,
            start in prop::option::of(0.0f64..50.0), end in prop::option::of(0.0f64..50.0),
        ) {
            for rule in [
                FrameRule::All,
                FrameRule::NumFrames(wanted),
                FrameRule::Fps(wanted as f64 / 10.0),
                FrameRule::Meta { max_frames: wanted },
            ] {
                let sampling = FrameSampling { rule, start_s: start, end_s: end, allow_fewer: true };
                if let Ok(indices) = sampling.indices(total, Some(fps)) {
                    prop_assert!(!indices.is_empty());
                    prop_assert!(indices.is_sorted());
                    prop_assert!(indices.iter().all(|&index| index < total));
                }
            }
        }
    }
}
