//! A real Kafka, which can be killed, behind a network that can fail.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use thalweg::connectors::codec::BytesCodec;
use thalweg::connectors::kafka::{EPOCH_HEADER, Kafka, KafkaSink, KafkaSource, Message};
use thalweg::engine::sink::Sink;

use crate::broker::{Broker, Contents, PARTITIONS, contents};
use crate::ledger::{Entry, Verdict, judge_places, judge_slot};
use crate::proxy::Proxy;
use crate::records::{EVENTS, Event, ROWS, TOTALS};
use crate::running;

/// Where sinks note how far they have published.
const NOTES: &str = "thalweg-progress";

/// How the topic of the notes is made, so that all of them stay.
const NOTES_SETTINGS: [&str; 2] = ["cleanup.policy=compact", "min.compaction.lag.ms=86400000"];

pub(crate) struct KafkaBroker {
    broker: running::Broker,
    /// What the job comes through.
    network: Proxy,
}

/// What a note says.
#[derive(Deserialize)]
struct Note {
    epoch: u64,
    records: u64,
    crc: u32,
}

impl KafkaBroker {
    /// Starts one, unless it is not to be had.
    pub(crate) fn start() -> Option<Self> {
        let broker = running::own("kafka")?;
        let create = |topic: &str, partitions: u32, settings: &[&str]| {
            let partitions = partitions.to_string();
            let mut arguments = vec!["--create", "--topic", topic, "--partitions", &partitions];
            arguments.extend(settings.iter().flat_map(|setting| ["--config", setting]));
            broker.tool("org.apache.kafka.tools.TopicCommand", &arguments, "");
        };
        for topic in [EVENTS, ROWS, TOTALS] {
            create(topic, PARTITIONS, &[]);
        }
        create(NOTES, 1, &NOTES_SETTINGS);
        let address = |name| broker.address(name).parse().expect("it is an address");
        let network = Proxy::start_at(
            address("THALWEG_TEST_KAFKA_FRONT"),
            address("THALWEG_TEST_KAFKA_BACK"),
        );
        Some(Self { broker, network })
    }

    /// Not through the network.
    fn kafka(&self) -> Kafka {
        Kafka::at(self.broker.address("THALWEG_TEST_KAFKA"))
    }

    /// The bytes of a topic's values, with what is beside them.
    fn messages(&self, topic: &str) -> Vec<Message<Vec<u8>>> {
        let source = KafkaSource::decoded(&self.kafka(), topic, || BytesCodec);
        let all = contents(&source.with_metadata().until_end()).into_iter();
        all.flatten().map(|(_, message)| message).collect()
    }

    /// What a slot has published, in order, each epoch with its note; and the places of all its records.
    fn entries(&self, topic: &str) -> (Vec<Entry>, Vec<(u64, u64)>) {
        let mut epochs: BTreeMap<u64, Vec<(u64, Vec<u8>)>> = BTreeMap::new();
        for message in self.messages(topic) {
            let place = message.header(EPOCH_HEADER).expect("each has a place");
            let place = std::str::from_utf8(place).expect("it is a text");
            let (epoch, index) = place.split_once('-').expect("it has two numbers");
            let number = |text: &str| text.parse().expect("it is a number");
            let of_epoch = epochs.entry(number(epoch)).or_default();
            of_epoch.push((number(index), message.value));
        }
        let places = epochs
            .iter()
            .flat_map(|(epoch, records)| records.iter().map(move |(number, _)| (*epoch, *number)));
        let mut places: Vec<_> = places.collect();
        places.sort_unstable();
        let notes = self.messages(NOTES);
        let slot_of = |note: &Message<Vec<u8>>| {
            let key = note.key.clone().unwrap_or_default();
            String::from_utf8(key).expect("a slot is a text")
        };
        let mut entries = Vec::new();
        for note in &notes {
            let slot = slot_of(note);
            if !slot.split('/').any(|part| part == topic) {
                continue;
            }
            let said: Note = serde_json::from_slice(&note.value).expect("a note is JSON");
            let mut records = epochs.remove(&said.epoch).unwrap_or_default();
            records.sort();
            entries.extend(
                records
                    .into_iter()
                    .map(|(_, bytes)| Entry::Record { bytes }),
            );
            entries.push(Entry::Note {
                slot,
                epoch: said.epoch,
                records: said.records,
                crc: said.crc,
            });
        }
        let left = epochs.into_values().flatten();
        entries.extend(left.map(|(_, bytes)| Entry::Record { bytes }));
        (entries, places)
    }
}

impl Broker for KafkaBroker {
    fn arguments(&self) -> Vec<String> {
        let words = ["--source", "kafka", "--sink", "kafka", "--kafka"];
        let mut words = words.map(str::to_owned).to_vec();
        words.push(self.network.address.to_string());
        words
    }

    fn input(&self) -> Box<dyn Sink<Event>> {
        let key = |event: &Event| Some(event.key.to_string());
        Box::new(KafkaSink::json(&self.kafka(), EVENTS).key(key))
    }

    fn read(&self, topic: &str) -> Contents {
        contents(&KafkaSource::<Value>::json(&self.kafka(), topic).until_end())
    }

    fn judge_slots(&self, verdict: &mut Verdict) {
        for topic in [ROWS, TOTALS] {
            let (entries, places) = self.entries(topic);
            judge_slot(verdict, topic, &entries);
            judge_places(verdict, topic, &places);
        }
    }

    fn restart(&self) -> bool {
        self.broker.kill();
        self.broker.start_again();
        true
    }

    fn last_words(&self) -> String {
        self.broker.last_words()
    }

    fn network(&self) -> Option<&Proxy> {
        Some(&self.network)
    }
}
