//! Closures that panic: what becomes of the record, of the run, and what is said about it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use thalweg_engine::flow::{Flow, Stream};
use thalweg_engine::job::{JobOptions, Order, StopHandle};
use thalweg_engine::keyed::{Context, KeyedStep};
use thalweg_engine::letters::DeadLetter;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{Refused, Sink, SinkError, Writer};
use thalweg_engine::source::{ReadBatch, ReadStatus, Reader, Source, SourceError};
use thalweg_engine::state::KeyedState;
use thalweg_engine::telemetry::Telemetry;
use thalweg_engine::testing::{Collect, Events, Live, run_flow_with_fates};
use thalweg_engine::time::{EventTime, secs};
use thalweg_engine::{RunError, plan, run};

const BAD: i64 = 7;

fn at(second: &i64) -> EventTime {
    EventTime::from_seconds(*second)
}

fn good(value: i64) -> i64 {
    assert!(value != BAD, "{value} is too much for me");
    value
}

/// Passes values on; may panic on the bad one, or when the watermark has passed it.
#[derive(Default)]
struct Pass {
    in_process: bool,
    in_advance: bool,
}

impl KeyedStep<i64> for Pass {
    type Key = i64;
    type State = u64;
    type Out = i64;

    fn process(
        &mut self,
        _: &i64,
        state: &mut u64,
        record: Record<i64>,
        context: &mut Context<'_, i64>,
    ) {
        *state += 1;
        if self.in_process {
            good(record.value);
        }
        context.emit(record);
    }

    fn advance(&mut self, _: &mut KeyedState<i64, u64>, context: &mut Context<'_, i64>) {
        let passed = context.watermark().has_passed(at(&BAD));
        assert!(!(self.in_advance && passed), "too far for me");
    }
}

type Build = for<'s> fn(Stream<'s, i64>) -> Stream<'s, i64>;

/// Ten values from two partitions go through a step in which the bad one panics.
fn check_dead(step: &str, raw: &str, build: Build) {
    for (workers, order) in [
        (1, Order::Arrival),
        (1, Order::EventTime),
        (2, Order::EventTime),
    ] {
        let letters = Collect::default();
        let sink = letters.clone();
        let options = JobOptions {
            workers,
            order,
            ..JobOptions::default()
        };
        let (mut values, fates) = run_flow_with_fates(options, move |flow| {
            let partitions = [[0_i64, 2, 4, 6, 8], [1, 3, 5, BAD, 9]];
            let values = flow
                .source("values", Events::partitions(partitions))
                .event_time(at, secs(0));
            let values = build(values);
            flow.dead_letters().sink("dead", sink.clone());
            values
        })
        .unwrap();
        values.sort_unstable();
        assert_eq!(values, [0, 1, 2, 3, 4, 5, 6, 8, 9], "{step} {workers}");
        assert_eq!((fates.processed, fates.dead_letters), (9, 1));
        check_letter(&letters.values(), step, raw);
    }
}

fn check_letter(letters: &[DeadLetter], step: &str, raw: &str) {
    assert_eq!(letters.len(), 1, "{letters:?}");
    let letter = &letters[0];
    assert_eq!((letter.step.as_str(), letter.raw.as_str()), (step, raw));
    assert_eq!((letter.source, letter.partition, letter.offset), (0, 1, 3));
    let reason = "closure panicked: 7 is too much for me (at engine/tests/panics.rs:";
    assert!(letter.reason.starts_with(reason), "{}", letter.reason);
}

#[test]
fn a_record_on_which_a_closure_panics_is_a_dead_letter_and_the_run_goes_on() {
    check_dead("map", "", |values| values.map("map", good));
    check_dead("filter", "7", |values| {
        values.filter("filter", |value| good(*value) == *value)
    });
    check_dead("flat_map", "", |values| {
        // Panics after it has given something.
        values.flat_map("flat_map", |value| {
            [(value, false), (value, true)]
                .into_iter()
                .filter_map(|(value, last)| {
                    last.then(|| good(value)).or((value == BAD).then_some(0))
                })
        })
    });
    check_dead("keyed", "7", |values| {
        values
            .key_by(|value| good(*value))
            .step("keyed", "pass", Pass::default())
    });
}

#[test]
fn an_event_time_that_cannot_be_taken_is_a_dead_letter_of_the_source() {
    let letters = Collect::default();
    let sink = letters.clone();
    let (values, fates) = run_flow_with_fates(JobOptions::default(), move |flow| {
        let partitions = [vec![], vec![1_i64, 3, 5, BAD, 9]];
        let values = flow
            .source("values", Events::partitions(partitions))
            .event_time(|value| at(&good(*value)), secs(0));
        flow.dead_letters().sink("dead", sink.clone());
        values
    })
    .unwrap();
    assert_eq!((values.len(), fates.dead_letters), (4, 1));
    check_letter(&letters.values(), "values", "7");
}

