//! A window's partial histograms: what workers hand to the one that merges.

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::column::Column;
use super::histogram::Histogram;

/// What one worker, or several together, have seen of one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowPartial {
    window_start: EventTime,
    rows: u64,
    histograms: Vec<Histogram>,
}

impl WindowPartial {
    /// A partial without rows over the bins of `columns`.
    pub(super) fn new(window_start: EventTime, columns: &[Column]) -> Self {
        let histograms = columns.iter().map(Histogram::new).collect();
        Self {
            window_start,
            rows: 0,
            histograms,
        }
    }

    /// The start of the window, inclusive.
    pub fn window_start(&self) -> EventTime {
        self.window_start
    }

    /// How many rows were counted.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// A histogram for each watched column, in the plan's order.
    pub fn histograms(&self) -> &[Histogram] {
        &self.histograms
    }

    /// Counts one row.
    pub(super) fn add(&mut self, columns: &[Column], values: &[f64]) {
        self.rows += 1;
        for ((histogram, column), &value) in self.histograms.iter_mut().zip(columns).zip(values) {
            histogram.add(column, value);
        }
    }

    /// Adds the counts of `other`.
    ///
    /// # Panics
    /// When `other` is of another window or of other columns.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(
            self.window_start, other.window_start,
            "invariant: one window is merged"
        );
        assert_eq!(
            self.histograms.len(),
            other.histograms.len(),
            "invariant: same columns"
        );
        self.rows += other.rows;
        for (histogram, more) in self.histograms.iter_mut().zip(&other.histograms) {
            histogram.merge(more);
        }
    }
}
