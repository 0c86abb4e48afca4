//! For tests: sources and sinks in memory, a one-line harness for flows, one for a single step,
//! and a check of the form in which state is written.
//!
//! ```
//! use thalweg_engine::job::{JobOptions, Order};
//! use thalweg_engine::testing::{Events, run_flow};
//! use thalweg_engine::time::{EventTime, secs};
//!
//! let options = JobOptions { order: Order::EventTime, ..JobOptions::default() };
//! let doubled = run_flow(options, |flow| {
//!     flow.source("numbers", Events::new([3_i64, 1, 2]))
//!         .event_time(|n| EventTime::from_seconds(*n), secs(5))
//!         .map("double", |n| n * 2)
//! })?;
//! assert_eq!(doubled, [2, 4, 6]);
//! # Ok::<(), thalweg_engine::RunError>(())
//! ```

pub mod conformance;
mod format;
mod simulated_store;
mod step;

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::flow::{Flow, Stream};
use crate::job::{JobOptions, StopHandle};
use crate::ledger::Fates;
use crate::record::{Data, Record};
use crate::runtime::{RunError, run};
use crate::sink::{Refused, Sink, SinkError, Writer};
use crate::source::{ReadBatch, ReadStatus, Reader, Source, SourceError, Undecodable};
use crate::telemetry::Telemetry;
use crate::time::millis;

pub use format::check_format;
pub use simulated_store::{SimulatedStore, StoreFaults, StoreStop};
pub use step::{StepOutput, StepRun};

type Item<T> = Result<T, Undecodable>;

/// A source of given events, partition by partition; it ends after the last.
#[derive(Clone)]
pub struct Events<T>(Vec<Vec<Item<T>>>);

impl<T> Events<T> {
    /// One partition with these events, in their order.
    pub fn new(events: impl IntoIterator<Item = T>) -> Self {
        Self::partitions([events])
    }

    /// Several partitions.
    pub fn partitions<I: IntoIterator<Item = T>>(partitions: impl IntoIterator<Item = I>) -> Self {
        let good = |events: I| events.into_iter().map(Ok).collect();
        Self(partitions.into_iter().map(good).collect())
    }

    /// One partition in which some records cannot be decoded.
    pub fn with_bad(items: impl IntoIterator<Item = Result<T, Undecodable>>) -> Self {
        Self(vec![items.into_iter().collect()])
    }
}

impl<T: Clone + Send + Sync + 'static> Source<T> for Events<T> {
    fn describe(&self) -> String {
        "events in memory".to_owned()
    }

    fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        Ok((0..).take(self.0.len()).collect())
    }

    fn open(&self, partition: u32, offset: u64) -> Result<Box<dyn Reader<T>>, SourceError> {
        let Some(items) = self.0.get(partition as usize).cloned() else {
            return Err(SourceError::Open {
                what: format!("partition {partition} of the events in memory"),
                reason: format!("there are {} partitions", self.0.len()),
                remedy: "ask for one of them".to_owned(),
            });
        };
        let offset = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(items.len());
        Ok(Box::new(EventsReader { items, offset }))
    }
}

struct EventsReader<T> {
    items: Vec<Item<T>>,
    offset: usize,
}

impl<T: Clone + Send> Reader<T> for EventsReader<T> {
    fn read(&mut self, batch: &mut ReadBatch<T>, limit: usize) -> Result<ReadStatus, SourceError> {
        let end = self.items.len().min(self.offset + limit);
        for offset in self.offset..end {
            batch.push((offset as u64, self.items[offset].clone()));
        }
        self.offset = end;
        let more = end < self.items.len();
        Ok(if more {
            ReadStatus::More
        } else {
            ReadStatus::End
        })
    }

    fn is_always_ready(&self) -> bool {
        true
    }
}

/// A source that a test feeds while the flow runs; it ends when all feeders are gone.
#[derive(Clone)]
pub struct Live<T>(Receiver<T>);

