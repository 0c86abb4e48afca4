//! Exponentially weighted moving average in event time: a value weighs half as much for every
//! half-life that it is old; missing when there are no values.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::{Aggregate, AggregateError};

/// The mean of the present values, each weighted by 2^(-age / half-life). Only how much older one
/// value is than another counts, so it is the same at the last event and at the end of the window.
///
/// It is what pandas calls `ewm(halflife, times, adjust=True)`. It cannot let events go: a window
/// that slides merges parts.
///
/// ```
/// use thalweg_engine::time::{EventTime, secs};
/// use thalweg_operators::aggregate::{Aggregate, Ewma};
///
/// let ewma = Ewma::new(secs(60))?;
/// let mut state = ewma.empty();
/// ewma.add(&mut state, EventTime::from_seconds(0), &1.0);
/// ewma.add(&mut state, EventTime::from_seconds(60), &4.0);
/// assert_eq!(ewma.finish(&state, EventTime::from_seconds(60)), 3.0);
/// # Ok::<(), thalweg_operators::aggregate::AggregateError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Ewma {
    half_life_micros: f64,
}

impl Ewma {
    /// A mean with this half-life.
    ///
    /// # Errors
    /// When the half-life is shorter than a microsecond.
    pub fn new(half_life: Duration) -> Result<Self, AggregateError> {
        match half_life.as_micros() {
            0 => Err(AggregateError::HalfLife),
            micros => Ok(Self {
                half_life_micros: micros as f64,
            }),
        }
    }

    /// What is left of a weight after the time from `earlier` to `later`.
    fn decay(&self, earlier: EventTime, later: EventTime) -> f64 {
        let age = later.since(earlier).as_micros() as f64;
        (-age / self.half_life_micros).exp2()
    }
}

/// What [`Ewma`] keeps.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct EwmaState {
    /// The time of the latest value; as of it are the weights.
    at: EventTime,
    weight: f64,
    mean: f64,
}

impl Aggregate for Ewma {
    type Input = f64;
    type State = EwmaState;
    type Output = f64;

    fn empty(&self) -> EwmaState {
        EwmaState {
            at: EventTime::MIN,
            weight: 0.0,
            mean: f64::NAN,
        }
    }

    fn add(&self, state: &mut EwmaState, at: EventTime, value: &f64) {
        if value.is_finite() {
            let one = EwmaState {
                at,
                weight: 1.0,
                mean: *value,
            };
            self.merge(state, &one);
        }
    }

    fn merge(&self, state: &mut EwmaState, later: &EwmaState) {
        if later.weight == 0.0 {
            return;
        }
        if state.weight == 0.0 {
            *state = *later;
            return;
        }
        let at = state.at.max(later.at);
        let before = state.weight * self.decay(state.at, at);
        let after = later.weight * self.decay(later.at, at);
        let weight = before + after;
        *state = EwmaState {
            at,
            weight,
            mean: state.mean * (before / weight) + later.mean * (after / weight),
        };
    }

    fn finish(&self, state: &EwmaState, _end: EventTime) -> f64 {
        state.mean
    }
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy;
    use thalweg_engine::time::secs;

    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::within;

    #[test]
    fn agrees_with_its_oracle() {
        let values = oracle::values().prop_map(|(events, plan)| {
            // Without spikes: the naive sums of the oracle would lose the rest.
            let small = |(at, value): (EventTime, f64)| (at, value % 1_000.0);
            (events.into_iter().map(small).collect::<Vec<_>>(), plan)
        });
        for half_life in [1, 10, 100_000] {
            let ewma = Ewma::new(secs(half_life)).unwrap();
            oracle::check(&ewma, &values, within(1e-9), |events, end| {
                let (mut weighted, mut weights) = (0.0, 0.0);
                for (at, value) in events.iter().filter(|e| e.1.is_finite()) {
                    let weight = 0.5f64.powf(end.since(*at).as_secs_f64() / half_life as f64);
                    weighted += value * weight;
                    weights += weight;
                }
                weighted / weights
            });
        }
    }

    #[test]
    fn a_pause_of_years_leaves_the_last_value() {
        let ewma = Ewma::new(secs(1)).unwrap();
        let events = [(EventTime::MIN, 5.0), (EventTime::MAX, 7.0)];
        assert_eq!(oracle::finish_of(&ewma, &events), 7.0);
        let error = Ewma::new(Duration::from_nanos(900)).unwrap_err();
        assert_eq!(error, AggregateError::HalfLife);
    }
}
