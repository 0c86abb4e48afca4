//! Records through a flow, from topic to topic.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::producer::{BaseRecord, Producer};
use thalweg_connectors::kafka::{ID_HEADER, KafkaSink, KafkaSource, Message};
use thalweg_engine::letters::DeadLetter;

use crate::broker::{Broker, Stored, send, shared};
use crate::job::{Event, Running, all_ids, read_all};

/// The ids in records, each of which must be there once.
pub(crate) fn ids(contents: &[Stored]) -> BTreeSet<u64> {
    let all = all_ids(contents.iter().map(|stored| &*stored.value));
    let ids: BTreeSet<_> = all.into_iter().collect();
    assert_eq!(ids.len(), contents.len(), "ids came more than once");
    ids
}

fn through(broker: &Broker, records: u64, workers: usize) {
    let (input, output) = (broker.topic("in", 4), broker.topic("out", 3));
    let producer = broker.producer();
    for id in 0..records {
        let record = BaseRecord::<[u8], [u8]>::to(&input).partition((id % 4) as i32);
        send(&producer, record.payload(Event::text(id).as_bytes()));
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    let kafka = broker.kafka();
    let sink = KafkaSink::json(&kafka, &*output).key(|event: &Event| Some(event.id.to_string()));
    let reports = sink.reports();
    let running = Running::start(workers, move || {
        (KafkaSource::json(&kafka, &*input).until_end(), sink.clone())
    });
    let fates = running.join().unwrap();
    assert_eq!((fates.records_in, fates.processed), (records, records));
    assert_eq!((reports.delivered(), reports.failed()), (records, 0));
    let contents = broker.contents(&output);
    assert!(ids(&contents).into_iter().eq(0..records));
    let names: BTreeSet<_> = contents
        .iter()
        .map(|stored| stored.header(ID_HEADER))
        .collect();
    assert_eq!(
        names.len(),
        contents.len(),
        "each record has an id of its own"
    );
}

#[test]
fn a_million_records_come_through_once_each() {
    if let Some(broker) = shared() {
        through(broker, 1_000_000, 2);
    }
}

#[test]
fn a_source_is_shared_by_any_number_of_workers() {
    if let Some(broker) = shared() {
        for workers in [1, 5] {
            through(broker, 1_000, workers);
        }
    }
}

#[test]
fn malformed_oversized_and_empty_records_are_dead_letters_with_their_place() {
    let Some(broker) = shared() else { return };
    let (input, output) = (broker.topic("in", 2), broker.topic("out", 1));
    let long = format!(r#"{{"id":7,"note":"{}"}}"#, "x".repeat(2_000_000));
    broker.append(&input, 0, ["{\"id\":1}", "{\"id\":", "{\"id\":2}"]);
    broker.append(
        &input,
        1,
        [&b"\xff\xfe"[..], long.as_bytes(), b"{\"id\":3}"],
    );
    let producer = broker.producer();
    let tombstone = BaseRecord::<[u8], [u8]>::to(&input).partition(1);
    send(&producer, tombstone.key(b"gone"));
    producer.flush(Duration::from_secs(10)).unwrap();
    let kafka = broker.kafka();
    let (from, to) = (input.clone(), output.clone());
    let running = Running::start(2, move || {
        let source = KafkaSource::json(&kafka, &*from).until_end();
        (source, KafkaSink::json(&kafka, &*to))
    });
    let dead = running.dead.clone();
    let fates = running.join().unwrap();
    assert_eq!((fates.records_in, fates.dead_letters), (7, 4));
    assert!(ids(&broker.contents(&output)).into_iter().eq([1, 2, 3]));
    let mut dead = dead.values();
    dead.sort_unstable_by_key(|letter| (letter.partition, letter.offset));
    let check = |letter: &DeadLetter, place: (u32, u64), reason: &str, raw: &str| {
        assert_eq!((letter.partition, letter.offset), place);
        assert_eq!(letter.partition_name, format!("{input}-{}", place.0));
        assert_eq!(letter.step, "in");
        assert!(letter.reason.contains(reason), "{}", letter.reason);
        assert!(letter.raw.starts_with(raw), "{}", letter.raw);
    };
    check(&dead[0], (0, 1), "EOF while parsing", "{\"id\":");
    check(&dead[1], (1, 0), "not UTF-8", "fffe");
    check(
        &dead[2],
        (1, 1),
        "more than the limit of 1048576",
        "{\"id\":7,",
    );
    assert_eq!(dead[2].raw.len(), 1_048_576);
    check(&dead[3], (1, 3), "it is a tombstone", "gone");
}

#[test]
fn keys_headers_and_timestamps_are_there_for_who_wants_them() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("in", 2);
    let kafka = broker.kafka();
    let sink = KafkaSink::json(&kafka, &*topic)
        .key(|event: &Event| (event.id > 1).then(|| event.id.to_string()))
        .event_timestamps()
        .headers(|record, headers| {
            headers
                .add("model", "fraud-3")
                .add("id", record.value.id.to_le_bytes());
        });
    let input = broker.topic("before", 1);
    broker.append(&input, 0, [1, 2].map(Event::text));
    let running = Running::start(1, move || {
        let source = KafkaSource::json(&kafka, &*input).until_end();
        (source, sink.clone())
    });
    running.join().unwrap();
    let source = KafkaSource::<Event>::json(&broker.kafka(), &*topic).until_end();
    let mut all: Vec<Message<Event>> = read_all(&source.with_metadata())
        .into_iter()
        .map(|(_, _, item)| item.unwrap())
        .collect();
    all.sort_unstable_by_key(|message| message.value.id);
    assert_eq!(all.len(), 2);
    for (message, id) in all.iter().zip([1_u64, 2]) {
        assert_eq!(message.topic, topic);
        assert_eq!(message.value, Event { id });
        assert_eq!(message.timestamp, Some(Event { id }.time()));
        let key = (id > 1).then(|| id.to_string().into_bytes());
        assert_eq!(message.key, key);
        assert_eq!(message.header("model"), Some(&b"fraud-3"[..]));
        assert_eq!(message.header("id"), Some(&id.to_le_bytes()[..]));
        let own = format!("0-0-{}-0", id - 1);
        assert_eq!(message.header(ID_HEADER), Some(own.as_bytes()));
        assert_eq!(message.header("other"), None);
    }
}
