//! Publishes epochs in the partitions of a topic, each record exactly once.
//!
//! Records are encoded, and their partitions chosen, before the epoch is sealed. Each has a property with
//! its epoch and its number among those of its partition. Only one producer may write to a partition at
//! a time; so the last record there tells how far has been published, and what is behind it is left.
//!
//! Each checkpoint keeps how far that was: where less is found later, messages have been removed, and
//! nothing is published. There is no place for a note beside the records: so it is not noticed when all
//! of a slot's first messages are removed before the next checkpoint, which knows of them.
//!
//! After any trouble the producers are given up and others look for the end anew. Their names are the
//! broker's: under the same name, a namespace that removes duplicates would take new records for old.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{EpochWriter, Refused, SinkError};

use super::batch::{Outgoing, written_key};
use super::client::Client;
use super::feed::{Fed, Feed, Given, Way};
use super::position::Position;
use super::producer::Producer;
use super::protocol::KeyValue;
use super::sink::{Properties, PulsarSink};
use super::writer::{IN_FLIGHT_BYTES_MAX, IN_FLIGHT_MAX, partition_of};
use crate::broker::outbox::{self, Staged};
use crate::broker::{EPOCH_HEADER, Encoded, ID_HEADER, Problem, SLOT_HEADER};

/// How long to wait for the broker before looking again, and how often in a row while reading.
const PATIENCE: Duration = Duration::from_millis(100);
const ATTEMPTS: u32 = 100;
/// Bytes of a message as brokers take them unless they say otherwise.
const MESSAGE_BYTES: usize = 5 * 1024 * 1024;
/// The greatest message that is read back.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How far has been published in a partition: an epoch, and the number of a record in it.
type Place = (u64, u64);

/// A partition that has been taken over.
struct Line {
    producer: Producer,
    published: Option<Place>,
}

/// The one who publishes under a slot.
pub(super) struct PulsarEpochs<T> {
    sink: PulsarSink<T>,
    slot: String,
    client: Client,
    /// The partitions' whole names.
    partitions: Vec<String>,
    /// None before they have been taken over, and after trouble.
    lines: Option<Vec<Line>>,
    /// By partition, how far is known to have been published.
    published: BTreeMap<String, Place>,
    /// The partition of the next records without a key.
    turn: usize,
    encoded: Encoded,
    properties: Properties,
}

