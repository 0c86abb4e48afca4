//! Closures and aggregates of the user's that panic, in windows, features and joins.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_engine::flow::{Flow, Stream};
use thalweg_engine::job::{JobOptions, Order, StopHandle};
use thalweg_engine::letters::DeadLetter;
use thalweg_engine::record::Data;
use thalweg_engine::run;
use thalweg_engine::telemetry::Telemetry;
use thalweg_engine::testing::{Collect, Events, run_flow_with_fates};
use thalweg_engine::time::{EventTime, secs};

use super::{TimeJoins, WindowStreams, WithFeatures};
use crate::aggregate::{Aggregate, Count, Sum};
use crate::firing::Window;
use crate::join::{Interval, Lookup};

const BAD: u32 = 7;

fn good(second: u32) -> u32 {
    assert!(second != BAD, "no sevens");
    second
}

fn seconds<'s>(flow: &mut Flow<'s>, id: &str) -> Stream<'s, u32> {
    flow.source(id, Events::new([1, 2, BAD, 3, 12]))
        .event_time(|second| EventTime::from_seconds((*second).into()), secs(10))
}

/// Runs a flow in which one closure panics on the bad record: what comes out, and the step and the
/// record of each dead letter.
fn run_past<U: Data + Sync>(
    build: impl for<'s> Fn(&mut Flow<'s>) -> Stream<'s, U> + Send + Sync + 'static,
) -> (Vec<U>, Vec<(String, String)>) {
    let options = JobOptions {
        workers: 2,
        order: Order::EventTime,
        ..JobOptions::default()
    };
    let letters = Collect::<DeadLetter>::default();
    let sink = letters.clone();
    let (rows, fates) = run_flow_with_fates(options, move |flow| {
        let stream = build(flow);
        flow.dead_letters().sink("dead", sink.clone());
        stream
    })
    .unwrap();
    assert!(fates.balance(), "{fates:?}");
    let letters = letters.values().into_iter().map(|letter| {
        let reason = &letter.reason;
        assert!(
            reason.starts_with("closure panicked: no sevens"),
            "{reason}"
        );
        (letter.step.to_string(), letter.raw.to_string())
    });
    (rows, letters.collect())
}

#[test]
fn a_record_on_which_a_column_of_windows_panics_is_in_none() {
    let (rows, letters) = run_past(|flow| {
        seconds(flow, "in")
            .key_by(|_| 0_u8)
            .windows("w", Window::hopping(secs(10), secs(5)), |w| {
                w.aggregate("n", Count, |_| ())
                    .aggregate("sum", Sum, |second| f64::from(good(*second)))
            })
            .into_stream()
            .map("row", |result| result.value)
    });
    let expected = [[3.0, 6.0], [3.0, 6.0], [1.0, 12.0], [1.0, 12.0]];
    assert_eq!(rows, expected);
    assert_eq!(letters, [("w".to_owned(), "7".to_owned())]);
    let (rows, letters) = run_past(|flow| {
        seconds(flow, "in")
            .key_by(|_| 0_u8)
            .aggregate_windows("w", Window::tumbling(secs(20)), Sum, |second| {
                f64::from(good(*second))
            })
            .map("row", |result| result.value)
    });
    assert_eq!(rows, [18.0]);
    assert_eq!(letters, [("w".to_owned(), "7".to_owned())]);
}

#[test]
fn a_record_on_which_a_key_or_a_predicate_panics_is_a_dead_letter_of_the_step() {
    let (rows, letters) = run_past(|flow| {
        seconds(flow, "in")
            .key_by(|second| good(*second) % 2)
            .aggregate_windows("w", Window::tumbling(secs(20)), Count, |_| ())
            .map("row", |result| (result.key, result.value as u64))
    });
    assert_eq!(BTreeMap::from_iter(rows), BTreeMap::from([(0, 2), (1, 2)]));
    assert_eq!(letters, [("w".to_owned(), "7".to_owned())]);
    let (rows, letters) = run_past(|flow| {
        seconds(flow, "in")
            .key_by(|_| 0_u8)
            .features("f", |f| {
                f.over(secs(60)).count_if("n", |second| good(*second) > 1);
            })
            .filter("some", |second| *second != 2)
            .into_stream()
            .map("row", |row| row.features[0])
    });
    assert_eq!(rows, [0.0, 2.0, 3.0]);
    assert_eq!(letters, [("f".to_owned(), "7".to_owned())]);
}

