//! What writers refuse, and how they are closed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use thalweg_engine::RunError;
use thalweg_engine::job::{JobOptions, Order};
use thalweg_engine::ledger::Fates;
use thalweg_engine::letters::DeadLetter;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{Refused, Sink, SinkError, Writer, Writers};
use thalweg_engine::testing::{Collect, Events, run_to_end};
use thalweg_engine::time::{EventTime, secs};

/// A sink of even numbers.
#[derive(Clone)]
struct Evens {
    writers: Writers,
    written: Arc<Mutex<Vec<i64>>>,
    closed: Arc<AtomicU32>,
    can_close: bool,
}

impl Evens {
    fn new(writers: Writers) -> Self {
        Self {
            writers,
            written: Arc::default(),
            closed: Arc::default(),
            can_close: true,
        }
    }
}

impl Sink<i64> for Evens {
    fn describe(&self) -> String {
        "even numbers".to_owned()
    }

    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn writers(&self) -> Writers {
        self.writers
    }

    fn open(&self) -> Result<Box<dyn Writer<i64>>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl Writer<i64> for Evens {
    fn write(&mut self, records: &[Record<i64>], refused: &mut Refused) -> Result<(), SinkError> {
        for (index, record) in records.iter().enumerate() {
            if record.value % 2 == 0 {
                self.written.lock().unwrap().push(record.value);
            } else {
                refused.add(index, "odd");
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), SinkError> {
        self.closed.fetch_add(1, Ordering::Relaxed);
        if self.can_close {
            return Ok(());
        }
        Err(SinkError::Write {
            what: "even numbers".to_owned(),
            reason: "no ink for the last line".to_owned(),
        })
    }
}

/// A sink of dead letters that takes none.
#[derive(Clone, Default)]
struct Full(Arc<AtomicU32>);

impl Sink<DeadLetter> for Full {
    fn describe(&self) -> String {
        "full".to_owned()
    }

    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&self) -> Result<Box<dyn Writer<DeadLetter>>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl Writer<DeadLetter> for Full {
    fn write(
        &mut self,
        records: &[Record<DeadLetter>],
        refused: &mut Refused,
    ) -> Result<(), SinkError> {
        for index in 0..records.len() {
            self.0.fetch_add(1, Ordering::Relaxed);
            refused.add(index, "full");
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

const COUNT: i64 = 1_000;

fn all_options() -> impl Iterator<Item = JobOptions> {
    let orders = [Order::Arrival, Order::EventTime];
    let all = orders
        .into_iter()
        .flat_map(|order| [1, 2, 3].map(|workers| (order, workers)));
    all.map(|(order, workers)| JobOptions {
        workers,
        order,
        batch_records: 7,
        // Less than a writer can have waiting.
        in_flight_max: 50,
        ..JobOptions::default()
    })
}

/// Runs numbers, in three partitions, into the sink, and says what became of them.
fn run_into(
    options: JobOptions,
    sink: &Evens,
    letters: Option<Collect<DeadLetter>>,
) -> Result<Fates, RunError> {
    let sink = sink.clone();
    run_to_end(options, move |flow| {
        let numbers = [0, 1, 2].map(|rest| (0..COUNT).filter(move |n| n % 3 == rest));
        flow.source("numbers", Events::partitions(numbers))
            .event_time(|n| EventTime::from_seconds(*n), secs(COUNT as u64))
            .sink("evens", sink.clone());
        if let Some(letters) = &letters {
            flow.dead_letters().sink("dead", letters.clone());
        }
    })
}

fn check_fates(fates: Fates) {
    let half = COUNT as u64 / 2;
    let expected = Fates {
        records_in: 2 * half,
        processed: half,
        dead_letters: half,
        ..Fates::default()
    };
    assert_eq!(fates, expected);
}

fn check_letters(mut letters: Vec<DeadLetter>) {
    letters.sort_by_key(|letter| letter.raw.parse::<i64>().unwrap());
    let raw: Vec<_> = letters.iter().map(|letter| letter.raw.clone()).collect();
    let odd: Vec<_> = (1..COUNT).step_by(2).map(|n| n.to_string()).collect();
    assert_eq!(raw, odd);
    let fifth = &letters[2];
    assert_eq!(
        (fifth.step.as_str(), fifth.reason.as_str()),
        ("evens", "odd")
    );
    assert_eq!((fifth.partition, fifth.offset), (2, 1));
}

#[test]
fn what_a_writer_refuses_becomes_a_dead_letter() {
    for writers in [Writers::One, Writers::EachWorker] {
        for options in all_options() {
            let (sink, letters) = (Evens::new(writers), Collect::default());
            let workers = options.workers as u32;
            let fates = run_into(options, &sink, Some(letters.clone())).unwrap();
            check_fates(fates);
            check_letters(letters.values());
            let mut written = sink.written.lock().unwrap().clone();
            written.sort_unstable();
            assert_eq!(written, (0..COUNT).step_by(2).collect::<Vec<_>>());
            let opened = if writers == Writers::One { 1 } else { workers };
            assert_eq!(
                sink.closed.load(Ordering::Relaxed),
                opened,
                "closed once each"
            );
        }
    }
}

#[test]
fn without_a_stream_of_its_own_it_goes_to_the_job() {
    for options in all_options() {
        let letters = Collect::default();
        let options = JobOptions {
            dead_letters: Some(Arc::new(letters.clone())),
            ..options
        };
        check_fates(run_into(options, &Evens::new(Writers::One), None).unwrap());
        check_letters(letters.values());
    }
}

#[test]
fn a_dead_letter_that_cannot_be_written_goes_in_no_circle() {
    for options in all_options() {
        let full = Full::default();
        let options = JobOptions {
            dead_letters: Some(Arc::new(full.clone())),
            ..options
        };
        check_fates(run_into(options, &Evens::new(Writers::One), None).unwrap());
        assert_eq!(full.0.load(Ordering::Relaxed), COUNT as u32 / 2);
    }
}

#[test]
fn what_the_flows_own_sink_of_dead_letters_refuses_is_a_dead_letter_of_the_job() {
    let (full, letters) = (Full::default(), Collect::<DeadLetter>::default());
    let options = JobOptions {
        dead_letters: Some(Arc::new(letters.clone())),
        ..JobOptions::default()
    };
    run_to_end(options, move |flow| {
        flow.source("numbers", Events::new(0..10_i64))
            .event_time(|n| EventTime::from_seconds(*n), secs(0))
            .sink("evens", Evens::new(Writers::One));
        flow.dead_letters().sink("full", full.clone());
    })
    .unwrap();
    let letters = letters.values();
    assert_eq!(letters.len(), 5);
    assert!(letters.iter().all(|letter| letter.step == "full"));
    let about: DeadLetter = serde_json::from_str(&letters[0].raw).unwrap();
    assert_eq!((about.step.as_str(), about.raw.as_str()), ("evens", "1"));
}

#[test]
fn a_sink_that_cannot_be_completed_fails_the_run() {
    for writers in [Writers::One, Writers::EachWorker] {
        for options in all_options() {
            let sink = Evens {
                can_close: false,
                ..Evens::new(writers)
            };
            let error = run_into(options, &sink, None).unwrap_err().to_string();
            let expected =
                "sink `evens`: cannot write on to even numbers: no ink for the last line";
            assert_eq!(error, expected);
        }
    }
}
