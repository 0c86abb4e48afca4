//! Keyed state: one value per key, by key group, knowing which keys have changed.
//!
//! Every stateful step keeps its state here, so that a checkpoint can ask for the changed keys and
//! a restart can hand groups to other workers without the step's knowledge.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use serde::{Serialize, de::DeserializeOwned};

use crate::checkpoint::Piece;
use crate::key::{Key, KeyGroup, key_hash};

/// What a step keeps for a key. Implemented for every type that meets the bounds.
pub trait State: Default + Serialize + DeserializeOwned + 'static {}
impl<T: Default + Serialize + DeserializeOwned + 'static> State for T {}

/// Why a piece of state could not be read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The bytes are not what this step wrote.
    #[error("state of step `{step}` cannot be decoded: {source}")]
    Decode {
        /// The step whose state it is.
        step: String,
        /// What the decoder found.
        source: postcard::Error,
    },
    /// The step is set up in another way than when it wrote the state.
    #[error("state of step `{step}` cannot be used: {reason}")]
    Refused {
        /// The step whose state it is.
        step: String,
        /// What does not fit, and the remedy.
        reason: String,
    },
}

/// The state of one step on one worker: a value of `S` for every key seen.
///
/// The values lie side by side, and an index of four bytes a key finds them, so little is empty and
/// growing moves little. Which keys change is noted only once somebody has asked: a job without
/// checkpoints pays for nothing, and until the first question every key counts as changed anyway.
pub struct KeyedState<K, S> {
    /// Places among the entries, by the hash of the key there.
    index: HashTable<u32>,
    entries: Vec<(K, S)>,
    /// The changes since the last question; `None` before the first.
    changes: Option<Changes<K>>,
}

/// Which keys have changed.
struct Changes<K> {
    /// Which entries have.
    marks: Vec<bool>,
    /// Keys that have gone; some may have come back.
    gone: Vec<K>,
}

impl<K> Changes<K> {
    fn none(entries: usize) -> Self {
        Self {
            marks: vec![false; entries],
            gone: Vec::new(),
        }
    }
}

impl<K: Key, S: State> Default for KeyedState<K, S> {
    fn default() -> Self {
        Self {
            index: HashTable::new(),
            entries: Vec::new(),
            changes: None,
        }
    }
}

impl<K: Key, S: State> KeyedState<K, S> {
    /// The state of `key`, made with `S::default` when the key is new; counts as changed.
    pub fn entry(&mut self, key: &K) -> &mut S {
        self.entry_hashed(key_hash(key), key)
    }

    /// As [`KeyedState::entry`], for a key whose hash is known from [`KeyedState::look_ahead`].
    #[inline]
    pub fn entry_hashed(&mut self, hash: u64, key: &K) -> &mut S {
        let place = match self.place(hash, key) {
            Some(place) => place,
            None => self.insert(hash, key.clone(), S::default()),
        };
        if let Some(changes) = &mut self.changes {
            changes.marks[place] = true;
        }
        &mut self.entries[place].1
    }

    /// Where the entry of `key` is.
    #[inline]
    fn place(&self, hash: u64, key: &K) -> Option<usize> {
        let is = |place: &u32| self.entries[*place as usize].0 == *key;
        self.index.find(hash, is).map(|place| *place as usize)
    }

    /// Adds a key that is not there, and gives its place.
    fn insert(&mut self, hash: u64, key: K, state: S) -> usize {
        let place = self.entries.len();
        self.entries.push((key, state));
        if let Some(changes) = &mut self.changes {
            changes.marks.push(false);
        }
        if place == self.index.capacity() {
            self.grow();
        }
        self.index
            .insert_unique(hash, number(place), rehash(&self.entries));
        place
    }

    /// Makes the index anew with more room: in the order of the entries, where looking their keys up
    /// in the order of the index would wait for memory at each.
    #[cold]
    fn grow(&mut self) {
        // Twice as many places, unless many are taken by keys that have gone.
        self.index = HashTable::with_capacity(self.entries.len() * 9 / 8 + 1);
        let known = self.entries.len() - 1;
        for (place, (key, _)) in self.entries[..known].iter().enumerate() {
            self.index
                .insert_unique(key_hash(key), number(place), rehash(&self.entries));
        }
    }

