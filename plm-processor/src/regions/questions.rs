//! Questions in the words that the model knows.

use super::{BoxFormat, Clip, DenseCaption, Interval, Parsed, PixelBox};
use crate::conversation::Conversation;
use crate::error::Result;
use crate::image::Image;

/// Where is it? The answer is a box.
#[derive(Clone, Debug, PartialEq)]
pub struct Grounding {
    /// The picture.
    pub image: Image,
    /// What is looked for, as a noun phrase or a sentence.
    pub phrase: String,
    /// How the answer is expected to be written. Meta's checkpoints answer in the default format.
    pub format: BoxFormat,
}

impl Grounding {
    /// The question, as in Meta's notebook; the notebook asks for `xyxy` only.
    #[must_use]
    pub fn conversation(&self) -> Conversation {
        let (phrase, order) = (&self.phrase, self.format.order.in_words());
        let text = format!(
            "Provide a bounding box of the region this sentence describes: '{phrase}'.\nUse the format {order}."
        );
        Conversation::ask(text, [self.image.clone().into()])
    }

    /// Reads the boxes of an answer, in pixels of the picture.
    #[must_use]
    pub fn read(&self, answer: &str) -> Parsed<PixelBox> {
        self.format.read(answer, self.image.size_wh())
    }
}

/// What does a region of a picture show? The answer is the caption.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionCaption {
    /// The picture.
    pub image: Image,
    /// The region.
    pub region: PixelBox,
    /// How the model is told of the region.
    pub mark: RegionMark,
}

/// How the model is told of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegionMark {
    /// By its numbers in the question.
    Text(BoxFormat),
    /// By a red box on the picture.
    Drawn,
}

impl RegionCaption {
    /// The question, as in Meta's notebook; the notebook asks for `xyxy` only.
    ///
    /// # Errors
    /// As [`BoxFormat::write`].
    pub fn conversation(&self) -> Result<Conversation> {
        Ok(match self.mark {
            RegionMark::Text(format) => {
                let region = format.write(&self.region, self.image.size_wh())?;
                let order = format.order.in_words();
                let text = format!(
                    "Please describe the region ({region}) in details.\nThe region is in the format of {order}."
                );
                Conversation::ask(text, [self.image.clone().into()])
            }
            RegionMark::Drawn => Conversation::ask(
                "Please describe the region inside the red rectangle.",
                [self.image.with_box(&self.region).into()],
            ),
        })
    }
}

/// What happens in the marked region, in some frames of a clip? The answer is the caption.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipCaption {
    /// The clip.
    pub clip: Clip,
    /// The frames that the caption is about; [`Clip::whole`] for all.
    pub interval: Interval,
}

impl ClipCaption {
    /// The question of PLM-VideoBench's RCap.
    ///
    /// As there, the interval counts the frames that are shown, and the total is that of the
    /// video. Without boxes the region is left out of the question, which no benchmark has.
    #[must_use]
    pub fn conversation(&self) -> Conversation {
        let Interval { start, end } = self.interval;
        let total = self.clip.video().num_frames();
        let region = self
            .clip
            .if_marked("in the region marked by the red rectangle ");
        self.clip.ask(format!(
            "Give a detailed description of the events occurring {region}within frames [{start}, {end}] in this {total} frame video."
        ))
    }
}

/// When does an event happen to the marked subject? The answer is an interval.
#[derive(Clone, Debug, PartialEq)]
pub struct EventLocation {
    /// The clip.
    pub clip: Clip,
    /// The event, as a sentence.
    pub event: String,
}

impl EventLocation {
    /// The question of PLM-VideoBench's RTLoc.
    ///
    /// Without boxes the region is left out of the question, which no benchmark has.
    #[must_use]
    pub fn conversation(&self) -> Conversation {
        let (event, last, total) = (&self.event, self.clip.whole().end, self.clip.shown().len());
        let region = self
            .clip
            .if_marked("region marked by the red rectangle in the ");
        self.clip.ask(format!(
            "Given the {region}video, please provide the start and end frame of when '{event}' happens. Use the format [start, end] where start and end are frame numbers between 0 and {last} in this {total} frame video."
        ))
    }

    /// Reads the intervals of an answer; [`Interval::positions`] with [`Clip::shown`] gives their
    /// times.
    #[must_use]
    pub fn read(&self, answer: &str) -> Parsed<Interval> {
        Interval::read(answer, self.clip.shown().len())
    }
}

/// What happens to the marked subject, and when? The answer is a list of captions with intervals.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseCaptions {
    /// The clip.
    pub clip: Clip,
}

impl DenseCaptions {
    /// The question of PLM-VideoBench's RDCap.
    ///
    /// Without boxes the region is left out of the question, which no benchmark has.
    #[must_use]
    pub fn conversation(&self) -> Conversation {
        let (last, total) = (self.clip.whole().end, self.clip.shown().len());
        let region = self.clip.if_marked(" within the red rectangles");
        self.clip.ask(format!(
            "Create a dense caption of the subject's actions{region}, including action frames ids and brief descriptions. For each item use the format [start, end]: [description] separated by a newline, where start and end are frame numbers between 0 and {last} in this {total} frame video."
        ))
    }

