//! A join that is cut, and goes on from what it had to keep.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::relation_testing::{Done, Run, Seen, Step, execute, record};
use super::*;
use crate::job::{JobOptions, StopHandle};
use crate::telemetry::StepKind;
use crate::testing::check_format;
use crate::time::secs;

type Told = Record<Change<u64, i64, i64>>;

/// What one tick after the other tells, those that tell nothing left out.
fn told(seen: &Seen) -> Vec<Vec<Told>> {
    let mut ticks = BTreeMap::<Tick, Vec<Told>>::new();
    for (tick, _, packet) in seen {
        ticks
            .entry(*tick)
            .or_default()
            .extend(packet.records.iter().cloned());
    }
    let mut ticks: Vec<_> = ticks
        .into_values()
        .filter(|told| !told.is_empty())
        .collect();
    for told in &mut ticks {
        told.sort_by_key(|record| (record.time, record.origin));
    }
    ticks
}

/// Recomputes every pair in every tick.
fn oracle(horizon: u64, steps: &[Step]) -> Vec<Vec<Told>> {
    let (horizon, mut offset) = (Duration::from_secs(horizon), 0);
    let span_us = horizon.as_micros() as i64 / 64;
    let span = |time: EventTime| time.as_micros().div_euclid(span_us);
    let mut record = |source, event| {
        offset += 1;
        record(source, offset, event)
    };
    let (mut facts, mut values) = (Vec::<Record<(u64, i64)>>::new(), BTreeMap::new());
    let (mut met, mut reached, mut all) = (BTreeMap::new(), i64::MIN, Vec::new());
    for step in steps {
        facts.extend(step.left.iter().map(|event| record(0, *event)));
        for event in &step.right {
            let new = record(1, *event);
            let latest = values.entry(event.0).or_insert_with(|| new.clone());
            if (latest.time, latest.origin) < (new.time, new.origin) {
                *latest = new;
            }
        }
        let mut told = Vec::new();
        let before = std::mem::take(&mut met);
        for fact in &facts {
            let (key, left) = fact.value;
            let value = values.get(&key).filter(|value: &&Record<(u64, i64)>| {
                fact.time.since(value.time).max(value.time.since(fact.time)) <= horizon
            });
            let Some((_, new)) = value.map(|value| value.value) else {
                continue;
            };
            met.insert(fact.origin, new);
            match before.get(&fact.origin) {
                Some(&old) if old != new => told.push(fact.with(Change::Revised {
                    key,
                    left,
                    old,
                    new,
                })),
                Some(_) => {}
                None => told.push(fact.with(Change::Added {
                    key,
                    left,
                    right: new,
                })),
            }
        }
        told.sort_by_key(|record| (record.time, record.origin));
        all.push(told);
        reached = span(EventTime::from_seconds(step.watermark)).max(reached);
        facts.retain(|fact| span(fact.time.saturating_add(horizon)) >= reached);
        values.retain(|_, value| span(value.time.saturating_add(2 * horizon)) >= reached);
    }
    all.retain(|told| !told.is_empty());
    all
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let left = prop::collection::vec((0..5_u64, 0..14_i64, 0..3_i64), 0..5);
    let right = prop::collection::vec((0..5_u64, 0..14_i64, -2..0_i64), 0..5);
    let step = (left, right, 0..9_i64);
    prop::collection::vec(step, 1..9).prop_map(|drawn| {
        let mut now = 0;
        let mut step = |(mut left, mut right, passes): (Vec<_>, Vec<_>, i64)| {
            let events = left.iter_mut().chain(&mut right);
            events.for_each(|(_, at, _): &mut (u64, i64, i64)| *at += now);
            now += passes;
            Step {
                left,
                right,
                watermark: now,
                goes_on: false,
            }
        };
        drawn.into_iter().map(&mut step).collect()
    })
}

/// Has the tick of `steps[at]` begin with half of its records, and end as a tick of its own.
fn split(steps: &mut Vec<Step>, at: usize) {
    let Some(step) = steps.get_mut(at) else {
        return;
    };
    let half = Step {
        left: step.left.drain(..step.left.len() / 2).collect(),
        right: step.right.drain(..step.right.len() / 2).collect(),
        watermark: step.watermark - 1,
        goes_on: true,
    };
    steps.insert(at, half);
}

