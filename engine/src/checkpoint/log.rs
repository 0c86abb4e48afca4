//! The log of manifests and fences: a file per entry, numbered from 1.
//!
//! Entry `n` is made only if it is absent, so of several writers one gets it. Old manifests are deleted;
//! fences never are: a generation that has slept for long finds the fence of the next one exactly where
//! it would append, whatever has happened since.

use std::sync::Arc;

use super::entry::Entry;
use super::error::{CheckpointError, StoreError, StoreErrorKind};
use super::manifest::{Epoch, Manifest};
use super::store::Store;

const FOLDER: &str = "log";

/// How often an entry is read before its store is said to be away: a start reads all since the oldest
/// that is kept, and leaves one more behind when it fails.
const READS: usize = 5;

/// The log of one pipeline.
#[derive(Clone, Debug)]
pub(super) struct Log {
    store: Arc<dyn Store>,
    pipeline: String,
}

/// How an append has ended.
pub(super) enum Appended {
    /// The entry is ours.
    Ours,
    /// Somebody else's entry is there.
    Lost(Entry),
}

impl Log {
    pub(super) fn new(store: Arc<dyn Store>, pipeline: String) -> Self {
        Self { store, pipeline }
    }

    /// The file of an entry.
    pub(super) fn file(number: u64) -> String {
        format!("{FOLDER}/{number:020}.json")
    }

    /// The name of an entry's file for people.
    pub(super) fn shown(&self, number: u64) -> String {
        shown(&*self.store, &Self::file(number))
    }

    /// The numbers of the entries that are there, ascending.
    pub(super) fn numbers(&self) -> Result<Vec<u64>, CheckpointError> {
        let objects = self.store.list(FOLDER);
        let objects = objects.map_err(store_error("list", &*self.store, FOLDER))?;
        let mut numbers: Vec<u64> = objects
            .iter()
            .filter_map(|object| {
                let number = object.name.strip_prefix("log/")?.strip_suffix(".json")?;
                let number = number.parse().ok()?;
                (Self::file(number) == object.name).then_some(number)
            })
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Reads an entry; none where it is not there.
    pub(super) fn read(&self, number: u64) -> Result<Option<Entry>, CheckpointError> {
        let file = Self::file(number);
        let mut read = self.store.read(&file);
        for _ in 1..READS {
            match read {
                Err(error) if error.is_transient() => read = self.store.read(&file),
                _ => break,
            }
        }
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(store_error("read", &*self.store, &file)(error)),
        };
        let entry = Entry::parse(&bytes, &self.shown(number))?;
        if entry.pipeline() != self.pipeline {
            return Err(CheckpointError::OtherPipeline {
                location: self.store.describe(),
                pipeline: self.pipeline.clone(),
                found: entry.pipeline().to_owned(),
            });
        }
        if entry.number() != number {
            return Err(CheckpointError::Damaged {
                file: self.shown(number),
                reason: format!("it is a copy of entry {}", entry.number()),
            });
        }
        Ok(Some(entry))
    }

    fn read_known(&self, number: u64, newest: u64) -> Result<Entry, CheckpointError> {
        self.read(number)?.ok_or_else(|| CheckpointError::Missing {
            file: self.shown(number),
            needed_by: format!("the log, which goes on to entry {newest},"),
        })
    }

    /// Appends an entry under its number.
    pub(super) fn append(&self, entry: &Entry) -> Result<Appended, CheckpointError> {
        let number = entry.number();
        let (file, bytes) = (Self::file(number), entry.render());
        match self.store.create(&file, &bytes) {
            Ok(()) => return Ok(Appended::Ours),
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {}
            Err(error) => return Err(store_error("write", &*self.store, &file)(error)),
        }
        // It may be there because an earlier try has come through.
        let there = self.read(number)?.ok_or_else(|| {
            let gone = StoreError::new(StoreErrorKind::Unavailable, "it comes and goes");
            store_error("write", &*self.store, &file)(gone)
        })?;
        Ok(if there == *entry {
            Appended::Ours
        } else {
            Appended::Lost(there)
        })
    }

    /// The number of the newest entry, with the entry; none in an empty log.
    pub(super) fn last(&self) -> Result<Option<Entry>, CheckpointError> {
        let Some(last) = self.numbers()?.last().copied() else {
            return Ok(None);
        };
        self.read_known(last, last).map(Some)
    }

    /// The newest manifest among the entries up to `last`.
    pub(super) fn newest(&self, last: u64) -> Result<Option<Manifest>, CheckpointError> {
        for number in (1..=last).rev() {
            if let Entry::Manifest(manifest) = self.read_known(number, last)? {
                return Ok(Some(*manifest));
            }
        }
        Ok(None)
    }

    /// The manifests that are kept, oldest first, among the entries up to `last`.
    pub(super) fn kept(&self, last: u64) -> Result<Vec<Manifest>, CheckpointError> {
        let Some(newest) = self.newest(last)? else {
            return Ok(Vec::new());
        };
        let (oldest_kept, mut number) = (newest.oldest_kept, newest.entry);
        let mut kept = vec![newest];
        while kept.last().is_some_and(|oldest| oldest.epoch > oldest_kept) {
            number -= 1;
            if number == 0 {
                return Err(self.too_short(last, oldest_kept));
            }
            if let Entry::Manifest(manifest) = self.read_known(number, last)? {
                kept.push(*manifest);
            }
        }
        kept.reverse();
        Ok(kept)
    }

    fn too_short(&self, last: u64, oldest_kept: Epoch) -> CheckpointError {
        CheckpointError::Damaged {
            file: self.shown(last),
            reason: format!("it keeps epoch {oldest_kept}, which no entry before it seals"),
        }
    }
}

/// A file's name for people.
pub(super) fn shown(store: &dyn Store, file: &str) -> String {
    format!("{}/{file}", store.describe())
}

/// Says what was to be done when the store had trouble.
pub(super) fn store_error(
    action: &'static str,
    store: &dyn Store,
    file: &str,
) -> impl FnOnce(StoreError) -> CheckpointError {
    let file = shown(store, file);
    move |source| CheckpointError::Store {
        action,
        file,
        source,
    }
}
