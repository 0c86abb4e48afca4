//! The notes of exactly-once sinks, in a topic of their own: how far each has published.
//!
//! A note is part of the transaction that publishes the epoch. Its key is the slot, the pipeline and
//! sink that wrote it; its value is JSON. The topic is compacted: of each slot's notes the last counts.

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
    let of = |level: &str| {
        let kafka = kafka.clone().property("isolation.level", level);
        Client::new(&kafka, None, true)
    };
    let (everything, committed) = (of("read_uncommitted")?, of("read_committed")?);
    let mut newest: Option<Progress> = None;
    for partition in 0..everything.partitions_of(topic)? {
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        let (_, end) = everything.bounds(topic, partition)?;
        let low = wait_for_decisions(&committed, topic, partition, end)?;
        if low == end {
            continue;
        }
        let found = read_partition(&committed, topic, partition, low, slot);
        committed.unassign(topic, partition);
        newest = later(newest, found?);
    }
    Ok(newest)
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
             lost by its broker (`kafka-transactions.sh find-hanging`), and is to be aborted there"
        ),
        "wait until they are over",
    ))
}

fn read_partition(
    client: &Client,
    topic: &str,
    partition: i32,
    low: u64,
    slot: &str,
) -> Result<Option<Progress>, Problem> {
    let queue = client.assign(topic, partition, low)?;
    let (mut newest, mut silent) = (None::<Progress>, 0);
    while silent < ATTEMPTS {
        client.serve();
        match queue.poll(ATTEMPT) {
            None => silent += 1,
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(newest),
            Some(Err(error)) => return Err(Problem::of_code(None, in_words(&error))),
            Some(Ok(message)) => {
                silent = 0;
                if message.key() == Some(slot.as_bytes()) {
                    let value = message.payload().unwrap_or_default();
                    let note = serde_json::from_slice(value).map_err(|error| {
                        Problem::new(
                            format!(
                                "the note at offset {} of topic `{topic}` cannot be read: {error}",
                                message.offset()
                            ),
                            "name another topic for notes",
                        )
                    })?;
                    newest = later(newest, Some(note));
                }
            }
        }
    }
    Err(Problem::new(
        format!("topic `{topic}` cannot be read to its end"),
        "check that the brokers run and that `brokers` names them",
    ))
}
