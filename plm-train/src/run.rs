//! A whole run of fine-tuning.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use plm::{AdapterSource, LoadOptions, Model, PerceptionLM, Precision};

use crate::checkpoint::{self, State};
use crate::config::{Config, Init, Part};
use crate::data::{self, Reader};
use crate::evaluation::evaluate;
use crate::metrics::Metrics;
use crate::rows::RowFile;
use crate::{Error, Evaluation, RowError, Sample, StepReport, Trainer, plot_metrics, prepare};

/// What happens in a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step was made; of so many, and the rest takes about so long.
    Step(&'a StepReport, usize, Duration),
    /// A sample could not be read, and another took its place.
    BadSample(&'a RowError),
    /// So many turns at the ends of a step's samples had no room.
    TurnsLeftOut(usize),
    /// The model was evaluated.
    Evaluated(&'a Evaluation),
    /// A checkpoint was written.
    Saved(&'a Path),
    /// The curve of the losses could not be drawn; the run is as good as with it.
    NotDrawn(&'a Error),
}

/// Whether a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    Continue,
    /// It is saved, and ends.
    Stop,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Steps that were made.
    pub step: usize,
    /// Steps of the whole run.
    pub steps: usize,
    /// What training made, in Hugging Face's or PEFT's layout: `final` in the run's folder, or the
    /// checkpoint that the run was stopped with.
    pub dir: PathBuf,
    /// The last evaluation.
    pub evaluation: Option<Evaluation>,
}

/// Fine-tunes a model as a config says, from the beginning or, with `resume`, from the newest
/// checkpoint in `dump_dir` on. `observe` is told what happens, and says whether to go on.
///
/// A run that was stopped and resumed equals one that was not. In `dump_dir` it leaves
/// checkpoints, `metrics.jsonl`, its curve in `loss.png`, and `final`.
///
/// # Errors
///
/// [`Error::Config`] when `dump_dir` holds a run and `resume` is not set, or one of another config, or
/// a model in Meta's layout is to be trained as a whole;
/// [`Error::Row`] for a sample that cannot be read; what loading and [`Trainer::step`] give;
/// [`Error::Write`], which leaves the checkpoint before as it is.
pub fn fine_tune(
    config: &Config,
    resume: bool,
    mut observe: impl FnMut(Event<'_>) -> Flow,
) -> Result<Outcome, Error> {
    config.check()?;
    if config.train != Part::Lora && plm::layout_of(&config.model) == plm::Layout::Original {
        return Err(Error::Config {
            what: format!(
                "{}: weights in Meta's layout cannot be trained as a whole; convert them first, or \
                 train adapters",
                config.model.display()
            ),
        });
    }
    let files = data::open(&config.data)?;
    let steps = config.num_steps(files.iter().map(RowFile::len).sum());
    let newest = checkpoint::list(&config.dump_dir)?.pop();
    let state = match (&newest, resume) {
        (Some(_), false) => {
            return Err(Error::Config {
                what: format!(
                    "{}: the folder holds a run; resume it, or give another",
                    config.dump_dir.display()
                ),
            });
        }
        (Some((_, dir)), true) => {
            let state = checkpoint::read(dir)?;
            same(config, &state.config)?;
            if let Some(begun) = state.steps
                && begun != steps
            {
                return Err(Error::Config {
                    what: format!(
                        "epochs of the samples in data.datamix are {steps} steps now, and were \
                         {begun} when the run began"
                    ),
                });
            }
            state
        }
        (None, _) => State {
            step: 0,
            steps: Some(steps),
            drawn: 0,
            config: config.clone(),
        },
    };
    let resumed = newest.map(|(_, dir)| dir);
    let mut model = initial(config, resumed.as_deref())?;
    model.vision_tower = model.vision_tower.with_drop_path(config.drop_path);
    let reader = Reader {
        processor: Arc::new(plm::Checkpoint::from_dir(&config.model)?.processor),
        config: config.clone(),
    };
    let patch_embed = model.vision_tower.patch_embed.clone();
    let mut model = prepare(model, &config.trainable(), config.seed)?;
    if config.freeze_patch_embed {
        model.vision_tower.patch_embed = patch_embed;
    }
    let trainer_config = config.trainer(steps)?;
    check_devices(&mut model, &trainer_config.other_devices)?;
    let mut trainer = Trainer::new(model, trainer_config);
    if let Some(dir) = &resumed {
        trainer.resume(state.step, |optimizer| {
            checkpoint::read_optimizer(optimizer, dir)
        })?;
    }
    let validation = match &config.data.validation {
        Some(path) => Some(RowFile::open(path, None)?),
        None => None,
    };
    let mut metrics = Metrics::open(&config.dump_dir)?;
    let samples = data::read(reader.clone(), files, state.drawn);
    let mut state = state;
    let mut evaluation = None;
    let begin = (Instant::now(), state.step);
    while state.step < steps {
        // The sender ends with an error alone.
        let step = samples.recv().map_err(|_| Error::NothingToLearn)??;
        let mut flow = Flow::Continue;
        for error in &step.bad {
            metrics.write(error)?;
            if observe(Event::BadSample(error)) == Flow::Stop {
                flow = Flow::Stop;
            }
        }
        if step.turns_left_out > 0
            && observe(Event::TurnsLeftOut(step.turns_left_out)) == Flow::Stop
        {
            flow = Flow::Stop;
        }
        let batches: Vec<&[Sample]> = step.samples.chunks(config.data.batch_size).collect();
        let report = trainer.step(&batches)?;
        metrics.write(&report)?;
        state.step += 1;
        state.drawn = step.drawn;
        let a_step = begin.0.elapsed() / (state.step - begin.1) as u32;
        let left = a_step * (steps - state.step) as u32;
        if observe(Event::Step(&report, steps, left)) == Flow::Stop {
            flow = Flow::Stop;
        }
        let last = state.step == steps;
        if let Some(file) = &validation
            && (state.step.is_multiple_of(config.eval.every) || last)
        {
            let found = evaluate(&trainer, &reader, file, state.step)?;
            metrics.write(&found)?;
            if observe(Event::Evaluated(&found)) == Flow::Stop {
                flow = Flow::Stop;
            }
            evaluation = Some(found);
        }
        if state.step.is_multiple_of(config.checkpoint.every) || last || flow == Flow::Stop {
            let dir = checkpoint::save(trainer.model(), trainer.optimizer(), &state)?;
            observe(Event::Saved(&dir));
            if flow == Flow::Stop && !last {
                draw(&metrics, &mut observe);
                return Ok(Outcome {
                    step: state.step,
                    steps,
                    dir,
                    evaluation,
                });
            }
        }
    }
    let dir = config.dump_dir.join("final");
    // It is there where a run is resumed that had ended.
    if !dir.exists() {
        checkpoint::export(trainer.model(), config, &dir)?;
    }
    draw(&metrics, &mut observe);
    Ok(Outcome {
        step: state.step,
        steps,
        dir,
        evaluation,
    })
}

/// Draws the curve of all steps that the run made so far.
fn draw(metrics: &Metrics, observe: &mut impl FnMut(Event<'_>) -> Flow) {
    let out = metrics.path.with_file_name("loss.png");
    if let Err(error) = plot_metrics(&[&metrics.path], out) {
        observe(Event::NotDrawn(&error));
    }
}

/// Checks that other devices than the model's can hold its weights as they are.
fn check_devices(model: &mut Model, devices: &[Device]) -> Result<(), Error> {
    for device in devices {
        let held = plm::weight_formats(device);
        for (name, linear) in model.linears() {
            let format = linear.weight.format_name();
            if !held.contains(&format) {
                return Err(Error::Config {
                    what: format!(
                        "devices: {} cannot hold {name}, which is in {format}",
                        plm::device_name(device)
                    ),
                });
            }
        }
    }
    Ok(())
}

/// The model that a run begins with, or goes on with after a checkpoint.
fn initial(config: &Config, resumed: Option<&Path>) -> Result<Model, Error> {
    let mut model = read(config, resumed)?;
    for (_, linear) in model.linears() {
        linear.precision = config.matmul_precision.into();
    }
    Ok(model)
}

fn read(config: &Config, resumed: Option<&Path>) -> Result<Model, Error> {
    let trains_adapters = config.train == Part::Lora;
    let mut options = LoadOptions {
        device: config.devices()?.0,
        ..LoadOptions::default()
    };
    match trains_adapters {
        true => options.quantize = config.quantization()?,
        false => options.precision = Precision::F32,
    }
    let weights = match resumed {
        Some(dir) if !trains_adapters => dir,
        Some(dir) => {
            options.adapters.push(AdapterSource::new(dir));
            &config.model
        }
        None if config.init == Init::Random => {
            let device = options.device.resolve()?;
            device.seed(config.seed);
            let checkpoint = plm::Checkpoint::from_dir(&config.model)?;
            return Ok(checkpoint.config.init(&device)?);
        }
        None => &config.model,
    };
    Ok(PerceptionLM::from_dir(weights, &options)?.into_model())
}

/// Checks that a run goes on as it began; how often it is saved and evaluated may change, and the
/// files may have moved.
fn same(config: &Config, begun: &Config) -> Result<(), Error> {
    let essence = |config: &Config| {
        let mut config = config.clone();
        config.checkpoint = Default::default();
        config.eval = Default::default();
        config.model = PathBuf::new();
        config.devices = Vec::new();
        config.dump_dir = PathBuf::new();
        config.data.validation = None;
        for file in &mut config.data.datamix {
            file.path = PathBuf::new();
            file.root_dir = None;
        }
        config
    };
    if essence(config) == essence(begun) {
        return Ok(());
    }
    Err(Error::Config {
        what: "the run in dump_dir began with another config; only files, `devices`, \
               `checkpoint` and `eval` may change"
            .into(),
    })
}
