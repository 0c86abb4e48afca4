//! Flows as a user builds them, run on real workers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use thalweg_engine::flow::{Flow, Stream};
use thalweg_engine::job::{JobOptions, Order, StopHandle};
use thalweg_engine::keyed::{Context, KeyedStep};
use thalweg_engine::ledger::Fates;
use thalweg_engine::letters::{DeadLetter, LateEvent};
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::source::{Undecodable, WatermarkPolicy};
use thalweg_engine::telemetry::Telemetry;
use thalweg_engine::testing::{Collect, Events, Live, run_flow, run_flow_with_fates};
use thalweg_engine::time::{EventTime, millis, secs};
use thalweg_engine::{plan, run};

fn at(second: &i64) -> EventTime {
    EventTime::from_seconds(*second)
}

/// Counts the values of each key.
struct Count;

impl KeyedStep<i64> for Count {
    type Key = i64;
    type State = u64;
    type Out = (i64, u64);

    fn process(
        &mut self,
        _: &i64,
        count: &mut u64,
        record: Record<i64>,
        context: &mut Context<'_, (i64, u64)>,
    ) {
        *count += 1;
        let count = *count;
        context.emit(record.map(|value| (value, count)));
    }
}

fn counted<'s>(flow: &mut Flow<'s>) -> Stream<'s, (i64, u64)> {
    let values = [5, 3, 4, 1, 9, 7, 8, 6, 12, 11];
    flow.source(
        "values",
        Events::partitions([values, values.map(|value| value + 20)]),
    )
    .event_time(at, secs(5))
    .key_by(|value| value % 3)
    .step("count", "count", Count)
}

#[test]
fn event_time_order_gives_the_same_for_any_number_of_workers_and_any_batch() {
    let run_with = |workers, batch_records| {
        let order = Order::EventTime;
        run_flow(
            JobOptions {
                workers,
                batch_records,
                order,
                ..JobOptions::default()
            },
            counted,
        )
    };
    let expected = run_with(1, 256).unwrap();
    assert!(
        expected.is_sorted_by_key(|(value, _)| *value),
        "{expected:?}"
    );
    assert_eq!(expected.len(), 20);
    for (workers, batch) in [(1, 1), (2, 3), (3, 256), (4, 1)] {
        assert_eq!(
            run_with(workers, batch).unwrap(),
            expected,
            "{workers} workers of {batch}"
        );
    }
}

#[test]
fn arrival_order_keeps_every_record_and_counts_each_key_once_per_record() {
    for workers in [1, 2, 4] {
        let mut got = run_flow(
            JobOptions {
                workers,
                ..JobOptions::default()
            },
            counted,
        )
        .unwrap();
        got.sort_unstable_by_key(|(value, count)| (value % 3, *count));
        let counts: Vec<u64> = got.iter().map(|(_, count)| *count).collect();
        assert_eq!(got.len(), 20);
        assert_eq!(
            counts.iter().filter(|count| **count == 1).count(),
            3,
            "{got:?}"
        );
    }
}

#[test]
fn every_record_has_one_fate() {
    let bad = || {
        Err(Undecodable {
            reason: "no number".into(),
            raw: b"x".to_vec(),
        })
    };
    let (values, fates) = run_flow_with_fates(JobOptions::default(), move |flow| {
        let year_3000 = 32_503_680_000;
        let items = [
            Ok(100),
            Ok(1),
            bad(),
            Ok(101),
            Ok(year_3000),
            Ok(103),
            Ok(102),
        ];
        flow.source("values", Events::with_bad(items))
            .event_time(at, WatermarkPolicy::disorder(secs(10)))
            .filter("even", |value| value % 2 == 0)
    })
    .unwrap();
    assert_eq!(values, [100, 102]);
    let expected = Fates {
        records_in: 7,
        processed: 2,
        late: 1,
        dead_letters: 2,
        filtered: 2,
        held: 0,
    };
    assert_eq!(fates, expected);
}

