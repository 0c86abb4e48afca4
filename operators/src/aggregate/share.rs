//! Share and conditional count of a predicate.
//!
//! `count_if` is the number of events for which it holds (zero when empty); `share` is that
//! number over the events for which it is known (missing when there are none). A predicate that
//! answers `None` counts in neither.

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

#[cfg(test)]
mod tests {
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
}
