//! The configuration of a Pulsar topic as a sink.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{Delivery, EpochWriter, Sink, SinkError, Writer};

use super::client::Client;
use super::compression::Compression;
use super::epochs::{self, PulsarEpochs};
use super::producer::Producer;
use super::protocol::KeyValue;
use super::settings::Pulsar;
use super::topic_name;
use super::writer::PulsarWriter;
use crate::broker::{Form, Problem, Reports};

/// Records of a batch, and its bytes before it is compressed.
const BATCH_RECORDS: u32 = 1_000;
const BATCH_BYTES: usize = 128 * 1024;
/// How often new partitions are looked for, unless set otherwise.
const DISCOVER_EVERY: Duration = Duration::from_secs(30);

type MakeProperties<T> = dyn Fn(&Record<T>, &mut Properties) + Send + Sync;

/// Writes records to a topic, out at once and at least once; or, where it is asked for in a job with
/// checkpoints ([`delivery`](Self::delivery)), exactly once.
///
/// **Exactly once**, the records of an epoch are published as soon as it has been sealed; not all at once,
/// as Pulsar's transactions are not used, but each of them once. How far has been published is read from
/// the last records of each partition, by their property [`EPOCH_HEADER`](super::EPOCH_HEADER): so the
/// namespace must keep messages for longer than the job may stand still. While the job runs, nobody else
/// can write to the topic. While the brokers are away, or somebody else writes, epochs wait. A job that is
/// to begin anew in the same topic wants it deleted and created again: a start without its checkpoints is
/// refused where the topic has records of the job.
///
/// **Immediately**, every record is acknowledged by the broker. When a connection is lost, what it had not
/// acknowledged is sent again, in order and with the same sequence numbers: a namespace that removes
/// duplicates (`pulsar-admin namespaces set-deduplication`) holds each once. What a job had written
/// before it was killed it may write again after a restart; so each record has a property,
/// [`ID_HEADER`](super::ID_HEADER), which is the same whenever the same source record makes it.
///
/// Records with equal keys go to equal partitions, the same as Java clients send them to; those
/// without a key are spread. When the topic is given more partitions while a job runs, they are found and
/// written to; what is written of a key from then on may go to another partition than before. A record's
/// event time is its event time in Pulsar, too.
///
/// ```no_run
/// use serde::Serialize;
/// use thalweg_connectors::pulsar::{Compression, Pulsar, PulsarSink};
///
/// #[derive(Serialize)]
/// struct Score {
///     card: u64,
///     score: f64,
/// }
///
/// let pulsar = Pulsar::at("pulsar://localhost:6650");
/// let scores = PulsarSink::<Score>::json(&pulsar, "scores")
///     .key(|score| Some(score.card.to_string()))
///     .compression(Compression::Zstd)
///     .properties(|_, properties| {
///         properties.add("model", "fraud-3");
///     });
/// ```
pub struct PulsarSink<T> {
    pulsar: Pulsar,
    topic: Arc<str>,
    pub(super) form: Form<T>,
    pub(super) properties: Option<Arc<MakeProperties<T>>>,
    pub(super) batch_records: u32,
    pub(super) batch_bytes: usize,
    compression: Compression,
    pub(super) discover_every: Duration,
    pub(super) reports: Arc<Reports>,
    delivery: Delivery,
}

impl<T> Clone for PulsarSink<T> {
    fn clone(&self) -> Self {
        Self {
            pulsar: self.pulsar.clone(),
            topic: Arc::clone(&self.topic),
            form: self.form.clone(),
            properties: self.properties.clone(),
            batch_records: self.batch_records,
            batch_bytes: self.batch_bytes,
            compression: self.compression,
            discover_every: self.discover_every,
            reports: Arc::clone(&self.reports),
            delivery: self.delivery,
        }
    }
}

impl<T: Serialize + 'static> PulsarSink<T> {
    /// A topic of the records' values as JSON. JSON has no NaN and no infinities: they become `null`.
    pub fn json(pulsar: &Pulsar, topic: impl Into<String>) -> Self {
        Self::encoded(pulsar, topic, |record, bytes| {
            serde_json::to_writer(bytes, &record.value).map_err(|error| error.to_string())
        })
    }
}

