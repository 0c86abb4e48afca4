//! Windows in flows, on real workers.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use thalweg_engine::clock::Clock;
use thalweg_engine::job::{JobOptions, Order, StopHandle};
use thalweg_engine::letters::LateEvent;
use thalweg_engine::record::Origin;
use thalweg_engine::source::WatermarkPolicy;
use thalweg_engine::telemetry::Telemetry;
use thalweg_engine::testing::{Collect, Events, Live, StepRun, run_flow, run_flow_with_fates};
use thalweg_engine::time::{EventTime, millis, secs};
use thalweg_engine::watermark::Watermark;
use thalweg_engine::{plan, run};

use super::*;
use crate::firing::testing::Listed;
use crate::firing::{Timing, WithColumn};

/// An event of a key.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    key: u8,
    second: i64,
    value: i64,
}

fn reading(key: u8, second: i64, value: i64) -> Reading {
    Reading { key, second, value }
}

fn time_of(reading: &Reading) -> EventTime {
    EventTime::from_seconds(reading.second)
}

/// The sum, to the last bit as it was added up.
struct Sum;

impl Aggregate for Sum {
    type Input = f64;
    type State = f64;
    type Output = f64;

    const ORDERED: bool = false;

    fn empty(&self) -> f64 {
        0.0
    }

    fn add(&self, sum: &mut f64, _: EventTime, value: &f64) {
        *sum += value;
    }

    fn merge(&self, sum: &mut f64, later: &f64) {
        *sum += later;
    }

    fn finish(&self, sum: &f64, _: EventTime) -> f64 {
        *sum
    }
}

fn options(workers: usize, order: Order, batch_records: usize) -> JobOptions {
    JobOptions {
        workers,
        order,
        batch_records,
        ..JobOptions::default()
    }
}

/// Key, start, end, timing, pane, values; times in seconds.
type Row = (u8, i64, i64, Timing, u32, Vec<i64>);

fn row(result: &WindowResult<u8, Vec<i64>>) -> Row {
    let second = |at: EventTime| at.as_micros().div_euclid(1_000_000);
    assert_eq!(result.events, result.value.len() as u64);
    let (start, end) = (second(result.start), second(result.end));
    let values = result.value.clone();
    (result.key, start, end, result.timing, result.pane, values)
}

fn windows() -> Vec<Window> {
    vec![
        Window::tumbling(secs(10)),
        Window::hopping(secs(20), secs(5)).early_events(3),
        Window::hopping(secs(9), secs(6))
            .offset(secs(2))
            .early_period(secs(4))
            .discarding(),
        Window::session(secs(6))
            .early_period(secs(5))
            .lateness(secs(3)),
        Window::count_sliding(4, 3),
        Window::daily("Asia/Kolkata"),
        Window::global().early_events(5).early_period(secs(30)),
    ]
}

/// Everything a run writes, in the order of writing.
fn written(
    partitions: &[Vec<Reading>],
    window: &Window,
    workers: usize,
    batch_records: usize,
) -> Vec<String> {
    let (partitions, window) = (partitions.to_vec(), window.clone());
    let options = options(workers, Order::EventTime, batch_records);
    let results = run_flow(options, move |flow| {
        let columns = flow
            .source("readings", Events::partitions(partitions.clone()))
            .event_time(time_of, secs(15))
            .key_by(|reading: &Reading| reading.key)
            .windows("windows", window.clone(), |w| {
                w.aggregate("sum", Sum, |r| (r.value as f64).exp())
                    .aggregate("n", Sum, |_| 1.0)
            });
        assert_eq!(columns.names().as_slice(), ["sum", "n"]);
        columns.into_stream()
    });
    results
        .unwrap()
        .iter()
        .map(|result| format!("{result:?}"))
        .collect()
}

