//! Reading the state of a step back.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use super::error::CheckpointError;
use super::groups::KeyGroups;
use super::part::{PartContent, PartReader, PartRef};
use crate::key::KeyGroup;
use crate::turns;

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
pub struct Pieces(BTreeMap<String, BTreeMap<KeyGroup, Vec<Piece>>>);

impl Pieces {
    /// What there is of a content, by key group: the pieces are to be taken in one after the other.
    pub fn take(&mut self, content: &str) -> BTreeMap<KeyGroup, Vec<Piece>> {
        self.0.remove(content).unwrap_or_default()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads what the parts, in their order, say of the groups.
    pub(super) fn read<'p>(
        reader: &PartReader<'_>,
        parts: impl IntoIterator<Item = &'p PartRef>,
        groups: KeyGroups,
    ) -> Result<Self, CheckpointError> {
        let parts = parts.into_iter();
        let parts: Vec<_> = parts
            .filter(|part| !part.groups.intersection(groups).is_empty())
            .collect();
        let mut pieces = Self::default();
        for (part, content) in parts.iter().zip(contents(reader, &parts, groups)) {
            let content = content?;
            let of_content = pieces.0.entry(part.content.clone()).or_default();
            if part.kind.is_base() {
                of_content.retain(|group, _| !part.groups.contains(*group));
            }
            for (group, bytes) in content {
                of_content.entry(group).or_default().push(Piece {
                    state_version: part.state_version,
                    fingerprint: part.fingerprint,
                    bytes,
                });
            }
        }
        pieces.0.retain(|_, groups| !groups.is_empty());
        Ok(pieces)
    }
}

/// The contents of parts, in their order, read and unpacked by as many threads as there are cores.
fn contents(
    reader: &PartReader<'_>,
    parts: &[&PartRef],
    groups: KeyGroups,
) -> Vec<Result<PartContent, CheckpointError>> {
    if turns::is_simulated() || parts.len() < 2 {
        let read = parts.iter().map(|part| reader.content(part, groups));
        return read.collect();
    }
    let threads = available_parallelism()
        .map_or(1, NonZero::get)
        .min(parts.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let turns = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let mine = turns.map_while(|turn| Some((turn, reader.content(parts.get(turn)?, groups))));
        mine.collect::<Vec<_>>()
    };
    let mut contents: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let read = threads.into_iter().map(|thread| thread.join());
        read.flat_map(|read| read.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    contents.sort_unstable_by_key(|(turn, _)| *turn);
    contents.into_iter().map(|(_, content)| content).collect()
}
