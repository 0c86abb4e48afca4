//! Streak: how many of the latest events in a row a predicate holds for; zero when there are none.

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::Aggregate;

/// The number of events since the last one for which the predicate does not hold.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Streak};
///
/// let (mut state, at) = (Streak.empty(), EventTime::from_seconds(1));
/// for failed in [true, false, true, true] {
///     Streak.add(&mut state, at, &failed);
/// }
/// assert_eq!(Streak.finish(&state, at), 2.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Streak;

/// What [`Streak`] keeps.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct StreakState {
    events: u64,
    streak: u64,
}

impl Aggregate for Streak {
    type Input = bool;
    type State = StreakState;
    type Output = f64;

    const REMOVES: bool = true;

    fn empty(&self) -> StreakState {
        StreakState::default()
    }

    fn add(&self, state: &mut StreakState, _at: EventTime, holds: &bool) {
        state.events += 1;
        state.streak = if *holds { state.streak + 1 } else { 0 };
    }

    fn merge(&self, state: &mut StreakState, later: &StreakState) {
        state.events += later.events;
        if later.streak == later.events {
            state.streak += later.streak;
        } else {
            state.streak = later.streak;
        }
    }

    fn remove(&self, state: &mut StreakState, _at: EventTime, _holds: &bool) {
        state.events -= 1;
        state.streak = state.streak.min(state.events);
    }

    fn finish(&self, state: &StreakState, _end: EventTime) -> f64 {
        state.streak as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::exactly;

    #[test]
    fn agrees_with_its_oracle() {
        oracle::check(&Streak, oracle::flags(), exactly, |events, _| {
            events.iter().rev().take_while(|e| e.1).count() as f64
        });
    }
}
