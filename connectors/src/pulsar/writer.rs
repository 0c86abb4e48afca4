//! Writes records to a topic.

use std::time::Duration;

use thalweg_engine::clock::Clock;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{Refused, SinkError, Writer};

use super::batch::{Outgoing, written_key};
use super::producer::Producer;
use super::protocol::KeyValue;
use super::sink::{Properties, PulsarSink};
use crate::broker::{Encoded, ID_HEADER};

/// How long to wait for an acknowledgement before looking again.
const PATIENCE: Duration = Duration::from_millis(20);
/// Messages of a partition, and their bytes, that may be on their way.
pub(super) const IN_FLIGHT_MAX: usize = 500;
pub(super) const IN_FLIGHT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The writer of a topic.
pub(super) struct PulsarWriter<T> {
    pub(super) sink: PulsarSink<T>,
    /// One for each partition.
    pub(super) producers: Vec<Producer>,
    clock: Clock,
    /// When partitions were last looked for.
    looked_ns: u64,
    /// The partition of the next record without a key.
    turn: usize,
    encoded: Encoded,
    properties: Properties,
}

impl<T: 'static> PulsarWriter<T> {
    pub(super) fn new(sink: PulsarSink<T>, producers: Vec<Producer>) -> Self {
        let clock = Clock::system();
        Self {
            sink,
            producers,
            looked_ns: clock.now_ns(),
            clock,
            turn: 0,
            encoded: Encoded::default(),
            properties: Properties::default(),
        }
    }

    /// Hands the record, encoded, to the producer of its partition, which may say why the broker would
    /// not take it.
    fn take_in(&mut self, record: &Record<T>) -> Result<Result<(), String>, String> {
        let properties = self.properties(record);
        let count = self.producers.len();
        let partition = match self.encoded.key() {
            Some(key) => partition_of(&written_key(key).0, count),
            None => self.turn % count,
        };
        let millis = record.time.as_micros().div_euclid(1000);
        let outgoing = Outgoing {
            key: self.encoded.key(),
            properties,
            event_time_ms: u64::try_from(millis).ok().filter(|millis| *millis > 0),
            value: &self.encoded.value,
        };
        let producer = &mut self.producers[partition];
        let taken = producer.add(outgoing, self.sink.batch_records, self.sink.batch_bytes)?;
        while producer.in_flight().0 >= IN_FLIGHT_MAX
            || producer.in_flight().1 >= IN_FLIGHT_BYTES_MAX
        {
            producer.look(PATIENCE, &self.sink.reports)?;
        }
        Ok(taken)
    }

    /// From time to time, begins to write to partitions that have come since.
    fn look_for_partitions(&mut self) {
        let now_ns = self.clock.now_ns();
        let since = Duration::from_nanos(now_ns.saturating_sub(self.looked_ns));
        if since < self.sink.discover_every {
            return;
        }
        self.looked_ns = now_ns;
        match self.sink.producers(self.producers.len()) {
            Ok(mut new) => self.producers.append(&mut new),
            Err(problem) => {
                let (topic, reason) = (self.sink.what(), problem.reason);
                tracing::warn!(topic, "cannot look for new partitions: {reason}");
            }
        }
    }

    /// The record's id, then what the user adds.
    fn properties(&mut self, record: &Record<T>) -> Vec<KeyValue> {
        let mut all = vec![KeyValue {
            key: ID_HEADER.to_owned(),
            value: self.encoded.id.clone(),
        }];
        if let Some(make) = &self.sink.properties {
            make(record, &mut self.properties);
            all.append(&mut self.properties.0);
        }
        all
    }

    fn write_all(&mut self, records: &[Record<T>], refused: &mut Refused) -> Result<(), String> {
        self.look_for_partitions();
        for (index, record) in records.iter().enumerate() {
            let taken = match self.encoded.take(&self.sink.form, record) {
                Ok(()) => self.take_in(record)?,
                unwritten => unwritten,
            };
            if let Err(reason) = taken {
                refused.add(index, reason);
            }
        }
        // Those without a key go to one partition for a while, so that batches are large.
        self.turn += 1;
        for producer in &mut self.producers {
            producer.ship()?;
            producer.look(Duration::ZERO, &self.sink.reports)?;
        }
        Ok(())
    }

    fn wait_for_all(&mut self) -> Result<(), String> {
        for producer in &mut self.producers {
            producer.ship()?;
            while producer.in_flight().0 > 0 {
                producer.look(PATIENCE, &self.sink.reports)?;
            }
        }
        Ok(())
    }

    fn broken(&self, reason: String) -> SinkError {
        SinkError::Write {
            what: self.sink.what(),
            reason,
        }
    }
}

/// The partition of a key, as Pulsar's Java client chooses it: by the hash of Java's strings.
pub(super) fn partition_of(key: &str, count: usize) -> usize {
    let units = key.encode_utf16();
    let hash = units.fold(0_u32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(u32::from(unit))
    });
    (hash & 0x7fff_ffff) as usize % count
}

impl<T: 'static> Writer<T> for PulsarWriter<T> {
    fn write(&mut self, records: &[Record<T>], refused: &mut Refused) -> Result<(), SinkError> {
        let written = self.write_all(records, refused);
        written.map_err(|reason| self.broken(reason))
    }

    /// Waits until the broker has everything. Where it does not come back within a minute, that is an
    /// error.
    fn flush(&mut self) -> Result<(), SinkError> {
        let flushed = self.wait_for_all();
        flushed.map_err(|reason| self.broken(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_java_sends_them() {
        // "hello".hashCode() is 99162322, "The quick brown fox".hashCode() is -1739336029.
        assert_eq!(partition_of("hello", 1_000_000), 162_322);
        let negative = (-1_739_336_029_i32).cast_unsigned() & 0x7fff_ffff;
        assert_eq!(
            partition_of("The quick brown fox", 1_000),
            negative as usize % 1_000
        );
        assert_eq!(partition_of("", 3), 0);
    }
}