#[test]
fn letters_that_the_flow_leaves_alone_go_to_the_jobs_own_sink() {
    let letters = Collect::default();
    let options = JobOptions {
        dead_letters: Some(Arc::new(letters.clone())),
        ..JobOptions::default()
    };
    run_flow_with_fates(options, move |flow| {
        let values = flow
            .source(
                "values",
                Events::partitions([vec![], vec![1_i64, 3, 5, BAD]]),
            )
            .event_time(at, secs(0));
        flow.dead_letters().sink("taken_early", Collect::default());
        values.map("map", good)
    })
    .unwrap();
    check_letter(&letters.values(), "map", "");
}

/// Runs a flow whose source never ends by itself, and returns how the run failed.
fn failure(
    workers: usize,
    build: impl for<'s> Fn(Stream<'s, i64>, &mut Flow<'s>) + Send + Sync + 'static,
) -> String {
    let (feeder, source) = Live::new();
    (0..20).for_each(|value| feeder.send(value).unwrap());
    let source = std::sync::Mutex::new(source);
    let options = JobOptions {
        workers,
        ..JobOptions::default()
    };
    let telemetry = Arc::new(Telemetry::default());
    let ended = run(options, telemetry, StopHandle::default(), move |flow| {
        let source = source.lock().unwrap().clone();
        let values = flow.source("values", source).event_time(at, secs(0));
        build(values, flow);
        Ok(())
    });
    drop(feeder);
    match ended {
        Err(RunError::Failed(reason)) => reason,
        other => panic!("the run must fail: {other:?}"),
    }
}

fn check_failure(reason: &str, parts: &[&str]) {
    for part in parts {
        assert!(reason.contains(part), "no `{part}` in: {reason}");
    }
}

#[test]
fn a_panic_over_state_ends_the_run_naming_step_record_and_text() {
    for workers in [1, 2, 3] {
        let reason = failure(workers, |values, _| {
            let step = Pass {
                in_process: true,
                ..Pass::default()
            };
            let values = values.key_by(|value| *value).step("keyed", "pass", step);
            values.sink("out", Collect::default());
        });
        check_failure(
            &reason,
            &[
                "step `keyed`: closure panicked: 7 is too much for me (at engine/tests/panics.rs:",
                "on the record at offset 7 of partition 0 of source `values`",
                "state may be half changed",
            ],
        );
        let reason = failure(workers, |values, _| {
            let step = Pass {
                in_advance: true,
                ..Pass::default()
            };
            let values = values.key_by(|value| *value).step("keyed", "pass", step);
            values.sink("out", Collect::default());
        });
        check_failure(
            &reason,
            &["step `keyed`: ", "too far for me", "as the watermark moved"],
        );
    }
}

/// A sink that panics.
struct Worn;

impl Sink<i64> for Worn {
    fn describe(&self) -> String {
        "worn".to_owned()
    }

    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&self) -> Result<Box<dyn Writer<i64>>, SinkError> {
        Ok(Box::new(Self))
    }
}

impl Writer<i64> for Worn {
    fn write(&mut self, _: &[Record<i64>], _: &mut Refused) -> Result<(), SinkError> {
        panic!("worn out");
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A source that panics.
impl Source<i64> for Worn {
    fn describe(&self) -> String {
        "worn".to_owned()
    }

    fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        Ok(vec![0])
    }

    fn open(&self, _: u32, _: u64) -> Result<Box<dyn Reader<i64>>, SourceError> {
        Ok(Box::new(Self))
    }
}

impl Reader<i64> for Worn {
    fn read(&mut self, _: &mut ReadBatch<i64>, _: usize) -> Result<ReadStatus, SourceError> {
        panic!("worn out");
    }
}

#[test]
fn a_panic_of_a_source_or_a_sink_ends_the_run_by_its_name() {
    for workers in [1, 2] {
        let reason = failure(workers, |values, _| values.sink("out", Worn));
        check_failure(&reason, &["thread `out`: ", "panicked: worn out (at "]);
        let reason = failure(workers, |values, flow| {
            let worn = flow.source("worn", Worn).event_time(at, secs(0));
            values.merge("both", [worn]).sink("out", Collect::default());
        });
        check_failure(&reason, &["thread `worn-0`: ", "panicked: worn out (at "]);
    }
}

#[test]
fn a_panic_while_the_flow_is_built_is_an_error_of_the_plan() {
    let error = plan(&JobOptions::default(), |_| panic!("no such model")).unwrap_err();
    check_failure(
        &error.to_string(),
        &["the flow cannot be built: closure panicked: no such model (at "],
    );
}
