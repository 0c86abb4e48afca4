//! Reads one partition.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use thalweg_engine::guard::guard;
use thalweg_engine::source::{ReadBatch, ReadStatus, Reader, SourceError, Undecodable};

use super::client::Client;
use super::context::Context;
use super::message::Make;
use super::problem::in_words;

/// How long to wait for a record before saying that there is none.
const PATIENCE: Duration = Duration::from_millis(25);

/// The reader of one partition; it fetches no further when it is dropped.
pub(super) struct KafkaReader<T> {
    pub(super) client: Arc<Client>,
    pub(super) queue: PartitionQueue<Context>,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) make: Make<T>,
    /// The offset from which the next record comes.
    pub(super) next: u64,
    /// The offset before which the partition ends, where it is read to an end.
    pub(super) end: Option<u64>,
}

/// What came out of the partition's queue.
enum Fetched<T> {
    Record(u64, Result<T, Undecodable>),
    Nothing,
    /// The partition ends here, for now.
    Edge,
    Failure(KafkaError),
}

impl<T> KafkaReader<T> {
    fn fetch(&mut self, patience: Duration) -> Fetched<T> {
        match self.queue.poll(patience) {
            None => Fetched::Nothing,
            Some(Ok(message)) => {
                let item = make(&mut self.make, &message);
                Fetched::Record(message.offset().unsigned_abs(), item)
            }
            Some(Err(KafkaError::PartitionEOF(_))) => Fetched::Edge,
            Some(Err(error)) => Fetched::Failure(error),
        }
    }

    fn is_at_end(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    /// Gives up where going on would pass records over; otherwise the client tries again by itself.
    fn judge(&self, error: &KafkaError) -> Result<(), SourceError> {
        use RDKafkaErrorCode as Code;
        let (topic, partition, next) = (&self.topic, self.partition, self.next);
        let reason = match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => format!(
                "offset {next} is not there any more: retention has removed it before it was \
                 read; keep records longer, or start anew from where the partition begins now"
            ),
            Some(
                code @ (Code::UnknownTopic
                | Code::UnknownTopicOrPartition
                | Code::UnknownPartition
                | Code::TopicAuthorizationFailed),
            ) => format!("{code}: it was there when the job began"),
            Some(code @ (Code::BadCompression | Code::BadMessage)) => format!(
                "{code}: the batch of records at offset {next} is damaged, or compressed with zstd and \
                 larger than the property `receive.message.max.bytes` allows; raise that, or start \
                 behind the batch"
            ),
            code => {
                if !matches!(error, KafkaError::MessageConsumptionFatal(_)) {
                    let reason = code.map_or_else(|| in_words(error), |code| code.to_string());
                    tracing::warn!(topic, partition, next, "kafka: {reason}; trying again");
                    return Ok(());
                }
                in_words(error)
            }
        };
        Err(SourceError::Read {
            what: format!("partition {partition} of topic `{topic}`"),
            reason,
        })
    }
}

/// Makes the value of a message; what panics is a bad record, too.
fn make<T>(make: &mut Make<T>, message: &BorrowedMessage<'_>) -> Result<T, Undecodable> {
    guard(|| make(message)).unwrap_or_else(|reason| {
        let raw = message.payload().unwrap_or_default().to_vec();
        Err(Undecodable { reason, raw })
    })
}

impl<T> Reader<T> for KafkaReader<T> {
    fn read(&mut self, batch: &mut ReadBatch<T>, limit: usize) -> Result<ReadStatus, SourceError> {
        self.client.serve();
        let (before, mut patience) = (batch.len(), PATIENCE);
        while batch.len() < before + limit && !self.is_at_end() {
            match self.fetch(patience) {
                Fetched::Record(offset, _) if self.end.is_some_and(|end| offset >= end) => {
                    return Ok(ReadStatus::End);
                }
                Fetched::Record(offset, item) => {
                    batch.push((offset, item));
                    self.next = offset + 1;
                }
                // The offsets before the end may hold nothing that can be read.
                Fetched::Edge if self.end.is_some() => return Ok(ReadStatus::End),
                Fetched::Edge | Fetched::Nothing => break,
                Fetched::Failure(error) => self.judge(&error)?,
            }
            patience = Duration::ZERO;
        }
        if batch.len() > before {
            self.client.note_answer();
        }
        Ok(if self.is_at_end() {
            ReadStatus::End
        } else if batch.len() > before {
            ReadStatus::More
        } else if self.client.is_cut_off() {
            ReadStatus::Away
        } else {
            ReadStatus::Waiting
        })
    }
}

impl<T> Drop for KafkaReader<T> {
    fn drop(&mut self) {
        self.client.unassign(&self.topic, self.partition);
    }
}