impl<T: 'static> PulsarEpochs<T> {
    pub(super) fn new(
        sink: PulsarSink<T>,
        slot: &str,
        client: Client,
        partitions: Vec<String>,
    ) -> Self {
        Self {
            sink,
            slot: slot.to_owned(),
            client,
            partitions,
            lines: None,
            published: BTreeMap::new(),
            turn: 0,
            encoded: Encoded::default(),
            properties: Properties::default(),
        }
    }

    /// Encodes a record. One that cannot be sent has to be refused now: what is in a sealed outbox must
    /// be published.
    fn put(&mut self, record: &Record<T>, outbox: &mut Vec<u8>) -> Result<(), String> {
        self.encoded.take(&self.sink.form, record)?;
        let value = &self.encoded.value;
        let lines = self.lines.iter().flatten();
        let most = lines.map(|line| line.producer.message_bytes_max()).min();
        let most = most.unwrap_or(MESSAGE_BYTES);
        if value.len() > most {
            return Err(format!(
                "a record of {} bytes is too large: the broker takes {most} at most (its \
                 `maxMessageSize`)",
                value.len()
            ));
        }
        let count = self.partitions.len();
        let partition = match self.encoded.key() {
            Some(key) => partition_of(&written_key(key).0, count),
            None => self.turn % count,
        };
        self.properties.0.clear();
        if let Some(make) = &self.sink.properties {
            make(record, &mut self.properties);
        }
        let own = self.properties.0.iter();
        let own = own.map(|own| (&*own.key, own.value.as_bytes()));
        let millis = record.time.as_micros().div_euclid(1000);
        let staged = Staged {
            partition: u32::try_from(partition).ok(),
            time_ms: Some(millis).filter(|millis| *millis > 0),
            key: self.encoded.key(),
            headers: std::iter::once((ID_HEADER, self.encoded.id.as_bytes()))
                .chain(own)
                .collect(),
            value,
        };
        staged.put(outbox);
        Ok(())
    }

    /// Waits until nobody else writes to the partitions, and looks how far has been published.
    fn take_lines(&self) -> Result<Vec<Line>, Problem> {
        let take = |topic: &String| {
            let producer = self.sink.exclusive_producer(&self.client, topic)?;
            let published = last_place(&self.client, topic, |slot| slot == self.slot)?;
            Ok(Line {
                producer,
                published,
            })
        };
        self.partitions.iter().map(take).collect()
    }

    /// Likewise, unless less is there than has been published.
    fn begin(&mut self) -> Result<Vec<Line>, SinkError> {
        let what = self.sink.what();
        let lines = self.take_lines().map_err(|problem| SinkError::Away {
            what: what.clone(),
            reason: problem.reason,
        })?;
        for (topic, line) in self.partitions.iter().zip(&lines) {
            let published = self.published.get(topic).copied();
            if let Some((epoch, number)) = published
                && line.published < published
            {
                let last = match line.published {
                    None => "none".to_owned(),
                    Some((epoch, number)) => format!("record {number} of epoch {epoch}"),
                };
                return Err(SinkError::Write {
                    what,
                    reason: format!(
                        "record {number} of epoch {epoch} has been published in `{topic}`, where the \
                         last of this pipeline is {last}: messages have been removed; keep them for \
                         longer than the job stands still, and begin in another place of checkpoints \
                         with an export of this one"
                    ),
                });
            }
        }
        self.note_published(&lines);
        Ok(lines)
    }

    fn note_published(&mut self, lines: &[Line]) {
        for (topic, line) in self.partitions.iter().zip(lines) {
            if let Some(place) = line.published
                && self.published.get(topic) != Some(&place)
            {
                self.published.insert(topic.clone(), place);
            }
        }
    }

    fn try_publish(&mut self, epoch: Epoch, outbox: &[u8]) -> Result<(), SinkError> {
        let what = self.sink.what();
        let broken = |reason| SinkError::Write {
            what: what.clone(),
            reason,
        };
        let away = |reason| SinkError::Away {
            what: what.clone(),
            reason,
        };
        let records = outbox::records(outbox).map_err(broken)?;
        let lines = self.lines.take();
        let mut lines = lines.map_or_else(|| self.begin(), Ok)?;
        let mut numbers = vec![0; lines.len()];
        for record in records {
            let partition = record.partition.unwrap_or_default() as usize;
            let Some((line, number)) = lines.get_mut(partition).zip(numbers.get_mut(partition))
            else {
                return Err(broken(format!(
                    "an outbox is for partition {partition}, and the topic has {}",
                    self.partitions.len()
                )));
            };
            let place = (epoch.0, *number);
            *number += 1;
            if line.published >= Some(place) {
                continue;
            }
            let sent = send(&self.sink, &self.slot, line, &record, place);
            sent.map_err(away)?;
            line.published = Some(place);
        }
        for line in &mut lines {
            line.producer.ship().map_err(away)?;
            while line.producer.in_flight().0 > 0 {
                let looked = line.producer.look(PATIENCE, &self.sink.reports);
                looked.map_err(away)?;
            }
        }
        self.note_published(&lines);
        self.lines = Some(lines);
        Ok(())
    }
}

fn send<T>(
    sink: &PulsarSink<T>,
    slot: &str,
    line: &mut Line,
    record: &Staged<'_>,
    (epoch, number): Place,
) -> Result<(), String> {
    let property = |name: &str, value: String| KeyValue {
        key: name.to_owned(),
        value,
    };
    let own = record.headers.iter();
    let own = own.map(|(name, value)| property(name, String::from_utf8_lossy(value).into_owned()));
    let outgoing = Outgoing {
        key: record.key,
        properties: own
            .chain([
                property(SLOT_HEADER, slot.to_owned()),
                property(EPOCH_HEADER, format!("{epoch}-{number}")),
            ])
            .collect(),
        event_time_ms: record.time_ms.and_then(|millis| u64::try_from(millis).ok()),
        value: record.value,
    };
    let producer = &mut line.producer;
    // What cannot be sent has been refused before the epoch was sealed.
    producer.add(outgoing, sink.batch_records, sink.batch_bytes)??;
    while producer.in_flight().0 >= IN_FLIGHT_MAX || producer.in_flight().1 >= IN_FLIGHT_BYTES_MAX {
        producer.look(PATIENCE, &sink.reports)?;
    }
    Ok(())
}

