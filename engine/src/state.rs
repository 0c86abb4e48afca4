//! Keyed state: one value per key, by key group, knowing which keys have changed.
//!
//! Every stateful step keeps its state here, so that a checkpoint can ask for the changed keys and
//! a restart can hand groups to other workers without the step's knowledge.

mod changes;

use std::collections::BTreeMap;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};

use changes::Changes;
pub(crate) use changes::EncodedKeys;

use crate::checkpoint::Piece;
use crate::key::{Key, KeyGroup, key_hash};

/// What a step keeps for a key. Implemented for every type that meets the bounds.
pub trait State: Default + Serialize + DeserializeOwned + 'static {}
impl<T: Default + Serialize + DeserializeOwned + 'static> State for T {}

/// How changed keys are to be taken.
#[derive(Default)]
pub(crate) struct TakeHow {
    /// Whether all keys are to be taken if most have changed: little more is to be written then, and
    /// whatever was taken before counts no more.
    pub(crate) as_base: bool,
    /// Empty buffers, by key group, that need no memory to be fetched.
    pub(crate) room: EncodedKeys,
}

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
            changes.changing(place, hash, &self.entries[place]);
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
            changes.added();
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
        if let Some(changes) = &mut self.changes {
            changes.leaving(place, &self.entries[place]);
        }
        let taken = self.entries.swap_remove(place);
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

    /// Asks for the memory in which it is noted whether an entry has changed.
    #[inline]
    pub(crate) fn ask_for_mark(&self, place: usize) {
        if let Some(changes) = &self.changes {
            changes.ask_for(place);
        }
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
        while let Some(entry) = self.entries.get_mut(place) {
            if let Some(changes) = &mut self.changes {
                changes.encode_due(place, entry);
            }
            let (key, state) = entry;
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

    /// The keys that have changed since the last call or since they were restored, encoded by key
    /// group; a key that has gone is there with no state. The first call on state that was not
    /// restored gives every key.
    ///
    /// # Errors
    /// When a key or a state refuses to be serialised.
    pub fn take_changed(&mut self) -> Result<BTreeMap<KeyGroup, Vec<u8>>, postcard::Error> {
        self.begin_taking(TakeHow::default());
        let taken = self.take_some(usize::MAX)?;
        Ok(taken.expect("invariant: no key is left"))
    }

    /// Begins to take the keys that have changed, as [`KeyedState::take_changed`] does, as they are
    /// now: they may change before [`KeyedState::take_some`] comes to them. Returns whether these
    /// are all keys: where nobody has asked before, and where that is wanted and most have changed.
    ///
    /// # Panics
    /// When some are still being taken.
    pub(crate) fn begin_taking(&mut self, how: TakeHow) -> bool {
        let is_first = self.changes.is_none();
        let entries = self.entries.len();
        let changes = self.changes.get_or_insert_with(|| Changes::all(entries));
        changes.begin::<S>(how) || is_first
    }

    /// Encodes up to `most` more of the keys that are being taken. Gives all of them once none is
    /// left.
    ///
    /// # Errors
    /// When a key or a state refuses to be serialised.
    pub(crate) fn take_some(
        &mut self,
        most: usize,
    ) -> Result<Option<EncodedKeys>, postcard::Error> {
        let changes = self.changes.as_mut();
        changes.map_or(Ok(Some(EncodedKeys::new())), |changes| {
            changes.proceed(&self.entries, most)
        })
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
                    changes.forget_last_gone();
                }
            }
            (None, None) => {}
        }
    }
}

/// What restores the same state of a key group as these pieces do one after the other: of each key what
/// was written last, as it stands there.
pub(crate) fn merge_pieces<K: Key, S: State>(
    step: &str,
    pieces: &[Piece],
) -> Result<Vec<u8>, String> {
    let mut places = HashTable::<(K, usize)>::new();
    let mut newest: Vec<&[u8]> = Vec::new();
    for piece in pieces {
        let read = decode_each(step, &piece.bytes, |(key, state): (K, Option<S>), bytes| {
            let bytes = if state.is_some() { bytes } else { &[] };
            let rehash = |(key, _): &(K, usize)| key_hash(key);
            match places.entry(key_hash(&key), |(known, _)| *known == key, rehash) {
                Entry::Occupied(known) => newest[known.get().1] = bytes,
                Entry::Vacant(new) => {
                    new.insert((key, newest.len()));
                    newest.push(bytes);
                }
            }
        });
        read.map_err(|error| error.to_string())?;
    }
    Ok(newest.concat())
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
    bytes: &[u8],
    mut take: impl FnMut(T),
) -> Result<(), StateError> {
    decode_each(step, bytes, |value, _| take(value))
}

/// Reads values that were encoded one after another, each with its bytes.
fn decode_each<'b, T: DeserializeOwned>(
    step: &str,
    mut bytes: &'b [u8],
    mut take: impl FnMut(T, &'b [u8]),
) -> Result<(), StateError> {
    while !bytes.is_empty() {
        let (value, rest) = postcard::take_from_bytes(bytes).map_err(|source| {
            let step = step.to_owned();
            StateError::Decode { step, source }
        })?;
        take(value, &bytes[..bytes.len() - rest.len()]);
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
    postcard::serialize_with_flavor(value, Append(groups.entry(group).or_default()))
}

/// Has postcard write behind what is there, in pieces as large as they come.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "state/tests.rs"]
mod tests;
