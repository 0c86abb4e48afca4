//! Publishes each epoch as files of its own, which get their names when they are whole.
//!
//! A name tells the row of checkpoints and the epoch, so publishing again finds the file there, or
//! writes the same one. A note beside the row tells which epoch was the last, so that those before it do
//! not come again when somebody has taken their files away.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{EpochWriter, Refused, SinkError, Writer};

use super::compression::{self, Compression};
use super::note::Note;
use super::output::{self, Memory};
use super::rotation::{Names, Rotation};
use super::sink::Start;

/// The last characters of a slot, which tell rows of checkpoints apart, that are in a file's name.
const LINEAGE_CHARS: usize = 8;

/// The one writer of a row of files, epoch by epoch.
pub(crate) struct EpochFiles<T> {
    path: PathBuf,
    names: Names,
    note: Note,
    lineage: String,
    rotation: Rotation,
    compression: Compression,
    start: Arc<Start<T>>,
    /// What encodes the open epoch, by label.
    encoders: BTreeMap<String, (Box<dyn Writer<T>>, Memory)>,
    /// Locked for as long as this is there.
    _lock: File,
}

impl<T: 'static> EpochFiles<T> {
    pub(crate) fn open(
        path: &Path,
        slot: &str,
        rotation: Rotation,
        start: Arc<Start<T>>,
    ) -> Result<Self, SinkError> {
        output::check(path)?;
        let names = Names::of(path);
        let locked = lock(&names).map_err(|error| output::open_error(path, &error))?;
        let note = Note::of_slot(path, slot)?;
        let plain: Vec<char> = slot.chars().filter(char::is_ascii_alphanumeric).collect();
        let lineage = &plain[plain.len().saturating_sub(LINEAGE_CHARS)..];
        Ok(Self {
            path: path.to_owned(),
            names,
            note,
            lineage: lineage.iter().collect(),
            rotation,
            compression: Compression::of(path),
            start,
            encoders: BTreeMap::new(),
            _lock: locked,
        })
    }

    /// Encodes records of one label, and adds them to the outbox with it.
    fn put(
        &mut self,
        label: String,
        records: &[Record<T>],
        outbox: &mut Vec<u8>,
        refused: &mut Refused,
    ) -> Result<(), SinkError> {
        if !self.encoders.contains_key(&label) {
            let encoded = Memory::default();
            let encoder = (self.start)(self.names.shown(), encoded.output())?;
            self.encoders.insert(label.clone(), (encoder, encoded));
        }
        let (encoder, encoded) = self
            .encoders
            .get_mut(&label)
            .expect("invariant: it is there by now");
        encoder.write(records, refused)?;
        encoder.flush()?;
        let bytes = encoded.take();
        if !bytes.is_empty() {
            put_bytes(label.as_bytes(), outbox);
            put_bytes(&bytes, outbox);
        }
        Ok(())
    }

    fn write_all(&mut self, epoch: Epoch, mut outbox: &[u8]) -> io::Result<()> {
        if epoch.0 <= self.note.epoch {
            return Ok(());
        }
        let mut files = BTreeMap::<&[u8], Vec<u8>>::new();
        while !outbox.is_empty() {
            let pair = take_bytes(&mut outbox).zip(take_bytes(&mut outbox));
            let (label, bytes) = pair.ok_or_else(|| io::Error::other("an outbox is cut off"))?;
            files.entry(label).or_default().extend_from_slice(bytes);
        }
        for (label, bytes) in files {
            let label = String::from_utf8_lossy(label);
            let number = format!("{}-{:010}", self.lineage, epoch.0);
            let (path, part) = self.names.file(&label, &number);
            if !path.exists() {
                let bytes = compression::compressed(&bytes, self.compression)?;
                write_whole(&path, &part, &bytes)?;
            }
        }
        let note = Note {
            epoch: epoch.0,
            ..self.note.clone()
        };
        note.write(&self.path)?;
        self.note = note;
        Ok(())
    }
}

/// The lock of the row.
fn lock(names: &Names) -> io::Result<File> {
    let path = names.lock();
    fs::create_dir_all(output::folder(&path))?;
    let file = File::create(path)?;
    super::lock::take(&file)?;
    Ok(file)
}