/// Up to which epoch slots whose names begin so have published in any of these partitions.
pub(super) fn published(
    client: &Client,
    partitions: &[String],
    slots: &str,
) -> Result<Option<Epoch>, Problem> {
    let mut newest = None;
    for topic in partitions {
        let place = last_place(client, topic, |slot| slot.starts_with(slots))?;
        newest = newest.max(place.map(|(epoch, _)| Epoch(epoch)));
    }
    Ok(newest)
}

/// The place of the last record of such a slot in a partition: mostly the last record there is.
fn last_place(
    client: &Client,
    topic: &str,
    is_wanted: impl Fn(&str) -> bool + Copy,
) -> Result<Option<Place>, Problem> {
    let span = client.patiently(|client| client.span(topic))?;
    let (Some(first), Some(next)) = (span.first, span.next) else {
        return Ok(None);
    };
    let last_entry = Position {
        entry: match next.index {
            0 => next.entry.saturating_sub(1),
            _ => next.entry,
        },
        index: 0,
        ..next
    };
    match place_from(client, topic, is_wanted, last_entry.max(first))? {
        None if last_entry > first => place_from(client, topic, is_wanted, first),
        found => Ok(found),
    }
}

/// The place of the last record of such a slot from a position on.
fn place_from(
    client: &Client,
    topic: &str,
    is_wanted: impl Fn(&str) -> bool,
    from: Position,
) -> Result<Option<Place>, Problem> {
    let (client, topic, from) = (client.clone(), topic.to_owned(), from.offset()?);
    let mut feed = Feed::open(client, topic, Way::Reader, from, PAYLOAD_BYTES_MAX, true)?;
    let (mut found, mut silent) = (None, 0);
    while !feed.is_at_end() {
        let fed = feed.feed(PATIENCE, |given| match given {
            Given::Message(raw) => place_in(raw.properties, &is_wanted),
            Given::Garbled(_) => None,
        })?;
        match fed {
            Fed::Item(_, place) => {
                silent = 0;
                found = place.or(found);
            }
            Fed::Nothing if silent < ATTEMPTS => silent += 1,
            Fed::Nothing => {
                return Err(Problem::new(
                    format!("topic `{}` cannot be read to its end", feed.topic()),
                    "check that the brokers run",
                ));
            }
        }
    }
    Ok(found)
}

/// The place that the properties of a message tell, where it is one of such a slot.
fn place_in(properties: &[KeyValue], is_wanted: impl Fn(&str) -> bool) -> Option<Place> {
    let value = |name: &str| {
        let mut all = properties.iter();
        all.find(|property| property.key == name)
            .map(|property| &*property.value)
    };
    let (epoch, number) = value(EPOCH_HEADER)?.split_once('-')?;
    let is_wanted = value(SLOT_HEADER).is_some_and(is_wanted);
    is_wanted.then_some((epoch.parse().ok()?, number.parse().ok()?))
}

impl<T: 'static> EpochWriter<T> for PulsarEpochs<T> {
    fn resume(&mut self, published: &str) -> Result<(), SinkError> {
        let published = serde_json::from_str(published);
        self.published = published.map_err(|error| SinkError::Write {
            what: self.sink.what(),
            reason: format!("how far the checkpoint says that it was published: {error}"),
        })?;
        Ok(())
    }

    fn published(&self) -> Option<String> {
        serde_json::to_string(&self.published).ok()
    }

    fn take_over(&mut self) -> Result<(), SinkError> {
        self.lines = Some(self.begin()?);
        Ok(())
    }

    fn stage(
        &mut self,
        records: &[Record<T>],
        outbox: &mut Vec<u8>,
        refused: &mut Refused,
    ) -> Result<(), SinkError> {
        for (index, record) in records.iter().enumerate() {
            if let Err(reason) = self.put(record, outbox) {
                refused.add(index, reason);
            }
        }
        // Those without a key go to one partition for a while, so that batches are large.
        self.turn += 1;
        Ok(())
    }

    fn publish(&mut self, epoch: Epoch, outbox: &[u8]) -> Result<(), SinkError> {
        self.try_publish(epoch, outbox)
    }
}
