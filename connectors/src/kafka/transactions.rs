//! The transactions in which a slot publishes its epochs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use thalweg_engine::checkpoint::Epoch;

use super::context::Context;
use super::left_out::LeftOut;
use super::problem::{Problem, Refusal, is_of_the_record, names_the_record};
use super::produce;
use super::progress::{self, Progress};
use super::settings::Kafka;
use crate::broker::outbox::Staged;
use crate::broker::{EPOCH_HEADER, Reports};

/// What a transactional producer sets beside what all do. A transaction that is given up by the brokers
/// fences its producer off, as another producer would: so what fails by itself fails long before.
const TIMEOUTS: [(&str, &str); 2] = [
    ("transaction.timeout.ms", "60000"),
    ("message.timeout.ms", "15000"),
];
/// How long one attempt at taking over takes, and how many there are.
const ATTEMPT: Duration = Duration::from_millis(500);
const ATTEMPTS: usize = 20;
/// How long to wait for the outcome of a transaction.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(20);

/// Why an epoch is not published.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may pass.
    Passing(String),
    /// It will not.
    Final(String),
    /// The brokers refuse these of its records, by their places in it, or batches that they were in.
    Refused(Vec<Verdict>),
}

/// What the brokers say to a record.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) index: usize,
    pub(super) refusal: Refusal,
    /// Whether it is this record that they refuse, and not another one of its batch.
    pub(super) is_certain: bool,
}

/// Which records of an epoch are not sent as all others are.
#[derive(Default)]
pub(super) struct Exceptions {
    /// Those that brokers have refused, with what they say: they are left out.
    pub(super) refused: BTreeMap<usize, Refusal>,
    /// Those that were in a batch with one that was refused: they are sent by themselves.
    pub(super) suspects: BTreeSet<usize>,
}

impl Exceptions {
    /// Takes in what the brokers have said.
    pub(super) fn add(&mut self, verdicts: Vec<Verdict>) {
        for verdict in verdicts {
            if verdict.is_certain {
                self.suspects.remove(&verdict.index);
                self.refused.insert(verdict.index, verdict.refusal);
            } else {
                self.suspects.insert(verdict.index);
            }
        }
    }
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self::Passing(problem.reason)
    }
}

/// Where a slot publishes.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) kafka: Kafka,
    pub(super) topic: Arc<str>,
    /// The topic of the notes.
    pub(super) notes: Arc<str>,
    /// Who publishes: the pipeline, the sink, and the row of checkpoints.
    pub(super) slot: String,
    /// Bytes that the brokers take at once, where they tell.
    pub(super) batch_bytes_max: Option<usize>,
}

impl Place {
    /// A producer, which has not taken over yet.
    pub(super) fn producer(&self) -> Result<BaseProducer<Transactional>, Problem> {
        let id = format!("thalweg/{}", self.slot);
        let batch = self.batch_bytes_max.map(|most| most.to_string());
        let mut settings = [&produce::DEFAULTS[..], &TIMEOUTS].concat();
        settings.push(("transactional.id", &id));
        settings.extend(batch.iter().map(|most| ("batch.size", &**most)));
        let context = Transactional {
            context: self.kafka.context(Arc::default()),
            undelivered: Mutex::default(),
            refused: Mutex::default(),
        };
        let config = self.kafka.config(&settings)?;
        config
            .create_with_context(context)
            .map_err(|error| self.kafka.unusable(&error))
    }
}

/// A slot's producer, which has fenced off all before it, and how far they have published.
///
/// After any trouble it is dropped, and another one takes over: a request whose outcome is not known
/// could otherwise still have its effect in a later transaction.
pub(super) struct Transactions {
    place: Place,
    producer: BaseProducer<Transactional>,
    published: Option<Progress>,
}

