//! Savepoints and exports: copies of a checkpoint that are kept until somebody deletes them.
//!
//! A copy has parts of its own, so nothing that happens to the original touches it, and it has the form
//! of all checkpoints: a log, whose only entry is the manifest, and parts.

use std::sync::Arc;

use super::checkpoints::Checkpoints;
use super::entry::Entry;
use super::error::CheckpointError;
use super::generation::GenerationId;
use super::location::Location;
use super::log::{Appended, store_error};
use super::manifest::{Epoch, Manifest};
use super::part::{self, PartRef, create_same};
use super::store::Within;

const FOLDER: &str = "savepoints";

impl Checkpoints {
    /// Copies a sealed epoch to `savepoints/NAME` in the same place, where it is kept until somebody
    /// deletes it.
    ///
    /// # Errors
    /// [`CheckpointError::Taken`] when there is another one of this name, and when the epoch cannot be
    /// read or the copy cannot be written.
    pub fn savepoint(&self, name: &str, epoch: Epoch) -> Result<Manifest, CheckpointError> {
        self.copy(epoch, &self.within_savepoint(name)?)
    }

    /// The savepoints, by name.
    ///
    /// # Errors
    /// When the store cannot be used, or one of them is damaged.
    pub fn savepoints(&self) -> Result<Vec<(String, Manifest)>, CheckpointError> {
        let mut savepoints = Vec::new();
        for name in self.savepoint_names()? {
            if let Some(manifest) = self.within_savepoint(&name)?.newest()? {
                savepoints.push((name, manifest));
            }
        }
        Ok(savepoints)
    }

    /// Opens a savepoint, as checkpoints of their own with a single one.
    ///
    /// # Errors
    /// [`CheckpointError::Unknown`] when there is none, and when the store cannot be used.
    pub fn open_savepoint(&self, name: &str) -> Result<Self, CheckpointError> {
        let savepoint = self.within_savepoint(name)?;
        let names = self.savepoint_names()?;
        if names.iter().any(|known| known == name) {
            return Ok(savepoint);
        }
        Err(CheckpointError::Unknown {
            what: format!("savepoint `{name}`"),
            location: self.store.describe(),
            known: names.iter().map(|name| format!("`{name}`")).collect(),
        })
    }

    /// Deletes a savepoint.
    ///
    /// # Errors
    /// [`CheckpointError::Unknown`] when there is none, and when the store refuses.
    pub fn delete_savepoint(&self, name: &str) -> Result<(), CheckpointError> {
        self.open_savepoint(name)?;
        // The manifest goes first: what has none is no savepoint.
        for folder in ["log", part::FOLDER] {
            let folder = format!("{FOLDER}/{name}/{folder}");
            let objects = self.store.list(&folder);
            for object in objects.map_err(store_error("list", &*self.store, &folder))? {
                let deleted = self.store.delete(&object.name);
                deleted.map_err(store_error("delete", &*self.store, &object.name))?;
            }
        }
        Ok(())
    }

    /// Copies a sealed epoch to another place, which must hold no other checkpoint, in the same form.
    ///
    /// # Errors
    /// As [`Checkpoints::savepoint`].
    pub fn export(&self, epoch: Epoch, to: &Location) -> Result<Manifest, CheckpointError> {
        self.copy(epoch, &self.in_store(to.open()?))
    }

    /// The names of what looks like a savepoint.
    pub(super) fn savepoint_names(&self) -> Result<Vec<String>, CheckpointError> {
        let objects = self.store.list(FOLDER);
        let objects = objects.map_err(store_error("list", &*self.store, FOLDER))?;
        let mut names: Vec<_> = objects
            .iter()
            .filter_map(|object| {
                let (_, rest) = object.name.split_once('/')?;
                let (name, rest) = rest.split_once('/')?;
                rest.starts_with("log/").then(|| name.to_owned())
            })
            .collect();
        names.dedup();
        Ok(names)
    }

    /// A savepoint, as checkpoints of their own.
    pub(super) fn within_savepoint(&self, name: &str) -> Result<Self, CheckpointError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_number = name.parse::<u64>().is_ok();
        if name.is_empty() || name.starts_with('.') || is_number || !name.chars().all(is_plain) {
            return Err(CheckpointError::Location {
                location: format!("{FOLDER}/{name}"),
                reason:
                    "the name of a savepoint is made of letters, digits, `-`, `_` and `.`, does \
                         not begin with `.`, and is no number"
                        .to_owned(),
            });
        }
        let store = Within::new(Arc::clone(&self.store), format!("{FOLDER}/{name}"));
        Ok(self.in_store(Arc::new(store)))
    }

    fn copy(&self, epoch: Epoch, to: &Self) -> Result<Manifest, CheckpointError> {
        let taken = || CheckpointError::Taken(to.store.describe());
        let mut manifest = self.manifest(epoch)?;
        manifest.oldest_kept = epoch;
        if to
            .log()
            .numbers()?
            .iter()
            .any(|number| *number != manifest.entry)
        {
            return Err(taken());
        }
        for part in manifest.parts() {
            create_same(&*to.store, &part.file, &self.reader().file(part)?)?;
        }
        let entry = Entry::Manifest(Box::new(manifest.clone()));
        match to.log().append(&entry)? {
            Appended::Ours => Ok(manifest),
            Appended::Lost(_) => Err(taken()),
        }
    }

    /// Copies the parts of the newest checkpoint somewhere else to this generation's, and gives its manifest
    /// with them.
    pub(super) fn adopt(&self, from: &Self, id: GenerationId) -> Result<Manifest, CheckpointError> {
        let mut manifest = from.some_newest()?;
        let steps = manifest.steps.iter_mut().flat_map(|step| &mut step.parts);
        let outboxes = manifest.outboxes.iter_mut();
        for part in steps.chain(outboxes.flat_map(|outbox| &mut outbox.parts)) {
            let bytes = from.reader().file(part)?;
            part.file = adopted_name(part, id);
            create_same(&*self.store, &part.file, &bytes)?;
        }
        Ok(manifest)
    }
}

/// What a part from elsewhere is called here: the end of its name stays.
fn adopted_name(part: &PartRef, id: GenerationId) -> String {
    let name = part.file.strip_prefix("parts/").unwrap_or(&part.file);
    format!(
        "{}/from-{}",
        part::folder(id.number),
        name.replace('/', "-")
    )
}
