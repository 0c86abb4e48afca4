//! Calibration: whether of what was scored 0.3, three in ten came true.

use serde::{Deserialize, Serialize};

use super::pair::Pair;

/// How many bins of equal width the scores from 0 to 1 are put in.
pub const CALIBRATION_BINS: usize = 10;

/// Scores against what came, in bins of equal width.
///
/// Source of the error: Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using
/// Bayesian binning" (2015).
pub(super) struct Calibration {
    /// The mean over all pairs of how far mean score and share of positives of their bin are
    /// apart; `None` without pairs.
    pub(super) ece: Option<f64>,
    /// [`CALIBRATION_BINS`] bins, by score.
    pub(super) bins: Vec<CalibrationBin>,
}

/// One bin of scores against what came; it holds its lower bound, and the last one also 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// The least score of the bin.
    pub lower: f64,
    /// The score the next bin begins with.
    pub upper: f64,
    /// How many pairs are in the bin.
    pub n: u64,
    /// The mean of their scores; `None` without pairs.
    pub mean_score: Option<f64>,
    /// The share of positives in them; `None` without pairs.
    pub positives_share: Option<f64>,
}

/// The sums of one bin.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    n: u64,
    positives: u64,
    scores: f64,
}

/// The sums of all bins.
#[derive(Clone, Debug, Default)]
pub(super) struct Bins([Sums; CALIBRATION_BINS]);

impl Bins {
    /// Counts a pair.
    pub(super) fn count(&mut self, pair: Pair) {
        let bin = (pair.score() * CALIBRATION_BINS as f64) as usize;
        let sums = &mut self.0[bin.min(CALIBRATION_BINS - 1)];
        sums.n += 1;
        sums.positives += u64::from(pair.label());
        sums.scores += pair.score();
    }

    /// Adds the sums of other pairs.
    pub(super) fn add(&mut self, other: &Self) {
        for (sums, other) in self.0.iter_mut().zip(&other.0) {
            sums.n += other.n;
            sums.positives += other.positives;
            sums.scores += other.scores;
        }
    }

    /// The calibration of the pairs counted.
    pub(super) fn finish(&self) -> Calibration {
        let n: u64 = self.0.iter().map(|bin| bin.n).sum();
        let distances: f64 = self
            .0
            .iter()
            .map(|bin| (bin.scores - bin.positives as f64).abs())
            .sum();
        let bins = self.0.iter().enumerate();
        Calibration {
            ece: (n > 0).then(|| distances / n as f64),
            bins: bins.map(|(index, bin)| bin.finish(index)).collect(),
        }
    }
}

impl Sums {
    fn finish(self, index: usize) -> CalibrationBin {
        let mean = |sum: f64| (self.n > 0).then(|| sum / self.n as f64);
        CalibrationBin {
            lower: index as f64 / CALIBRATION_BINS as f64,
            upper: (index + 1) as f64 / CALIBRATION_BINS as f64,
            n: self.n,
            mean_score: mean(self.scores),
            positives_share: mean(self.positives as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(scored: &[(f64, bool)]) -> Calibration {
        let pair = |&(score, label)| Pair::new(score, label, 0.5).unwrap();
        let mut bins = Bins::default();
        scored.iter().map(pair).for_each(|pair| bins.count(pair));
        bins.finish()
    }

    #[test]
    fn a_bin_holds_its_lower_bound_and_the_last_one_also_1() {
        let check = |score, bin: usize| {
            let found = calibration(&[(score, true)]);
            assert_eq!(found.bins.iter().position(|bin| bin.n > 0), Some(bin));
        };
        check(0.0, 0);
        check(0.099, 0);
        check(0.1, 1);
        check(0.3, 3);
        check(0.7, 7);
        check(0.999, 9);
        check(1.0, 9);
    }

    #[test]
    fn ece_weighs_the_bins_by_their_pairs() {
        // Bin 2: mean score 0.25, half positive. Bin 9: mean score 0.95, all positive.
        let scored = [(0.2, false), (0.3 - 1e-9, true), (0.95, true), (0.95, true)];
        let found = calibration(&scored);
        assert!((found.ece.unwrap() - (0.25 + 0.05) / 2.0).abs() < 1e-8);
        let bin = &found.bins[2];
        assert_eq!((bin.lower, bin.upper, bin.n), (0.2, 0.3, 2));
        assert_eq!(bin.positives_share, Some(0.5));
        assert!((bin.mean_score.unwrap() - 0.25).abs() < 1e-8);
    }

    #[test]
    fn without_pairs_there_are_empty_bins() {
        let found = calibration(&[]);
        assert_eq!((found.ece, found.bins.len()), (None, CALIBRATION_BINS));
        assert!(
            found
                .bins
                .iter()
                .all(|bin| bin.mean_score.is_none() && bin.n == 0)
        );
    }
}
