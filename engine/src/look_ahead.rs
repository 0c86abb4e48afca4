//! Looking ahead at the keys of records to come, so that their states are on their way from memory
//! while other records are processed.
//!
//! Where there are many keys, most of an event's time would be waiting for memory, one place after
//! the other: the index, the state, what the state points to. So records go through stages, a block
//! at a time, and each stage asks for what the next one needs, without waiting for it. Nothing
//! depends on it.

use std::iter::zip;
use std::ops::Range;

use prefetch_index::prefetch_index;

use crate::key::{Key, key_hash};
use crate::state::{KeyedState, State};

/// How many records a block has.
pub const BLOCK: usize = 8;

/// Blocks between the first stage and the last, both included.
pub const BLOCKS_UNDER_WAY: usize = STAGES.len();

/// So many keys are near anyway: asking for their states would be work for nothing.
const FEW_KEYS: usize = 1_024;

/// What is to be done with a block of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Their keys are to be looked up: [`KeyedState::look_ahead`].
    LookUp,
    /// Their states are to be touched: see [`KeyedStep::touch`](crate::keyed::KeyedStep::touch).
    Touch(Reach),
    /// They are to be processed.
    Process,
}

/// How much of a state is near already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The state itself: what it points to can be asked for.
    State,
    /// What has been asked for with [`Reach::State`] too.
    Pointees,
}

const STAGES: [Stage; 4] = [
    Stage::LookUp,
    Stage::Touch(Reach::State),
    Stage::Touch(Reach::Pointees),
    Stage::Process,
];

/// What is to be done with so many records, in order: a stage of a block, given as the block's
/// number and its range of the records. Each block goes through all stages, several being under way
/// at a time.
pub fn stages(records: usize) -> impl Iterator<Item = (usize, Range<usize>, Stage)> {
    let blocks = records.div_ceil(BLOCK);
    (0..blocks + BLOCKS_UNDER_WAY).flat_map(move |turn| {
        let blocks_of = (0..=turn).rev().zip(STAGES);
        let there = blocks_of.filter(move |(block, _)| *block < blocks);
        there.map(move |(block, stage)| {
            let range = block * BLOCK..records.min((block + 1) * BLOCK);
            (block, range, stage)
        })
    })
}

/// The keys of a block, looked up: their hashes, and where their states are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ahead {
    hashes: [u64; BLOCK],
    places: [Option<u32>; BLOCK],
}

impl Ahead {
    /// The hashes of the keys.
    pub fn hashes(&self) -> [u64; BLOCK] {
        self.hashes
    }
}

impl<K: Key, S: State> KeyedState<K, S> {
    /// Looks up at most [`BLOCK`] keys, and asks for the memory of their states.
    pub fn look_ahead<'a>(&self, keys: impl Iterator<Item = &'a K>) -> Ahead {
        let mut ahead = Ahead::default();
        let mut count = 0;
        for (hash, key) in zip(&mut ahead.hashes, keys) {
            *hash = key_hash(key);
            count += 1;
        }
        if self.len() < FEW_KEYS {
            return ahead;
        }
        for (place, hash) in zip(&mut ahead.places, ahead.hashes).take(count) {
            // To compare the keys would be to wait for the first of them.
            *place = self.place_by_hash(hash);
            if let Some(place) = place {
                let place = *place as usize;
                // It may reach into the line in which the next one begins.
                prefetch_index(self.entries(), place);
                prefetch_index(self.entries(), place + 1);
                self.ask_for_mark(place);
            }
        }
        ahead
    }

    /// The states that were looked up, as far as there are any; now and then one is that of another
    /// key.
    pub fn sighted(&self, ahead: &Ahead) -> [Option<&S>; BLOCK] {
        ahead.places.map(|place| {
            let entry = self.entries().get(place? as usize);
            entry.map(|(_, state)| state)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_goes_through_all_stages_in_order() {
        for records in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 10 * BLOCK + 3] {
            let blocks = records.div_ceil(BLOCK);
            let mut next = vec![0; blocks];
            let mut processed = 0;
            for (block, range, stage) in stages(records) {
                assert_eq!(stage, STAGES[next[block]]);
                next[block] += 1;
                assert!(range.start == block * BLOCK && !range.is_empty());
                if stage == Stage::Process {
                    assert_eq!(range.start, processed, "in the order of the records");
                    processed = range.end;
                }
                let open = next.iter().filter(|next| (1..STAGES.len()).contains(*next));
                assert!(open.count() <= BLOCKS_UNDER_WAY);
            }
            assert_eq!((next, processed), (vec![STAGES.len(); blocks], records));
        }
    }

    #[test]
    fn states_are_sighted_where_there_are_many_and_whatever_happens_to_them_since() {
        let mut state = KeyedState::<u64, u64>::default();
        let key_values = |state: &mut KeyedState<u64, u64>, keys: Range<u64>| {
            keys.for_each(|key| *state.entry(&key) = key);
        };
        key_values(&mut state, 0..10);
        let ahead = state.look_ahead([3].iter());
        assert_eq!(ahead.hashes()[0], key_hash(&3_u64));
        assert_eq!(state.sighted(&ahead), [None; BLOCK], "few keys are near");
        key_values(&mut state, 0..5_000);
        let keys = [7, 4_999, 123_456];
        let ahead = state.look_ahead(keys.iter());
        let sighted = state.sighted(&ahead);
        let known = |key: u64| sighted.contains(&Some(&key));
        assert!(known(7) || known(4_999), "{sighted:?}");
        assert_eq!(sighted[3..], [None; BLOCK - 3]);
        for key in 0..5_000 {
            state.remove(&key);
        }
        assert_eq!(state.sighted(&ahead), [None; BLOCK]);
    }
}
