//! Which keys have changed, and taking them while the state goes on changing: those that have changed
//! by some moment are marked, and encoded little by little, each as it was at that moment.

use std::collections::BTreeMap;

use prefetch_index::prefetch_index;
use serde::Serialize;

use super::{Append, State, TakeHow};
use crate::key::{KEY_GROUPS, Key, KeyGroup, key_hash};
use crate::turns::{self, Defect};

/// Encoded keys with their states, by key group.
pub(crate) type EncodedKeys = BTreeMap<KeyGroup, Vec<u8>>;

/// How an entry stands to what was taken last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Same,
    Changed,
    /// It belongs to what is being taken, and is still to be encoded.
    Due,
}

/// The changes of some entries, which know one another by their places.
pub(super) struct Changes<K> {
    marks: Vec<Mark>,
    /// Keys that have gone; some may have come back.
    gone: Vec<K>,
    taking: Option<Taking>,
    /// Bytes of each group when it was taken last: it will have about as many the next time.
    bytes: Vec<usize>,
}

/// What is being taken.
struct Taking {
    groups: Vec<Vec<u8>>,
    /// How many entries are due.
    due: usize,
    /// No entry from here on is due. The last entry may take the place of one that goes: it comes from
    /// behind this, or is still before it.
    end: usize,
    error: Option<postcard::Error>,
}

impl<K: Key> Changes<K> {
    /// So many entries, which have not changed.
    pub(super) fn none(entries: usize) -> Self {
        Self::of(vec![Mark::Same; entries])
    }

    /// So many entries, all of which have changed.
    pub(super) fn all(entries: usize) -> Self {
        Self::of(vec![Mark::Changed; entries])
    }

    fn of(marks: Vec<Mark>) -> Self {
        Self {
            marks,
            gone: Vec::new(),
            taking: None,
            bytes: vec![0; KEY_GROUPS],
        }
    }

    /// Asks for the memory of an entry's mark.
    #[inline]
    pub(super) fn ask_for(&self, place: usize) {
        prefetch_index(&self.marks, place);
    }

    /// Takes note of a new entry, behind all others.
    pub(super) fn added(&mut self) {
        self.marks.push(Mark::Same);
    }

    /// Takes note that an entry is about to change.
    #[inline]
    pub(super) fn changing<S: State>(&mut self, place: usize, hash: u64, entry: &(K, S)) {
        if self.marks[place] == Mark::Due {
            if turns::is_planted(Defect::ChangedBeforeTaken) {
                return;
            }
            self.encode(place, hash, entry);
        }
        self.marks[place] = Mark::Changed;
    }

    /// Encodes an entry that somebody is about to have a hand on, if it is due.
    pub(super) fn encode_due<S: State>(&mut self, place: usize, entry: &(K, S)) {
        if self.marks[place] == Mark::Due {
            self.encode(place, key_hash(&entry.0), entry);
        }
    }

    /// Takes note that an entry goes, and the last one takes its place.
    pub(super) fn leaving<S: State>(&mut self, place: usize, entry: &(K, S)) {
        self.encode_due(place, entry);
        self.marks.swap_remove(place);
        self.gone.push(entry.0.clone());
    }

    /// Forgets of the key that has gone last that it has.
    pub(super) fn forget_last_gone(&mut self) {
        self.gone.pop();
    }

    /// Begins to take what has changed by now, or everything, and tells whether it is everything.
    pub(super) fn begin<S: State>(&mut self, how: TakeHow) -> bool {
        assert!(
            self.taking.is_none(),
            "invariant: what is being taken comes to its end first"
        );
        let changed = self.marks.iter().filter(|mark| **mark == Mark::Changed);
        let changed = changed.count();
        let takes_all = how.as_base && 2 * changed >= self.marks.len();
        for mark in &mut self.marks {
            let is_due = takes_all || *mark == Mark::Changed;
            *mark = if is_due { Mark::Due } else { Mark::Same };
        }
        let mut groups = vec![Vec::new(); KEY_GROUPS];
        for (group, room) in how.room {
            groups[usize::from(group.0)] = room;
        }
        let mut taking = Taking {
            groups,
            due: if takes_all { self.marks.len() } else { changed },
            end: self.marks.len(),
            error: None,
        };
        // What has come back goes after what had gone. All that is there says what has gone, too.
        for key in std::mem::take(&mut self.gone) {
            if !takes_all {
                taking.write(&self.bytes, key_hash(&key), &(key, None::<&S>));
            }
        }
        self.taking = Some(taking);
        takes_all
    }

    /// Encodes up to `most` of the entries that are due. Gives what was taken once none is.
    pub(super) fn proceed<S: State>(
        &mut self,
        entries: &[(K, S)],
        most: usize,
    ) -> Result<Option<EncodedKeys>, postcard::Error> {
        let Some(taking) = &mut self.taking else {
            return Ok(Some(EncodedKeys::new()));
        };
        taking.end = taking.end.min(entries.len());
        let mut left = most;
        while taking.due > 0 && left > 0 {
            let due = self.marks[..taking.end]
                .iter()
                .rposition(|mark| *mark == Mark::Due);
            let place = due.expect("invariant: what is due is before the end");
            let (key, state) = &entries[place];
            taking.write(&self.bytes, key_hash(key), &(key, Some(state)));
            self.marks[place] = Mark::Same;
            taking.end = place;
            taking.due -= 1;
            left -= 1;
        }
        if taking.due > 0 {
            return Ok(None);
        }
        let groups = self.taking.take().map_or(Ok(Vec::new()), Taking::finish)?;
        self.bytes = groups.iter().map(Vec::len).collect();
        let with_content = (0..=u8::MAX).map(KeyGroup).zip(groups);
        Ok(Some(
            with_content
                .filter(|(_, bytes)| !bytes.is_empty())
                .collect(),
        ))
    }

    #[inline(never)]
    fn encode<S: State>(&mut self, place: usize, hash: u64, (key, state): &(K, S)) {
        if let Some(taking) = &mut self.taking {
            taking.write(&self.bytes, hash, &(key, Some(state)));
            taking.due -= 1;
        }
        self.marks[place] = Mark::Same;
    }
}

impl Taking {
    /// Encodes a key and what has become of its state.
    fn write(&mut self, expected: &[usize], hash: u64, value: &impl Serialize) {
        let group = usize::from(KeyGroup::of(hash).0);
        let bytes = &mut self.groups[group];
        if bytes.capacity() == 0 {
            bytes.reserve(expected[group] + expected[group] / 8);
        }
        if let Err(error) = postcard::serialize_with_flavor(value, Append(bytes)) {
            self.error = Some(error);
        }
    }

    fn finish(self) -> Result<Vec<Vec<u8>>, postcard::Error> {
        self.error.map_or(Ok(self.groups), Err)
    }
}
