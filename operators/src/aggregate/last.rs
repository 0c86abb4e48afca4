//! Last: the latest present values, ties by arrival; missing (or fewer) when there are not as many.
//!
//! How many present values the window has says which of the latest are still inside, so no more
//! than those asked for are held.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::Aggregate;

/// The latest present value, missing when there is none.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Last};
///
/// let (mut state, at) = (Last.empty(), EventTime::from_seconds(1));
/// for value in [3.0, 5.0, f64::NAN] {
///     Last.add(&mut state, at, &value);
/// }
/// assert_eq!(Last.finish(&state, at), 5.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Last;

/// What [`Last`] keeps.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LastState {
    count: u64,
    value: f64,
}

impl Aggregate for Last {
    type Input = f64;
    type State = LastState;
    type Output = f64;

    const REMOVES: bool = true;

    fn empty(&self) -> LastState {
        LastState {
            count: 0,
            value: f64::NAN,
        }
    }

    fn add(&self, state: &mut LastState, _at: EventTime, value: &f64) {
        if value.is_finite() {
            state.count += 1;
            state.value = *value;
        }
    }

    fn merge(&self, state: &mut LastState, later: &LastState) {
        if later.count > 0 {
            state.count += later.count;
            state.value = later.value;
        }
    }

    fn remove(&self, state: &mut LastState, _at: EventTime, value: &f64) {
        if !value.is_finite() {
            return;
        }
        state.count -= 1;
        if state.count == 0 {
            *state = self.empty();
        }
    }

    fn finish(&self, state: &LastState, _end: EventTime) -> f64 {
        state.value
    }
}

/// The latest so many present values, earliest first; fewer where there are not as many.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, LastN};
///
/// let (last, at) = (LastN(2), EventTime::from_seconds(1));
/// let mut state = last.empty();
/// for value in [3.0, 1.0, 2.0, f64::NAN] {
///     last.add(&mut state, at, &value);
/// }
/// assert_eq!(last.finish(&state, at), [1.0, 2.0]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LastN(
    /// How many values.
    pub usize,
);

/// What [`LastN`] keeps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LastNState {
    count: u64,
    values: VecDeque<f64>,
}

impl LastNState {
    fn push(&mut self, value: f64, n: usize) {
        self.values.push_back(value);
        if self.values.len() > n {
            self.values.pop_front();
        }
    }
}

impl Aggregate for LastN {
    type Input = f64;
    type State = LastNState;
    type Output = Vec<f64>;

    const REMOVES: bool = true;

    fn empty(&self) -> LastNState {
        LastNState::default()
    }

    fn add(&self, state: &mut LastNState, _at: EventTime, value: &f64) {
        if value.is_finite() {
            state.count += 1;
            state.push(*value, self.0);
        }
    }

    fn merge(&self, state: &mut LastNState, later: &LastNState) {
        state.count += later.count;
        for value in &later.values {
            state.push(*value, self.0);
        }
    }

    fn remove(&self, state: &mut LastNState, _at: EventTime, value: &f64) {
        if !value.is_finite() {
            return;
        }
        state.count -= 1;
        if (state.values.len() as u64) > state.count {
            state.values.pop_front();
        }
    }

    fn finish(&self, state: &LastNState, _end: EventTime) -> Vec<f64> {
        state.values.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::exactly;

    #[test]
    fn agrees_with_its_oracle() {
        oracle::check(&Last, oracle::values(), exactly, |events, _| {
            oracle::present(events).last().copied().unwrap_or(f64::NAN)
        });
        for n in [0, 1, 5] {
            oracle::check(&LastN(n), oracle::values(), exactly, |events, _| {
                let values = oracle::present(events);
                values[values.len().saturating_sub(n)..].to_vec()
            });
        }
    }
}
