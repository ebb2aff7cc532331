mod check;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use plm::{DeviceChoice, FrameRule, MatmulPrecision, Quantization, VisionInputType};
use serde::{Deserialize, Serialize};

use crate::{Error, LoraConfig, Schedule, Trainable, TrainerConfig};

/// A run of fine-tuning, as a TOML file says it. Fields are named after Meta's stage configs where
/// those have a counterpart.
///
/// ```toml
/// model = "Perception-LM-1B"        # paths are relative to this file
/// dump_dir = "runs/shapes"
/// steps = 300                       # or epochs = 2
/// train = "lora"                    # or all, frozen_vision, projector, frozen_decoder
///
/// [lora]
/// rank = 16
/// alpha = 32
///
/// [optim]
/// lr = 1e-4
/// warmup = 20
///
/// [data]
/// datamix = [{ path = "train.jsonl" }]
/// validation = "validation.jsonl"
///
/// [checkpoint]
/// every = 100
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of the checkpoint that is trained; with `init = "random"` its weights are not needed.
    pub model: PathBuf,
    /// Whether the run begins with the checkpoint's weights.
    #[serde(default)]
    pub init: Init,
    /// Folder that checkpoints and metrics are written to.
    pub dump_dir: PathBuf,
    /// Steps of the run; or `epochs`.
    #[serde(default)]
    pub steps: Option<usize>,
    /// In place of `steps`: so many times as many samples are drawn as the files of `datamix` have
    /// together.
    #[serde(default)]
    pub epochs: Option<f64>,
    /// Of new adapters, dropout and the order of samples.
    #[serde(default = "seed")]
    pub seed: u64,
    /// What is trained.
    #[serde(default)]
    pub train: Part,
    /// Whether the patch embedding stays as it is where the vision tower is trained. A tower that
    /// begins with random weights is unstable otherwise: the inputs of its filters are so alike that
    /// a few steps make it blind to all but brightness (Chen, Xie and He, 2021, section 4).
    #[serde(default)]
    pub freeze_patch_embed: bool,
    /// How often a tile goes past a branch of the vision tower's last block (stochastic depth); in
    /// blocks before it less, in a line. The tower must be trained.
    #[serde(default)]
    pub drop_path: f64,
    /// Adapters, where `train` is `lora`.
    #[serde(default)]
    pub lora: LoraConfig,
    /// `q8`, `q4` or `nf4` where adapters are to be trained beside weights that are rounded while
    /// loading; with `nf4` that is QLoRA.
    #[serde(default)]
    pub quantize: Option<String>,
    /// Where it is trained, each as [`DeviceChoice`] is written; `["auto"]` if none is given. With
    /// several each has a copy of the model, and the `grad_acc_steps` batches of a step are shared
    /// among them.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Whether the input of each block alone is kept for its gradients, and the rest computed a
    /// second time: less memory for up to a third more time. On one device only.
    #[serde(default)]
    pub activation_checkpointing: bool,
    /// How exactly matrices are multiplied, forward and, with AMX, backward: `highest` (f32, the
    /// default), `high` or `medium` (bf16 where the processor is faster so); see [`MatmulPrecision`].
    /// Parameters, gradients and moments are f32 always.
    #[serde(default)]
    pub matmul_precision: Matmul,
    /// The optimiser.
    pub optim: Optim,
    /// What is learnt.
    pub data: Data,
    /// When the run is saved.
    #[serde(default)]
    pub checkpoint: Checkpoint,
    /// When the model is evaluated.
    #[serde(default)]
    pub eval: Eval,
}

fn seed() -> u64 {
    777
}

/// What weights a run begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// The checkpoint's.
    #[default]
    Checkpoint,
    /// Random ones, drawn from the seed: the model is trained from nothing.
    Random,
}

/// How exactly matrices are multiplied; see [`MatmulPrecision`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matmul {
    /// In f32.
    #[default]
    Highest,
    /// With 16 bits of each number, where the processor is faster so.
    High,
    /// With 8 bits of each number, bf16, where the processor is faster so.
    Medium,
}

impl From<Matmul> for MatmulPrecision {
    fn from(matmul: Matmul) -> Self {
        match matmul {
            Matmul::Highest => Self::Highest,
            Matmul::High => Self::High,
            Matmul::Medium => Self::Medium,
        }
    }
}

