//! What is refused as an epoch is published becomes one dead letter, wherever the job is ended, and in the last
//! epoch, too.

use std::sync::Arc;

use proptest::prelude::*;

use super::Failpoint;
use super::outside::{Outside, assert_equal};
use super::tests::{EVENTS, FAILPOINTS, Slow, options};
use crate::flow::Flow;
use crate::job::{JobOptions, Order, StopHandle};
use crate::letters::DeadLetter;
use crate::telemetry::Telemetry;
use crate::testing::SimulatedStore;
use crate::time::{EventTime, secs};
use crate::{RunError, run};

/// Where a job can be ended.
const POINTS: [&str; 7] = {
    let [a, b, c, d, e, f] = FAILPOINTS;
    [a, b, c, d, e, f, "after letters"]
};

#[derive(Clone)]
struct Outputs {
    /// Numbers that the sink takes.
    numbers: Outside<u64>,
    letters: Outside<(u32, u64, String)>,
}

impl Outputs {
    fn new(refuses: fn(&u64) -> bool) -> Self {
        Self {
            numbers: Outside::refusing(refuses),
            letters: Outside::default(),
        }
    }

    fn run(&self, options: JobOptions) -> Result<(), RunError> {
        let telemetry = Arc::new(Telemetry::default());
        let Self { numbers, letters } = self.clone();
        let build = move |flow: &mut Flow<'_>| {
            let source = Slow {
                topic: 1,
                is_endless: false,
            };
            flow.source("facts", source)
                .event_time(|event| EventTime::from_seconds(event.1), secs(100))
                .map("number", |event| event.2)
                .sink("numbers", numbers.clone());
            flow.dead_letters()
                .map("place", |letter: DeadLetter| {
                    (letter.partition, letter.offset, letter.raw)
                })
                .sink("letters", letters.clone());
            Ok(())
        };
        run(
            options,
            Arc::clone(&telemetry),
            StopHandle::default(),
            build,
        )?;
        let fates = telemetry.ledger().fates();
        assert!(fates.balance(), "{fates:?}");
        Ok(())
    }
}

/// Ends a job at each of these points, by times and workers, then has it come to its end.
fn check(refuses: fn(&u64) -> bool, ends: &[(usize, u64, usize)]) {
    let (whole, outputs) = (Outputs::new(refuses), Outputs::new(refuses));
    let store = SimulatedStore::new(1);
    let first = options(1, Order::Arrival, Some(&store));
    whole.run(first).unwrap();
    let letters = whole.letters.values();
    assert_eq!(letters.len(), (0..EVENTS).filter(refuses).count());
    assert_eq!(
        letters.len() + whole.numbers.values().len(),
        EVENTS as usize
    );
    let store = SimulatedStore::new(1);
    let mut hits = 0;
    for (point, times, workers) in ends {
        let mut options = options(*workers, Order::Arrival, Some(&store));
        if let Some(checkpoints) = &mut options.checkpoints {
            checkpoints.failpoint = Failpoint::at(POINTS[*point], *times);
        }
        if let Err(error) = outputs.run(options) {
            assert!(error.to_string().starts_with("failpoint"), "{error}");
            hits += 1;
        }
    }
    outputs
        .run(options(2, Order::Arrival, Some(&store)))
        .unwrap();
    let when = format!("after {hits} interruptions at {ends:?}");
    assert_equal(&outputs.letters, &whole.letters, &when);
    assert_equal(&outputs.numbers, &whole.numbers, &when);
}

fn one_in_seven(number: &u64) -> bool {
    number % 7 == 3
}

/// Only of the last epoch.
fn the_last(number: &u64) -> bool {
    *number == EVENTS - 1
}

fn everything(_: &u64) -> bool {
    true
}

const REFUSALS: [fn(&u64) -> bool; 3] = [one_in_seven, the_last, everything];

#[test]
fn what_is_refused_is_one_letter_to_the_last_epoch() {
    for refuses in REFUSALS {
        check(refuses, &[]);
    }
}

#[test]
fn ended_at_each_durable_step_nothing_refused_is_lost_or_told_twice() {
    for point in 0..POINTS.len() {
        for refuses in REFUSALS {
            check(
                refuses,
                &[(point, 1, 1), (point, 4, 2), (point, 2, 1), (point, 1, 3)],
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn ended_anywhere_nothing_refused_is_lost_or_told_twice(
        ends in prop::collection::vec((0..POINTS.len(), 1..12_u64, 1..4_usize), 1..6),
        refuses in 0..REFUSALS.len(),
    ) {
        check(REFUSALS[refuses], &ends);
    }
}
