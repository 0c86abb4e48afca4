//! Runs `join_latest` on real workers, tick by tick.

use super::Tick;
use super::relation_testing::{HORIZON, Run, Step, execute};
use crate::relation::Change;
use crate::time::EventTime;

fn step(left: &[(u64, i64, i64)], right: &[(u64, i64, i64)], watermark: i64) -> Step {
    Step {
        left: left.to_vec(),
        right: right.to_vec(),
        watermark,
        goes_on: false,
    }
}

fn added(key: u64, left: i64, right: i64) -> Change<u64, i64, i64> {
    Change::Added { key, left, right }
}
fn revised(key: u64, left: i64, old: i64, new: i64) -> Change<u64, i64, i64> {
    Change::Revised {
        key,
        left,
        old,
        new,
    }
}

/// The changes that a tick gives.
type Told = (Tick, Vec<Change<u64, i64, i64>>);

/// Expects the changes tick by tick, and each tick's watermark from every worker.
fn check(steps: &[Step], expected: &[Told]) {
    for workers in [1, 2, 3] {
        let done = execute(Run::to_end(workers, steps.to_vec()));
        let (seen, telemetry) = (done.seen, done.telemetry);
        let mut got = std::collections::BTreeMap::<Tick, Vec<_>>::new();
        for (tick, _, packet) in &seen {
            got.entry(*tick)
                .or_default()
                .extend(packet.records.iter().map(|r| r.value.clone()));
        }
        got.retain(|_, changes| !changes.is_empty());
        let key = |c: &Change<u64, i64, i64>| format!("{c:?}");
        let mut got: Vec<_> = got.into_iter().collect();
        got.iter_mut()
            .for_each(|(_, changes)| changes.sort_by_key(key));
        let mut expected = expected.to_vec();
        expected
            .iter_mut()
            .for_each(|(_, changes)| changes.sort_by_key(key));
        assert_eq!(got, expected, "{workers} workers");
        for (tick, _, packet) in &seen {
            // The end comes in a tick of its own, or with the last.
            if let Some(step) = (*tick % 10 == 0).then(|| {
                steps
                    .iter()
                    .filter(|s| !s.goes_on)
                    .nth((*tick / 10 - 1) as usize)
                    .unwrap()
            }) {
                assert_eq!(
                    packet.watermark.time,
                    EventTime::from_seconds(step.watermark),
                    "{tick}"
                );
            } else {
                assert!(packet.watermark.is_end());
            }
        }
        for worker in 0..workers {
            let last = seen.iter().rfind(|(_, w, _)| *w == worker).unwrap();
            assert!(last.2.watermark.is_end());
        }
        let fates = telemetry.ledger().fates();
        assert!(fates.balance(), "{fates:?}");
        let all: usize = steps.iter().map(|s| s.left.len() + s.right.len()).sum();
        assert_eq!(fates.processed, all as u64);
    }
}

#[test]
fn pairs_are_added_whichever_side_comes_first() {
    check(
        &[
            step(&[(1, 1, 100), (2, 2, 200)], &[(3, 2, -3)], 0),
            step(&[(3, 3, 300)], &[(1, 4, -1)], 1),
            step(&[(1, 5, 101), (4, 5, 400)], &[(4, 5, -4)], 1),
        ],
        &[
            (20, vec![added(1, 100, -1), added(3, 300, -3)]),
            (30, vec![added(1, 101, -1), added(4, 400, -4)]),
        ],
    );
}

#[test]
fn revisions_say_old_and_new_and_coalesce_within_a_tick() {
    check(
        &[
            step(&[(1, 1, 100), (1, 2, 101)], &[(1, 3, -1)], 0),
            step(&[], &[(1, 4, -2)], 0),
            step(&[], &[(1, 5, -3), (1, 6, -4)], 0),
            step(&[], &[(1, 5, -9)], 0), // older than the latest: ignored
            step(&[], &[(1, 7, -4)], 0), // the same value again: no change
            step(&[(1, 6, 102)], &[(1, 8, -5)], 0),
        ],
        &[
            (10, vec![added(1, 100, -1), added(1, 101, -1)]),
            (20, vec![revised(1, 100, -1, -2), revised(1, 101, -1, -2)]),
            (30, vec![revised(1, 100, -2, -4), revised(1, 101, -2, -4)]),
            (
                60,
                vec![
                    revised(1, 100, -4, -5),
                    revised(1, 101, -4, -5),
                    added(1, 102, -5),
                ],
            ),
        ],
    );
}

#[test]
fn the_greater_version_wins_whatever_the_order_of_arrival() {
    check(
        &[step(&[(1, 1, 100)], &[(1, 6, -6), (1, 5, -5)], 0)],
        &[(10, vec![added(1, 100, -6)])],
    );
}

#[test]
fn expiry_is_silent_and_removes_both_sides() {
    check(
        &[
            step(&[(1, 1, 100)], &[(1, 2, -1), (2, 1, -2)], 0),
            step(&[], &[], 50),
            step(&[], &[], 51),
            // Late, and within the horizon of what has expired.
            step(&[(2, 2, 200)], &[(1, 3, -3)], 51),
            step(&[], &[], 52),
            step(&[], &[(2, 3, -4)], 52),
        ],
        &[(10, vec![added(1, 100, -1)])],
    );
}

