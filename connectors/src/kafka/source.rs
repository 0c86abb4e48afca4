//! The configuration of Kafka topics as a source.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::Message as _;
use serde::de::DeserializeOwned;
use thalweg_engine::source::{Found, Reader, Source, SourceError};

use super::client::Client;
use super::message::{self, Make, Message};
use super::problem::{Problem, Requirement, unmet};
use super::reader::KafkaReader;
use super::settings::Kafka;
use super::start::Start;
use crate::broker::{Table, Topics};
use crate::codec::{Check, Decode, JsonDecoder, checked};

/// Bytes of a value beyond which a record is dead-lettered, unless set otherwise.
const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// How often new partitions are looked for, unless set otherwise.
const DISCOVER_EVERY: Duration = Duration::from_secs(30);
/// How often a group is told how far everything is done.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// Reads topics: each of their partitions is a partition of the source, and offsets are Kafka's.
///
/// Records of transactions that were aborted, or are not yet finished, are not read. A record that
/// cannot be decoded becomes a dead letter, named by topic, partition and offset. Where a record was
/// removed before it could be read, the job ends with an error rather than pass it over.
///
/// With a [`group`](Self::group), the offset up to which everything is done is committed every
/// second, and when the job ends. A job that starts with [`Start::Committed`] goes on from there: each
/// record is processed at least once, but what steps kept in their state is not there any more.
///
/// ```no_run
/// use serde::{Deserialize, Serialize};
/// use thalweg_connectors::kafka::{Kafka, KafkaSource, Message, Topics};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Payment {
///     card: u64,
///     amount: f64,
/// }
///
/// let kafka = Kafka::at("localhost:9092");
/// let payments = KafkaSource::<Payment>::json(&kafka, "payments").group("fraud");
///
/// // Whatever matches, with keys, headers and timestamps, to where it ends now.
/// let all: KafkaSource<Message<Payment>> =
///     KafkaSource::json(&kafka, Topics::pattern("payments\\..*")).until_end().with_metadata();
/// ```
///
/// # Compression
///
/// Brokers take at most `max.message.bytes` (of the topic, 1 MiB unless set) in one batch, compressed. The client
/// decompresses a batch as a whole, and bounds only what zstd makes of it: at most its property
/// `receive.message.max.bytes` (100 MB unless set), beyond which the job ends with an error. What the other
/// codecs make of a batch has no bound but their own, whatever is set here: some 1,000 times its size
/// with gzip, 255 times with lz4, some 21 times with snappy, where a batch may also claim up to 4 GiB, for which
/// room is made. So where producers are not trusted, set `compression.type=zstd` for the topic: then the
/// brokers themselves compress anew what they are given. [`value_bytes_max`](Self::value_bytes_max) is
/// looked at after all of this, record by record.
pub struct KafkaSource<T> {
    kafka: Kafka,
    topics: Topics,
    start: Start,
    group: Option<String>,
    until_end: bool,
    discover_every: Duration,
    value_bytes_max: usize,
    /// Makes what makes a value of a message, given the limit of its size.
    make: Arc<dyn Fn(usize) -> Make<T> + Send + Sync>,
    requirement: Option<Requirement>,
    client: Mutex<Option<Arc<Client>>>,
    table: Mutex<Table>,
}

impl<T: DeserializeOwned + 'static> KafkaSource<T> {
    /// Topics whose records are JSON.
    pub fn json(kafka: &Kafka, topics: impl Into<Topics>) -> Self {
        Self::decoded(kafka, topics, || JsonDecoder)
    }
}

