//! A real broker, and what tests do with it behind the connectors' backs.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
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
use tempfile::TempDir;
use thalweg_connectors::kafka::Kafka;

/// Where the broker is not to be had, `tests/brokers/start` exits with this.
const UNAVAILABLE: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(10);

/// A running broker.
pub(crate) struct Broker {
    addresses: BTreeMap<String, String>,
    /// Where a broker of a test's own lives.
    folder: Option<TempDir>,
}

/// The broker that tests share, unless it is to be skipped.
pub(crate) fn shared() -> Option<&'static Broker> {
    static SHARED: OnceLock<Result<Broker, String>> = OnceLock::new();
    let started = SHARED.get_or_init(|| {
        let given: BTreeMap<_, _> = std::env::vars()
            .filter(|(name, _)| name.starts_with("THALWEG_TEST_KAFKA"))
            .collect();
        if given.contains_key("THALWEG_TEST_KAFKA") {
            let folder = None;
            return Ok(Broker {
                addresses: given,
                folder,
            });
        }
        // Its folder goes with the broker, which the script stops after this process has ended.
        let mut broker = start()?;
        let _path = broker.folder.take().unwrap().keep();
        Ok(broker)
    });
    started.as_ref().map_err(|reason| skip(reason)).ok()
}

/// A broker of the test's own, which it may stop and start again.
pub(crate) fn own() -> Option<Broker> {
    start().map_err(|reason| skip(&reason)).ok()
}

fn start() -> Result<Broker, String> {
    let folder = tempfile::Builder::new().prefix("thalweg-kafka-").tempdir();
    let folder = folder.unwrap();
    let addresses = start_in(folder.path())?;
    Ok(Broker {
        addresses,
        folder: Some(folder),
    })
}

fn start_in(folder: &Path) -> Result<BTreeMap<String, String>, String> {
    let output = Command::new(scripts().join("start"))
        .args(["kafka", "--while", &std::process::id().to_string(), "--dir"])
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().trim_start_matches("error: ").to_owned();
    if output.status.code() == Some(UNAVAILABLE) {
        return Err(said);
    }
    assert!(output.status.success(), "the broker did not start: {said}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let pairs = lines.lines().filter_map(|line| line.split_once('='));
    Ok(pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/brokers")
}

/// Says that the test of this thread is skipped, where `tests/run` hears it.
fn skip(reason: &str) {
    let is_set = |name, value| std::env::var(name).is_ok_and(|set| set == value);
    let required = is_set("CI", "true") || is_set("THALWEG_REQUIRE_BROKERS", "1");
    assert!(!required, "a broker is required: {reason}");
    let thread = std::thread::current();
    let line = format!("kafka::{}: {reason}", thread.name().unwrap_or("?"));
    eprintln!("skipped {line}");
    if let Ok(list) = std::env::var("THALWEG_SKIPPED") {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.append(true).create(true).open(list).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

impl Broker {
    /// One of the addresses that `tests/brokers/start` prints.
    pub(crate) fn address(&self, name: &str) -> &str {
        &self.addresses[name]
    }

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

    pub(crate) fn create_topic(&self, topic: &str, partitions: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1))
            .set("max.message.bytes", "8000000");
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

    /// What one of Kafka's own tools says.
    pub(crate) fn tool(&self, class: &str, arguments: &[&str], input: &str) -> String {
        let mut tool = Command::new("java")
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(format!("{}/*", self.address("THALWEG_TEST_KAFKA_JARS")))
            .arg(class)
            .args(["--bootstrap-server", self.address("THALWEG_TEST_KAFKA")])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = tool.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = tool.wait_with_output().unwrap();
        let (said, complained) = (output.stdout, output.stderr);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&complained)
        );
        String::from_utf8(said).unwrap()
    }

    /// Kills a broker of the test's own; what it has written stays.
    pub(crate) fn kill(&self) {
        let folder = self.folder.as_ref().expect("a broker of one's own");
        let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
        let killed = Command::new("kill").args(["-9", pid.trim()]).status();
        assert!(killed.unwrap().success());
    }

    /// Starts it again, at its old address.
    pub(crate) fn start_again(&self) {
        let again = start_in(self.folder.as_ref().unwrap().path()).unwrap();
        assert_eq!(again, self.addresses);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let stopped = Command::new(scripts().join("stop"))
                .args(["kafka", "--dir"])
                .arg(folder.path())
                .status();
            assert!(stopped.unwrap().success());
        }
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
