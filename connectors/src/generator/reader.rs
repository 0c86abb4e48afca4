//! Makes the events of one partition.

use std::sync::Arc;
use std::time::Duration;

use thalweg_engine::clock::Clock;
use thalweg_engine::guard::guard;
use thalweg_engine::source::{ReadBatch, ReadStatus, Reader, SourceError, Undecodable};

use super::moment::Moment;
use super::rng::Rng;
use super::source::Made;

/// The longest wait for an event that is not due yet.
const PAUSE_MAX: Duration = Duration::from_millis(5);

pub(crate) struct GeneratorReader<T> {
    made: Arc<Made<T>>,
    partition: u64,
    partitions: u64,
    offset: u64,
    pace: Option<Pace>,
}

/// The clock, what it said at the opening, and the time of the first event then.
struct Pace {
    clock: Clock,
    opened_ns: u64,
    first_seconds: f64,
}

impl<T> GeneratorReader<T> {
    pub(crate) fn new(
        made: Arc<Made<T>>,
        clock: Option<Clock>,
        (partition, partitions): (u32, u32),
        offset: u64,
    ) -> Self {
        let (partition, partitions) = (u64::from(partition), u64::from(partitions));
        let mut reader = Self {
            made,
            partition,
            partitions,
            offset,
            pace: None,
        };
        let first_seconds = reader
            .made
            .schedule
            .seconds(offset.saturating_mul(partitions));
        reader.pace = clock.map(|clock| Pace {
            opened_ns: clock.now_ns(),
            clock,
            first_seconds,
        });
        reader
    }

    /// The number of the next event among those of all partitions.
    fn number(&self) -> u64 {
        let before = self.offset.saturating_mul(self.partitions);
        before.saturating_add(self.partition)
    }

    /// How long it is until the next event is due.
    fn due_in(&self) -> Duration {
        let Some(pace) = &self.pace else {
            return Duration::ZERO;
        };
        let due = self.made.schedule.seconds(self.number()) - pace.first_seconds;
        let gone = pace.clock.now_ns().saturating_sub(pace.opened_ns) as f64 / 1e9;
        Duration::try_from_secs_f64(due - gone).unwrap_or(Duration::ZERO)
    }

    fn make(&self) -> Result<T, Undecodable> {
        let number = self.number();
        let seconds = self.made.schedule.seconds(number);
        let since = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        let mut moment = Moment {
            number,
            time: self.made.starts_at.saturating_add(since),
            seconds,
            schedule: &self.made.schedule,
            rng: Rng::of(self.made.seed, number),
        };
        guard(|| (self.made.make)(&mut moment)).map_err(|reason| Undecodable {
            reason,
            raw: number.to_string().into_bytes(),
        })
    }
}

impl<T> Reader<T> for GeneratorReader<T>
where
    T: Send,
{
    fn read(&mut self, batch: &mut ReadBatch<T>, limit: usize) -> Result<ReadStatus, SourceError> {
        for made in 0..limit {
            if self.made.count.is_some_and(|count| self.number() >= count) {
                return Ok(ReadStatus::End);
            }
            let due_in = self.due_in();
            if !due_in.is_zero() {
                if made > 0 {
                    return Ok(ReadStatus::More);
                }
                std::thread::sleep(due_in.min(PAUSE_MAX));
                return Ok(ReadStatus::Waiting);
            }
            batch.push((self.offset, self.make()));
            self.offset += 1;
        }
        Ok(ReadStatus::More)
    }

    fn is_always_ready(&self) -> bool {
        self.pace.is_none()
    }
}

#[cfg(test)]
mod tests {
    use thalweg_engine::source::Source;
    use thalweg_engine::time::{EventTime, secs};

    use super::*;
    use crate::generator::GeneratorSource;

    fn all(source: &GeneratorSource<(u64, EventTime, u64)>) -> Vec<(u64, EventTime, u64)> {
        let mut all = Vec::new();
        for partition in source.partitions().unwrap() {
            let mut batch = ReadBatch::new();
            let mut reader = source.open(partition, 0).unwrap();
            while reader.read(&mut batch, 7).unwrap() != ReadStatus::End {}
            all.extend(batch.into_iter().map(|(_, event)| event.unwrap()));
        }
        all.sort_unstable();
        all
    }

    fn source(seed: u64) -> GeneratorSource<(u64, EventTime, u64)> {
        GeneratorSource::new(seed, |m| (m.number(), m.time(), m.rng.next_u64())).count(100)
    }

    #[test]
    fn the_events_are_the_same_for_any_partitions_and_others_for_another_seed() {
        let one = all(&source(1));
        assert_eq!(one.len(), 100);
        assert_eq!(all(&source(1).partitions(3)), one);
        let other = all(&source(2));
        assert!(one.iter().zip(&other).all(|(a, b)| a.2 != b.2));
    }

    #[test]
    fn in_real_time_an_event_comes_when_it_is_due() {
        let clock = Clock::manual(EventTime::default());
        let source = source(1).rate(2.0).in_real_time(clock.clone());
        let mut reader = source.open(0, 10).unwrap();
        let mut next = || {
            let mut batch = ReadBatch::new();
            let status = reader.read(&mut batch, 9).unwrap();
            (batch.len(), status)
        };
        assert_eq!(next(), (1, ReadStatus::More));
        assert_eq!(next(), (0, ReadStatus::Waiting));
        clock.advance(secs(1));
        assert_eq!(next(), (2, ReadStatus::More));
        assert_eq!(next(), (0, ReadStatus::Waiting));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (source, part) in [
            (source(1).rate(0.0), "no rate"),
            (source(1).partitions(0), "no partition"),
            (source(1).bursts(secs(1), secs(2), 2.0), "a burst lasts"),
            (source(1).bursts(secs(2), secs(1), -1.0), "-1 times"),
        ] {
            let error = source.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
