//! Records waiting for the watermark, which releases them by event time, rank and origin.

use std::collections::{BTreeMap, VecDeque};

use crate::key::KeyGroup;
use crate::ledger::{Fate, Pen};
use crate::record::{Data, Origin, Record};
use crate::state::encode_to;
use crate::time::EventTime;
use crate::watermark::Watermark;

/// A record's place in event-time order.
type Position = (EventTime, u8, Origin);

/// A priority queue of records as runs: each batch is sorted and appended to a run that it follows,
/// or begins one; a release merges the runs. As batches are nearly sorted and sources few, a record
/// is moved once in and once out.
///
/// The records that wait at some moment can be taken little by little, while others come and go.
pub(crate) struct EventTimeQueue<T> {
    /// None is empty.
    runs: Vec<Run<T>>,
}

/// Records in order.
struct Run<T> {
    records: VecDeque<Record<T>>,
    /// So many of the first are still to be taken.
    due: usize,
}

impl<T> Default for EventTimeQueue<T> {
    fn default() -> Self {
        Self { runs: Vec::new() }
    }
}

/// Records that wait for the watermark, as they have been taken so far: encoded, by key group.
#[derive(Default)]
pub(crate) struct TakenRecords {
    groups: BTreeMap<KeyGroup, Vec<u8>>,
    error: Option<postcard::Error>,
}

impl TakenRecords {
    pub(crate) fn write<T: Data>(&mut self, group: KeyGroup, record: &Record<T>) {
        if let Err(error) = encode_to(&mut self.groups, group, record) {
            self.error = Some(error);
        }
    }

    /// Gives what was taken, and begins anew.
    pub(crate) fn finish(&mut self) -> Result<BTreeMap<KeyGroup, Vec<u8>>, postcard::Error> {
        let Self { groups, error } = std::mem::take(self);
        error.map_or(Ok(groups), Err)
    }
}

fn position<T>(record: &Record<T>, rank: &impl Fn(&T) -> u8) -> Position {
    (record.time, rank(&record.value), record.origin)
}

fn sort<T>(records: &mut [Record<T>], rank: &impl Fn(&T) -> u8) {
    if !records.is_sorted_by_key(|record| position(record, rank)) {
        records.sort_by_key(|record| position(record, rank));
    }
}

impl<T> EventTimeQueue<T> {
    /// Takes records in and gives those out that the watermark has passed, in order. Whoever takes
    /// what waits gets those among them before they go that are still to be taken.
    pub(crate) fn exchange(
        &mut self,
        mut records: Vec<Record<T>>,
        watermark: Watermark,
        rank: impl Fn(&T) -> u8,
        take: impl FnMut(&Record<T>),
    ) -> Vec<Record<T>> {
        sort(&mut records, &rank);
        let passed = |record: &Record<T>| watermark.has_passed(record.time);
        if self.runs.is_empty() && records.last().is_none_or(passed) {
            return records;
        }
        self.insert(records, &rank);
        self.release(passed, &rank, take)
    }

    /// Takes records in that wait, such as those that waited before a restart.
    pub(crate) fn push(&mut self, mut records: Vec<Record<T>>, rank: impl Fn(&T) -> u8) {
        sort(&mut records, &rank);
        self.insert(records, &rank);
    }

