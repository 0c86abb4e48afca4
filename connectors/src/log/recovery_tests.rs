//! What is left by a crash, by damage and by retention.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use tempfile::{TempDir, tempdir};
use thalweg_engine::sink::{Refused, Sink};
use thalweg_engine::source::{Found, ReadBatch, ReadStatus, Source};
use thalweg_engine::time::{EventTime, days};

use super::testing::{drain, numbers, record, segments};
use super::{Fsync, LogSink, LogSource, LogStart, Retention};

fn sink(log: &Path) -> LogSink<u64> {
    LogSink::json(log, "numbers").fsync(Fsync::Never)
}

/// A log with a topic of the numbers from 0 on, in segments of so many bytes.
fn log_of(count: u64, segment_bytes: u64) -> TempDir {
    let folder = tempdir().unwrap();
    let sink = sink(folder.path()).segment_bytes(segment_bytes);
    append(&sink, 0..count);
    folder
}

fn append(sink: &LogSink<u64>, numbers: std::ops::Range<u64>) {
    let mut writer = sink.open().unwrap();
    let records: Vec<_> = numbers.map(record).collect();
    writer.write(&records, &mut Refused::default()).unwrap();
    writer.flush().unwrap();
}

fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn flip(path: &Path, position: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[usize::try_from(position).unwrap()] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Asserts that reading from the start ends in an error that holds all of `parts`.
fn assert_fails(log: &Path, parts: &[&str]) {
    let error = numbers(log, "numbers", 0).unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_tail_that_is_cut_at_any_byte_loses_the_unfinished_record_and_no_other() {
    let whole = log_of(20, 1 << 20);
    let segment = segments(whole.path(), "numbers").remove(0);
    let all = bytes_of(&segment);
    // Each record has 28 or 29 bytes: 8 of length and checksum, 19 or more of body.
    for cut in 0..(all - 32) {
        let log = log_of(20, 1 << 20);
        let segment = segments(log.path(), "numbers").remove(0);
        let file = OpenOptions::new().write(true).open(&segment).unwrap();
        file.set_len(all - cut).unwrap();
        let before = numbers(log.path(), "numbers", 0).unwrap();
        let kept = before.len() as u64;
        assert_eq!(before, (0..kept).collect::<Vec<_>>());
        assert!(
            kept <= 20 && kept * 29 + 32 + 29 > all - cut,
            "{kept} at {cut}"
        );

        let mut follower = LogSource::<u64>::json(log.path(), "numbers")
            .open(0, kept)
            .unwrap();
        assert!(drain(&mut *follower, 9).unwrap().is_empty());
        append(&sink(log.path()), kept..kept + 3);
        let after = numbers(log.path(), "numbers", 0).unwrap();
        assert_eq!(after, (0..kept + 3).collect::<Vec<_>>());
        let followed = drain(&mut *follower, 9).unwrap();
        let expected: Vec<_> = (kept..kept + 3).map(|n| (n, n)).collect();
        assert_eq!(
            followed, expected,
            "an open reader goes on after the recovery"
        );
    }
}

#[test]
fn a_tail_of_zeros_or_of_half_a_record_is_cut_off() {
    for garbage in [
        &[0_u8; 5_000][..],
        &[21, 0, 0, 0, 1, 2, 3][..],
        &[0xff; 40][..],
    ] {
        let log = log_of(10, 1 << 20);
        let segment = segments(log.path(), "numbers").remove(0);
        let mut file = OpenOptions::new().append(true).open(&segment).unwrap();
        file.write_all(garbage).unwrap();
        let expected: Vec<_> = (0..10).collect();
        assert_eq!(numbers(log.path(), "numbers", 0).unwrap(), expected);
        append(&sink(log.path()), 10..12);
        let expected: Vec<_> = (0..12).collect();
        assert_eq!(numbers(log.path(), "numbers", 0).unwrap(), expected);
    }
}

#[test]
fn damage_before_the_end_is_an_error_that_names_segment_and_offset() {
    for damaged in [0_u64, 5, 17] {
        let log = log_of(20, 1 << 20);
        let segment = segments(log.path(), "numbers").remove(0);
        // Records 0 to 9 have 28 bytes, those after them 29.
        let position = 32 + damaged * 28 + damaged.saturating_sub(10);
        for byte in [0, 2, 6, 20] {
            flip(&segment, position + byte);
            let place = format!("damaged at offset {damaged} (byte {position})");
            assert_fails(log.path(), &[&segment.display().to_string(), &place]);
            let error = sink(log.path()).open().map(drop).unwrap_err().to_string();
            assert!(error.contains(&place), "{error}");
            flip(&segment, position + byte);
        }
        assert_eq!(numbers(log.path(), "numbers", 0).unwrap().len(), 20);
    }
}

#[test]
fn damage_in_an_older_segment_is_an_error_even_at_its_end() {
    let log = log_of(20, 200);
    let segments = segments(log.path(), "numbers");
    assert!(segments.len() > 2);
    let last_byte = bytes_of(&segments[0]) - 1;
    flip(&segments[0], last_byte);
    assert_fails(
        log.path(),
        &[&segments[0].display().to_string(), "damaged at offset"],
    );
    flip(&segments[0], last_byte);
    flip(&segments[1], 9);
    assert_fails(log.path(), &[&segments[1].display().to_string(), "header"]);
}

#[test]
fn an_index_that_lies_or_is_gone_changes_nothing() {
    let folder = tempdir().unwrap();
    append(&sink(folder.path()), 0..20_000);
    let index = segments(folder.path(), "numbers")
        .remove(0)
        .with_extension("index");
    assert!(bytes_of(&index) >= 7 * 16);
    let check = || {
        for offset in [1, 9_999, 19_999] {
            let rest = numbers(folder.path(), "numbers", offset).unwrap();
            assert_eq!(rest, (offset..20_000).collect::<Vec<_>>());
        }
        sink(folder.path()).open().unwrap();
    };
    check();
    let mut file = OpenOptions::new().write(true).open(&index).unwrap();
    file.seek(SeekFrom::Start(24)).unwrap();
    file.write_all(&[7; 50]).unwrap();
    check();
    fs::remove_file(&index).unwrap();
    check();
}

#[test]
fn a_missing_segment_is_an_error_that_names_the_offsets() {
    let log = log_of(30, 200);
    let segments = segments(log.path(), "numbers");
    let base =
        |path: &PathBuf| -> u64 { path.file_stem().unwrap().to_str().unwrap().parse().unwrap() };
    let (from, to) = (base(&segments[1]), base(&segments[2]) - 1);
    fs::remove_file(&segments[1]).unwrap();
    assert_fails(
        log.path(),
        &[&format!("from offset {from} to {to} are gone")],
    );
    let source = LogSource::<u64>::json(log.path(), "numbers");
    let error = source.open(0, from + 1).map(drop).unwrap_err().to_string();
    assert!(error.contains("are gone"), "{error}");
}

#[test]
fn retention_by_size_removes_old_segments_and_a_reader_is_told() {
    let log = log_of(30, 200);
    let source = LogSource::<u64>::json(log.path(), "numbers");
    let mut slow = source.open(0, 0).unwrap();
    slow.read(&mut ReadBatch::new(), 1).unwrap();
    let bounded = sink(log.path())
        .segment_bytes(200)
        .retention(Retention::forever().bytes(700));
    append(&bounded, 30..60);

    let rest = numbers(log.path(), "numbers", 0).unwrap();
    let first = rest[0];
    assert!(
        first > 30 && rest == (first..60).collect::<Vec<_>>(),
        "{rest:?}"
    );
    let kept: u64 = segments(log.path(), "numbers")
        .iter()
        .map(|path| bytes_of(path))
        .sum();
    assert!(kept <= 900, "{kept}");
    assert_eq!(numbers(log.path(), "numbers", first).unwrap(), rest);
    let error = source.open(0, first - 1).map(drop).unwrap_err().to_string();
    let gone = format!("from offset {0} to {0} are gone", first - 1);
    assert!(error.contains(&gone), "{error}");
    let error = drain(&mut *slow, 100).unwrap_err().to_string();
    assert!(error.contains("are gone"), "{error}");
    // The first record is no other than the first one, and a source that begins knows where.
    let error = source.open(0, 0).map(drop).unwrap_err().to_string();
    let gone = format!("from offset 0 to {} are gone", first - 1);
    assert!(error.contains(&gone), "{error}");
    assert_eq!(source.start_offset(0, Found::AtStart).unwrap(), first);
}

#[test]
fn a_source_begins_where_it_is_told_to() {
    let log = tempdir().unwrap();
    let at = |number: u64| EventTime::from_seconds(number as i64);
    let timed = (0..30).map(|number| thalweg_engine::record::Record {
        time: at(number),
        ..record(number)
    });
    let mut writer = sink(log.path()).segment_bytes(200).open().unwrap();
    let written = writer.write(&timed.collect::<Vec<_>>(), &mut Refused::default());
    written.unwrap();
    writer.close().unwrap();
    let start = |start| {
        let source = LogSource::<u64>::json(log.path(), "numbers").start(start);
        let later = source.start_offset(0, Found::Later).unwrap();
        assert_eq!(later, 0, "what comes later is read from its beginning");
        source.start_offset(0, Found::AtStart).unwrap()
    };
    assert_eq!(start(LogStart::Beginning), 0);
    assert_eq!(start(LogStart::End), 30);
    for number in [0, 7, 29] {
        assert_eq!(start(LogStart::At(at(number))), number);
    }
    assert_eq!(start(LogStart::At(EventTime::MAX)), 30);
}

#[test]
fn a_topic_can_be_given_more_partitions() {
    let folder = tempdir().unwrap();
    let source = LogSource::<u64>::json(folder.path(), "numbers");
    append(&sink(folder.path()).partitions(2), 0..10);
    assert_eq!(source.partitions().unwrap(), [0, 1]);
    let grown = || sink(folder.path()).partitions(3).grow();
    grown().check().unwrap();
    assert_eq!(
        source.partitions().unwrap(),
        [0, 1],
        "a check changes nothing"
    );
    append(&grown(), 10..20);
    assert_eq!(source.partitions().unwrap(), [0, 1, 2]);
    assert!(source.discover_every().is_some());
    let mut all = Vec::new();
    for partition in 0..3 {
        let mut batch = ReadBatch::new();
        let bounded = LogSource::<u64>::json(folder.path(), "numbers").until_end();
        let mut reader = bounded.open(partition, 0).unwrap();
        while reader.read(&mut batch, 7).unwrap() != ReadStatus::End {}
        assert!(!batch.is_empty(), "partition {partition} is used");
        all.extend(batch.into_iter().map(|(_, item)| item.unwrap()));
    }
    all.sort_unstable();
    assert_eq!(all, (0..20).collect::<Vec<_>>());
    let fewer = sink(folder.path()).partitions(2).grow();
    let error = fewer.open().map(drop).unwrap_err().to_string();
    assert!(error.contains("has 3 partitions, not 2"), "{error}");
}

#[test]
fn retention_by_age_goes_by_when_a_segment_was_last_written() {
    let log = log_of(30, 200);
    let before = segments(log.path(), "numbers");
    for old in &before[..2] {
        let file = File::options().write(true).open(old).unwrap();
        let then = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        file.set_times(FileTimes::new().set_modified(then)).unwrap();
    }
    let aged = sink(log.path()).retention(Retention::forever().age(days(1)));
    aged.open().unwrap();
    assert_eq!(segments(log.path(), "numbers"), before[2..]);
}

#[test]
fn an_offset_that_the_log_has_not_come_to_is_an_error() {
    let log = log_of(10, 1 << 20);
    assert!(numbers(log.path(), "numbers", 10).unwrap().is_empty());
    let error = numbers(log.path(), "numbers", 11).unwrap_err().to_string();
    assert!(
        error.contains("it ends at offset 10, but was read up to offset 11"),
        "{error}"
    );
}

#[test]
fn a_topic_has_one_writer_and_keeps_its_partitions() {
    let folder = tempdir().unwrap();
    let sink = sink(folder.path()).partitions(3);
    let writer = sink.open().unwrap();
    for outcome in [sink.open().map(drop), sink.check()] {
        let error = outcome.unwrap_err().to_string();
        let holder = format!("(process {})", std::process::id());
        assert!(
            error.contains("another writer") && error.contains(&holder),
            "{error}"
        );
    }
    drop(writer);
    sink.check().unwrap();
    let other = LogSink::<u64>::json(folder.path(), "numbers").partitions(4);
    for outcome in [other.open().map(drop), other.check()] {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("has 3 partitions, not 4"), "{error}");
    }
    let any = LogSink::<u64>::json(folder.path(), "numbers");
    any.open().unwrap();
    let source = LogSource::<u64>::json(folder.path(), "numbers");
    assert_eq!(source.partitions().unwrap(), [0, 1, 2]);
}

#[test]
fn records_without_a_key_go_around() {
    let folder = tempdir().unwrap();
    append(&sink(folder.path()).partitions(3), 0..9);
    let source = LogSource::<u64>::json(folder.path(), "numbers").until_end();
    for partition in 0..3 {
        let mut reader = source.open(partition, 0).unwrap();
        assert_eq!(drain(&mut *reader, 10).unwrap().len(), 3);
    }
}

#[test]
fn a_name_that_is_no_folder_is_refused() {
    let folder = tempdir().unwrap();
    for name in ["", "..", "a/b", "a b"] {
        let error = LogSink::<u64>::json(folder.path(), name)
            .check()
            .unwrap_err();
        assert!(error.to_string().contains("is no topic"), "{error}");
        assert!(LogSource::<u64>::json(folder.path(), name).check().is_err());
    }
}

#[test]
fn a_reader_until_the_end_stops_at_the_end_of_its_opening() {
    let log = log_of(5, 100);
    let source = LogSource::<u64>::json(log.path(), "numbers").until_end();
    let mut reader = source.open(0, 0).unwrap();
    append(&sink(log.path()), 5..9);
    let mut batch = ReadBatch::new();
    while reader.read(&mut batch, 2).unwrap() != ReadStatus::End {}
    assert_eq!(batch.len(), 5);
}

/// The other side of the test below, which starts it as a process of its own.
#[test]
#[ignore = "started by the test that kills it"]
fn writes_until_it_is_killed() {
    let Some(log) = std::env::var_os("THALWEG_TEST_LOG") else {
        return;
    };
    let log = PathBuf::from(log);
    let mut next = numbers(&log, "numbers", 0).map_or(0, |all| all.len() as u64);
    let sink = sink(&log).segment_bytes(50_000);
    let mut writer = sink.open().unwrap();
    loop {
        let records: Vec<_> = (next..next + 500).map(record).collect();
        for part in records.chunks(7) {
            writer.write(part, &mut Refused::default()).unwrap();
        }
        writer.flush().unwrap();
        next += 500;
        println!("flushed {next}");
    }
}

#[test]
fn what_was_flushed_survives_kill_9() {
    let folder = tempdir().unwrap();
    let mut flushed = 0;
    for round in 0..10 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "log::recovery_tests::writes_until_it_is_killed"])
            .args(["--ignored", "--nocapture"])
            .env("THALWEG_TEST_LOG", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("flushed ")?.parse::<u64>().ok());
        flushed = said.by_ref().take(3 + round * 7).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // Until here, so that it is the signal that ends it and not a pipe without a reader.
        drop(said);
        let there = numbers(folder.path(), "numbers", 0).unwrap();
        assert!(
            there.len() as u64 >= flushed,
            "{} of {flushed}",
            there.len()
        );
        assert_eq!(there, (0..there.len() as u64).collect::<Vec<_>>());
    }
    assert!(flushed > 10_000);
    let end = numbers(folder.path(), "numbers", 0).unwrap().len() as u64;
    append(&sink(folder.path()), end..end + 10);
    let after = numbers(folder.path(), "numbers", 0).unwrap();
    assert_eq!(after, (0..end + 10).collect::<Vec<_>>());
}

#[test]
fn a_check_leaves_nothing_behind_and_keeps_nobody_out() {
    let folder = tempdir().unwrap();
    let log = folder.path().join("not/there/yet");
    sink(&log).check().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(sink(&folder.path().join("file/log")).check().is_err());

    append(&sink(&log), 0..10);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    sink(&log).check().unwrap();
                }
            });
        }
    });
    let writer = sink(&log).open().unwrap();
    let error = sink(&log).check().unwrap_err().to_string();
    assert!(error.contains("one writer at a time"), "{error}");
    drop(writer);
    sink(&log).check().unwrap();
}