impl<T: 'static> KafkaSource<T> {
    /// Topics whose records are decoded by what `decoder` makes, once for each partition.
    pub fn decoded<D: Decode<T> + 'static>(
        kafka: &Kafka,
        topics: impl Into<Topics>,
        decoder: impl Fn() -> D + Send + Sync + 'static,
    ) -> Self {
        let make = move |bytes_max| -> Make<T> {
            let mut decoder = decoder();
            Box::new(move |record| message::decode(&mut decoder, record, bytes_max))
        };
        Self {
            kafka: kafka.clone(),
            topics: topics.into(),
            start: Start::default(),
            group: None,
            until_end: false,
            discover_every: DISCOVER_EVERY,
            value_bytes_max: VALUE_BYTES_MAX,
            make: Arc::new(make),
            requirement: None,
            client: Mutex::default(),
            table: Mutex::default(),
        }
    }

    /// Gives each value with its key, headers, timestamp and place.
    pub fn with_metadata(self) -> KafkaSource<Message<T>> {
        let inner = self.make;
        let make = move |bytes_max| -> Make<Message<T>> {
            let mut inner = inner(bytes_max);
            Box::new(move |record| inner(record).map(|value| message::with_metadata(record, value)))
        };
        KafkaSource {
            kafka: self.kafka,
            topics: self.topics,
            start: self.start,
            group: self.group,
            until_end: self.until_end,
            discover_every: self.discover_every,
            value_bytes_max: self.value_bytes_max,
            make: Arc::new(make),
            requirement: self.requirement,
            client: self.client,
            table: self.table,
        }
    }

    /// Checks each value that was decoded: one that is refused is dead-lettered with the reason.
    #[must_use]
    pub fn check_with(
        mut self,
        check: impl Fn(&T) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let (inner, check): (_, Check<T>) = (self.make, Arc::new(check));
        self.make = Arc::new(move |bytes_max| -> Make<T> {
            let (mut inner, check) = (inner(bytes_max), Arc::clone(&check));
            Box::new(move |record| {
                let value = inner(record)?;
                checked(value, Some(&check), record.payload().unwrap_or_default())
            })
        });
        self
    }

    /// Where to begin; [`Start::Beginning`] unless set.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// The consumer group that is told how far everything is done. It has no other members: the
    /// engine assigns the partitions.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Ends the source where its partitions end when they are opened, and looks for no new ones.
    #[must_use]
    pub fn until_end(mut self) -> Self {
        self.until_end = true;
        self
    }

    /// How often to look for new partitions and topics; every 30 seconds unless set.
    #[must_use]
    pub fn discover_every(mut self, interval: Duration) -> Self {
        self.discover_every = interval;
        self
    }

    /// The length beyond which a value is dead-lettered, with its first `bytes`; 1 MiB unless set.
    #[must_use]
    pub fn value_bytes_max(mut self, bytes: usize) -> Self {
        self.value_bytes_max = bytes;
        self
    }

    /// What else must hold for the source to be used, looked at before the job starts: such as that a
    /// schema registry can be reached and knows the topic's subject.
    #[must_use]
    pub fn requires<R>(
        mut self,
        requirement: impl Fn() -> Result<R, String> + Send + Sync + 'static,
    ) -> Self {
        self.requirement = Some(Arc::new(move || requirement().map(drop)));
        self
    }

    fn what(&self) -> String {
        format!(
            "{} of Kafka at {}",
            self.topics.in_words(),
            self.kafka.brokers()
        )
    }

    /// The one client of this source, made when it is first needed.
    fn client(&self) -> Result<Arc<Client>, Problem> {
        let mut client = lock(&self.client);
        if let Some(client) = &*client {
            return Ok(Arc::clone(client));
        }
        Ok(Arc::clone(client.insert(Arc::new(self.new_client()?))))
    }

    fn new_client(&self) -> Result<Client, Problem> {
        Client::new(&self.kafka, self.group.as_deref(), self.until_end)
    }

    fn list(&self) -> Result<Vec<u32>, Problem> {
        let regex = self.topics.regex()?;
        let client = self.client()?;
        let (order, counts): (Vec<_>, BTreeMap<_, _>) = match (&self.topics, regex) {
            (Topics::Named(names), _) if names.is_empty() => {
                return Err(Problem::new("no topic is named", "name at least one"));
            }
            (Topics::Named(names), _) => {
                let count = |name: &String| Ok((name.clone(), client.partitions_of(name)?));
                let counts = names.iter().map(count).collect::<Result<_, _>>()?;
                (names.clone(), counts)
            }
            (Topics::Pattern(_), regex) => {
                let mut topics = client.topics()?;
                topics.retain(|name, _| regex.as_ref().is_some_and(|regex| regex.is_match(name)));
                (topics.keys().cloned().collect(), topics)
            }
        };
        lock(&self.table).update(&counts, order)
    }

    /// The topic and Kafka's own number of a partition.
    fn place(&self, partition: u32) -> Result<(String, i32), Problem> {
        let table = lock(&self.table);
        match table.place(partition) {
            Some((topic, number)) => Ok((topic.to_owned(), number)),
            None => Err(Problem::new(
                format!("there is no partition {partition}"),
                "read the topics that were read before",
            )),
        }
    }

    fn start_of(&self, partition: u32, found: Found) -> Result<u64, Problem> {
        let (topic, number) = self.place(partition)?;
        let client = self.client()?;
        let (low, high) = client.bounds(&topic, number)?;
        Ok(match (&self.start, found) {
            (Start::Beginning, _) | (_, Found::Later) => low,
            (Start::End, _) => high,
            (Start::At(time), _) => client.offset_at(&topic, number, *time)?.unwrap_or(high),
            (Start::Committed, _) => client.committed(&topic, number)?.unwrap_or(low),
            (Start::Offsets(offsets), _) => {
                let given = offsets.get(&(topic, number.unsigned_abs()));
                given.copied().unwrap_or(low)
            }
        })
    }

    fn open_at(&self, partition: u32, offset: u64) -> Result<KafkaReader<T>, Problem> {
        if self.place(partition).is_err() {
            // Nobody has asked for the partitions yet, or the topic is not there.
            self.list()?;
        }
        let (topic, number) = self.place(partition)?;
        let client = self.client()?;
        let (low, high) = client.bounds(&topic, number)?;
        if offset < low {
            return Err(Problem::new(
                format!(
                    "offset {offset}, where to go on, is not there any more: retention has removed \
                     everything before offset {low}"
                ),
                "start anew from where the partition begins now, and keep records longer",
            ));
        }
        if offset > high {
            return Err(Problem::new(
                format!("offset {offset}, where to go on, is beyond its end at {high}"),
                "was the topic made anew? then start anew, too",
            ));
        }
        let client = match client.has_assigned(&topic, number) {
            false => client,
            // A second reader of a partition.
            true => Arc::new(self.new_client()?),
        };
        Ok(KafkaReader {
            queue: client.assign(&topic, number, offset)?,
            client,
            topic,
            partition: number,
            make: (self.make)(self.value_bytes_max),
            next: offset,
            end: self.until_end.then_some(high),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: 'static> Source<T> for KafkaSource<T> {
    fn describe(&self) -> String {
        self.what()
    }

    fn check(&self) -> Result<(), SourceError> {
        if self.start == Start::Committed && self.group.is_none() {
            let reason = "it is to start where its group has got to, but names no group";
            return Err(Problem::new(reason, "name one with `group`").of_source(self.what()));
        }
        self.partitions()?;
        let met = self.requirement.as_ref().map_or(Ok(()), |met| met());
        met.map_err(|reason| unmet(reason).of_source(self.what()))
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        self.list()
            .map_err(|problem| problem.of_source(self.what()))
    }

    fn partition_name(&self, partition: u32) -> String {
        match self.place(partition) {
            Ok((topic, number)) => format!("{topic}-{number}"),
            Err(_) => partition.to_string(),
        }
    }

    fn start_offset(&self, partition: u32, found: Found) -> Result<u64, SourceError> {
        self.start_of(partition, found).map_err(|problem| {
            problem.of_source(format!(
                "{} of {}",
                self.partition_name(partition),
                self.what()
            ))
        })
    }

    fn open(&self, partition: u32, offset: u64) -> Result<Box<dyn Reader<T>>, SourceError> {
        match self.open_at(partition, offset) {
            Ok(reader) => Ok(Box::new(reader)),
            Err(problem) => Err(problem.of_source(format!(
                "{} of {}",
                self.partition_name(partition),
                self.what()
            ))),
        }
    }

    fn discover_every(&self) -> Option<Duration> {
        (!self.until_end).then_some(self.discover_every)
    }

    fn commit_every(&self) -> Option<Duration> {
        self.group.as_ref().map(|_| COMMIT_EVERY)
    }

    fn commit(&self, done: &[(u32, u64)]) -> Result<(), SourceError> {
        let failed = |reason| SourceError::Read {
            what: self.what(),
            reason,
        };
        let client = self.client().map_err(|problem| failed(problem.reason))?;
        let place = |&(partition, offset): &(u32, u64)| {
            let (topic, number) = self.place(partition)?;
            Ok((topic, number, offset))
        };
        let offsets: Result<Vec<_>, Problem> = done.iter().map(place).collect();
        let offsets = offsets.map_err(|problem| failed(problem.reason))?;
        client.commit(&offsets).map_err(failed)
    }
}
