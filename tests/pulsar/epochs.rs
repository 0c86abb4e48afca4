//! Epochs that are published exactly once, in each partition: after restarts, beside zombies, over a
//! broker that comes and goes.

use std::time::Duration;

use thalweg_connectors::pulsar::PulsarSink;
use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::sink::{EpochWriter, Refused, Sink, SinkError};
use thalweg_engine::time::EventTime;

use crate::broker::{Broker, Stored, own, shared};

fn record(number: u64) -> Record<u64> {
    Record {
        time: EventTime::from_seconds(1_000),
        origin: Origin {
            offset: number,
            ..Origin::default()
        },
        ingested_ns: 0,
        value: number,
    }
}

/// Where a slot publishes.
struct Place {
    sink: PulsarSink<u64>,
    topic: String,
    slot: String,
}

impl Place {
    fn new(broker: &Broker, name: &str) -> Self {
        let topic = broker.topic(name, 3);
        let pulsar = broker.pulsar().patience(Duration::from_secs(1));
        Self {
            sink: PulsarSink::json(&pulsar, &topic)
                .key(|number: &u64| Some(number.to_string()))
                .batch_records(7),
            slot: format!("test/{topic}/1"),
            topic,
        }
    }

    fn untaken(&self) -> Box<dyn EpochWriter<u64>> {
        let mut opened = self.sink.open_epochs(&self.slot);
        while opened.is_err() {
            std::thread::sleep(Duration::from_millis(100));
            opened = self.sink.open_epochs(&self.slot);
        }
        opened.unwrap()
    }

    /// A writer that has taken over.
    fn writer(&self) -> Box<dyn EpochWriter<u64>> {
        let mut writer = self.untaken();
        insist(|| writer.take_over()).unwrap();
        writer
    }

    /// Checks that exactly these values are there, each once, and every place in a partition once.
    fn assert_published(&self, broker: &Broker, expected: impl Iterator<Item = u64>) {
        let contents = self.assert_values(broker, expected);
        let mut places: Vec<_> = contents
            .iter()
            .map(|stored| {
                let (_, place) = stored.properties.split_once("thalweg-epoch=").unwrap();
                let (place, _) = place.split_once(',').unwrap();
                (stored.topic.clone(), place.to_owned())
            })
            .collect();
        let count = places.len();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), count, "a place is there twice");
    }

    /// Checks that exactly these values are there, each once.
    fn assert_values(&self, broker: &Broker, expected: impl Iterator<Item = u64>) -> Vec<Stored> {
        let contents = broker.contents(&self.topic);
        let values = contents.iter().map(|stored| stored.value.parse().unwrap());
        let mut values: Vec<u64> = values.collect();
        values.sort_unstable();
        assert!(values.iter().copied().eq(expected), "{values:?}");
        contents
    }
}

fn outbox(writer: &mut dyn EpochWriter<u64>, numbers: std::ops::Range<u64>) -> Vec<u8> {
    let (mut outbox, mut refused) = (Vec::new(), Refused::default());
    let records: Vec<_> = numbers.map(record).collect();
    writer.stage(&records, &mut outbox, &mut refused).unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    outbox
}

/// Makes a call until the broker is there for it, as a job does.
fn insist(mut call: impl FnMut() -> Result<(), SinkError>) -> Result<(), SinkError> {
    for _ in 0..600 {
        match call() {
            Err(SinkError::Away { .. }) => std::thread::sleep(Duration::from_millis(100)),
            outcome => return outcome,
        }
    }
    panic!("the broker stays away");
}

fn publish(writer: &mut dyn EpochWriter<u64>, epoch: u64, outbox: &[u8]) {
    insist(|| writer.publish(Epoch(epoch), outbox)).unwrap();
}

#[test]
fn an_epoch_that_comes_again_is_published_once() {
    let Some(broker) = shared() else { return };
    let place = Place::new(broker, "again");
    place.sink.check_epochs().unwrap();
    let mut writer = place.writer();
    let one = outbox(&mut *writer, 0..100);
    let three = outbox(&mut *writer, 100..101);
    publish(&mut *writer, 1, &one);
    publish(&mut *writer, 1, &one);
    drop(writer);
    let mut writer = place.writer();
    publish(&mut *writer, 1, &one);
    publish(&mut *writer, 3, &three);
    drop(writer);
    let mut writer = place.writer();
    publish(&mut *writer, 3, &three);
    place.assert_published(broker, 0..101);
}

