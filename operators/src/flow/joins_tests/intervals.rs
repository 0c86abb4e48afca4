//! Interval joins: every event against every other.

use std::collections::BTreeSet;

use proptest::prelude::*;
use thalweg_engine::keyed::KeyedStep;
use thalweg_engine::ledger::Fates;
use thalweg_engine::record::Record;
use thalweg_engine::telemetry::Telemetry;
use thalweg_engine::time::EventTime;

use super::super::either::Either;
use super::super::interval_step::IntervalStep;
use super::cases::{Case, ITEM, Item, Ran, Watermarks, case, open, run};
use crate::join::{Interval, LatePolicy, Pending};

/// The numbers of the left event and of its partner.
type Pair = (u64, Option<u64>);

fn step(
    rule: Interval,
    outer: bool,
) -> impl KeyedStep<Either<Item, Item>, Key = u8, State = Pending<Item, Item>, Out = Pair> {
    let pair = move |a: &Item, b: Option<&Item>| {
        (outer || b.is_some()).then_some((a.number, b.map(|b| b.number)))
    };
    IntervalStep::new(rule, pair, Telemetry::default().counter("late_joined"))
}

pub(super) fn rule(case: &Case) -> Interval {
    Interval::around(case.span(0), case.span(1))
}

fn partners(case: &Case, a: &Item, b: &Item) -> bool {
    let [before, after] = case.spans.map(i128::from);
    !a.right && b.right && a.key == b.key && (-before..=after).contains(&(b.micros() - a.micros()))
}

fn has_partner(case: &Case, items: &[Item], item: &Item) -> bool {
    items
        .iter()
        .any(|other| partners(case, item, other) || partners(case, other, item))
}

/// Every pair, in the order in which the events that complete them are processed, then the left
/// events that are alone.
pub(super) fn expected(case: &Case, items: &[Item], outer: bool) -> Vec<Record<Pair>> {
    let processed = case.processed(items.to_vec(), false);
    let mut records = Vec::new();
    for (place, item) in processed.iter().enumerate() {
        let mut met: Vec<&Item> = processed[..place]
            .iter()
            .filter(|other| partners(case, item, other) || partners(case, other, item))
            .collect();
        met.sort_by_key(|other| other.place());
        for (index, other) in (0..).zip(met) {
            let (a, b) = if item.right {
                (other, item)
            } else {
                (item, other)
            };
            records.push(Record {
                time: a.time.max(b.time),
                origin: item.origin().child(2 * index + u32::from(item.right)),
                ingested_ns: 0,
                value: (a.number, Some(b.number)),
            });
        }
    }
    let alone = |a: &&Item| outer && !a.right && !has_partner(case, items, a);
    for a in items.iter().filter(alone) {
        records.push(Record {
            time: a.time.saturating_add(case.span(1)),
            origin: a.origin(),
            ingested_ns: 0,
            value: (a.number, None),
        });
    }
    records
}

/// The records in one order, without when they were taken in: those that are alone come at a time
/// that depends on the batches.
pub(super) fn sorted(
    records: &[Record<Pair>],
) -> Vec<(EventTime, thalweg_engine::record::Origin, Pair)> {
    let mut all: Vec<_> = records
        .iter()
        .map(|r| (r.time, r.origin, r.value))
        .collect();
    all.sort_unstable();
    all
}

fn fates(case: &Case, items: &[Item], outer: bool) -> Fates {
    let met = |item: &&Item| outer && !item.right || has_partner(case, items, item);
    let processed = items.iter().filter(met).count() as u64;
    Fates {
        records_in: items.len() as u64,
        processed,
        filtered: items.len() as u64 - processed,
        ..Fates::default()
    }
}

