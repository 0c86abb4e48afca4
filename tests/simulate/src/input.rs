//! A source: partitions that fill as time goes by, of which one comes later than the others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thalweg_engine::clock::Clock;
use thalweg_engine::simulation::{is_killed, pass};
use thalweg_engine::source::{Found, ReadBatch, ReadStatus, Reader, Source, SourceError};

use crate::random::{Random, mix};
use crate::row::Event;

/// How far behind the latest event one may be without being late, in seconds.
pub(crate) const DISORDER_S: i64 = 4;
const KEYS: u64 = 5;
/// What the last event of each partition is stamped with: it has the watermark pass all others.
const END_S: i64 = 1_000;

/// The topic that is read.
#[derive(Clone)]
pub(crate) struct Input {
    /// The source's number in the pipeline.
    number: u16,
    seed: u64,
    clock: Clock,
    /// How many events each partition gets in the end.
    events: u64,
    /// How often one comes to a partition.
    gap_ns: u64,
    /// When each partition came into being.
    births_ns: Arc<Mutex<Vec<u64>>>,
    /// How often it has been read from.
    reads: Arc<AtomicU64>,
}

impl Input {
    /// With partitions, events in each and gaps between them as they are drawn.
    pub(crate) fn draw(number: u16, random: &mut Random, clock: Clock) -> Self {
        let partitions = 1 + random.below(3) as usize;
        Self {
            number,
            seed: random.next(),
            clock,
            events: 8 + random.below(12),
            gap_ns: (40 + random.below(150)) * 1_000,
            births_ns: Arc::new(Mutex::new(vec![0; partitions])),
            reads: Arc::default(),
        }
    }

    /// Adds a partition; it fills from now on.
    pub(crate) fn add_partition(&self) {
        let now_ns = self.clock.now_ns();
        self.with_births(|births| births.push(now_ns));
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.with_births(|births| births.len() as u32)
    }

    fn with_births<R>(&self, look: impl FnOnce(&mut Vec<u64>) -> R) -> R {
        look(
            &mut self
                .births_ns
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// How many events a partition has by now.
    fn available(&self, partition: u32) -> u64 {
        let born_ns = self.with_births(|births| births[partition as usize]);
        let age_ns = self.clock.now_ns().saturating_sub(born_ns);
        (age_ns / self.gap_ns).min(self.events)
    }

    fn event(&self, partition: u32, offset: u64) -> Event {
        let id = id_of(self.number, partition, offset);
        let mixed = mix(self.seed ^ mix(id));
        let second = match offset + 1 == self.events {
            true => END_S,
            false => (offset + 20) as i64 - (mixed >> 32) as i64 % 10,
        };
        Event {
            id,
            key: mixed % KEYS,
            second,
        }
    }

    /// All events of a partition but the last one, in order, each with whether it is late: worked out
    /// from the events alone.
    pub(crate) fn judged(&self, partition: u32) -> impl Iterator<Item = (Event, bool)> + '_ {
        let mut latest = i64::MIN;
        (0..self.events - 1).map(move |offset| {
            let event = self.event(partition, offset);
            let is_late = event.second < latest.saturating_sub(DISORDER_S);
            latest = latest.max(event.second);
            (event, is_late)
        })
    }
}

/// The id of what stands at this place; ids go up as places do.
pub(crate) fn id_of(source: u16, partition: u32, offset: u64) -> u64 {
    u64::from(source) * 1_000_000 + u64::from(partition) * 10_000 + offset
}

/// Whether an event is there for its time alone.
pub(crate) fn is_end(event: &Event) -> bool {
    event.second == END_S
}

impl Source<Event> for Input {
    fn describe(&self) -> String {
        format!("simulated events {}", self.number)
    }

    fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        Ok((0..self.partitions()).collect())
    }

    fn partition_name(&self, partition: u32) -> String {
        format!("events-{}-{partition}", self.number)
    }

    /// What is there at the very start begins at its end, where nothing is yet.
    fn start_offset(&self, partition: u32, found: Found) -> Result<u64, SourceError> {
        let is_old = self.with_births(|births| births[partition as usize] == 0);
        Ok(match found {
            Found::AtStart if !is_old => self.available(partition),
            _ => 0,
        })
    }

    fn open(&self, partition: u32, offset: u64) -> Result<Box<dyn Reader<Event>>, SourceError> {
        Ok(Box::new(InputReader {
            input: self.clone(),
            partition,
            offset,
        }))
    }

    fn discover_every(&self) -> Option<Duration> {
        Some(Duration::from_millis(1))
    }
}

struct InputReader {
    input: Input,
    partition: u32,
    offset: u64,
}

impl Reader<Event> for InputReader {
    fn read(
        &mut self,
        batch: &mut ReadBatch<Event>,
        limit: usize,
    ) -> Result<ReadStatus, SourceError> {
        pass();
        if is_killed() {
            return Err(SourceError::Read {
                what: self.input.describe(),
                reason: "the process was killed".to_owned(),
            });
        }
        let reads = self.input.reads.fetch_add(1, Ordering::Relaxed);
        let some = 1 + mix(reads ^ self.input.seed) % limit as u64;
        let end = self.input.available(self.partition).min(self.offset + some);
        let offsets = self.offset..end;
        let is_silent = offsets.is_empty();
        batch.extend(offsets.map(|at| (at, Ok(self.input.event(self.partition, at)))));
        self.offset = end.max(self.offset);
        Ok(if is_silent {
            ReadStatus::Waiting
        } else {
            ReadStatus::More
        })
    }
}
