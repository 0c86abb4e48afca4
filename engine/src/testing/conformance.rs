//! What every source, sink and store must do, as checks that are run over each of them.
//!
//! A connector of one's own is tested as the ones of the project are:
//!
//! ```
//! use thalweg_engine::source::Undecodable;
//! use thalweg_engine::testing::conformance::{Ending, Held, check_source};
//! use thalweg_engine::testing::Events;
//!
//! let bad = Undecodable { reason: "not a number".to_owned(), raw: b"x".to_vec() };
//! let source = Events::with_bad([Ok(1), Err(bad), Ok(3)]);
//! let held = Held::partition(0, [(0, Ok(1)), (1, Err(b"x".to_vec())), (2, Ok(3))]);
//! check_source(&source, &[held], Ending::Ends);
//! ```
//!
//! The checks panic with what is wrong, as assertions do.

mod store;

use std::fmt::Debug;

use crate::record::Record;
use crate::sink::{Refused, Sink, SinkError, Writer};
use crate::source::{ReadBatch, ReadStatus, Reader, Source, SourceError};

pub use store::check_store;

/// One record of a source: its offset, and its value or, where it cannot be decoded, its bytes.
pub type HeldRecord<T> = (u64, Result<T, Vec<u8>>);

/// What a partition of a source holds.
#[derive(Clone, Debug)]
pub struct Held<T> {
    partition: u32,
    records: Vec<HeldRecord<T>>,
}

impl<T> Held<T> {
    /// A partition with these records.
    pub fn partition(partition: u32, records: impl IntoIterator<Item = HeldRecord<T>>) -> Self {
        Self {
            partition,
            records: records.into_iter().collect(),
        }
    }
}

/// What a source says after its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// That there will never be more.
    Ends,
    /// That more may come.
    Waits,
}

/// Checks that a source gives exactly what it holds: from its beginning and from every offset,
/// whatever the limit of a batch, with offsets that only grow, and records that cannot be decoded
/// among those that can; that it says how it ends; and that a reader that is always ready never waits.
///
/// # Panics
/// When it does not.
pub fn check_source<T: Clone + Debug + PartialEq + 'static>(
    source: &dyn Source<T>,
    held: &[Held<T>],
    ending: Ending,
) {
    let name = source.describe();
    assert!(!name.trim().is_empty(), "a source describes itself");
    for _ in 0..2 {
        let checked = source.check();
        checked.unwrap_or_else(|error| panic!("{name}: the check fails: {error}"));
        let expected: Vec<_> = held.iter().map(|held| held.partition).collect();
        assert_eq!(partitions(source), expected, "{name}: the partitions");
    }
    for Held { partition, records } in held {
        for limit in [1, 2, 3, 7, 1_000] {
            check_rest(source, *partition, 0, limit, records, ending);
        }
        for (index, (offset, _)) in records.iter().enumerate() {
            check_rest(source, *partition, *offset, 3, &records[index..], ending);
        }
        if let Some((last, _)) = records.last() {
            check_rest(source, *partition, last + 1, 3, &[], ending);
        }
        check_two_readers(source, *partition, records);
    }
    let unknown = held.iter().map(|held| held.partition + 1).max();
    let opened = source.open(unknown.unwrap_or(0), 0).map(drop);
    assert_names_remedy(&name, opened.expect_err("an unknown partition is an error"));
}

/// Checks that a source whose data is not there says so before it starts and when it is opened, in
/// words that hold all of `parts`.
///
/// # Panics
/// When it does not.
pub fn check_missing_source<T: 'static>(source: &dyn Source<T>, parts: &[&str]) {
    let name = source.describe();
    let opened = source.open(0, 0).map(drop);
    for outcome in [source.check(), opened] {
        let error = outcome.expect_err("a source without its data is refused");
        for part in parts {
            assert!(error.to_string().contains(part), "{name}: {error}");
        }
        assert_names_remedy(&name, error);
    }
}

fn assert_names_remedy(name: &str, error: SourceError) {
    let SourceError::Open {
        what,
        reason,
        remedy,
    } = error
    else {
        panic!("{name}: what cannot be opened is no other error: {error}");
    };
    for part in [what, reason, remedy] {
        assert!(
            !part.trim().is_empty(),
            "{name}: a part of the error is empty"
        );
    }
}

fn partitions<T: 'static>(source: &dyn Source<T>) -> Vec<u32> {
    let listed = source.partitions();
    listed.unwrap_or_else(|error| panic!("{}: no partitions: {error}", source.describe()))
}

fn open<T: 'static>(source: &dyn Source<T>, partition: u32, offset: u64) -> Box<dyn Reader<T>> {
    let opened = source.open(partition, offset);
    opened.unwrap_or_else(|error| {
        panic!(
            "{}: cannot be opened at {offset}: {error}",
            source.describe()
        )
    })
}

