//! The joins in flows on real workers, and what only a running job shows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use thalweg_engine::flow::{Flow, Keyed, Stream};
use thalweg_engine::job::{JobOptions, Order, StopHandle};
use thalweg_engine::keyed::KeyedStep;
use thalweg_engine::ledger::Fates;
use thalweg_engine::letters::LateEvent;
use thalweg_engine::record::{Data, Origin, Record};
use thalweg_engine::run;
use thalweg_engine::source::WatermarkPolicy;
use thalweg_engine::telemetry::Telemetry;
use thalweg_engine::testing::{Collect, Events, Live, StepRun, run_flow_with_fates};
use thalweg_engine::time::{EventTime, millis, secs};
use thalweg_engine::watermark::Watermark;

use super::super::TimeJoins;
use super::super::either::Either;
use super::super::interval_step::IntervalStep;
use super::super::table_step::TableStep;
use super::cases::{Case, Item, case};
use super::{intervals, tables};
use crate::join::{AsOf, Interval, LatePolicy, Lookup, Rows};

fn in_event_time() -> JobOptions {
    JobOptions {
        order: Order::EventTime,
        ..JobOptions::default()
    }
}

/// The items of one stream, partition by partition.
fn source(case: &Case, right: bool) -> Events<Item> {
    let of = |partition| {
        let items = case.items.iter().copied();
        let mut items: Vec<Item> = items.filter(|item| item.right == right).collect();
        items.retain(|item| item.partition == partition);
        items
    };
    Events::partitions((0..3).map(of))
}

/// A join's name and the numbers of those who met.
type Met = (String, u64, Option<u64>);

fn keyed<'s>(stream: &Stream<'s, Item>) -> Keyed<'s, u8, Item> {
    stream.clone().key_by(|item| item.key)
}

/// All joins of one case as one flow.
fn all_joins(case: &Case, workers: usize, batch_records: usize) -> (Vec<Met>, Fates) {
    let case = case.clone();
    let options = JobOptions {
        workers,
        batch_records,
        ..in_event_time()
    };
    let disorder = Duration::from_micros(31);
    let flow = run_flow_with_fates(options, move |flow| {
        let left = flow
            .source("left", source(&case, false))
            .event_time(|item| item.time, disorder);
        let right = flow
            .source("right", source(&case, true))
            .event_time(|item| item.time, disorder);
        let changes = right.clone().map("changes", |item| {
            (item.key, (!item.deletes).then_some(item))
        });
        let met = |name: &str, a: &Item, b: Option<&Item>| {
            (name.to_owned(), a.number, b.map(|b| b.number))
        };
        let (span, rule) = (case.span(0), intervals::rule(&case));
        let as_of = keyed(&left).as_of("a", keyed(&right), span, move |a, b| met("as_of", &a, b));
        let lookup = keyed(&left).lookup("b", changes, Lookup::ttl(span), move |a, b| {
            met("lookup", &a, b)
        });
        let inner = keyed(&left).interval_join("c", keyed(&right), rule, move |a, b| {
            met("inner", a, Some(b))
        });
        let outer = keyed(&left)
            .interval_left_join("d", keyed(&right), rule, move |a, b| met("outer", a, b));
        as_of.merge("all", [lookup, inner, outer])
    });
    flow.unwrap()
}