impl Transactions {
    /// Fences off whoever has published under the slot, then looks how far they have got.
    pub(super) fn take_over(place: &Place) -> Result<Self, Trouble> {
        let producer = place.producer()?;
        for attempt in 1.. {
            // Where the cluster wants a token, the producer asks for it in an event.
            producer.poll(Duration::ZERO);
            match producer.init_transactions(ATTEMPT) {
                Ok(()) => break,
                Err(error) if attempt == ATTEMPTS || !is_retriable(&error) => {
                    return Err(trouble(&producer, &error));
                }
                Err(_) => {}
            }
        }
        progress::prepare(&place.kafka, &place.notes)?;
        let published = progress::read(&place.kafka, &place.notes, &place.slot)?;
        Ok(Self {
            place: place.clone(),
            producer,
            published,
        })
    }

    /// The newest epoch that has been published.
    pub(super) fn published(&self) -> Option<Epoch> {
        self.published.as_ref().map(|note| Epoch(note.epoch))
    }

    /// What was left out of it.
    pub(super) fn left_out(&self) -> LeftOut {
        let note = self.published.as_ref();
        note.map_or_else(LeftOut::default, |note| note.left_out.clone())
    }

    /// Publishes an epoch but for what is known to be refused, with a note of it.
    pub(super) fn publish(
        &mut self,
        epoch: Epoch,
        records: &[Staged<'_>],
        exceptions: &Exceptions,
        reports: &Reports,
    ) -> Result<(), Trouble> {
        let sendable: Vec<_> = (0..records.len())
            .filter(|index| !exceptions.refused.contains_key(index))
            .collect();
        let values = sendable.iter().map(|index| records[*index].value);
        let note = Progress {
            epoch: epoch.0,
            records: sendable.len() as u64,
            crc: values.fold(0, crc32c::crc32c_append),
            left_out: LeftOut::of(&exceptions.refused),
        };
        let sent = self.send_all(epoch, records, &sendable, exceptions, &note);
        let done = sent
            .and_then(|()| self.wait_for_all())
            .and_then(|()| self.producer.commit_transaction(COMMIT_TIMEOUT));
        done.map_err(|error| trouble(&self.producer, &error))?;
        self.published = Some(note);
        reports.add_delivered(sendable.len() as u64);
        Ok(())
    }

    fn send_all(
        &self,
        epoch: Epoch,
        records: &[Staged<'_>],
        sendable: &[usize],
        exceptions: &Exceptions,
        note: &Progress,
    ) -> Result<(), KafkaError> {
        self.producer.begin_transaction()?;
        for (number, index) in sendable.iter().enumerate() {
            let place = format!("{epoch}-{number}");
            let is_suspect = exceptions.suspects.contains(index);
            if is_suspect {
                self.wait_for_all()?;
            }
            let opaque = opaque(*index, is_suspect);
            self.send(outgoing(
                &self.place.topic,
                &records[*index],
                &place,
                opaque,
            ))?;
            if is_suspect {
                self.wait_for_all()?;
            }
        }
        let value = serde_json::to_vec(note).expect("invariant: a note has a form in JSON");
        let note = Staged {
            key: Some(self.place.slot.as_bytes()),
            value: &value,
            ..Staged::default()
        };
        self.send(to(&self.place.notes, &note, NOTE))
    }

    fn undelivered(&self) -> Option<KafkaError> {
        lock(&self.producer.context().undelivered).clone()
    }

    /// Waits until the brokers have said something to all that was sent.
    fn wait_for_all(&self) -> Result<(), KafkaError> {
        produce::settle(&self.producer, COMMIT_TIMEOUT);
        self.producer.flush(Duration::ZERO)?;
        self.undelivered().map_or(Ok(()), Err)
    }

    /// Puts a record into the producer's queue, waiting while it is full.
    fn send(&self, mut outgoing: Outgoing<'_>) -> Result<(), KafkaError> {
        loop {
            outgoing = match self.producer.send(outgoing) {
                Ok(()) => return Ok(()),
                Err((error, refused))
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) =>
                {
                    produce::pause(&self.producer);
                    if let Some(error) = self.undelivered() {
                        return Err(error);
                    }
                    refused
                }
                Err((error, _)) => return Err(error),
            };
        }
    }
}

/// What a note is sent with, by which its report is known.
const NOTE: usize = 0;

/// What a record is sent with: its place in the epoch, and whether it is sent with nothing else under way.
fn opaque(index: usize, is_alone: bool) -> usize {
    2 * (index + 1) + usize::from(is_alone)
}

type Outgoing<'a> = BaseRecord<'a, [u8], [u8], usize>;

fn to<'a>(topic: &'a str, record: &Staged<'a>, opaque: usize) -> Outgoing<'a> {
    let mut outgoing = BaseRecord::with_opaque_to(topic, opaque).payload(record.value);
    outgoing.key = record.key;
    outgoing.timestamp = record.time_ms;
    outgoing
}

/// The record with its headers, and its place in all that the slot publishes.
fn outgoing<'a>(topic: &'a str, record: &Staged<'a>, place: &str, opaque: usize) -> Outgoing<'a> {
    let place = Header {
        key: EPOCH_HEADER,
        value: Some(place),
    };
    let headers = OwnedHeaders::new_with_capacity(record.headers.len() + 1);
    let headers = record
        .headers
        .iter()
        .fold(headers, |headers, (name, value)| {
            headers.insert(Header {
                key: name,
                value: Some(*value),
            })
        });
    to(topic, record, opaque).headers(headers.insert(place))
}

fn is_retriable(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.is_retriable())
}

