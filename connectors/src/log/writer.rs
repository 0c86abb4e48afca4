//! Writes records to the partitions of a topic.

use thalweg_engine::record::Record;
use thalweg_engine::sink::{Refused, SinkError, Writer};

use super::error::LogError;
use super::partition::PartitionLog;
use super::partitioner::partition_of_key;
use super::sink::{HeadersOf, KeyOf};
use super::topic::Lock;
use crate::codec::Encode;

/// The one writer of a topic. Dropped, it writes out what it has before it gives the lock back.
pub(crate) struct LogWriter<T> {
    what: String,
    partitions: Vec<PartitionLog>,
    encoder: Box<dyn Encode<T>>,
    envelope: Envelope<T>,
    _lock: Lock,
}

/// Finds a record's key, headers and partition.
pub(crate) struct Envelope<T> {
    key_of: Option<KeyOf<T>>,
    headers_of: Option<HeadersOf<T>>,
    key: Vec<u8>,
    /// Where the next record without a key goes.
    turn: usize,
}

/// What goes with a record's payload.
pub(crate) struct Enveloped<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl<T> Envelope<T> {
    pub(crate) fn new(key_of: Option<KeyOf<T>>, headers_of: Option<HeadersOf<T>>) -> Self {
        Self {
            key_of,
            headers_of,
            key: Vec::new(),
            turn: 0,
        }
    }

    /// The record's partition, of so many, and what goes with it.
    pub(crate) fn of(&mut self, record: &Record<T>, partitions: usize) -> (usize, Enveloped<'_>) {
        self.key.clear();
        if let Some(key_of) = &self.key_of {
            key_of(&record.value, &mut self.key);
        }
        let key = self.key_of.as_ref().map(|_| self.key.as_slice());
        let headers = match &self.headers_of {
            Some(headers_of) => headers_of(record),
            None => Vec::new(),
        };
        let partition = match key {
            Some(key) => {
                partition_of_key(key, u32::try_from(partitions).unwrap_or(u32::MAX)) as usize
            }
            None => {
                self.turn = (self.turn + 1) % partitions;
                self.turn
            }
        };
        (partition, Enveloped { key, headers })
    }
}

impl<T> LogWriter<T> {
    pub(crate) fn new(
        what: String,
        partitions: Vec<PartitionLog>,
        lock: Lock,
        encoder: Box<dyn Encode<T>>,
        envelope: Envelope<T>,
    ) -> Self {
        Self {
            what,
            partitions,
            encoder,
            envelope,
            _lock: lock,
        }
    }

    fn append(&mut self, record: &Record<T>) -> Result<(), LogError> {
        let (partition, beside) = self.envelope.of(record, self.partitions.len());
        let encoder = &mut self.encoder;
        let partition = &mut self.partitions[partition];
        partition.append(record.time, beside.key, &beside.headers, |out| {
            encoder.encode(&record.value, out)
        })
    }
}

impl<T> Writer<T> for LogWriter<T> {
    fn write(&mut self, records: &[Record<T>], refused: &mut Refused) -> Result<(), SinkError> {
        for (index, record) in records.iter().enumerate() {
            match self.append(record) {
                Ok(()) => {}
                Err(LogError::Record(reason)) => refused.add(index, reason),
                Err(error) => return Err(error.writing(&self.what)),
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.partitions
            .iter_mut()
            .try_for_each(PartitionLog::flush)
            .map_err(|error| error.writing(&self.what))
    }
}
