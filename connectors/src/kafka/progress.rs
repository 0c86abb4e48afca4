//! The notes of exactly-once sinks, in a topic of their own: how far each has published.
//!
//! A note is part of the transaction that publishes the epoch. Its key is the slot, the pipeline and
//! sink that wrote it; its value is JSON. The topic is compacted: of each slot's notes the last counts.
//! The first one is of epoch 0, and there before anything is published.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use serde::{Deserialize, Serialize};

use super::admin;
use super::client::Client;
use super::left_out::LeftOut;
use super::problem::{Problem, in_words};
use super::settings::Kafka;

/// What the topic is set to when it is made; the latter two keep it small.
const TOPIC: [(&str, &str); 3] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "3600000"),
    ("segment.bytes", "16777216"),
];
/// How long to wait for a record, and how often in a row.
const ATTEMPT: Duration = Duration::from_millis(200);
const ATTEMPTS: usize = 50;

/// What a note says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The epoch that has been published last.
    pub(super) epoch: u64,
    /// How many records it has.
    pub(super) records: u64,
    /// The CRC-32C of their values, one after the other.
    pub(super) crc: u32,
    /// What the brokers have refused of it.
    #[serde(default, skip_serializing_if = "LeftOut::is_empty")]
    pub(super) left_out: LeftOut,
}

/// Makes the topic where it is not there yet.
pub(super) fn prepare(kafka: &Kafka, topic: &str) -> Result<(), Problem> {
    match Client::new(kafka, None, false)?
        .topics()?
        .contains_key(topic)
    {
        true => check(kafka, topic),
        false => admin::create(kafka, topic, &TOPIC),
    }
}

/// Refuses a topic that forgets what it is to remember; one that is not there yet is none.
pub(super) fn check(kafka: &Kafka, topic: &str) -> Result<(), Problem> {
    match admin::setting(kafka, topic, "cleanup.policy") {
        Some(policy) if policy != "compact" => Err(Problem::new(
            format!(
                "topic `{topic}`, which is to hold how far has been published, has \
                 `cleanup.policy={policy}`"
            ),
            "set it to `compact`, or name another topic",
        )),
        _ => Ok(()),
    }
}

/// How far a slot has published, as far as that is decided. Whoever could still publish under it must
/// have been fenced off before.
pub(super) fn read(kafka: &Kafka, topic: &str, slot: &str) -> Result<Option<Progress>, Problem> {
    let everything = client(kafka, "read_uncommitted")?;
    let committed = client(kafka, "read_committed")?;
    let mut newest: Option<Progress> = None;
    for partition in partitions(everything.partitions_of(topic)?) {
        let (_, end) = everything.bounds(topic, partition)?;
        let low = wait_for_decisions(&committed, topic, partition, end)?;
        let is_own = |key: &[u8]| key == slot.as_bytes();
        let found = newest_note(&committed, topic, partition, (low, end), is_own)?;
        newest = later(newest, found);
    }
    Ok(newest)
}

/// How far slots whose names begin so have published in a topic, as far as that is decided now; none in
/// one that is gone, or has been made anew.
pub(super) fn published(
    kafka: &Kafka,
    topic: &str,
    notes: &str,
    slots: &str,
) -> Result<Option<Progress>, Problem> {
    let client = client(kafka, "read_committed")?;
    let topics = client.topics()?;
    let partitions_of = |topic: &str| partitions(topics.get(topic).copied().unwrap_or(0));
    let mut has_records = false;
    for partition in partitions_of(topic) {
        has_records |= client.bounds(topic, partition)?.1 > 0;
    }
    let mut newest: Option<Progress> = None;
    for partition in partitions_of(notes).filter(|_| has_records) {
        let bounds = client.bounds(notes, partition)?;
        let is_wanted = |key: &[u8]| key.starts_with(slots.as_bytes());
        let found = newest_note(&client, notes, partition, bounds, is_wanted)?;
        newest = later(newest, found);
    }
    Ok(newest)
}

fn client(kafka: &Kafka, isolation_level: &str) -> Result<Client, Problem> {
    let kafka = kafka.clone().property("isolation.level", isolation_level);
    Client::new(&kafka, None, true)
}

fn partitions(count: usize) -> impl Iterator<Item = i32> {
    0..i32::try_from(count).unwrap_or(i32::MAX)
}

/// The later of two notes.
fn later(one: Option<Progress>, other: Option<Progress>) -> Option<Progress> {
    one.into_iter().chain(other).max_by_key(|note| note.epoch)
}

/// Waits until all transactions with records before `end` are over, those of other slots, too, and
/// gives the oldest offset.
fn wait_for_decisions(
    committed: &Client,
    topic: &str,
    partition: i32,
    end: u64,
) -> Result<u64, Problem> {
    for _ in 0..ATTEMPTS {
        let (low, decided) = committed.bounds(topic, partition)?;
        if decided >= end {
            return Ok(low);
        }
        std::thread::sleep(ATTEMPT);
    }
    Err(Problem::new(
        format!(
            "transactions are open in topic `{topic}`; one that stays open longer than a minute has been \
             lost by its broker (`kafka-transactions.sh find-hanging`): abort it in all of its partitions, \
             unless it has been committed in one of them"
        ),
        "wait until they are over",
    ))
}

/// The newest note in a partition, between these offsets, whose slot is wanted.
fn newest_note(
    client: &Client,
    topic: &str,
    partition: i32,
    (low, end): (u64, u64),
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Result<Option<Progress>, Problem> {
    if low == end {
        return Ok(None);
    }
    let found = read_partition(client, topic, partition, low, is_wanted);
    client.unassign(topic, partition);
    Ok(found?.into_values().max_by_key(|note| note.epoch))
}

/// The last note of each slot that is wanted, from an offset to the end of the partition.
fn read_partition(
    client: &Client,
    topic: &str,
    partition: i32,
    low: u64,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Result<BTreeMap<Vec<u8>, Progress>, Problem> {
    let queue = client.assign(topic, partition, low)?;
    let (mut notes, mut silent) = (BTreeMap::new(), 0);
    while silent < ATTEMPTS {
        client.serve();
        match queue.poll(ATTEMPT) {
            None => silent += 1,
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(notes),
            Some(Err(error)) => return Err(Problem::of_code(None, in_words(&error))),
            Some(Ok(message)) => {
                silent = 0;
                let Some(slot) = message.key().filter(|key| is_wanted(key)) else {
                    continue;
                };
                // One without a value takes the slot's notes away.
                let Some(value) = message.payload() else {
                    notes.remove(slot);
                    continue;
                };
                let note = serde_json::from_slice(value).map_err(|error| {
                    Problem::new(
                        format!(
                            "the note at offset {} of topic `{topic}` cannot be read: {error}",
                            message.offset()
                        ),
                        "name another topic for notes",
                    )
                })?;
                notes.insert(slot.to_owned(), note);
            }
        }
    }
    Err(Problem::new(
        format!("topic `{topic}` cannot be read to its end"),
        "check that the brokers run and that `brokers` names them",
    ))
}