#[test]
fn late_events_and_dead_letters_are_streams_of_their_own() {
    let (late, dead) = (Collect::default(), Collect::default());
    let (late_sink, dead_sink) = (late.clone(), dead.clone());
    let bad = Err(Undecodable {
        reason: "no number".into(),
        raw: vec![0xff],
    });
    run_flow(JobOptions::default(), move |flow| {
        let values = flow
            .source("values", Events::with_bad([Ok(100), Ok(1), bad.clone()]))
            .event_time(at, secs(10));
        flow.late("values").sink("late", late_sink.clone());
        flow.dead_letters().sink("dead_letters", dead_sink.clone());
        values
    })
    .unwrap();
    let (late, dead) = (late.values(), dead.values());
    assert_eq!(
        (late.len(), late[0].offset, late[0].event.as_str()),
        (1, 1, "1")
    );
    assert_eq!(
        (dead.len(), dead[0].offset, dead[0].raw.as_str()),
        (1, 2, "ff")
    );
}

#[test]
fn all_errors_of_a_flow_are_reported_together() {
    let error = plan(&JobOptions::default(), |flow| {
        let values = flow
            .source("values", Events::new([1_i64]))
            .event_time(at, secs(0));
        values
            .clone()
            .map("same", |value| value)
            .sink("same", Collect::default());
        flow.late("valuse").sink("late", Collect::default());
        Err("and one of the user's own".into())
    })
    .unwrap_err();
    let text = error.to_string();
    assert_eq!(error.errors.len(), 3, "{text}");
    for part in ["`same` is used twice", "no step `valuse`", "the user's own"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn every_worker_owns_key_groups_or_the_flow_is_refused() {
    for workers in [0, 257] {
        let options = JobOptions {
            workers,
            ..JobOptions::default()
        };
        let error = plan(&options, |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("give 1 to 256 workers"), "{error}");
    }
}

/// Runs a live flow in the background and waits until `done` says so, at most ten seconds.
fn live(
    options: JobOptions,
    policy: WatermarkPolicy,
    feed: &[i64],
    expected: &[i64],
) -> (Arc<Telemetry>, Vec<i64>) {
    let (feeder, source) = Live::new();
    let (collected, telemetry) = (Collect::default(), Arc::new(Telemetry::default()));
    let (sink, stop) = (collected.clone(), StopHandle::default());
    let source = Arc::new(std::sync::Mutex::new(Some(source)));
    let (told, stopper) = (Arc::clone(&telemetry), stop.clone());
    let job = std::thread::spawn(move || {
        let shared = Arc::clone(&source);
        run(options, told, stop, move |flow| {
            let live = shared.lock().unwrap().as_ref().unwrap().clone();
            flow.source("live", live)
                .event_time(at, policy)
                .key_by(|value| value % 2)
                .step("count", "count", Count)
                .map("value", |(value, _)| value)
                .sink("out", sink.clone());
            Ok(())
        })
    });
    feed.iter().for_each(|value| feeder.send(*value).unwrap());
    for _ in 0..1_000 {
        if collected.values().len() >= expected.len() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let seen = collected.values();
    stopper.stop();
    job.join().unwrap().unwrap();
    (telemetry, seen)
}

/// Keeps values from 0 to 9 in its state, sends negative ones to the late stream and greater ones to
/// the dead letters.
struct Sort;

impl KeyedStep<i64> for Sort {
    type Key = i64;
    type State = Vec<Origin>;
    type Out = i64;

    const TURNS_AWAY: bool = true;

    fn process(
        &mut self,
        _: &i64,
        kept: &mut Vec<Origin>,
        record: Record<i64>,
        context: &mut Context<'_, i64>,
    ) {
        match record.value {
            i64::MIN..0 => context.divert(&record),
            0..10 => kept.push(record.origin),
            10.. => {
                context.reject(&record.with(()), Some(&record.value), "more than one digit");
            }
        }
    }

    fn waiting(&self, kept: &Vec<Origin>, note: &mut dyn FnMut(Origin)) {
        kept.iter().for_each(|origin| note(*origin));
    }
}

#[test]
fn a_step_gives_late_events_and_dead_letters_and_what_waits_in_its_state_is_held() {
    for (workers, order) in [(1, Order::Arrival), (2, Order::EventTime)] {
        let (late, dead) = (Collect::default(), Collect::default());
        let (late_sink, dead_sink) = (late.clone(), dead.clone());
        let options = JobOptions {
            workers,
            order,
            batch_records: 2,
            ..JobOptions::default()
        };
        let (_, fates) = run_flow_with_fates(options, move |flow| {
            let sorted = flow
                .source("values", Events::new([-2, 5, -1, 7, 11, 3, 12]))
                .event_time(at, secs(100))
                .key_by(|value| value % 3)
                .step("sort", "sort", Sort);
            flow.late("sort").sink("late", late_sink.clone());
            flow.dead_letters().sink("dead", dead_sink.clone());
            sorted
        })
        .unwrap();
        let expected = Fates {
            records_in: 7,
            held: 3,
            late: 2,
            dead_letters: 2,
            ..Fates::default()
        };
        assert_eq!(fates, expected);
        let mut late: Vec<LateEvent> = late.values();
        late.sort_by_key(|event| event.offset);
        let first = LateEvent {
            step: "sort".to_owned(),
            source: 0,
            partition: 0,
            partition_name: "0".to_owned(),
            offset: 0,
            event_time: at(&-2),
            watermark: late[0].watermark,
            event: "-2".to_owned(),
        };
        assert_eq!((late.len(), &late[0]), (2, &first));
        let dead: Vec<DeadLetter> = dead.values();
        let origin = |offset| Origin {
            offset,
            ..Origin::default()
        };
        let letter = |offset, raw| DeadLetter {
            partition_name: "0".to_owned(),
            ..DeadLetter::new("sort", origin(offset), "more than one digit", raw)
        };
        assert!(dead.contains(&letter(4, b"11")), "{dead:?}");
        assert!(dead.contains(&letter(6, b"12")), "{dead:?}");
    }
}

#[test]
fn a_lone_event_comes_out_at_once_in_arrival_order() {
    let (_, seen) = live(JobOptions::default(), secs(3_600).into(), &[1], &[1]);
    assert_eq!(seen, [1]);
}

#[test]
fn what_waits_for_the_watermark_at_a_stop_is_held() {
    let options = JobOptions {
        order: Order::EventTime,
        ..JobOptions::default()
    };
    let (telemetry, seen) = live(options, secs(5).into(), &[1, 2, 100], &[1, 2]);
    assert_eq!(seen, [1, 2]);
    let expected = Fates {
        records_in: 3,
        processed: 2,
        held: 1,
        ..Fates::default()
    };
    assert_eq!(telemetry.ledger().fates(), expected);
}

#[test]
fn an_idle_source_follows_the_wall_clock_so_that_its_events_come_out() {
    let options = JobOptions {
        order: Order::EventTime,
        ..JobOptions::default()
    };
    let policy = WatermarkPolicy::disorder(millis(50)).idle_after(millis(100));
    let (_, seen) = live(options, policy, &[7], &[7]);
    assert_eq!(seen, [7]);
}

#[test]
fn a_source_hands_late_events_on_as_far_behind_as_it_is_told() {
    let late = Collect::default();
    let sink = late.clone();
    let (values, fates) = run_flow_with_fates(JobOptions::default(), move |flow| {
        let policy = WatermarkPolicy::disorder(secs(1)).hand_on_late(secs(5));
        let values = flow
            .source("values", Events::new([10, 9, 4, 3, 11]))
            .event_time(at, policy);
        flow.late("values").sink("late", sink.clone());
        values
    })
    .unwrap();
    assert_eq!(values, [10, 9, 4, 11]);
    assert_eq!((fates.processed, fates.late), (4, 1));
    let late: Vec<LateEvent> = late.values();
    assert_eq!(late[0].event, "3");
}
