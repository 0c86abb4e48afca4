//! Publishes epochs in one file, each record exactly once.
//!
//! Beside the file stands a note of how far it has been published: the epoch, and the file's length
//! at its end. What a publishing that did not come to its end has left behind is cut off before the
//! epoch is published again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{EpochWriter, Refused, SinkError, Writer};

use super::compression::{Compression, compressed};
use super::lock;
use super::output::{self, Memory};

/// What stands beside the file.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// Who writes the file.
    slot: String,
    /// The epoch that has been published last.
    epoch: u64,
    /// The file's length then.
    bytes: u64,
}

/// The one writer of a file, epoch by epoch.
pub(crate) struct FileEpochs<T> {
    path: PathBuf,
    file: File,
    note: Note,
    compression: Compression,
    encoder: Box<dyn Writer<T>>,
    encoded: Memory,
    /// Whether the first bytes that are encoded are a header.
    begins_with_header: bool,
}

impl<T> FileEpochs<T> {
    /// Goes on behind what has been published for the slot, or else begins the file anew.
    pub(crate) fn open(
        path: &Path,
        slot: &str,
        encoder: Box<dyn Writer<T>>,
        encoded: Memory,
        has_header: bool,
    ) -> Result<Self, SinkError> {
        let opened = || -> io::Result<(File, Note)> {
            fs::create_dir_all(output::folder(path))?;
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(path)?;
            lock::take(&file)?;
            let note = read_note(path)?.filter(|note| note.slot == slot);
            let is_new = note.is_none();
            let note = note.unwrap_or_else(|| Note {
                slot: slot.to_owned(),
                epoch: 0,
                bytes: 0,
            });
            if file.metadata()?.len() < note.bytes {
                return Err(io::Error::other(format!(
                    "it is shorter than the {} bytes that were published; put it back as it was",
                    note.bytes
                )));
            }
            file.set_len(note.bytes)?;
            if is_new {
                write_note(path, &note)?;
            }
            Ok((file, note))
        };
        let (file, note) = opened().map_err(|error| output::open_error(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            note,
            compression: Compression::of(path),
            encoder,
            encoded,
            begins_with_header: has_header,
        })
    }

    fn append(&mut self, epoch: Epoch, outbox: &[u8]) -> io::Result<()> {
        let (Some((has_header, rows)), true) = (outbox.split_first(), epoch.0 > self.note.epoch)
        else {
            return Ok(());
        };
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
            slot: self.note.slot.clone(),
            epoch: epoch.0,
            bytes: self.note.bytes + bytes.len() as u64,
        };
        write_note(&self.path, &note)?;
        self.note = note;
        Ok(())
    }
}

impl<T> EpochWriter<T> for FileEpochs<T> {
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
        self.append(epoch, outbox)
            .map_err(|error| SinkError::Write {
                what: self.path.display().to_string(),
                reason: error.to_string(),
            })
    }
}

/// How far slots whose names begin so have published.
pub(crate) fn published(path: &Path, slots: &str) -> Result<Option<Epoch>, SinkError> {
    let note = read_note(path).map_err(|error| output::open_error(path, &error))?;
    let note = note.filter(|note| note.slot.starts_with(slots));
    Ok(note.map(|note| Epoch(note.epoch)))
}

fn note_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().display();
    output::folder(path).join(format!(".{name}.published"))
}

fn read_note(path: &Path) -> io::Result<Option<Note>> {
    let mut text = String::new();
    match File::open(note_path(path)) {
        Ok(mut file) => file.read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let note = serde_json::from_str(&text);
    note.map(Some).map_err(io::Error::other)
}

fn write_note(path: &Path, note: &Note) -> io::Result<()> {
    let note_path = note_path(path);
    let new = note_path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(note)?)?;
    file.sync_all()?;
    fs::rename(&new, &note_path)?;
    if cfg!(unix) {
        File::open(output::folder(path))?.sync_all()?;
    }
    Ok(())
}
