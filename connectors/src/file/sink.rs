//! The configuration of a file as a sink.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{Delivery, EpochWriter, Sink, SinkError, Writer};

use super::compression::Compression;
use super::epoch_files::EpochFiles;
use super::epochs::FileEpochs;
use super::note;
use super::output::{self, Memory, Output};
use super::rotation::{RotatingWriter, Rotation};
use super::writers::{CsvWriter, JsonLinesWriter, Layout, RowsWriter};
use crate::codec::RowWriter;

pub(crate) type Opened<T> = Result<Box<dyn Writer<T>>, SinkError>;
pub(crate) type Start<T> = dyn Fn(String, Output) -> Opened<T> + Send + Sync;

/// Writes records to one file, compressed where its name ends in `.zst` or `.gz`.
///
/// The file is created, or emptied, when the job starts, with the folders above it. Whenever the
/// writer is flushed, the file holds whole lines and, where it is compressed, whole frames. With
/// [`rotate`](Self::rotate) there is a row of files instead.
///
/// ```
/// use thalweg_connectors::file::FileSink;
/// use thalweg_engine::record::{Origin, Record};
/// use thalweg_engine::sink::{Refused, Sink};
/// use thalweg_engine::time::EventTime;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("scores.csv");
/// let header = vec!["at".to_owned(), "score".to_owned()];
/// let scores = FileSink::<f64>::rows(&path, header, |record, row| {
///     row.text(&record.time.to_string()).number(record.value);
/// });
/// scores.check()?;
///
/// let time = EventTime::from_seconds(1_357_034_400);
/// let record = Record { time, origin: Origin::default(), ingested_ns: 0, value: 0.25 };
/// let mut writer = scores.open()?;
/// writer.write(&[record], &mut Refused::default())?;
/// writer.close()?;
/// assert_eq!(std::fs::read_to_string(&path)?, "at,score\n2013-01-01T10:00:00Z,0.25\n");
/// # Ok(())
/// # }
/// ```
pub struct FileSink<T> {
    path: PathBuf,
    format: &'static str,
    start: Arc<Start<T>>,
    rotation: Option<Rotation>,
    delivery: Delivery,
}

impl<T: Serialize + 'static> FileSink<T> {
    /// A file of the records' values as JSON, one a line. JSON has no NaN and no infinities: they
    /// become `null`.
    pub fn json_lines(path: impl Into<PathBuf>) -> Self {
        Self::new(path.into(), "JSON-lines", |what, output| {
            Ok(Box::new(JsonLinesWriter::new(what, output)))
        })
    }

    /// A CSV file of the records' values, which are structs of single values: the names of their
    /// fields make the header, which is written with the first record.
    ///
    /// A text with a line break in it becomes a quoted field of several lines, as RFC 4180 has it,
    /// which [`FileSource`](super::FileSource) does not read.
    pub fn csv(path: impl Into<PathBuf>) -> Self {
        Self::new(path.into(), "CSV", |what, output| {
            Ok(Box::new(CsvWriter::new(what, output)))
        })
    }
}

