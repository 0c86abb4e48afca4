//! A clock that was set back before a job goes on: nothing is lost, and nothing done twice.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use thalweg::connectors::log::{LogSink, LogSource};
use thalweg::engine::checkpoint::{CheckpointOptions, Location};
use thalweg::engine::clock::Clock;
use thalweg::engine::job::{JobOptions, StopHandle};
use thalweg::engine::keyed::{Context, KeyedStep};
use thalweg::engine::record::{Origin, Record};
use thalweg::engine::sink::{Refused, Sink};
use thalweg::engine::source::{ReadBatch, ReadStatus, Source};
use thalweg::engine::telemetry::Telemetry;
use thalweg::engine::{Checkpointing, run};
use thalweg::prelude::*;

use crate::process::wait_until;

/// A number, and when it was.
type Event = (u64, EventTime);

/// The numbers of events of each key.
struct Count;

impl KeyedStep<Event> for Count {
    type Key = u64;
    type State = u64;
    type Out = (u64, u64);

    fn process(
        &mut self,
        _: &u64,
        count: &mut u64,
        record: Record<Event>,
        context: &mut Context<'_, (u64, u64)>,
    ) {
        *count += 1;
        let count = *count;
        context.emit(record.map(|(number, _)| (number, count)));
    }
}

const KEYS: u64 = 7;
const NOON: EventTime = EventTime::from_seconds(1_767_268_800);

/// Appends events, a second apart, that have come to pass by the time of day.
fn append(log: &Path, numbers: std::ops::Range<u64>) {
    let sink = LogSink::<Event>::json(log, "events");
    let mut writer = sink.open().unwrap();
    for number in numbers {
        let at = EventTime::from_micros(NOON.as_micros() + number as i64 * 1_000_000);
        let record = Record {
            time: at,
            origin: Origin::default(),
            ingested_ns: 0,
            value: (number, at),
        };
        writer.write(&[record], &mut Refused::default()).unwrap();
    }
    writer.close().unwrap();
}

fn counted(log: &Path) -> Vec<(u64, u64)> {
    let source = LogSource::<(u64, u64)>::json(log, "counted").until_end();
    let Ok(mut reader) = source.open(0, 0) else {
        return Vec::new();
    };
    let mut batch = ReadBatch::new();
    while reader.read(&mut batch, 1_000).unwrap() != ReadStatus::End {}
    batch.into_iter().map(|(_, value)| value.unwrap()).collect()
}

/// Runs the job by a clock that begins at this time of day, until it has written so many.
fn live(folder: &Path, wall: EventTime, until: usize) {
    let (log, clock) = (folder.join("log"), Clock::manual(wall));
    let location = Location::folder(folder.join("checkpoints"));
    let options = JobOptions {
        workers: 2,
        clock: clock.clone(),
        checkpoints: Some(Checkpointing::new(
            "clocks",
            CheckpointOptions::new(location),
        )),
        ..JobOptions::default()
    };
    let (stop, telemetry) = (StopHandle::default(), Arc::new(Telemetry::default()));
    let (asked, read) = (stop.clone(), log.clone());
    let job = thread::spawn(move || {
        run(options, telemetry, asked, move |flow| {
            flow.source("events", LogSource::<Event>::json(&log, "events"))
                .event_time(|event| event.1, secs(5))
                .key_by(|event| event.0 % KEYS)
                .step("count", "count", Count)
                .sink("counted", LogSink::json(&log, "counted"));
            Ok(())
        })
    });
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let hands = thread::spawn(move || {
        while !over.load(Ordering::SeqCst) {
            clock.advance(millis(10));
            thread::sleep(Duration::from_millis(1));
        }
    });
    wait_until("all has been counted", || {
        assert!(!job.is_finished(), "the job has ended");
        counted(&read).len() >= until
    });
    stop.stop();
    job.join().unwrap().unwrap();
    is_over.store(true, Ordering::SeqCst);
    hands.join().unwrap();
}

#[test]
fn a_clock_that_was_set_back_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("log");
    append(&log, 0..400);
    live(
        folder.path(),
        EventTime::from_seconds(NOON.as_micros() / 1_000_000 + 400),
        400,
    );
    append(&log, 400..800);
    // Hours before the last event that it has seen.
    let earlier = EventTime::from_micros(NOON.as_micros() - hours(5).as_micros() as i64);
    live(folder.path(), earlier, 800);
    let expected: Vec<_> = (0..800).map(|number| (number, number / KEYS + 1)).collect();
    let mut counted = counted(&log);
    counted.sort_unstable();
    assert_eq!(counted, expected);
}
