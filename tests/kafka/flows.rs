//! Records through a flow, from topic to topic.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::producer::{BaseRecord, Producer};
use serde::{Deserialize, Serialize};
use thalweg_connectors::kafka::{ID_HEADER, KafkaSink, KafkaSource, Message};
use thalweg_engine::job::{JobOptions, StopHandle};
use thalweg_engine::ledger::Fates;
use thalweg_engine::letters::DeadLetter;
use thalweg_engine::source::{ReadBatch, ReadStatus, Source, WatermarkPolicy};
use thalweg_engine::telemetry::Telemetry;
use thalweg_engine::testing::Collect;
use thalweg_engine::time::{EventTime, secs};
use thalweg_engine::{RunError, run};

use crate::broker::{Broker, Stored, send, shared};

/// What the tests send around.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) id: u64,
}

impl Event {
    pub(crate) fn text(id: u64) -> String {
        format!(r#"{{"id":{id}}}"#)
    }

    fn time(&self) -> EventTime {
        EventTime::from_millis(self.id as i64)
    }
}

/// A flow that runs beside the test.
pub(crate) struct Running {
    stop: StopHandle,
    pub(crate) dead: Collect<DeadLetter>,
    telemetry: Arc<Telemetry>,
    thread: JoinHandle<Result<(), RunError>>,
}

impl Running {
    /// Brings every record of a source to a sink, on so many workers.
    pub(crate) fn start(
        workers: usize,
        ends: impl Fn() -> (KafkaSource<Event>, KafkaSink<Event>) + Send + Sync + 'static,
    ) -> Self {
        let (stop, telemetry) = (StopHandle::default(), Arc::new(Telemetry::default()));
        let dead = Collect::default();
        let options = JobOptions {
            workers,
            dead_letters: Some(Arc::new(dead.clone())),
            ..JobOptions::default()
        };
        let (stopped, told) = (stop.clone(), Arc::clone(&telemetry));
        let thread = std::thread::spawn(move || {
            run(options, told, stopped, move |flow| {
                let (source, sink) = ends();
                // No event is late here.
                let policy = WatermarkPolicy::disorder(secs(1_000_000));
                flow.source("in", source)
                    .event_time(Event::time, policy)
                    .map("same", |event| event)
                    .sink("out", sink);
                Ok(())
            })
        });
        Self {
            stop,
            dead,
            telemetry,
            thread,
        }
    }

    /// Waits for its end.
    pub(crate) fn join(self) -> Result<Fates, RunError> {
        self.thread.join().unwrap()?;
        let fates = self.telemetry.ledger().fates();
        assert!(fates.balance(), "records were lost: {fates:?}");
        Ok(fates)
    }

    pub(crate) fn stop(self) -> Fates {
        self.stop.stop();
        self.join().unwrap()
    }
}

/// The ids in records, each of which must be there once.
pub(crate) fn ids(contents: &[Stored]) -> BTreeSet<u64> {
    let id = |stored: &Stored| serde_json::from_slice::<Event>(&stored.value).unwrap().id;
    let ids: BTreeSet<_> = contents.iter().map(id).collect();
    assert_eq!(ids.len(), contents.len(), "ids came more than once");
    ids
}

/// Waits until `is_so`, for at most a minute.
pub(crate) fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{what} never came");
}

/// Reads a source to its end, partition by partition, behind the engine's back.
pub(crate) fn read_all<T: 'static>(source: &KafkaSource<T>) -> Vec<(u32, u64, Result<T, String>)> {
    let mut all = Vec::new();
    for partition in source.partitions().unwrap() {
        let start = source.start_offset(partition, thalweg_engine::source::Found::AtStart);
        let mut reader = source.open(partition, start.unwrap()).unwrap();
        loop {
            let mut batch = ReadBatch::new();
            let status = reader.read(&mut batch, 100).unwrap();
            all.extend(
                batch
                    .into_iter()
                    .map(|(offset, item)| (partition, offset, item.map_err(|bad| bad.reason))),
            );
            if status == ReadStatus::End {
                break;
            }
        }
    }
    all
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
        assert_eq!(message.timestamp, Some(EventTime::from_millis(id as i64)));
        let key = (id > 1).then(|| id.to_string().into_bytes());
        assert_eq!(message.key, key);
        assert_eq!(message.header("model"), Some(&b"fraud-3"[..]));
        assert_eq!(message.header("id"), Some(&id.to_le_bytes()[..]));
        let own = format!("0-0-{}-0", id - 1);
        assert_eq!(message.header(ID_HEADER), Some(own.as_bytes()));
        assert_eq!(message.header("other"), None);
    }
}