fn named<'a>(met: &'a [Met], name: &str) -> impl Iterator<Item = (u64, Option<u64>)> + use<'a> {
    let name = name.to_owned();
    let of_name = met.iter().filter(move |met| met.0 == name);
    of_name.map(|met| (met.1, met.2))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::soak::cases(40)))]

    #[test]
    fn workers_and_batches_change_nothing_in_event_time_order(mut case in case(), batch_records in 1_usize..6) {
        case.order = Order::EventTime;
        prop_assume!(case.items.iter().all(|item| (0..31).contains(&item.time.as_micros())));
        let (met, fates) = all_joins(&case, 1, 256);
        prop_assert_eq!(fates.records_in, case.items.len() as u64);
        prop_assert_eq!(fates.late + fates.dead_letters + fates.held, 0);
        for (workers, batch_records) in [(1, batch_records), (2, batch_records), (2, 256)] {
            let again = all_joins(&case, workers, batch_records);
            for name in ["as_of", "lookup", "inner", "outer"] {
                prop_assert!(named(&met, name).eq(named(&again.0, name)), "{name}");
            }
            prop_assert_eq!(fates, again.1);
        }
        let items = &case.items;
        let as_of = tables::expected(&case, items, |event| tables::as_of_by_definition(&case, items, event));
        let lookup = tables::expected(&case, items, |event| tables::lookup_by_definition(&case, items, event));
        prop_assert!(named(&met, "as_of").eq(as_of.into_iter().map(|record| record.value)));
        prop_assert!(named(&met, "lookup").eq(lookup.into_iter().map(|record| record.value)));
        for (name, outer) in [("inner", false), ("outer", true)] {
            let pairs = intervals::sorted(&intervals::expected(&case, items, outer));
            prop_assert!(named(&met, name).eq(pairs.into_iter().map(|(_, _, pair)| pair)), "{name}");
        }
    }
}

fn at(second: &i64) -> EventTime {
    EventTime::from_seconds(*second)
}

/// Joins events with rows, both being seconds, on one worker and two.
fn check_as_of(rows: &'static [i64], events: &'static [i64], expected: &[(i64, Option<i64>)]) {
    for workers in [1, 2] {
        let options = JobOptions {
            workers,
            ..in_event_time()
        };
        let joined = run_flow_with_fates(options, move |flow| {
            let rows = flow
                .source("rows", Events::new(rows.to_vec()))
                .event_time(at, secs(0));
            flow.source("events", Events::new(events.to_vec()))
                .event_time(at, secs(10))
                .key_by(|_| 0_u8)
                .as_of("join", rows.key_by(|_| 0_u8), secs(5), |event, row| {
                    (event, row.copied())
                })
        });
        assert_eq!(joined.unwrap().0, expected);
    }
}

#[test]
fn the_latest_row_at_or_before_the_event_is_met() {
    check_as_of(
        &[2, 4, 6],
        &[1, 5, 4, 6],
        &[(1, None), (4, Some(4)), (5, Some(4)), (6, Some(6))],
    );
}

#[test]
fn a_row_beyond_its_age_is_not_met() {
    check_as_of(&[2], &[7, 8], &[(7, Some(2)), (8, None)]);
}

/// What a flow in event-time order gives, with times and origins.
fn records_of<U: Data + Sync>(
    build: impl for<'s> Fn(&mut Flow<'s>) -> Stream<'s, U> + Send + Sync + 'static,
) -> Vec<Record<U>> {
    let collected = Collect::default();
    let (sink, options) = (collected.clone(), in_event_time());
    let outcome = run(
        options,
        Arc::default(),
        StopHandle::default(),
        move |flow| {
            build(flow).sink("out", sink.clone());
            Ok(())
        },
    );
    outcome.unwrap();
    collected.records()
}

#[test]
fn a_join_of_a_stream_with_itself_gives_every_pair_an_origin_of_its_own() {
    let records = records_of(|flow| {
        let values = flow
            .source("values", Events::new([(0, 1_i64), (1, 2), (2, 2), (3, 3)]))
            .event_time(|(_, second)| at(second), secs(5));
        let (left, right) = (values.clone().key_by(|_| 0_u8), values.key_by(|_| 0_u8));
        let interval = Interval::around(secs(1), secs(1));
        left.interval_join("pairs", right, interval, |a, b| (a.0, b.0))
    });
    let mut pairs: Vec<(i32, i32)> = records.iter().map(|record| record.value).collect();
    pairs.sort_unstable();
    let near = |a: i32, b: i32| (a, b) != (0, 3) && (a, b) != (3, 0);
    let all = (0..4).flat_map(|a| (0..4).map(move |b| (a, b)));
    let expected: Vec<_> = all.filter(|(a, b)| near(*a, *b)).collect();
    assert_eq!(pairs, expected);
    let origins: BTreeSet<Origin> = records.iter().map(|record| record.origin).collect();
    assert_eq!(origins.len(), records.len());
}

