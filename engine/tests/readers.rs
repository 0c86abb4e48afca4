//! Readers that are always ready are read on the worker, the others on threads: what comes of it is the
//! same.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use proptest::prelude::*;
use thalweg_engine::job::{JobOptions, Order, Pace, StopHandle};
use thalweg_engine::record::Record;
use thalweg_engine::run;
use thalweg_engine::source::{
    ReadBatch, ReadStatus, Reader, Source, SourceError, Undecodable, WatermarkPolicy,
};
use thalweg_engine::telemetry::Telemetry;
use thalweg_engine::testing::{Collect, Events, run_to_end};
use thalweg_engine::time::{EventTime, millis, secs};

/// Another source, whose readers may or may not say that they are always ready.
#[derive(Clone)]
struct Watched<S> {
    source: S,
    is_ready: bool,
    threads: Arc<Mutex<BTreeSet<String>>>,
}

impl<S> Watched<S> {
    fn new(source: S, is_ready: bool) -> Self {
        let threads = Arc::default();
        Self {
            source,
            is_ready,
            threads,
        }
    }
}

impl<S: Source<i64> + Clone> Source<i64> for Watched<S> {
    fn describe(&self) -> String {
        self.source.describe()
    }

    fn check(&self) -> Result<(), SourceError> {
        self.source.check()
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        self.source.partitions()
    }

    fn open(&self, partition: u32, offset: u64) -> Result<Box<dyn Reader<i64>>, SourceError> {
        Ok(Box::new(WatchedReader {
            reader: self.source.open(partition, offset)?,
            is_ready: self.is_ready,
            threads: Arc::clone(&self.threads),
            noted: None,
        }))
    }
}

struct WatchedReader {
    reader: Box<dyn Reader<i64>>,
    is_ready: bool,
    threads: Arc<Mutex<BTreeSet<String>>>,
    noted: Option<ThreadId>,
}

impl Reader<i64> for WatchedReader {
    fn read(
        &mut self,
        batch: &mut ReadBatch<i64>,
        limit: usize,
    ) -> Result<ReadStatus, SourceError> {
        let thread = std::thread::current();
        if self.noted.replace(thread.id()) != Some(thread.id()) {
            let name = thread.name().unwrap_or_default().to_owned();
            self.threads.lock().unwrap().insert(name);
        }
        self.reader.read(batch, limit)
    }

    fn is_always_ready(&self) -> bool {
        self.is_ready
    }
}

/// Milliseconds.
fn at(value: &i64) -> EventTime {
    EventTime::from_millis(*value)
}

type Outcome = (Vec<Record<i64>>, Vec<(u64, String)>, Vec<u64>);

/// Everything that comes out of a source: records, dead letters and late events, in order.
fn outcome(source: &Watched<Events<i64>>, options: JobOptions) -> Outcome {
    let (records, dead, late) = (Collect::default(), Collect::default(), Collect::default());
    let sinks = (records.clone(), dead.clone(), late.clone());
    let source = source.clone();
    run_to_end(options, move |flow| {
        let policy = WatermarkPolicy::disorder(millis(20));
        flow.source("values", source.clone())
            .event_time(at, policy)
            .sink("records", sinks.0.clone());
        flow.dead_letters().sink("dead", sinks.1.clone());
        flow.late("values").sink("late", sinks.2.clone());
    })
    .unwrap();
    let mut records = records.records();
    records.iter_mut().for_each(|record| record.ingested_ns = 0);
    records.sort_by_key(|record| record.origin);
    let dead = dead.values().into_iter();
    let mut dead: Vec<_> = dead.map(|letter| (letter.offset, letter.reason)).collect();
    let mut late: Vec<_> = late.values().into_iter().map(|late| late.offset).collect();
    dead.sort();
    late.sort_unstable();
    (records, dead, late)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn it_does_not_show_where_a_partition_is_read(
        items in proptest::collection::vec(
            prop_oneof![8 => (0_i64..200).prop_map(Some), 1 => Just(None)], 0..300),
        workers in 1_usize..4,
        batch_records in prop_oneof![Just(1_usize), Just(7), Just(256)],
        in_flight_max in prop_oneof![Just(10_usize), Just(16_384)],
    ) {
        let bad = || Undecodable { reason: "no number".to_owned(), raw: b"x".to_vec() };
        let events = Events::with_bad(items.into_iter().map(|item| item.ok_or_else(bad)));
        let options = || JobOptions {
            workers,
            batch_records,
            in_flight_max,
            tick: millis(1),
            order: Order::EventTime,
            ..JobOptions::default()
        };
        let here = outcome(&Watched::new(events.clone(), true), options());
        let elsewhere = outcome(&Watched::new(events, false), options());
        prop_assert_eq!(here, elsewhere);
    }
}

