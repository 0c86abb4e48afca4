//! A row of files in place of one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thalweg_engine::record::Record;
use thalweg_engine::sink::{Refused, SinkError, Writer};
use thalweg_engine::time::hours;
use tracing::warn;

use super::compression::Compression;
use super::output;
use super::sink::Start;

/// Hours of event time whose files are open at once; of more, the oldest is finished.
const HOURS_OPEN: usize = 3;

/// When a file is finished and the next one begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    bytes: Option<u64>,
    is_hourly: bool,
}

impl Rotation {
    /// When it has so many bytes, give or take 64 KiB, before they are compressed.
    pub const fn bytes(bytes: u64) -> Self {
        Self {
            bytes: Some(bytes),
            is_hourly: false,
        }
    }

    /// For every hour of event time, in UTC, which the name then tells: `scores-2013-01-01T10-000001`.
    /// The files of three hours are open at once; a record of an hour that is over begins another
    /// file of it.
    pub const fn hourly() -> Self {
        Self {
            bytes: None,
            is_hourly: true,
        }
    }

    /// The same, and also when it has so many bytes.
    #[must_use]
    pub const fn or_bytes(self, bytes: u64) -> Self {
        Self {
            bytes: Some(bytes),
            ..self
        }
    }

    /// Whether two records belong to one file as far as their times go.
    pub(crate) fn is_same_file<T>(self, one: &Record<T>, other: &Record<T>) -> bool {
        !self.is_hourly || self.label(one) == self.label(other)
    }

    /// What the name of the record's file has behind the sink's.
    pub(crate) fn label<T>(self, record: &Record<T>) -> String {
        if !self.is_hourly {
            return String::new();
        }
        let hour = record.time.window_start(hours(1), hours(0)).to_string();
        // `2013-01-01T10:00:00Z`; what lies outside the calendar is a number.
        let hour = hour.split(':').next().unwrap_or_default();
        format!("-{hour}")
    }
}

/// The names of the files in a row.
pub(crate) struct Names {
    folder: PathBuf,
    stem: String,
    endings: String,
}

impl Names {
    /// The row that takes the place of this file.
    pub(crate) fn of(path: &Path) -> Self {
        let name = path.file_name().map(|name| name.display().to_string());
        let name = name.unwrap_or_default();
        let (stem, endings) = match name.split_once('.') {
            Some((stem, endings)) => (stem.to_owned(), format!(".{endings}")),
            None => (name, String::new()),
        };
        Self {
            folder: output::folder(path),
            stem,
            endings,
        }
    }

    /// A file, and what it is called until it is whole.
    pub(crate) fn file(&self, label: &str, number: &str) -> (PathBuf, PathBuf) {
        let name = format!("{}{label}-{number}{}", self.stem, self.endings);
        let part = self.folder.join(format!(".{name}.part"));
        (self.folder.join(name), part)
    }

    /// The file whose lock is the row's.
    pub(crate) fn lock(&self) -> PathBuf {
        let name = format!(".{}{}.lock", self.stem, self.endings);
        self.folder.join(name)
    }

    /// The row in words.
    pub(crate) fn shown(&self) -> String {
        self.file("", "*").0.display().to_string()
    }
}

/// Writes each record to the file of its turn.
pub(crate) struct RotatingWriter<T> {
    names: Names,
    rotation: Rotation,
    start: Arc<Start<T>>,
    /// By label.
    open: BTreeMap<String, OpenFile<T>>,
}

struct OpenFile<T> {
    writer: Box<dyn Writer<T>>,
    bytes: Arc<AtomicU64>,
    part: PathBuf,
    path: PathBuf,
}

impl<T: 'static> RotatingWriter<T> {
    pub(crate) fn new(
        path: &Path,
        rotation: Rotation,
        start: Arc<Start<T>>,
    ) -> Result<Self, SinkError> {
        output::check(path)?;
        Ok(Self {
            names: Names::of(path),
            rotation,
            start,
            open: BTreeMap::new(),
        })
    }

    fn append(&mut self, records: &[Record<T>], refused: &mut Refused) -> Result<(), SinkError> {
        let Some(first) = records.first() else {
            return Ok(());
        };
        let label = self.rotation.label(first);
        let file = match self.open.get_mut(&label) {
            Some(file) => file,
            None => {
                while self.open.len() >= HOURS_OPEN {
                    if let Some((_, oldest)) = self.open.pop_first() {
                        finish(oldest)?;
                    }
                }
                let file = self.begin(&label)?;
                self.open.entry(label.clone()).or_insert(file)
            }
        };
        file.writer.write(records, refused)?;
        let bytes = file.bytes.load(Ordering::Relaxed);
        if self.rotation.bytes.is_some_and(|most| bytes >= most)
            && let Some(full) = self.open.remove(&label)
        {
            finish(full)?;
        }
        Ok(())
    }

    /// Begins a file under the first number that is free.
    fn begin(&self, label: &str) -> Result<OpenFile<T>, SinkError> {
        let names = (1_u64..).map(|number| self.names.file(label, &format!("{number:06}")));
        let mut free = names.filter(|(path, part)| {
            if part.exists() {
                warn!(file = %part.display(), "an unfinished file of an earlier run is left alone");
            }
            !path.exists() && !part.exists()
        });
        let (path, part) = free.next().expect("invariant: the numbers do not end");
        let bytes = Arc::<AtomicU64>::default();
        let output = output::create(&part, Compression::of(&path), Arc::clone(&bytes))?;
        Ok(OpenFile {
            writer: (self.start)(path.display().to_string(), output)?,
            bytes,
            part,
            path,
        })
    }
}

