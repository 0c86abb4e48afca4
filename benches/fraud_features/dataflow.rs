//! The job through the whole dataflow: readers, exchange by card, features, sink.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use thalweg::prelude::*;
use thalweg_engine::job::{JobOptions, StopHandle};
use thalweg_engine::sink::{SinkError, Writer, Writers};
use thalweg_engine::source::{ReadBatch, ReadStatus, Reader, Source, SourceError};
use thalweg_engine::telemetry::{Latency, Telemetry};

use super::operator;
use super::payments::Payment;

/// Payments in memory, in partitions by card.
#[derive(Clone)]
pub(crate) struct Replay {
    partitions: Arc<[Vec<Payment>]>,
    /// Payments a second of each partition; flat out where there is none.
    rate: Option<f64>,
}

impl Replay {
    pub(crate) fn new(payments: &[Payment], partitions: usize) -> Self {
        let mut parts = vec![Vec::new(); partitions];
        for payment in payments {
            parts[(payment.card % partitions as u64) as usize].push(*payment);
        }
        Self {
            partitions: parts.into(),
            rate: None,
        }
    }

    /// The same payments at a steady rate.
    pub(crate) fn at(self, payments_per_second: f64) -> Self {
        let rate = Some(payments_per_second / self.partitions.len() as f64);
        Self { rate, ..self }
    }
}

impl Source<Payment> for Replay {
    fn describe(&self) -> String {
        "payments in memory".to_owned()
    }

    fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        Ok((0..self.partitions.len() as u32).collect())
    }

    fn open(&self, partition: u32, _: u64) -> Result<Box<dyn Reader<Payment>>, SourceError> {
        let (source, begun) = (self.clone(), Instant::now());
        let partition = partition as usize;
        Ok(Box::new(ReplayReader {
            source,
            partition,
            begun,
            next: 0,
        }))
    }
}

struct ReplayReader {
    source: Replay,
    partition: usize,
    begun: Instant,
    next: usize,
}

impl Reader<Payment> for ReplayReader {
    fn read(
        &mut self,
        batch: &mut ReadBatch<Payment>,
        limit: usize,
    ) -> Result<ReadStatus, SourceError> {
        let payments = &self.source.partitions[self.partition];
        let mut end = payments.len().min(self.next + limit);
        if let Some(rate) = self.source.rate {
            let due = Duration::from_secs_f64(self.next as f64 / rate);
            std::thread::sleep(due.saturating_sub(self.begun.elapsed()));
            let so_far = (self.begun.elapsed().as_secs_f64() * rate) as usize + 1;
            end = end.min(so_far.max(self.next));
        }
        for (payment, offset) in payments[self.next..end].iter().zip(self.next as u64..) {
            batch.push((offset, Ok(*payment)));
        }
        self.next = end;
        Ok(if end == payments.len() {
            ReadStatus::End
        } else {
            ReadStatus::More
        })
    }
}

/// Counts what comes and lets it go.
#[derive(Clone, Default)]
pub(crate) struct Counting(Arc<AtomicU64>);

impl<T: 'static> Sink<T> for Counting {
    fn describe(&self) -> String {
        "a count".to_owned()
    }

    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn writers(&self) -> Writers {
        Writers::EachWorker
    }

    fn open(&self) -> Result<Box<dyn Writer<T>>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl<T> Writer<T> for Counting {
    fn write(&mut self, records: &[Record<T>]) -> Result<(), SinkError> {
        self.0.fetch_add(records.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Runs the job and returns payments a second and the latency from reader to sink.
pub(crate) fn run(source: &Replay, workers: usize) -> (f64, Latency) {
    let telemetry = Arc::new(Telemetry::default());
    let count = Counting::default();
    let (source, sink) = (source.clone(), count.clone());
    let expected: usize = source.partitions.iter().map(Vec::len).sum();
    let build = move |flow: &mut Flow<'_>| {
        flow.source("payments", source.clone())
            .event_time(|p: &Payment| EventTime::from_micros(p.ts * 1_000), secs(0))
            .key_by(|p| p.card)
            .features("card", operator::declare)
            .into_stream()
            .sink("rows", sink.clone());
        Ok(())
    };
    let options = JobOptions {
        workers,
        ..JobOptions::default()
    };
    let begun = Instant::now();
    thalweg_engine::run(
        options,
        Arc::clone(&telemetry),
        StopHandle::default(),
        build,
    )
    .unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(count.0.load(Ordering::Relaxed), expected as u64);
    assert_eq!(telemetry.ledger().fates().processed, expected as u64);
    (expected as f64 / seconds, telemetry.sink_latency())
}
