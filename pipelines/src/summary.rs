//! What is left to say at the end of a run, as data: `summary.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use thalweg_engine::job::Order;
use thalweg_engine::ledger::Fates;
use thalweg_engine::telemetry::{Latency, StepKind, Telemetry};

use crate::format;
use crate::settings::Settings;

/// The file's name in the output folder.
pub(crate) const FILE: &str = "summary.json";

/// The summary of a run. Its fields up to `model` are a contract with the programs that read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What became of the records read: `records_in`, `processed`, `late`, `dead_letters`,
    /// `filtered` and `held`.
    #[serde(flatten)]
    pub fates: Fates,
    /// Predictions made.
    pub predictions: u64,
    /// Predictions whose label has come.
    pub labels: u64,
    /// The share of predictions whose label has come.
    pub label_coverage: Option<f64>,
    /// The model's area under the ROC curve.
    pub auc: Option<f64>,
    /// The model's mean log loss.
    pub log_loss: Option<f64>,
    /// The mean log loss of the running share of positive labels: what one has without a model.
    pub baseline_log_loss: Option<f64>,
    /// Alerts that have fired.
    pub alerts: u64,
    /// Records read per second of the run.
    pub events_per_second: f64,
    /// From a record's ingestion to a sink, in microseconds.
    pub latency_us: Latency,
    /// Worker threads of each process.
    pub workers: usize,
    /// The model that made the predictions.
    pub model: ModelName,
    /// The pipeline's name.
    pub pipeline: String,
    /// Whether only features were written.
    pub backfill: bool,
    /// Whether the run was stopped before its sources ended.
    pub stopped: bool,
    /// The order in which keyed steps processed their records.
    pub order: Order,
    /// How long the run took.
    pub seconds: f64,
    /// Each step's own figures, in the order of the graph.
    pub stages: Vec<Stage>,
    /// Processes that ran together; the figures are those of all of them.
    pub processes: usize,
    /// The checkpoints; nothing where none were taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Sealed>,
}

/// The checkpoints of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sealed {
    /// The epoch that was sealed last.
    pub epoch: u64,
    /// How many were sealed in this run.
    pub epochs: u64,
    /// Bytes of state written in this run.
    pub bytes: u64,
    /// Bytes of everything that the last one names.
    pub state_bytes: u64,
    /// How long the last seal took, after its parts had been written.
    pub seal_seconds: f64,
    /// From the end of an epoch to when a sink has published it; nothing where no sink delivers
    /// exactly once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visible_us: Option<Latency>,
}

/// Which model made the predictions; nothing when none did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelName {
    /// The model's name.
    pub name: Option<String>,
    /// The model's version.
    pub version: Option<String>,
}

/// The figures of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// The step's id.
    pub id: String,
    /// What the step does.
    pub kind: StepKind,
    /// Records taken in.
    pub records_in: u64,
    /// Records given on.
    pub records_out: u64,
    /// From a record's ingestion to the end of this step, in microseconds.
    pub latency_us: Latency,
}

impl Summary {
    /// Sums up a run that took so long.
    pub(crate) fn of(
        telemetry: &Telemetry,
        settings: &Settings,
        seconds: f64,
        stopped: bool,
    ) -> Self {
        let fates = telemetry.fates();
        let figure = |name: &str| Some(telemetry.gauge(name).get()).filter(|it| it.is_finite());
        let per_second = fates.records_in as f64 / seconds;
        Self {
            fates,
            predictions: telemetry.counter("predictions").get(),
            labels: figure("quality_labels").map_or(0, |labels| labels as u64),
            label_coverage: figure("quality_coverage"),
            auc: figure("quality_auc"),
            log_loss: figure("quality_log_loss"),
            baseline_log_loss: figure("quality_baseline_log_loss"),
            alerts: telemetry.counter("alerts_fired").get(),
            events_per_second: if per_second.is_finite() {
                per_second
            } else {
                0.0
            },
            latency_us: telemetry.sink_latency(),
            workers: settings.workers(),
            model: ModelName {
                name: telemetry.info("model_name"),
                version: telemetry.info("model_version"),
            },
            pipeline: settings.name().to_owned(),
            backfill: settings.is_backfill(),
            stopped,
            order: settings.order(),
            seconds,
            stages: stages(telemetry),
            processes: settings.processes(),
            checkpoint: figure("checkpoint_epoch").map(|epoch| Sealed {
                epoch: epoch as u64,
                epochs: telemetry.counter("checkpoints").get(),
                bytes: telemetry.counter("checkpoint_bytes").get(),
                state_bytes: figure("checkpoint_state_bytes").unwrap_or_default() as u64,
                seal_seconds: figure("checkpoint_seal_seconds").unwrap_or_default(),
                visible_us: visible(telemetry),
            }),
        }
    }

    /// What became of the records read, as an equation.
    pub fn equation(&self) -> String {
        let Fates {
            records_in,
            processed,
            late,
            dead_letters,
            filtered,
            held,
        } = self.fates;
        let count = format::count;
        let equals = if self.fates.balance() { "=" } else { "!=" };
        format!(
            "records in {} {equals} processed {} + late {} + dead letters {} + filtered {} + held {}",
            count(records_in),
            count(processed),
            count(late),
            count(dead_letters),
            count(filtered),
            count(held),
        )
    }

    /// Writes `summary.json` into the output folder.
    pub(crate) fn write(&self, out: &Path) -> Result<(), String> {
        let path = out.join(FILE);
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string());
        let written = text
            .and_then(|text| std::fs::write(&path, text + "\n").map_err(|error| error.to_string()));
        written.map_err(|error| {
            format!(
                "cannot write `{}`: {error}; see to it that the output folder stays writable",
                path.display()
            )
        })
    }
}

