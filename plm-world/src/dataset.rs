//! Data sets: pictures and clips in folders, and the rows that training reads.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::iter;
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;

use crate::clip::describe;
use crate::questions::{converse_of, describe_cells, list};
use crate::{Backgrounds, Category, Clip, Error, Scene, Turn, ask, ask_clip, converse_clip};

/// Name of the file of rows in a data set's folder.
pub const ROWS: &str = "rows.jsonl";

/// Most files of a folder.
const FOLDER_FILES: u64 = 1000;

/// What the samples of a data set are.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Pictures of one tile, and what is in each of its cells. A tower that is trained from nothing
    /// learns there what things look like: the text is as long as the picture.
    Tiles,
    /// A caption each.
    Captions {
        /// The share of clips.
        clips: f64,
    },
    /// A list of answers each, in any order: of where things are, what is at places, how many
    /// there are and the like.
    Lists {
        /// The categories that they are of, out of [`Category::LISTED`].
        of: Vec<Category>,
    },
    /// A conversation each.
    Questions {
        /// Questions about one picture.
        turns: usize,
        /// The share of pictures that have a caption instead.
        captions: f64,
        /// The share of clips.
        clips: f64,
        /// The categories that questions about pictures are of, out of [`Category::SHORT`].
        of: Vec<Category>,
    },
    /// One question each, of all categories in turn.
    Evaluation,
}

/// Samples that are a function of the task, the seed and their numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSet {
    /// What the samples are. Tasks share no picture, whatever their seeds, unless both are lists.
    pub task: Task,
    /// The seed.
    pub seed: u64,
    /// What is behind things.
    pub backgrounds: Backgrounds,
}

/// What a sample shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Medium {
    /// A picture.
    Picture(Scene),
    /// A clip.
    Clip(Clip),
}

/// A picture or clip, and what is said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What is shown.
    pub medium: Medium,
    /// What is asked, and the answers.
    pub turns: Vec<Turn>,
    /// Seed of the picture's noise.
    noise_seed: u64,
}

/// A line of the file, in Meta's form.
#[derive(Serialize)]
struct Row<'s> {
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    video: Option<String>,
    conversations: Vec<Line<'s>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'static str>,
}

#[derive(Serialize)]
struct Line<'s> {
    from: &'static str,
    value: &'s str,
}

impl DataSet {
    /// The sample of a number.
    ///
    /// # Panics
    ///
    /// When lists or questions are to be of no category, or of one that has none
    /// ([`Category::LISTED`], [`Category::SHORT`]).
    #[must_use]
    pub fn sample(&self, index: u64) -> Sample {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let task = match self.task {
            Task::Captions { .. } => 0,
            Task::Questions { .. } => 1,
            Task::Evaluation => 2,
            Task::Tiles => 3,
            Task::Lists { ref of } => 4 + u64::from(of != Category::LISTED),
        };
        rng.set_stream(task << 60 | index);
        let noise_seed = rng.random();
        let (medium, turns) = match self.task {
            Task::Tiles => {
                let scene = Scene::random_tile(self.backgrounds, &mut rng);
                let turn = describe_cells(&scene, &mut rng);
                (Medium::Picture(scene), vec![turn])
            }
            Task::Captions { clips } if rng.random_bool(clips) => {
                let clip = Clip::random(self.backgrounds, &mut rng);
                let turn = describe(&clip, &mut rng);
                (Medium::Clip(clip), vec![turn])
            }
            Task::Questions { turns, clips, .. } if rng.random_bool(clips) => {
                let clip = Clip::random(self.backgrounds, &mut rng);
                let turns = converse_clip(&clip, turns, &mut rng);
                (Medium::Clip(clip), turns)
            }
            Task::Lists { ref of } => loop {
                let scene = Scene::random(self.backgrounds, &mut rng);
                if let Some(turn) = list(&scene, of, &mut rng) {
                    break (Medium::Picture(scene), vec![turn]);
                }
            },
            Task::Captions { .. } => self.picture_with(Category::Caption, &mut rng),
            Task::Questions { captions, .. } if rng.random_bool(captions) => {
                self.picture_with(Category::Caption, &mut rng)
            }
            Task::Questions { turns, ref of, .. } => {
                let scene = Scene::random(self.backgrounds, &mut rng);
                let turns = converse_of(&scene, turns, of, &mut rng);
                (Medium::Picture(scene), turns)
            }
            Task::Evaluation => {
                let categories = Category::ALL;
                match categories[(index % categories.len() as u64) as usize] {
                    Category::Clip => {
                        let clip = Clip::random(self.backgrounds, &mut rng);
                        let turn = ask_clip(&clip, &mut rng);
                        (Medium::Clip(clip), vec![turn])
                    }
                    category => self.picture_with(category, &mut rng),
                }
            }
        };
        Sample {
            medium,
            turns,
            noise_seed,
        }
    }

