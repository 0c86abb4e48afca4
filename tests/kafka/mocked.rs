//! Errors that real brokers give too seldom, by the client's own mock cluster. What it does not do as brokers
//! do, transactions above all, is not tested here.

use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code};
use thalweg_connectors::kafka::{Kafka, KafkaSink, KafkaSource};
use thalweg_engine::testing::{Collect, Events};

use crate::job::{Event, Running, assert_has, read_all};

const EVENTS: u64 = 20_000;

/// What passes by itself.
const PASSING: [Code; 4] = [
    Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
    Code::RD_KAFKA_RESP_ERR__TRANSPORT,
    Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
];

/// A cluster of one broker with a topic of three partitions, and how its clients get in.
struct Mocked {
    cluster: MockCluster<'static, DefaultProducerContext>,
    kafka: Kafka,
}

impl Mocked {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("events", 3, 1).unwrap();
        let kafka = Kafka::at(cluster.bootstrap_servers())
            .property("batch.num.messages", "100")
            .property("reconnect.backoff.max.ms", "200")
            .property("retry.backoff.max.ms", "100");
        Self { cluster, kafka }
    }

    /// Has the next requests of a kind fail, each in its way.
    fn fail(&self, api: Api, errors: usize) {
        let errors: Vec<_> = PASSING.into_iter().cycle().take(errors).collect();
        self.cluster.request_errors(api, &errors);
    }

    fn write(&self) -> Running {
        let kafka = self.kafka.clone();
        Running::start(1, move || {
            let events = Events::new((0..EVENTS).map(|id| Event { id }));
            let sink = KafkaSink::json(&kafka, "events");
            (events, sink.key(|event: &Event| Some(event.id.to_string())))
        })
    }

    /// Whether each event is there once, those of a partition in their order.
    fn assert_whole(&self) {
        let source = KafkaSource::<Event>::json(&self.kafka, "events").until_end();
        let mut ids = Vec::new();
        for partition in read_all(&source).chunk_by(|one, next| one.0 == next.0) {
            let of_one: Vec<_> = partition
                .iter()
                .map(|(_, _, event)| event.as_ref().unwrap().id)
                .collect();
            assert!(of_one.is_sorted());
            ids.extend(of_one);
        }
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..EVENTS));
    }
}

#[test]
fn requests_to_write_that_fail_are_made_again_and_each_record_is_there_once() {
    let mocked = Mocked::new();
    mocked.fail(Api::Produce, 40);
    let fates = mocked.write().join().unwrap();
    assert_eq!((fates.processed, fates.dead_letters), (EVENTS, 0));
    mocked.assert_whole();
}

#[test]
fn a_cluster_that_goes_down_and_comes_up_again_has_each_record_once() {
    let mocked = Mocked::new();
    let running = mocked.write();
    for _ in 0..3 {
        mocked.cluster.broker_down(-1).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        mocked.cluster.broker_up(-1).unwrap();
        std::thread::sleep(Duration::from_millis(200));
    }
    let fates = running.join().unwrap();
    assert_eq!(fates.processed, EVENTS);
    mocked.assert_whole();
}

#[test]
fn requests_to_read_that_fail_are_made_again_and_each_record_is_read_once() {
    let mocked = Mocked::new();
    mocked.write().join().unwrap();
    mocked.fail(Api::Fetch, 12);
    mocked.fail(Api::ListOffsets, 3);
    mocked.assert_whole();
}

#[test]
fn a_record_that_the_brokers_say_is_gone_ends_the_run() {
    let mocked = Mocked::new();
    mocked.write().join().unwrap();
    let gone = [Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE];
    mocked.cluster.request_errors(Api::Fetch, &gone);
    let kafka = mocked.kafka.clone();
    let running = Running::start(1, move || {
        let source = KafkaSource::json(&kafka, "events").until_end();
        (source, Collect::default())
    });
    let error = running.join().unwrap_err().to_string();
    assert_has(&error, &["topic `events`", "retention has removed it"]);
}
