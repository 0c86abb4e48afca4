//! What the join with latest values keeps, as it is written: the facts and the value of each key,
//! and the records that wait for their tick.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::latest_index::Place;
use crate::key::{Key, KeyGroup, key_hash};
use crate::record::{Data, Origin, Record};
use crate::state::{StateError, decode_all, encode_to};
use crate::version::Version;
use crate::watermark::Watermark;

/// The number of a fact or a value on this worker, all that differential knows of it.
pub(super) type Number = u64;
type Groups = BTreeMap<KeyGroup, Vec<u8>>;

/// What is kept for a key.
#[derive(Serialize, Deserialize)]
pub(super) struct Related<L, R> {
    pub(super) format: Version<1>,
    /// The horizon under which it was written: what a longer one asks for has gone.
    pub(super) horizon_us: u64,
    /// The live facts, in the order of their numbers.
    pub(super) facts: SmallVec<[Numbered<L>; 1]>,
    /// The last value in event-time order.
    pub(super) latest: Option<Numbered<R>>,
    #[serde(skip)]
    pub(super) place: Option<Place>,
}

impl<L, R> Default for Related<L, R> {
    fn default() -> Self {
        Self {
            format: Version,
            horizon_us: 0,
            facts: SmallVec::new(),
            latest: None,
            place: None,
        }
    }
}

/// A fact or a value.
#[derive(Serialize, Deserialize)]
pub(super) struct Numbered<T> {
    #[serde(skip)]
    pub(super) number: Number,
    pub(super) record: Record<T>,
}

/// What has come in a tick that is still to be taken in.
pub(super) struct Waiting<K, L, R> {
    pub(super) facts: Vec<Vec<Record<(K, L)>>>,
    pub(super) values: Vec<Vec<Record<(K, R)>>>,
    /// The watermarks of inputs, in the order in which they came.
    pub(super) watermarks: Vec<(usize, Watermark)>,
}

impl<K, L, R> Default for Waiting<K, L, R> {
    fn default() -> Self {
        Self {
            facts: Vec::new(),
            values: Vec::new(),
            watermarks: Vec::new(),
        }
    }
}

impl<K, L, R> Waiting<K, L, R> {
    pub(super) fn origins(&self) -> impl Iterator<Item = Origin> {
        let facts = self.facts.iter().flatten().map(|record| record.origin);
        facts.chain(self.values.iter().flatten().map(|record| record.origin))
    }
}

impl<K: Key, L: Data, R: Data> Waiting<K, L, R> {
    /// Writes the records after those that their groups have already.
    pub(super) fn encode(&self, groups: &mut Groups) -> Result<(), postcard::Error> {
        let group = |key| KeyGroup::of(key_hash(key));
        for record in self.facts.iter().flatten() {
            let side = Side::<_, ()>::Fact(record);
            encode_to(groups, group(&record.value.0), &side)?;
        }
        for record in self.values.iter().flatten() {
            let side = Side::<(), _>::Value(record);
            encode_to(groups, group(&record.value.0), &side)?;
        }
        Ok(())
    }

    /// Reads the records of a group.
    pub(super) fn decode(&mut self, step: &str, bytes: &[u8]) -> Result<(), StateError> {
        decode_all(step, bytes, |side| match side {
            Side::Fact(record) => self.facts.push(vec![record]),
            Side::Value(record) => self.values.push(vec![record]),
        })
    }
}

/// A record of either side that waits, as it is written.
#[derive(Serialize, Deserialize)]
enum Side<F, V> {
    Fact(F),
    Value(V),
}