    /// Writes samples with the numbers from `start` on into a new folder: [`ROWS`], and the media
    /// in folders of at most a thousand. `progress` is told how many samples were written.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], [`Error::Write`], [`Error::Png`], [`Error::Gif`], and [`Error::Share`]
    /// or [`Error::Categories`] for a setting of the task.
    pub fn write(
        &self,
        dir: &Path,
        start: u64,
        count: u64,
        progress: impl Fn(u64),
    ) -> Result<(), Error> {
        self.check()?;
        new_folder(dir)?;
        let path = dir.join(ROWS);
        let error = |source| Error::write(&path, source);
        let mut rows = BufWriter::new(File::create_new(&path).map_err(error)?);
        let end = start + count;
        let mut next = start;
        while next < end {
            let folder = next / FOLDER_FILES;
            let last = end.min((folder + 1) * FOLDER_FILES);
            let name = format!("{folder:05}");
            let path = dir.join(&name);
            fs::create_dir(&path).map_err(|source| Error::write(&path, source))?;
            let lines: Vec<String> = (next..last)
                .into_par_iter()
                .map(|index| self.write_sample(dir, &name, index))
                .collect::<Result<_, _>>()?;
            rows.write_all(lines.concat().as_bytes()).map_err(error)?;
            progress(last - next);
            next = last;
        }
        rows.flush().map_err(error)
    }

    fn check(&self) -> Result<(), Error> {
        let chosen = match &self.task {
            Task::Lists { of } => Some((of, Category::LISTED)),
            Task::Questions { of, .. } => Some((of, Category::SHORT)),
            Task::Tiles | Task::Captions { .. } | Task::Evaluation => None,
        };
        if let Some((of, known)) = chosen {
            let unknown = of.iter().filter(|category| !known.contains(category));
            let unknown: Vec<Category> = unknown.copied().collect();
            if of.is_empty() || !unknown.is_empty() {
                return Err(Error::Categories { unknown, known });
            }
        }
        let shares = match self.task {
            Task::Captions { clips } => vec![("the share of clips", clips)],
            Task::Questions {
                captions, clips, ..
            } => {
                vec![
                    ("the share of captions", captions),
                    ("the share of clips", clips),
                ]
            }
            Task::Tiles | Task::Lists { .. } | Task::Evaluation => Vec::new(),
        };
        let outside = |(_, value): &(&str, f64)| !(0.0..=1.0).contains(value);
        match shares.into_iter().find(outside) {
            Some((name, value)) => Err(Error::Share { name, value }),
            None => Ok(()),
        }
    }

    /// A question of a category with the first picture that has one.
    fn picture_with(&self, category: Category, rng: &mut ChaCha8Rng) -> (Medium, Vec<Turn>) {
        loop {
            let scene = Scene::random(self.backgrounds, rng);
            if let Some(turn) = ask(&scene, category, rng) {
                return (Medium::Picture(scene), vec![turn]);
            }
        }
    }

    /// Writes a sample's medium; returns its row.
    fn write_sample(&self, dir: &Path, folder: &str, index: u64) -> Result<String, Error> {
        let sample = self.sample(index);
        let name = format!("{folder}/{index:08}.{}", sample.extension());
        let path = dir.join(&name);
        let bytes = sample.encode(&name)?;
        fs::write(&path, bytes).map_err(|source| Error::write(&path, source))?;
        let category = sample.turns.first().map(|turn| turn.category.name());
        let is_evaluation = self.task == Task::Evaluation;
        Ok(sample.row(name, category.filter(|_| is_evaluation)))
    }
}

impl Sample {
    /// The file of what is shown, PNG or GIF; `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Png`] or [`Error::Gif`] when it cannot be encoded.
    pub fn encode(&self, name: &str) -> Result<Vec<u8>, Error> {
        match &self.medium {
            Medium::Picture(scene) => {
                let mut noise = ChaCha8Rng::seed_from_u64(self.noise_seed);
                scene.draw(&mut noise).to_png(name)
            }
            Medium::Clip(clip) => clip.to_gif(name),
        }
    }

    fn extension(&self) -> &'static str {
        match self.medium {
            Medium::Picture(_) => "png",
            Medium::Clip(_) => "gif",
        }
    }

    /// The row with its line end. Its system text is empty, as in the model's chat template: Meta's
    /// would be a quarter of a sample's tokens.
    fn row(&self, name: String, category: Option<&'static str>) -> String {
        let (image, video) = match self.medium {
            Medium::Picture(_) => (Some(name), None),
            Medium::Clip(_) => (None, Some(name)),
        };
        let line = |from, value| Line { from, value };
        let turns = self.turns.iter().flat_map(|turn| {
            [
                line("human", turn.question.as_str()),
                line("assistant", &turn.answer),
            ]
        });
        let row = Row {
            image,
            video,
            conversations: iter::once(line("system", "")).chain(turns).collect(),
            category,
        };
        let json = serde_json::to_string(&row).expect("texts and names are JSON");
        json + "\n"
    }
}

/// Makes a folder, or takes one that is empty.
pub(crate) fn new_folder(dir: &Path) -> Result<(), Error> {
    let error = |source| Error::write(dir, source);
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(Error::NotEmpty {
                path: dir.to_owned(),
            }),
            None => Ok(()),
        },
        Err(missing) if missing.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(dir).map_err(error)
        }
        Err(other) => Err(error(other)),
    }
}