fn read<T>(reader: &mut dyn Reader<T>, batch: &mut ReadBatch<T>, limit: usize) -> ReadStatus {
    let read = reader.read(batch, limit);
    read.unwrap_or_else(|error| panic!("a reader breaks: {error}"))
}

/// Reads from `offset` on until the reader has no more.
fn check_rest<T: Clone + Debug + PartialEq + 'static>(
    source: &dyn Source<T>,
    partition: u32,
    offset: u64,
    limit: usize,
    expected: &[HeldRecord<T>],
    ending: Ending,
) {
    let place = format!(
        "{}: partition {partition} from {offset} on by {limit}",
        source.describe()
    );
    let mut reader = open(source, partition, offset);
    let is_always_ready = reader.is_always_ready();
    let mut batch = ReadBatch::new();
    let last = loop {
        let before = batch.len();
        let status = read(&mut *reader, &mut batch, limit);
        assert!(
            !is_always_ready || status != ReadStatus::Waiting,
            "{place}: a reader that is always ready waits"
        );
        assert!(
            batch.len() <= before + limit,
            "{place}: more records than the limit"
        );
        let is_done = match status {
            ReadStatus::More | ReadStatus::Away => false,
            ReadStatus::End => true,
            ReadStatus::Waiting => batch.len() >= expected.len(),
        };
        if is_done {
            break status;
        }
    };
    let grow = batch.windows(2).all(|pair| pair[0].0 < pair[1].0);
    assert!(grow, "{place}: the offsets do not grow");
    for (_, item) in &batch {
        if let Err(bad) = item {
            assert!(!bad.reason.is_empty(), "{place}: {bad:?} has no reason");
        }
    }
    let got: Vec<_> = batch.into_iter().map(plain).collect();
    assert_eq!(got, expected, "{place}");
    match ending {
        Ending::Ends => assert_eq!(last, ReadStatus::End, "{place}"),
        Ending::Waits => assert_eq!(last, ReadStatus::Waiting, "{place}"),
    }
    let again = read(&mut *reader, &mut ReadBatch::new(), limit);
    assert_eq!(again, last, "{place}: asked again");
}

fn plain<T>((offset, item): (u64, Result<T, crate::source::Undecodable>)) -> HeldRecord<T> {
    (offset, item.map_err(|bad| bad.raw))
}

/// Readers of one partition have nothing to do with each other.
fn check_two_readers<T: Clone + Debug + PartialEq + 'static>(
    source: &dyn Source<T>,
    partition: u32,
    records: &[HeldRecord<T>],
) {
    let (mut one, mut two) = (open(source, partition, 0), open(source, partition, 0));
    let (mut first, mut second) = (ReadBatch::new(), ReadBatch::new());
    while second.len() < records.len() {
        read(&mut *one, &mut first, 1);
        read(&mut *two, &mut second, 1);
    }
    for batch in [first, second] {
        let got: Vec<_> = batch.into_iter().map(plain).collect();
        assert_eq!(got, records, "{}: two readers", source.describe());
    }
}

/// What becomes of what a sink holds when it is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reopening {
    /// It goes on behind it.
    GoesOn,
    /// It begins anew.
    StartsAnew,
}

/// Checks that a sink holds what was written once it has been flushed, in its order and nothing
/// else; that the check changes nothing; and what opening it again does. `held` tells what the sink
/// holds; nothing at first.
///
/// # Panics
/// When it does not.
pub fn check_sink<T: Clone + Debug + PartialEq + 'static>(
    sink: &dyn Sink<T>,
    records: &[Record<T>],
    held: impl Fn() -> Vec<T>,
    reopening: Reopening,
) {
    let name = sink.describe();
    assert!(!name.trim().is_empty(), "a sink describes itself");
    let (written, rest) = records.split_at(records.len() / 2);
    let mut expected: Vec<T> = Vec::new();
    for (turn, records) in [written, rest].into_iter().enumerate() {
        if turn > 0 && reopening == Reopening::StartsAnew {
            expected.clear();
        }
        let checked = sink.check();
        checked.unwrap_or_else(|error| panic!("{name}: the check fails: {error}"));
        let opened = sink.open();
        let mut writer = opened.unwrap_or_else(|error| panic!("{name}: {error}"));
        succeeds(&name, writer.flush());
        assert_eq!(
            held(),
            expected,
            "{name}: flushed before anything is written"
        );
        for part in records.chunks(3) {
            write_whole(&name, &mut *writer, part);
            write_whole(&name, &mut *writer, &[]);
            expected.extend(part.iter().map(|record| record.value.clone()));
            succeeds(&name, writer.flush());
            assert_eq!(held(), expected, "{name}: after a flush");
        }
        succeeds(&name, writer.flush());
        succeeds(&name, writer.close());
        drop(writer);
        assert_eq!(held(), expected, "{name}: after the end");
        succeeds(&name, sink.check());
        assert_eq!(held(), expected, "{name}: after a check");
    }
}

