//! Records that only the brokers refuse, where they cannot be asked beforehand what they take: each
//! becomes a dead letter, and nothing else is lost with it.

use std::sync::Arc;
use std::time::Duration;

use thalweg_connectors::kafka::{EPOCH_HEADER, Kafka, KafkaSink, KafkaSource, Sasl};
use thalweg_engine::Checkpointing;
use thalweg_engine::checkpoint::{CheckpointOptions, Epoch, Location};
use thalweg_engine::clock::Clock;
use thalweg_engine::job::JobOptions;
use thalweg_engine::letters::DeadLetter;
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::sink::{EpochWriter, Refused, RefusedLate, Sink, SinkError};
use thalweg_engine::testing::{Collect, Events, run_to_end};
use thalweg_engine::time::{EventTime, secs};

use crate::broker::{Broker, shared};
use crate::conformance::noise;
use crate::flows::ids;
use crate::job::{Event, Running, assert_has};
use crate::refusals::{LATER_S, token};

/// The cluster as a client gets in that can ask for no settings of topics.
fn with_token(broker: &Broker, folder: &tempfile::TempDir) -> Kafka {
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, token("alice", LATER_S)).unwrap();
    let kafka = Kafka::at(broker.address("THALWEG_TEST_KAFKA_SASL"));
    kafka
        .patience(Duration::from_secs(20))
        .sasl(Sasl::OAuthBearer { token_file })
}

const EVENTS: u64 = 2_000;

/// Brings events to the topic of a sink; gives the ids of those that became dead letters, and why.
fn run(broker: &Broker, events: Vec<u64>, sink: KafkaSink<Event>) -> Vec<(u64, String)> {
    let input = broker.topic("rejections-in", 1);
    let count = events.len();
    broker.append(&input, 0, events.iter().map(|id| Event::text(*id)));
    let kafka = broker.kafka();
    let running = Running::start(1, move || {
        let source = KafkaSource::json(&kafka, &*input).until_end();
        (source, sink.clone())
    });
    let dead = running.dead.clone();
    let fates = running.join().unwrap();
    let letters = dead.values();
    assert_eq!(fates.records_in, count as u64);
    assert_eq!(fates.dead_letters as usize, letters.len());
    letters
        .into_iter()
        .map(|letter| {
            assert_eq!((&*letter.step, letter.partition), ("out", 0));
            (events[letter.offset as usize], letter.reason)
        })
        .collect()
}