#[test]
fn what_a_killed_start_has_published_of_an_epoch_is_completed() {
    let Some(broker) = shared() else { return };
    let place = Place::new(broker, "begun");
    let mut writer = place.writer();
    // The same epoch, as far as its publishing came.
    let begun = outbox(&mut *writer, 0..40);
    let whole = [&begun[..], &outbox(&mut *writer, 40..100)].concat();
    publish(&mut *writer, 1, &begun);
    drop(writer);
    let mut writer = place.writer();
    publish(&mut *writer, 1, &whole);
    place.assert_published(broker, 0..100);
}

#[test]
fn one_start_at_a_time_can_publish() {
    let Some(broker) = shared() else { return };
    let place = Place::new(broker, "zombie");
    let mut older = place.writer();
    let one = outbox(&mut *older, 0..10);
    publish(&mut *older, 1, &one);
    let mut newer = place.untaken();
    let held_off = newer.take_over().unwrap_err();
    assert!(matches!(held_off, SinkError::Away { .. }), "{held_off}");
    drop(older);
    publish(&mut *newer, 1, &one);
    place.assert_published(broker, 0..10);
}

#[test]
fn records_of_others_in_between_are_passed_over() {
    let Some(broker) = shared() else { return };
    let mut place = Place::new(broker, "others");
    let mut writer = place.writer();
    let one = outbox(&mut *writer, 0..10);
    publish(&mut *writer, 5, &one);
    drop(writer);
    let own = place.slot.clone();
    place.slot.push_str("/other");
    let mut writer = place.writer();
    let two = outbox(&mut *writer, 10..20);
    publish(&mut *writer, 2, &two);
    drop(writer);
    place.slot = own;
    let mut writer = place.writer();
    publish(&mut *writer, 5, &one);
    place.assert_values(broker, 0..20);
}

#[test]
fn messages_that_are_removed_end_the_run_instead_of_an_epoch_coming_again() {
    let Some(broker) = shared() else { return };
    let place = Place::new(broker, "removed");
    let mut writer = place.writer();
    let one = outbox(&mut *writer, 0..100);
    publish(&mut *writer, 4, &one);
    let published = writer.published().unwrap();
    drop(writer);
    let resume = || {
        let mut writer = place.untaken();
        writer.resume(&published).unwrap();
        insist(|| writer.take_over())
    };
    // As retention does, in one of the partitions: the ledger that is written to stays.
    let partition = format!("{}-partition-1", place.topic);
    broker.admin("PUT", &format!("{partition}/unload"), "");
    resume().unwrap();
    broker.admin("DELETE", &format!("{partition}/truncate"), "");
    let error = resume().unwrap_err().to_string();
    assert!(error.contains("of epoch 4 has been published"), "{error}");
    assert!(
        error.contains("the last of this pipeline is none"),
        "{error}"
    );
}

#[test]
fn how_far_has_been_published_is_known_by_slot() {
    let Some(broker) = shared() else { return };
    let mut place = Place::new(broker, "known");
    let slots = format!("test/{}/", place.topic);
    let published = |place: &Place, slots: &str| {
        let published = place.sink.published(slots).unwrap();
        published.map(|epoch| epoch.0)
    };
    assert_eq!(published(&place, &slots), None);
    let mut writer = place.writer();
    let one = outbox(&mut *writer, 0..40);
    publish(&mut *writer, 9, &one);
    // While somebody writes, too.
    assert_eq!(published(&place, &slots), Some(9));
    assert_eq!(published(&place, &place.slot), Some(9));
    drop(writer);
    place.slot = format!("{slots}2");
    assert_eq!(published(&place, &place.slot), None);
    let mut writer = place.writer();
    publish(&mut *writer, 3, &one);
    drop(writer);
    // Behind the records of another slot.
    assert_eq!(published(&place, &format!("{slots}1")), Some(9));
    assert_eq!(published(&place, &place.slot), Some(3));
    let partitions = format!("{}/partitions?force=true", place.topic);
    broker.admin("DELETE", &partitions, "");
    broker.create_topic(&place.topic, 3);
    assert_eq!(
        published(&place, &slots),
        None,
        "the topic has been made anew"
    );
}

#[test]
fn a_broker_that_goes_away_in_an_epoch_gets_it_once() {
    let Some(broker) = own() else { return };
    let place = Place::new(&broker, "away");
    let mut writer = place.writer();
    let one = outbox(&mut *writer, 0..5_000);
    let two = outbox(&mut *writer, 5_000..5_010);
    std::thread::scope(|scope| {
        let publishing = scope.spawn(|| publish(&mut *writer, 1, &one));
        std::thread::sleep(Duration::from_millis(50));
        broker.kill();
        broker.start_again();
        publishing.join().unwrap();
    });
    publish(&mut *writer, 2, &two);
    place.assert_published(&broker, 0..5_010);
}