    /// Takes an entry out; the last one takes its place.
    fn take_out(&mut self, hash: u64, place: usize) -> (K, S) {
        let is = |wanted: usize| move |place: &u32| *place as usize == wanted;
        let found = self.index.find_entry(hash, is(place));
        found.expect("invariant: every entry is indexed").remove();
        let taken = self.entries.swap_remove(place);
        if let Some(changes) = &mut self.changes {
            changes.marks.swap_remove(place);
            changes.gone.push(taken.0.clone());
        }
        if let Some((moved, _)) = self.entries.get(place) {
            let last = is(self.entries.len());
            let found = self.index.find_mut(key_hash(moved), last);
            *found.expect("invariant: every entry is indexed") = number(place);
        }
        taken
    }

    /// Where the entry of the key with this hash is, or that of a key with a like one.
    pub(crate) fn place_by_hash(&self, hash: u64) -> Option<u32> {
        self.index.find(hash, |_| true).copied()
    }

    /// Every key with its state, by place.
    pub(crate) fn entries(&self) -> &[(K, S)] {
        &self.entries
    }

    /// The state of `key`, if it has any.
    pub fn get(&self, key: &K) -> Option<&S> {
        let place = self.place(key_hash(key), key)?;
        Some(&self.entries[place].1)
    }

    /// Drops the state of `key` and returns it, if it had any.
    pub fn remove(&mut self, key: &K) -> Option<S> {
        let hash = key_hash(key);
        let place = self.place(hash, key)?;
        Some(self.take_out(hash, place).1)
    }

    /// Drops the keys whose state `keep` refuses, and returns how many went.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut S) -> bool) -> usize {
        let (before, mut place) = (self.entries.len(), 0);
        while let Some((key, state)) = self.entries.get_mut(place) {
            if keep(key, state) {
                place += 1;
            } else {
                let hash = key_hash(key);
                self.take_out(hash, place);
            }
        }
        before - self.entries.len()
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key has state.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every key with its state, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &S)> {
        self.entries.iter().map(|(key, state)| (key, state))
    }

    /// Whether the next [`take_changed`](Self::take_changed) gives every key.
    pub(crate) fn is_untaken(&self) -> bool {
        self.changes.is_none()
    }

    /// The keys that have changed since the last call or since they were restored, encoded by key
    /// group; a key that has gone is there with no state. The first call on state that was not
    /// restored gives every key.
    ///
    /// # Errors
    /// When a key or a state refuses to be serialised.
    pub fn take_changed(&mut self) -> Result<BTreeMap<KeyGroup, Vec<u8>>, postcard::Error> {
        let changes = self.changes.replace(Changes::none(self.entries.len()));
        let mut groups = BTreeMap::new();
        let (mut gone, mut marks) = (Vec::new(), None);
        if let Some(changes) = changes {
            (gone, marks) = (changes.gone, Some(changes.marks));
        }
        // What has come back goes after what had gone.
        for key in gone {
            let group = KeyGroup::of(key_hash(&key));
            encode_to(&mut groups, group, &(key, None::<&S>))?;
        }
        let is_changed = |place: usize| marks.as_ref().is_none_or(|marks| marks[place]);
        for (place, (key, state)) in self.entries.iter().enumerate() {
            if is_changed(place) {
                let group = KeyGroup::of(key_hash(key));
                encode_to(&mut groups, group, &(key, Some(state)))?;
            }
        }
        Ok(groups)
    }

    /// Takes in what [`KeyedState::take_changed`] gave for one key group.
    ///
    /// # Errors
    /// [`StateError::Decode`] when the bytes are not this step's.
    pub fn restore(&mut self, step: &str, bytes: &[u8]) -> Result<(), StateError> {
        if self.changes.is_none() {
            self.changes = Some(Changes::none(self.entries.len()));
        }
        decode_all(step, bytes, |(key, state)| self.put(key, state))
    }

    fn put(&mut self, key: K, state: Option<S>) {
        let hash = key_hash(&key);
        match (self.place(hash, &key), state) {
            (Some(place), Some(state)) => self.entries[place].1 = state,
            (None, Some(state)) => {
                self.insert(hash, key, state);
            }
            (Some(place), None) => {
                self.take_out(hash, place);
                // It was gone when the bytes were written: that is no change.
                if let Some(changes) = &mut self.changes {
                    changes.gone.pop();
                }
            }
            (None, None) => {}
        }
    }
}

