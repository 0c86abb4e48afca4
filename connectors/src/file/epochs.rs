//! Publishes epochs in one file, each record exactly once.
//!
//! Beside the file stands a note of how far it has been published: the epoch, and the file's length
//! at its end. What a publishing that did not come to its end has left behind is cut off before the
//! epoch is published again. Each checkpoint tells how far that was, too: where the note says less, or is
//! gone, nothing is cut off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{EpochWriter, Refused, SinkError, Writer};

use super::compression::{Compression, compressed};
use super::lock;
use super::note::{Note, beside};
use super::output::{self, Memory};

/// The one writer of a file, epoch by epoch.
pub(crate) struct FileEpochs<T> {
    path: PathBuf,
    file: File,
    note: Note,
    /// Whether the file ends where the note says.
    has_begun: bool,
    compression: Compression,
    encoder: Box<dyn Writer<T>>,
    encoded: Memory,
    /// Whether the first bytes that are encoded are a header.
    begins_with_header: bool,
}

impl<T> FileEpochs<T> {
    /// Opens it, to go on behind what has been published for the slot, or else to begin the file anew.
    pub(crate) fn open(
        path: &Path,
        slot: &str,
        encoder: Box<dyn Writer<T>>,
        encoded: Memory,
        has_header: bool,
    ) -> Result<Self, SinkError> {
        let opened = || -> io::Result<File> {
            fs::create_dir_all(output::folder(path))?;
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(path)?;
            lock::take(&file)?;
            Ok(file)
        };
        let file = opened().map_err(|error| output::open_error(path, &error))?;
        let note = Note::of_slot(path, slot)?;
        let bytes = file.metadata();
        let bytes = bytes.map_err(|error| output::open_error(path, &error))?;
        if bytes.len() < note.bytes {
            return Err(SinkError::Open {
                what: path.display().to_string(),
                reason: format!(
                    "it has {} bytes, and {} were published",
                    bytes.len(),
                    note.bytes
                ),
                remedy: "put it back as it was".to_owned(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            note,
            has_begun: false,
            compression: Compression::of(path),
            encoder,
            encoded,
            begins_with_header: has_header,
        })
    }

    /// Cuts off what has not been published.
    fn begin(&mut self) -> io::Result<()> {
        if !self.has_begun {
            self.file.set_len(self.note.bytes)?;
            self.note.write(&self.path)?;
            self.has_begun = true;
        }
        Ok(())
    }

    fn append(&mut self, epoch: Epoch, outbox: &[u8]) -> io::Result<()> {
        let (Some((has_header, rows)), true) = (outbox.split_first(), epoch.0 > self.note.epoch)
        else {
            return Ok(());
        };
        // Both formats end each record so, and no other kind of sink does.
        if *has_header > 1 || !rows.ends_with(b"\n") {
            return Err(io::Error::other(format!(
                "what is left to be published of epoch {epoch} was made for another kind of sink: start \
                 with that one until all of it is published, and change it then"
            )));
        }
        self.begin()?;
        let mut rows = rows;
        if *has_header == 1 && self.note.bytes > 0 {
            let header = rows.iter().position(|byte| *byte == b'\n');
            rows = &rows[header.map_or(0, |end| end + 1)..];
        }
        let bytes = compressed(rows, self.compression)?;
        self.file.seek(SeekFrom::Start(self.note.bytes))?;
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        let note = Note {
            epoch: epoch.0,
            bytes: self.note.bytes + bytes.len() as u64,
            ..self.note.clone()
        };
        note.write(&self.path)?;
        self.note = note;
        Ok(())
    }

    fn error(&self, reason: impl ToString) -> SinkError {
        SinkError::Write {
            what: self.path.display().to_string(),
            reason: reason.to_string(),
        }
    }
}

impl<T> EpochWriter<T> for FileEpochs<T> {
    fn resume(&mut self, published: &str) -> Result<(), SinkError> {
        let published: u64 = published.parse().map_err(|_| {
            self.error(format!(
                "the checkpoint says that `{published}` has been published: no epoch"
            ))
        })?;
        if self.note.epoch < published {
            return Err(self.error(format!(
                "epoch {published} has been published, and `{}` says {}: put it and the file back as they \
                 were, or begin in another place of checkpoints with an export of this one",
                beside(&self.path).display(),
                self.note.epoch
            )));
        }
        Ok(())
    }

    fn published(&self) -> Option<String> {
        Some(self.note.epoch.to_string())
    }

    fn take_over(&mut self) -> Result<(), SinkError> {
        self.begin().map_err(|error| self.error(error))
    }

    fn stage(
        &mut self,
        records: &[Record<T>],
        outbox: &mut Vec<u8>,
        refused: &mut Refused,
    ) -> Result<(), SinkError> {
        self.encoder.write(records, refused)?;
        self.encoder.flush()?;
        let mut encoded = self.encoded.take();
        if encoded.is_empty() {
            return Ok(());
        }
        if outbox.is_empty() {
            outbox.push(u8::from(std::mem::take(&mut self.begins_with_header)));
        }
        outbox.append(&mut encoded);
        Ok(())
    }

    fn publish(&mut self, epoch: Epoch, outbox: &[u8]) -> Result<(), SinkError> {
        let appended = self.append(epoch, outbox);
        appended.map_err(|error| self.error(error))
    }
}
