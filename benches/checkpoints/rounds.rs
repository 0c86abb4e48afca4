//! The same payments over and over, each round later than the one before it by what one spans.

use std::sync::Arc;
use std::time::{Duration, Instant};

use thalweg_engine::source::{ReadBatch, ReadStatus, Reader, Source, SourceError};

use super::payments::{Payment, SPAN_MS};

/// Rounds of payments in memory, in partitions by card.
#[derive(Clone)]
pub(crate) struct Rounds {
    partitions: Arc<[Vec<Payment>]>,
    rounds: usize,
    /// Payments a second of each partition; flat out where there is none.
    rate: Option<f64>,
}

impl Rounds {
    pub(crate) fn new(payments: &[Payment], partitions: usize, rounds: usize) -> Self {
        let mut parts = vec![Vec::new(); partitions];
        for payment in payments {
            parts[(payment.card % partitions as u64) as usize].push(*payment);
        }
        Self {
            partitions: parts.into(),
            rounds,
            rate: None,
        }
    }

    /// The same at a steady rate, for so many seconds at least.
    pub(crate) fn at(self, payments_per_second: f64, seconds: f64) -> Self {
        let round = self.len() / self.rounds;
        Self {
            rounds: (payments_per_second * seconds / round as f64).ceil() as usize,
            rate: Some(payments_per_second / self.partitions.len() as f64),
            ..self
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.partitions.iter().map(Vec::len).sum::<usize>() * self.rounds
    }

    /// The payment at an offset of a partition.
    pub(crate) fn payment(&self, partition: u32, offset: u64) -> Payment {
        let round = &self.partitions[partition as usize];
        let (number, place) = (offset / round.len() as u64, offset % round.len() as u64);
        let payment = round[place as usize];
        Payment {
            ts: payment.ts + SPAN_MS * number.cast_signed(),
            ..payment
        }
    }
}

impl Source<Payment> for Rounds {
    fn describe(&self) -> String {
        "payments in memory".to_owned()
    }

    fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        Ok((0..self.partitions.len() as u32).collect())
    }

    fn open(&self, partition: u32, offset: u64) -> Result<Box<dyn Reader<Payment>>, SourceError> {
        Ok(Box::new(RoundsReader {
            rounds: self.clone(),
            partition,
            begun: Instant::now(),
            first: offset,
            next: offset,
        }))
    }
}

struct RoundsReader {
    rounds: Rounds,
    partition: u32,
    begun: Instant,
    first: u64,
    next: u64,
}

impl Reader<Payment> for RoundsReader {
    fn read(
        &mut self,
        batch: &mut ReadBatch<Payment>,
        limit: usize,
    ) -> Result<ReadStatus, SourceError> {
        let Rounds {
            partitions,
            rounds,
            rate,
        } = &self.rounds;
        let all = (partitions[self.partition as usize].len() * rounds) as u64;
        let mut end = all.min(self.next + limit as u64);
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64((self.next - self.first) as f64 / rate);
            std::thread::sleep(due.saturating_sub(self.begun.elapsed()));
            let so_far = self.first + (self.begun.elapsed().as_secs_f64() * rate) as u64 + 1;
            end = end.min(so_far.max(self.next));
        }
        for offset in self.next..end {
            batch.push((offset, Ok(self.rounds.payment(self.partition, offset))));
        }
        self.next = end;
        Ok(if end == all {
            ReadStatus::End
        } else {
            ReadStatus::More
        })
    }
}
