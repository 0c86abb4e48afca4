//! The suite of checks that every source and every sink passes, over topics of the real broker.

use serde::{Deserialize, Serialize};
use thalweg_connectors::kafka::{KafkaSink, KafkaSource, Start};
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::testing::conformance::{
    Ending, Held, HeldRecord, Reopening, check_missing_sink, check_missing_source, check_refusals,
    check_sink, check_source,
};
use thalweg_engine::time::EventTime;

use crate::broker::{Broker, shared};
use crate::job::Event;

/// Fills a partition with events, some of which cannot be decoded.
fn fill(broker: &Broker, topic: &str, partition: i32, count: u64) -> Held<Event> {
    let records = (0..count).map(|id| -> HeldRecord<Event> {
        let is_bad = id % 5 == 4;
        (
            id,
            if is_bad {
                Err(b"{bad".to_vec())
            } else {
                Ok(Event { id })
            },
        )
    });
    let records: Vec<_> = records.collect();
    let bytes = records.iter().map(|(_, item)| match item {
        Ok(event) => Event::text(event.id).into_bytes(),
        Err(bytes) => bytes.clone(),
    });
    broker.append(topic, partition, bytes);
    Held::partition(partition.unsigned_abs(), records)
}

#[test]
fn topics_as_a_source() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("conform-source", 3);
    let held = [
        fill(broker, &topic, 0, 23),
        fill(broker, &topic, 1, 0),
        fill(broker, &topic, 2, 4),
    ];
    let source = || KafkaSource::<Event>::json(&broker.kafka(), &*topic);
    check_source(&source().until_end(), &held, Ending::Ends);
    check_source(&source(), &held, Ending::Waits);
    check_missing_source(
        &KafkaSource::<Event>::json(&broker.kafka(), "nothing-of-that-name"),
        &["topic `nothing-of-that-name`", "create the topic"],
    );
    let committed = source().start(Start::Committed);
    check_refused_before_the_start(&committed);
}

fn check_refused_before_the_start(source: &KafkaSource<Event>) {
    use thalweg_engine::source::Source;
    let error = source.check().unwrap_err().to_string();
    assert!(error.contains("names no group"), "{error}");
}

fn records<T>(values: impl IntoIterator<Item = T>) -> Vec<Record<T>> {
    let record = |(offset, value)| Record {
        time: EventTime::from_seconds(1_700_000_000),
        origin: Origin {
            offset,
            ..Origin::default()
        },
        ingested_ns: 0,
        value,
    };
    (0..).zip(values).map(record).collect()
}

#[test]
fn a_topic_as_a_sink() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("conform-sink", 1);
    let sink = KafkaSink::<Event>::json(&broker.kafka(), &*topic);
    let held = || {
        let stored = broker.contents(&topic).into_iter();
        stored
            .map(|stored| serde_json::from_slice(&stored.value).unwrap())
            .collect()
    };
    let events = records((0..20).map(|id| Event { id }));
    check_sink(&sink, &events, held, Reopening::GoesOn);
    check_missing_sink(
        &KafkaSink::<Event>::json(
            &broker.kafka().property("security.protocol", "none"),
            &*topic,
        ),
        &["security.protocol"],
    );
}

/// A text, which is bad where it is empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Text(String);

#[test]
fn a_topic_passes_over_what_has_no_form_or_is_too_large() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("conform-refusals", 1);
    let kafka = broker.kafka().property("message.max.bytes", "2000");
    let sink = KafkaSink::<Text>::encoded(&kafka, &*topic, |record, bytes| {
        bytes.extend_from_slice(record.value.0.as_bytes());
        match record.value.0.as_str() {
            "" => Err("there is nothing in it".to_owned()),
            _ => Ok(()),
        }
    });
    let values = (0..20).map(|id| match id {
        0 | 7 | 8 => String::new(),
        1 | 10 | 19 => "x".repeat(3_000),
        id => format!("text {id}"),
    });
    let all = records(values.map(Text)).into_iter().map(|record| {
        let is_good = record.value.0.starts_with("text");
        (record, is_good)
    });
    let held = || {
        let stored = broker.contents(&topic).into_iter();
        stored
            .map(|stored| Text(String::from_utf8(stored.value).unwrap()))
            .collect()
    };
    check_refusals(&sink, &all.collect::<Vec<_>>(), held);
}

/// A text that compression makes little shorter.
pub(crate) fn noise(id: u64, chars: usize) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut text = String::new();
    for part in 0_u64.. {
        if text.len() >= chars {
            break;
        }
        let mut hasher = DefaultHasher::new();
        (id, part).hash(&mut hasher);
        text += &format!("{:016x}", hasher.finish());
    }
    text
}

#[test]
fn a_topic_passes_over_what_only_the_broker_finds_too_large() {
    let Some(broker) = shared() else { return };
    let topic = broker.narrow_topic("conform-narrow", "4000");
    let sink = KafkaSink::<Text>::json(&broker.kafka(), &*topic);
    let values = (0..400).map(|id| match id % 100 {
        // Refused, and taken since it shrinks on its way.
        7 | 8 | 99 => (noise(id, 9_000), false),
        50 => ("x".repeat(9_000), true),
        // Many of these are more than the topic takes at once.
        _ => (noise(id, 700), true),
    });
    let (values, are_good): (Vec<_>, Vec<_>) =
        values.map(|(text, good)| (Text(text), good)).unzip();
    let all: Vec<_> = records(values).into_iter().zip(are_good).collect();
    let held = || {
        let stored = broker.contents(&topic).into_iter();
        stored
            .map(|stored| serde_json::from_slice(&stored.value).unwrap())
            .collect()
    };
    check_refusals(&sink, &all, held);
    assert_eq!(sink.reports().failed(), 0);
}
