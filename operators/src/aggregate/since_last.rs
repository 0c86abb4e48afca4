//! Time since the last event, in seconds; missing when there are none.

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::Aggregate;

/// Seconds from the latest event to the end of the window. Under [`If`](super::If), the latest that
/// has something.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, TimeSinceLast};
///
/// let mut state = TimeSinceLast.empty();
/// TimeSinceLast.add(&mut state, EventTime::from_seconds(1), &());
/// let end = EventTime::from_millis(2_500);
/// assert_eq!(TimeSinceLast.finish(&state, end), 1.5);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TimeSinceLast;

/// What [`TimeSinceLast`] keeps.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct TimeSinceLastState {
    count: u64,
    latest: EventTime,
}

impl Aggregate for TimeSinceLast {
    type Input = ();
    type State = TimeSinceLastState;
    type Output = f64;

    const REMOVES: bool = true;

    fn empty(&self) -> TimeSinceLastState {
        TimeSinceLastState::default()
    }

    fn add(&self, state: &mut TimeSinceLastState, at: EventTime, _input: &()) {
        state.count += 1;
        state.latest = at;
    }

    fn merge(&self, state: &mut TimeSinceLastState, later: &TimeSinceLastState) {
        if later.count > 0 {
            state.count += later.count;
            state.latest = later.latest;
        }
    }

    fn remove(&self, state: &mut TimeSinceLastState, _at: EventTime, _input: &()) {
        state.count -= 1;
    }

    fn finish(&self, state: &TimeSinceLastState, end: EventTime) -> f64 {
        if state.count == 0 {
            return f64::NAN;
        }
        end.since(state.latest).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::If;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::exactly;
    use proptest::strategy::Strategy;

    #[test]
    fn agrees_with_its_oracle() {
        let some = oracle::flags().prop_map(|(events, plan)| {
            let some = |(at, holds): (EventTime, bool)| (at, (!holds).then_some(()));
            (events.into_iter().map(some).collect::<Vec<_>>(), plan)
        });
        let since = If(TimeSinceLast);
        oracle::check(&since, some, exactly, |events, end| {
            let latest = events.iter().rev().find(|e| e.1.is_some());
            latest.map_or(f64::NAN, |e| end.since(e.0).as_secs_f64())
        });
    }
}
