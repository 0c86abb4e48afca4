//! Reads files of every kind of shape.

use std::fs;
use std::io::Write;

use serde::{Deserialize, Serialize};
use tempfile::{TempDir, tempdir};
use thalweg_engine::source::{ReadBatch, ReadStatus};

use super::*;

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Flight {
    id: u32,
    delay: f64,
}

fn file(name: &str, content: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    (folder, path)
}

/// Reads from `offset` on, in batches of `limit`: a line `offset id delay` or `offset !reason` a
/// record, and the error that ended it.
fn read(
    source: &FileSource<Flight>,
    offset: u64,
    limit: usize,
) -> (Vec<String>, Result<(), SourceError>) {
    let mut seen = Vec::new();
    let mut reader = match source.open(0, offset) {
        Ok(reader) => reader,
        Err(error) => return (seen, Err(error)),
    };
    loop {
        let mut batch = ReadBatch::new();
        let status = reader.read(&mut batch, limit);
        assert!(batch.len() <= limit);
        seen.extend(batch.into_iter().map(|(offset, item)| match item {
            Ok(flight) => format!("{offset} {} {}", flight.id, flight.delay),
            Err(bad) => format!("{offset} !{}", bad.reason),
        }));
        match status {
            Ok(ReadStatus::End) => return (seen, Ok(())),
            Ok(_) => {}
            Err(error) => return (seen, Err(error)),
        }
    }
}

fn check(source: &FileSource<Flight>, expected: &[&str]) {
    source.check().unwrap();
    for limit in [1, 2, 100] {
        let (seen, outcome) = read(source, 0, limit);
        outcome.unwrap();
        assert_eq!(seen, expected);
    }
}

fn check_csv(content: &[u8], expected: &[&str]) {
    let (_folder, path) = file("flights.csv", content);
    check(&FileSource::csv(path), expected);
    let packed = zstd::encode_all(content, 3).unwrap();
    let (_folder, path) = file("flights.csv.zst", &packed);
    check(&FileSource::csv(path), expected);
    let (_folder, path) = file("flights.csv.gz", &gzip(content));
    check(&FileSource::csv(path), expected);
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(content).unwrap();
    gzip.finish().unwrap()
}

fn check_json(content: &[u8], expected: &[&str]) {
    let (_folder, path) = file("flights.jsonl", content);
    check(&FileSource::json_lines(path), expected);
}