fn visible(telemetry: &Telemetry) -> Option<Latency> {
    let visible = telemetry.timing("epoch_visible");
    (visible.totals().0 > 0).then(|| visible.latency())
}

fn stages(telemetry: &Telemetry) -> Vec<Stage> {
    let steps = telemetry.steps();
    let stage = |step: &_| {
        let step: &thalweg_engine::telemetry::StepMetrics = step;
        Stage {
            id: step.id.clone(),
            kind: step.kind,
            records_in: step.records_in(),
            records_out: step.records_out(),
            latency_us: step.latency(),
        }
    };
    steps.iter().map(|step| stage(step)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn example() -> Summary {
        let latency_us = Latency {
            p50: 120.0,
            p99: 4_900.0,
            p999: 25_000.0,
        };
        Summary {
            fates: Fates {
                records_in: 2_000,
                processed: 1_990,
                late: 3,
                dead_letters: 5,
                filtered: 0,
                held: 2,
            },
            predictions: 1_000,
            labels: 970,
            label_coverage: Some(0.97),
            auc: Some(0.7124),
            log_loss: Some(0.4411),
            baseline_log_loss: Some(0.5034),
            alerts: 4,
            events_per_second: 4_000.0,
            latency_us,
            workers: 2,
            model: ModelName {
                name: Some("delays".to_owned()),
                version: Some("3".to_owned()),
            },
            pipeline: "flights".to_owned(),
            backfill: false,
            stopped: false,
            order: Order::EventTime,
            seconds: 0.5,
            checkpoint: None,
            stages: vec![
                Stage {
                    id: "scheduled".to_owned(),
                    kind: StepKind::Source,
                    records_in: 2_000,
                    records_out: 1_992,
                    latency_us: Latency::default(),
                },
                Stage {
                    id: "predictions".to_owned(),
                    kind: StepKind::Sink,
                    records_in: 1_000,
                    records_out: 0,
                    latency_us,
                },
            ],
            processes: 1,
        }
    }

    #[test]
    fn the_fields_are_those_of_the_contract() {
        let expected = json!({
            "records_in": 2_000, "processed": 1_990, "late": 3, "dead_letters": 5, "filtered": 0,
            "held": 2, "predictions": 1_000, "labels": 970, "label_coverage": 0.97, "auc": 0.7124,
            "log_loss": 0.4411, "baseline_log_loss": 0.5034, "alerts": 4,
            "events_per_second": 4_000.0,
            "latency_us": {"p50": 120.0, "p99": 4_900.0, "p999": 25_000.0},
            "workers": 2, "model": {"name": "delays", "version": "3"}, "pipeline": "flights",
            "backfill": false, "stopped": false, "order": "event-time", "seconds": 0.5,
            "stages": [
                {"id": "scheduled", "kind": "source", "records_in": 2_000, "records_out": 1_992,
                 "latency_us": {"p50": 0.0, "p99": 0.0, "p999": 0.0}},
                {"id": "predictions", "kind": "sink", "records_in": 1_000, "records_out": 0,
                 "latency_us": {"p50": 120.0, "p99": 4_900.0, "p999": 25_000.0}},
            ],
            "processes": 1,
        });
        let written = serde_json::to_value(example()).expect("JSON");
        assert_eq!(written, expected);
        assert_eq!(
            serde_json::from_value::<Summary>(written).expect("a summary"),
            example()
        );
    }

    #[test]
    fn figures_that_nobody_set_are_null() {
        let settings = Settings::new("flights");
        let summary = Summary::of(&Telemetry::default(), &settings, 0.0, false);
        let written = serde_json::to_value(&summary).expect("JSON");
        for field in ["label_coverage", "auc", "log_loss", "baseline_log_loss"] {
            assert_eq!(written.get(field), Some(&Value::Null), "{field}");
        }
        assert_eq!(written["model"], json!({"name": null, "version": null}));
        assert_eq!(written["events_per_second"], json!(0.0));
        assert_eq!(written["labels"], json!(0));
    }

    #[test]
    fn figures_come_from_the_telemetry() {
        let telemetry = Telemetry::default();
        telemetry.counter("predictions").add(10);
        telemetry.counter("alerts_fired").add(2);
        telemetry.gauge("quality_labels").set(9.0);
        telemetry.gauge("quality_coverage").set(0.9);
        telemetry.gauge("quality_auc").set(0.75);
        telemetry.gauge("quality_log_loss").set(0.5);
        telemetry.gauge("quality_baseline_log_loss").set(0.625);
        telemetry.set_info("model_name", "delays");
        telemetry.set_info("model_version", "3");
        telemetry.step("predictions", StepKind::Sink);
        let summary = Summary::of(&telemetry, &Settings::for_backfill("flights"), 1.0, true);
        assert_eq!(
            (summary.predictions, summary.alerts, summary.labels),
            (10, 2, 9)
        );
        assert_eq!(
            (summary.label_coverage, summary.auc),
            (Some(0.9), Some(0.75))
        );
        assert_eq!(
            (summary.log_loss, summary.baseline_log_loss),
            (Some(0.5), Some(0.625))
        );
        assert_eq!(summary.model, example().model);
        assert_eq!((summary.backfill, summary.stopped), (true, true));
        assert_eq!(summary.stages.len(), 1);
    }

    #[test]
    fn the_equation_shows_whether_it_holds() {
        let mut summary = example();
        assert_eq!(
            summary.equation(),
            "records in 2,000 = processed 1,990 + late 3 + dead letters 5 + filtered 0 + held 2"
        );
        summary.fates.held = 0;
        assert!(
            summary
                .equation()
                .starts_with("records in 2,000 != processed 1,990 + ")
        );
    }
}
