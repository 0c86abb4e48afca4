//! The values of a window in order of size: what quantiles and the greatest values are taken from.

use serde::{Deserialize, Serialize};

/// All present values, least first, 8 bytes each. A value that comes or goes shifts the greater
/// ones, so windows should have some ten thousand values at most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sorted(Vec<f64>);

impl Sorted {
    /// Takes a value in.
    pub(crate) fn add(&mut self, value: f64) {
        let place = self.place(value);
        self.0.insert(place, value);
    }

    /// Lets a value go.
    pub(crate) fn remove(&mut self, value: f64) {
        let place = self.place(value);
        if self.0.get(place).is_some_and(|found| *found == value) {
            self.0.remove(place);
        }
    }

    /// Takes in other values.
    pub(crate) fn merge(&mut self, later: &Self) {
        self.0.extend(&later.0);
        // Sorting finds the two sorted runs, so this is a merge.
        self.0.sort_by(f64::total_cmp);
    }

    /// Drops all but the `n` least.
    pub(crate) fn keep_least(&mut self, n: usize) {
        self.0.truncate(n);
    }

    /// Drops all but the `n` greatest.
    pub(crate) fn keep_greatest(&mut self, n: usize) {
        self.0.drain(..self.0.len().saturating_sub(n));
    }

    /// The values, least first.
    pub(crate) fn values(&self) -> &[f64] {
        &self.0
    }

    fn place(&self, value: f64) -> usize {
        self.0.partition_point(|v| v.total_cmp(&value).is_lt())
    }
}
