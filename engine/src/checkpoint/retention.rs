//! Retention: which checkpoints are kept, and what goes with the others.
//!
//! A generation that has been superseded and does not know it may still tidy up. It does no harm: it
//! deletes manifests older than its newest one says are kept, from which nobody may start any more, parts
//! that only those have named, and leftovers of generations before it.

use std::collections::{HashSet, VecDeque};

use super::checkpoints::Checkpoints;
use super::entry::Entry;
use super::error::CheckpointError;
use super::generation::GenerationId;
use super::log::{Log, store_error};
use super::manifest::{Epoch, Manifest};
use super::part;

/// What tidying up has deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Checkpoints beyond those to keep.
    pub checkpoints: usize,
    /// Parts that no kept checkpoint names.
    pub parts: usize,
}

/// What a generation keeps.
#[derive(Debug)]
pub(super) struct Retention {
    /// The manifests that are kept, oldest first.
    kept: VecDeque<Manifest>,
    retain: usize,
    /// Files to be deleted, in this order: manifests go before what they name.
    doomed: VecDeque<String>,
    has_swept: bool,
}

impl Retention {
    pub(super) fn new(kept: VecDeque<Manifest>, retain: usize) -> Self {
        Self {
            kept,
            retain: retain.max(1),
            doomed: VecDeque::new(),
            has_swept: false,
        }
    }

    /// The oldest epoch that is kept once this one has been sealed.
    pub(super) fn oldest_with(&self, epoch: Epoch) -> Epoch {
        let too_many = (self.kept.len() + 1).saturating_sub(self.retain);
        self.kept.get(too_many).map_or(epoch, |kept| kept.epoch)
    }

    /// Keeps a manifest that has been sealed, and dooms those that are too many.
    pub(super) fn keep(&mut self, manifest: Manifest) {
        self.kept.push_back(manifest);
        let mut dropped = Vec::new();
        while self.kept.len() > self.retain {
            dropped.extend(self.kept.pop_front());
        }
        if dropped.is_empty() {
            return;
        }
        let files = dropped.iter().map(|manifest| Log::file(manifest.entry));
        self.doomed.extend(files);
        let named = self.named();
        let mut parts: Vec<_> = dropped.iter().flat_map(Manifest::parts).collect();
        parts.retain(|part| !named.contains(&*part.file));
        parts.sort_unstable_by_key(|part| &part.file);
        parts.dedup_by_key(|part| &part.file);
        let parts: Vec<_> = parts.iter().map(|part| part.file.clone()).collect();
        self.doomed.extend(parts);
    }

    /// The files of parts that kept manifests name.
    fn named(&self) -> HashSet<&str> {
        let parts = self.kept.iter().flat_map(Manifest::parts);
        parts.map(|part| &*part.file).collect()
    }

    /// Deletes what is doomed, and once, after the first seal, what generations before have left.
    pub(super) fn tidy(
        &mut self,
        checkpoints: &Checkpoints,
        id: GenerationId,
    ) -> Result<Tidied, CheckpointError> {
        let is_sealed = self
            .kept
            .back()
            .is_some_and(|newest| newest.generation == id);
        if !self.has_swept && is_sealed {
            let leftovers = self.leftovers(checkpoints, id)?;
            self.doomed.extend(leftovers);
            self.has_swept = true;
        }
        let mut tidied = Tidied::default();
        while let Some(file) = self.doomed.front() {
            let deleted = checkpoints.store.delete(file);
            deleted.map_err(store_error("delete", &*checkpoints.store, file))?;
            if file.starts_with(part::FOLDER) {
                tidied.parts += 1;
            } else {
                tidied.checkpoints += 1;
            }
            self.doomed.pop_front();
        }
        Ok(tidied)
    }

    /// What generations before this one have left behind: manifests that would have been deleted next, and
    /// parts that no kept manifest names.
    fn leftovers(
        &self,
        checkpoints: &Checkpoints,
        id: GenerationId,
    ) -> Result<Vec<String>, CheckpointError> {
        let store = &*checkpoints.store;
        let swept = store.sweep();
        swept.map_err(store_error("sweep", store, "unfinished files of"))?;
        let mut leftovers = Vec::new();
        let oldest = self.kept.front().map_or(0, |oldest| oldest.entry);
        for number in (1..oldest).rev() {
            match checkpoints.log().read(number) {
                Ok(Some(Entry::Fence(_))) => {}
                Ok(Some(Entry::Manifest(_))) => leftovers.push(Log::file(number)),
                Ok(None) => break,
                Err(error) if error.is_transient() => return Err(error),
                // It may be a fence, and nobody needs to read it.
                Err(_) => {}
            }
        }
        let named = self.named();
        let doomed: HashSet<&str> = self.doomed.iter().map(String::as_str).collect();
        let parts = store.list(part::FOLDER);
        for part in parts.map_err(store_error("list", store, part::FOLDER))? {
            let file = &*part.name;
            let is_earlier = part::generation_of(file).is_some_and(|of| of < id.number);
            if is_earlier && !named.contains(file) && !doomed.contains(file) {
                leftovers.push(part.name);
            }
        }
        // Oldest first, so that an end in between leaves no gap among the manifests.
        leftovers.sort_unstable();
        Ok(leftovers)
    }
}
