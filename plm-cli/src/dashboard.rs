//! burn's dashboard of a training run, on the whole terminal.

use std::io::{IsTerminal, stdout};
use std::sync::Arc;

use burn_train::Interrupter;
use burn_train::logger::TrainingProgressLogger;
use burn_train::metric::{
    MetricDefinition, MetricEntry, MetricId, NumericAttributes, NumericEntry, SerializedEntry,
};
use burn_train::renderer::tui::TuiMetricsRendererWrapper;
use burn_train::renderer::{MetricState, MetricsRenderer, MetricsRendererTraining};
use plm_train::Event;

use crate::error::Error;

const LOSS: &str = "loss";
const GRADIENT: &str = "gradient norm";
const LEARNING_RATE: &str = "learning rate";

/// The dashboard; the terminal is as before when it is dropped.
pub(crate) struct Dashboard {
    renderer: TuiMetricsRendererWrapper,
    interrupter: Interrupter,
    /// Whether the dashboard knows how many steps there are.
    began: bool,
}

impl Dashboard {
    pub(crate) fn open() -> Result<Self, Error> {
        if !stdout().is_terminal() {
            return Err(Error::usage(
                "--dashboard needs a terminal as standard output",
            ));
        }
        let interrupter = Interrupter::new();
        let mut renderer = TuiMetricsRendererWrapper::new(interrupter.clone(), None);
        for name in [LOSS, GRADIENT, LEARNING_RATE] {
            renderer.register_metric(MetricDefinition {
                metric_id: id(name),
                name: Arc::new(name.into()),
                description: None,
                attributes: NumericAttributes {
                    unit: None,
                    higher_is_better: false,
                }
                .into(),
            });
        }
        Ok(Self {
            renderer,
            interrupter,
            began: false,
        })
    }

    /// Shows what happened in a run.
    pub(crate) fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Step(report, steps, _) => {
                if !self.began {
                    self.renderer.start(1, 1, Some(*steps), Some("plm train"));
                    self.renderer.start_split("train", *steps);
                    self.began = true;
                }
                let values = [
                    (LOSS, report.loss),
                    (GRADIENT, report.grad_norm),
                    (LEARNING_RATE, report.learning_rate),
                ];
                for (name, value) in values {
                    self.renderer.update_train(state(name, value));
                }
                self.renderer.update_split(report.step + 1);
            }
            Event::Evaluated(evaluation) => {
                self.renderer.update_valid(state(LOSS, evaluation.loss));
            }
            Event::Saved(_) => self.count("checkpoints"),
            Event::BadSample(_) => self.count("samples left out"),
            Event::TurnsLeftOut(_) => self.count("steps with turns cut"),
            Event::NotDrawn(_) => self.count("curves not drawn"),
        }
    }

    /// Whether the user has asked for the run to be stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        self.interrupter.should_stop()
    }

    fn count(&mut self, what: &str) {
        self.renderer.log_event_training(what.into());
    }
}

fn id(name: &str) -> MetricId {
    MetricId::new(Arc::new(name.into()))
}

fn state(name: &str, value: f64) -> MetricState {
    let entry = SerializedEntry {
        formatted: format!("{value:.4e}"),
        serialized: value.to_string(),
    };
    let value = Some(NumericEntry::Value(value));
    MetricState::Numeric(MetricEntry::new(id(name), entry), value)
}