#[test]
fn a_value_in_time_and_the_watermark_past_it_in_one_tick_still_pair() {
    // The tick that brings the value at the very end of the horizon also passes it.
    check(
        &[
            step(&[(1, 1, 100)], &[], 1),
            step(&[], &[(1, 11, -1)], 60),
            step(&[], &[(1, 11, -2)], 60),
        ],
        &[(20, vec![added(1, 100, -1)])],
    );
}

#[test]
fn beyond_the_horizon_nothing_pairs() {
    check(
        &[
            step(&[(1, 1, 100), (2, 1, 200)], &[(1, 12, -1), (2, 11, -2)], 0),
            step(&[(1, 23, 101), (1, 22, 102)], &[(2, 12, -3)], 0),
        ],
        &[(10, vec![added(2, 200, -2)]), (20, vec![added(1, 102, -1)])],
    );
}

#[test]
fn a_value_before_its_fact_is_revised_not_added_anew() {
    check(
        &[
            step(&[(1, 6, 100)], &[(1, 0, -1)], 0),
            step(&[], &[], 12),
            step(&[], &[], 13),
            step(&[], &[(1, 15, -2)], 13),
        ],
        &[
            (10, vec![added(1, 100, -1)]),
            (40, vec![revised(1, 100, -1, -2)]),
        ],
    );
}

#[test]
fn a_fact_that_comes_twice_pairs_twice() {
    // Two different origins, otherwise equal.
    check(
        &[
            step(&[(1, 1, 100), (1, 1, 100)], &[(1, 1, -1)], 0),
            step(&[], &[(1, 2, -2)], 0),
        ],
        &[
            (10, vec![added(1, 100, -1); 2]),
            (20, vec![revised(1, 100, -1, -2); 2]),
        ],
    );
}

/// Without lockstep, workers run apart: what the changes add up to must not depend on it.
#[test]
fn the_last_value_of_every_pair_is_the_oracles() {
    let mut x = 7_u64;
    let mut random = move |n: u64| {
        x = x
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (x >> 33) % n
    };
    for round in 0..4 {
        let mut steps = Vec::new();
        for n in 0..40_i64 {
            let mut step = Step {
                watermark: n,
                ..Step::default()
            };
            for i in 0..4 {
                step.left
                    .push((random(5), n + random(6) as i64, n * 10 + i));
                step.right
                    .push((random(5), n + random(6) as i64, -(n * 10 + i) - 1));
            }
            steps.push(step);
        }
        let lefts: Vec<_> = steps.iter().flat_map(|s| s.left.clone()).collect();
        // The latest value of the key within reach while the fact lives is ambiguous for values that
        // supersede beyond the horizon, so the oracle replays the steps in order.
        for workers in [1, 2, 3] {
            for lockstep in [true, false] {
                let run = Run::to_end(workers, steps.clone());
                let done = execute(Run { lockstep, ..run });
                let (seen, telemetry) = (done.seen, done.telemetry);
                assert!(telemetry.ledger().fates().balance());
                let mut state = std::collections::HashMap::new();
                let mut by_worker: Vec<_> = seen.clone();
                by_worker.sort_by_key(|(tick, worker, _)| (*tick, *worker));
                for (_, _, packet) in by_worker {
                    for record in packet.records {
                        match record.value {
                            Change::Added { key, left, right } => {
                                assert!(state.insert((key, left), right).is_none(), "added twice");
                            }
                            Change::Revised {
                                key,
                                left,
                                old,
                                new,
                            } => {
                                assert_eq!(state.insert((key, left), new), Some(old));
                            }
                        }
                    }
                }
                // Every fact with any value within the horizon has met one within the horizon; the
                // greatest event time within the horizon is met unless a later one hid it.
                for &(key, at, left) in &lefts {
                    let all: Vec<_> = steps
                        .iter()
                        .flat_map(|s| &s.right)
                        .filter(|r| r.0 == key)
                        .collect();
                    let near: Vec<_> = all
                        .iter()
                        .filter(|r| (r.1 - at).abs() <= HORIZON as i64)
                        .collect();
                    match state.get(&(key, left)) {
                        Some(right) => assert!(near.iter().any(|r| r.2 == *right)),
                        None => assert!(
                            near.is_empty() || all.iter().any(|r| r.1 > at + HORIZON as i64),
                            "round {round}, {workers} workers: {key} {at} {left}"
                        ),
                    }
                    let last = all.iter().map(|r| r.1).max();
                    if last.is_some_and(|last| {
                        last <= at + HORIZON as i64 && last >= at - HORIZON as i64
                    }) {
                        let right = state[&(key, left)];
                        assert!(near.iter().any(|r| r.2 == right && Some(r.1) == last));
                    }
                }
            }
        }
    }
}

#[test]
fn a_value_in_time_pairs_though_the_tick_goes_on_past_its_expiry() {
    let on = |step| Step {
        goes_on: true,
        ..step
    };
    check(
        &[
            step(&[(1, 1, 100)], &[], 1),
            on(step(&[], &[(1, 11, -1)], 11)),
            on(step(&[], &[], 60)),
            step(&[(2, 70, 200)], &[(2, 70, -2)], 61),
            step(&[], &[(1, 11, -3)], 62),
        ],
        &[(20, vec![added(1, 100, -1), added(2, 200, -2)])],
    );
}