/// Asserts that `check()` refuses the source, with all of `parts` in the message.
fn check_refused(source: &FileSource<Flight>, parts: &[&str]) {
    let message = source.check().unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn rows_end_in_any_line_break() {
    check_csv(b"id,delay\n1,2.5\n2,3\n", &["0 1 2.5", "1 2 3"]);
    check_csv(b"id,delay\r\n1,2.5\r\n2,3", &["0 1 2.5", "1 2 3"]);
    check_csv("\u{feff}id,delay\n1,2.5".as_bytes(), &["0 1 2.5"]);
}

#[test]
fn empty_lines_hold_no_record_but_are_counted() {
    check_csv(b"\nid,delay\n1,2\n\n\r\n2,3\n\n", &["0 1 2", "3 2 3"]);
    check_json(b"\n{\"id\":1,\"delay\":2}\n\n", &["1 1 2"]);
}

#[test]
fn a_file_without_lines_is_a_source_without_records() {
    check_csv(b"", &[]);
    check_csv(b"id,delay", &[]);
    check_json(b"", &[]);
    // Without even a frame, a compressed file has been cut off.
    let (_folder, path) = file("flights.csv.zst", b"");
    check_refused(&FileSource::csv(path), &["cut off"]);
}

#[test]
fn a_bad_line_is_one_dead_letter() {
    check_csv(
        b"id,delay\n1,\"2\nx,2\n1,2,3\n\"1\n2,\xff\n7,8\n",
        &[
            "0 !the quoted field 2 is not closed on its line; \
             fields of several lines are not supported",
            "1 !column `id`: invalid digit found in string (found `x`)",
            "2 !the row has 3 fields, the header 2 columns",
            "3 !the quoted field 1 is not closed on its line; \
             fields of several lines are not supported",
            "4 !column `delay`: invalid utf-8 sequence of 1 bytes from index 2",
            "5 7 8",
        ],
    );
    check_csv(b"id,late\n1,2\n", &["0 !missing field `delay`"]);
    check_json(
        b"{\"id\":1\n{\"id\":2,\"delay\":3}\n{\"id\":2}",
        &[
            "0 !EOF while parsing an object at line 1 column 7",
            "1 2 3",
            "2 !missing field `delay` at line 1 column 8",
        ],
    );
}

#[test]
fn a_line_that_is_too_long_is_one_dead_letter() {
    let (_folder, path) = file("flights.csv", b"id,delay\n1,2.000000000\n2,3\n");
    check(
        &FileSource::csv(path).line_bytes_max(8),
        &[
            "0 !the line has 13 bytes, more than the limit of 8; raise it with `line_bytes_max`",
            "1 2 3",
        ],
    );
}

#[test]
fn a_record_that_the_check_refuses_is_a_dead_letter() {
    let (_folder, path) = file("flights.csv", b"id,delay\n1,2\n0,3\n");
    let source = FileSource::csv(path).check_with(|f: &Flight| {
        if f.id > 0 {
            Ok(())
        } else {
            Err("no id".to_owned())
        }
    });
    check(&source, &["0 1 2", "1 !no id"]);
    let mut batch = ReadBatch::new();
    source.open(0, 1).unwrap().read(&mut batch, 1).unwrap();
    assert_eq!(batch[0].1.as_ref().unwrap_err().raw, b"0,3");
}

#[test]
fn a_record_on_which_the_check_panics_is_a_dead_letter() {
    let (_folder, path) = file("flights.csv", b"id,delay\n1,2\n0,3\n2,4\n");
    let source = FileSource::csv(path).check_with(|f: &Flight| {
        assert!(f.id > 0, "no id");
        Ok(())
    });
    let mut batch = ReadBatch::new();
    source.open(0, 0).unwrap().read(&mut batch, 9).unwrap();
    assert!(batch[0].1.is_ok() && batch[2].1.is_ok());
    let undecodable = batch[1].1.as_ref().unwrap_err();
    assert_eq!(undecodable.raw, b"0,3");
    assert!(undecodable.reason.starts_with("closure panicked: no id"));
}

#[test]
fn reading_goes_on_from_an_offset() {
    let (_folder, path) = file("flights.csv", b"id,delay\n1,2\n\n2,3\n3,4\n");
    let source = FileSource::csv(path);
    assert_eq!(read(&source, 1, 9).0, ["2 2 3", "3 3 4"]);
    assert_eq!(read(&source, 3, 9).0, ["3 3 4"]);
    let (seen, outcome) = read(&source, 4, 9);
    assert!(seen.is_empty() && outcome.is_ok());
    let message = read(&source, 5, 9).1.unwrap_err().to_string();
    assert!(
        message.contains("it has 4 lines, but was read up to line 5 before"),
        "{message}"
    );
}

#[test]
fn every_file_is_a_partition() {
    let (_one, first) = file("a.csv", b"id,delay\n1,2\n");
    let (_two, second) = file("b.csv", b"delay,id\n3,4\n");
    let source = FileSource::<Flight>::csv_files(vec![first, second]);
    assert_eq!(source.partitions().unwrap(), [0, 1]);
    let mut batch = ReadBatch::new();
    source.open(1, 0).unwrap().read(&mut batch, 9).unwrap();
    assert_eq!(batch[0].1.as_ref().unwrap().id, 4);
    assert!(source.open(2, 0).is_err());
}

#[test]
fn a_file_that_cannot_be_read_is_refused_before_the_start() {
    let (folder, path) = file("flights.csv", b"id,late\n1,2\n");
    let missing = folder.path().join("nowhere.csv");
    check_refused(
        &FileSource::csv(missing),
        &["nowhere.csv", "no such file", "check the path"],
    );
    check_refused(
        &FileSource::csv(folder.path()),
        &["it is a folder", "name the files in it"],
    );
    check_refused(&FileSource::csv_files(vec![]), &["no file is named"]);
    check_refused(
        &FileSource::csv(path).columns(&["id", "delay"]),
        &[
            "flights.csv",
            "lacks the column `delay` (it has id, late)",
            "first line",
        ],
    );
    let (_folder, path) = file("flights.csv", b"id,\"delay\n1,2\n");
    check_refused(
        &FileSource::csv(path),
        &["is not closed", "the names of its columns"],
    );
    for name in ["flights.csv.zst", "flights.jsonl.zst", "flights.csv.gz"] {
        let (_folder, path) = file(name, b"id,delay\n1,2\n");
        let source = if name.contains("csv") {
            FileSource::csv(path)
        } else {
            FileSource::json_lines(path)
        };
        check_refused(&source, &["cannot read on from", name]);
    }
}

#[test]
fn a_compressed_file_that_is_cut_off_gives_what_it_has_and_then_fails() {
    let rows: String = (0..200_000)
        .map(|id| format!("{id},{}\n", id * 7919 % 1009))
        .collect();
    let packed = zstd::encode_all(format!("id,delay\n{rows}").as_bytes(), 3).unwrap();
    let (_folder, path) = file("flights.csv.zst", &packed[..packed.len() / 2]);
    let (seen, outcome) = read(&FileSource::csv(path), 0, 1000);
    assert!(seen.len() > 1000, "{}", seen.len());
    assert!(
        seen.iter()
            .enumerate()
            .all(|(i, row)| row.starts_with(&format!("{i} {i} ")))
    );
    let error = outcome.unwrap_err();
    assert!(matches!(error, SourceError::Read { .. }), "{error}");
    assert!(error.to_string().contains("cut off"), "{error}");
}

#[test]
fn gzip_members_one_after_the_other_are_one_file() {
    let content = [gzip(b"id,delay\n1,2\n"), gzip(b"2,3\n")].concat();
    let (_folder, path) = file("flights.csv.gz", &content);
    check(&FileSource::csv(path), &["0 1 2", "1 2 3"]);
}

#[test]
fn a_pattern_stands_for_its_files_in_the_order_of_their_paths() {
    let folder = tempdir().unwrap();
    for (name, id) in [("b.csv", 2), ("a.csv", 1), ("c.csv.gz", 3), ("d.txt", 4)] {
        let content = format!("id,delay\n{id},0\n").into_bytes();
        let content = if name.ends_with("gz") {
            gzip(&content)
        } else {
            content
        };
        fs::write(folder.path().join(name), content).unwrap();
    }
    fs::create_dir(folder.path().join("e.csv")).unwrap();
    let pattern = folder.path().join("*.csv*").display().to_string();
    let source = FileSource::<Flight>::csv_matching(pattern);
    source.check().unwrap();
    assert_eq!(source.partitions().unwrap(), [0, 1, 2]);
    // What comes later is for the next start.
    fs::write(folder.path().join("0.csv"), "id,delay\n").unwrap();
    for partition in 0..3 {
        let mut batch = ReadBatch::new();
        source
            .open(partition, 0)
            .unwrap()
            .read(&mut batch, 9)
            .unwrap();
        assert_eq!(batch[0].1.as_ref().unwrap().id, partition + 1);
    }
    let nothing = folder.path().join("*.json").display().to_string();
    check_refused(
        &FileSource::json_lines_matching(nothing),
        &["no file matches", "*.json"],
    );
    check_refused(
        &FileSource::csv_matching("a[".to_owned()),
        &["`a[` is malformed"],
    );
}

#[test]
fn a_file_is_followed_line_by_whole_line() {
    let (_folder, path) = file("flights.csv", b"id,delay\n1,2\n2,");
    let source = FileSource::<Flight>::csv(&path).follow();
    source.check().unwrap();
    let mut reader = source.open(0, 0).unwrap();
    let mut next = |added: &str| {
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(added.as_bytes()).unwrap();
        let mut batch = ReadBatch::new();
        let mut status = ReadStatus::More;
        while status == ReadStatus::More {
            status = reader.read(&mut batch, 2).unwrap();
        }
        assert_eq!(status, ReadStatus::Waiting);
        batch
            .into_iter()
            .map(|(offset, flight)| (offset, flight.unwrap().id))
            .collect::<Vec<_>>()
    };
    assert_eq!(next(""), [(0, 1)]);
    assert_eq!(next("3"), []);
    assert_eq!(next(".5\n3,1\r"), [(1, 2)]);
    assert_eq!(next("\n4,1\n5,1\n6,1\n"), [(2, 3), (3, 4), (4, 5), (5, 6)]);
    assert_eq!(next(""), []);
    let mut resumed = source.open(0, 5).unwrap();
    let mut batch = ReadBatch::new();
    resumed.read(&mut batch, 9).unwrap();
    assert_eq!(batch[0].0, 5);

    fs::write(&path, "id,delay\n").unwrap();
    let error = reader.read(&mut batch, 9).unwrap_err().to_string();
    assert!(error.contains("cut or replaced"), "{error}");
}

#[test]
fn a_followed_file_that_another_one_takes_the_place_of_is_an_error() {
    let (folder, path) = file("flights.csv", b"id,delay\n1,2\n");
    let mut reader = FileSource::<Flight>::csv(&path)
        .follow()
        .open(0, 0)
        .unwrap();
    let mut batch = ReadBatch::new();
    reader.read(&mut batch, 9).unwrap();
    fs::rename(&path, folder.path().join("flights.csv.1")).unwrap();
    let renamed = reader.read(&mut batch, 9).unwrap();
    assert_eq!((batch.len(), renamed), (1, ReadStatus::Waiting));
    fs::write(&path, "id,delay\n7,2\n8,2\n").unwrap();
    let error = reader.read(&mut batch, 9).unwrap_err().to_string();
    assert!(error.contains("cut or replaced"), "{error}");
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let (_folder, path) = file("flights.csv.gz", &gzip(b"id,delay\n"));
    check_refused(&FileSource::csv(path).follow(), &["cannot be followed"]);
    let (_folder, path) = file("flights.csv", b"id,del");
    check_refused(&FileSource::csv(path).follow(), &["no header yet"]);
}

#[test]
fn files_that_come_while_a_job_runs_are_read_too() {
    use std::sync::Arc;
    use std::time::Duration;

    use thalweg_engine::job::{JobOptions, StopHandle};
    use thalweg_engine::letters::DeadLetter;
    use thalweg_engine::source::WatermarkPolicy;
    use thalweg_engine::telemetry::Telemetry;
    use thalweg_engine::testing::Collect;
    use thalweg_engine::time::{EventTime, secs};

    let folder = tempdir().unwrap();
    let write = |name: &str, ids: std::ops::Range<u32>| {
        let rows: String = ids.map(|id| format!("{id},1\n")).collect();
        // A file must be whole when it gets its name.
        let part = folder.path().join("part");
        fs::write(&part, format!("id,delay\n{rows}")).unwrap();
        fs::rename(part, folder.path().join(name)).unwrap();
    };
    write("b.csv", 0..100);
    let (got, dead) = (Collect::<u32>::default(), Collect::<DeadLetter>::default());
    let (stop, telemetry) = (StopHandle::default(), Arc::new(Telemetry::default()));
    let options = JobOptions {
        workers: 2,
        dead_letters: Some(Arc::new(dead.clone())),
        ..JobOptions::default()
    };
    let pattern = folder.path().join("*.csv").display().to_string();
    let (stopped, told, sink) = (stop.clone(), Arc::clone(&telemetry), got.clone());
    let job = std::thread::spawn(move || {
        thalweg_engine::run(options, told, stopped, move |flow| {
            let source = FileSource::<Flight>::csv_matching(&*pattern)
                .discover_every(Duration::from_millis(10));
            flow.source("flights", source)
                .event_time(
                    |_| EventTime::from_seconds(1),
                    WatermarkPolicy::disorder(secs(1)),
                )
                .map("id", |flight| flight.id)
                .sink("got", sink.clone());
            Ok(())
        })
    });
    let wait_for = |count: usize| {
        for _ in 0..3_000 {
            if got.values().len() == count {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} of {count} records came", got.values().len());
    };
    wait_for(100);
    // Whatever their place among the others.
    write("c.csv", 100..150);
    wait_for(150);
    write("a.csv", 150..200);
    wait_for(200);
    fs::write(folder.path().join("d.csv"), "id,delay\nx,1\n200,1\n").unwrap();
    wait_for(201);
    stop.stop();
    job.join().unwrap().unwrap();
    let mut ids = got.values();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..201));
    let dead = dead.values();
    assert_eq!(dead.len(), 1);
    assert!(dead[0].partition_name.ends_with("d.csv"), "{dead:?}");
    assert!(telemetry.ledger().fates().balance());
}
