//! The quality report of one period.

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::calibration::CalibrationBin;
use super::quality::Quality;

/// How good the predictions of one period of event time were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityReport {
    /// The start of the period, inclusive.
    pub period_start: EventTime,
    /// The end of the period, exclusive.
    pub period_end: EventTime,
    /// How many predictions were made in the period.
    pub predictions: u64,
    /// The share of them that has a label; `None` without predictions. Beside every other figure
    /// this tells how much of the period it speaks for.
    pub label_coverage: Option<f64>,
    /// How many predictions have a label.
    pub labels: u64,
    /// The share of labels that are true, as all below `None` without labels.
    pub positives_share: Option<f64>,
    /// The exact area under the ROC curve, ties counting half; `None` also when all labels are
    /// the same.
    pub auc: Option<f64>,
    /// The mean log loss in nats.
    pub log_loss: Option<f64>,
    /// The same of the baseline that uses no model.
    pub baseline_log_loss: Option<f64>,
    /// The mean Brier score.
    pub brier: Option<f64>,
    /// The expected calibration error.
    pub ece: Option<f64>,
    /// Scores against what came, in bins of equal width.
    pub calibration: Vec<CalibrationBin>,
}

impl QualityReport {
    /// The report of `predictions` made in `period`, start to end, whose labels tell `quality`.
    pub(super) fn new(period: (EventTime, EventTime), predictions: u64, quality: Quality) -> Self {
        let covered = |predictions| quality.labels as f64 / predictions as f64;
        Self {
            period_start: period.0,
            period_end: period.1,
            predictions,
            label_coverage: (predictions > 0).then(|| covered(predictions)),
            labels: quality.labels,
            positives_share: quality.positives_share,
            auc: quality.auc,
            log_loss: quality.log_loss,
            baseline_log_loss: quality.baseline_log_loss,
            brier: quality.brier,
            ece: quality.ece,
            calibration: quality.calibration,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Pair;

    #[test]
    fn the_json_is_flat_and_reads_back() {
        let pairs = [
            Pair::new(0.2, false, 0.25).unwrap(),
            Pair::new(0.7, true, 0.25).unwrap(),
        ];
        let span = (EventTime::from_micros(0), EventTime::from_micros(10));
        let report = QualityReport::new(span, 4, Quality::of(&pairs));
        let json = serde_json::to_value(&report).unwrap();
        let fields = [
            "period_start",
            "period_end",
            "predictions",
            "labels",
            "label_coverage",
            "auc",
            "log_loss",
            "baseline_log_loss",
            "brier",
            "ece",
            "positives_share",
            "calibration",
        ];
        assert!(
            fields.iter().all(|&field| json.get(field).is_some()),
            "{json}"
        );
        assert_eq!(json.as_object().unwrap().len(), fields.len());
        assert_eq!(json["label_coverage"], 0.5);
        assert_eq!(
            serde_json::from_value::<QualityReport>(json).unwrap(),
            report
        );
    }
}