/// Writes a file under another name, and gives it its own when it is durable.
fn write_whole(path: &Path, part: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder: PathBuf = output::folder(path);
    fs::create_dir_all(&folder)?;
    let mut file = File::create(part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(part, path)?;
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn put_bytes(bytes: &[u8], outbox: &mut Vec<u8>) {
    outbox.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    outbox.extend_from_slice(bytes);
}

fn take_bytes<'a>(outbox: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = outbox.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (bytes, rest) = rest.split_at_checked(length)?;
    *outbox = rest;
    Some(bytes)
}

impl<T: 'static> EpochWriter<T> for EpochFiles<T> {
    fn stage(
        &mut self,
        records: &[Record<T>],
        outbox: &mut Vec<u8>,
        refused: &mut Refused,
    ) -> Result<(), SinkError> {
        if outbox.is_empty() {
            // A new epoch, whose files have headers of their own.
            self.encoders.clear();
        }
        let rotation = self.rotation;
        let mut first = 0;
        for part in records.chunk_by(|one, next| rotation.is_same_file(one, next)) {
            let label = rotation.label(&part[0]);
            refused.of_part(first, |refused| self.put(label, part, outbox, refused))?;
            first += part.len();
        }
        Ok(())
    }

    fn publish(&mut self, epoch: Epoch, outbox: &[u8]) -> Result<(), SinkError> {
        let written = self.write_all(epoch, outbox);
        written.map_err(|error| SinkError::Write {
            what: self.names.shown(),
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use tempfile::tempdir;
    use thalweg_engine::record::Origin;
    use thalweg_engine::sink::Sink;
    use thalweg_engine::time::EventTime;

    use super::*;
    use crate::file::FileSink;

    #[derive(Serialize)]
    struct Row {
        n: i64,
    }

    fn record(second: i64) -> Record<Row> {
        Record {
            time: EventTime::from_seconds(second),
            origin: Origin::default(),
            ingested_ns: 0,
            value: Row { n: second },
        }
    }

    fn stage(writer: &mut dyn EpochWriter<Row>, seconds: &[i64]) -> Vec<u8> {
        let (mut outbox, mut refused) = (Vec::new(), Refused::default());
        for second in seconds {
            let staged = writer.stage(&[record(*second)], &mut outbox, &mut refused);
            staged.unwrap();
        }
        assert!(refused.is_empty(), "{refused:?}");
        outbox
    }

    fn files(folder: &Path) -> Vec<(String, String)> {
        let entries = fs::read_dir(folder).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| !path.ends_with(".n.csv.lock") && !path.ends_with(".n.csv.published"))
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn an_epoch_is_a_file_an_hour_and_comes_once() {
        let folder = tempdir().unwrap();
        let sink = FileSink::csv(folder.path().join("n.csv")).rotate(Rotation::hourly());
        sink.check_epochs().unwrap();
        let slot = "job/out/00000000deadbeef";
        let mut writer = sink.open_epochs(slot).unwrap();
        let one = stage(&mut *writer, &[0, 3_600, 1]);
        let two = stage(&mut *writer, &[2]);
        assert_eq!(files(folder.path()), []);
        writer.publish(Epoch(1), &one).unwrap();
        writer.publish(Epoch(1), &one).unwrap();
        // A start that was killed has left a part of a file behind.
        let part = ".n-1970-01-01T00-deadbeef-0000000002.csv.part";
        fs::write(folder.path().join(part), "n\n9").unwrap();
        let busy = sink.open_epochs(slot).map(drop).unwrap_err();
        assert!(matches!(busy, SinkError::Busy { .. }), "{busy}");
        drop(writer);
        let mut writer = sink.open_epochs(slot).unwrap();
        writer.publish(Epoch(1), &one).unwrap();
        writer.publish(Epoch(2), &two).unwrap();
        let expected = [
            ("n-1970-01-01T00-deadbeef-0000000001.csv", "n\n0\n1\n"),
            ("n-1970-01-01T00-deadbeef-0000000002.csv", "n\n2\n"),
            ("n-1970-01-01T01-deadbeef-0000000001.csv", "n\n3600\n"),
        ];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(files(folder.path()), expected);
        drop(writer);
        let published = |slots: &str| sink.published(slots).unwrap().map(|epoch| epoch.0);
        assert_eq!(published("job/out/"), Some(2));
        assert_eq!(published(slot), Some(2));
        assert_eq!(published("job/other/"), None);
        // Somebody has taken the files away, and an epoch comes again.
        for (name, _) in files(folder.path()) {
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        let mut writer = sink.open_epochs(slot).unwrap();
        writer.publish(Epoch(2), &two).unwrap();
        assert_eq!(files(folder.path()), []);
        writer.publish(Epoch(3), &two).unwrap();
        assert_eq!(files(folder.path()).len(), 1);
    }
}
