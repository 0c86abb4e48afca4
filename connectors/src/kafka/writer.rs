//! Writes records to a topic.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use thalweg_engine::record::Record;
use thalweg_engine::sink::{SinkError, Writer};

use super::context::Context;
use super::problem::in_words;
use super::sink::{Headers, KafkaSink};
use crate::broker::{ID_HEADER, write_id};

pub(super) type Producer = BaseProducer<Context>;

/// How long to wait for reports before looking again.
const PATIENCE: Duration = Duration::from_millis(2);

/// The writer of a topic. What it has taken in waits in the producer's queue, which is bounded.
pub(super) struct KafkaWriter<T> {
    sink: KafkaSink<T>,
    producer: Producer,
    value: Vec<u8>,
    key: Vec<u8>,
    id: String,
    headers: Headers,
}

impl<T: 'static> KafkaWriter<T> {
    pub(super) fn new(sink: KafkaSink<T>, producer: Producer) -> Self {
        Self {
            sink,
            producer,
            value: Vec::new(),
            key: Vec::new(),
            id: String::new(),
            headers: Headers::default(),
        }
    }

    /// Sends a record, waiting while the queue is full.
    fn send(&mut self, record: &Record<T>) -> Result<(), SinkError> {
        self.value.clear();
        (self.sink.encode)(record, &mut self.value)
            .map_err(|reason| self.broken(format!("a record cannot be encoded: {reason}")))?;
        self.key.clear();
        let make_key = self.sink.key.as_ref();
        let has_key = make_key.is_some_and(|key| key(&record.value, &mut self.key));
        write_id(record.origin, &mut self.id);
        let mut outgoing = BaseRecord::<[u8], [u8]>::to(&self.sink.topic)
            .payload(&self.value)
            .headers(headers(&self.sink, record, &self.id, &mut self.headers));
        if has_key {
            outgoing = outgoing.key(&self.key);
        }
        if self.sink.event_timestamps && record.time.as_micros() >= 0 {
            outgoing = outgoing.timestamp(record.time.as_micros() / 1000);
        }
        loop {
            outgoing = match self.producer.send(outgoing) {
                Ok(()) => return Ok(()),
                Err((error, refused)) if is_full(&error) => {
                    self.producer.poll(PATIENCE);
                    self.check()?;
                    refused
                }
                Err((error, _)) => return Err(self.broken(self.refusal(&error))),
            };
        }
    }

    fn refusal(&self, error: &KafkaError) -> String {
        let (bytes, words) = (self.value.len(), in_words(error));
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => format!(
                "a record of {bytes} bytes is too large; raise the property `message.max.bytes`, \
                 and the topic's `max.message.bytes`"
            ),
            _ => format!("a record of {bytes} bytes was refused: {words}"),
        }
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
    fn write(&mut self, records: &[Record<T>]) -> Result<(), SinkError> {
        records.iter().try_for_each(|record| self.send(record))?;
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