fn readings() -> impl Strategy<Value = Vec<Vec<Reading>>> {
    let parts = (0..6_u8, 0..5_i64, 0..=15_i64, 0..9_i64);
    let partition = prop::collection::vec(parts, 0..60).prop_map(|parts| {
        let mut now = -40;
        let next = |(key, step, back, value)| {
            now += step;
            reading(key, now - back, value)
        };
        parts.into_iter().map(next).collect()
    });
    prop::collection::vec(partition, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::soak::cases(48)))]

    #[test]
    fn in_event_time_order_workers_and_batches_change_no_byte(partitions in readings()) {
        for window in windows() {
            let one = written(&partitions, &window, 1, 256);
            for (workers, batch_records) in [(1, 1), (2, 7), (3, 256)] {
                let other = written(&partitions, &window, workers, batch_records);
                prop_assert_eq!(&one, &other, "{:?}", &window);
            }
        }
    }

    /// On time, each window gives the events of its key that are in it, by event time.
    #[test]
    fn tumbling_windows_give_the_events_that_are_in_them(
        partitions in readings(),
        arrival in any::<bool>(),
        workers in 1..3_usize,
    ) {
        let mut expected = BTreeMap::<_, Vec<_>>::new();
        for (partition, readings) in partitions.iter().enumerate() {
            for (offset, r) in readings.iter().enumerate() {
                let start = r.second.div_euclid(10) * 10;
                let place = if arrival { (0, 0) } else { (partition, offset) };
                let event = (r.second, place.0, place.1, r.value);
                expected.entry((start, r.key)).or_default().push(event);
            }
        }
        let order = if arrival { Order::Arrival } else { Order::EventTime };
        let expected: Vec<Row> = expected.into_iter().map(|((start, key), mut events)| {
            events.sort();
            let values = events.into_iter().map(|(.., value)| value).collect();
            (key, start, start + 10, Timing::OnTime, 0, values)
        }).collect();
        let given = partitions.clone();
        let (results, fates) = run_flow_with_fates(options(workers, order, 5), move |flow| {
            flow.source("readings", Events::partitions(given.clone()))
                .event_time(time_of, secs(15))
                .key_by(|reading: &Reading| reading.key)
                .aggregate_windows("w", Window::tumbling(secs(10)), Listed, |r| r.value)
        }).unwrap();
        let records = partitions.iter().map(Vec::len).sum::<usize>() as u64;
        prop_assert_eq!((fates.records_in, fates.processed), (records, records));
        let mut rows: Vec<Row> = results.iter().map(row).collect();
        rows.sort_by_key(|row| (row.1, row.0));
        prop_assert_eq!(rows.len(), expected.len());
        for (mut row, mut expected) in rows.into_iter().zip(expected) {
            if arrival {
                // What comes at one time comes in no certain order.
                row.5.sort_unstable();
                expected.5.sort_unstable();
            }
            prop_assert_eq!(row, expected);
        }
    }
}

#[test]
fn events_of_one_window_come_in_the_order_of_their_times_in_arrival_order_too() {
    let results = run_flow(options(1, Order::Arrival, 2), |flow| {
        let seconds = [5, 3, 9, 4, 8, 1, 12, 7];
        flow.source(
            "readings",
            Events::new(seconds.map(|at| reading(1, at, at))),
        )
        .event_time(time_of, secs(10))
        .key_by(|reading: &Reading| reading.key)
        .aggregate_windows("w", Window::tumbling(secs(10)), Listed, |r| r.value)
    });
    let rows: Vec<Row> = results.unwrap().iter().map(row).collect();
    assert_eq!(
        rows,
        [
            (1, 0, 10, Timing::OnTime, 0, vec![1, 3, 4, 5, 7, 8, 9]),
            (1, 10, 20, Timing::OnTime, 0, vec![12]),
        ]
    );
}

/// Late events that the source hands on: those within the lateness fire late, the others go to the
/// late stream.
#[test]
fn late_events_fire_within_the_lateness_and_go_to_the_late_stream_beyond_it() {
    for order in [Order::Arrival, Order::EventTime] {
        for taken in [true, false] {
            let late = Collect::default();
            let sink = late.clone();
            let mut options = options(2, order, 1);
            options.late = (!taken).then(|| Arc::new(late.clone()) as _);
            let (results, fates) = run_flow_with_fates(options, move |flow| {
                let policy = WatermarkPolicy::disorder(secs(0)).hand_on_late(secs(60));
                let events = [(1, 1), (12, 2), (9, 3), (15, 4), (8, 5), (40, 6), (11, 7)];
                let events = events.map(|(second, value)| reading(1, second, value));
                let results = flow
                    .source("readings", Events::new(events))
                    .event_time(time_of, policy)
                    .key_by(|reading: &Reading| reading.key)
                    .aggregate_windows(
                        "w",
                        Window::tumbling(secs(10)).lateness(secs(5)),
                        Listed,
                        |r| r.value,
                    );
                if taken {
                    flow.late("w").sink("late", sink.clone());
                }
                results
            })
            .unwrap();
            let mut rows: Vec<Row> = results.iter().map(row).collect();
            rows.sort_by_key(|row| (row.1, row.4));
            assert_eq!(
                rows,
                [
                    (1, 0, 10, Timing::OnTime, 0, vec![1]),
                    (1, 0, 10, Timing::Late, 1, vec![1, 3]),
                    (1, 10, 20, Timing::OnTime, 0, vec![2, 4]),
                    (1, 40, 50, Timing::OnTime, 0, vec![6]),
                ],
                "{order:?}"
            );
            let late: Vec<LateEvent> = late.values();
            let late: Vec<_> = late.iter().map(|e| (e.step.as_str(), e.offset)).collect();
            assert_eq!(late, [("w", 4), ("w", 6)]);
            assert_eq!((fates.records_in, fates.processed, fates.late), (7, 5, 2));
        }
    }
}

