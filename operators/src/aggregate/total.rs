//! The running total that sum and mean are finished from.

use serde::{Deserialize, Serialize};

use super::compensated::Compensated;

/// Below this part of the greatest total so far, what is left of it is not trusted any more
/// (2^-50: a million steps of 2^-106 each leave an error of 2^-36 in it).
const DWARFED: f64 = 1.0 / (1u64 << 50) as f64;

/// A double-double total that knows when what has left it was so great that its rounding errors
/// show in what is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Total {
    sum: Compensated,
    peak: f64,
}

impl Total {
    /// Takes a value in.
    pub(crate) fn add(&mut self, value: f64) {
        self.set(self.sum.add(value));
    }

    /// Lets a value go; the total is not a number afterwards if it has to be made anew.
    pub(crate) fn remove(&mut self, value: f64) {
        self.set(self.sum.add(-value));
        let left = self.sum.value();
        if left != 0.0 && left.abs() < self.peak * DWARFED {
            self.sum = Compensated::default().add(f64::NAN);
        }
    }

    /// Takes in another total.
    pub(crate) fn merge(&mut self, later: &Self) {
        self.set(self.sum.plus(later.sum));
        self.peak = self.peak.max(later.peak);
    }

    /// The total: infinite when it has overflowed, NaN when it has to be made anew.
    pub(crate) fn value(&self) -> f64 {
        self.sum.value()
    }

    /// Whether the total need not be made anew.
    pub(crate) fn is_exact(&self) -> bool {
        self.sum.is_finite()
    }

    fn set(&mut self, sum: Compensated) {
        self.sum = sum;
        self.peak = self.peak.max(sum.value().abs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_rest_of_something_huge_has_to_be_made_anew() {
        let mut total = Total::default();
        for value in [1e40, 1e20, 1.5] {
            total.add(value);
        }
        assert!(total.is_exact());
        total.remove(1e40);
        total.remove(1e20);
        assert!(!total.is_exact());
        assert!(total.value().is_nan());
    }

    #[test]
    fn a_spike_that_double_double_can_carry_is_no_reason() {
        let mut total = Total::default();
        for value in [1e12, 0.1, 0.2] {
            total.add(value);
        }
        total.remove(1e12);
        assert!(total.is_exact());
        assert!((total.value() / 0.3 - 1.0).abs() < 1e-15);
    }
}