/// What restores the same state of a key group as these pieces do one after the other.
pub(crate) fn merge_pieces<K: Key, S: State>(
    step: &str,
    pieces: &[Piece],
) -> Result<Vec<u8>, String> {
    let mut state = KeyedState::<K, S>::default();
    for piece in pieces {
        let restored = state.restore(step, &piece.bytes);
        restored.map_err(|error| error.to_string())?;
    }
    let mut merged = Vec::new();
    for (key, state) in &state.entries {
        merged =
            postcard::to_extend(&(key, Some(state)), merged).map_err(|error| error.to_string())?;
    }
    Ok(merged)
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("invariant: a worker has fewer than 2^32 keys")
}

/// The hash of the key at a place.
fn rehash<K: Key, S>(entries: &[(K, S)]) -> impl Fn(&u32) -> u64 {
    |place| key_hash(&entries[*place as usize].0)
}

/// Reads values that were encoded one after another.
pub(crate) fn decode_all<T: DeserializeOwned>(
    step: &str,
    mut bytes: &[u8],
    mut take: impl FnMut(T),
) -> Result<(), StateError> {
    while !bytes.is_empty() {
        let (value, rest) = postcard::take_from_bytes(bytes).map_err(|source| {
            let step = step.to_owned();
            StateError::Decode { step, source }
        })?;
        take(value);
        bytes = rest;
    }
    Ok(())
}