    /// Reads the captions of an answer.
    #[must_use]
    pub fn read(&self, answer: &str) -> Parsed<DenseCaption> {
        DenseCaption::read(answer, self.clip.shown().len())
    }
}

impl Clip {
    fn ask(&self, text: String) -> Conversation {
        Conversation::ask(text, [self.video().clone().into()])
    }

    /// Words about the marked region, if there is one.
    fn if_marked(&self, words: &'static str) -> &'static str {
        if self.video().boxes().is_empty() {
            ""
        } else {
            words
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Content;
    use crate::regions::{BoxOrder, Coordinates};
    use crate::video::{FrameSampling, Video};

    fn text(conversation: &Conversation) -> &str {
        match conversation.messages[0].content.last() {
            Some(Content::Text(text)) => text,
            other => panic!("not a text but {other:?}"),
        }
    }

    fn picture() -> Image {
        Image::from_rgb8(100, 50, vec![7; 15_000]).unwrap()
    }

    fn clip(is_marked: bool) -> Clip {
        let region = PixelBox::from_xyxy([10.0, 10.0, 40.0, 40.0]).unwrap();
        let video = Video::from_frames(vec![picture(); 20])
            .with_sampling(FrameSampling::num_frames(8))
            .with_boxes(is_marked.then_some((0, region)));
        Clip::new(video, FrameSampling::default()).unwrap()
    }

    #[test]
    fn a_phrase_is_asked_for_in_the_notebooks_words() {
        let mut question = Grounding {
            image: picture(),
            phrase: "white fire hydrant in the back".into(),
            format: BoxFormat::default(),
        };
        let asked = question.conversation();
        assert_eq!(
            text(&asked),
            "Provide a bounding box of the region this sentence describes: 'white fire hydrant in the back'.\nUse the format [x1, y1, x2, y2]."
        );
        assert_eq!(asked.images().collect::<Vec<_>>(), [&question.image]);
        let found = question.read("[040,482,112,576]").found;
        let rounded = found[0].xyxy().map(|x| (x * 10.0).round() / 10.0);
        assert_eq!(rounded, [4.0, 24.1, 11.2, 28.8]);
        question.format.order = BoxOrder::Xywh;
        assert!(text(&question.conversation()).ends_with("Use the format [x, y, w, h]."));
    }

    #[test]
    fn a_region_is_named_or_drawn() {
        let mut question = RegionCaption {
            image: picture(),
            region: PixelBox::from_xyxy([4.0, 24.1, 11.3, 28.9]).unwrap(),
            mark: RegionMark::Text(BoxFormat::default()),
        };
        let asked = question.conversation().unwrap();
        assert_eq!(
            text(&asked),
            "Please describe the region ([040,482,113,578]) in details.\nThe region is in the format of [x1, y1, x2, y2]."
        );
        question.mark = RegionMark::Text(BoxFormat {
            coordinates: Coordinates::Standard,
            order: BoxOrder::Xywh,
        });
        let asked = question.conversation().unwrap();
        assert!(
            text(&asked).contains("([0.040,0.482,0.073,0.096])"),
            "{asked:?}"
        );
        question.mark = RegionMark::Drawn;
        let asked = question.conversation().unwrap();
        assert_eq!(
            text(&asked),
            "Please describe the region inside the red rectangle."
        );
        let drawn = question.image.with_box(&question.region);
        assert_eq!(asked.images().collect::<Vec<_>>(), [&drawn]);
    }

    #[test]
    fn clips_are_asked_about_in_the_benchmarks_words() {
        let clip = clip(true);
        let interval = clip.interval(5, 19).unwrap();
        let caption = ClipCaption { clip, interval };
        assert_eq!(
            text(&caption.conversation()),
            "Give a detailed description of the events occurring in the region marked by the red rectangle within frames [2, 7] in this 20 frame video."
        );
        let location = EventLocation {
            clip: caption.clip.clone(),
            event: "A man sits down".into(),
        };
        assert_eq!(
            text(&location.conversation()),
            "Given the region marked by the red rectangle in the video, please provide the start and end frame of when 'A man sits down' happens. Use the format [start, end] where start and end are frame numbers between 0 and 7 in this 8 frame video."
        );
        let dense = DenseCaptions { clip: caption.clip };
        assert_eq!(
            text(&dense.conversation()),
            "Create a dense caption of the subject's actions within the red rectangles, including action frames ids and brief descriptions. For each item use the format [start, end]: [description] separated by a newline, where start and end are frame numbers between 0 and 7 in this 8 frame video."
        );
        let read = location.read("[2, 8] [2, 7]");
        assert_eq!((read.found.len(), read.misread.len()), (1, 1));
        assert_eq!(dense.read("[2, 7]: He sits.").found[0].text, "He sits.");
    }

    #[test]
    fn a_clip_without_boxes_has_no_region() {
        let clip = clip(false);
        let interval = clip.whole();
        let caption = ClipCaption {
            clip: clip.clone(),
            interval,
        };
        let location = EventLocation {
            clip: clip.clone(),
            event: "A man sits down".into(),
        };
        for asked in [
            caption.conversation(),
            location.conversation(),
            DenseCaptions { clip }.conversation(),
        ] {
            assert!(!text(&asked).contains("red"), "{asked:?}");
            assert!(!text(&asked).contains("  "), "{asked:?}");
        }
    }
}