#[test]
fn an_event_without_a_partner_comes_out_at_the_end_of_input_at_its_last_partners_time() {
    let records = records_of(|flow| {
        let others = flow
            .source("others", Events::new([2_i64, 90]))
            .event_time(at, secs(100))
            .key_by(|second| *second < 50);
        flow.source("events", Events::new([1_i64, 3, 80]))
            .event_time(at, secs(100))
            .key_by(|second| *second < 50)
            .interval_left_join("join", others, Interval::after(secs(5)), |a, b| {
                (*a, b.copied())
            })
    });
    let seen: Vec<_> = records.iter().map(|r| (r.time, r.value)).collect();
    let expected = [(2, (1, Some(2))), (8, (3, None)), (85, (80, None))];
    assert_eq!(seen, expected.map(|(second, pair)| (at(&second), pair)));
}

/// Waits until `done` says so, at most ten seconds.
fn wait_for(done: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if done() {
            return;
        }
        std::thread::sleep(millis(10));
    }
}

#[test]
fn an_idle_side_holds_nobody_up_and_what_it_brings_later_is_late() {
    let ((events, event_source), (rows, row_source)) = (Live::new(), Live::new());
    let (collected, late) = (Collect::default(), Collect::<LateEvent>::default());
    let (telemetry, stop) = (Arc::new(Telemetry::default()), StopHandle::default());
    let (sink, late_sink) = (collected.clone(), late.clone());
    let (told, stopper) = (Arc::clone(&telemetry), stop.clone());
    let job = std::thread::spawn(move || {
        run(in_event_time(), told, stop, move |flow| {
            let policy = || {
                WatermarkPolicy::disorder(secs(1))
                    .idle_after(millis(50))
                    .wall_clock_when_idle(false)
            };
            let rows = flow
                .source("rows", row_source.clone())
                .event_time(at, policy());
            let how = AsOf::within(secs(100)).late(LatePolicy::Divert);
            flow.source("events", event_source.clone())
                .event_time(at, policy())
                .key_by(|_| 0_u8)
                .as_of("join", rows.key_by(|_| 0_u8), how, |event, row| {
                    (event, row.copied())
                })
                .sink("out", sink.clone());
            flow.late("join").sink("late", late_sink.clone());
            Ok(())
        })
    });
    for second in [10, 20, 30] {
        events.send(second).unwrap();
    }
    wait_for(|| collected.values().len() == 2);
    assert_eq!(collected.values(), [(10, None::<i64>), (20, None)]);
    rows.send(15).unwrap();
    wait_for(|| late.values().len() == 1);
    let late = late.values();
    assert_eq!(
        (late.len(), late[0].step.as_str(), late[0].event.as_str()),
        (1, "join", "15")
    );
    stopper.stop();
    job.join().unwrap().unwrap();
    let expected = Fates {
        records_in: 4,
        processed: 2,
        late: 1,
        held: 1,
        ..Fates::default()
    };
    assert_eq!(telemetry.ledger().fates(), expected);
}

fn record(right: bool, second: i64, offset: u64) -> Record<Either<i64, i64>> {
    let origin = Origin {
        source: right.into(),
        offset,
        ..Origin::default()
    };
    let value = if right {
        Either::Right(second)
    } else {
        Either::Left(second)
    };
    Record {
        time: at(&second),
        origin,
        ingested_ns: 0,
        value,
    }
}

fn one_key<S: KeyedStep<Either<i64, i64>, Key = ()>>(step: S) -> StepRun<Either<i64, i64>, S> {
    StepRun::new(Order::Arrival, step, |_| ())
}

