//! The note beside a file, or a row of files, how far it has been published.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::sink::SinkError;

use super::output;

/// What stands beside the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// Who writes the file.
    pub(super) slot: String,
    /// The epoch that has been published last.
    pub(super) epoch: u64,
    /// The file's length then; nothing of a row of files.
    pub(super) bytes: u64,
}

impl Note {
    /// That nothing has been published.
    pub(super) fn first(slot: &str) -> Self {
        Self {
            slot: slot.to_owned(),
            epoch: 0,
            bytes: 0,
        }
    }

    /// The note beside a file, if there is one.
    fn read(path: &Path) -> Result<Option<Self>, SinkError> {
        let beside = beside(path);
        let read = match fs::read(&beside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read,
        };
        let note = read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        note.map(Some).map_err(|error| SinkError::Open {
            what: path.display().to_string(),
            reason: format!(
                "the note of how far it has been published, `{}`, cannot be read: {error}",
                beside.display()
            ),
            remedy: "put it back as it was; or, to begin anew, take it away with the file"
                .to_owned(),
        })
    }

    /// What has been noted for a slot: that of another one does not count.
    pub(super) fn of_slot(path: &Path, slot: &str) -> Result<Self, SinkError> {
        let note = Self::read(path)?.filter(|note| note.slot == slot);
        Ok(note.unwrap_or_else(|| Self::first(slot)))
    }

    /// Puts it beside a file in place of the one before, durably.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let beside = beside(path);
        let new = beside.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&new, &beside)?;
        if cfg!(unix) {
            File::open(output::folder(path))?.sync_all()?;
        }
        Ok(())
    }
}

/// How far slots whose names begin so have published.
pub(super) fn published(path: &Path, slots: &str) -> Result<Option<Epoch>, SinkError> {
    let note = Note::read(path)?.filter(|note| note.slot.starts_with(slots));
    Ok(note.map(|note| Epoch(note.epoch)))
}

/// Where the note of a file is.
pub(super) fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().display();
    output::folder(path).join(format!(".{name}.published"))
}