fn set(ran: &Ran<Pair>) -> BTreeSet<Pair> {
    let pairs: BTreeSet<Pair> = ran.records.iter().map(|record| record.value).collect();
    assert_eq!(pairs.len(), ran.records.len(), "no pair comes out twice");
    pairs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::soak::cases(10_000)))]

    #[test]
    fn every_pair_comes_out_once_and_what_can_meet_nobody_is_dropped(case in case(), outer: bool) {
        let make = || step(rule(&case), outer);
        let ran = run(&case, Watermarks::Kept, make, ITEM, |state, got, watermark| {
            let waits = |item: &&Item| {
                open(watermark, item.micros() + i128::from(case.spans[usize::from(!item.right)]))
            };
            let waiting: Vec<&Item> = got.iter().filter(waits).collect();
            let kept: usize = state.iter().map(|(_, pending)| pending.len()).sum();
            assert_eq!(kept, waiting.len(), "{watermark:?}");
            let keys: BTreeSet<u8> = waiting.iter().map(|item| item.key).collect();
            assert_eq!(state.len(), keys.len());
        });
        let expected = expected(&case, &case.items, outer);
        prop_assert_eq!(sorted(&ran.records), sorted(&expected));
        prop_assert_eq!(ran.fates, fates(&case, &case.items, outer));
    }

    #[test]
    fn what_is_late_is_diverted_or_meets_what_is_left(case in case(), outer: bool) {
        let divert = rule(&case).late(LatePolicy::Divert);
        let ran = run(&case, Watermarks::Overtaking, || step(divert, outer), ITEM, |_, _, _| {});
        let mut late = ran.late.clone();
        late.sort_unstable();
        prop_assert_eq!(&late, &ran.behind);
        let mut items = case.items.clone();
        items.retain(|item| !ran.behind.contains(&item.number));
        prop_assert_eq!(sorted(&ran.records), sorted(&expected(&case, &items, outer)));
        let diverted = fates(&case, &items, outer);
        let (processed, filtered) = (diverted.processed, diverted.filtered);
        prop_assert_eq!((ran.fates.processed, ran.fates.filtered), (processed, filtered));
        let in_time = set(&ran);

        let joined = run(&case, Watermarks::Overtaking, || step(rule(&case), outer), ITEM, |_, _, _| {});
        let pairs = set(&joined);
        for (a, b) in &pairs {
            let a = &case.items[*a as usize];
            prop_assert!(b.is_none_or(|b| partners(&case, a, &case.items[b as usize])));
        }
        let met = |pair: &&Pair| pair.1.is_some();
        prop_assert!(in_time.iter().filter(met).all(|pair| pairs.contains(pair)));
        for a in case.items.iter().filter(|item| outer && !item.right) {
            prop_assert!(pairs.iter().any(|pair| pair.0 == a.number), "{a:?} is gone");
        }
        prop_assert!(joined.late.iter().all(|number| joined.behind.contains(number)));
    }

    #[test]
    fn a_full_side_refuses_by_event_time_and_not_by_batch(mut case in case(), max in 1_usize..4) {
        case.order = thalweg_engine::job::Order::EventTime;
        let rule = rule(&case).max_per_key(max);
        let ran = run(&case, Watermarks::Kept, || step(rule, true), ITEM, |_, _, _| {});
        let mut kept: Vec<Item> = Vec::new();
        let mut refused = Vec::new();
        for item in case.processed(case.items.clone(), false) {
            let reach = i128::from(case.spans[usize::from(!item.right)]);
            let waits = |other: &&Item| {
                let same = other.right == item.right && other.key == item.key;
                let last = (other.micros() + reach).min(i64::MAX.into());
                same && last >= item.micros()
            };
            if kept.iter().filter(waits).count() < max {
                kept.push(item);
            } else {
                refused.push(item.number);
            }
        }
        prop_assert_eq!(&ran.dead, &refused);
        prop_assert_eq!(ran.fates.dead_letters, refused.len() as u64);
        prop_assert_eq!(sorted(&ran.records), sorted(&expected(&case, &kept, true)));
    }
}
