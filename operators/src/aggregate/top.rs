//! The greatest and the least so many values; fewer where there are not as many.
//!
//! A window that slides has to know which value comes next when one of the greatest is gone, so all
//! its present values are held in order, 8 bytes each; a compact state holds as many as are asked
//! for.

use thalweg_engine::time::EventTime;

use super::Aggregate;
use super::kept::of_values;
use super::sorted::Sorted;

/// The greatest so many present values, greatest first.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, TopK};
///
/// let (top, at) = (TopK(2), EventTime::from_seconds(1));
/// let mut state = top.empty();
/// for value in [3.0, 9.0, f64::NAN, 4.0] {
///     top.add(&mut state, at, &value);
/// }
/// assert_eq!(top.finish(&state, at), [9.0, 4.0]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TopK(
    /// How many values.
    pub usize,
);

impl Aggregate for TopK {
    of_values!(Sorted);

    type Output = Vec<f64>;

    fn compact(&self, sorted: &mut Sorted) {
        sorted.keep_greatest(self.0);
    }

    fn finish(&self, sorted: &Sorted, _end: EventTime) -> Vec<f64> {
        sorted.values().iter().rev().take(self.0).copied().collect()
    }
}

/// The least so many present values, least first.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, BottomK};
///
/// let (bottom, at) = (BottomK(2), EventTime::from_seconds(1));
/// let mut state = bottom.empty();
/// for value in [3.0, 9.0, f64::NAN, 4.0] {
///     bottom.add(&mut state, at, &value);
/// }
/// assert_eq!(bottom.finish(&state, at), [3.0, 4.0]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BottomK(
    /// How many values.
    pub usize,
);

impl Aggregate for BottomK {
    of_values!(Sorted);

    type Output = Vec<f64>;

    fn compact(&self, sorted: &mut Sorted) {
        sorted.keep_least(self.0);
    }

    fn finish(&self, sorted: &Sorted, _end: EventTime) -> Vec<f64> {
        sorted.values().iter().take(self.0).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::exactly;

    #[test]
    fn agrees_with_its_oracle() {
        for k in [0, 3] {
            oracle::check(&BottomK(k), oracle::values(), exactly, |events, _| {
                let mut sorted = oracle::sorted(events);
                sorted.truncate(k);
                sorted
            });
            oracle::check(&TopK(k), oracle::values(), exactly, |events, _| {
                let mut sorted = oracle::sorted(events);
                sorted.reverse();
                sorted.truncate(k);
                sorted
            });
        }
    }
}
