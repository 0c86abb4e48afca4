//! Epochs that are published exactly once: after restarts, beside zombies, over a broker that comes
//! and goes.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use thalweg_connectors::kafka::{EPOCH_HEADER, ID_HEADER, KafkaSink};
use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::sink::{EpochWriter, Refused, Sink, SinkError};
use thalweg_engine::time::EventTime;

use crate::broker::{self, Broker, Stored};

/// How long a broker may take for anything.
const PATIENCE: Duration = Duration::from_secs(10);

fn record(number: u64) -> Record<String> {
    Record {
        time: EventTime::from_seconds(number as i64),
        origin: Origin {
            offset: number,
            ..Origin::default()
        },
        ingested_ns: 0,
        value: format!("value {number}"),
    }
}

/// Where a slot publishes, with topics of the test's own.
struct Place {
    sink: KafkaSink<String>,
    topic: String,
    notes: String,
    slot: String,
}

impl Place {
    fn new(broker: &Broker, name: &str) -> Self {
        let topic = broker.topic(name, 3);
        let notes = format!("{topic}-notes");
        let sink = KafkaSink::json(&broker.kafka(), &topic)
            .key(|value: &String| Some(value.clone()))
            .progress_topic(&notes);
        Self {
            sink,
            slot: format!("test/{topic}/1"),
            topic,
            notes,
        }
    }

    /// A writer that has taken over.
    fn writer(&self) -> Box<dyn EpochWriter<String>> {
        let mut writer = self.sink.open_epochs(&self.slot).unwrap();
        insist(|| writer.take_over()).unwrap();
        writer
    }

    /// Its notes but for the first, which is there before anything is published.
    fn notes_of(&self, broker: &Broker) -> Vec<(u64, u64, u64)> {
        let notes = broker.contents(&self.notes);
        let own = notes
            .iter()
            .filter(|note| note.key.as_deref() == Some(self.slot.as_bytes()));
        let mut own = own.map(|note| {
            let note: Value = serde_json::from_slice(&note.value).unwrap();
            let number = |name| note[name].as_u64().unwrap();
            (number("epoch"), number("records"), number("crc"))
        });
        assert_eq!(own.next(), Some((0, 0, 0)));
        own.collect()
    }

    /// Up to which epoch slots whose names begin so have published.
    fn published(&self, slots: &str) -> Option<u64> {
        let published = self.sink.published(slots).unwrap();
        published.map(|epoch| epoch.0)
    }

    /// Deletes a topic, and makes another one of its name where it has to be there.
    fn delete(&self, broker: &Broker, topic: &str) {
        let class = "org.apache.kafka.tools.TopicCommand";
        broker.tool(class, &["--delete", "--topic", topic], "");
        if topic == self.topic {
            broker.create_topic(topic, 3);
        }
    }

