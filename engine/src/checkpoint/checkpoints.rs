//! The checkpoints of one pipeline.

use std::sync::Arc;

use super::entry::{Entry, Fence};
use super::error::CheckpointError;
use super::generation::{Generation, GenerationId, StartFrom};
use super::groups::KeyGroups;
use super::load::Pieces;
use super::log::{Appended, Log};
use super::manifest::{Epoch, Manifest};
use super::options::CheckpointOptions;
use super::part::{PartContent, PartReader, PartRef, PartWriter};
use super::store::{Store, random};
use crate::turns::{self, Defect};

/// The checkpoints of one pipeline in one place. Cheap to clone and to share.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    pub(super) store: Arc<dyn Store>,
    pub(super) pipeline: String,
    pub(super) options: Arc<CheckpointOptions>,
}

impl Checkpoints {
    /// Opens the checkpoints of a pipeline; there may be none yet. Nothing is written.
    ///
    /// # Errors
    /// When the location cannot be used, cannot be read, or is another pipeline's.
    pub fn open(options: &CheckpointOptions, pipeline: &str) -> Result<Self, CheckpointError> {
        let opened = Self::unread(options, pipeline)?;
        opened.log().last()?;
        Ok(opened)
    }

    /// As [`Checkpoints::open`], without looking what is there: for [`Checkpoints::verify`], which tells
    /// of all damage, that of the newest entry included.
    ///
    /// # Errors
    /// When the location cannot be used.
    pub fn unread(options: &CheckpointOptions, pipeline: &str) -> Result<Self, CheckpointError> {
        Ok(Self {
            store: options.location.open()?,
            pipeline: pipeline.to_owned(),
            options: Arc::new(options.clone()),
        })
    }

    /// Where they are, for messages.
    pub(crate) fn describe(&self) -> String {
        self.store.describe()
    }

    /// The same pipeline's checkpoints in another store.
    pub(super) fn in_store(&self, store: Arc<dyn Store>) -> Self {
        Self {
            store,
            pipeline: self.pipeline.clone(),
            options: Arc::clone(&self.options),
        }
    }

    pub(super) fn log(&self) -> Log {
        Log::new(Arc::clone(&self.store), self.pipeline.clone())
    }