#[test]
fn events_that_wait_for_a_partner_when_the_job_stops_are_held() {
    let pair = |a: &i64, b: Option<&i64>| b.map(|b| (*a, *b));
    let counter = Telemetry::default().counter("late");
    let step = IntervalStep::new(Interval::after(secs(10)), pair, counter);
    let mut run = one_key(step);
    let met = run.feed(
        vec![record(false, 1, 0), record(true, 2, 0)],
        Watermark::START,
    );
    assert_eq!(met.values(), [(1, 2)]);
    run.feed(
        vec![record(false, 5, 1), record(true, 0, 1)],
        Watermark::START,
    );
    let expected = Fates {
        records_in: 4,
        processed: 2,
        held: 2,
        ..Fates::default()
    };
    assert_eq!(run.finish(), expected);
}

#[test]
fn a_pair_that_cannot_be_made_costs_the_event_that_completed_it() {
    let pair = |a: &i64, b: Option<&i64>| {
        let b = b.expect("nobody came");
        assert_ne!(*b, 3, "no threes");
        Some((*a, *b))
    };
    let counter = Telemetry::default().counter("late");
    let step = IntervalStep::new(Interval::after(secs(10)), pair, counter);
    let mut run = one_key(step);
    let rights = [2, 3, 4].map(|second| record(true, second, second.unsigned_abs()));
    let first = [record(false, 1, 0)].into_iter().chain(rights).collect();
    let met = run.feed(first, Watermark::START);
    assert_eq!(met.values(), [(1, 2), (1, 4)]);
    assert_eq!((met.dead.len(), met.dead[0].offset), (1, 3));
    assert!(met.dead[0].reason.contains("no threes"), "{:?}", met.dead);
    let last = run.feed(vec![record(false, 50, 5)], Watermark::END);
    assert!(last.dead[0].reason.contains("nobody came"), "{last:?}");
    let fates = run.finish();
    assert_eq!((fates.processed, fates.dead_letters), (3, 2));
}

#[test]
fn late_records_that_are_joined_are_counted() {
    let counter = Telemetry::default().counter("late");
    let pair = |event: i64, row: Option<&i64>| (event, row.copied());
    let step = TableStep::<(), Rows<i64>, i64, (i64, Option<i64>), _>::new(
        secs(10),
        LatePolicy::Join,
        |row| row,
        pair,
        counter.clone(),
    );
    let mut run = one_key(step);
    let watermark = Watermark::active(at(&20));
    run.feed(vec![record(true, 11, 0), record(true, 19, 1)], watermark);
    let events = [15, 18, 19].map(|second| record(false, second, second.unsigned_abs()));
    let met = run.feed(events.to_vec(), watermark).values();
    assert_eq!(met, [(15, None), (18, None), (19, Some(19))]);
    let rows = [(12, 2), (19, 3)].map(|(second, offset)| record(true, second, offset));
    let late = run.feed(rows.to_vec(), watermark).late;
    assert_eq!(
        late.iter().map(|event| event.offset).collect::<Vec<_>>(),
        [2]
    );
    assert_eq!(
        counter.get(),
        4,
        "three events and the row that can still be met"
    );
    assert_eq!(run.finish().late, 1);
}

#[test]
fn a_row_of_the_instant_at_which_another_was_deleted_stands() {
    let changes = [(1, Some("old")), (5, None), (5, Some("new")), (9, None)];
    let found = run_flow_with_fates(in_event_time(), move |flow| {
        let changes = changes.map(|(at, row)| (at, row.map(str::to_owned)));
        let table = flow
            .source("changes", Events::new(changes))
            .event_time(|change| at(&change.0), secs(5))
            .map("rows", |(_, row)| ((), row));
        flow.source("events", Events::new([0_i64, 4, 5, 8, 9]))
            .event_time(at, secs(5))
            .key_by(|_| ())
            .lookup("join", table, Lookup::forever(), |event, row| {
                (event, row.cloned().unwrap_or_default())
            })
    });
    let expected = [(0, ""), (4, "old"), (5, "new"), (8, "new"), (9, "")];
    assert_eq!(
        found.unwrap().0,
        expected.map(|(at, row)| (at, row.to_owned()))
    );
}