    /// Checks that exactly these epochs are there, each with its records, as their notes say.
    fn assert_published(&self, broker: &Broker, expected: &[(u64, &[u64])]) {
        let mut epochs = BTreeMap::<u64, BTreeMap<u64, Stored>>::new();
        for record in broker.contents(&self.topic) {
            let place = record
                .header(EPOCH_HEADER)
                .expect("every record has a place");
            let place = String::from_utf8(place.to_vec()).unwrap();
            let (epoch, index) = place.split_once('-').unwrap();
            let of_epoch = epochs.entry(epoch.parse().unwrap()).or_default();
            let twice = of_epoch.insert(index.parse().unwrap(), record);
            assert_eq!(twice, None, "{place} is there twice");
        }
        let notes = self.notes_of(broker);
        assert_eq!(notes.len(), expected.len(), "{notes:?}");
        assert_eq!(epochs.len(), expected.len(), "{:?}", epochs.keys());
        for ((epoch, numbers), note) in expected.iter().zip(notes) {
            let records = &epochs[epoch];
            let indexes: Vec<_> = records.keys().copied().collect();
            assert_eq!(indexes, (0..numbers.len() as u64).collect::<Vec<_>>());
            let ids = records.values().map(|record| {
                let id = String::from_utf8(record.header(ID_HEADER).unwrap().to_vec()).unwrap();
                let value: String = serde_json::from_slice(&record.value).unwrap();
                (id, value)
            });
            let wanted = numbers
                .iter()
                .map(|number| (format!("0-0-{number}-0"), format!("value {number}")));
            assert_eq!(ids.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
            let values = records.values().map(|record| &*record.value);
            let crc = values.fold(0, crc32c::crc32c_append);
            assert_eq!(note, (*epoch, numbers.len() as u64, u64::from(crc)));
        }
    }
}

fn outbox(writer: &mut dyn EpochWriter<String>, numbers: &[u64]) -> Vec<u8> {
    let (mut outbox, mut refused) = (Vec::new(), Refused::default());
    let records: Vec<_> = numbers.iter().copied().map(record).collect();
    writer.stage(&records, &mut outbox, &mut refused).unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    outbox
}

/// Makes a call until the broker is there for it, as a job does.
fn insist(mut call: impl FnMut() -> Result<(), SinkError>) -> Result<(), SinkError> {
    for _ in 0..200 {
        match call() {
            Err(SinkError::Away { .. }) => std::thread::sleep(Duration::from_millis(50)),
            outcome => return outcome,
        }
    }
    panic!("the broker stays away");
}

fn publish(
    writer: &mut dyn EpochWriter<String>,
    epoch: u64,
    outbox: &[u8],
) -> Result<(), SinkError> {
    insist(|| writer.publish(Epoch(epoch), outbox))
}

/// A producer that calls itself as the slot's own do.
fn impostor(broker: &Broker, place: &Place) -> BaseProducer {
    let mut config = broker.config();
    config.set("transactional.id", format!("thalweg/{}", place.slot));
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer
}

/// Begins a transaction, and gets records of it to the broker.
fn send_without_commit(producer: &BaseProducer, topic: &str) {
    producer.begin_transaction().unwrap();
    for number in 0..10 {
        let value = format!("stray {number}");
        broker::send(producer, BaseRecord::to(topic).payload(value.as_bytes()));
    }
    producer.flush(PATIENCE).unwrap();
}

#[test]
fn an_epoch_that_comes_again_is_published_once() {
    let Some(broker) = broker::shared() else {
        return;
    };
    let place = Place::new(broker, "again");
    place.sink.check().unwrap();
    place.sink.check_epochs().unwrap();
    let mut writer = place.writer();
    let one = outbox(&mut *writer, &[1, 2, 3]);
    let three = outbox(&mut *writer, &[4]);
    publish(&mut *writer, 1, &one).unwrap();
    publish(&mut *writer, 1, &one).unwrap();
    drop(writer);
    // Another start, with the outboxes of the one before.
    let mut writer = place.writer();
    publish(&mut *writer, 1, &one).unwrap();
    publish(&mut *writer, 3, &three).unwrap();
    publish(&mut *writer, 3, &three).unwrap();
    place.assert_published(broker, &[(1, &[1, 2, 3]), (3, &[4])]);
    assert_eq!(place.sink.reports().delivered(), 4);
}

#[test]
fn slots_share_a_topic_of_notes() {
    let Some(broker) = broker::shared() else {
        return;
    };
    let mut place = Place::new(broker, "slots");
    let mut writer = place.writer();
    let one = outbox(&mut *writer, &[1]);
    publish(&mut *writer, 5, &one).unwrap();
    place.slot.push_str("/other");
    let mut writer = place.writer();
    publish(&mut *writer, 2, &one).unwrap();
    assert_eq!(place.notes_of(broker)[0].0, 2);
    assert_eq!(broker.contents(&place.topic).len(), 2);
}

#[test]
fn a_start_that_is_fenced_off_publishes_nothing_and_says_why() {
    let Some(broker) = broker::shared() else {
        return;
    };
    let place = Place::new(broker, "zombie");
    let (mut older, mut newer) = (place.writer(), place.writer());
    let one = outbox(&mut *older, &[1]);
    let two = outbox(&mut *newer, &[2]);
    let error = publish(&mut *older, 1, &one).unwrap_err().to_string();
    assert!(error.contains("another start of the pipeline"), "{error}");
    publish(&mut *newer, 1, &one).unwrap();
    publish(&mut *newer, 2, &two).unwrap();
    place.assert_published(broker, &[(1, &[1]), (2, &[2])]);
}

#[test]
fn what_a_killed_start_had_begun_is_undone() {
    let Some(broker) = broker::shared() else {
        return;
    };
    let place = Place::new(broker, "begun");
    let mut writer = place.writer();
    let one = outbox(&mut *writer, &[1]);
    publish(&mut *writer, 1, &one).unwrap();
    let killed = impostor(broker, &place);
    send_without_commit(&killed, &place.topic);
    send_without_commit_of_note(&killed, &place);
    let mut writer = place.writer();
    publish(&mut *writer, 1, &one).unwrap();
    let two = outbox(&mut *writer, &[2, 3]);
    publish(&mut *writer, 2, &two).unwrap();
    assert!(killed.commit_transaction(PATIENCE).is_err());
    place.assert_published(broker, &[(1, &[1]), (2, &[2, 3])]);
}

/// Adds a note that is never committed to the open transaction.
fn send_without_commit_of_note(producer: &BaseProducer, place: &Place) {
    let note = br#"{"epoch": 9, "records": 1, "crc": 1}"#;
    let record = BaseRecord::to(&place.notes);
    let record = record.key(place.slot.as_bytes()).payload(&note[..]);
    broker::send(producer, record);
    producer.flush(PATIENCE).unwrap();
}

#[test]
fn a_broker_that_goes_away_in_an_epoch_gets_it_once() {
    let Some(broker) = broker::own() else {
        return;
    };
    let place = Place::new(&broker, "away");
    let mut writer = place.writer();
    let one = outbox(&mut *writer, &[1, 2]);
    publish(&mut *writer, 1, &one).unwrap();
    let numbers: Vec<u64> = (10..5_000).collect();
    let two = outbox(&mut *writer, &numbers);
    std::thread::scope(|scope| {
        let publishing = scope.spawn(|| publish(&mut *writer, 2, &two));
        std::thread::sleep(Duration::from_millis(20));
        broker.kill();
        broker.start_again();
        publishing.join().unwrap().unwrap();
    });
    let three = outbox(&mut *writer, &[6_000]);
    publish(&mut *writer, 3, &three).unwrap();
    place.assert_published(&broker, &[(1, &[1, 2]), (2, &numbers), (3, &[6_000])]);
}

#[test]
fn what_can_never_be_sent_is_refused_before_it_is_sealed() {
    let Some(broker) = broker::shared() else {
        return;
    };
    let place = Place::new(broker, "large");
    let mut writer = place.writer();
    let mut large = record(1);
    large.value = "x".repeat(1_000_000);
    let (mut outbox, mut refused) = (Vec::new(), Refused::default());
    let records = [record(0), large, record(2)];
    writer.stage(&records, &mut outbox, &mut refused).unwrap();
    let refused = refused.take();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].0, 1);
    assert!(refused[0].1.contains("message.max.bytes"), "{refused:?}");
    publish(&mut *writer, 1, &outbox).unwrap();
    place.assert_published(broker, &[(1, &[0, 2])]);
}

