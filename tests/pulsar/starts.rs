//! Where a source begins, where it ends, and that it goes on where it was.

use std::collections::BTreeMap;

use serde_json::Value;
use thalweg_connectors::pulsar::{Compression, Message, PulsarSink, PulsarSource, Start};
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::source::{Found, ReadBatch, ReadStatus, Source};
use thalweg_engine::testing::conformance::{
    Ending, Held, Reopening, check_missing_sink, check_missing_source, check_sink, check_source,
};
use thalweg_engine::time::EventTime;

use crate::broker::{Broker, shared};
use crate::flows::write_lines;
use crate::job::{Event, read_all, wait_for};

fn source(broker: &Broker, topic: &str) -> PulsarSource<Event> {
    PulsarSource::json(&broker.pulsar(), topic).until_end()
}

fn ids(source: &PulsarSource<Event>) -> Vec<u64> {
    let items = read_all(source).into_iter();
    items.map(|(_, _, item)| item.unwrap().id).collect()
}

#[test]
fn a_source_begins_where_it_is_told_to() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("starts", 0);
    assert!(
        ids(&source(broker, &topic)).is_empty(),
        "an empty topic ends"
    );
    let end = source(broker, &topic).start(Start::End);
    let start = end
        .partitions()
        .and_then(|_| end.start_offset(0, Found::AtStart));
    // Messages that are 100 ms apart, then a batch.
    broker.produce_alone(&topic, 0..10, "NONE");
    broker.produce(&topic, 10..20, "NONE");
    let mut reader = end.open(0, start.unwrap()).unwrap();
    let mut batch = ReadBatch::new();
    while reader.read(&mut batch, 100).unwrap() != ReadStatus::End {}
    assert_eq!(
        batch.len(),
        20,
        "the end of an empty topic is before all that comes"
    );

    let from = |start| ids(&source(broker, &topic).start(start));
    assert_eq!(from(Start::Beginning), Vec::from_iter(0..20));
    assert!(from(Start::End).is_empty());
    let messages: Vec<Message<Event>> = read_all(&source(broker, &topic).with_metadata())
        .into_iter()
        .map(|(_, _, item)| item.unwrap())
        .collect();
    for n in [0, 5, 9, 10] {
        let time = messages[n].publish_time;
        assert_eq!(from(Start::At(time)), Vec::from_iter(n as u64..20), "{n}");
    }
    let after = EventTime::from_micros(messages[4].publish_time.as_micros() + 1);
    assert_eq!(from(Start::At(after)), Vec::from_iter(5..20));
    assert!(from(Start::At(EventTime::from_seconds(4_000_000_000))).is_empty());
    for n in [0, 3, 10, 14, 19] {
        let positions = BTreeMap::from([(topic.clone(), messages[n].position)]);
        let expected = Vec::from_iter(n as u64..20);
        assert_eq!(from(Start::Positions(positions)), expected, "{n}");
    }
    // What asked, and what read, has left nothing behind.
    drop(reader);
    let subscriptions = || broker.admin("GET", &format!("{topic}/subscriptions"), "");
    wait_for("an end", || !subscriptions().contains("thalweg-"));
}

#[test]
fn what_has_been_removed_is_not_passed_over() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("removed", 0);
    broker.produce(&topic, 0..10, "NONE");
    let source = source(broker, &topic);
    source.partitions().unwrap();
    let mut batch = ReadBatch::new();
    let mut reader = source.open(0, 0).unwrap();
    while reader.read(&mut batch, 4).unwrap() == ReadStatus::More {}
    let third = batch[3].0;
    drop(reader);
    // As if it had been in the ledger before the first that is there.
    let gone = third - (1 << 36);
    let refusal = source.open(0, gone).map(drop).unwrap_err().to_string();
    for part in [&*topic, "is not there any more", "set-retention"] {
        assert!(refusal.contains(part), "{refusal}");
    }
    assert!(source.open(0, third).is_ok());
}

fn record(id: u64) -> Record<Value> {
    Record {
        time: EventTime::from_millis(id as i64),
        origin: Origin {
            offset: id,
            ..Origin::default()
        },
        ingested_ns: 0,
        value: serde_json::json!({ "id": id, "note": "\"and more\"" }),
    }
}

#[test]
fn a_source_conforms() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("conforms", 2);
    let mut all = Vec::new();
    for partition in 0..2 {
        let lines: Vec<_> = (0..12)
            .map(|id| match id % 5 {
                4 => format!("{{bad,{id}"),
                _ => format!("{{\"id\":{}}}", id * 2 + partition),
            })
            .collect();
        let part = format!("{topic}-partition-{partition}");
        write_lines(broker, &part, lines[..7].to_vec(), 100, Compression::Lz4);
        write_lines(broker, &part, lines[7..].to_vec(), 1, Compression::None);
        all.push(lines);
    }
    let positions: Vec<_> = read_all(&source(broker, &topic));
    let held = [0_u32, 1].map(|partition| {
        let offsets = positions.iter().filter(|(own, _, _)| *own == partition);
        let lines = all[partition as usize].iter();
        let records = offsets.zip(lines).map(|((_, offset, _), line)| {
            let item = serde_json::from_str::<Event>(line);
            (*offset, item.map_err(|_| line.clone().into_bytes()))
        });
        Held::partition(partition, records)
    });
    check_source(&source(broker, &topic), &held, Ending::Ends);
    let endless = PulsarSource::<Event>::json(&broker.pulsar(), &*topic);
    check_source(&endless, &held, Ending::Waits);
    let missing = PulsarSource::<Event>::json(&broker.pulsar(), "nowhere");
    check_missing_source(&missing, &["topic `nowhere`"]);
}

#[test]
fn a_sink_conforms() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("conforms", 0);
    let records: Vec<_> = (0..20).map(record).collect();
    let sink = PulsarSink::json(&broker.pulsar(), &*topic);
    let held = || {
        let source = PulsarSource::<Value>::json(&broker.pulsar(), &*topic).until_end();
        let items = read_all(&source).into_iter();
        items.map(|(_, _, item)| item.unwrap()).collect::<Vec<_>>()
    };
    check_sink(&sink, &records, held, Reopening::GoesOn);
    let missing = PulsarSink::<Value>::json(&broker.pulsar(), "nowhere-at-all");
    check_missing_sink(
        &missing,
        &["`nowhere-at-all` does not exist", "create the topic"],
    );
}
