//! Reading the state of a step back.

use std::collections::BTreeMap;

use crate::key::KeyGroup;

/// What one part says of a key group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The version of the form in which it is written.
    pub state_version: u32,
    /// The fingerprint of the state's type.
    pub fingerprint: u64,
    /// The content.
    pub bytes: Vec<u8>,
}

/// The state of a step, by content and key group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces(pub(super) BTreeMap<String, BTreeMap<KeyGroup, Vec<Piece>>>);

impl Pieces {
    /// What there is of a content, by key group: the pieces are to be taken in one after the other.
    pub fn take(&mut self, content: &str) -> BTreeMap<KeyGroup, Vec<Piece>> {
        self.0.remove(content).unwrap_or_default()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