/// What is trained; see [`Trainable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Everything.
    All,
    /// Everything but the vision tower.
    #[default]
    FrozenVision,
    /// The projector alone.
    Projector,
    /// Everything but the decoder.
    FrozenDecoder,
    /// Adapters.
    Lora,
}

/// AdamW and its learning rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optim {
    /// The learning rate after the warm-up.
    pub lr: f64,
    /// Steps in which it rises to that.
    #[serde(default)]
    pub warmup: usize,
    /// How it falls from there.
    #[serde(default)]
    pub scheduler: Scheduler,
    /// The part of it that is left at the end.
    #[serde(default)]
    pub lr_min_ratio: f64,
    /// Decay rates of the moments.
    #[serde(default = "betas")]
    pub betas: [f32; 2],
    /// The least denominator.
    #[serde(default = "epsilon")]
    pub epsilon: f32,
    /// Decay of all that is trained.
    #[serde(default)]
    pub weight_decay: f32,
    /// The largest norm of all gradients together.
    #[serde(default)]
    pub clip: Option<f64>,
}

fn betas() -> [f32; 2] {
    TrainerConfig::default().betas
}

fn epsilon() -> f32 {
    TrainerConfig::default().epsilon
}

/// See [`Schedule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheduler {
    /// The learning rate stays.
    Constant,
    /// It falls in a line.
    Linear,
    /// It falls by half a cosine.
    #[default]
    Cosine,
}

/// What is learnt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Files of samples.
    pub datamix: Vec<Dataset>,
    /// A file of samples that the model is evaluated on.
    #[serde(default)]
    pub validation: Option<PathBuf>,
    /// Samples that go through the model together.
    #[serde(default = "one")]
    pub batch_size: usize,
    /// Batches of a step, whose gradients are added up.
    #[serde(default = "one")]
    pub grad_acc_steps: usize,
    /// Most tokens of a sample; later turns are left out.
    #[serde(default = "max_seqlen")]
    pub max_seqlen: usize,
    /// `thumb+tile` or `vanilla`; as the checkpoint says if not given. Several pictures of a
    /// sample are one tile each.
    #[serde(default)]
    pub vision_input_type: Option<String>,
    /// Most tiles of a picture's grid; as the checkpoint says if not given.
    #[serde(default)]
    pub max_num_tiles: Option<u32>,
    /// Most frames of a video, of which one a second is shown.
    #[serde(default = "max_video_frames")]
    pub max_video_frames: usize,
    /// Which tokens are learnt.
    #[serde(default)]
    pub labels: Labels,
    /// What becomes of samples that cannot be read.
    #[serde(default)]
    pub bad_samples: BadSamples,
}

fn one() -> usize {
    1
}

fn max_seqlen() -> usize {
    2048
}

fn max_video_frames() -> usize {
    plm::META_MAX_FRAMES
}

/// A file of samples in Meta's JSONL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// The file.
    pub path: PathBuf,
    /// Where its pictures and videos are; the file's folder if not given.
    #[serde(default)]
    pub root_dir: Option<PathBuf>,
    /// How often its samples come, beside other files; its number of samples if not given.
    #[serde(default)]
    pub weight: Option<f64>,
}

/// Which tokens of a sample are learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    /// Answers, by Meta's rule.
    #[default]
    Answers,
    /// All text, as in the model card's example.
    AllText,
}

/// What becomes of samples that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadSamples {
    /// The run ends.
    #[default]
    Stop,
    /// They are reported, and others take their places.
    Skip,
}

/// When the run is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoint {
    /// Steps between checkpoints.
    pub every: usize,
    /// Checkpoints that are kept.
    pub keep: usize,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self {
            every: 500,
            keep: 1,
        }
    }
}

/// When the model is evaluated on the validation file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Eval {
    /// Steps between evaluations.
    pub every: usize,
    /// Samples that are evaluated, from the file's beginning on.
    pub samples: usize,
    /// Of those, how many questions are answered too, to be looked at.
    pub answers: usize,
}

impl Default for Eval {
    fn default() -> Self {
        Self {
            every: 500,
            samples: 100,
            answers: 2,
        }
    }
}