impl<T: 'static> FileSink<T> {
    /// A CSV file of the rows that `layout` makes, one for each record, with as many cells as
    /// `header` has names; a record whose row is another becomes a dead letter. The header is written even when no record comes.
    ///
    /// Line breaks in texts: see [`csv`](Self::csv).
    pub fn rows(
        path: impl Into<PathBuf>,
        header: Vec<String>,
        layout: impl Fn(&Record<T>, &mut RowWriter) + Send + Sync + 'static,
    ) -> Self {
        let layout: Layout<T> = Arc::new(layout);
        Self::new(path.into(), "CSV", move |what, output| {
            Ok(Box::new(RowsWriter::start(
                what,
                output,
                &header,
                Arc::clone(&layout),
            )?))
        })
    }

    fn new(
        path: PathBuf,
        format: &'static str,
        start: impl Fn(String, Output) -> Opened<T> + Send + Sync + 'static,
    ) -> Self {
        Self {
            path,
            format,
            start: Arc::new(start),
            rotation: None,
            delivery: Delivery::ExactlyOnce,
        }
    }

    /// Writes a row of files instead of one; for `scores.csv` they are called `scores-000001.csv`
    /// and so on. A file gets its name when it is finished: until then it is called
    /// `.scores-000001.csv.part`. Opening goes on behind the files that are there.
    ///
    /// Delivered exactly once, each epoch is a file of its own, or one for each hour of event time, of
    /// whatever size, which is there, whole, as soon as the epoch has been sealed:
    /// `scores-<checkpoints>-<epoch>.csv`. So epochs should be long. Files may be taken away as they
    /// come: `.scores.csv.published` notes which epoch was the last, and none of them comes again.
    #[must_use]
    pub fn rotate(mut self, rotation: Rotation) -> Self {
        self.rotation = Some(rotation);
        self
    }

    /// How records are delivered in a job with checkpoints: exactly once, and so not before their
    /// epoch is sealed, unless set. One file that is delivered exactly once is appended to; beside it
    /// stands a note how far it has been published, and what was written behind that is cut off at the
    /// next start. One that is written immediately begins anew at each start.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }
}

