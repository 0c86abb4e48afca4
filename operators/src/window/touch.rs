//! Looking at the state of many keys ahead of their turn, so that they wait for memory together.

use std::hint::black_box;

use super::program::Program;
use super::state::KeyFeatures;

/// Lanes of 32 bits in a cache line.
const LINE: usize = 16;

impl Program {
    /// Reads of each state what its next event will read: first the running values, then the rows
    /// that they point to.
    pub(crate) fn touch(&self, states: &[Option<&KeyFeatures>]) {
        let states = || states.iter().flatten();
        let mut seen = 0;
        for state in states() {
            let lines = state.block.chunks(LINE);
            let lines = lines.take((self.shape.fixed as usize).div_ceil(LINE));
            seen ^= lines.fold(0, |seen, line| seen ^ line[0]);
        }
        for state in states().filter(|state| state.shape() == self.shape && state.slots() > 0) {
            let (geometry, fixed, log) = (state.geometry(), state.fixed(), state.log());
            seen ^= log[geometry.row(state.tail).start];
            for at in &self.pointers {
                seen ^= log[geometry.row(fixed[*at]).start];
            }
        }
        black_box(seen);
    }

    /// Looks up the ids of the next event in the indexes of a key.
    pub(crate) fn touch_indexes(&self, state: &KeyFeatures, id_of: impl Fn(usize) -> Option<u64>) {
        let geometry = state.geometry();
        let indexes = state.extra.iter().flat_map(|extra| &extra.indexes);
        for (column, index) in indexes.enumerate() {
            if let Some(id) = id_of(column) {
                black_box(index.get(geometry.tag(id), |_| true));
            }
        }
    }
}
