//! Writes records to a topic.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::sink::{Refused, RefusedLate, SinkError, Writer};

use super::context::{ALONE, AMONG_OTHERS, Bounced, Context};
use super::problem::{Refusal, in_words, is_too_large, names_the_record};
use super::produce;
use super::sink::{Headers, KafkaSink};
use crate::broker::{Encoded, ID_HEADER, read_id};

pub(super) type Producer = BaseProducer<Context>;

/// What a record takes beside its value, key and headers, in a batch of its own.
const FRAME_BYTES: usize = 512;

/// The writer of a topic. What it has taken in waits in the producer's queue, which is bounded.
pub(super) struct KafkaWriter<T> {
    sink: KafkaSink<T>,
    producer: Producer,
    /// Bytes of a batch that the brokers take, where that is known.
    batch_bytes_max: Option<usize>,
    encoded: Encoded,
    headers: Headers,
    /// What was refused among others, and is to be sent again by itself.
    bounced: Vec<Bounced>,
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
        // The brokers were there for the check: their silence is news from now on.
        producer.context().note_answer();
        Self {
            sink,
            producer,
            batch_bytes_max,
            encoded: Encoded::default(),
            headers: Headers::default(),
            bounced: Vec::new(),
        }
    }

    /// Sends a record, and waits for what the brokers say where they may find it too large.
    fn send(&mut self, record: &Record<T>) -> Result<Sent, SinkError> {
        if let Err(reason) = self.encoded.take(&self.sink.form, record) {
            return Ok(Sent::Refused(reason));
        }
        let headers = headers(&self.sink, record, &self.encoded.id, &mut self.headers);
        if !self.may_be_refused() {
            return self.enqueue(record, headers, AMONG_OTHERS);
        }
        self.alone(|writer| writer.enqueue(record, headers, ALONE))
    }

    /// Has something sent by itself, as whatever else waits in the queue would be refused with it, and
    /// waits for what the brokers say.
    fn alone(
        &mut self,
        send: impl FnOnce(&Self) -> Result<Sent, SinkError>,
    ) -> Result<Sent, SinkError> {
        self.flush()?;
        let sent = send(self)?;
        self.flush()?;
        let mut own = None;
        for bounced in self.producer.context().take_bounced() {
            match bounced.was_alone {
                true => own = Some(bounced),
                false => self.bounced.push(bounced),
            }
        }
        Ok(own.map_or(sent, |bounced| Sent::Refused(bounced.reason())))
    }

    /// Sends once more, by itself, what was refused among others.
    fn send_again(&mut self, message: &OwnedMessage) -> Result<Sent, SinkError> {
        self.alone(|writer| {
            let mut outgoing = BaseRecord::with_opaque_to(&writer.sink.topic, ALONE);
            outgoing.partition = Some(message.partition());
            outgoing.payload = message.payload();
            outgoing.key = message.key();
            outgoing.timestamp = message.timestamp().to_millis();
            outgoing.headers = message.headers().cloned();
            writer.put(outgoing, bytes_of(message))
        })
    }

    /// Whether the encoded record is larger than the brokers take, if it does not shrink on its way.
    fn may_be_refused(&self) -> bool {
        let headers = self.headers.0.iter();
        let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        let key = self.encoded.key().map_or(0, <[u8]>::len);
        let bytes = self.encoded.value.len() + key + headers + FRAME_BYTES;
        self.batch_bytes_max.is_some_and(|most| bytes > most)
    }

    /// Puts the encoded record into the producer's queue, waiting while that is full.
    fn enqueue(
        &self,
        record: &Record<T>,
        headers: OwnedHeaders,
        opaque: usize,
    ) -> Result<Sent, SinkError> {
        let mut outgoing = BaseRecord::<[u8], [u8], _>::with_opaque_to(&self.sink.topic, opaque)
            .payload(&self.encoded.value)
            .headers(headers);
        outgoing.key = self.encoded.key();
        if self.sink.event_timestamps && record.time.as_micros() >= 0 {
            outgoing = outgoing.timestamp(record.time.as_micros() / 1000);
        }
        self.put(outgoing, self.encoded.value.len())
    }

    fn put(
        &self,
        mut outgoing: BaseRecord<'_, [u8], [u8], usize>,
        bytes: usize,
    ) -> Result<Sent, SinkError> {
        loop {
            outgoing = match self.producer.send(outgoing) {
                Ok(()) => return Ok(Sent::Queued),
                Err((error, refused)) if is_full(&error) => {
                    produce::pause(&self.producer);
                    self.check()?;
                    refused
                }
                Err((error, _)) if is_too_large(&error) => {
                    return Ok(Sent::Refused(Refusal::of(&error).reason(bytes)));
                }
                Err((error, _)) => return Err(self.broken(in_words(&error))),
            };
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

impl Bounced {
    fn reason(&self) -> String {
        Refusal::of(&self.error).reason(bytes_of(&self.message))
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
        produce::hear(&self.producer);
        self.check()
    }

    /// Waits for the reports on everything that was sent. A record that is not delivered within the
    /// property `message.timeout.ms`, five minutes unless set, is an error.
    fn flush(&mut self) -> Result<(), SinkError> {
        self.check()?;
        while self.producer.in_flight_count() > 0 {
            produce::pause(&self.producer);
            self.check()?;
        }
        self.check()
    }

    fn look_back(&mut self, refused: &mut Vec<RefusedLate>) -> Result<bool, SinkError> {
        self.bounced.extend(self.producer.context().take_bounced());
        while !self.bounced.is_empty() {
            for bounced in std::mem::take(&mut self.bounced) {
                let sent = match names_the_record(&bounced.error) {
                    true => Sent::Refused(bounced.reason()),
                    false => self.send_again(&bounced.message)?,
                };
                if let Sent::Refused(reason) = sent {
                    refused.push(RefusedLate {
                        origin: origin_of(&bounced.message),
                        reason,
                        raw: bounced.message.payload().unwrap_or_default().to_vec(),
                    });
                }
            }
            self.bounced.extend(self.producer.context().take_bounced());
        }
        Ok(self.producer.in_flight_count() == 0)
    }

    fn close(&mut self) -> Result<(), SinkError> {
        self.flush()?;
        let mut refused = Vec::new();
        self.look_back(&mut refused)?;
        match refused.pop() {
            None => Ok(()),
            // Nobody is left to make a dead letter of it.
            Some(RefusedLate { reason, .. }) => Err(self.broken(reason)),
        }
    }
}

fn bytes_of(message: &OwnedMessage) -> usize {
    message.payload().map_or(0, <[u8]>::len)
}

/// The origin of a record that was sent, which its id tells.
fn origin_of(message: &OwnedMessage) -> Origin {
    let headers = message
        .headers()
        .into_iter()
        .flat_map(|headers| headers.iter());
    let mut ids = headers.filter(|header| header.key == ID_HEADER);
    let id = ids
        .next()
        .and_then(|header| std::str::from_utf8(header.value?).ok());
    id.and_then(read_id).unwrap_or(Origin::derived(0))
}
