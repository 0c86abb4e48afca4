//! A consumer and what it can be asked. One serves all partitions of a source: each has a queue of
//! its own, which its reader empties on its own thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thalweg_engine::clock::Clock;
use thalweg_engine::time::EventTime;

use super::context::Context;
use super::problem::{Problem, in_words};
use super::settings::Kafka;

/// The group of a client whose source names none. Nothing is noted down for it.
const NO_GROUP: &str = "thalweg";
/// Events of the client that are served at once: while it reads, and while it is asked something.
const EVENTS_AT_ONCE: usize = 64;
const EVENTS_MEANWHILE: usize = 2_000;
/// How often they are while it reads: looking costs as much as a record, and all readers look at the same
/// place.
const SERVE_EVERY_NS: u64 = 50_000_000;
/// How long one attempt at a question takes.
const ATTEMPT: Duration = Duration::from_millis(500);

/// What a consumer sets. Much is fetched ahead of the readers, within bounds for each partition; a
/// fetch waits on the broker for a few milliseconds only, since another partition's data may come
/// meanwhile; and one whose queue was full goes on as soon as there is room.
const DEFAULTS: [(&str, &str); 11] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // What retention has removed is not passed over.
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("fetch.wait.max.ms", "20"),
    ("fetch.queue.backoff.ms", "2"),
    ("queued.min.messages", "50000"),
    ("queued.max.messages.kbytes", "16384"),
    ("allow.auto.create.topics", "false"),
    // Figures of the client for who operates the brokers, which cost something for every record.
    ("enable.metrics.push", "false"),
    // How long a commit waits for a coordinator: the client is no member of its group otherwise.
    ("session.timeout.ms", "6000"),
];

/// A client that reads, or only asks.
pub(super) struct Client {
    consumer: Arc<BaseConsumer<Context>>,
    patience: Duration,
    clock: Clock,
    /// When its events are to be served next.
    serve_at_ns: AtomicU64,
    assigned: Mutex<BTreeSet<(String, i32)>>,
}

impl Client {
    /// Makes a client; whether a broker answers shows when it is asked something.
    pub(super) fn new(kafka: &Kafka, group: Option<&str>, eof: bool) -> Result<Self, Problem> {
        let mut defaults = DEFAULTS.to_vec();
        defaults.push(("group.id", group.unwrap_or(NO_GROUP)));
        defaults.push(("enable.partition.eof", if eof { "true" } else { "false" }));
        let config = kafka.config(&defaults)?;
        let consumer: BaseConsumer<Context> = config
            .create_with_context(kafka.context(Arc::default()))
            .map_err(|error| kafka.unusable(&error))?;
        let client = Self {
            consumer: Arc::new(consumer),
            patience: kafka.how_long_to_wait(),
            clock: Clock::system(),
            serve_at_ns: AtomicU64::default(),
            assigned: Mutex::default(),
        };
        if kafka.waits_for_token() {
            // The client does nothing before it has its token, which it asks for in an event.
            client.serve_events(EVENTS_MEANWHILE);
        }
        Ok(client)
    }

    /// Serves the client's own events, if they are due: logs, errors, requests for a token.
    pub(super) fn serve(&self) {
        let (now_ns, at_ns) = (self.clock.now_ns(), self.serve_at_ns.load(Relaxed));
        let next_ns = now_ns + SERVE_EVERY_NS;
        let is_due = now_ns >= at_ns
            && self
                .serve_at_ns
                .compare_exchange(at_ns, next_ns, Relaxed, Relaxed)
                .is_ok();
        if is_due {
            self.serve_events(EVENTS_AT_ONCE);
        }
    }

    /// Notes that a record has come.
    pub(super) fn note_answer(&self) {
        self.consumer.context().note_answer();
    }

    /// Whether no broker can be reached.
    pub(super) fn is_cut_off(&self) -> bool {
        self.consumer.context().is_cut_off()
    }

    fn serve_events(&self, most: usize) {
        for _ in 0..most {
            // Errors have been told to the context; records come through the partitions' queues.
            let _ = self.consumer.poll(Duration::ZERO);
        }
    }