impl<T: 'static> Sink<T> for FileSink<T> {
    fn describe(&self) -> String {
        format!("{} file {}", self.format, self.path.display())
    }

    fn check(&self) -> Result<(), SinkError> {
        output::check(&self.path)
    }

    fn open(&self) -> Opened<T> {
        if let Some(rotation) = self.rotation {
            let writer = RotatingWriter::new(&self.path, rotation, Arc::clone(&self.start));
            return Ok(Box::new(writer?));
        }
        let compression = Compression::of(&self.path);
        let output = output::create(&self.path, compression, Arc::default())?;
        (self.start)(self.describe(), output)
    }

    fn delivery(&self) -> Delivery {
        self.delivery
    }

    fn check_epochs(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn published(&self, slots: &str) -> Result<Option<Epoch>, SinkError> {
        note::published(&self.path, slots)
    }

    fn open_epochs(&self, slot: &str) -> Result<Box<dyn EpochWriter<T>>, SinkError> {
        if let Some(rotation) = self.rotation {
            let start = Arc::clone(&self.start);
            let writer = EpochFiles::open(&self.path, slot, rotation, start)?;
            return Ok(Box::new(writer));
        }
        output::check(&self.path)?;
        let encoded = Memory::default();
        let encoder = (self.start)(self.describe(), encoded.output())?;
        let has_header = self.format == "CSV";
        let writer = FileEpochs::open(&self.path, slot, encoder, encoded, has_header)?;
        Ok(Box::new(writer))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::path::Path;

    use tempfile::tempdir;
    use thalweg_engine::record::Origin;
    use thalweg_engine::sink::Refused;
    use thalweg_engine::time::EventTime;

    use super::*;

    #[derive(Serialize)]
    struct Score {
        id: u32,
        score: Option<f64>,
        note: &'static str,
    }

    const SCORES: [Score; 2] = [
        Score {
            id: 1,
            score: Some(0.5),
            note: "a, \"b\"",
        },
        Score {
            id: 2,
            score: None,
            note: "",
        },
    ];

    fn record<T>(value: T) -> Record<T> {
        Record {
            time: EventTime::default(),
            origin: Origin::default(),
            ingested_ns: 0,
            value,
        }
    }

    fn contents(path: &Path) -> String {
        let bytes = fs::read(path).unwrap();
        let bytes = match path.extension() {
            Some(ending) if ending == "zst" => zstd::decode_all(bytes.as_slice()).unwrap(),
            Some(ending) if ending == "gz" => {
                let mut content = Vec::new();
                let mut members = flate2::read::MultiGzDecoder::new(bytes.as_slice());
                members.read_to_end(&mut content).unwrap();
                content
            }
            _ => bytes,
        };
        String::from_utf8(bytes).unwrap()
    }

    /// Writes the scores with a flush after each: what is in the file then must be whole.
    fn check(make: impl Fn(PathBuf) -> FileSink<Score>, expected: [&str; 3]) {
        for name in ["a/b/scores", "scores.zst", "scores.gz"] {
            let folder = tempdir().unwrap();
            let path = folder.path().join(name);
            let sink = make(path.clone());
            sink.check().unwrap();
            assert!(!path.exists(), "the check leaves no file");
            let mut writer = sink.open().unwrap();
            writer.flush().unwrap();
            assert_eq!(contents(&path), expected[0]);
            for (score, expected) in SCORES.into_iter().zip(&expected[1..]) {
                let mut refused = Refused::default();
                writer.write(&[record(score)], &mut refused).unwrap();
                assert!(refused.is_empty(), "{refused:?}");
                writer.flush().unwrap();
                assert_eq!(&contents(&path), expected);
            }
            writer.close().unwrap();
            drop(writer);
            assert_eq!(contents(&path), expected[2]);
            sink.check().unwrap();
            assert_eq!(
                contents(&path),
                expected[2],
                "the check leaves the file as it is"
            );
            sink.open().unwrap().flush().unwrap();
            assert_eq!(contents(&path), expected[0], "opening starts anew");
        }
    }

    #[test]
    fn json_lines() {
        let first = "{\"id\":1,\"score\":0.5,\"note\":\"a, \\\"b\\\"\"}\n";
        let both = format!("{first}{{\"id\":2,\"score\":null,\"note\":\"\"}}\n");
        check(FileSink::json_lines, ["", first, &both]);
    }

    #[test]
    fn csv_of_structs() {
        let first = "id,score,note\n1,0.5,\"a, \"\"b\"\"\"\n";
        check(FileSink::csv, ["", first, &format!("{first}2,,\n")]);
    }

    #[test]
    fn csv_of_rows() {
        let make = |path| {
            FileSink::rows(
                path,
                vec!["id".to_owned(), "s".to_owned()],
                |score: &Record<Score>, row| {
                    row.integer(score.value.id.into())
                        .number(score.value.score.unwrap_or(f64::NAN));
                },
            )
        };
        check(make, ["id,s\n", "id,s\n1,0.5\n", "id,s\n1,0.5\n2,\n"]);
    }

    #[test]
    fn a_row_with_the_wrong_number_of_cells_is_refused() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        let header = vec!["a".to_owned(), "b".to_owned()];
        let sink = FileSink::rows(&path, header, |record: &Record<i64>, row| {
            (0..record.value).for_each(|n| {
                row.integer(n);
            });
        });
        let (mut writer, mut refused) = (sink.open().unwrap(), Refused::default());
        writer.write(&[2, 1, 2].map(record), &mut refused).unwrap();
        writer.close().unwrap();
        let reason = "a row has 1 cells, the header 2 columns".to_owned();
        assert_eq!(refused.take(), [(1, reason)]);
        assert_eq!(contents(&path), "a,b\n0,1\n0,1\n");
    }

    #[test]
    fn a_second_writer_is_refused_and_changes_nothing() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("scores.jsonl");
        let sink = FileSink::<Score>::json_lines(&path);
        let mut writer = sink.open().unwrap();
        let mut refused = Refused::default();
        writer.write(&SCORES.map(record), &mut refused).unwrap();
        writer.flush().unwrap();
        let before = contents(&path);
        let busy = [
            sink.check(),
            sink.open().map(drop),
            sink.open_epochs("fraud/scores/1").map(drop),
        ];
        for outcome in busy {
            let error = outcome.unwrap_err();
            assert!(matches!(error, SinkError::Busy { .. }), "{error}");
            assert!(
                error.to_string().contains("let that run end first"),
                "{error}"
            );
        }
        assert_eq!(contents(&path), before);
        drop(writer);
        let writer = sink.open_epochs("fraud/scores/1").unwrap();
        let error = sink.open_epochs("fraud/scores/2").map(drop).unwrap_err();
        assert!(matches!(error, SinkError::Busy { .. }), "{error}");
        drop(writer);
        sink.check().unwrap();
    }

    #[test]
    fn how_far_has_been_published_is_known_by_slot() {
        let folder = tempdir().unwrap();
        let sink = FileSink::<Score>::json_lines(folder.path().join("scores.jsonl"));
        let published = |slots: &str| sink.published(slots).unwrap().map(|epoch| epoch.0);
        assert_eq!(published("fraud/scores/"), None);
        let mut writer = sink.open_epochs("fraud/scores/01").unwrap();
        let (mut outbox, mut refused) = (Vec::new(), Refused::default());
        let staged = writer.stage(&SCORES.map(record), &mut outbox, &mut refused);
        staged.unwrap();
        writer.publish(Epoch(7), &outbox).unwrap();
        assert_eq!(published("fraud/scores/"), Some(7));
        assert_eq!(published("fraud/scores/01"), Some(7));
        assert_eq!(published("fraud/scores/02"), None);
        assert_eq!(published("other/scores/"), None);
    }

    #[test]
    fn a_note_that_is_lost_ends_the_run_and_leaves_the_file_as_it_is() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("scores.jsonl");
        let sink = FileSink::<Score>::json_lines(&path);
        let open = || sink.open_epochs("fraud/scores/01").unwrap();
        let mut writer = open();
        writer.take_over().unwrap();
        assert_eq!(writer.published().as_deref(), Some("0"));
        let (mut outbox, mut refused) = (Vec::new(), Refused::default());
        let staged = writer.stage(&SCORES.map(record), &mut outbox, &mut refused);
        staged.unwrap();
        writer.publish(Epoch(7), &outbox).unwrap();
        let published = writer.published().unwrap();
        let text = contents(&path);
        drop(writer);
        open().resume(&published).unwrap();
        fs::remove_file(folder.path().join(".scores.jsonl.published")).unwrap();
        let error = open().resume(&published).unwrap_err().to_string();
        assert!(error.contains("epoch 7 has been published"), "{error}");
        assert!(error.contains("put it and the file back"), "{error}");
        assert_eq!(contents(&path), text);
    }

    #[test]
    fn a_note_that_is_damaged_is_named() {
        let folder = tempdir().unwrap();
        let sink = FileSink::<Score>::json_lines(folder.path().join("scores.jsonl"));
        let note = folder.path().join(".scores.jsonl.published");
        for bytes in [&b""[..], b"{\"slot\":", b"\xff"] {
            fs::write(&note, bytes).unwrap();
            let opened = sink.open_epochs("fraud/scores/01").map(drop);
            let published = sink.published("fraud/scores/").map(drop);
            for outcome in [opened, published] {
                let error = outcome.unwrap_err().to_string();
                assert!(
                    error.contains("/.scores.jsonl.published`, cannot be read"),
                    "{error}"
                );
            }
        }
    }

    fn check_refused(path: &Path, parts: &[&str]) {
        let sink = FileSink::<Score>::csv(path);
        let opened = sink.open().map(drop);
        for outcome in [sink.check(), opened] {
            let error = outcome.unwrap_err();
            assert!(matches!(error, SinkError::Open { .. }), "{error}");
            for part in parts {
                assert!(error.to_string().contains(part), "{error}");
            }
        }
    }

    #[test]
    fn a_place_that_cannot_be_written_is_refused_before_the_start() {
        let folder = tempdir().unwrap();
        let blocked = folder.path().join("file");
        fs::write(&blocked, "").unwrap();
        let remedy = "choose another folder with --out or fix its permissions";
        check_refused(&blocked.join("out/scores.csv"), &["file/out", remedy]);
        check_refused(&blocked.join("scores.csv"), &["file", remedy]);
        check_refused(
            folder.path(),
            &["it is a folder", "choose another file name"],
        );
    }
}