fn cut(workers: usize, horizon: u64, steps: &[Step], taken: usize) -> Done {
    execute(Run {
        horizon,
        cut: Some(taken),
        ..Run::to_end(workers, steps.to_vec())
    })
}

fn events(steps: &[Step]) -> u64 {
    let count = |step: &Step| step.left.len() + step.right.len();
    steps.iter().map(count).sum::<usize>() as u64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Between two ticks or amid one; the state is taken twice, so that what was taken first and
    /// what has changed since go together.
    #[test]
    fn what_goes_on_from_a_cut_tells_what_was_never_cut(
        drawn in steps(),
        horizon in 1..14_u64,
        workers in (1..4_usize, 1..4_usize),
        at in any::<prop::sample::Index>(),
        taken in any::<prop::sample::Index>(),
        amid in any::<bool>(),
    ) {
        let mut steps = drawn;
        let mut at = at.index(steps.len() + 1);
        if amid && at < steps.len() {
            split(&mut steps, at);
            at += 1;
        }
        let expected = oracle(horizon, &steps);
        let (before, after) = steps.split_at(at);
        let first = cut(workers.0, horizon, before, taken.index(at + 1));
        let fates = first.telemetry.ledger().fates();
        let open = before.last().filter(|step| step.goes_on);
        prop_assert!(fates.balance(), "{:?}", fates);
        prop_assert_eq!(fates.held, events(open.map_or(&[], std::slice::from_ref)));

        let bytes = postcard::to_allocvec(&first.state).unwrap();
        let second = execute(Run {
            horizon,
            restored: postcard::from_bytes(&bytes).unwrap(),
            given: events(before),
            ..Run::to_end(workers.1, after.to_vec())
        });
        prop_assert_eq!(second.failure, None);
        let mut found = told(&first.seen);
        found.extend(told(&second.seen));
        prop_assert_eq!(found, expected);
        prop_assert!(second.seen.iter().any(|(_, _, packet)| packet.watermark.is_end()));
    }
}

fn one(left: &[(u64, i64, i64)], right: &[(u64, i64, i64)], watermark: i64) -> Step {
    Step {
        left: left.to_vec(),
        right: right.to_vec(),
        watermark,
        goes_on: false,
    }
}

#[test]
fn nothing_is_kept_of_what_has_expired() {
    let first = one(&[(1, 1, 100), (2, 1, 200)], &[(1, 2, -1)], 1);
    let steps = [first, one(&[], &[], 12), one(&[], &[], 60)];
    let keys = |steps| {
        let state = cut(1, 10, steps, usize::MAX).state.unwrap();
        let mut kept = KeyedState::<u64, Related<i64, i64>>::default();
        state
            .keys
            .values()
            .for_each(|bytes| kept.restore("join", bytes).unwrap());
        let kept = kept
            .iter()
            .map(|(key, related)| (*key, (related.facts.len(), related.latest.is_some())));
        kept.collect::<BTreeMap<_, _>>()
    };
    let (fact, both) = ((1, false), (1, true));
    assert_eq!(keys(&steps[..1]), BTreeMap::from([(1, both), (2, fact)]));
    assert_eq!(keys(&steps[..2]), BTreeMap::from([(1, (0, true))]));
    assert_eq!(keys(&steps), BTreeMap::new());
}

#[test]
fn state_that_cannot_be_used_fails_the_job_by_the_steps_name() {
    let steps = [one(&[(1, 1, 100)], &[(1, 2, -1)], 1)];
    let good = cut(1, 10, &steps, 0).state.unwrap();
    let group = *good.keys.keys().next().unwrap();
    let with = |bytes: &[u8]| {
        let mut state = good.clone();
        state.keys.insert(group, bytes.to_vec());
        state
    };
    let mut newer = good.keys[&group].clone();
    // After the key and the mark that it has state.
    newer[2] += 1;
    let mut foreign = good.clone();
    foreign.waiting.insert(group, vec![7, 7, 7]);
    for (state, horizon, reason) in [
        (
            good.clone(),
            20,
            "state of step `join` cannot be used: its horizon was 10s, not 20s",
        ),
        (with(&newer), 10, "state of step `join` cannot be decoded"),
        (
            with(&[1, 1, 0xff]),
            10,
            "state of step `join` cannot be decoded",
        ),
        (foreign, 10, "state of step `join` cannot be decoded"),
    ] {
        let done = execute(Run {
            horizon,
            restored: Some(state),
            ..Run::to_end(1, Vec::new())
        });
        let failure = done.failure.unwrap();
        assert!(failure.starts_with(reason), "{failure}");
    }
}

