//! The drift report of one window: every statistic of every watched column.

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::column::Column;
use super::histogram::Histogram;
use super::partial::WindowPartial;
use super::plan::WatchPlan;
use super::statistics::{self, ChiSquare, PSI_EPSILON, Statistic};

/// How far the rows of one window are from the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftReport {
    /// The step id of the drift watch.
    pub step: String,
    /// The start of the window, inclusive.
    pub window_start: EventTime,
    /// The end of the window, exclusive.
    pub window_end: EventTime,
    /// How many rows the window has.
    pub samples: u64,
    /// The version of the model whose rows were watched, where one is known.
    pub model_version: Option<String>,
    /// The watched columns, in the plan's order.
    pub subjects: Vec<SubjectReport>,
}

/// How far one column is from its reference.
///
/// The statistics over bins leave nulls out, and are `None` when window or reference has no
/// values of the column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubjectReport {
    /// The column's name.
    pub subject: String,
    /// How many rows of the window have a value.
    pub values: u64,
    /// How many rows of the window have none.
    pub nulls: u64,
    /// The population stability index.
    pub psi: Option<f64>,
    /// The Jensen-Shannon distance (root, base 2).
    pub js: Option<f64>,
    /// The Kolmogorov-Smirnov distance over the bins.
    pub ks: Option<f64>,
    /// The Hellinger distance.
    pub hellinger: Option<f64>,
    /// The total variation distance.
    pub tvd: Option<f64>,
    /// The Wasserstein distance in the column's unit, approximated from the bins.
    pub wasserstein: Option<f64>,
    /// Pearson's chi-square over the bins.
    pub chi_square: Option<ChiSquare>,
    /// Which way the values have moved, from -1 (all lower) to 1 (all higher).
    pub shift: Option<f64>,
    /// The share of nulls in the window's rows.
    pub null_rate: f64,
    /// The share of nulls in the reference's rows.
    pub reference_null_rate: f64,
    /// The share of the window's values that are outside the reference's range.
    pub out_of_range_rate: f64,
    /// The shares of every bin, where the watch asks for them.
    #[serde(default)]
    pub shares: Option<Shares>,
}

/// The shares of the values that lie in each bin, nulls left out; all zero without values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// Those of the reference.
    pub expected: Vec<f64>,
    /// Those of the window.
    pub actual: Vec<f64>,
}

impl DriftReport {
    /// The report of a complete window.
    pub(super) fn new(plan: &WatchPlan, window: &WindowPartial) -> Self {
        let columns = plan.columns().iter().zip(window.histograms());
        Self {
            step: plan.step.clone(),
            window_start: window.window_start(),
            window_end: plan.window_end(window.window_start()),
            samples: window.rows(),
            model_version: plan.model_version.clone(),
            subjects: columns
                .map(|(column, histogram)| {
                    let mut report = SubjectReport::new(column, histogram);
                    report.shares = plan.with_shares.then(|| Shares {
                        expected: shares(column.counts()),
                        actual: shares(histogram.counts()),
                    });
                    report
                })
                .collect(),
        }
    }

    /// The report of the column called `subject`.
    pub fn subject(&self, subject: &str) -> Option<&SubjectReport> {
        self.subjects
            .iter()
            .find(|report| report.subject == subject)
    }
}

impl SubjectReport {
    /// Compares a histogram with its reference; without [`Shares`].
    pub fn new(column: &Column, histogram: &Histogram) -> Self {
        let (expected, actual) = (column.counts(), histogram.counts());
        Self {
            subject: column.name().to_owned(),
            values: histogram.values(),
            nulls: histogram.nulls(),
            psi: statistics::psi(expected, actual, PSI_EPSILON),
            js: statistics::js(expected, actual),
            ks: statistics::ks(expected, actual),
            hellinger: statistics::hellinger(expected, actual),
            tvd: statistics::tvd(expected, actual),
            wasserstein: statistics::wasserstein(column, actual),
            chi_square: statistics::chi_square(expected, actual),
            shift: statistics::shift(expected, actual),
            null_rate: histogram.null_rate(),
            reference_null_rate: column.null_rate(),
            out_of_range_rate: histogram.out_of_range_rate(),
            shares: None,
        }
    }

    /// The value of `statistic`.
    pub fn value(&self, statistic: Statistic) -> Option<f64> {
        match statistic {
            Statistic::Psi => self.psi,
            Statistic::Js => self.js,
            Statistic::Ks => self.ks,
            Statistic::Hellinger => self.hellinger,
            Statistic::Tvd => self.tvd,
            Statistic::Wasserstein => self.wasserstein,
            Statistic::NullRate => Some(self.null_rate),
            Statistic::OutOfRangeRate => Some(self.out_of_range_rate),
        }
    }

    /// How many samples the value of `statistic` rests on: rows for the null rate, else values.
    pub fn samples(&self, statistic: Statistic) -> u64 {
        match statistic {
            Statistic::NullRate => self.values + self.nulls,
            _ => self.values,
        }
    }
}

/// The share of each count in all of them.
fn shares(counts: &[u64]) -> Vec<f64> {
    let total = counts.iter().sum();
    counts
        .iter()
        .map(|&count| super::histogram::rate(count, total))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::vectors::{self, assert_close};

    /// The report of `current` against the numeric stream's reference.
    fn report(current: &[f64]) -> SubjectReport {
        let column = Column::from_values("num", &vectors::num_reference());
        let mut histogram = Histogram::new(&column);
        current
            .iter()
            .for_each(|&value| histogram.add(&column, value));
        SubjectReport::new(&column, &histogram)
    }

    #[test]
    fn nulls_move_their_rate_and_no_statistic() {
        let mut with_nulls = vectors::num_current();
        with_nulls.extend([f64::NAN; 500]);
        let report = report(&with_nulls);
        assert_close(report.psi, 0.06442400009413057, 1e-12);
        assert_close(report.js, 0.10739247556940593, 1e-12);
        assert_eq!((report.null_rate, report.reference_null_rate), (0.2, 0.0));
        assert_eq!(report.samples(Statistic::Psi), 2000);
        assert_eq!(report.samples(Statistic::NullRate), 2500);
    }

    #[test]
    fn a_column_of_nulls_has_a_null_rate_only() {
        let report = report(&[f64::NAN; 3]);
        assert_eq!(report.null_rate, 1.0);
        assert_eq!((report.psi, report.chi_square), (None, None));
        assert_eq!(report.value(Statistic::NullRate), Some(1.0));
    }

    #[test]
    fn the_json_reads_back() {
        for report in [report(&vectors::num_current()), report(&[])] {
            let json = serde_json::to_string(&report).unwrap();
            assert_eq!(
                serde_json::from_str::<SubjectReport>(&json).unwrap(),
                report
            );
        }
    }
}
