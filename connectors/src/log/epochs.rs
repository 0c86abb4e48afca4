//! Publishes epochs in the partitions of a topic, each record exactly once.
//!
//! Records are encoded, and their partitions chosen, before the epoch is sealed. In each partition the
//! records of an epoch are followed by a note of it. A publishing that is done again, as the one before
//! did not come to its end, goes on behind what is there already.

use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{EpochWriter, Refused, SinkError};
use thalweg_engine::time::EventTime;

use super::error::LogError;
use super::frame::{self, Beside, HEAD_BYTES, Kind};
use super::partition::PartitionLog;
use super::progress::{Found, Progress, print};
use super::topic::Lock;
use super::writer::Envelope;
use crate::codec::Encode;

/// The seed of the checksums of records in an outbox.
const SEED: u32 = 0;

/// A partition, and how far the slot has published in it.
pub(crate) struct Slot {
    pub(crate) log: PartitionLog,
    pub(crate) found: Found,
}

/// The one writer of a topic, epoch by epoch.
pub(crate) struct LogEpochs<T> {
    what: String,
    name: String,
    slots: Vec<Slot>,
    encoder: Box<dyn Encode<T>>,
    envelope: Envelope<T>,
    _lock: Lock,
}

impl<T> LogEpochs<T> {
    /// Goes on from what was found in the partitions; one without a note gets its first.
    pub(crate) fn open(
        what: String,
        name: String,
        slots: Vec<Slot>,
        encoder: Box<dyn Encode<T>>,
        envelope: Envelope<T>,
        lock: Lock,
    ) -> Result<Self, LogError> {
        let mut writer = Self {
            what,
            name,
            slots,
            encoder,
            envelope,
            _lock: lock,
        };
        for slot in &mut writer.slots {
            if slot.found.progress.is_none() {
                let begin = Progress {
                    epoch: 0,
                    records: 0,
                    crc: 0,
                };
                note(&mut slot.log, &writer.name, begin)?;
                slot.found.progress = Some(begin);
                slot.log.flush()?;
            }
        }
        Ok(writer)
    }

    /// The last epoch that is noted in any partition.
    fn noted(&self) -> u64 {
        let noted = self.slots.iter().filter_map(|slot| slot.found.progress);
        noted.map(|progress| progress.epoch).max().unwrap_or(0)
    }

    fn put(&mut self, record: &Record<T>, outbox: &mut Vec<u8>) -> Result<(), String> {
        let (partition, beside) = self.envelope.of(record, self.slots.len());
        let number = u32::try_from(partition).map_err(|error| error.to_string())?;
        let before = outbox.len();
        outbox.extend_from_slice(&number.to_le_bytes());
        let beside = Beside {
            offset: 0,
            time: record.time,
            key: beside.key,
            headers: &beside.headers,
        };
        let encoder = &mut self.encoder;
        let put = frame::put(outbox, SEED, Kind::User, &beside, |out| {
            encoder.encode(&record.value, out)
        });
        if put.is_err() {
            outbox.truncate(before);
        }
        put
    }

    fn append_all(&mut self, epoch: Epoch, outbox: &[u8]) -> Result<(), LogError> {
        let mut by_partition: Vec<Vec<&[u8]>> = vec![Vec::new(); self.slots.len()];
        for entry in entries(outbox) {
            let (partition, bytes) = entry.ok_or(LogError::Outbox { epoch })?;
            match by_partition.get_mut(partition) {
                Some(records) => records.push(bytes),
                None => {
                    return Err(LogError::Record(format!(
                        "an outbox of epoch {epoch} is for partition {partition}, and the topic \
                         has {}",
                        self.slots.len()
                    )));
                }
            }
        }
        for (slot, records) in self.slots.iter_mut().zip(by_partition) {
            slot.publish(&self.name, epoch, &records)?;
        }
        self.slots.iter_mut().try_for_each(|slot| slot.log.flush())
    }
}

impl Slot {
    fn publish(&mut self, name: &str, epoch: Epoch, records: &[&[u8]]) -> Result<(), LogError> {
        let published = self.found.progress.map_or(0, |progress| progress.epoch);
        if records.is_empty() || published >= epoch.0 {
            return Ok(());
        }
        let behind = std::mem::take(&mut self.found.behind);
        let mut behind = behind.into_iter().peekable();
        let mut crc = 0;
        for bytes in records {
            let frame = frame::get(bytes, SEED);
            let frame = frame.map_err(|reason| LogError::Record(reason.to_owned()))?;
            let print = print(&frame);
            crc = crc32c::crc32c_append(crc, &print.to_le_bytes());
            if behind.next_if_eq(&print).is_some() {
                continue;
            }
            // From the first one that is not there on, nothing is.
            behind = Vec::new().into_iter().peekable();
            let headers: Vec<_> = frame.headers.into_iter().collect();
            let headers: Vec<_> = headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_vec()))
                .collect();
            self.log.append(frame.time, frame.key, &headers, |out| {
                out.extend_from_slice(frame.payload);
                Ok(())
            })?;
        }
        let progress = Progress {
            epoch: epoch.0,
            records: records.len() as u64,
            crc,
        };
        note(&mut self.log, name, progress)?;
        self.found.progress = Some(progress);
        Ok(())
    }
}

fn note(log: &mut PartitionLog, name: &str, progress: Progress) -> Result<(), LogError> {
    log.append_of(
        Kind::Progress,
        EventTime::default(),
        Some(name.as_bytes()),
        &[],
        |out| serde_json::to_writer(out, &progress).map_err(|error| error.to_string()),
    )
}

/// The records in an outbox, with their partitions; at last nothing where it is not made of them.
fn entries(mut outbox: &[u8]) -> impl Iterator<Item = Option<(usize, &[u8])>> {
    std::iter::from_fn(move || {
        (!outbox.is_empty()).then(|| {
            let entry = take_entry(&mut outbox);
            if entry.is_none() {
                outbox = &[];
            }
            entry
        })
    })
}

fn take_entry<'o>(outbox: &mut &'o [u8]) -> Option<(usize, &'o [u8])> {
    let (number, rest) = outbox.split_first_chunk::<4>()?;
    let head = rest.first_chunk::<HEAD_BYTES>()?;
    let bytes = HEAD_BYTES + frame::body_bytes(*head)?;
    let (record, rest) = rest.split_at_checked(bytes)?;
    *outbox = rest;
    Some((u32::from_le_bytes(*number) as usize, record))
}

impl<T> EpochWriter<T> for LogEpochs<T> {
    fn resume(&mut self, published: &str) -> Result<(), SinkError> {
        let noted = self.noted();
        match published.parse::<u64>() {
            Ok(published) if noted >= published => Ok(()),
            _ => Err(SinkError::Write {
                what: self.what.clone(),
                reason: format!(
                    "epoch {published} has been published, and the topic's notes say {noted}: put it back \
                     as it was, or begin in another place of checkpoints with an export of this one"
                ),
            }),
        }
    }

    fn published(&self) -> Option<String> {
        Some(self.noted().to_string())
    }

    fn stage(
        &mut self,
        records: &[Record<T>],
        outbox: &mut Vec<u8>,
        refused: &mut Refused,
    ) -> Result<(), SinkError> {
        for (index, record) in records.iter().enumerate() {
            if let Err(reason) = self.put(record, outbox) {
                refused.add(index, reason);
            }
        }
        Ok(())
    }

    fn publish(&mut self, epoch: Epoch, outbox: &[u8]) -> Result<(), SinkError> {
        let appended = self.append_all(epoch, outbox);
        appended.map_err(|error| error.writing(&self.what))
    }
}
