//! A real broker, and what tests do with it behind the connectors' backs.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thalweg_connectors::kafka::Kafka;

use crate::running;
pub(crate) use crate::running::Broker;

pub(crate) fn shared() -> Option<&'static Broker> {
    running::shared("kafka")
}

pub(crate) fn own() -> Option<Broker> {
    running::own("kafka")
}

/// How long a broker may take for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

impl Broker {
    pub(crate) fn kafka(&self) -> Kafka {
        Kafka::at(self.address("THALWEG_TEST_KAFKA"))
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address("THALWEG_TEST_KAFKA"));
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    /// Makes a topic whose name begins with `name`.
    pub(crate) fn topic(&self, name: &str, partitions: i32) -> String {
        let topic = format!("{name}-{:x}", unique());
        self.create_topic(&topic, partitions);
        topic
    }

    /// Makes a topic that takes so many bytes at once.
    pub(crate) fn narrow_topic(&self, name: &str, bytes_max: &str) -> String {
        self.topic_with(name, "max.message.bytes", bytes_max)
    }

    /// Makes a topic of one partition with a setting of its own.
    pub(crate) fn topic_with(&self, name: &str, setting: &str, value: &str) -> String {
        let topic = format!("{name}-{:x}", unique());
        self.create(&topic, 1, setting, value);
        topic
    }

    pub(crate) fn create_topic(&self, topic: &str, partitions: i32) {
        self.create(topic, partitions, "max.message.bytes", "8000000");
    }

    fn create(&self, topic: &str, partitions: i32, setting: &str, value: &str) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1)).set(setting, value);
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let made = block_on(self.admin().create_topics([&new], &options));
        made.unwrap().into_iter().for_each(|one| drop(one.unwrap()));
    }

    pub(crate) fn add_partitions(&self, topic: &str, count: usize) {
        let new = NewPartitions::new(topic, count);
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let made = block_on(self.admin().create_partitions([&new], &options));
        made.unwrap().into_iter().for_each(|one| drop(one.unwrap()));
    }

    /// Removes what is before an offset, as retention does.
    pub(crate) fn remove_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        let offset = Offset::Offset(offset);
        list.add_partition_offset(topic, partition, offset).unwrap();
        block_on(self.admin().delete_records(&list, &AdminOptions::new())).unwrap();
    }

    pub(crate) fn producer(&self) -> BaseProducer {
        let mut config = self.config();
        config
            .set("linger.ms", "5")
            .set("compression.type", "lz4")
            .set("message.max.bytes", "8000000");
        config.create().unwrap()
    }

    /// Appends values to a partition.
    pub(crate) fn append<V: AsRef<[u8]>>(
        &self,
        topic: &str,
        partition: i32,
        values: impl IntoIterator<Item = V>,
    ) {
        let producer = self.producer();
        for value in values {
            let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
            send(&producer, record.payload(value.as_ref()));
        }
        // A broker that has just come back takes its time.
        producer.flush(PATIENCE * 6).unwrap();
    }

    /// Everything that is in a topic now.
    pub(crate) fn contents(&self, topic: &str) -> Vec<Stored> {
        let mut config = self.config();
        config
            .set("group.id", "onlooker")
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let partitions = metadata.topics()[0].partitions().len();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, partitions as i32 - 1);
        list.set_all_offsets(Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let (mut contents, mut at_end) = (Vec::new(), 0);
        while at_end < partitions {
            match consumer.poll(PATIENCE).expect("the topic ends somewhere") {
                Ok(message) => contents.push(Stored::of(&message)),
                Err(KafkaError::PartitionEOF(_)) => at_end += 1,
                Err(error) => panic!("{error}"),
            }
        }
        contents
    }
}

/// Puts a record into the producer's queue, waiting while it is full.
pub(crate) fn send(producer: &BaseProducer, mut record: BaseRecord<'_, [u8], [u8]>) {
    while let Err((error, refused)) = producer.send(record) {
        assert!(error.to_string().contains("QueueFull"), "{error}");
        producer.poll(Duration::from_millis(5));
        record = refused;
    }
}

/// A record as it stands in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Stored {
    fn of(message: &impl Message) -> Self {
        let mut headers = Vec::new();
        if let Some(all) = message.headers() {
            for header in all.iter() {
                let value = header.value.unwrap_or_default();
                headers.push((header.key.to_owned(), value.to_vec()));
            }
        }
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().unwrap_or_default().to_vec(),
            headers,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        let mut headers = self.headers.iter();
        Some(&headers.find(|(header, _)| header == name)?.1)
    }
}

/// A number that no other test of this run, and hardly one of another, has.
fn unique() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// Waits for a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
