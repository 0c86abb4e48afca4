//! First seen: whether the id of the latest event is new in the window. Missing when there are no
//! events, or more different ids than the limit.

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::Aggregate;
use super::tally::Tally;

/// 1 when no earlier event in the window has the id of the latest one, else 0; for a limited number
/// of different ids.
///
/// An id takes 16 bytes; at most twice the limit are held.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, FirstSeen};
///
/// let (seen, at) = (FirstSeen::up_to(1_000), EventTime::from_seconds(1));
/// let mut state = seen.empty();
/// seen.add(&mut state, at, &7);
/// assert_eq!(seen.finish(&state, at), 1.0);
/// seen.add(&mut state, at, &7);
/// assert_eq!(seen.finish(&state, at), 0.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct FirstSeen {
    limit: usize,
}

impl FirstSeen {
    /// For up to `limit` different ids; beyond it the answer is missing.
    pub fn up_to(limit: usize) -> Self {
        Self { limit }
    }
}

/// What [`FirstSeen`] keeps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FirstSeenState {
    tally: Tally,
    latest: Option<u64>,
}

impl Aggregate for FirstSeen {
    type Input = u64;
    type State = FirstSeenState;
    type Output = f64;

    const REMOVES: bool = true;

    fn empty(&self) -> FirstSeenState {
        FirstSeenState::default()
    }

    fn add(&self, state: &mut FirstSeenState, _at: EventTime, id: &u64) {
        state.tally.add(*id, self.limit);
        state.latest = Some(*id);
    }

    fn merge(&self, state: &mut FirstSeenState, later: &FirstSeenState) {
        state.tally.merge(&later.tally, self.limit);
        state.latest = later.latest.or(state.latest);
    }

    fn remove(&self, state: &mut FirstSeenState, _at: EventTime, id: &u64) {
        state.tally.remove(*id);
    }

    fn is_exact(&self, state: &FirstSeenState) -> bool {
        state.tally.is_exact()
    }

    fn finish(&self, state: &FirstSeenState, _end: EventTime) -> f64 {
        let (Some(counts), Some(latest)) = (state.tally.within(self.limit), state.latest) else {
            return f64::NAN;
        };
        match counts.get(latest) {
            // The latest event has left too.
            0 => f64::NAN,
            1 => 1.0,
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::exactly;

    #[test]
    fn agrees_with_its_oracle() {
        for limit in [4, 100] {
            let seen = FirstSeen::up_to(limit);
            oracle::check(&seen, oracle::ids(), exactly, |events, _| {
                match events.split_last() {
                    Some((latest, earlier)) if oracle::tally(events).len() <= limit => {
                        f64::from(u8::from(earlier.iter().all(|e| e.1 != latest.1)))
                    }
                    _ => f64::NAN,
                }
            });
        }
    }
}
