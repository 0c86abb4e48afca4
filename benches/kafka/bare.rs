//! The client by itself: topics made and filled, and a loop that consumes and looks at nothing.

use std::time::Duration;

use serde::Serialize;
use thalweg::connectors::kafka::rdkafka::ClientConfig;
use thalweg::connectors::kafka::rdkafka::admin::{
    AdminClient, AdminOptions, NewTopic, TopicReplication,
};
use thalweg::connectors::kafka::rdkafka::client::DefaultClientContext;
use thalweg::connectors::kafka::rdkafka::consumer::{BaseConsumer, Consumer};
use thalweg::connectors::kafka::rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use thalweg::connectors::kafka::rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::RECORD_BYTES;
use super::cpu::Measured;
use super::payments::Payment;

const PATIENCE: Duration = Duration::from_secs(60);

/// A topic of the broker.
#[derive(Clone)]
pub(crate) struct Topic {
    pub(crate) brokers: String,
    pub(crate) name: String,
    partitions: i32,
    pub(crate) records: usize,
}

/// A payment as it is sent: its number, and as many bytes as a record is to have.
#[derive(Serialize)]
struct Padded<'a> {
    #[serde(flatten)]
    payment: &'a Payment,
    pad: &'a str,
}

impl Topic {
    pub(crate) fn empty(brokers: &str, name: &str, partitions: i32) -> Self {
        let topic = Self {
            brokers: brokers.to_owned(),
            name: format!("{name}-{}", std::process::id()),
            partitions,
            records: 0,
        };
        let admin: AdminClient<DefaultClientContext> = topic.config().create().unwrap();
        let new = NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(1));
        let (new, options) = ([new], AdminOptions::new());
        // The answer comes on a thread of the client's own; that the topic is there shows below.
        drop(admin.create_topics(&new, &options));
        let consumer: BaseConsumer = topic.config().create().unwrap();
        let is_there = || {
            let metadata = consumer
                .fetch_metadata(Some(&topic.name), PATIENCE)
                .unwrap();
            let found = metadata.topics().first();
            found.is_some_and(|found| found.partitions().len() as i32 == partitions)
        };
        while !is_there() {
            std::thread::sleep(Duration::from_millis(50));
        }
        topic
    }

    /// Makes the topic and spreads the payments over its partitions by card, in their order.
    pub(crate) fn fill(brokers: &str, name: &str, partitions: i32, payments: &[Payment]) -> Self {
        let mut topic = Self::empty(brokers, name, partitions);
        topic.records = payments.len();
        let producer = topic.producer();
        for payment in payments {
            let text = text(payment);
            send(&producer, &topic, payment, text.as_bytes());
        }
        producer.flush(PATIENCE).unwrap();
        topic
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    pub(crate) fn producer(&self) -> BaseProducer {
        let mut config = self.config();
        config.set("linger.ms", "5").set("compression.type", "lz4");
        config.create().unwrap()
    }

    /// A consumer of all partitions, which begins at `offset` of each.
    pub(crate) fn consumer(&self, offset: Offset) -> BaseConsumer {
        let mut config = self.config();
        // As the source sets them: with the client's own, the loop waits a second whenever its queue was
        // full.
        config
            .set("group.id", "bench")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "20")
            .set("fetch.queue.backoff.ms", "2")
            .set("queued.min.messages", "50000");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.name, 0, self.partitions - 1);
        list.set_all_offsets(offset).unwrap();
        consumer.assign(&list).unwrap();
        consumer
    }
}

/// A payment as a record of [`RECORD_BYTES`].
pub(crate) fn text(payment: &Payment) -> String {
    let plain = serde_json::to_string(&Padded { payment, pad: "" }).unwrap();
    let pad = "x".repeat(RECORD_BYTES.saturating_sub(plain.len()));
    serde_json::to_string(&Padded { payment, pad: &pad }).unwrap()
}

/// Puts a record into the producer's queue, waiting while it is full.
pub(crate) fn send(producer: &BaseProducer, topic: &Topic, payment: &Payment, value: &[u8]) {
    // Card numbers are random.
    let partition = (payment.card % u64::from(topic.partitions.unsigned_abs())) as i32;
    let record = BaseRecord::<[u8], [u8]>::to(&topic.name).partition(partition);
    let mut record = record.payload(value);
    while let Err((error, refused)) = producer.send(record) {
        assert!(error.to_string().contains("QueueFull"), "{error}");
        producer.poll(Duration::from_millis(5));
        record = refused;
    }
}

/// Consumes the topic and adds up the lengths of its records.
pub(crate) fn run(topic: &Topic) -> Measured {
    Measured::of(topic.records, || {
        let consumer = topic.consumer(Offset::Beginning);
        let (mut records, mut bytes) = (0, 0);
        while records < topic.records {
            let message = consumer.poll(PATIENCE).expect("the topic holds more");
            bytes += message.unwrap().payload_len();
            records += 1;
        }
        assert!(bytes >= records * RECORD_BYTES);
    })
}
