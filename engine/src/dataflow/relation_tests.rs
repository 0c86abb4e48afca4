//! Runs `join_latest` on real workers, tick by tick.

use std::sync::{Arc, Mutex};

use timely::dataflow::operators::{Input, Inspect, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

use super::relation::join_latest;
use super::{Site, Tick};
use crate::job::{JobContext, JobOptions, StopHandle};
use crate::record::{Origin, Packet, Record};
use crate::relation::Change;
use crate::telemetry::Telemetry;
use crate::time::{EventTime, secs};
use crate::watermark::Watermark;

const HORIZON: u64 = 10;

/// What happens in a tick: facts and values as (key, seconds, value), then the watermark's seconds.
#[derive(Clone, Default)]
struct Step {
    left: Vec<(u64, i64, i64)>,
    right: Vec<(u64, i64, i64)>,
    watermark: i64,
    /// Whether the next step belongs to the same tick.
    goes_on: bool,
}

fn step(left: &[(u64, i64, i64)], right: &[(u64, i64, i64)], watermark: i64) -> Step {
    Step {
        left: left.to_vec(),
        right: right.to_vec(),
        watermark,
        goes_on: false,
    }
}

type Seen = Vec<(Tick, usize, Packet<Change<u64, i64, i64>>)>;

/// `lag` lets worker `w` give its part of a tick only `w * lag` ticks later in wall time.
fn execute(workers: usize, steps: Vec<Step>, end: bool, lockstep: bool) -> (Seen, Arc<Telemetry>) {
    let telemetry = Arc::new(Telemetry::default());
    let job = Arc::new(JobContext::new(
        JobOptions::default(),
        Arc::clone(&telemetry),
        StopHandle::default(),
    ));
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let out = Arc::clone(&seen);
    let config = match workers {
        1 => timely::Config::thread(),
        n => timely::Config::process(n),
    };
    let guards = timely::execute(config, move |worker| {
        let mut left = InputHandle::<Tick, _>::new();
        let mut right = InputHandle::<Tick, _>::new();
        let probe = ProbeHandle::new();
        let (index, peers) = (worker.index(), worker.peers());
        let out = Arc::clone(&out);
        worker.dataflow::<Tick, _, _>(|scope| {
            let site = Site {
                scope,
                job: Arc::clone(&job),
                probe: probe.clone(),
                planning: false,
            };
            let (l, r) = (scope.input_from(&mut left), scope.input_from(&mut right));
            join_latest::<u64, i64, i64>(&site, l, r, secs(HORIZON))
                .inspect_core(move |event| {
                    if let Ok((stamp, packets)) = event {
                        let mut out = out.lock().unwrap();
                        packets
                            .iter()
                            .for_each(|p| out.push((*stamp.expect_singleton(), index, p.clone())));
                    }
                })
                .probe_with(&probe);
        });
        let mut pen = job.telemetry.ledger().pen();
        let mut offset = 0;
        let mut tick = 10;
        for (n, step) in steps.iter().enumerate() {
            left.advance_to(tick);
            right.advance_to(tick);
            let watermark = Watermark::active(EventTime::from_seconds(step.watermark));
            let mut records = |source: u16, events: &[(u64, i64, i64)]| {
                let mut mine = Vec::new();
                for &(key, at, value) in events {
                    offset += 1;
                    if offset as usize % peers == index {
                        let origin = Origin {
                            source,
                            offset,
                            ..Origin::default()
                        };
                        pen.read(origin);
                        mine.push(Record {
                            time: EventTime::from_seconds(at),
                            origin,
                            ingested_ns: offset,
                            value: (key, value),
                        });
                    }
                }
                mine
            };
            left.send(Packet::local(index, records(0, &step.left), watermark));
            right.send(Packet::local(index, records(1, &step.right), watermark));
            if step.goes_on {
                left.flush();
                right.flush();
                for _ in 0..5 {
                    worker.step();
                }
                continue;
            }
            if lockstep {
                left.advance_to(tick + 1);
                right.advance_to(tick + 1);
                while probe.less_equal(&tick) {
                    worker.step();
                }
            } else if (n + index) % 3 == 0 {
                worker.step();
            }
            tick += 10;
        }
        if end {
            left.send(Packet::local(index, Vec::new(), Watermark::END));
            right.send(Packet::local(index, Vec::new(), Watermark::END));
        }
    })
    .unwrap();
    for guard in guards.join() {
        guard.unwrap();
    }
    let seen = seen.lock().unwrap().clone();
    for worker in 0..workers {
        let mine: Vec<_> = seen.iter().filter(|(_, w, _)| *w == worker).collect();
        assert!(
            mine.windows(2).all(|p| p[0].0 < p[1].0),
            "one packet per tick, in order"
        );
        assert!(
            mine.windows(2)
                .all(|p| p[0].2.watermark.time <= p[1].2.watermark.time)
        );
        assert!(mine.iter().all(|p| p.2.from == worker && p.2.to == worker));
        for (_, _, packet) in &mine {
            assert!(packet.records.is_sorted_by_key(|r| (r.time, r.origin)));
        }
    }
    (seen, telemetry)
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
        let (seen, telemetry) = execute(workers, steps.to_vec(), true, true);
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
                let (seen, telemetry) = execute(workers, steps.clone(), true, lockstep);
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
