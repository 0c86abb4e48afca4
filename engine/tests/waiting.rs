//! A job that is to start waits for what is away, within bounds.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use thalweg_engine::flow::Flow;
use thalweg_engine::job::{JobOptions, StopHandle};
use thalweg_engine::source::{Reader, Source, SourceError};
use thalweg_engine::telemetry::Telemetry;
use thalweg_engine::testing::{Collect, Events};
use thalweg_engine::time::{EventTime, secs};
use thalweg_engine::{RunError, run};

/// Numbers that can be reached only at a later look.
struct Fickle {
    looks: Arc<AtomicU32>,
    /// How many looks are in vain.
    in_vain: u32,
    numbers: Events<i64>,
}

impl Source<i64> for Fickle {
    fn describe(&self) -> String {
        "numbers".to_owned()
    }

    fn check(&self) -> Result<(), SourceError> {
        match self.looks.fetch_add(1, Ordering::Relaxed) < self.in_vain {
            true => Err(SourceError::Away {
                what: "numbers".to_owned(),
                reason: "nobody answers".to_owned(),
                remedy: "wake them".to_owned(),
            }),
            false => Ok(()),
        }
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        self.numbers.partitions()
    }

    fn open(&self, partition: u32, offset: u64) -> Result<Box<dyn Reader<i64>>, SourceError> {
        self.numbers.open(partition, offset)
    }
}

/// Runs a job whose source is away for so many looks, and another thing wrong if wanted; gives how often
/// it was looked at, too.
fn outcome(
    in_vain: u32,
    start_timeout: Duration,
    is_hopeless: bool,
    stop: &StopHandle,
) -> (Result<u64, RunError>, u32) {
    let looks = Arc::<AtomicU32>::default();
    let options = JobOptions {
        start_timeout,
        ..JobOptions::default()
    };
    let telemetry = Arc::<Telemetry>::default();
    let counted = Arc::clone(&looks);
    let build = move |flow: &mut Flow<'_>| {
        let source = Fickle {
            looks: Arc::clone(&counted),
            in_vain,
            numbers: Events::new([1, 2, 3]),
        };
        flow.source("in", source)
            .event_time(|n| EventTime::from_seconds(*n), secs(1))
            .sink("out", Collect::default());
        match is_hopeless {
            true => Err("the model cannot be read".into()),
            false => Ok(()),
        }
    };
    let ran = run(options, Arc::clone(&telemetry), stop.clone(), build);
    let read = ran.map(|()| telemetry.ledger().fates().processed);
    (read, looks.load(Ordering::Relaxed))
}

#[test]
fn what_is_away_is_waited_for() {
    let (ran, looks) = outcome(2, secs(600), false, &StopHandle::default());
    assert_eq!((ran.unwrap(), looks), (3, 3));
}

#[test]
fn what_stays_away_ends_the_wait_with_its_name_and_the_remedy() {
    let (ran, looks) = outcome(
        u32::MAX,
        Duration::from_millis(700),
        false,
        &StopHandle::default(),
    );
    let error = ran.unwrap_err();
    assert!(matches!(error, RunError::Away(..)), "{error}");
    let told = "source `in`: cannot reach numbers now: nobody answers; wake them";
    assert!(error.to_string().starts_with(told), "{error}");
    assert!(looks > 1, "{looks}");
}

#[test]
fn what_will_not_pass_is_not_waited_for() {
    let (ran, looks) = outcome(u32::MAX, secs(600), true, &StopHandle::default());
    let error = ran.unwrap_err();
    assert!(
        matches!(&error, RunError::Plan(error) if error.errors.len() == 2),
        "{error}"
    );
    assert_eq!(looks, 1);
}

#[test]
fn a_job_that_waits_can_be_stopped() {
    let stop = StopHandle::default();
    stop.stop();
    let (ran, looks) = outcome(u32::MAX, secs(600), false, &stop);
    assert_eq!((ran.unwrap(), looks), (0, 1));
}