impl<T> Live<T> {
    /// The source and its feeder.
    pub fn new() -> (Sender<T>, Self) {
        let (sender, receiver) = unbounded();
        (sender, Self(receiver))
    }
}

impl<T: Send + 'static> Source<T> for Live<T> {
    fn describe(&self) -> String {
        "live events in memory".to_owned()
    }

    fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        Ok(vec![0])
    }

    fn open(&self, _partition: u32, offset: u64) -> Result<Box<dyn Reader<T>>, SourceError> {
        Ok(Box::new(LiveReader {
            events: self.0.clone(),
            offset,
        }))
    }
}

struct LiveReader<T> {
    events: Receiver<T>,
    offset: u64,
}

impl<T: Send> Reader<T> for LiveReader<T> {
    fn read(&mut self, batch: &mut ReadBatch<T>, limit: usize) -> Result<ReadStatus, SourceError> {
        let first = match self.events.recv_timeout(millis(5)) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => return Ok(ReadStatus::Waiting),
            Err(RecvTimeoutError::Disconnected) => return Ok(ReadStatus::End),
        };
        let rest = self.events.try_iter().take(limit.saturating_sub(1));
        for event in std::iter::once(first).chain(rest) {
            batch.push((self.offset, Ok(event)));
            self.offset += 1;
        }
        Ok(ReadStatus::More)
    }
}

/// A sink that keeps what it gets.
pub struct Collect<T>(Arc<Mutex<Vec<Record<T>>>>);

impl<T> Clone for Collect<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Collect<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Collect<T> {
    /// The records so far.
    pub fn records(&self) -> Vec<Record<T>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The values so far.
    pub fn values(&self) -> Vec<T> {
        self.records()
            .into_iter()
            .map(|record| record.value)
            .collect()
    }
}

impl<T: Clone + Send + 'static> Sink<T> for Collect<T> {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&self) -> Result<Box<dyn Writer<T>>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl<T: Clone + Send> Writer<T> for Collect<T> {
    fn write(&mut self, records: &[Record<T>], _: &mut Refused) -> Result<(), SinkError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(records);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Runs a flow to its end and returns the values of the stream that `build` gives back.
///
/// # Errors
/// When the flow cannot be built or breaks while running.
///
/// # Panics
/// When a record is lost: every record read must be processed, late, dead, filtered or held.
pub fn run_flow<T: Data + Sync>(
    options: JobOptions,
    build: impl for<'s> Fn(&mut Flow<'s>) -> Stream<'s, T> + Send + Sync + 'static,
) -> Result<Vec<T>, RunError> {
    run_flow_with_fates(options, build).map(|(values, _)| values)
}

/// As [`run_flow`], with what became of the records.
///
/// # Errors
/// When the flow cannot be built or breaks while running.
///
/// # Panics
/// When a record is lost.
pub fn run_flow_with_fates<T: Data + Sync>(
    options: JobOptions,
    build: impl for<'s> Fn(&mut Flow<'s>) -> Stream<'s, T> + Send + Sync + 'static,
) -> Result<(Vec<T>, Fates), RunError> {
    let collected = Collect::default();
    let sink = collected.clone();
    let fates = run_to_end(options, move |flow| {
        build(flow).sink("collect", sink.clone());
    })?;
    Ok((collected.values(), fates))
}

/// Runs a flow that has its own sinks to its end, and tells what became of the records.
///
/// # Errors
/// When the flow cannot be built or breaks while running.
///
/// # Panics
/// When a record is lost.
pub fn run_to_end(
    options: JobOptions,
    build: impl Fn(&mut Flow<'_>) + Send + Sync + 'static,
) -> Result<Fates, RunError> {
    let telemetry = Arc::new(Telemetry::default());
    let (told, stop) = (Arc::clone(&telemetry), StopHandle::default());
    run(options, told, stop, move |flow| {
        build(flow);
        Ok(())
    })?;
    let fates = telemetry.ledger().fates();
    assert!(fates.balance(), "records were lost: {fates:?}");
    Ok(fates)
}