#[test]
fn what_is_too_large_for_a_topic_that_tells_nobody_is_a_dead_letter() {
    let Some(broker) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.narrow_topic("rejections", "4000");
    let is_large = |id: u64| id % 500 == 7 || id == EVENTS - 1;
    let sink = KafkaSink::encoded(
        &with_token(broker, &folder),
        &*topic,
        move |record, bytes| {
            let Event { id } = record.value;
            let pad = noise(id, if is_large(id) { 9_000 } else { 30 });
            bytes.extend_from_slice(format!(r#"{{"id":{id},"pad":"{pad}"}}"#).as_bytes());
            Ok(())
        },
    );
    let mut letters = run(broker, (0..EVENTS).collect(), sink);
    letters.sort();
    let expected: Vec<_> = (0..EVENTS).filter(|id| is_large(*id)).collect();
    assert!(
        letters.iter().map(|(id, _)| *id).eq(expected),
        "{letters:?}"
    );
    for (_, reason) in &letters {
        assert_has(reason, &["is too large", "`max.message.bytes`"]);
    }
    let expected = (0..EVENTS).filter(|id| !is_large(*id));
    assert!(ids(&broker.contents(&topic)).into_iter().eq(expected));
}

#[test]
fn what_bears_a_time_that_a_topic_does_not_take_is_a_dead_letter() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic_with("rejections", "message.timestamp.before.max.ms", "3600000");
    let now_ms = Clock::system().wall().as_micros().unsigned_abs() / 1_000 - 10_000;
    let is_old = |index: u64| index % 300 == 5;
    let events: Vec<_> = (0..1_000)
        .map(|index| match is_old(index) {
            true => now_ms - 36_000_000 + index,
            false => now_ms + index,
        })
        .collect();
    let sink = KafkaSink::json(&broker.kafka(), &*topic).event_timestamps();
    let mut letters = run(broker, events, sink);
    letters.sort();
    let old = (0..1_000).filter(|index| is_old(*index));
    let old = old.map(|index| now_ms - 36_000_000 + index);
    assert!(letters.iter().map(|(id, _)| *id).eq(old), "{letters:?}");
    for (_, reason) in &letters {
        assert_has(reason, &["the brokers refuse the record"]);
    }
    let good = (0..1_000).filter(|index| !is_old(*index));
    let good = good.map(|index| now_ms + index);
    assert!(ids(&broker.contents(&topic)).into_iter().eq(good));
}

/// Publishes one epoch of these texts, of which some bear a time of long ago; gives what was left out.
fn publish(
    broker: &Broker,
    sink: &KafkaSink<String>,
    topic: &str,
    texts: &[(String, bool)],
) -> Vec<RefusedLate> {
    let records: Vec<_> = (0..)
        .zip(texts)
        .map(|(offset, (text, is_old))| Record {
            // Without a time it is that of now.
            time: EventTime::from_seconds(if *is_old { 1_000 } else { -1_000 }),
            origin: Origin {
                offset,
                ..Origin::default()
            },
            ingested_ns: 0,
            value: text.clone(),
        })
        .collect();
    let start = || {
        let mut writer = sink.open_epochs(&format!("test/{topic}/1")).unwrap();
        insist(&mut *writer, |writer| writer.take_over());
        writer
    };
    let mut writer = start();
    let (mut outbox, mut refused) = (Vec::new(), Refused::default());
    writer.stage(&records, &mut outbox, &mut refused).unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    // Twice, as after a reply that was lost, and then by another start, as after a kill.
    for _ in 0..2 {
        insist(&mut *writer, |writer| writer.publish(Epoch(1), &outbox));
    }
    let mut places: Vec<_> = broker
        .contents(topic)
        .iter()
        .map(|stored| {
            let place = stored.header(EPOCH_HEADER).unwrap();
            let place = std::str::from_utf8(place).unwrap().strip_prefix("1-");
            place.unwrap().parse::<usize>().unwrap()
        })
        .collect();
    places.sort_unstable();
    let left_out = writer.left_out();
    assert!(places.into_iter().eq(0..texts.len() - left_out.len()));
    let mut next = start();
    insist(&mut *next, |writer| writer.publish(Epoch(1), &outbox));
    assert_eq!(next.left_out(), left_out, "the note tells of it");
    assert_eq!(broker.contents(topic).len(), texts.len() - left_out.len());
    left_out
}

/// A sink to a topic that tells nobody how little it takes, and the topic's name.
fn to_narrow_topic(broker: &Broker, folder: &tempfile::TempDir) -> (String, KafkaSink<String>) {
    let topic = broker.narrow_topic("rejections", "4000");
    let notes = format!("{topic}-notes");
    broker.create_topic(&notes, 1);
    let sink = KafkaSink::json(&with_token(broker, folder), &*topic).progress_topic(&notes);
    (topic, sink)
}

fn insist(
    writer: &mut dyn EpochWriter<String>,
    mut call: impl FnMut(&mut dyn EpochWriter<String>) -> Result<(), SinkError>,
) {
    for _ in 0..200 {
        match call(writer) {
            Ok(()) => return,
            Err(SinkError::Away { .. }) => std::thread::sleep(Duration::from_millis(50)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the broker stays away");
}

#[test]
fn an_epoch_is_published_without_what_the_brokers_refuse() {
    let Some(broker) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (topic, sink) = to_narrow_topic(broker, &folder);
    let texts: Vec<_> = (0..60)
        .map(|id| (noise(id, if id % 30 == 20 { 9_000 } else { 20 }), false))
        .collect();
    let left_out = publish(broker, &sink, &topic, &texts);
    let offsets: Vec<_> = left_out
        .iter()
        .map(|refused| refused.origin.offset)
        .collect();
    assert_eq!(offsets, [20, 50]);
    for refused in left_out {
        assert_has(&refused.reason, &["is too large"]);
        let text = &texts[refused.origin.offset as usize].0;
        assert_eq!(
            serde_json::from_slice::<String>(&refused.raw).unwrap(),
            *text
        );
    }
}

#[test]
fn an_epoch_is_published_without_times_that_the_brokers_refuse() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic_with("rejections", "message.timestamp.before.max.ms", "3600000");
    let sink = KafkaSink::json(&broker.kafka(), &*topic);
    let sink = sink
        .event_timestamps()
        .progress_topic(format!("{topic}-notes"));
    let texts: Vec<_> = (0..500)
        .map(|id| (format!("text {id}"), id % 5 == 3))
        .collect();
    let left_out = publish(broker, &sink, &topic, &texts);
    let offsets = left_out.iter().map(|refused| refused.origin.offset);
    assert!(
        offsets.eq((0..500).filter(|id| id % 5 == 3)),
        "{left_out:?}"
    );
}

#[test]
fn what_is_refused_in_the_last_epoch_of_a_run_is_one_dead_letter() {
    let Some(broker) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (topic, sink) = to_narrow_topic(broker, &folder);
    let mut texts: Vec<_> = (0..40).map(|id| noise(id, 20)).collect();
    let last = noise(40, 9_000);
    texts.push(last.clone());
    let place = Location::folder(folder.path().join("checkpoints"));
    let dead = Collect::<DeadLetter>::default();
    // The second one has nothing left to do, and nothing to tell again.
    for records in [41, 0] {
        let options = JobOptions {
            checkpoints: Some(Checkpointing::new(
                "last",
                CheckpointOptions::new(place.clone()),
            )),
            dead_letters: Some(Arc::new(dead.clone())),
            ..JobOptions::default()
        };
        let (texts, sink) = (texts.clone(), sink.clone());
        let fates = run_to_end(options, move |flow| {
            flow.source("in", Events::new(texts.clone()))
                .event_time(|_: &String| EventTime::from_seconds(0), secs(0))
                .sink("out", sink.clone());
        });
        assert_eq!(fates.unwrap().records_in, records);
        let letters = dead.values();
        assert_eq!(letters.len(), 1, "{letters:?}");
        assert_eq!((&*letters[0].step, letters[0].offset), ("out", 40));
        assert_has(&letters[0].reason, &["is too large", "`max.message.bytes`"]);
        assert_eq!(letters[0].raw, format!("\"{last}\""));
    }
    assert_eq!(broker.contents(&topic).len(), 40);
}