#[test]
fn a_record_on_which_the_pairing_of_a_join_panics_is_a_dead_letter_of_the_step() {
    let check =
        |join: for<'s> fn(&mut Flow<'s>) -> Stream<'s, u32>, expected: &[u32], raw: &str| {
            let (mut rows, letters) = run_past(join);
            rows.sort_unstable();
            assert_eq!(rows, expected);
            assert_eq!(letters, [("j".to_owned(), raw.to_owned())]);
        };
    check(
        |flow| {
            let table = seconds(flow, "table").key_by(|_| 0_u8);
            let events = seconds(flow, "events").key_by(|_| 0_u8);
            events.as_of("j", table, secs(60), |event, _| good(event))
        },
        &[1, 2, 3, 12],
        "7",
    );
    check(
        |flow| {
            let table = seconds(flow, "table").map("row", |second| (second % 2, Some(second)));
            let events = seconds(flow, "events").key_by(|second| second % 2);
            events.lookup("j", table, Lookup::forever(), |event, _| good(event))
        },
        &[1, 2, 3, 12],
        "7",
    );
    check(
        |flow| {
            let other = seconds(flow, "other").key_by(|second| *second);
            let events = seconds(flow, "events").key_by(|second| good(*second));
            events.interval_join("j", other, Interval::around(secs(0), secs(0)), |a, _| *a)
        },
        &[1, 2, 3, 12],
        r#"{"Left":7}"#,
    );
}

/// A count that panics in one of its three parts.
struct Faulty(&'static str);

impl Faulty {
    fn perhaps(&self, part: &str, fails: bool) {
        assert!(!(self.0 == part && fails), "{part} fails");
    }
}

impl Aggregate for Faulty {
    type Input = f64;
    type State = f64;
    type Output = f64;

    fn empty(&self) -> f64 {
        0.0
    }

    fn add(&self, state: &mut f64, _: EventTime, value: &f64) {
        self.perhaps("add", *value == f64::from(BAD));
        *state += value;
    }

    fn merge(&self, state: &mut f64, later: &f64) {
        self.perhaps("merge", true);
        *state += later;
    }

    fn finish(&self, state: &f64, _: EventTime) -> f64 {
        self.perhaps("finish", *state >= f64::from(BAD));
        *state
    }
}

/// What a run says that must end with an error.
fn failure<U: Data>(
    build: impl for<'s> Fn(&mut Flow<'s>) -> Stream<'s, U> + Send + Sync + 'static,
) -> String {
    let options = JobOptions::default();
    let telemetry = Arc::new(Telemetry::default());
    let outcome = run(options, telemetry, StopHandle::default(), move |flow| {
        build(flow).sink("out", Collect::default());
        Ok(())
    });
    outcome.unwrap_err().to_string()
}

#[test]
fn an_aggregate_that_panics_ends_the_run_naming_step_record_and_text() {
    let half_changed = "its state may be half changed: correct it and run again";
    let says = |error: &str, parts: &[&str]| {
        for part in parts.iter().chain(&[half_changed]) {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    };
    for part in ["add", "finish"] {
        let error = failure(move |flow| {
            seconds(flow, "in")
                .key_by(|_| 0_u8)
                .features("f", |f| {
                    f.over(secs(60))
                        .aggregate("a", Faulty(part), |second| f64::from(*second));
                })
                .into_stream()
        });
        says(
            &error,
            &["step `f`", &format!("{part} fails"), "`in`", "offset 2"],
        );
    }
    for (part, on) in [
        ("add", "offset 2"),
        ("merge", "watermark"),
        ("finish", "watermark"),
    ] {
        let error = failure(move |flow| {
            let hops = Window::hopping(secs(10), secs(5));
            seconds(flow, "in").key_by(|_| 0_u8).aggregate_windows(
                "w",
                hops,
                Faulty(part),
                |second| f64::from(*second),
            )
        });
        says(&error, &["step `w`", &format!("{part} fails"), on]);
    }
    // While an event is taken in, what it makes fire is its own.
    let error = failure(|flow| {
        let early = Window::tumbling(secs(60)).early_events(1);
        seconds(flow, "in")
            .key_by(|_| 0_u8)
            .windows("w", early, |w| {
                w.aggregate("a", Faulty("finish"), |second| f64::from(*second))
            })
            .into_stream()
    });
    says(&error, &["step `w`", "finish fails", "`in`", "offset 2"]);
}
