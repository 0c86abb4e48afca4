//! Every source and every sink does what its contract says.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tempfile::tempdir;
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::sink::{Refused, Sink};
use thalweg_engine::source::{ReadBatch, ReadStatus, Source};
use thalweg_engine::testing::conformance::{
    Ending, Held, HeldRecord, Reopening, check_missing_sink, check_missing_source, check_refusals,
    check_sink, check_source,
};
use thalweg_engine::time::EventTime;

use crate::codec::{Encode, JsonEncoder};
use crate::file::{FileSink, FileSource, Rotation};
use crate::generator::GeneratorSource;
use crate::log::{LogSink, LogSource};

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Item {
    pub(crate) id: u64,
    pub(crate) score: Option<f64>,
    pub(crate) note: String,
}

pub(crate) fn item(id: u64) -> Item {
    Item {
        id,
        score: id.is_multiple_of(3).then_some(id as f64 / 7.0),
        note: format!("\"{id}\", and more"),
    }
}

/// Lines of items, every fifth of which is bad, and what they are to be read as.
pub(crate) fn lines(count: u64, line: impl Fn(&Item) -> String) -> (String, Held<Item>) {
    let mut text = String::new();
    let mut records: Vec<HeldRecord<Item>> = Vec::new();
    for id in 0..count {
        let (line, expected) = if id % 5 == 4 {
            let bad = format!("{{bad,{id}");
            (bad.clone(), Err(bad.into_bytes()))
        } else {
            let item = item(id);
            (line(&item), Ok(item))
        };
        text.push_str(&line);
        text.push('\n');
        records.push((id, expected));
    }
    (text, Held::partition(0, records))
}

pub(crate) fn json(item: &Item) -> String {
    serde_json::to_string(item).unwrap()
}

fn csv(item: &Item) -> String {
    let note = item.note.replace('"', "\"\"");
    let score = item
        .score
        .map_or_else(String::new, |score| score.to_string());
    format!("{},{score},\"{note}\"", item.id)
}

pub(crate) fn records(count: u64) -> Vec<Record<Item>> {
    let record = |id| Record {
        time: EventTime::from_millis(id as i64),
        origin: Origin {
            offset: id,
            ..Origin::default()
        },
        ingested_ns: 0,
        value: item(id),
    };
    (0..count).map(record).collect()
}

/// All values of partition 0, read to the end.
pub(crate) fn held<T: 'static>(source: &dyn Source<T>) -> Vec<T> {
    let mut batch = ReadBatch::new();
    let mut reader = source.open(0, 0).unwrap();
    while reader.read(&mut batch, 100).unwrap() == ReadStatus::More {}
    batch.into_iter().map(|(_, item)| item.unwrap()).collect()
}

#[test]
fn files_as_sources() {
    let folder = tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (json_text, json_held) = lines(23, json);
    let (rows, csv_held) = lines(23, csv);
    let csv_text = format!("id,score,note\n{rows}");
    for (name, text) in [("a.jsonl", &json_text), ("a.csv", &csv_text)] {
        fs::write(at(name), text).unwrap();
        let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
        fs::write(at(&format!("{name}.zst")), packed).unwrap();
    }
    for ending in ["", ".zst"] {
        let source = FileSource::<Item>::json_lines(at(&format!("a.jsonl{ending}")));
        check_source(&source, std::slice::from_ref(&json_held), Ending::Ends);
        let source = FileSource::<Item>::csv(at(&format!("a.csv{ending}")));
        check_source(&source, std::slice::from_ref(&csv_held), Ending::Ends);
    }
    for path in ["a.jsonl", "a.jsonl.zst"] {
        let pattern = at(path).display().to_string();
        let source = FileSource::<Item>::json_lines_matching(pattern);
        check_source(&source, std::slice::from_ref(&json_held), Ending::Ends);
    }
    let source = FileSource::<Item>::json_lines(at("a.jsonl")).follow();
    check_source(&source, &[json_held], Ending::Waits);
    let missing = FileSource::<Item>::json_lines(at("nowhere.jsonl"));
    check_missing_source(
        &missing,
        &["nowhere.jsonl", "no such file", "check the path"],
    );
}

#[test]
fn files_as_sinks() {
    let folder = tempdir().unwrap();
    for name in ["a.jsonl", "a.jsonl.zst", "a.jsonl.gz"] {
        let path = folder.path().join(name);
        let sink = FileSink::json_lines(&path);
        let source = FileSource::json_lines(&path);
        check_sink(&sink, &records(20), || held(&source), Reopening::StartsAnew);
    }
    for name in ["a.csv", "a.csv.zst"] {
        let path = folder.path().join(name);
        let sink = FileSink::csv(&path);
        let source = FileSource::csv(&path);
        check_sink(&sink, &records(20), || held(&source), Reopening::StartsAnew);
    }
    let sink = FileSink::<Item>::json_lines(folder.path().join("a.jsonl/b.jsonl"));
    check_missing_sink(&sink, &["a.jsonl", "cannot be written to"]);
}