#[test]
fn the_format_is_that_of_version_1() {
    let numbered = |source, value| Numbered {
        number: 9,
        record: record(source, 3, (7, 5, value)).map(|(_, value)| value),
    };
    let related = Related {
        horizon_us: 10,
        facts: [numbered(0, 100)].into_iter().collect(),
        latest: Some(numbered(1, -1)),
        place: Some(1),
        ..Related::default()
    };
    let read = check_format(
        &related,
        "010a0180ade2040000030003c8010180ade204010003000301",
    );
    assert_eq!(read.facts[0].record, related.facts[0].record);
    assert_eq!(read.place, None);
}

/// A join on one worker, of one input for each side.
fn join() -> LatestJoin<u64, i64, i64> {
    let job = JobContext::new(JobOptions::default(), Arc::default(), StopHandle::default());
    let seat = Seat {
        worker: 0,
        workers: 1,
        inputs: 2,
        is_local: false,
    };
    let metrics = job.telemetry.step("join", StepKind::Keyed);
    LatestJoin::new(seat, &Arc::new(job), metrics, secs(60))
}

#[test]
fn facts_that_wait_for_their_value_are_taken_once_and_not_at_the_end_of_each_epoch() {
    let mut join = join();
    let mut facts = |tick: Tick, keys: std::ops::Range<u64>| {
        let records = keys.map(|key| record(0, key, (key, 1, 7))).collect();
        join.wait_facts(tick, Packet::local(0, records, Watermark::START));
    };
    facts(1, 0..1_000);
    facts(2, 1_000..1_005);
    facts(3, 1_005..1_007);
    let taken_in = |join: &mut LatestJoin<_, _, _>, tick| {
        let watermark = join.take_in(tick);
        assert!(join.close(Vec::new(), watermark).is_empty());
    };
    taken_in(&mut join, 1);
    let first = join.take_state(2).unwrap();
    taken_in(&mut join, 2);
    let mut second = join.begin_taking(4, TakeHow::default()).unwrap();
    assert!(second.keys.is_empty(), "they are taken little by little");
    taken_in(&mut join, 3);
    let taken = join.take_some(usize::MAX).unwrap().unwrap();
    taken.add_to(&mut second);
    let keys = |state: &StepState| {
        let mut kept = KeyedState::<u64, Related<i64, i64>>::default();
        let pieces = state.keys.values();
        pieces.for_each(|bytes| kept.restore("join", bytes).unwrap());
        kept.iter().map(|(key, _)| *key).collect::<BTreeSet<_>>()
    };
    assert_eq!(keys(&first).len(), 1_007 - 7);
    assert!(first.waiting.is_empty());
    assert_eq!(keys(&second), (1_000..1_005).collect());
    let mut waiting = Waiting::<u64, i64, i64>::default();
    let pieces = second.waiting.values();
    pieces.for_each(|bytes| waiting.decode("join", bytes).unwrap());
    let waiting = waiting.facts.iter().flatten().map(|record| record.value.0);
    assert_eq!(waiting.collect::<BTreeSet<_>>(), (1_005..1_007).collect());
}

#[test]
fn a_watermark_waits_for_what_its_input_has_sent_before_it_in_a_later_tick() {
    let mut join = join();
    let at = |second| Watermark::active(EventTime::from_seconds(second));
    join.wait_values(3, Packet::local(0, Vec::new(), Watermark::END));
    join.wait_facts(5, Packet::local(0, Vec::new(), at(10)));
    join.wait_facts(4, Packet::local(0, Vec::new(), Watermark::END));
    for (tick, expected) in [
        (3, Watermark::START),
        (4, Watermark::START),
        (5, Watermark::END),
    ] {
        let watermark = join.take_in(tick);
        assert_eq!(watermark, expected, "after tick {tick}");
        assert!(join.close(Vec::new(), watermark).is_empty());
    }
}
