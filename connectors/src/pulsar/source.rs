//! The configuration of Pulsar topics as a source.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use thalweg_engine::source::{Found, Reader, Source, SourceError};

use super::client::{Client, Partitions};
use super::feed::{Feed, Way};
use super::message::{self, Make, Message};
use super::position::Position;
use super::protocol::SubType;
use super::reader::{PulsarReader, Shared};
use super::settings::Pulsar;
use super::start::Start;
use super::topic_name;
use crate::broker::{Problem, Table, Topics};
use crate::codec::{Check, Decode, JsonDecoder, checked};

/// Bytes of a value beyond which a message is dead-lettered, unless set otherwise.
const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of an entry, decompressed, beyond which it is dead-lettered, unless set otherwise.
const DECOMPRESSED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How often new partitions are looked for, unless set otherwise.
const DISCOVER_EVERY: Duration = Duration::from_secs(30);
/// How often a subscription is told how far everything is done.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// How a subscription shares its messages among those who read with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionKind {
    /// One job only; a second is refused.
    Exclusive,
    /// One job, and others that stand by for each partition.
    Failover,
    /// Several jobs, between which messages are divided by key. They have no common order then:
    /// offsets are counted as messages come, so that the ids which a sink gives to what is made of a
    /// message are not the same when it comes again after a restart.
    KeyShared,
}

impl SubscriptionKind {
    /// Its number in the protocol.
    pub(super) fn number(self) -> i32 {
        let kind = match self {
            Self::Exclusive => SubType::Exclusive,
            Self::Failover => SubType::Failover,
            Self::KeyShared => SubType::KeyShared,
        };
        kind.into()
    }
}

/// Reads topics: each of their partitions is a partition of the source, and a message's
/// [`Position`] is its offset.
///
/// Without a subscription nothing is left behind in the cluster, which therefore does not know what
/// is still to be read: set a retention (`pulsar-admin namespaces set-retention`) that is longer than
/// the job may ever be stopped. Where messages have been removed before they could be read, a job
/// that starts or connects again ends with an error rather than pass them over. A connection that is
/// lost is made again, from the next message on.
///
/// With a [`subscription`](Self::subscription) the cluster keeps what is not done, and a job goes on
/// where everything was done: each message is processed at least once.
///
/// A message that cannot be decoded becomes a dead letter, as does an entry that cannot be read; one
/// letter stands for all messages in it then.
///
/// ```no_run
/// use serde::{Deserialize, Serialize};
/// use thalweg_connectors::pulsar::{Message, Pulsar, PulsarSource, SubscriptionKind, Topics};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Payment {
///     card: u64,
///     amount: f64,
/// }
///
/// let pulsar = Pulsar::at("pulsar://localhost:6650");
/// let payments = PulsarSource::<Payment>::json(&pulsar, "payments")
///     .subscription("fraud", SubscriptionKind::Failover);
///
/// // Whatever matches in a namespace, with keys, properties and times, to where it ends now.
/// let all: PulsarSource<Message<Payment>> =
///     PulsarSource::json(&pulsar, Topics::pattern("bank/eu/payments-.*")).until_end().with_metadata();
/// ```
pub struct PulsarSource<T> {
    pulsar: Pulsar,
    topics: Topics,
    start: Start,
    subscription: Option<(String, SubscriptionKind)>,
    until_end: bool,
    discover_every: Duration,
    value_bytes_max: usize,
    decompressed_bytes_max: usize,
    /// Makes what makes a value of a message, given the limit of its size.
    make: Arc<dyn Fn(usize) -> Make<T> + Send + Sync>,
    listing: Mutex<Listing>,
    /// The feeds of partitions that have something to acknowledge.
    feeds: Mutex<BTreeMap<u32, Arc<Shared>>>,
}

/// The partitions found so far.
#[derive(Default)]
struct Listing {
    table: Table,
    /// The topics that are not divided.
    whole: BTreeSet<String>,
}

impl<T: DeserializeOwned + 'static> PulsarSource<T> {
    /// Topics whose messages are JSON.
    pub fn json(pulsar: &Pulsar, topics: impl Into<Topics>) -> Self {
        Self::decoded(pulsar, topics, || JsonDecoder)
    }
}