    /// Asks until there is an answer, or the brokers refuse, or patience runs out.
    fn ask<R>(
        &self,
        question: impl Fn(&BaseConsumer<Context>, Duration) -> KafkaResult<R>,
    ) -> Result<R, Problem> {
        let attempts = self
            .patience
            .as_millis()
            .div_ceil(ATTEMPT.as_millis())
            .max(1);
        let mut left = attempts;
        loop {
            left -= 1;
            let error = match question(&self.consumer, ATTEMPT) {
                Ok(answer) => {
                    self.consumer.context().forget_complaints();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            self.serve_events(EVENTS_MEANWHILE);
            let context = self.consumer.context();
            if left == 0 || context.is_refused() || is_final(&error) {
                return Err(context.problem(&error));
            }
            std::thread::sleep(ATTEMPT / 10);
        }
    }

    /// How many partitions a topic has.
    pub(super) fn partitions_of(&self, topic: &str) -> Result<usize, Problem> {
        let metadata =
            self.ask(|consumer, timeout| consumer.fetch_metadata(Some(topic), timeout))?;
        let found = metadata.topics().first();
        match found
            .and_then(MetadataTopic::error)
            .map(RDKafkaErrorCode::from)
        {
            None | Some(RDKafkaErrorCode::LeaderNotAvailable) => {
                Ok(found.map_or(0, |topic| topic.partitions().len()))
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Err(Problem::new(
                    format!("topic `{topic}` does not exist{}", self.other_topics()),
                    "create the topic, or fix its name",
                ))
            }
            Some(code) => Err(Problem::of_code(
                Some(code),
                format!("topic `{topic}`: {code}"),
            )),
        }
    }

    /// Every topic with the number of its partitions.
    pub(super) fn topics(&self) -> Result<BTreeMap<String, usize>, Problem> {
        let metadata = self.ask(|consumer, timeout| consumer.fetch_metadata(None, timeout))?;
        let topics = metadata.topics().iter();
        Ok(topics
            .filter(|topic| !topic.name().starts_with("__"))
            .map(|topic| (topic.name().to_owned(), topic.partitions().len()))
            .collect())
    }

    /// The first few topics that do exist, in words.
    fn other_topics(&self) -> String {
        let topics = self.topics().unwrap_or_default();
        let names: Vec<_> = topics.keys().take(8).map(String::as_str).collect();
        match names.as_slice() {
            [] => ": there are no topics".to_owned(),
            names => format!(": there are {}", names.join(", ")),
        }
    }

    /// The oldest offset that is there, and the one that the next record will have.
    pub(super) fn bounds(&self, topic: &str, partition: i32) -> Result<(u64, u64), Problem> {
        let (low, high) =
            self.ask(|consumer, timeout| consumer.fetch_watermarks(topic, partition, timeout))?;
        Ok((low.unsigned_abs(), high.unsigned_abs()))
    }

    /// The offset of the first record with a Kafka timestamp of at least `time`.
    pub(super) fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        time: EventTime,
    ) -> Result<Option<u64>, Problem> {
        // Rounded up, so that no record from before comes with it.
        let millis =
            time.as_micros().div_euclid(1000) + i64::from(time.as_micros().rem_euclid(1000) > 0);
        let asked = list(topic, partition, Offset::Offset(millis.max(0)))?;
        let told =
            self.ask(|consumer, timeout| consumer.offsets_for_times(asked.clone(), timeout))?;
        Ok(offset_in(&told))
    }

    /// The offset noted down for the client's group.
    pub(super) fn committed(&self, topic: &str, partition: i32) -> Result<Option<u64>, Problem> {
        let asked = list(topic, partition, Offset::Invalid)?;
        let told =
            self.ask(|consumer, timeout| consumer.committed_offsets(asked.clone(), timeout))?;
        Ok(offset_in(&told))
    }

    fn assigned(&self) -> MutexGuard<'_, BTreeSet<(String, i32)>> {
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the partition is being fetched: a client fetches it only once.
    pub(super) fn has_assigned(&self, topic: &str, partition: i32) -> bool {
        self.assigned().contains(&(topic.to_owned(), partition))
    }

    /// Begins to fetch a partition from `offset` on, into a queue of its own.
    pub(super) fn assign(
        &self,
        topic: &str,
        partition: i32,
        offset: u64,
    ) -> Result<PartitionQueue<Context>, Problem> {
        // Before the assignment, so that no record finds its way into the client's own queue.
        let queue = self.consumer.split_partition_queue(topic, partition);
        let queue = queue.ok_or_else(|| Problem::of_code(None, "it cannot be assigned".into()))?;
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let assignment = list(topic, partition, Offset::Offset(offset))?;
        self.consumer
            .incremental_assign(&assignment)
            .map_err(|error| self.consumer.context().problem(&error))?;
        self.assigned().insert((topic.to_owned(), partition));
        Ok(queue)
    }

    /// Fetches a partition no further.
    pub(super) fn unassign(&self, topic: &str, partition: i32) {
        if let Ok(assignment) = list(topic, partition, Offset::Invalid)
            && let Err(error) = self.consumer.incremental_unassign(&assignment)
        {
            tracing::debug!(topic, partition, "cannot unassign: {}", in_words(&error));
        }
        self.assigned().remove(&(topic.to_owned(), partition));
    }

    /// Notes down for the client's group up to which offset everything is done, and waits for the
    /// answer.
    pub(super) fn commit(&self, done: &[(String, i32, u64)]) -> Result<(), String> {
        let mut offsets = TopicPartitionList::with_capacity(done.len());
        for (topic, partition, offset) in done {
            let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
            offsets
                .add_partition_offset(topic, *partition, offset)
                .map_err(|error| in_words(&error))?;
        }
        self.consumer
            .commit(&offsets, CommitMode::Sync)
            .map_err(|error| in_words(&error))
    }
}

/// Whether asking again would not help.
fn is_final(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::UnknownTopicOrPartition
                | Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
        )
    )
}

fn list(topic: &str, partition: i32, offset: Offset) -> Result<TopicPartitionList, Problem> {
    let mut list = TopicPartitionList::with_capacity(1);
    match list.add_partition_offset(topic, partition, offset) {
        Ok(()) => Ok(list),
        Err(error) => Err(Problem::of_code(None, in_words(&error))),
    }
}

fn offset_in(told: &TopicPartitionList) -> Option<u64> {
    match told.elements().first()?.offset() {
        Offset::Offset(offset) => u64::try_from(offset).ok(),
        _ => None,
    }
}
