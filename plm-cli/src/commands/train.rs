use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use plm_train::{Config, Event, Flow, StepReport, fine_tune};
use serde::Serialize;

use crate::args::TrainArgs;
#[cfg(feature = "tui")]
use crate::dashboard::Dashboard;
use crate::error::{Error, one_line};
use crate::{output, progress, threads};

/// Time between two lines about steps, where no bar can be shown.
const QUIET: Duration = Duration::from_secs(10);

/// How the run ended, as it is printed for programs.
#[derive(Debug, Serialize)]
struct TrainReport {
    steps: usize,
    finished: bool,
    out: String,
    loss: Option<f64>,
    validation_loss: Option<f64>,
}

pub(crate) fn run(args: TrainArgs) -> Result<(), Error> {
    threads::limit(args.threads)?;
    let config = Config::from_file(&args.config)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    // Without it, an interrupt ends the run at once, and the last checkpoint is there.
    let _ = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed));

    #[cfg(feature = "tui")]
    let mut dashboard = match args.has_dashboard() {
        true => Some(Dashboard::open()?),
        false => None,
    };
    let bar = match args.has_dashboard() {
        true => ProgressBar::hidden(),
        false => progress::count("training", config.steps.unwrap_or(0)),
    };
    let say = |text: &str| bar.suspend(|| output::note(text));
    let (mut said, mut loss) = (None::<Instant>, None);
    let outcome = fine_tune(&config, args.resume, |event| {
        if let Event::Step(report, ..) = event {
            loss = Some(report.loss);
        }
        #[cfg(feature = "tui")]
        if let Some(dashboard) = &mut dashboard {
            dashboard.show(&event);
            return flow(dashboard.is_stopped() || interrupted.load(Ordering::Relaxed));
        }
        match event {
            Event::Step(report, steps, left) => {
                let line = about(report, steps, left);
                bar.set_length(steps as u64);
                bar.set_position(report.step as u64 + 1);
                bar.set_message(line.clone());
                let last = report.step + 1 == steps;
                if bar.is_hidden() && (last || said.is_none_or(|at| at.elapsed() > QUIET)) {
                    said = Some(Instant::now());
                    say(&line);
                }
            }
            Event::BadSample(error) => say(&format!("left out: {error}")),
            Event::TurnsLeftOut(count) => say(&format!(
                "{count} turns left out: their samples are longer than data.max_seqlen"
            )),
            Event::Evaluated(evaluation) => {
                say(&format!(
                    "validation after {} steps: loss {:.4}",
                    evaluation.step, evaluation.loss
                ));
                for [question, expected, answer] in &evaluation.answers {
                    say(&format!("  {question}\n    {answer}\n    ({expected})"));
                }
            }
            Event::NotDrawn(error) => say(&format!("no curve of the losses: {}", one_line(error))),
            Event::Saved(dir) => say(&format!("saved {}", dir.display())),
        }
        flow(interrupted.load(Ordering::Relaxed))
    });
    // The terminal is needed for what follows.
    #[cfg(feature = "tui")]
    drop(dashboard);
    bar.finish_and_clear();
    let outcome = outcome?;
    let finished = outcome.step == outcome.steps;
    let report = TrainReport {
        steps: outcome.step,
        finished,
        out: outcome.dir.display().to_string(),
        loss,
        validation_loss: outcome.evaluation.map(|evaluation| evaluation.loss),
    };
    if args.json {
        return output::json(&report);
    }
    output::line(&match finished {
        true => format!("{}: after {} steps", report.out, report.steps),
        false => format!(
            "{}: stopped after {} steps; --resume goes on",
            report.out, report.steps
        ),
    })
}

fn flow(stop: bool) -> Flow {
    match stop {
        true => Flow::Stop,
        false => Flow::Continue,
    }
}

fn about(report: &StepReport, steps: usize, left: Duration) -> String {
    let (minutes, seconds) = (left.as_secs() / 60, left.as_secs() % 60);
    format!(
        "step {}/{steps}: loss {:.4}, gradient {:.3}, learning rate {:.2e}, {minutes}:{seconds:02} left",
        report.step + 1,
        report.loss,
        report.grad_norm,
        report.learning_rate,
    )
}
