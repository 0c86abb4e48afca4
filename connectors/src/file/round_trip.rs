//! What the sink writes, the source reads back.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use tempfile::tempdir;
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::sink::{Refused, Sink};
use thalweg_engine::source::{ReadBatch, ReadStatus, Source};
use thalweg_engine::time::EventTime;

use super::{FileSink, FileSource};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    text: String,
    whole: i64,
    number: Option<f64>,
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    // Any text but one with a line break, and often one that CSV has to quote.
    let text = prop_oneof!["[^\\n]{0,12}", "[\", a\\r]{0,6}"];
    let number = prop::option::of(any::<f64>());
    let row = (text, any::<i64>(), number).prop_map(|(text, whole, number)| Row {
        text,
        whole,
        number,
    });
    prop::collection::vec(row, 0..20)
}

/// Writes the rows in two batches, reads them back from `offset` on.
fn through(sink: &FileSink<Row>, source: &FileSource<Row>, rows: &[Row], offset: u64) -> Vec<Row> {
    let records: Vec<_> = rows
        .iter()
        .map(|row| Record {
            time: EventTime::default(),
            origin: Origin::default(),
            ingested_ns: 0,
            value: row.clone(),
        })
        .collect();
    let mut writer = sink.open().unwrap();
    for half in records.chunks(rows.len().div_ceil(2).max(1)) {
        writer.write(half, &mut Refused::default()).unwrap();
        writer.flush().unwrap();
    }
    writer.flush().unwrap();
    let mut batch = ReadBatch::new();
    let mut reader = source.open(0, offset).unwrap();
    while reader.read(&mut batch, 7).unwrap() != ReadStatus::End {}
    for (index, (read_offset, _)) in (offset..).zip(&batch) {
        assert_eq!(*read_offset, index);
    }
    batch.into_iter().map(|(_, row)| row.unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_come_back_as_they_were(rows in rows(), offset: prop::sample::Index) {
        let offset = offset.index(rows.len() + 1);
        let folder = tempdir().unwrap();
        for name in ["rows.csv", "rows.csv.zst"] {
            let path = folder.path().join(name);
            let header = ["text", "whole", "number"].map(str::to_owned).to_vec();
            let by_cell = FileSink::rows(&path, header, |record: &Record<Row>, row| {
                row.text(&record.value.text).integer(record.value.whole);
                row.number(record.value.number.unwrap_or(f64::NAN));
            });
            let source = FileSource::csv(&path);
            for sink in [by_cell, FileSink::csv(&path)] {
                let back = through(&sink, &source, &rows, offset as u64);
                prop_assert_eq!(&back, &rows[offset..]);
            }
        }
    }

    #[test]
    fn json_comes_back_as_it_was(rows in rows()) {
        let folder = tempdir().unwrap();
        let path = folder.path().join("rows.jsonl.zst");
        let back = through(&FileSink::json_lines(&path), &FileSource::json_lines(&path), &rows, 0);
        prop_assert_eq!(back, rows);
    }
}