impl<T: 'static> PulsarSink<T> {
    /// A topic of what `encode` makes of the records. It appends a record's bytes; where it cannot,
    /// the record becomes a dead letter with what it says, as does one that is larger than the broker
    /// takes. A topic without a namespace is in `public/default`.
    pub fn encoded(
        pulsar: &Pulsar,
        topic: impl Into<String>,
        encode: impl Fn(&Record<T>, &mut Vec<u8>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            pulsar: pulsar.clone(),
            topic: topic.into().into(),
            form: Form::new(encode),
            properties: None,
            batch_records: BATCH_RECORDS,
            batch_bytes: BATCH_BYTES,
            compression: Compression::default(),
            discover_every: DISCOVER_EVERY,
            reports: Arc::default(),
            delivery: Delivery::Immediate,
        }
    }

    /// What a value's key is, if it has one. Keys that are no text are written in base64.
    #[must_use]
    pub fn key<K: AsRef<[u8]>>(
        mut self,
        key: impl Fn(&T) -> Option<K> + Send + Sync + 'static,
    ) -> Self {
        self.form.set_key(key);
        self
    }

    /// Adds properties to a record, after its id.
    #[must_use]
    pub fn properties(
        mut self,
        properties: impl Fn(&Record<T>, &mut Properties) + Send + Sync + 'static,
    ) -> Self {
        self.properties = Some(Arc::new(properties));
        self
    }

    /// How many records are sent together at most, 1,000 unless set; one for readers that share a
    /// subscription by key, which divide whole batches.
    #[must_use]
    pub fn batch_records(mut self, records: u32) -> Self {
        self.batch_records = records;
        self
    }

    /// Bytes, before they are compressed, beyond which a batch is sent; 128 KiB unless set.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// How to compress; LZ4 unless set.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// How often to look for partitions that the topic has been given meanwhile; every 30 seconds unless
    /// set.
    #[must_use]
    pub fn discover_every(mut self, interval: Duration) -> Self {
        self.discover_every = interval;
        self
    }

    /// How records are delivered in a job with checkpoints: immediately unless set; exactly once, they
    /// are seen when their epoch has been sealed, and nobody else can write to the topic meanwhile.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// How many records have been delivered, for all writers of this sink and its clones.
    pub fn reports(&self) -> Arc<Reports> {
        Arc::clone(&self.reports)
    }

    pub(super) fn what(&self) -> String {
        format!("topic `{}` of Pulsar at {}", self.topic, self.pulsar.url())
    }

    /// The whole names of the topic's partitions.
    fn partitions(&self) -> Result<Vec<String>, Problem> {
        let client = Client::new(&self.pulsar);
        let count = client.patiently(|client| client.partitions_of(&self.topic))?;
        let full = topic_name::full(&self.topic);
        Ok(match count {
            None => vec![full],
            Some(count) => (0..count)
                .map(|number| topic_name::partition(&full, number))
                .collect(),
        })
    }

    /// Producers of the partitions that there are now, but for the first `known` of them.
    pub(super) fn producers(&self, known: usize) -> Result<Vec<Producer>, Problem> {
        let client = Client::new(&self.pulsar);
        let partitions = self.partitions()?.into_iter().skip(known);
        partitions
            .map(|topic| Producer::open(&client, topic, self.compression, false))
            .collect()
    }

    /// The only producer of a partition.
    pub(super) fn exclusive_producer(
        &self,
        client: &Client,
        topic: &str,
    ) -> Result<Producer, Problem> {
        Producer::open(client, topic.to_owned(), self.compression, true)
    }
}

impl<T: 'static> Sink<T> for PulsarSink<T> {
    fn describe(&self) -> String {
        self.what()
    }

    fn check(&self) -> Result<(), SinkError> {
        let checked = self.partitions();
        checked
            .map(drop)
            .map_err(|problem| problem.of_sink(self.what()))
    }

    fn open(&self) -> Result<Box<dyn Writer<T>>, SinkError> {
        match self.producers(0) {
            Ok(producers) => Ok(Box::new(PulsarWriter::new(self.clone(), producers))),
            Err(problem) => Err(problem.of_sink(self.what())),
        }
    }

    fn delivery(&self) -> Delivery {
        self.delivery
    }

    fn check_epochs(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn published(&self, slots: &str) -> Result<Option<Epoch>, SinkError> {
        let published = self.partitions().and_then(|partitions| {
            epochs::published(&Client::new(&self.pulsar), &partitions, slots)
        });
        published.map_err(|problem| problem.of_sink(self.what()))
    }

    fn open_epochs(&self, slot: &str) -> Result<Box<dyn EpochWriter<T>>, SinkError> {
        let partitions = self.partitions();
        let partitions = partitions.map_err(|problem| problem.of_sink(self.what()))?;
        let client = Client::new(&self.pulsar);
        let writer = PulsarEpochs::new(self.clone(), slot, client, partitions);
        Ok(Box::new(writer))
    }
}

/// The properties that a record is sent with.
#[derive(Debug, Default)]
pub struct Properties(pub(super) Vec<KeyValue>);

impl Properties {
    /// Adds a property after the others.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.0.push(KeyValue {
            key: name.into(),
            value: value.into(),
        });
        self
    }
}