/// What samples of a batch are filled up with: no token sees it, and none is learnt from it.
pub(crate) const PAD_ID: u32 = 0;

impl Config {
    /// Reads and checks a TOML file; relative paths become relative to its folder.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] for the file; [`Error::Toml`] for its syntax and fields; [`Error::Config`]
    /// for values that are out of range.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut config: Self = toml::from_str(&text).map_err(|source| Error::Toml {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let root = path.parent().unwrap_or(Path::new(""));
        let data = &mut config.data;
        let files = data.datamix.iter_mut();
        let files = files.flat_map(|file| [Some(&mut file.path), file.root_dir.as_mut()]);
        let paths = [&mut config.model, &mut config.dump_dir];
        for path in paths
            .into_iter()
            .chain(data.validation.as_mut())
            .chain(files.flatten())
        {
            *path = root.join(&*path);
        }
        config.check()?;
        Ok(config)
    }

    /// What is trained.
    pub fn trainable(&self) -> Trainable {
        match self.train {
            Part::All => Trainable::All,
            Part::FrozenVision => Trainable::FrozenVision,
            Part::Projector => Trainable::Projector,
            Part::FrozenDecoder => Trainable::FrozenDecoder,
            Part::Lora => Trainable::Lora(self.lora.clone()),
        }
    }

    /// Steps of the run, of whose files have so many samples.
    pub(crate) fn num_steps(&self, num_samples: usize) -> usize {
        let a_step = self.data.batch_size * self.data.grad_acc_steps;
        match (self.steps, self.epochs) {
            (Some(steps), _) => steps,
            (None, epochs) => {
                let drawn = epochs.unwrap_or(1.0) * num_samples as f64;
                (drawn.round() as usize).div_ceil(a_step).max(1)
            }
        }
    }

    pub(crate) fn trainer(&self, steps: usize) -> Result<TrainerConfig, Error> {
        let optim = &self.optim;
        let min_ratio = optim.lr_min_ratio;
        let (_, others) = self.devices()?;
        let others = others.into_iter().map(DeviceChoice::resolve);
        let config = TrainerConfig {
            other_devices: others.collect::<Result<_, _>>()?,
            learning_rate: optim.lr,
            schedule: match optim.scheduler {
                Scheduler::Constant => Schedule::Constant,
                Scheduler::Linear => Schedule::Linear { min_ratio },
                Scheduler::Cosine => Schedule::Cosine { min_ratio },
            },
            warmup_steps: optim.warmup,
            steps,
            betas: optim.betas,
            epsilon: optim.epsilon,
            weight_decay: optim.weight_decay,
            max_grad_norm: optim.clip,
            activation_checkpointing: self.activation_checkpointing,
            seed: self.seed,
            pad_id: PAD_ID,
        };
        config.check()?;
        Ok(config)
    }

    /// Where it is trained: the device that holds the model, and the others.
    pub(crate) fn devices(&self) -> Result<(DeviceChoice, Vec<DeviceChoice>), Error> {
        let parsed = self.devices.iter().map(|name| name.parse());
        let mut choices: Vec<DeviceChoice> = parsed.collect::<Result<_, plm::Error>>()?;
        if choices.is_empty() {
            choices.push(DeviceChoice::Auto);
        }
        Ok((choices.remove(0), choices))
    }

    /// How weights that are not trained are rounded while loading.
    pub(crate) fn quantization(&self) -> Result<Option<Quantization>, Error> {
        let name = self.quantize.as_deref();
        let parsed = name.map(|name| name.parse::<Quantization>());
        parsed.transpose().map_err(|error| Error::Config {
            what: format!("quantize: {error}"),
        })
    }

    pub(crate) fn vision_input_type(&self) -> Result<Option<VisionInputType>, Error> {
        let name = self.data.vision_input_type.as_deref();
        let parsed = name.map(|name| name.parse::<VisionInputType>());
        parsed.transpose().map_err(|error| Error::Config {
            what: format!("data.vision_input_type: {error}"),
        })
    }

    pub(crate) fn frame_rule(&self) -> FrameRule {
        FrameRule::Meta {
            max_frames: self.data.max_video_frames,
        }
    }
}
