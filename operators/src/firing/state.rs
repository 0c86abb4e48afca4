//! [`KeyWindows`]: the open windows of one key.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thalweg_engine::expiry::Expiry;
use thalweg_engine::key::Key;
use thalweg_engine::time::EventTime;

use super::blocks::Blocks;
use super::layout::position;
use super::slice::Slice;

/// The version that is written; every version up to it can be read.
const VERSION: u8 = 2;

/// No early firing is due.
pub(super) const NEVER: i64 = i64::MAX;

/// The open windows of one key: `S` is the state of the aggregate.
///
/// Serialised as a version number, the fingerprint of the declaration, and what is [`Kept`].
pub(crate) struct KeyWindows<S> {
    /// Of the windows' declaration: see [`Windows::accepts`](super::Windows::accepts). 0 where it
    /// is not known.
    pub(super) fingerprint: u32,
    pub(super) kept: Kept<S>,
    /// For when the key has been put down to be looked at: the step's memory, not state.
    pub(crate) scheduled: Option<EventTime>,
    /// Whether the key is down to be looked at by the clock: as before.
    pub(crate) is_fresh: bool,
    /// What can be computed from the slices.
    pub(super) blocks: Option<Box<Blocks<S>>>,
}

/// The state itself.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept<S> {
    /// Up to which position every window that has ended has fired.
    pub(super) settled: i64,
    /// Events taken in, where windows are counts of events.
    pub(super) counted: i64,
    /// Slices by number; none is kept that no open window is made of.
    pub(super) slices: VecDeque<Slice<S>>,
    /// What is to be known of windows that may fire again, by window; sessions by their first
    /// event's position.
    pub(super) marks: VecDeque<(i64, Mark)>,
}

/// What is to be known of a window that may fire again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// How often it has fired.
    pub(super) panes: u32,
    /// Events since it last fired.
    pub(super) fresh: u64,
    /// When it fires early, by the period.
    pub(super) early_at: i64,
}

impl Default for Mark {
    fn default() -> Self {
        Self {
            panes: 0,
            fresh: 0,
            early_at: NEVER,
        }
    }
}

impl Mark {
    /// The mark of a session made of two.
    pub(super) fn merge(&mut self, other: Self) {
        self.panes = self.panes.max(other.panes);
        self.fresh += other.fresh;
        self.early_at = self.early_at.min(other.early_at);
    }
}

impl<S> Kept<S> {
    pub(super) fn mark(&mut self, window: i64) -> &mut Mark {
        let place = self.marks.partition_point(|(known, _)| *known < window);
        if self
            .marks
            .get(place)
            .is_none_or(|(known, _)| *known != window)
        {
            self.marks.insert(place, (window, Mark::default()));
        }
        &mut self.marks[place].1
    }

    pub(super) fn take_mark(&mut self, window: i64) -> Option<Mark> {
        let place = self
            .marks
            .binary_search_by_key(&window, |(known, _)| *known);
        self.marks.remove(place.ok()?).map(|(_, mark)| mark)
    }
}

impl<S> KeyWindows<S> {
    /// Whether nothing is kept for the key, so that it may be forgotten.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.slices.is_empty() && self.kept.marks.is_empty()
    }

    /// Puts the key down for when it is due, unless it is down for an earlier time.
    pub(crate) fn schedule<K: Key>(&mut self, key: &K, due: EventTime, expiry: &mut Expiry<K>) {
        if self.scheduled.is_none_or(|scheduled| due < scheduled) {
            expiry.schedule(key, due);
            self.scheduled = Some(due);
        }
    }
}

impl<S> From<Kept<S>> for KeyWindows<S> {
    fn from(kept: Kept<S>) -> Self {
        Self {
            fingerprint: 0,
            kept,
            scheduled: None,
            is_fresh: false,
            blocks: None,
        }
    }
}

impl<S> Default for KeyWindows<S> {
    fn default() -> Self {
        Self::from(Kept {
            settled: position(EventTime::MIN),
            counted: 0,
            slices: VecDeque::new(),
            marks: VecDeque::new(),
        })
    }
}

impl<S: Serialize> Serialize for KeyWindows<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        (VERSION, self.fingerprint, &self.kept).serialize(serializer)
    }
}

impl<'de, S: Clone + Deserialize<'de>> Deserialize<'de> for KeyWindows<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(3, Versioned(PhantomData))
    }
}

/// Reads what the version before it says it is.
struct Versioned<S>(PhantomData<S>);

impl<'de, S: Clone + Deserialize<'de>> de::Visitor<'de> for Versioned<S> {
    type Value = KeyWindows<S>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("windows of a key: a format version, a fingerprint and what is kept")
    }

    fn visit_seq<P: de::SeqAccess<'de>>(self, mut parts: P) -> Result<KeyWindows<S>, P::Error> {
        let missing = |part| de::Error::invalid_length(part, &self);
        let version: u8 = parts.next_element()?.ok_or_else(|| missing(0))?;
        let fingerprint = match version {
            1 => 0,
            VERSION => parts.next_element()?.ok_or_else(|| missing(1))?,
            _ => {
                return Err(de::Error::custom(format_args!(
                    "windows of format version {version}; this build reads up to {VERSION}"
                )));
            }
        };
        let kept: Kept<S> = parts.next_element()?.ok_or_else(|| missing(2))?;
        let sound = kept.slices.iter().is_sorted_by_key(|slice| slice.index)
            && kept.marks.iter().is_sorted_by_key(|(window, _)| *window)
            && kept.slices.iter().all(Slice::is_sound);
        if !sound {
            return Err(de::Error::custom(
                "windows out of order; the state is corrupt",
            ));
        }
        Ok(KeyWindows {
            fingerprint,
            ..KeyWindows::from(kept)
        })
    }
}