/// What an error of the producer means.
fn trouble(producer: &BaseProducer<Transactional>, error: &KafkaError) -> Trouble {
    use RDKafkaErrorCode as Code;
    let fatal = producer.client().fatal_error().map(|(code, _)| code);
    let undelivered = lock(&producer.context().undelivered).clone();
    // What has happened to a record says more than that its transaction cannot be committed.
    let error = undelivered.as_ref().unwrap_or(error);
    let codes = [fatal, error.rdkafka_error_code()];
    let is_any = |of: &[Code]| codes.iter().flatten().any(|code| of.contains(code));
    if is_any(&[Code::Fenced, Code::ProducerFenced]) {
        return Trouble::Final(
            "another start of the pipeline publishes in place of this one; let only one run"
                .to_owned(),
        );
    }
    let refused = std::mem::take(&mut *lock(&producer.context().refused));
    if !refused.is_empty() {
        return Trouble::Refused(refused);
    }
    let Problem { reason, remedy, .. } = producer.context().context.problem(error);
    match is_any(&[
        Code::MessageSizeTooLarge,
        Code::TopicAuthorizationFailed,
        Code::ClusterAuthorizationFailed,
        Code::TransactionalIdAuthorizationFailed,
        Code::UnsupportedFeature,
        Code::UnsupportedForMessageFormat,
    ]) {
        true => Trouble::Final(format!("{reason}; {remedy}")),
        false => Trouble::Passing(reason),
    }
}

/// Hears what a transactional producer has to say.
pub(super) struct Transactional {
    context: Context,
    /// Why a record was not delivered, from the first one that was not.
    undelivered: Mutex<Option<KafkaError>>,
    /// What the brokers have refused.
    refused: Mutex<Vec<Verdict>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for Transactional {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = Context::ENABLE_REFRESH_OAUTH_TOKEN;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.context.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }

    fn generate_oauth_token(
        &self,
        config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.context.generate_oauth_token(config)
    }
}

impl ProducerContext for Transactional {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let Err((error, _)) = result else {
            return;
        };
        lock(&self.undelivered).get_or_insert_with(|| error.clone());
        if opaque != NOTE && is_of_the_record(error) {
            lock(&self.refused).push(Verdict {
                index: opaque / 2 - 1,
                refusal: Refusal::of(error),
                is_certain: opaque % 2 == 1 || names_the_record(error),
            });
        }
    }
}
