//! A source of items in memory, flat out or at a steady rate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use thalweg_engine::source::{ReadBatch, ReadStatus, Reader, Source, SourceError, Undecodable};

use super::payments::Payment;

/// When items are due.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    begun: Instant,
    /// Items a second of each partition.
    rate: f64,
}

impl Pace {
    /// When the item at this offset of its partition is due, after the beginning.
    pub(crate) fn due(self, offset: u64) -> Duration {
        Duration::from_secs_f64(offset as f64 / self.rate)
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.begun.elapsed()
    }
}

/// Items in memory, in partitions.
pub(crate) struct Replay<I> {
    partitions: Arc<[Vec<I>]>,
    /// Flat out where there is none.
    pace: Option<Pace>,
}

impl<I> Clone for Replay<I> {
    fn clone(&self) -> Self {
        Self {
            partitions: Arc::clone(&self.partitions),
            pace: self.pace,
        }
    }
}

impl<I> Replay<I> {
    /// What is made of each payment, in partitions by card.
    pub(crate) fn new(
        payments: &[Payment],
        partitions: usize,
        item: impl Fn(&Payment) -> I,
    ) -> Self {
        let mut parts: Vec<Vec<I>> = (0..partitions).map(|_| Vec::new()).collect();
        for payment in payments {
            parts[(payment.card % partitions as u64) as usize].push(item(payment));
        }
        Self {
            partitions: parts.into(),
            pace: None,
        }
    }

    /// The same items at a steady rate from now on, whether or not anybody takes them.
    pub(crate) fn at(&self, items_per_second: f64) -> (Self, Pace) {
        let pace = Pace {
            begun: Instant::now(),
            rate: items_per_second / self.partitions.len() as f64,
        };
        let paced = Self {
            pace: Some(pace),
            ..self.clone()
        };
        (paced, pace)
    }

    pub(crate) fn len(&self) -> usize {
        self.partitions.iter().map(Vec::len).sum()
    }

    /// A source of what `decode` makes of the items.
    pub(crate) fn with<T>(self, decode: fn(&I) -> Result<T, Undecodable>) -> impl Source<T>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        Decoded {
            replay: self,
            decode,
        }
    }
}

struct Decoded<I, T> {
    replay: Replay<I>,
    decode: fn(&I) -> Result<T, Undecodable>,
}

impl<I: Send + Sync + 'static, T: Send + 'static> Source<T> for Decoded<I, T> {
    fn describe(&self) -> String {
        "payments in memory".to_owned()
    }

    fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        Ok((0..self.replay.partitions.len() as u32).collect())
    }

    fn open(&self, partition: u32, _: u64) -> Result<Box<dyn Reader<T>>, SourceError> {
        Ok(Box::new(ReplayReader {
            replay: self.replay.clone(),
            decode: self.decode,
            partition: partition as usize,
            next: 0,
        }))
    }
}

struct ReplayReader<I, T> {
    replay: Replay<I>,
    decode: fn(&I) -> Result<T, Undecodable>,
    partition: usize,
    next: usize,
}

impl<I: Send + Sync, T: Send> Reader<T> for ReplayReader<I, T> {
    fn read(&mut self, batch: &mut ReadBatch<T>, limit: usize) -> Result<ReadStatus, SourceError> {
        let items = &self.replay.partitions[self.partition];
        let mut end = items.len().min(self.next + limit);
        if let Some(pace) = self.replay.pace {
            let due = pace.due(self.next as u64);
            std::thread::sleep(due.saturating_sub(pace.elapsed()));
            let so_far = (pace.elapsed().as_secs_f64() * pace.rate) as usize + 1;
            end = end.min(so_far.max(self.next));
        }
        for (item, offset) in items[self.next..end].iter().zip(self.next as u64..) {
            batch.push((offset, (self.decode)(item)));
        }
        self.next = end;
        Ok(if end == items.len() {
            ReadStatus::End
        } else {
            ReadStatus::More
        })
    }

    fn is_always_ready(&self) -> bool {
        self.replay.pace.is_none()
    }
}