/// An item whose note must not be empty.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Noted(Item);

impl Serialize for Noted {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // It is seen to be bad only when a part of it has been written.
        #[derive(Serialize)]
        struct Form<'a> {
            id: u64,
            score: Option<f64>,
            #[serde(serialize_with = "not_empty")]
            note: &'a str,
        }
        fn not_empty<S: serde::Serializer>(note: &str, to: S) -> Result<S::Ok, S::Error> {
            if note.is_empty() {
                return Err(serde::ser::Error::custom("there is no note"));
            }
            to.serialize_str(note)
        }
        let Item { id, score, note } = &self.0;
        let (id, score) = (*id, *score);
        Form { id, score, note }.serialize(to)
    }
}

/// Items, of which some at the beginning, within and at the end have no form.
pub(crate) fn partly_bad() -> Vec<(Record<Noted>, bool)> {
    let items = (0..20).map(|id| {
        let is_good = !matches!(id, 0 | 1 | 7 | 10 | 19);
        let note = if is_good { "noted" } else { "" };
        let item = Item {
            note: note.to_owned(),
            ..item(id)
        };
        (record(Noted(item)), is_good)
    });
    items.collect()
}

#[test]
fn sinks_pass_over_what_has_no_form() {
    let folder = tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["a.jsonl", "a.jsonl.zst"] {
        let source = FileSource::json_lines(at(name));
        let sink = FileSink::json_lines(at(name));
        check_refusals(&sink, &partly_bad(), || held(&source));
    }
    for name in ["a.csv", "a.csv.gz"] {
        let source = FileSource::<Item>::csv(at(name));
        let sink = FileSink::csv(at(name));
        let noted = || held(&source).into_iter().map(Noted).collect();
        check_refusals(&sink, &partly_bad(), noted);
    }
    let sink = FileSink::json_lines(at("b.jsonl")).rotate(Rotation::bytes(100_000));
    let source = FileSource::json_lines(at("b-000001.jsonl"));
    check_refusals(&sink, &partly_bad(), || held(&source));
    let sink = LogSink::json(folder.path(), "noted");
    let source = LogSource::json(folder.path(), "noted").until_end();
    check_refusals(&sink, &partly_bad(), || held(&source));
}

/// Writes lines as they are.
struct AsItIs;

impl Encode<String> for AsItIs {
    fn encode(&mut self, line: &String, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(line.as_bytes());
        Ok(())
    }
}

fn log_lines(log: &Path, text: &str) {
    let sink = LogSink::encoded(log, "items", || AsItIs).segment_bytes(600);
    let records: Vec<_> = text.lines().map(|line| record(line.to_owned())).collect();
    let mut writer = sink.open().unwrap();
    writer.write(&records, &mut Refused::default()).unwrap();
    writer.close().unwrap();
}

fn record<T>(value: T) -> Record<T> {
    Record {
        time: EventTime::default(),
        origin: Origin::default(),
        ingested_ns: 0,
        value,
    }
}

#[test]
fn a_log_as_a_source() {
    let folder = tempdir().unwrap();
    let (text, held) = lines(23, json);
    log_lines(folder.path(), &text);
    let source = LogSource::<Item>::json(folder.path(), "items");
    check_source(&source, std::slice::from_ref(&held), Ending::Waits);
    let source = LogSource::<Item>::json(folder.path(), "items").until_end();
    check_source(&source, &[held], Ending::Ends);
    let missing = LogSource::<Item>::json(folder.path(), "nothing");
    check_missing_source(
        &missing,
        &["no topic `nothing`", "write to the topic first"],
    );
}

#[test]
fn a_log_as_a_sink() {
    let folder = tempdir().unwrap();
    let source = || LogSource::<Item>::json(folder.path(), "items").until_end();
    let sink = LogSink::encoded(folder.path(), "items", || JsonEncoder).segment_bytes(600);
    let held = || match source().check() {
        Ok(()) => held(&source()),
        Err(_) => Vec::new(),
    };
    check_sink(&sink, &records(20), held, Reopening::GoesOn);
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    check_missing_sink(
        &LogSink::<Item>::json(file, "items"),
        &["file", "permissions"],
    );
}

#[test]
fn a_generator_as_a_source() {
    let source = GeneratorSource::new(5, |m| item(m.number()))
        .partitions(2)
        .count(23);
    let held = |partition: u32, count| {
        let records = (0..count).map(|n| (n, Ok(item(n * 2 + u64::from(partition)))));
        Held::partition(partition, records)
    };
    check_source(&source, &[held(0, 12), held(1, 11)], Ending::Ends);
    let wrong = GeneratorSource::new(5, |m| m.number()).rate(f64::NAN);
    check_missing_source(&wrong, &["no rate", "set it otherwise"]);
}