/// Checks that a sink that cannot be written says so before it starts and when it is opened, in
/// words that hold all of `parts`.
///
/// # Panics
/// When it does not.
pub fn check_missing_sink<T: 'static>(sink: &dyn Sink<T>, parts: &[&str]) {
    let name = sink.describe();
    let opened = sink.open().map(drop);
    for outcome in [sink.check(), opened] {
        let error = outcome.expect_err("a sink that cannot be written is refused");
        for part in parts {
            assert!(error.to_string().contains(part), "{name}: {error}");
        }
        let is_open = matches!(&error, SinkError::Open { remedy, .. } if !remedy.is_empty());
        assert!(is_open, "{name}: {error}");
    }
}

/// Writes records, none of which is refused.
fn write_whole<T>(name: &str, writer: &mut dyn Writer<T>, records: &[Record<T>]) {
    let mut refused = Refused::default();
    succeeds(name, writer.write(records, &mut refused));
    assert!(refused.is_empty(), "{name}: {refused:?}");
}

/// Checks that a sink passes over records that have no form in its format, among others that have,
/// and tells which: `records` says of each whether it is good. `held` tells what the sink holds.
///
/// # Panics
/// When it does not.
pub fn check_refusals<T: Clone + Debug + PartialEq + 'static>(
    sink: &dyn Sink<T>,
    records: &[(Record<T>, bool)],
    held: impl Fn() -> Vec<T>,
) {
    let name = sink.describe();
    let opened = sink.open();
    let mut writer = opened.unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut expected = Vec::new();
    for part in records.chunks(3) {
        let batch: Vec<_> = part.iter().map(|(record, _)| record.clone()).collect();
        let mut refused = Refused::default();
        succeeds(&name, writer.write(&batch, &mut refused));
        let refused = refused.take();
        assert!(
            refused.iter().all(|(_, reason)| !reason.is_empty()),
            "{name}: refused without a reason"
        );
        let places: Vec<_> = refused.into_iter().map(|(place, _)| place).collect();
        let bad = (0..part.len()).filter(|place| !part[*place].1);
        assert_eq!(places, bad.collect::<Vec<_>>(), "{name}: what is refused");
        let good = part.iter().filter(|(_, is_good)| *is_good);
        expected.extend(good.map(|(record, _)| record.value.clone()));
    }
    succeeds(&name, writer.close());
    drop(writer);
    assert_eq!(
        held(),
        expected,
        "{name}: what is held beside what is refused"
    );
}

fn succeeds(name: &str, outcome: Result<(), SinkError>) {
    outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Origin;
    use crate::testing::{Collect, Events};
    use crate::time::EventTime;

    #[test]
    fn events_in_memory_conform() {
        let source = Events::partitions([vec![5, 6, 7, 8], vec![], vec![9]]);
        let held = |partition, values: &[i32]| {
            let records = (0..).zip(values.iter().copied().map(Ok));
            Held::partition(partition, records)
        };
        let all = [held(0, &[5, 6, 7, 8]), held(1, &[]), held(2, &[9])];
        check_source(&source, &all, Ending::Ends);
    }

    #[test]
    #[should_panic(expected = "from 1 on by 3")]
    fn a_source_that_resumes_one_too_far_is_found() {
        struct OffByOne(Events<i32>);
        impl Source<i32> for OffByOne {
            fn describe(&self) -> String {
                "off by one".to_owned()
            }
            fn check(&self) -> Result<(), SourceError> {
                Ok(())
            }
            fn partitions(&self) -> Result<Vec<u32>, SourceError> {
                self.0.partitions()
            }
            fn open(
                &self,
                partition: u32,
                offset: u64,
            ) -> Result<Box<dyn Reader<i32>>, SourceError> {
                self.0.open(partition, offset + u64::from(offset > 0))
            }
        }
        let held = Held::partition(0, [(0, Ok(1)), (1, Ok(2))]);
        check_source(&OffByOne(Events::new([1, 2])), &[held], Ending::Ends);
    }

    #[test]
    fn a_collection_conforms() {
        let records: Vec<_> = (0..20)
            .map(|value| Record {
                time: EventTime::from_seconds(value),
                origin: Origin::default(),
                ingested_ns: 0,
                value,
            })
            .collect();
        let sink = Collect::default();
        check_sink(&sink, &records, || sink.values(), Reopening::GoesOn);
    }
}