#[test]
fn notes_that_are_lost_end_the_run_instead_of_an_epoch_coming_again() {
    let Some(broker) = broker::shared() else {
        return;
    };
    let place = Place::new(broker, "lost");
    let mut writer = place.writer();
    let one = outbox(&mut *writer, &[1]);
    publish(&mut *writer, 4, &one).unwrap();
    let published = writer.published().unwrap();
    drop(writer);
    let resume = || {
        let mut writer = place.sink.open_epochs(&place.slot).unwrap();
        writer.resume(&published).unwrap();
        insist(|| writer.take_over())
    };
    resume().unwrap();
    place.delete(broker, &place.notes);
    let error = resume().unwrap_err().to_string();
    assert!(error.contains("epoch 4 has been published"), "{error}");
    assert!(error.contains("notes is nothing"), "{error}");
    assert_eq!(broker.contents(&place.topic).len(), 1);
}

#[test]
fn notes_that_are_lost_before_a_checkpoint_knows_of_an_epoch_are_missed_too() {
    let Some(broker) = broker::shared() else {
        return;
    };
    let place = Place::new(broker, "first");
    let mut writer = place.writer();
    // The checkpoint is taken before anything is published.
    let checkpointed = writer.published().unwrap();
    let one = outbox(&mut *writer, &[1]);
    publish(&mut *writer, 1, &one).unwrap();
    drop(writer);
    place.delete(broker, &place.notes);
    let mut writer = place.sink.open_epochs(&place.slot).unwrap();
    writer.resume(&checkpointed).unwrap();
    let error = insist(|| writer.take_over()).unwrap_err().to_string();
    assert!(error.contains("epoch 0 has been published"), "{error}");
    assert_eq!(broker.contents(&place.topic).len(), 1);
}

#[test]
fn how_far_has_been_published_is_known_by_slot() {
    let Some(broker) = broker::shared() else {
        return;
    };
    let mut place = Place::new(broker, "known");
    let slots = format!("test/{}/", place.topic);
    assert_eq!(place.published(&slots), None);
    let mut writer = place.writer();
    assert_eq!(place.published(&slots), None, "there are no records");
    let one = outbox(&mut *writer, &[1]);
    publish(&mut *writer, 7, &one).unwrap();
    assert_eq!(place.published(&slots), Some(7));
    assert_eq!(place.published(&place.slot), Some(7));
    assert_eq!(place.published(&format!("{slots}2")), None);
    // What is not decided yet does not count, and is not waited for.
    let killed = impostor(broker, &place);
    send_without_commit(&killed, &place.topic);
    place.slot.push_str("/other");
    let other = impostor(broker, &place);
    other.begin_transaction().unwrap();
    send_without_commit_of_note(&other, &place);
    assert_eq!(place.published(&slots), Some(7));
    assert_eq!(place.published(&place.slot), None);
    drop((killed, other));
    place.delete(broker, &place.topic);
    assert_eq!(
        place.published(&slots),
        None,
        "the topic has been made anew"
    );
}

#[test]
fn notes_in_a_topic_that_forgets_are_refused() {
    let Some(broker) = broker::shared() else {
        return;
    };
    let place = Place::new(broker, "forgets");
    broker.create_topic(&place.notes, 1);
    let error = place.sink.check_epochs().unwrap_err().to_string();
    assert!(error.contains("cleanup.policy=delete"), "{error}");
}