/// Completes a file and gives it its name.
fn finish<T>(mut file: OpenFile<T>) -> Result<(), SinkError> {
    file.writer.close()?;
    drop(file.writer);
    fs::rename(&file.part, &file.path).map_err(|error| SinkError::Write {
        what: file.path.display().to_string(),
        reason: error.to_string(),
    })
}

impl<T: 'static> Writer<T> for RotatingWriter<T> {
    fn write(&mut self, records: &[Record<T>], refused: &mut Refused) -> Result<(), SinkError> {
        let rotation = self.rotation;
        let parts = records.chunk_by(|one, next| rotation.is_same_file(one, next));
        let mut first = 0;
        for part in parts {
            refused.of_part(first, |refused| self.append(part, refused))?;
            first += part.len();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.open
            .values_mut()
            .try_for_each(|file| file.writer.flush())
    }

    /// The last files are finished, too.
    fn close(&mut self) -> Result<(), SinkError> {
        while let Some((_, file)) = self.open.pop_first() {
            finish(file)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;
    use thalweg_engine::record::Origin;
    use thalweg_engine::sink::Sink;
    use thalweg_engine::time::EventTime;

    use super::*;
    use crate::file::FileSink;

    fn record(second: i64) -> Record<i64> {
        Record {
            time: EventTime::from_seconds(second),
            origin: Origin::default(),
            ingested_ns: 0,
            value: second,
        }
    }

    fn write(writer: &mut dyn Writer<i64>, records: &[Record<i64>]) {
        let mut refused = Refused::default();
        writer.write(records, &mut refused).unwrap();
        assert!(refused.is_empty(), "{refused:?}");
    }

    /// The files in the folder with their contents, in order.
    fn files(folder: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn a_file_that_is_full_gets_its_name_and_the_next_run_goes_on_behind() {
        let folder = tempdir().unwrap();
        let sink = FileSink::json_lines(folder.path().join("n.jsonl")).rotate(Rotation::bytes(4));
        let mut writer = sink.open().unwrap();
        write(&mut *writer, &[record(10)]);
        writer.flush().unwrap();
        let named = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert_eq!(
            files(folder.path()),
            [named(".n-000001.jsonl.part", "10\n")]
        );
        write(&mut *writer, &[record(11)]);
        writer.flush().unwrap();
        write(&mut *writer, &[record(12)]);
        assert_eq!(
            files(folder.path()),
            [named("n-000001.jsonl", "10\n11\n12\n")]
        );
        writer.close().unwrap();
        let mut writer = sink.open().unwrap();
        write(&mut *writer, &[record(13)]);
        writer.close().unwrap();
        assert_eq!(
            files(folder.path()),
            [
                named("n-000001.jsonl", "10\n11\n12\n"),
                named("n-000002.jsonl", "13\n")
            ]
        );
    }

    #[test]
    fn every_hour_of_event_time_has_its_files() {
        let folder = tempdir().unwrap();
        let sink = FileSink::json_lines(folder.path().join("n.jsonl")).rotate(Rotation::hourly());
        let mut writer = sink.open().unwrap();
        let times = [0, 3_599, 3_600, 1, 7_200, 10_800, 10_801, 2];
        let records: Vec<_> = times.into_iter().map(record).collect();
        write(&mut *writer, &records);
        writer.flush().unwrap();
        writer.close().unwrap();
        let expected = [
            ("n-1970-01-01T00-000001.jsonl", "0\n3599\n1\n"),
            ("n-1970-01-01T00-000002.jsonl", "2\n"),
            ("n-1970-01-01T01-000001.jsonl", "3600\n"),
            ("n-1970-01-01T02-000001.jsonl", "7200\n"),
            ("n-1970-01-01T03-000001.jsonl", "10800\n10801\n"),
        ];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(files(folder.path()), expected);
    }
}