/// Encodes a value after those that its group has already.
pub(crate) fn encode_to<T: Serialize>(
    groups: &mut BTreeMap<KeyGroup, Vec<u8>>,
    group: KeyGroup,
    value: &T,
) -> Result<(), postcard::Error> {
    let bytes = groups.entry(group).or_default();
    *bytes = postcard::to_extend(value, std::mem::take(bytes))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(state: &KeyedState<u64, u32>) -> BTreeMap<u64, u32> {
        state.iter().map(|(key, value)| (*key, *value)).collect()
    }

    #[test]
    fn changed_keys_restore_elsewhere_and_only_the_changed_ones_are_taken() {
        let mut state = KeyedState::<u64, u32>::default();
        (0..100).for_each(|key| *state.entry(&key) += 1);
        let base = state.take_changed().unwrap();
        *state.entry(&7) += 10;
        assert_eq!(state.retain(|key, _| *key != 8), 1);
        let delta = state.take_changed().unwrap();
        assert_eq!(
            delta.values().map(|bytes| bytes.len()).sum::<usize>(),
            3 + 2
        );

        let mut restored = KeyedState::<u64, u32>::default();
        for bytes in base.values().chain(delta.values()) {
            restored.restore("count", bytes).unwrap();
        }
        assert_eq!(contents(&restored), contents(&state));
        assert_eq!(restored.get(&7), Some(&11));
        assert_eq!(restored.get(&8), None);
        assert!(restored.take_changed().unwrap().is_empty());
    }

    #[test]
    fn changes_are_noted_only_once_somebody_asks() {
        let mut state = KeyedState::<u64, u32>::default();
        (0..100).for_each(|key| *state.entry(&key) += 1);
        state.retain(|key, _| key % 2 == 0);
        state.remove(&98);
        assert!(state.changes.is_none(), "a key is kept for nobody");
        let mut restored = KeyedState::<u64, u32>::default();
        for bytes in state.take_changed().unwrap().values() {
            restored.restore("count", bytes).unwrap();
        }
        assert_eq!(contents(&restored), contents(&state));
        assert!(state.take_changed().unwrap().is_empty());
        (0..3).for_each(|_| *restored.entry(&4) += 1);
        let changes = restored.changes.as_ref().unwrap();
        assert_eq!(changes.marks.iter().filter(|mark| **mark).count(), 1);
    }

    #[test]
    fn a_key_that_goes_and_comes_back_between_two_takes_is_restored_as_it_is() {
        let mut state = KeyedState::<u64, u32>::default();
        *state.entry(&1) = 10;
        *state.entry(&2) = 20;
        let base = state.take_changed().unwrap();
        assert_eq!(state.remove(&1), Some(10));
        *state.entry(&1) += 11;
        *state.entry(&2) += 1;
        assert_eq!(state.remove(&2), Some(21));
        assert_eq!(state.remove(&3), None);
        let delta = state.take_changed().unwrap();

        let mut restored = KeyedState::<u64, u32>::default();
        for bytes in base.values().chain(delta.values()) {
            restored.restore("count", bytes).unwrap();
        }
        assert_eq!(contents(&restored), BTreeMap::from([(1, 11)]));
    }

    #[test]
    fn many_keys_come_and_go_as_in_a_map() {
        let (mut state, mut map) = (KeyedState::<u64, u32>::default(), BTreeMap::new());
        let mut base = BTreeMap::new();
        let mut random = 1u64;
        for step in 0..60_000u32 {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let key = (random >> 33) % 5_000;
            match (random >> 60, step) {
                (0..9, _) => {
                    *state.entry(&key) += step;
                    *map.entry(key).or_default() += step;
                }
                (9..15, _) => assert_eq!(state.remove(&key), map.remove(&key)),
                (_, _) if step % 40 == 0 => {
                    let kept = |key: &u64| key % 7 != u64::from(step) % 7;
                    let before = map.len();
                    map.retain(|key, _| kept(key));
                    assert_eq!(state.retain(|key, _| kept(key)), before - map.len());
                }
                _ => assert_eq!(state.get(&key), map.get(&key)),
            }
            if step % 20_000 == 9_999 {
                for (group, bytes) in state.take_changed().unwrap() {
                    base.entry(group).or_insert_with(Vec::new).extend(bytes);
                }
                let mut restored = KeyedState::<u64, u32>::default();
                for bytes in base.values() {
                    restored.restore("count", bytes).unwrap();
                }
                assert_eq!(contents(&restored), map);
                assert!(restored.take_changed().unwrap().is_empty());
            }
        }
        assert_eq!((contents(&state), state.len()), (map.clone(), map.len()));
        assert!(map.len() > 1_000);
    }

    #[test]
    fn merged_pieces_restore_what_they_do_one_after_the_other() {
        let mut state = KeyedState::<u64, u32>::default();
        let mut taken = BTreeMap::<_, Vec<Piece>>::new();
        for round in 0..5 {
            (0..50).for_each(|key| *state.entry(&(key * (round + 1) % 70)) += 1);
            state.retain(|key, _| key % 11 != round);
            for (group, bytes) in state.take_changed().unwrap() {
                taken.entry(group).or_default().push(Piece {
                    state_version: 1,
                    fingerprint: 0,
                    bytes,
                });
            }
        }
        let mut restored = KeyedState::<u64, u32>::default();
        for pieces in taken.values() {
            let merged = merge_pieces::<u64, u32>("count", pieces).unwrap();
            let bytes: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
            assert!(merged.len() <= bytes);
            restored.restore("count", &merged).unwrap();
        }
        assert_eq!(contents(&restored), contents(&state));
    }

    #[test]
    fn foreign_bytes_are_refused_by_name() {
        let mut state = KeyedState::<String, u32>::default();
        let error = state.restore("count", &[250, 1, 2]).unwrap_err();
        assert!(error.to_string().contains("`count`"));
    }
}
