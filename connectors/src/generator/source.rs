//! The configuration of a generator as a source.

use std::sync::Arc;
use std::time::Duration;

use thalweg_engine::clock::Clock;
use thalweg_engine::source::{Reader, Source, SourceError};
use thalweg_engine::time::EventTime;

use super::moment::Moment;
use super::reader::GeneratorReader;
use super::schedule::{Bursts, Change, Schedule};

/// Makes an event.
pub(crate) type Make<T> = dyn Fn(&mut Moment<'_>) -> T + Send + Sync;

/// Makes events: 1,000 a second of event time from 2024 on, without an end, in one partition, as
/// fast as they are taken, unless set otherwise.
///
/// ```
/// use thalweg_connectors::generator::GeneratorSource;
/// use thalweg_engine::source::{ReadBatch, ReadStatus, Source};
/// use thalweg_engine::time::{hours, minutes, secs};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let amounts = GeneratorSource::new(7, |m| 10.0 + m.rng.normal() + m.level("inflation"))
///     .rate(100.0)
///     .bursts(minutes(10), secs(30), 20.0)
///     .change("inflation", hours(1), hours(2), 5.0)
///     .count(1_000_000);
/// amounts.check()?;
///
/// let read = |offset| -> Result<_, Box<dyn std::error::Error>> {
///     let mut batch = ReadBatch::new();
///     assert_eq!(amounts.open(0, offset)?.read(&mut batch, 2)?, ReadStatus::More);
///     Ok(batch)
/// };
/// assert_eq!(read(999)?[1], read(1_000)?[0]);
/// # Ok(())
/// # }
/// ```
pub struct GeneratorSource<T> {
    made: Arc<Made<T>>,
    pace: Option<Clock>,
    partitions: u32,
}

/// What all partitions share.
pub(crate) struct Made<T> {
    pub(crate) seed: u64,
    pub(crate) make: Arc<Make<T>>,
    pub(crate) schedule: Schedule,
    pub(crate) starts_at: EventTime,
    pub(crate) count: Option<u64>,
}

impl<T> Clone for Made<T> {
    fn clone(&self) -> Self {
        Self {
            make: Arc::clone(&self.make),
            schedule: self.schedule.clone(),
            ..*self
        }
    }
}

impl<T> GeneratorSource<T> {
    /// Events that a closure makes, with random numbers that depend on the seed and the event's
    /// number.
    pub fn new(seed: u64, make: impl Fn(&mut Moment<'_>) -> T + Send + Sync + 'static) -> Self {
        let made = Made {
            seed,
            make: Arc::new(make),
            schedule: Schedule {
                rate: 1_000.0,
                bursts: None,
                changes: Vec::new(),
            },
            starts_at: EventTime::from_seconds(1_704_067_200),
            count: None,
        };
        Self {
            made: Arc::new(made),
            pace: None,
            partitions: 1,
        }
    }

    /// Events per second, over all partitions.
    #[must_use]
    pub fn rate(mut self, per_second: f64) -> Self {
        self.made_mut().schedule.rate = per_second;
        self
    }

    /// `factor` times as many events for the first `length` of every `every`.
    #[must_use]
    pub fn bursts(mut self, every: Duration, length: Duration, factor: f64) -> Self {
        self.made_mut().schedule.bursts = Some(Bursts {
            every,
            length,
            factor,
        });
        self
    }

    /// From `after` the start on, takes the level `name`, which is 0 at first, to another one, in a
    /// straight line that takes `over`. What it means is up to the closure: see [`Moment::level`].
    /// Changes of one name are to be given in their order.
    #[must_use]
    pub fn change(mut self, name: &str, after: Duration, over: Duration, to: f64) -> Self {
        let name = name.to_owned();
        self.made_mut().schedule.changes.push(Change {
            name,
            after,
            over,
            to,
        });
        self
    }

    /// The time of the first event.
    #[must_use]
    pub fn starts_at(mut self, time: EventTime) -> Self {
        self.made_mut().starts_at = time;
        self
    }

    /// Ends after so many events, over all partitions.
    #[must_use]
    pub fn count(mut self, events: u64) -> Self {
        self.made_mut().count = Some(events);
        self
    }

    /// Deals the events out to so many partitions.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// Gives each event when it is due by this clock, the first at once: the rate is then one of the
    /// wall clock.
    #[must_use]
    pub fn in_real_time(mut self, clock: Clock) -> Self {
        self.pace = Some(clock);
        self
    }

    fn made_mut(&mut self) -> &mut Made<T> {
        Arc::make_mut(&mut self.made)
    }
}

impl<T: Send + 'static> Source<T> for GeneratorSource<T> {
    fn describe(&self) -> String {
        let Made { seed, schedule, .. } = &*self.made;
        format!(
            "generator of {} events a second with seed {seed}",
            schedule.rate
        )
    }

    fn check(&self) -> Result<(), SourceError> {
        let no_partition = || (self.partitions == 0).then(|| "it has no partition".to_owned());
        match self.made.schedule.problem().or_else(no_partition) {
            None => Ok(()),
            Some(reason) => Err(SourceError::Open {
                what: self.describe(),
                reason,
                remedy: "set it otherwise".to_owned(),
            }),
        }
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        Ok((0..self.partitions).collect())
    }

    fn open(&self, partition: u32, offset: u64) -> Result<Box<dyn Reader<T>>, SourceError> {
        self.check()?;
        if partition >= self.partitions {
            return Err(SourceError::Open {
                what: format!("partition {partition} of the {}", self.describe()),
                reason: format!("there are {} partitions", self.partitions),
                remedy: "set as many as before".to_owned(),
            });
        }
        Ok(Box::new(GeneratorReader::new(
            Arc::clone(&self.made),
            self.pace.clone(),
            (partition, self.partitions),
            offset,
        )))
    }
}