impl<T: 'static> PulsarSource<T> {
    /// Topics whose messages are decoded by what `decoder` makes, once for each partition. Topics
    /// without a namespace are in `public/default`.
    pub fn decoded<D: Decode<T> + 'static>(
        pulsar: &Pulsar,
        topics: impl Into<Topics>,
        decoder: impl Fn() -> D + Send + Sync + 'static,
    ) -> Self {
        let make = move |bytes_max| -> Make<T> {
            let mut decoder = decoder();
            Box::new(move |raw| message::decode(&mut decoder, raw, bytes_max))
        };
        Self {
            pulsar: pulsar.clone(),
            topics: topics.into(),
            start: Start::default(),
            subscription: None,
            until_end: false,
            discover_every: DISCOVER_EVERY,
            value_bytes_max: VALUE_BYTES_MAX,
            decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
            make: Arc::new(make),
            listing: Mutex::default(),
            feeds: Mutex::default(),
        }
    }

    /// Gives each value with its key, properties, times and place.
    pub fn with_metadata(self) -> PulsarSource<Message<T>> {
        let inner = self.make;
        let make = move |bytes_max| -> Make<Message<T>> {
            let mut inner = inner(bytes_max);
            Box::new(move |raw| inner(raw).map(|value| message::with_metadata(raw, value)))
        };
        PulsarSource {
            pulsar: self.pulsar,
            topics: self.topics,
            start: self.start,
            subscription: self.subscription,
            until_end: self.until_end,
            discover_every: self.discover_every,
            value_bytes_max: self.value_bytes_max,
            decompressed_bytes_max: self.decompressed_bytes_max,
            make: Arc::new(make),
            listing: self.listing,
            feeds: self.feeds,
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
            Box::new(move |raw| {
                let value = inner(raw)?;
                checked(value, Some(&check), raw.value.unwrap_or_default())
            })
        });
        self
    }

    /// Where to begin; [`Start::Beginning`] unless set. With a subscription this may be the beginning
    /// or the end, and matters only when the subscription is made.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// The subscription to read with. Everything up to a message that is done is acknowledged, every
    /// second and when the job ends.
    #[must_use]
    pub fn subscription(mut self, name: impl Into<String>, kind: SubscriptionKind) -> Self {
        self.subscription = Some((name.into(), kind));
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

    /// The length, decompressed, beyond which an entry (a message, or a batch of them) is
    /// dead-lettered as it is; 32 MiB unless set.
    #[must_use]
    pub fn decompressed_bytes_max(mut self, bytes: usize) -> Self {
        self.decompressed_bytes_max = bytes;
        self
    }

    fn what(&self) -> String {
        format!(
            "{} of Pulsar at {}",
            self.topics.in_words(),
            self.pulsar.url()
        )
    }

    fn client(&self) -> Client {
        Client::new(&self.pulsar)
    }

    fn list(&self) -> Result<Vec<u32>, Problem> {
        let client = self.client();
        let (order, topics): (Vec<_>, BTreeMap<_, Partitions>) = match &self.topics {
            Topics::Named(names) if names.is_empty() => {
                return Err(Problem::new("no topic is named", "name at least one"));
            }
            Topics::Named(names) => {
                let mut topics = BTreeMap::new();
                for name in names {
                    let partitions = client.patiently(|client| client.partitions_of(name))?;
                    topics.insert(name.clone(), partitions);
                }
                (names.clone(), topics)
            }
            Topics::Pattern(pattern) => {
                let (namespace, local) = topic_name::split(pattern);
                let regex = Topics::Pattern(local).regex()?;
                let mut topics = client.patiently(|client| client.topics(&namespace))?;
                topics.retain(|name, _| {
                    let (_, local) = topic_name::split(name);
                    regex.as_ref().is_some_and(|regex| regex.is_match(&local))
                });
                // Of a divided topic, a partition that nobody has used may not be in the list.
                for (name, partitions) in &mut topics {
                    if partitions.is_some() {
                        *partitions = client.patiently(|client| client.partitions_of(name))?;
                    }
                }
                (topics.keys().cloned().collect(), topics)
            }
        };
        let mut listing = lock(&self.listing);
        let count = |partitions: &Partitions| partitions.unwrap_or(1) as usize;
        let counts: BTreeMap<_, _> = topics
            .iter()
            .map(|(name, partitions)| (name.clone(), count(partitions)))
            .collect();
        let whole = topics
            .into_iter()
            .filter(|(_, partitions)| partitions.is_none());
        listing.whole.extend(whole.map(|(name, _)| name));
        listing.table.update(&counts, order)
    }

    /// The name of a partition's own topic, short.
    fn place(&self, partition: u32) -> Result<String, Problem> {
        let listing = lock(&self.listing);
        match listing.table.place(partition) {
            Some((topic, 0)) if listing.whole.contains(topic) => Ok(topic.to_owned()),
            Some((topic, number)) if listing.table.has(partition) => {
                Ok(topic_name::partition(topic, number.unsigned_abs()))
            }
            _ => Err(Problem::new(
                format!("there is no partition {partition}"),
                "read the topics that were read before",
            )),
        }
    }

    fn start_of(&self, partition: u32, found: Found) -> Result<u64, Problem> {
        if self.subscription.is_some() || found == Found::Later {
            return Ok(0);
        }
        let topic = self.place(partition)?;
        let full = topic_name::full(&topic);
        let client = self.client();
        match &self.start {
            Start::Beginning => Ok(0),
            Start::End => {
                let span = client.patiently(|client| client.span(&full))?;
                span.next.map_or(Ok(0), Position::offset)
            }
            Start::At(time) => {
                let position = client.patiently(|client| client.position_at(&full, *time))?;
                position.offset()
            }
            Start::Positions(positions) => {
                let given = positions.get(&topic).or_else(|| positions.get(&full));
                given.map_or(Ok(0), |position| position.offset())
            }
        }
    }

    fn open_at(&self, partition: u32, offset: u64) -> Result<PulsarReader<T>, Problem> {
        let topic = topic_name::full(&self.place(partition)?);
        let way = match &self.subscription {
            None => Way::Reader,
            Some((name, kind)) => Way::Subscription {
                name: name.clone(),
                kind: *kind,
                from_end: self.start == Start::End,
            },
        };
        let (bytes_max, until_end) = (self.decompressed_bytes_max, self.until_end);
        let feed = Feed::open(self.client(), topic, way, offset, bytes_max, until_end)?;
        let shared = Arc::new(Shared::new(feed));
        if self.subscription.is_some() {
            lock(&self.feeds).insert(partition, Arc::clone(&shared));
        }
        Ok(PulsarReader {
            shared,
            make: (self.make)(self.value_bytes_max),
        })
    }

    fn check_subscription(&self) -> Result<(), Problem> {
        let Some((_, kind)) = &self.subscription else {
            return Ok(());
        };
        if matches!(self.start, Start::At(_) | Start::Positions(_)) {
            return Err(Problem::new(
                "it is to start somewhere, but its subscription knows where it is",
                "leave one of them out, or move the subscription (pulsar-admin topics reset-cursor)",
            ));
        }
        if *kind == SubscriptionKind::KeyShared && self.until_end {
            return Err(Problem::new(
                "it is to be read to its end, but its subscription is shared by key, and has none",
                "make the subscription exclusive",
            ));
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: 'static> Source<T> for PulsarSource<T> {
    fn describe(&self) -> String {
        self.what()
    }

    fn check(&self) -> Result<(), SourceError> {
        let checked = self.check_subscription().and_then(|()| self.list());
        checked
            .map(drop)
            .map_err(|problem| problem.of_source(self.what()))
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        self.list()
            .map_err(|problem| problem.of_source(self.what()))
    }

    fn partition_name(&self, partition: u32) -> String {
        self.place(partition)
            .unwrap_or_else(|_| partition.to_string())
    }

    fn start_offset(&self, partition: u32, found: Found) -> Result<u64, SourceError> {
        self.start_of(partition, found).map_err(|problem| {
            let name = self.partition_name(partition);
            problem.of_source(format!("{name} of {}", self.what()))
        })
    }

    fn open(&self, partition: u32, offset: u64) -> Result<Box<dyn Reader<T>>, SourceError> {
        match self.open_at(partition, offset) {
            Ok(reader) => Ok(Box::new(reader)),
            Err(problem) => {
                let name = self.partition_name(partition);
                Err(problem.of_source(format!("{name} of {}", self.what())))
            }
        }
    }

    fn discover_every(&self) -> Option<Duration> {
        (!self.until_end).then_some(self.discover_every)
    }

    fn commit_every(&self) -> Option<Duration> {
        self.subscription.as_ref().map(|_| COMMIT_EVERY)
    }

    fn commit(&self, done: &[(u32, u64)]) -> Result<(), SourceError> {
        for (partition, offset) in done {
            let feed = lock(&self.feeds).get(partition).cloned();
            if let Some(feed) = feed {
                feed.acknowledge(*offset)
                    .map_err(|reason| SourceError::Read {
                        what: format!("{} of {}", self.partition_name(*partition), self.what()),
                        reason,
                    })?;
            }
        }
        Ok(())
    }
}
