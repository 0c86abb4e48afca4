//! What the sink writes, the source reads back.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use tempfile::tempdir;
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::sink::{Refused, Sink};
use thalweg_engine::source::{ReadBatch, ReadStatus, Source};
use thalweg_engine::testing::conformance::{
    Ending, Held, check_missing_sink, check_missing_source, check_source,
};
use thalweg_engine::time::EventTime;

use super::{ColumnKind, ParquetSink, ParquetSource};

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Row {
    id: i64,
    at: EventTime,
    score: Option<f64>,
    note: String,
    good: bool,
}

fn row(id: i64) -> Row {
    Row {
        id,
        at: EventTime::from_micros(id * 1_000_001),
        score: (id % 3 == 0).then_some(id as f64 / 7.0),
        note: format!("\u{20ac} {id}"),
        good: id % 2 == 0,
    }
}

/// Every fifth row lacks its note.
fn sink(path: &Path) -> ParquetSink<Row> {
    let columns = [
        ("note", ColumnKind::Text),
        ("id", ColumnKind::Integer),
        ("more", ColumnKind::Number),
        ("at", ColumnKind::Time),
        ("score", ColumnKind::Number),
        ("good", ColumnKind::Flag),
    ];
    ParquetSink::rows(path, columns, |record: &Record<Row>, row| {
        let Row {
            id,
            at,
            score,
            note,
            good,
        } = &record.value;
        if id % 5 == 4 {
            row.empty();
        } else {
            row.text(note);
        }
        row.integer(*id).number(1.0).time(*at);
        match score {
            Some(score) => row.number(*score),
            None => row.empty(),
        };
        row.flag(*good);
    })
}

fn write(path: &Path, count: i64) {
    let records: Vec<_> = (0..count)
        .map(|id| Record {
            time: EventTime::default(),
            origin: Origin::default(),
            ingested_ns: 0,
            value: row(id),
        })
        .collect();
    let sink = sink(path);
    sink.check().unwrap();
    let mut writer = sink.open().unwrap();
    writer.write(&records, &mut Refused::default()).unwrap();
    writer.flush().unwrap();
    assert!(!path.exists(), "a file that is not finished has no name");
    writer.close().unwrap();
}

#[test]
fn parquet_as_a_source() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    write(&path, 23);
    let source = ParquetSource::<Row>::new(&path);
    let mut batch = ReadBatch::new();
    while source.open(0, 0).unwrap().read(&mut batch, 100).unwrap() != ReadStatus::End {}
    let bad = batch[4].1.clone().unwrap_err();
    assert!(
        bad.reason.contains("column `note`: invalid type"),
        "{}",
        bad.reason
    );
    let expected = (0..23).map(|id| {
        let bad = || batch[id as usize].1.clone().unwrap_err().raw;
        (
            id as u64,
            if id % 5 == 4 { Err(bad()) } else { Ok(row(id)) },
        )
    });
    check_source(&source, &[Held::partition(0, expected)], Ending::Ends);
    let error = source.open(0, 24).map(drop).unwrap_err().to_string();
    assert!(error.contains("it has 23 rows"), "{error}");
}

#[test]
fn a_large_file_is_written_in_groups_and_read_as_one() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    write(&path, 250_000);
    let source = ParquetSource::<Row>::new(&path);
    let mut batch = ReadBatch::new();
    source
        .open(0, 249_995)
        .unwrap()
        .read(&mut batch, 3)
        .unwrap();
    let ids: Vec<_> = batch
        .iter()
        .map(|(_, row)| row.as_ref().unwrap().id)
        .collect();
    assert_eq!(ids, [249_995, 249_996, 249_997]);
}

#[test]
fn what_cannot_be_read_or_written_is_refused_before_the_start() {
    let folder = tempdir().unwrap();
    let missing = ParquetSource::<Row>::new(folder.path().join("nowhere.parquet"));
    check_missing_source(&missing, &["nowhere.parquet", "check the path"]);
    let other = folder.path().join("other.parquet");
    fs::write(&other, "id,at\n1,2\n").unwrap();
    check_missing_source(
        &ParquetSource::<Row>::new(&other),
        &["finished Parquet file"],
    );
    check_missing_sink(&sink(&other.join("a.parquet")), &["other.parquet"]);
    check_missing_sink(&sink(folder.path()), &["it is a folder"]);
}

#[test]
fn a_damaged_file_ends_the_run() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    write(&path, 20_000);
    let mut bytes = fs::read(&path).unwrap();
    for byte in &mut bytes[1_000..1_200] {
        *byte ^= 0x55;
    }
    fs::write(&path, bytes).unwrap();
    let source = ParquetSource::<Row>::new(&path);
    let mut reader = source.open(0, 0).unwrap();
    let mut batch = ReadBatch::new();
    let outcome = loop {
        match reader.read(&mut batch, 1_000) {
            Ok(ReadStatus::More) => {}
            other => break other,
        }
    };
    assert!(
        outcome.is_err() || batch.iter().any(|(_, row)| row.is_err()),
        "{outcome:?}"
    );
}