    /// The records that wait, in no order.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Record<T>> {
        self.runs.iter().flat_map(|run| &run.records)
    }

    /// Begins to take all that waits now.
    pub(crate) fn begin_taking(&mut self) {
        for run in &mut self.runs {
            run.due = run.records.len();
        }
    }

    /// Takes up to `most` more of what is being taken; gives how many it would still have taken.
    pub(crate) fn take_some(&mut self, most: usize, mut take: impl FnMut(&Record<T>)) -> usize {
        let mut left = most;
        for run in &mut self.runs {
            let rest = run.due - run.due.min(left);
            run.records.range(rest..run.due).for_each(&mut take);
            left -= run.due - rest;
            run.due = rest;
        }
        left
    }

    /// Whether some are still to be taken.
    pub(crate) fn is_taking(&self) -> bool {
        self.runs.iter().any(|run| run.due > 0)
    }

    fn insert(&mut self, records: Vec<Record<T>>, rank: &impl Fn(&T) -> u8) {
        let Some(first) = records.first().map(|record| position(record, rank)) else {
            return;
        };
        // Of the runs that the records follow, the one that they follow most closely.
        let last = |run: &Run<T>| run.records.back().map(|record| position(record, rank));
        let followed = self.runs.iter_mut().filter(|run| last(run) <= Some(first));
        match followed.max_by_key(|run| last(run)) {
            Some(run) => run.records.extend(records),
            None => self.runs.push(Run {
                records: records.into(),
                due: 0,
            }),
        }
    }

    fn release(
        &mut self,
        passed: impl Fn(&Record<T>) -> bool,
        rank: &impl Fn(&T) -> u8,
        mut take: impl FnMut(&Record<T>),
    ) -> Vec<Record<T>> {
        let leaving = |run: &Run<T>| run.records.partition_point(&passed);
        let mut ready = Vec::with_capacity(self.runs.iter().map(leaving).sum());
        while let Some((run, next)) = self.first_run(&passed, rank) {
            let follows = |record: &Record<T>| {
                passed(record) && next.is_none_or(|next| position(record, rank) <= next)
            };
            let run = &mut self.runs[run];
            let leaving = run.records.iter().take_while(|record| follows(record));
            let leaving = leaving.count();
            let due = run.due.min(leaving);
            run.records.range(..due).for_each(&mut take);
            run.due -= due;
            ready.extend(run.records.drain(..leaving));
        }
        self.runs.retain(|run| !run.records.is_empty());
        ready
    }

    /// The run whose first record is due and goes before those of all others, and where the first
    /// of the others stands.
    fn first_run(
        &self,
        passed: &impl Fn(&Record<T>) -> bool,
        rank: &impl Fn(&T) -> u8,
    ) -> Option<(usize, Option<Position>)> {
        let mut first: Option<(Position, usize)> = None;
        let mut second: Option<Position> = None;
        for (index, run) in self.runs.iter().enumerate() {
            let Some(head) = run.records.front().filter(|record| passed(record)) else {
                continue;
            };
            let head = position(head, rank);
            match first {
                Some((known, _)) if known <= head => {
                    second = Some(second.map_or(head, |second| second.min(head)));
                }
                _ => {
                    second = first.map(|(known, _)| known);
                    first = Some((head, index));
                }
            }
        }
        first.map(|(_, index)| (index, second))
    }

    /// Notes that what still waits is held.
    pub(crate) fn hold(&self, pen: &mut Pen) {
        self.waiting()
            .for_each(|record| pen.mark(record.origin, Fate::Held));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(time: i64, source: u16, offset: u64) -> Record<u8> {
        let origin = Origin {
            source,
            offset,
            ..Origin::default()
        };
        Record {
            time: EventTime::from_micros(time),
            origin,
            ingested_ns: 0,
            value: (offset % 3) as u8,
        }
    }

    proptest! {
        #[test]
        fn what_comes_out_is_sorted_and_complete_and_what_is_taken_is_what_waited(
            batches in prop::collection::vec(
                (prop::collection::vec((0i64..200, 0u16..3), 0..20), 0i64..250, 0usize..20),
                1..30,
            ),
        ) {
            let mut queue = EventTimeQueue::default();
            let (mut waiting, mut offset, mut greatest) = (Vec::new(), 0, 0);
            let (mut taken, mut as_it_was) = (Vec::new(), Vec::new());
            let place = |record: &Record<u8>| (record.time, record.value, record.origin);
            for (batch, watermark, most) in batches {
                if !queue.is_taking() {
                    taken.sort_by_key(place);
                    prop_assert_eq!(&taken, &as_it_was);
                    taken.clear();
                    as_it_was.clone_from(&waiting);
                    queue.begin_taking();
                }
                let before = taken.len();
                let left = queue.take_some(most, |record| taken.push(record.clone()));
                prop_assert_eq!(taken.len() - before, most - left);
                prop_assert!(left == 0 || !queue.is_taking());
                greatest = watermark.max(greatest);
                let watermark = Watermark::active(EventTime::from_micros(greatest));
                let records = batch.into_iter().map(|(time, source)| {
                    offset += 1;
                    record(time, source, offset)
                });
                let records: Vec<_> = records.collect();
                waiting.extend(records.clone());
                waiting.sort_by_key(place);
                let expected: Vec<_> = waiting
                    .extract_if(.., |record| watermark.has_passed(record.time))
                    .collect();
                let given = queue.exchange(
                    records,
                    watermark,
                    |value| *value,
                    |record| taken.push(record.clone()),
                );
                prop_assert_eq!(given, expected);
            }
            let take = |record: &Record<u8>| taken.push(record.clone());
            let rest = queue.exchange(Vec::new(), Watermark::END, |value| *value, take);
            prop_assert_eq!(rest, waiting);
            taken.sort_by_key(place);
            prop_assert_eq!(taken, as_it_was);
        }
    }
}
