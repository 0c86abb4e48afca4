//! First: the earliest present values, ties by arrival; missing (or fewer) when there are not as
//! many.
//!
//! A window that slides has to know which value will be the first when the oldest is gone, so all
//! its present values are held, 8 bytes each; a compact state holds as many as are asked for.

use std::collections::VecDeque;

use thalweg_engine::time::EventTime;

use super::Aggregate;

/// The earliest present value, missing when there is none.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, First};
///
/// let mut state = First.empty();
/// First.add(&mut state, EventTime::from_seconds(1), &3.0);
/// First.add(&mut state, EventTime::from_seconds(2), &5.0);
/// First.remove(&mut state, EventTime::from_seconds(1), &3.0);
/// assert_eq!(First.finish(&state, EventTime::from_seconds(2)), 5.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct First;

impl Aggregate for First {
    type Input = f64;
    type State = VecDeque<f64>;
    type Output = f64;

    const REMOVES: bool = true;

    fn empty(&self) -> VecDeque<f64> {
        VecDeque::new()
    }

    fn add(&self, values: &mut VecDeque<f64>, at: EventTime, value: &f64) {
        FirstN(1).add(values, at, value);
    }

    fn merge(&self, values: &mut VecDeque<f64>, later: &VecDeque<f64>) {
        FirstN(1).merge(values, later);
    }

    fn remove(&self, values: &mut VecDeque<f64>, at: EventTime, value: &f64) {
        FirstN(1).remove(values, at, value);
    }

    fn compact(&self, values: &mut VecDeque<f64>) {
        FirstN(1).compact(values);
    }

    fn finish(&self, values: &VecDeque<f64>, _end: EventTime) -> f64 {
        values.front().copied().unwrap_or(f64::NAN)
    }
}

/// The earliest so many present values, earliest first; fewer where there are not as many.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, FirstN};
///
/// let (first, at) = (FirstN(2), EventTime::from_seconds(1));
/// let mut state = first.empty();
/// for value in [3.0, f64::NAN, 1.0, 2.0] {
///     first.add(&mut state, at, &value);
/// }
/// assert_eq!(first.finish(&state, at), [3.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct FirstN(
    /// How many values.
    pub usize,
);

impl Aggregate for FirstN {
    type Input = f64;
    type State = VecDeque<f64>;
    type Output = Vec<f64>;

    const REMOVES: bool = true;

    fn empty(&self) -> VecDeque<f64> {
        VecDeque::new()
    }

    fn add(&self, values: &mut VecDeque<f64>, _at: EventTime, value: &f64) {
        if value.is_finite() {
            values.push_back(*value);
        }
    }

    fn merge(&self, values: &mut VecDeque<f64>, later: &VecDeque<f64>) {
        values.extend(later);
    }

    fn remove(&self, values: &mut VecDeque<f64>, _at: EventTime, value: &f64) {
        if value.is_finite() {
            values.pop_front();
        }
    }

    fn compact(&self, values: &mut VecDeque<f64>) {
        values.truncate(self.0);
    }

    fn finish(&self, values: &VecDeque<f64>, _end: EventTime) -> Vec<f64> {
        values.iter().take(self.0).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::exactly;

    #[test]
    fn agrees_with_its_oracle() {
        oracle::check(&First, oracle::values(), exactly, |events, _| {
            oracle::present(events).first().copied().unwrap_or(f64::NAN)
        });
        for n in [0, 1, 5] {
            oracle::check(&FirstN(n), oracle::values(), exactly, |events, _| {
                let mut values = oracle::present(events);
                values.truncate(n);
                values
            });
        }
    }
}
