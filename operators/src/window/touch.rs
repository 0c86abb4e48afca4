//! Asking for the memory of the states of events to come.

use std::hint::black_box;

use prefetch_index::prefetch_index;

use super::program::Program;
use super::state::KeyFeatures;

/// Lanes of 32 bits in a cache line.
const LINE: usize = 16;
/// A block of so many lines is asked for as a whole.
const SMALL_BLOCK: usize = 8;

impl Program {
    /// Asks for the running values of each state, for the place of the next row, and for what a
    /// short log has beside its rows.
    pub(crate) fn touch_blocks(&self, states: &[Option<&KeyFeatures>]) {
        for state in states.iter().flatten() {
            let lines = state.block.len().div_ceil(LINE);
            let lines = lines.min((self.shape.fixed as usize / LINE + 1).max(SMALL_BLOCK));
            for line in 0..lines {
                prefetch_index(&*state.block, line * LINE);
            }
            if lines == SMALL_BLOCK && self.has_rows(state) {
                let row = state.geometry().row(state.tail);
                prefetch_index(state.log(), row.start);
            }
        }
    }

    /// Asks for the rows that the running values of each state point to.
    pub(crate) fn touch_rows(&self, states: &[Option<&KeyFeatures>]) {
        let large = |state: &&KeyFeatures| state.block.len() > SMALL_BLOCK * LINE;
        for state in states.iter().copied().flatten().filter(large) {
            if self.has_rows(state) {
                let (geometry, fixed, log) = (state.geometry(), state.fixed(), state.log());
                for at in &self.pointers {
                    prefetch_index(log, geometry.row(fixed[*at]).start);
                }
            }
        }
    }

    fn has_rows(&self, state: &KeyFeatures) -> bool {
        state.shape() == self.shape && state.slots() > 0
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
