//! The configuration of a Kafka topic as a sink.

use std::sync::Arc;

use serde::Serialize;
use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{Delivery, EpochWriter, Sink, SinkError, Writer};

use super::admin;
use super::client::Client;
use super::epochs::KafkaEpochs;
use super::limits::batch_bytes_max;
use super::problem::{Problem, Requirement, unmet};
use super::settings::Kafka;
use super::transactions::Place;
use super::writer::{KafkaWriter, Producer};
use super::{produce, progress};
use crate::broker::{Form, Reports};

/// Bytes of a batch before it is compressed, at most: what the client has unless it is told.
const BATCH_BYTES: usize = 1_000_000;
/// The topic of the notes how far has been published, unless another is named.
const PROGRESS_TOPIC: &str = "thalweg-progress";

type MakeHeaders<T> = dyn Fn(&Record<T>, &mut Headers) + Send + Sync;

/// Writes records to a topic: in a job with checkpoints exactly once, otherwise out at once and at least
/// once.
///
/// **Exactly once**, the records of an epoch are published in one transaction as soon as the epoch has
/// been sealed; so consumers must read with `isolation.level=read_committed`. How far has been published
/// is noted in the same transaction, in the topic `thalweg-progress`
/// ([`progress_topic`](Self::progress_topic)), which is made when it is not there. Each record has a
/// header, [`EPOCH_HEADER`](super::EPOCH_HEADER), with its place in all that the sink publishes. A record
/// that is too large for the topic before it is compressed becomes a dead letter. One that only the brokers
/// refuse has its transaction aborted; the epoch is published without it, and it becomes a dead letter, too,
/// or is logged where the job has come to its end. While the brokers are away, epochs wait. A job that is to
/// begin anew in the same topic wants it deleted and created again: a start without its checkpoints is
/// refused where the topic has records and there are notes of them.
///
/// **Immediately** ([`delivery`](Self::delivery)), every record is acknowledged by all replicas in sync,
/// and retried without being doubled or reordered; but what a job had written before it was killed it
/// may write again after a restart.
///
/// Each record has a header, [`ID_HEADER`](super::ID_HEADER), which is the same whenever the same source
/// record makes it: readers can tell doubles by it. It is made of the record's origin (source, partition,
/// offset, index).
///
/// A record that the client (by its property `message.max.bytes`) or the brokers (by the topic's
/// `max.message.bytes`) find too large becomes a dead letter, as does one that the brokers refuse for
/// something else that it is, such as its time stamp. The topic's limit is asked for when the job starts,
/// where the user has the right to describe its configuration; beyond it, a record is sent by itself.
/// Otherwise the brokers refuse a whole batch: what else was in it is sent again, one by one and so a
/// little later than what came after it.
///
/// Records with equal keys go to equal partitions, the same as Java clients send them to (murmur2);
/// those without a key are spread.
///
/// ```no_run
/// use serde::Serialize;
/// use thalweg_connectors::kafka::{Kafka, KafkaSink};
///
/// #[derive(Serialize)]
/// struct Score {
///     card: u64,
///     score: f64,
/// }
///
/// let kafka = Kafka::at("localhost:9092");
/// let scores = KafkaSink::<Score>::json(&kafka, "scores")
///     .key(|score| Some(score.card.to_string()))
///     .headers(|_, headers| {
///         headers.add("model", "fraud-3");
///     });
/// ```
pub struct KafkaSink<T> {
    kafka: Kafka,
    pub(super) topic: Arc<str>,
    pub(super) form: Form<T>,
    pub(super) headers: Option<Arc<MakeHeaders<T>>>,
    pub(super) event_timestamps: bool,
    requirement: Option<Requirement>,
    reports: Arc<Reports>,
    delivery: Delivery,
    progress_topic: Arc<str>,
}

impl<T> Clone for KafkaSink<T> {
    fn clone(&self) -> Self {
        Self {
            kafka: self.kafka.clone(),
            topic: Arc::clone(&self.topic),
            form: self.form.clone(),
            headers: self.headers.clone(),
            event_timestamps: self.event_timestamps,
            requirement: self.requirement.clone(),
            reports: Arc::clone(&self.reports),
            delivery: self.delivery,
            progress_topic: Arc::clone(&self.progress_topic),
        }
    }
}

impl<T: Serialize + 'static> KafkaSink<T> {
    /// A topic of the records' values as JSON. JSON has no NaN and no infinities: they become `null`.
    pub fn json(kafka: &Kafka, topic: impl Into<String>) -> Self {
        Self::encoded(kafka, topic, |record, bytes| {
            serde_json::to_writer(bytes, &record.value).map_err(|error| error.to_string())
        })
    }
}

