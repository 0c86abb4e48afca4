//! Keyed state: one value per key, by key group, knowing which keys have changed.
//!
//! Every stateful step keeps its state here, so that a checkpoint can ask for the changed keys and
//! a restart can hand groups to other workers without the step's knowledge.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use serde::{Serialize, de::DeserializeOwned};

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

/// So many keys are near anyway: looking ahead at their states would be work for nothing.
const FEW_KEYS: usize = 1_024;

/// How many keys [`KeyedState::look_ahead`] takes.
pub const LOOK_AHEAD: usize = 32;

struct Entry<K, S> {
    hash: u64,
    key: K,
    state: S,
    changed: bool,
}

/// The state of one step on one worker: a value of `S` for every key seen.
///
/// Which keys change is noted only once somebody has asked: a job without checkpoints pays for
/// nothing, and until the first question every key counts as changed anyway.
pub struct KeyedState<K, S> {
    entries: HashTable<Entry<K, S>>,
    /// The keys that have changed since the last question; `None` before the first.
    changed: Option<Vec<(u64, K)>>,
}

impl<K: Key, S: State> Default for KeyedState<K, S> {
    fn default() -> Self {
        Self {
            entries: HashTable::new(),
            changed: None,
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
        let entry = self
            .entries
            .entry(hash, |entry| entry.key == *key, |entry| entry.hash)
            .or_insert_with(|| Entry {
                hash,
                key: key.clone(),
                state: S::default(),
                changed: false,
            })
            .into_mut();
        if let Some(changed) = &mut self.changed
            && !entry.changed
        {
            entry.changed = true;
            changed.push((hash, key.clone()));
        }
        &mut entry.state
    }

    /// Gives the hashes of the keys whose turn is next, after `touch` has had a look at their states.
    ///
    /// Where there are many keys, most of an event's time is waiting for memory, one place after
    /// the other. Looks at many states in a row do not wait for each other. Nothing depends on it,
    /// and where there are few keys it is left out.
    ///
    /// # Panics
    /// When there are more keys than [`LOOK_AHEAD`].
    pub fn look_ahead<'a>(
        &self,
        keys: impl Iterator<Item = &'a K>,
        touch: impl FnOnce(&[Option<&S>]),
    ) -> [u64; LOOK_AHEAD] {
        let mut hashes = [0; LOOK_AHEAD];
        let mut states = [None; LOOK_AHEAD];
        let mut count = 0;
        for key in keys {
            hashes[count] = key_hash(key);
            count += 1;
        }
        if self.entries.len() < FEW_KEYS {
            return hashes;
        }
        for (state, hash) in states.iter_mut().zip(hashes).take(count) {
            let found = self.entries.find(hash, |entry| entry.hash == hash);
            *state = found.map(|entry| &entry.state);
        }
        touch(&states[..count]);
        hashes
    }

    /// The state of `key`, if it has any.
    pub fn get(&self, key: &K) -> Option<&S> {
        let hash = key_hash(key);
        self.entries
            .find(hash, |entry| entry.key == *key)
            .map(|entry| &entry.state)
    }

    /// Drops the state of `key` and returns it, if it had any.
    pub fn remove(&mut self, key: &K) -> Option<S> {
        let hash = key_hash(key);
        let found = self.entries.find_entry(hash, |entry| entry.key == *key);
        let (entry, _) = found.ok()?.remove();
        if let (false, Some(changed)) = (entry.changed, &mut self.changed) {
            changed.push((hash, entry.key));
        }
        Some(entry.state)
    }

    /// Drops the keys whose state `keep` refuses, and returns how many went.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut S) -> bool) -> usize {
        let before = self.entries.len();
        let changed = &mut self.changed;
        self.entries.retain(|entry| {
            let kept = keep(&entry.key, &mut entry.state);
            if let (false, false, Some(changed)) = (kept, entry.changed, changed.as_mut()) {
                changed.push((entry.hash, entry.key.clone()));
            }
            kept
        });
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
        self.entries.iter().map(|entry| (&entry.key, &entry.state))
    }

    /// The keys that have changed since the last call or since they were restored, encoded by key
    /// group; a key that has gone is there with no state. The first call on state that was not
    /// restored gives every key.
    ///
    /// # Errors
    /// When a key or a state refuses to be serialised.
    pub fn take_changed(&mut self) -> Result<BTreeMap<KeyGroup, Vec<u8>>, postcard::Error> {
        let mut groups = BTreeMap::new();
        match self.changed.replace(Vec::new()) {
            None => {
                for entry in &self.entries {
                    encode_to(
                        &mut groups,
                        KeyGroup::of(entry.hash),
                        &(&entry.key, Some(&entry.state)),
                    )?;
                }
            }
            Some(changed) => {
                for (hash, key) in changed {
                    let entry = self.entries.find_mut(hash, |entry| entry.key == key);
                    let state = entry.map(|entry| {
                        entry.changed = false;
                        &entry.state
                    });
                    encode_to(&mut groups, KeyGroup::of(hash), &(&key, state))?;
                }
            }
        }
        Ok(groups)
    }

    /// Takes in what [`KeyedState::take_changed`] gave for one key group.
    ///
    /// # Errors
    /// [`StateError::Decode`] when the bytes are not this step's.
    pub fn restore(&mut self, step: &str, bytes: &[u8]) -> Result<(), StateError> {
        self.changed.get_or_insert_default();
        decode_all(step, bytes, |(key, state)| self.put(key, state))
    }

    fn put(&mut self, key: K, state: Option<S>) {
        let hash = key_hash(&key);
        if let Ok(entry) = self.entries.find_entry(hash, |entry| entry.key == key) {
            entry.remove();
        }
        if let Some(state) = state {
            let entry = Entry {
                hash,
                key,
                state,
                changed: false,
            };
            self.entries.insert_unique(hash, entry, |entry| entry.hash);
        }
    }
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
        assert!(state.changed.is_none(), "a key is kept for nobody");
        let mut restored = KeyedState::<u64, u32>::default();
        for bytes in state.take_changed().unwrap().values() {
            restored.restore("count", bytes).unwrap();
        }
        assert_eq!(contents(&restored), contents(&state));
        assert!(state.take_changed().unwrap().is_empty());
        (0..3).for_each(|_| *restored.entry(&4) += 1);
        assert_eq!(restored.changed.as_ref().map(Vec::len), Some(1));
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
    fn foreign_bytes_are_refused_by_name() {
        let mut state = KeyedState::<String, u32>::default();
        let error = state.restore("count", &[250, 1, 2]).unwrap_err();
        assert!(error.to_string().contains("`count`"));
    }
}