/// Hourly results, then the greatest of a day: a result lies inside its window.
#[test]
fn windows_of_windows_have_results_in_the_window_that_they_are_of() {
    for (workers, order) in [(1, Order::Arrival), (2, Order::EventTime)] {
        let results = run_flow(options(workers, order, 3), |flow| {
            let events = [0, 9, 10, 19, 20, 29].map(|at| reading(1, at, at));
            flow.source("readings", Events::new(events))
                .event_time(time_of, secs(0))
                .key_by(|reading: &Reading| reading.key)
                .aggregate_windows("tens", Window::tumbling(secs(10)), Listed, |r| r.value)
                .key_by(|_| 0_u8)
                .aggregate_windows("twenties", Window::tumbling(secs(20)), Listed, |r| {
                    r.value.iter().sum()
                })
        });
        let rows: Vec<Row> = results.unwrap().iter().map(row).collect();
        assert_eq!(
            rows,
            [
                (0, 0, 20, Timing::OnTime, 0, vec![9, 29]),
                (0, 20, 40, Timing::OnTime, 0, vec![49]),
            ]
        );
    }
}

/// The step of windows whose rows have one column.
fn step(window: &Window, name: &str) -> WindowStep<u8, Reading, WithColumn<NoColumns, Sum>> {
    let columns = WindowColumns::<Reading, _>::new();
    let columns = columns.aggregate(name, Sum, |r| r.value as f64);
    let (names, row, input, errors) = columns.into_parts();
    assert_eq!(errors, []);
    WindowStep::new(Windows::new(window, &names, row).ok(), input)
}

#[test]
fn state_of_windows_that_were_declared_in_another_way_is_refused() {
    let window = Window::hopping(secs(10), secs(5)).offset(secs(7));
    let check = |before: &Window, name: &str, expected: &str| {
        let record = Record {
            time: EventTime::from_seconds(3),
            origin: Origin::default(),
            ingested_ns: 0,
            value: reading(1, 3, 3),
        };
        let mut run = StepRun::new(Order::Arrival, step(before, name), |r: &Reading| r.key);
        run.feed(vec![record], Watermark::START);
        let outcome = run.restart(step(&window, "sum"));
        let said = outcome.map_or_else(|error| error.to_string(), |()| String::new());
        assert_eq!(said, expected);
    };
    check(&window, "sum", "");
    // Later ones may fire at other times.
    let other = window.clone().early_events(2).lateness(secs(1));
    check(&other, "sum", "");
    let refused = "state of step `step` cannot be used: its windows were declared in another way \
                   when it was written than now (hopping, 10s every 5s from 2s, \
                   WithColumn<NoColumns, Sum> as sum); declare them as then, or give the step another id \
                   to start anew";
    check(&window, "total", refused);
    check(&window.clone().discarding(), "sum", refused);
    check(&window.clone().offset(secs(3)), "sum", refused);
    check(&Window::tumbling(secs(10)), "sum", refused);
    check(&Window::session(secs(10)), "sum", refused);
    check(&Window::daily("UTC"), "sum", refused);
    check(&Window::count(10), "sum", refused);
    check(&Window::global(), "sum", refused);
}

