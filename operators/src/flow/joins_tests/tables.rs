//! As-of joins and lookups: every event against every row.

use std::collections::BTreeSet;

use proptest::prelude::*;
use thalweg_engine::job::Order;
use thalweg_engine::keyed::KeyedStep;
use thalweg_engine::ledger::Fates;
use thalweg_engine::record::Record;
use thalweg_engine::telemetry::Telemetry;

use super::super::either::Either;
use super::super::table_step::TableStep;
use super::cases::{Case, ITEM, Item, Ran, Right, Watermarks, case, open, run};
use crate::join::{Ageing, LatePolicy, Latest, Rows};

/// The event's number and that of the row it met.
pub(super) type Met = (u64, Option<u64>);

pub(super) fn pair(event: Item, row: Option<&Item>) -> Met {
    (event.number, row.map(|row| row.number))
}

fn as_of(
    case: &Case,
    late: LatePolicy,
) -> impl KeyedStep<Either<Item, Item>, Key = u8, State = Rows<Item>, Out = Met> + use<> {
    let late_joined = Telemetry::default().counter("late_joined");
    TableStep::<u8, Rows<Item>, _, Met, _>::new(case.span(0), late, |row| row, pair, late_joined)
}

type Change = (u8, Option<Item>);

fn lookup(
    case: &Case,
    late: LatePolicy,
) -> impl KeyedStep<Either<Item, Change>, Key = u8, State = Latest<Item>, Out = Met> + use<> {
    let late_joined = Telemetry::default().counter("late_joined");
    let row = |(_, row)| row;
    TableStep::<u8, Latest<Item>, Change, Met, _>::new(case.span(0), late, row, pair, late_joined)
}

const CHANGE: Right<Change> = (
    |item| (item.key, (!item.deletes).then_some(*item)),
    |change| change.0,
);

fn in_time(case: &Case, event: &Item, row: &Item) -> bool {
    event.micros() - row.micros() <= i128::from(case.spans[0])
}

/// The rows that an event may meet: in arrival order those that have come before it.
fn rows<'a>(case: &Case, items: &'a [Item], event: &Item) -> impl Iterator<Item = &'a Item> {
    let (event, order) = (*event, case.order);
    let come = move |row: &&Item| order == Order::EventTime || row.number < event.number;
    items
        .iter()
        .filter(|row| row.right)
        .filter(move |row| row.key == event.key)
        .filter(come)
}

pub(super) fn as_of_by_definition(case: &Case, items: &[Item], event: &Item) -> Option<Item> {
    let earlier = rows(case, items, event).filter(|row| row.time <= event.time);
    let latest = earlier.max_by_key(|row| row.place())?;
    in_time(case, event, latest).then_some(*latest)
}

pub(super) fn lookup_by_definition(case: &Case, items: &[Item], event: &Item) -> Option<Item> {
    let in_order = case.order == Order::EventTime;
    let seen = rows(case, items, event).filter(|row| !in_order || row.time <= event.time);
    let latest = seen.max_by_key(|row| row.place())?;
    (!latest.deletes && in_time(case, event, latest)).then_some(*latest)
}

/// One record for each event, in the order of processing, with the row that `find` gives.
pub(super) fn expected(
    case: &Case,
    items: &[Item],
    find: impl Fn(&Item) -> Option<Item>,
) -> Vec<Record<Met>> {
    let events = case.processed(items.to_vec(), true);
    let record = |event: Item| Record {
        time: event.time,
        origin: event.origin(),
        ingested_ns: 0,
        value: pair(event, find(&event).as_ref()),
    };
    events
        .into_iter()
        .filter(|item| !item.right)
        .map(record)
        .collect()
}

fn all_processed(case: &Case) -> Fates {
    let records = case.items.len() as u64;
    Fates {
        records_in: records,
        processed: records,
        ..Fates::default()
    }
}

/// The distinct times of rows of a key, and for each whether an event to come can meet it.
fn needed(
    case: &Case,
    got: &[Item],
    key: u8,
    watermark: thalweg_engine::watermark::Watermark,
) -> usize {
    let times: BTreeSet<i128> = got
        .iter()
        .filter(|r| r.right && r.key == key)
        .map(Item::micros)
        .collect();
    let next = times.iter().skip(1).map(Some).chain([None]);
    let times = times.iter().zip(next);
    times
        .filter(|(time, next)| {
            let replaced = next.is_some_and(|next| !open(watermark, *next));
            !replaced && open(watermark, *time + i128::from(case.spans[0]))
        })
        .count()
}

