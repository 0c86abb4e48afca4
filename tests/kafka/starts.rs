//! Where a source begins, where it ends, and what it will not pass over.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use thalweg_connectors::kafka::{KafkaSource, Start};
use thalweg_engine::source::{Found, ReadBatch, ReadStatus, Source};
use thalweg_engine::time::EventTime;

use crate::broker::{Broker, send, shared};
use crate::job::{Event, read_all, wait_for};

/// Two partitions of ten records, whose timestamps are a second apart.
fn filled(broker: &Broker) -> String {
    let topic = broker.topic("starts", 2);
    let producer = broker.producer();
    for id in 0..20 {
        let record = BaseRecord::<[u8], [u8]>::to(&topic)
            .partition((id % 2) as i32)
            .timestamp(1_700_000_000_000 + id as i64 * 1000);
        send(&producer, record.payload(Event::text(id).as_bytes()));
    }
    producer.flush(Duration::from_secs(10)).unwrap();
    topic
}

fn source(broker: &Broker, topic: &str) -> KafkaSource<Event> {
    KafkaSource::json(&broker.kafka(), topic).until_end()
}

fn ids(source: &KafkaSource<Event>) -> Vec<u64> {
    let mut ids: Vec<_> = read_all(source)
        .into_iter()
        .map(|(_, _, item)| item.unwrap().id)
        .collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_source_begins_where_it_is_told_to() {
    let Some(broker) = shared() else { return };
    let topic = filled(broker);
    let from = |start| ids(&source(broker, &topic).group(&*topic).start(start));
    assert_eq!(from(Start::Beginning), Vec::from_iter(0..20));
    assert!(from(Start::End).is_empty());
    let at = |seconds: i64| Start::At(EventTime::from_seconds(1_700_000_000 + seconds));
    assert_eq!(from(at(7)), Vec::from_iter(7..20));
    assert!(from(at(1000)).is_empty());
    let between = EventTime::from_micros(1_700_000_007_000_001);
    assert_eq!(from(Start::At(between)), Vec::from_iter(8..20));
    let offsets = BTreeMap::from([((topic.clone(), 1), 8)]);
    let mut expected: Vec<_> = (0..20).step_by(2).collect();
    expected.extend([17, 19]);
    expected.sort_unstable();
    assert_eq!(from(Start::Offsets(offsets)), expected);
    // Nothing is noted down yet, then something of one partition.
    assert_eq!(from(Start::Committed), Vec::from_iter(0..20));
    let committing = source(broker, &topic).group(&*topic);
    committing.partitions().unwrap();
    committing.commit(&[(0, 9)]).unwrap();
    let mut expected: Vec<_> = (1..20).step_by(2).collect();
    expected.insert(9, 18);
    assert_eq!(from(Start::Committed), expected);
}

#[test]
fn what_retention_has_removed_is_not_passed_over() {
    let Some(broker) = shared() else { return };
    let topic = filled(broker);
    broker.remove_before(&topic, 0, 6);
    let source = source(broker, &topic);
    assert_eq!(source.partitions().unwrap(), [0, 1]);
    let refusal = |offset| source.open(0, offset).map(drop).unwrap_err().to_string();
    let gone = refusal(5);
    assert!(gone.contains(&format!("{topic}-0")), "{gone}");
    assert!(
        gone.contains("offset 5, where to go on, is not there any more"),
        "{gone}"
    );
    assert!(gone.contains("everything before offset 6"), "{gone}");
    assert!(refusal(11).contains("beyond its end at 10"));
    assert!(source.open(0, 10).is_ok());
    assert_eq!(source.start_offset(0, Found::Later).unwrap(), 6);
}

#[test]
fn what_retention_removes_while_a_source_reads_is_not_passed_over_either() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("retention", 1);
    let long = "x".repeat(100_000);
    for id in 0..30 {
        let value = format!(r#"{{"id":{id},"note":"{long}"}}"#);
        broker.append(&topic, 0, [value]);
    }
    // So that little is fetched ahead.
    let kafka = broker
        .kafka()
        .property("queued.max.messages.kbytes", "1")
        .property("fetch.message.max.bytes", "1000");
    let source = KafkaSource::<Event>::json(&kafka, &*topic).until_end();
    source.partitions().unwrap();
    let mut reader = source.open(0, 0).unwrap();
    let (mut batch, mut removed) = (ReadBatch::new(), false);
    let error = loop {
        match reader.read(&mut batch, 1) {
            Ok(status) => assert_ne!(status, ReadStatus::End, "{} were read", batch.len()),
            Err(error) => break error.to_string(),
        }
        if batch.len() == 1 && !std::mem::replace(&mut removed, true) {
            broker.remove_before(&topic, 0, 28);
        }
    };
    assert!(error.contains("retention has removed it"), "{error}");
    let next = format!("offset {} is not there any more", batch.len());
    assert!(error.contains(&next), "{error}");
    assert!(
        batch
            .iter()
            .map(|(offset, _)| *offset)
            .eq(0..batch.len() as u64)
    );
}

fn transactional(broker: &Broker, id: &str) -> BaseProducer {
    let mut config = broker.config();
    config.set("transactional.id", id);
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(Duration::from_secs(10)).unwrap();
    producer
}

#[test]
fn records_of_aborted_and_unfinished_transactions_are_not_read() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("transactions", 1);
    let patience = Duration::from_secs(10);
    let producer = transactional(broker, &topic);
    let write = |producer: &BaseProducer, ids: std::ops::Range<u64>| {
        producer.begin_transaction().unwrap();
        for id in ids {
            let record = BaseRecord::<[u8], [u8]>::to(&topic);
            send(producer, record.payload(Event::text(id).as_bytes()));
        }
        producer.flush(patience).unwrap();
    };
    write(&producer, 0..10);
    producer.commit_transaction(patience).unwrap();
    write(&producer, 10..20);
    producer.abort_transaction(patience).unwrap();
    write(&producer, 20..30);
    producer.commit_transaction(patience).unwrap();
    // The topic ends with a marker, then with what is not finished: no record is at its last offset.
    wait_for("the markers", || ids(&source(broker, &topic)).len() == 20);
    let unfinished = transactional(broker, &format!("{topic}-2"));
    write(&unfinished, 30..40);
    let mut expected = Vec::from_iter(0..10);
    expected.extend(20..30);
    assert_eq!(ids(&source(broker, &topic)), expected);
}
