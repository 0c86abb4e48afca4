//! Share and conditional count of a predicate.
//!
//! `count_if` is the number of events for which it holds (zero when empty); `share` is that
//! number over the events for which it is known (missing when there are none). A predicate that
//! answers `None` counts in neither.

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::Aggregate;
use crate::window::lanes;

/// Where the running counts of a predicate lie among a key's lanes: first the events for which it
/// holds, then, where asked for, the events for which it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlagCell {
    /// The first lane.
    pub(crate) at: usize,
    /// Lanes of each count: 1 in a bounded window, 2 in an unbounded one.
    pub(crate) count_lanes: usize,
    /// Whether known events are counted too.
    pub(crate) known: bool,
}

impl FlagCell {
    /// Lanes that the cell takes.
    pub(crate) fn lanes(&self) -> usize {
        if self.known {
            2 * self.count_lanes
        } else {
            self.count_lanes
        }
    }

    /// Takes an event in.
    #[inline]
    pub(crate) fn add(&self, block: &mut [u32], holds: bool, known: bool) {
        self.bump(block, self.at, u64::from(holds));
        if self.known {
            self.bump(block, self.at + self.count_lanes, u64::from(known));
        }
    }

    /// Lets an event go.
    #[inline]
    pub(crate) fn remove(&self, block: &mut [u32], holds: bool, known: bool) {
        self.bump(block, self.at, u64::from(holds).wrapping_neg());
        if self.known {
            self.bump(
                block,
                self.at + self.count_lanes,
                u64::from(known).wrapping_neg(),
            );
        }
    }

    /// Forgets every event.
    pub(crate) fn clear(&self, block: &mut [u32]) {
        block[self.at..self.at + self.lanes()].fill(0);
    }

    /// Events for which the predicate holds.
    pub(crate) fn holding(&self, block: &[u32]) -> f64 {
        self.read(block, self.at) as f64
    }

    /// Events for which the predicate is known; it must be kept up.
    pub(crate) fn known(&self, block: &[u32]) -> f64 {
        self.read(block, self.at + self.count_lanes) as f64
    }

    /// The part of the known events for which the predicate holds, NaN when none is known.
    pub(crate) fn share(&self, block: &[u32]) -> f64 {
        match self.read(block, self.at + self.count_lanes) {
            0 => f64::NAN,
            known => self.holding(block) / known as f64,
        }
    }

    #[inline]
    fn bump(&self, block: &mut [u32], at: usize, by: u64) {
        if self.count_lanes == 1 {
            // Wrapping in the low half is wrapping modulo 2^32: a removal is an added negative.
            block[at] = block[at].wrapping_add(by as u32);
        } else {
            lanes::set_u64(block, at, lanes::get_u64(block, at).wrapping_add(by));
        }
    }

    fn read(&self, block: &[u32], at: usize) -> u64 {
        if self.count_lanes == 1 {
            u64::from(block[at])
        } else {
            lanes::get_u64(block, at)
        }
    }
}

/// The number of events for which a predicate holds, zero when there are none.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, CountIf};
///
/// let (mut state, at) = (CountIf.empty(), EventTime::from_seconds(1));
/// for holds in [true, false, true] {
///     CountIf.add(&mut state, at, &holds);
/// }
/// assert_eq!(CountIf.finish(&state, at), 2.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CountIf;

impl Aggregate for CountIf {
    type Input = bool;
    type State = u64;
    type Output = f64;

    const REMOVES: bool = true;
    const ORDERED: bool = false;

    fn empty(&self) -> u64 {
        0
    }

    fn add(&self, count: &mut u64, _at: EventTime, holds: &bool) {
        *count += u64::from(*holds);
    }

    fn merge(&self, count: &mut u64, later: &u64) {
        *count += later;
    }

    fn remove(&self, count: &mut u64, _at: EventTime, holds: &bool) {
        *count -= u64::from(*holds);
    }

    fn finish(&self, count: &u64, _end: EventTime) -> f64 {
        *count as f64
    }
}

/// The part of the events for which a predicate holds, missing when there are none. An event of
/// which it is not known is left out with [`If`](super::If).
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Share};
///
/// let (mut state, at) = (Share.empty(), EventTime::from_seconds(1));
/// for holds in [true, false, false, false] {
///     Share.add(&mut state, at, &holds);
/// }
/// assert_eq!(Share.finish(&state, at), 0.25);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Share;

/// What [`Share`] keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareState {
    holding: u64,
    known: u64,
}

impl Aggregate for Share {
    type Input = bool;
    type State = ShareState;
    type Output = f64;

    const REMOVES: bool = true;
    const ORDERED: bool = false;

    fn empty(&self) -> ShareState {
        ShareState::default()
    }

    fn add(&self, state: &mut ShareState, _at: EventTime, holds: &bool) {
        state.holding += u64::from(*holds);
        state.known += 1;
    }

    fn merge(&self, state: &mut ShareState, later: &ShareState) {
        state.holding += later.holding;
        state.known += later.known;
    }

    fn remove(&self, state: &mut ShareState, _at: EventTime, holds: &bool) {
        state.holding -= u64::from(*holds);
        state.known -= 1;
    }

    fn finish(&self, state: &ShareState, _end: EventTime) -> f64 {
        // NaN of nothing over nothing: missing.
        state.holding as f64 / state.known as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::exactly;
    use crate::features::testing::{check, reading};
    use thalweg_engine::time::secs;

    #[test]
    fn counts_and_shares_what_is_known() {
        check(
            |f| {
                let high = |value: f64| (!value.is_nan()).then_some(value > 1.0);
                f.over(secs(10))
                    .count_if("n", move |e| e.value > 1.0)
                    .share("s", move |e| high(e.value));
                f.ever()
                    .count_if("ever_n", |e| e.value > 1.0)
                    .share("ever_s", move |e| high(e.value));
            },
            &[
                reading(0, f64::NAN),
                reading(1, 2.0),
                reading(2, 0.0),
                reading(11, 0.5),
            ],
            &[
                &[0.0, f64::NAN, 0.0, f64::NAN],
                &[1.0, 1.0, 1.0, 1.0],
                &[1.0, 0.5, 1.0, 0.5],
                &[0.0, 0.0, 1.0, 1.0 / 3.0],
            ],
        );
    }

    #[test]
    fn agrees_with_its_oracle() {
        let holding = |events: &[(EventTime, bool)]| events.iter().filter(|e| e.1).count() as f64;
        oracle::check(&CountIf, oracle::flags(), exactly, |events, _| {
            holding(events)
        });
        oracle::check(&Share, oracle::flags(), exactly, |events, _| {
            holding(events) / events.len() as f64
        });
    }
}
