//! Features through whole flows: who runs them, and in which pieces, must not show.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use thalweg_engine::job::{JobOptions, Order};
use thalweg_engine::testing::{Collect, Events, run_flow};
use thalweg_engine::time::{EventTime, millis, secs};

use super::*;
use crate::soak::cases;
use crate::window::KeyFeatures;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Event {
    card: u64,
    ms: i64,
    amount: f64,
}

impl Event {
    fn time(&self) -> EventTime {
        EventTime::from_millis(self.ms)
    }
}

fn declare(f: &mut Features<Event>) {
    let amount = f.column(|e: &Event| e.amount);
    f.over(millis(40))
        .count("n")
        .std("std", amount)
        .max("max", amount)
        .quantile("median", 0.5, amount)
        .ewma("ewma", millis(10), amount);
    f.over(secs(1))
        .distinct("distinct", |e| e.amount as u32)
        .zscore("z", amount)
        .excluding()
        .sum("before", amount)
        .kurtosis("kurtosis", amount);
    f.ever().last_n("latest", 2, amount);
    f.velocity("velocity", "n", "before");
    f.last("last", amount);
}

/// The rows of the flow as bits, in the order in which they came out.
fn run(partitions: &[Vec<Event>], workers: usize, batch_records: usize) -> Vec<(Event, Vec<u64>)> {
    let options = JobOptions {
        workers,
        batch_records,
        order: Order::EventTime,
        ..JobOptions::default()
    };
    let partitions = partitions.to_vec();
    let rows = run_flow(options, move |flow| {
        flow.source("events", Events::partitions(partitions.clone()))
            .event_time(Event::time, secs(10))
            .key_by(|e| e.card)
            .features("card", declare)
            .into_stream()
    });
    let bits = |row: Featured<Event>| {
        let features = row.features.iter().map(|feature| feature.to_bits());
        (row.event, features.collect())
    };
    rows.unwrap().into_iter().map(bits).collect()
}

/// The rows of a plan by hand, in event-time order.
fn expected(partitions: &[Vec<Event>]) -> Vec<(Event, Vec<u64>)> {
    let mut features = Features::new();
    declare(&mut features);
    let mut plan = features.build().unwrap();
    let mut states: BTreeMap<u64, KeyFeatures> = BTreeMap::new();
    let mut events: Vec<Event> = partitions.concat();
    // A stable sort keeps partitions and offsets in order where times are equal.
    events.sort_by_key(|event| event.ms);
    let row = |event: Event| {
        let mut row = Vec::new();
        let state = states.entry(event.card).or_default();
        plan.update(state, &event, event.time(), &mut row);
        (event, row.into_iter().map(f64::to_bits).collect())
    };
    events.into_iter().map(row).collect()
}

#[test]
fn rows_are_the_same_for_any_number_of_workers_and_any_batch() {
    let event = (0u64..4, 0i64..200, 0u32..12).prop_map(|(card, ms, quarters)| Event {
        card,
        ms,
        amount: f64::from(quarters) / 4.0,
    });
    let partition = prop::collection::vec(event, 0..40);
    let partitions = prop::collection::vec(partition, 1..4);
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(cases(60))
    });
    let result = runner.run(&(partitions, 1usize..50), |(partitions, batch)| {
        let mut expected = expected(&partitions);
        let order = |row: &(Event, Vec<u64>)| (row.0.ms, row.0.card);
        expected.sort_by_key(order);
        for workers in [1, 2, 3] {
            let mut rows = run(&partitions, workers, batch);
            rows.sort_by_key(order);
            prop_assert_eq!(&rows, &expected, "{} workers of {}", workers, batch);
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn an_event_on_which_an_extractor_panics_is_a_dead_letter_and_leaves_no_trace_in_the_features() {
    for workers in [1, 2] {
        let letters = Collect::default();
        let sink = letters.clone();
        let options = JobOptions {
            workers,
            order: Order::EventTime,
            ..JobOptions::default()
        };
        let rows = run_flow(options, move |flow| {
            let features = flow
                .source("events", Events::new([1_u32, 2, 7, 3, 9]))
                .event_time(|second| EventTime::from_seconds((*second).into()), secs(5))
                .key_by(|_| 0_u8)
                .features("counts", |f| {
                    f.rows_for(|event| *event != 9);
                    f.over(secs(60)).count("n").sum("sum", |event| {
                        assert!(*event != 7, "no sevens");
                        *event
                    });
                });
            flow.dead_letters().sink("dead", sink.clone());
            features.into_stream().map("row", |row| row.features)
        })
        .unwrap();
        let expected = [vec![1.0, 1.0], vec![2.0, 3.0], vec![3.0, 6.0], vec![]];
        assert_eq!(rows, expected);
        let letters = letters.values();
        assert_eq!((letters.len(), letters[0].offset), (1, 2));
        assert_eq!((&*letters[0].step, &*letters[0].raw), ("counts", "7"));
        let reason = &letters[0].reason;
        assert!(
            reason.starts_with("closure panicked: no sevens"),
            "{reason}"
        );
    }
}