/// Late records that are joined may miss rows, but meet none that they should not.
fn check_late(case: &Case, ran: &Ran<Met>, valid: impl Fn(&Item, &Item) -> bool) {
    let events = case.items.iter().filter(|item| !item.right).count();
    assert_eq!(ran.records.len(), events, "each event comes out once");
    for record in &ran.records {
        let (event, row) = record.value;
        let event = &case.items[event as usize];
        if let Some(row) = row {
            let row = &case.items[row as usize];
            assert!(
                row.key == event.key && valid(event, row),
                "{event:?} meets {row:?}"
            );
        }
    }
    let mut late = ran.late.clone();
    late.retain(|number| !case.items[*number as usize].right || !ran.behind.contains(number));
    assert!(
        late.is_empty(),
        "{late:?}: only late rows may go to the late stream"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::soak::cases(10_000)))]

    #[test]
    fn as_of_meets_the_latest_row_and_keeps_what_is_needed(case in case()) {
        let make = || as_of(&case, LatePolicy::Join);
        let ran = run(&case, Watermarks::Kept, make, ITEM, |state, got, watermark| {
            if watermark.is_end() {
                return;
            }
            let mut keys = 0;
            for key in 0..3 {
                let needed = needed(&case, got, key, watermark);
                keys += usize::from(needed > 0);
                assert_eq!(state.get(&key).map_or(0, Rows::len), needed, "key {key} at {watermark:?}");
            }
            assert_eq!(state.len(), keys);
        });
        let expected = expected(&case, &case.items, |event| as_of_by_definition(&case, &case.items, event));
        prop_assert_eq!(&ran.records, &expected);
        prop_assert_eq!(ran.fates, all_processed(&case));
    }

    #[test]
    fn lookup_meets_the_row_that_stands_and_keeps_one_a_key(case in case()) {
        let make = || lookup(&case, LatePolicy::Join);
        let ran = run(&case, Watermarks::Kept, make, CHANGE, |state, got, watermark| {
            if watermark.is_end() {
                return;
            }
            for key in 0..3 {
                let rows = got.iter().filter(|item| item.right && item.key == key);
                let stands = rows.max_by_key(|row| row.place());
                let kept = stands.is_some_and(|row| {
                    let span = if row.deletes { 0 } else { case.spans[0] };
                    open(watermark, row.micros() + i128::from(span))
                });
                assert_eq!(state.get(&key).is_some_and(|row| !row.is_empty()), kept);
                assert_eq!(state.get(&key).is_some(), kept, "key {key} at {watermark:?}");
            }
        });
        let expected = expected(&case, &case.items, |event| lookup_by_definition(&case, &case.items, event));
        prop_assert_eq!(&ran.records, &expected);
        prop_assert_eq!(ran.fates, all_processed(&case));
    }

    #[test]
    fn what_is_late_is_diverted_or_meets_what_is_left(case in case()) {
        let divert = |ran: &Ran<Met>| {
            let mut late = ran.late.clone();
            late.sort_unstable();
            assert_eq!(late, ran.behind);
            assert_eq!(ran.fates.late, ran.behind.len() as u64);
            let mut items = case.items.clone();
            items.retain(|item| !ran.behind.contains(&item.number));
            items
        };
        let ran = run(&case, Watermarks::Overtaking, || as_of(&case, LatePolicy::Divert), ITEM, |_, _, _| {});
        let items = divert(&ran);
        let by_definition = expected(&case, &items, |event| as_of_by_definition(&case, &items, event));
        prop_assert_eq!(&ran.records, &by_definition);
        let ran = run(&case, Watermarks::Overtaking, || as_of(&case, LatePolicy::Join), ITEM, |_, _, _| {});
        check_late(&case, &ran, |event, row| row.time <= event.time && in_time(&case, event, row));

        let ran = run(&case, Watermarks::Overtaking, || lookup(&case, LatePolicy::Divert), CHANGE, |_, _, _| {});
        let items = divert(&ran);
        let by_definition = expected(&case, &items, |event| lookup_by_definition(&case, &items, event));
        prop_assert_eq!(&ran.records, &by_definition);
        let ran = run(&case, Watermarks::Overtaking, || lookup(&case, LatePolicy::Join), CHANGE, |_, _, _| {});
        check_late(&case, &ran, |event, row| !row.deletes && in_time(&case, event, row));
    }
}