impl<T: 'static> KafkaSink<T> {
    /// A topic of what `encode` makes of the records. It appends a record's bytes; where it cannot,
    /// the record becomes a dead letter with what it says.
    pub fn encoded(
        kafka: &Kafka,
        topic: impl Into<String>,
        encode: impl Fn(&Record<T>, &mut Vec<u8>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            kafka: kafka.clone(),
            topic: topic.into().into(),
            form: Form::new(encode),
            headers: None,
            event_timestamps: false,
            requirement: None,
            reports: Arc::default(),
            delivery: Delivery::ExactlyOnce,
            progress_topic: PROGRESS_TOPIC.into(),
        }
    }

    /// What a value's key is, if it has one.
    #[must_use]
    pub fn key<K: AsRef<[u8]>>(
        mut self,
        key: impl Fn(&T) -> Option<K> + Send + Sync + 'static,
    ) -> Self {
        self.form.set_key(key);
        self
    }

    /// Adds headers to a record, after its id.
    #[must_use]
    pub fn headers(
        mut self,
        headers: impl Fn(&Record<T>, &mut Headers) + Send + Sync + 'static,
    ) -> Self {
        self.headers = Some(Arc::new(headers));
        self
    }

    /// Gives each record its event time as Kafka timestamp, instead of the time at which it is sent.
    ///
    /// Brokers remove records by their timestamps, and refuse those too far ahead (by default an
    /// hour): so it suits events of now, not a replay of the past.
    #[must_use]
    pub fn event_timestamps(mut self) -> Self {
        self.event_timestamps = true;
        self
    }

    /// How records are delivered in a job with checkpoints: exactly once, and so not before their
    /// epoch is sealed, unless set.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// The topic in which exactly-once sinks note how far they have published; `thalweg-progress` unless
    /// set. It must be compacted and nothing else, never be emptied, and stay the same for as long as
    /// the job's checkpoints are used. Several pipelines may share one.
    #[must_use]
    pub fn progress_topic(mut self, topic: impl Into<String>) -> Self {
        self.progress_topic = topic.into().into();
        self
    }

    /// What else must hold for the sink to be used, looked at before the job starts: such as that a
    /// schema registry can be reached and knows the topic's subject.
    #[must_use]
    pub fn requires<R>(
        mut self,
        requirement: impl Fn() -> Result<R, String> + Send + Sync + 'static,
    ) -> Self {
        self.requirement = Some(Arc::new(move || requirement().map(drop)));
        self
    }

    /// What has become of the records so far.
    pub fn reports(&self) -> Arc<Reports> {
        Arc::clone(&self.reports)
    }

    pub(super) fn what(&self) -> String {
        format!(
            "topic `{}` of Kafka at {}",
            self.topic,
            self.kafka.brokers()
        )
    }

    /// A producer whose batches the brokers take, where their limit is known.
    fn producer(&self, batch_bytes_max: Option<usize>) -> Result<Producer, Problem> {
        let batch_bytes = batch_bytes_max.map(|most| most.min(BATCH_BYTES).to_string());
        let mut defaults = produce::DEFAULTS.to_vec();
        defaults.extend(batch_bytes.iter().map(|bytes| ("batch.size", &**bytes)));
        let config = self.kafka.config(&defaults)?;
        config
            .create_with_context(self.kafka.context(self.reports()))
            .map_err(|error| self.kafka.unusable(&error))
    }

    /// Where it publishes epochs under this slot.
    fn place(&self, slot: &str) -> Place {
        let most = admin::setting(&self.kafka, &self.topic, "max.message.bytes");
        Place {
            kafka: self.kafka.clone(),
            topic: Arc::clone(&self.topic),
            notes: Arc::clone(&self.progress_topic),
            slot: slot.to_owned(),
            batch_bytes_max: most.and_then(|most| most.parse().ok()),
        }
    }

    /// Asks with a consumer: a producer would create the topic where brokers allow it.
    fn find_topic(&self) -> Result<(), Problem> {
        Client::new(&self.kafka, None, false)?
            .partitions_of(&self.topic)
            .map(drop)
    }
}

impl<T: 'static> Sink<T> for KafkaSink<T> {
    fn describe(&self) -> String {
        self.what()
    }

    fn check(&self) -> Result<(), SinkError> {
        let met = || self.requirement.as_ref().map_or(Ok(()), |met| met());
        let checked = self
            .producer(None)
            .and_then(|_| self.find_topic())
            .and_then(|()| met().map_err(unmet));
        checked.map_err(|problem| problem.of_sink(self.what()))
    }

    fn open(&self) -> Result<Box<dyn Writer<T>>, SinkError> {
        let batch_bytes_max = batch_bytes_max(&self.kafka, &self.topic);
        let producer = self
            .producer(batch_bytes_max)
            .map_err(|problem| problem.of_sink(self.what()))?;
        let writer = KafkaWriter::new(self.clone(), producer, batch_bytes_max);
        Ok(Box::new(writer))
    }

    fn delivery(&self) -> Delivery {
        self.delivery
    }

    fn check_epochs(&self) -> Result<(), SinkError> {
        let checked = self
            .place("check")
            .producer()
            .and_then(|_| progress::check(&self.kafka, &self.progress_topic));
        checked.map_err(|problem| problem.of_sink(self.what()))
    }

    fn published(&self, slots: &str) -> Result<Option<Epoch>, SinkError> {
        let published = progress::published(&self.kafka, &self.topic, &self.progress_topic, slots);
        match published {
            Ok(note) => Ok(note.map(|note| Epoch(note.epoch))),
            Err(problem) => Err(problem.of_sink(self.what())),
        }
    }

    fn open_epochs(&self, slot: &str) -> Result<Box<dyn EpochWriter<T>>, SinkError> {
        Ok(Box::new(KafkaEpochs::new(self.clone(), self.place(slot))))
    }
}

/// The headers that a record is sent with.
#[derive(Debug, Default)]
pub struct Headers(pub(super) Vec<(String, Vec<u8>)>);

impl Headers {
    /// Adds a header after the others.
    pub fn add(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.0.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }
}