    pub(super) fn reader(&self) -> PartReader<'_> {
        PartReader {
            store: &*self.store,
            pipeline: &self.pipeline,
        }
    }

    /// Starts the pipeline's next generation: appends its fence to the log, so that every earlier one
    /// loses its next append, and finds what to restore.
    ///
    /// # Errors
    /// - [`CheckpointError::Superseded`] when another one begins at the same time and gets there first.
    /// - [`CheckpointError::Unknown`] when there is no such checkpoint to start from.
    /// - When the store cannot be used, or what it holds is damaged.
    pub fn begin(&self, from: &StartFrom) -> Result<Generation, CheckpointError> {
        // Who mistypes a name must not fence a running cluster off.
        if !matches!(from, StartFrom::Newest) {
            self.candidate(from)?;
        }
        let (id, fence) = self.fence_off()?;
        let kept = self.log().kept(fence)?;
        let restored = match from {
            StartFrom::Newest => kept.last().cloned(),
            StartFrom::Epoch(epoch) => Some(self.find(&kept, *epoch)?),
            StartFrom::Savepoint(name) => Some(self.adopt(&self.open_savepoint(name)?, id)?),
            StartFrom::Elsewhere(location) => {
                Some(self.adopt(&self.in_store(location.open()?), id)?)
            }
        };
        Ok(Generation::new(
            self.clone(),
            id,
            fence,
            kept.into(),
            restored,
        ))
    }

    /// What a generation that began now would start from; nothing is written.
    ///
    /// # Errors
    /// As [`Checkpoints::begin`].
    pub fn candidate(&self, from: &StartFrom) -> Result<Option<Manifest>, CheckpointError> {
        match from {
            StartFrom::Newest => self.newest(),
            StartFrom::Epoch(epoch) => self.manifest(*epoch).map(Some),
            StartFrom::Savepoint(name) => self.open_savepoint(name)?.some_newest().map(Some),
            StartFrom::Elsewhere(location) => {
                self.in_store(location.open()?).some_newest().map(Some)
            }
        }
    }

    /// Appends the fence of a new generation, and gives it with the number of its entry.
    fn fence_off(&self) -> Result<(GenerationId, u64), CheckpointError> {
        let log = self.log();
        let token = random();
        loop {
            let last = log.last()?;
            let number = last.as_ref().map_or(0, |last| last.generation().number) + 1;
            let id = GenerationId { number, token };
            let entry = last.map_or(0, |last| last.number()) + 1;
            let superseded = |other: GenerationId| CheckpointError::Superseded {
                generation: number,
                other: other.number,
                file: log.shown(entry),
            };
            if turns::is_planted(Defect::SkipFence) {
                return Ok((id, entry - 1));
            }
            let fence = Entry::Fence(Fence {
                pipeline: self.pipeline.clone(),
                generation: id,
                entry,
                engine: env!("CARGO_PKG_VERSION").to_owned(),
            });
            match log.append(&fence)? {
                Appended::Ours => {}
                Appended::Lost(other) if other.generation().number >= number => {
                    return Err(superseded(other.generation()));
                }
                // The generation before this one has sealed an epoch meanwhile.
                Appended::Lost(_) => continue,
            }
            // Had this call slept for long, what was there could have gone again: then the log goes on.
            return match log.last()? {
                Some(last) if last.number() > entry => Err(superseded(last.generation())),
                _ => Ok((id, entry)),
            };
        }
    }

    /// Checks that this is the place where another process has just begun a generation, and not one that
    /// is merely called so.
    ///
    /// # Errors
    /// [`CheckpointError::NotShared`] when it is another one, and when the store cannot be used.
    pub fn check_shared(&self, generation: GenerationId) -> Result<(), CheckpointError> {
        let newest = self.log().last()?.map(|entry| entry.generation());
        // One that comes later has found the fence of this one.
        if newest.is_some_and(|newest| newest == generation || newest.number > generation.number) {
            return Ok(());
        }
        Err(CheckpointError::NotShared {
            location: self.store.describe(),
            generation: generation.number,
        })
    }

    /// What writes parts for a generation that another process has begun.
    pub fn writer(&self, generation: GenerationId) -> PartWriter {
        PartWriter::new(self, generation)
    }

    /// The newest sealed epoch, if there is any.
    ///
    /// # Errors
    /// When the store cannot be used, or the log is damaged at its end.
    pub fn newest(&self) -> Result<Option<Manifest>, CheckpointError> {
        self.read_log(|log, last| log.newest(last))
    }

    /// As [`Checkpoints::newest`], where there must be one.
    pub(super) fn some_newest(&self) -> Result<Manifest, CheckpointError> {
        self.newest()?.ok_or_else(|| CheckpointError::Unknown {
            what: "checkpoint".to_owned(),
            location: self.store.describe(),
            known: Vec::new(),
        })
    }

    /// The sealed epochs that are kept, oldest first.
    ///
    /// # Errors
    /// When the store cannot be used, or one of them is damaged.
    pub fn list(&self) -> Result<Vec<Manifest>, CheckpointError> {
        self.read_log(|log, last| log.kept(last))
    }

    /// Reads the log as it is now, anew where the generation that runs has tidied up meanwhile.
    fn read_log<T>(
        &self,
        read: impl Fn(&Log, u64) -> Result<T, CheckpointError>,
    ) -> Result<T, CheckpointError> {
        let log = self.log();
        let last = || Ok(log.numbers()?.last().copied().unwrap_or(0));
        let mut newest = last()?;
        loop {
            match read(&log, newest) {
                Err(CheckpointError::Missing { file, needed_by }) => {
                    let now = last()?;
                    if now == newest {
                        return Err(CheckpointError::Missing { file, needed_by });
                    }
                    newest = now;
                }
                read => return read,
            }
        }
    }

    /// A sealed epoch that is kept.
    ///
    /// # Errors
    /// [`CheckpointError::Unknown`] when it is not, and as [`Checkpoints::list`].
    pub fn manifest(&self, epoch: Epoch) -> Result<Manifest, CheckpointError> {
        self.find(&self.list()?, epoch)
    }

    fn find(&self, kept: &[Manifest], epoch: Epoch) -> Result<Manifest, CheckpointError> {
        let found = kept.iter().find(|manifest| manifest.epoch == epoch);
        found.cloned().ok_or_else(|| CheckpointError::Unknown {
            what: format!("epoch {epoch}"),
            location: self.store.describe(),
            known: known_epochs(kept),
        })
    }

    /// The state of a step in some key groups. Every byte of it has been checked.
    ///
    /// # Errors
    /// When a part is missing or damaged, naming it. A step that the manifest does not know has no state.
    pub fn load(
        &self,
        manifest: &Manifest,
        step: &str,
        groups: KeyGroups,
    ) -> Result<Pieces, CheckpointError> {
        let parts = manifest.step(step).map_or(&[][..], |step| &step.parts);
        Pieces::read(&self.reader(), parts, groups)
    }

    /// The content of one part in some key groups. Every byte of it has been checked.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn read_part(
        &self,
        part: &PartRef,
        groups: KeyGroups,
    ) -> Result<PartContent, CheckpointError> {
        self.reader().content(part, groups)
    }
}

fn known_epochs(kept: &[Manifest]) -> Vec<String> {
    match kept {
        [] => Vec::new(),
        [only] => vec![format!("epoch {}", only.epoch)],
        [first, .., last] => vec![format!("epochs {} to {}", first.epoch, last.epoch)],
    }
}
