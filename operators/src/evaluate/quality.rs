//! The quality of scores: every measure of a set of pairs.

use serde::{Deserialize, Serialize};

use super::auc::auc;
use super::calibration::{Bins, Calibration, CalibrationBin};
use super::loss;
use super::pair::Pair;

/// How good the scores of some pairs were; what has no meaning without pairs is `None` then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// How many pairs there are: predictions with a label.
    pub labels: u64,
    /// The share of labels that are true.
    pub positives_share: Option<f64>,
    /// The exact area under the ROC curve, ties counting half; `None` also when all labels are
    /// the same.
    pub auc: Option<f64>,
    /// The mean log loss in nats, probabilities clipped by
    /// [`LOG_LOSS_CLIP`](super::LOG_LOSS_CLIP).
    pub log_loss: Option<f64>,
    /// The same of the baseline that uses no model.
    pub baseline_log_loss: Option<f64>,
    /// The mean Brier score.
    pub brier: Option<f64>,
    /// The expected calibration error over the bins of `calibration`.
    pub ece: Option<f64>,
    /// Scores against what came, in [`CALIBRATION_BINS`](super::CALIBRATION_BINS) bins.
    pub calibration: Vec<CalibrationBin>,
}

impl Quality {
    /// The quality of pairs in their order; summed in that order, so the same pairs give the same
    /// bits.
    pub(super) fn of(sorted: &[Pair]) -> Self {
        Totals::of(sorted).finish(auc(sorted))
    }
}

/// What every measure but the area under the ROC curve is made of: sums over pairs.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    labels: u64,
    positives: u64,
    log_loss: f64,
    baseline_log_loss: f64,
    brier: f64,
    bins: Bins,
}

impl Totals {
    /// The sums over pairs in their order.
    pub(super) fn of(sorted: &[Pair]) -> Self {
        debug_assert!(sorted.is_sorted(), "invariant: pairs are in their order");
        let mut totals = Self::default();
        for pair in sorted {
            totals.labels += 1;
            totals.positives += u64::from(pair.label());
            totals.log_loss += loss::log_loss(pair.score(), pair.label());
            totals.baseline_log_loss += loss::log_loss(pair.baseline(), pair.label());
            totals.brier += loss::brier(pair.score(), pair.label());
            totals.bins.count(*pair);
        }
        totals
    }

    /// Adds the sums over other pairs.
    pub(super) fn add(&mut self, other: &Self) {
        self.labels += other.labels;
        self.positives += other.positives;
        self.log_loss += other.log_loss;
        self.baseline_log_loss += other.baseline_log_loss;
        self.brier += other.brier;
        self.bins.add(&other.bins);
    }

    /// The quality of the pairs, given the area under their ROC curve.
    pub(super) fn finish(&self, auc: Option<f64>) -> Quality {
        let Calibration {
            ece,
            bins: calibration,
        } = self.bins.finish();
        let mean = |sum: f64| (self.labels > 0).then(|| sum / self.labels as f64);
        Quality {
            labels: self.labels,
            positives_share: mean(self.positives as f64),
            auc,
            log_loss: mean(self.log_loss),
            baseline_log_loss: mean(self.baseline_log_loss),
            brier: mean(self.brier),
            ece,
            calibration,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evaluate::pair::tests::pairs;

    #[test]
    fn without_pairs_nothing_is_claimed() {
        let quality = Quality::of(&[]);
        assert_eq!(quality.labels, 0);
        assert_eq!(
            (quality.auc, quality.log_loss, quality.brier),
            (None, None, None)
        );
    }

    proptest! {
        #[test]
        fn means_are_those_of_a_direct_sum(arrived in pairs(1..100)) {
            let mut sorted = arrived.clone();
            sorted.sort();
            let quality = Quality::of(&sorted);
            let n = arrived.len() as f64;
            let direct = |term: fn(&Pair) -> f64| Some(arrived.iter().map(term).sum::<f64>() / n);
            let loss = |p: f64, label: bool| {
                let p = p.clamp(1e-15, 1.0 - 1e-15);
                let y = if label { 1.0 } else { 0.0 };
                -(y * p.ln() + (1.0 - y) * (1.0 - p).ln())
            };
            let close = |found: Option<f64>, expected: f64| {
                (found.unwrap() - expected).abs() <= 1e-12 * expected.abs().max(1.0)
            };
            let log_loss: f64 = arrived.iter().map(|p| loss(p.score(), p.label())).sum();
            let baseline: f64 = arrived.iter().map(|p| loss(p.baseline(), p.label())).sum();
            prop_assert!(close(quality.log_loss, log_loss / n));
            prop_assert!(close(quality.baseline_log_loss, baseline / n));
            let share = direct(|p| if p.label() { 1.0 } else { 0.0 });
            prop_assert_eq!(quality.positives_share, share);
            let brier = direct(|p| match p.label() {
                true => (1.0 - p.score()).powi(2),
                false => p.score().powi(2),
            });
            prop_assert!(close(quality.brier, brier.unwrap()));
            let binned: u64 = quality.calibration.iter().map(|bin| bin.n).sum();
            prop_assert_eq!(binned, quality.labels);
        }
    }
}