#[test]
fn only_a_reader_that_is_always_ready_is_read_on_the_worker() {
    for (is_ready, pace, name) in [
        (true, Pace::Max, "timely:work-0"),
        (false, Pace::Max, "values-0"),
        (true, Pace::Times(1_000.0), "values-0"),
    ] {
        let source = Watched::new(Events::new(0..1_000), is_ready);
        let options = JobOptions {
            pace,
            ..JobOptions::default()
        };
        assert_eq!(outcome(&source, options).0.len(), 1_000);
        let threads = source.threads.lock().unwrap().clone();
        assert_eq!(threads, BTreeSet::from([name.to_owned()]), "{pace:?}");
    }
}

/// Numbers without end, of which some way on one makes the reader fail, if any.
#[derive(Clone)]
struct Endless(Numbers, Arc<AtomicU64>);

type Numbers = fn(u64) -> Result<i64, SourceError>;

impl Source<i64> for Endless {
    fn describe(&self) -> String {
        "numbers".to_owned()
    }

    fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        Ok(vec![0])
    }

    fn open(&self, _: u32, _: u64) -> Result<Box<dyn Reader<i64>>, SourceError> {
        Ok(Box::new(self.clone()))
    }
}

impl Reader<i64> for Endless {
    fn read(&mut self, batch: &mut ReadBatch<i64>, _: usize) -> Result<ReadStatus, SourceError> {
        let number = self.1.fetch_add(1, Ordering::Relaxed);
        batch.push((number, Ok((self.0)(number)?)));
        Ok(ReadStatus::More)
    }

    fn is_always_ready(&self) -> bool {
        true
    }
}

#[test]
fn a_job_that_is_read_on_its_worker_can_be_stopped() {
    for workers in [1, 2] {
        let (telemetry, stop) = (Arc::new(Telemetry::default()), StopHandle::default());
        let sink = Collect::default();
        let (out, source) = (sink.clone(), Endless(|n| Ok(n as i64), Arc::default()));
        let (told, stopped, read) = (Arc::clone(&telemetry), stop.clone(), Arc::clone(&source.1));
        let options = JobOptions {
            workers,
            ..JobOptions::default()
        };
        let running = std::thread::spawn(move || {
            run(options, told, stopped, move |flow| {
                flow.source("numbers", source.clone())
                    .event_time(at, secs(0))
                    .sink("out", out.clone());
                Ok(())
            })
        });
        while read.load(Ordering::Relaxed) < 20_000 {
            std::thread::sleep(millis(1));
        }
        stop.stop();
        running.join().unwrap().unwrap();
        let fates = telemetry.ledger().fates();
        assert!(fates.balance(), "{fates:?}");
        assert!(fates.processed >= 20_000, "{fates:?}");
        let numbers: Vec<_> = sink.values();
        assert!(numbers.iter().copied().eq(0..fates.processed as i64));
    }
}

#[test]
fn a_reader_that_fails_on_the_worker_ends_the_run_by_its_source() {
    let broken = |n| match n {
        500 => Err(SourceError::Read {
            what: "numbers".to_owned(),
            reason: "there is no 500".to_owned(),
        }),
        n => Ok(n as i64),
    };
    let panicking = |n| {
        if n == 500 {
            panic!("no 500")
        } else {
            Ok(n as i64)
        }
    };
    type Number = fn(u64) -> Result<i64, SourceError>;
    let cases: [(Number, &str); 2] = [(broken, "there is no 500"), (panicking, "no 500")];
    for (numbers, part) in cases {
        for workers in [1, 2] {
            let source = Endless(numbers, Arc::default());
            let options = JobOptions {
                workers,
                ..JobOptions::default()
            };
            let telemetry = Arc::new(Telemetry::default());
            let error = run(options, telemetry, StopHandle::default(), move |flow| {
                flow.source("numbers", source.clone())
                    .event_time(at, secs(0))
                    .sink("out", Collect::default());
                Ok(())
            })
            .unwrap_err()
            .to_string();
            assert!(error.contains("source `numbers`: "), "{error}");
            assert!(error.contains(part), "{error}");
        }
    }
}