#[test]
fn mistakes_are_build_errors_that_name_the_step() {
    let error = plan(&JobOptions::default(), |flow| {
        let readings = flow
            .source("readings", Events::new([reading(1, 2, 3)]))
            .event_time(time_of, secs(1));
        let keyed = || readings.clone().key_by(|reading: &Reading| reading.key);
        let zone = Window::daily("Mars/Olympus");
        keyed().aggregate_windows("days", zone, Listed, |r| r.value);
        keyed().windows("none", Window::count(0), |w| w);
        keyed().windows("twice", Window::global(), |w| {
            w.aggregate("a", Sum, |_| 1.0)
                .aggregate("a", Sum, |_| 1.0)
                .aggregate("", Sum, |_| 1.0)
        });
        Ok(())
    })
    .unwrap_err();
    let expected = [
        "windows `days`: time zone `Mars/Olympus` is unknown",
        "windows `none`: no aggregate is declared",
        "windows `none`: the number of events of a window is zero",
        "windows `twice`: aggregate `a` is declared more than once",
        "windows `twice`: aggregate number 3 has an empty name",
    ];
    assert_eq!(error.errors.len(), expected.len(), "{error}");
    for expected in expected {
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// Runs live sources, one per feed, until there is a result, with a clock that moves meanwhile;
/// returns the results by then. A busy source goes on getting the last event of its feed.
fn live(
    window: Window,
    workers: usize,
    feeds: &[(&[Reading], bool)],
    policy: WatermarkPolicy,
) -> Vec<Row> {
    let clock = Clock::manual(EventTime::from_seconds(1_000));
    let (feeders, sources): (Vec<_>, Vec<_>) = feeds.iter().map(|_| Live::new()).unzip();
    for (feeder, (feed, _)) in feeders.iter().zip(feeds) {
        feed.iter()
            .for_each(|reading| feeder.send(*reading).unwrap());
    }
    let (collected, stop) = (Collect::default(), StopHandle::default());
    let (sink, stopper) = (collected.clone(), stop.clone());
    let options = JobOptions {
        clock: clock.clone(),
        workers,
        ..JobOptions::default()
    };
    let sources = std::sync::Mutex::new(sources);
    let job = std::thread::spawn(move || {
        run(options, Arc::new(Telemetry::default()), stop, move |flow| {
            let sources = sources.lock().unwrap();
            let mut streams = (0..).zip(sources.iter()).map(|(number, source): (u8, _)| {
                flow.source(&format!("source-{number}"), source.clone())
                    .event_time(time_of, policy)
            });
            let first = streams.next().unwrap();
            first
                .merge("all", streams)
                .key_by(|reading: &Reading| reading.key)
                .aggregate_windows("w", window.clone(), Listed, |r| r.value)
                .sink("out", sink.clone());
            Ok(())
        })
    });
    for _ in 0..500 {
        if !collected.values().is_empty() {
            break;
        }
        std::thread::sleep(millis(10));
        for (feeder, (feed, busy)) in feeders.iter().zip(feeds) {
            if let (true, Some(last)) = (busy, feed.last()) {
                feeder.send(*last).unwrap();
            }
        }
        clock.advance(millis(100));
    }
    let rows = collected.values().iter().map(row).collect();
    stopper.stop();
    job.join().unwrap().unwrap();
    rows
}

#[test]
fn an_idle_partition_does_not_hold_windows_back() {
    let policy = WatermarkPolicy::disorder(secs(2))
        .idle_after(secs(1))
        .wall_clock_when_idle(false);
    let busy = [reading(1, 3, 3), reading(1, 12, 12)];
    let rows = live(
        Window::tumbling(secs(10)),
        1,
        &[(&busy, true), (&[reading(1, 5, 5)], false)],
        policy,
    );
    assert_eq!(rows, [(1, 0, 10, Timing::OnTime, 0, vec![3, 5])]);
}

#[test]
fn when_all_partitions_are_idle_the_clock_closes_windows() {
    let policy = WatermarkPolicy::disorder(secs(2)).idle_after(secs(1));
    let rows = live(
        Window::tumbling(secs(10)),
        1,
        &[(&[reading(1, 3, 3)], false)],
        policy,
    );
    assert_eq!(rows, [(1, 0, 10, Timing::OnTime, 0, vec![3])]);
}

/// Nothing comes any more, and the watermark stands still inside the windows.
#[test]
fn by_the_clock_windows_fire_early_while_nothing_comes() {
    let policy = WatermarkPolicy::disorder(secs(2)).wall_clock_when_idle(false);
    for workers in [1, 2] {
        let window = Window::hopping(secs(10), secs(5)).early_every(secs(1));
        let feed = [reading(1, 4, 4), reading(1, 2, 2)];
        let rows = live(window, workers, &[(&feed, false)], policy);
        let expected = [
            (1, -5, 5, Timing::Early, 0, vec![2, 4]),
            (1, 0, 10, Timing::Early, 0, vec![2, 4]),
        ];
        assert_eq!(rows, expected, "{workers} workers");
    }
}
