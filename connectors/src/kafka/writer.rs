//! Writes records to a topic.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use thalweg_engine::record::Record;
use thalweg_engine::sink::{Refused, SinkError, Writer};

use super::context::{ALONE, AMONG_OTHERS, Context};
use super::problem::{in_words, is_too_large};
use super::sink::{Headers, KafkaSink};
use crate::broker::{ID_HEADER, write_id};

pub(super) type Producer = BaseProducer<Context>;

/// How long to wait for reports before looking again.
const PATIENCE: Duration = Duration::from_millis(2);
/// What a record takes beside its value, key and headers, in a batch of its own.
const FRAME_BYTES: usize = 512;

/// The writer of a topic. What it has taken in waits in the producer's queue, which is bounded.
pub(super) struct KafkaWriter<T> {
    sink: KafkaSink<T>,
    producer: Producer,
    /// Bytes of a batch that the brokers take, where that is known.
    batch_bytes_max: Option<usize>,
    value: Vec<u8>,
    key: Vec<u8>,
    id: String,
    headers: Headers,
}

/// What has become of a record.
enum Sent {
    /// It is on its way.
    Queued,
    /// It cannot be sent, for this reason.
    Refused(String),
}

impl<T: 'static> KafkaWriter<T> {
    pub(super) fn new(
        sink: KafkaSink<T>,
        producer: Producer,
        batch_bytes_max: Option<usize>,
    ) -> Self {
        Self {
            sink,
            producer,
            batch_bytes_max,
            value: Vec::new(),
            key: Vec::new(),
            id: String::new(),
            headers: Headers::default(),
        }
    }

    /// Sends a record, and waits for what the brokers say where they may find it too large.
    fn send(&mut self, record: &Record<T>) -> Result<Sent, SinkError> {
        self.value.clear();
        if let Err(reason) = (self.sink.encode)(record, &mut self.value) {
            return Ok(Sent::Refused(reason));
        }
        self.key.clear();
        let make_key = self.sink.key.as_ref();
        let has_key = make_key.is_some_and(|key| key(&record.value, &mut self.key));
        write_id(record.origin, &mut self.id);
        let headers = headers(&self.sink, record, &self.id, &mut self.headers);
        if !self.may_be_refused() {
            return self.enqueue(record, has_key, headers, AMONG_OTHERS);
        }
        // Whatever waits in the queue would be refused with it.
        self.flush()?;
        let sent = self.enqueue(record, has_key, headers, ALONE)?;
        self.flush()?;
        match self.producer.context().take_refusal() {
            true => Ok(Sent::Refused(self.too_large())),
            false => Ok(sent),
        }
    }

    /// Whether the encoded record is larger than the brokers take, if it does not shrink on its way.
    fn may_be_refused(&self) -> bool {
        let headers = self.headers.0.iter();
        let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        let bytes = self.value.len() + self.key.len() + headers + FRAME_BYTES;
        self.batch_bytes_max.is_some_and(|most| bytes > most)
    }

    /// Puts the encoded record into the producer's queue, waiting while that is full.
    fn enqueue(
        &self,
        record: &Record<T>,
        has_key: bool,
        headers: OwnedHeaders,
        opaque: usize,
    ) -> Result<Sent, SinkError> {
        let mut outgoing = BaseRecord::<[u8], [u8], _>::with_opaque_to(&self.sink.topic, opaque)
            .payload(&self.value)
            .headers(headers);
        if has_key {
            outgoing = outgoing.key(&self.key);
        }
        if self.sink.event_timestamps && record.time.as_micros() >= 0 {
            outgoing = outgoing.timestamp(record.time.as_micros() / 1000);
        }
        loop {
            outgoing = match self.producer.send(outgoing) {
                Ok(()) => return Ok(Sent::Queued),
                Err((error, refused)) if is_full(&error) => {
                    self.producer.poll(PATIENCE);
                    self.check()?;
                    refused
                }
                Err((error, _)) if is_too_large(&error) => {
                    return Ok(Sent::Refused(self.too_large()));
                }
                Err((error, _)) => return Err(self.broken(in_words(&error))),
            };
        }
    }

    fn too_large(&self) -> String {
        format!(
            "a record of {} bytes is too large; raise the property `message.max.bytes`, and the \
             topic's `max.message.bytes`",
            self.value.len()
        )
    }

    /// Whether everything has been delivered so far.
    fn check(&self) -> Result<(), SinkError> {
        match self.producer.context().undelivered() {
            None => Ok(()),
            Some(reason) => Err(self.broken(reason)),
        }
    }

    fn broken(&self, reason: String) -> SinkError {
        SinkError::Write {
            what: self.sink.what(),
            reason,
        }
    }
}

fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

/// The id of a record, then the headers that the user adds.
fn headers<T>(
    sink: &KafkaSink<T>,
    record: &Record<T>,
    id: &str,
    own: &mut Headers,
) -> OwnedHeaders {
    let id = Header {
        key: ID_HEADER,
        value: Some(id),
    };
    let mut all = OwnedHeaders::new_with_capacity(1).insert(id);
    if let Some(make) = &sink.headers {
        own.0.clear();
        make(record, own);
        for (name, value) in &own.0 {
            all = all.insert(Header {
                key: name,
                value: Some(value),
            });
        }
    }
    all
}

impl<T: 'static> Writer<T> for KafkaWriter<T> {
    fn write(&mut self, records: &[Record<T>], refused: &mut Refused) -> Result<(), SinkError> {
        for (index, record) in records.iter().enumerate() {
            if let Sent::Refused(reason) = self.send(record)? {
                refused.add(index, reason);
            }
        }
        self.producer.poll(Duration::ZERO);
        self.check()
    }

    /// Waits for the reports on everything that was sent. A record that is not delivered within the
    /// property `message.timeout.ms`, five minutes unless set, is an error.
    fn flush(&mut self) -> Result<(), SinkError> {
        self.check()?;
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(PATIENCE);
            self.check()?;
        }
        self.check()
    }
}
