//! A producer of one partition: it sends, and keeps what it sent until the broker has it.

use std::collections::VecDeque;
use std::time::Duration;

use thalweg_engine::clock::Clock;

use super::batch::{Batch, Outgoing, Parcel};
use super::client::Client;
use super::compression::Compression;
use super::connection::Connection;
use super::frame::Frame;
use super::problem::Trouble;
use super::protocol::{Body, CommandProducer, CommandSend, ProducerAccessMode};
use crate::broker::{Problem, Reports};

/// The only producer of its connection.
const SENDING: u64 = 1;
/// Bytes of a message that may be needed for what is not its payload.
const METADATA_BYTES: usize = 16 * 1024;
/// How often a broker may refuse the same before that is taken for an answer.
const FAILURES_MAX: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// A producer of one partition.
pub(super) struct Producer {
    client: Client,
    /// The partition's whole name.
    topic: String,
    compression: Compression,
    /// Whether nobody else may send to the partition. Then the connection is made once: what has arrived
    /// of what was lost with it is not known.
    is_exclusive: bool,
    connection: Option<Connection>,
    clock: Clock,
    /// What the broker calls it, once it has.
    name: Option<String>,
    /// How often it was connected.
    epoch: u64,
    /// The number of the next record.
    sequence: u64,
    message_bytes_max: usize,
    batch: Batch,
    /// What the broker has not acknowledged, in order.
    unacknowledged: VecDeque<Parcel>,
    unacknowledged_bytes: usize,
    /// How often the broker has sent it away since it last took something.
    failures: u32,
}

impl Producer {
    pub(super) fn open(
        client: &Client,
        topic: String,
        compression: Compression,
        is_exclusive: bool,
    ) -> Result<Self, Problem> {
        let mut producer = Self {
            client: client.clone(),
            topic,
            compression,
            is_exclusive,
            connection: None,
            clock: Clock::system(),
            name: None,
            epoch: 0,
            sequence: 0,
            message_bytes_max: 0,
            batch: Batch::default(),
            unacknowledged: VecDeque::new(),
            unacknowledged_bytes: 0,
            failures: 0,
        };
        client.patiently(|_| producer.connect())?;
        Ok(producer)
    }

    /// Connects, and sends again what is not acknowledged. The records keep their numbers, so that a
    /// broker that removes duplicates takes each once.
    fn connect(&mut self) -> Result<(), Trouble> {
        self.connection = None;
        let mut connection = self.client.connect(&self.topic)?;
        let (topic, producer_name, epoch) = (self.topic.clone(), self.name.clone(), self.epoch);
        let access = match self.is_exclusive {
            true => ProducerAccessMode::Exclusive,
            false => ProducerAccessMode::Shared,
        };
        let answer = connection.ask(|request_id| {
            Body::Producer(CommandProducer {
                topic,
                producer_id: SENDING,
                request_id,
                producer_name,
                epoch: Some(epoch),
                user_provided_producer_name: Some(false),
                producer_access_mode: Some(access.into()),
                ..CommandProducer::default()
            })
        })?;
        let Body::ProducerSuccess(answer) = answer else {
            return Err(Trouble::Lost("the broker gives no producer".to_owned()));
        };
        self.name = Some(answer.producer_name);
        self.epoch += 1;
        let room = connection.message_bytes_max.saturating_sub(METADATA_BYTES);
        self.message_bytes_max = room;
        for parcel in &mut self.unacknowledged {
            send(&mut connection, self.name.as_deref(), parcel)?;
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Takes in a record, which is sent with others or with [`ship`](Self::ship); or says why the
    /// broker would not take it.
    pub(super) fn add(
        &mut self,
        record: Outgoing<'_>,
        batch_records: u32,
        batch_bytes: usize,
    ) -> Result<Result<(), String>, String> {
        if batch_records <= 1 || record.value.len() + METADATA_BYTES > self.message_bytes_max {
            self.ship()?;
            return self.send_alone(record);
        }
        let batch_bytes = batch_bytes.min(self.message_bytes_max);
        if self.batch.count > 0 && self.batch.bytes() + record.value.len() > batch_bytes {
            self.ship()?;
        }
        self.batch.add(record);
        if self.batch.count >= batch_records || self.batch.bytes() >= batch_bytes {
            self.ship()?;
        }
        Ok(Ok(()))
    }

    fn send_alone(&mut self, record: Outgoing<'_>) -> Result<Result<(), String>, String> {
        let parcel = Parcel::single(record, self.sequence, self.compression)?;
        let bytes = parcel.payload.len();
        if bytes > self.message_bytes_max {
            return Ok(Err(format!(
                "a record of {bytes} bytes is too large: the broker takes {} at most (its \
                 `maxMessageSize`)",
                self.message_bytes_max
            )));
        }
        self.sequence += 1;
        self.dispatch(parcel);
        Ok(Ok(()))
    }

    /// Sends what has been collected.
    pub(super) fn ship(&mut self) -> Result<(), String> {
        if self.batch.count == 0 {
            return Ok(());
        }
        let parcel = self.batch.seal(self.sequence, self.compression)?;
        self.sequence += u64::from(parcel.count);
        self.dispatch(parcel);
        Ok(())
    }

    fn dispatch(&mut self, mut parcel: Parcel) {
        if let Some(connection) = &mut self.connection
            && send(connection, self.name.as_deref(), &mut parcel).is_err()
        {
            // What is lost with the connection is sent again with the next.
            self.connection = None;
        }
        self.unacknowledged_bytes += parcel.payload.len();
        self.unacknowledged.push_back(parcel);
    }

    /// Bytes of a message that the broker takes.
    pub(super) fn message_bytes_max(&self) -> usize {
        self.message_bytes_max
    }

    /// Messages that the broker has not acknowledged, and their bytes.
    pub(super) fn in_flight(&self) -> (usize, usize) {
        (self.unacknowledged.len(), self.unacknowledged_bytes)
    }

    /// Looks at what the broker says, for as long as `patience` where it says nothing; connects again
    /// where that has to be.
    pub(super) fn look(&mut self, patience: Duration, reports: &Reports) -> Result<(), String> {
        let mut patience = patience;
        loop {
            let polled = match &mut self.connection {
                Some(connection) => connection.poll(patience),
                None => Err(Trouble::Lost("there is no connection".to_owned())),
            };
            match polled {
                Ok(None) => return Ok(()),
                Ok(Some(frame)) => self.hear(frame, reports)?,
                Err(trouble) => self.reconnect(trouble)?,
            }
            patience = Duration::ZERO;
        }
    }

    fn hear(&mut self, frame: Frame, reports: &Reports) -> Result<(), String> {
        match frame.body {
            Some(Body::SendReceipt(receipt)) => {
                self.failures = 0;
                while let Some(first) = self.unacknowledged.front()
                    && first.metadata.sequence_id <= receipt.sequence_id
                {
                    reports.add_delivered(u64::from(first.count));
                    self.unacknowledged_bytes -= first.payload.len();
                    self.unacknowledged.pop_front();
                }
                Ok(())
            }
            Some(Body::SendError(error)) => {
                let trouble = Trouble::refused(error.error, &error.message);
                if trouble.passes() && self.failures < FAILURES_MAX {
                    return self.start_over(trouble);
                }
                reports.count_failed();
                Err(format!("a record was refused: {}", trouble.reason()))
            }
            Some(Body::CloseProducer(_)) => self.start_over(Trouble::Lost(
                "the broker has closed the producer".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Connects again after a moment, since the broker may need one.
    fn start_over(&mut self, trouble: Trouble) -> Result<(), String> {
        self.failures += 1;
        std::thread::sleep(PAUSE);
        self.reconnect(trouble)
    }

    /// Connects again, until it works or has not worked for too long.
    fn reconnect(&mut self, trouble: Trouble) -> Result<(), String> {
        if self.is_exclusive {
            return Err(trouble.reason());
        }
        let topic = &self.topic;
        tracing::warn!(topic, "pulsar: {}; connecting again", trouble.reason());
        let hold_on = self.client.settings().how_long_to_hold_on();
        let lost_ns = self.clock.now_ns();
        loop {
            match self.connect() {
                Ok(()) => {
                    tracing::info!(topic = self.topic, "pulsar: connected again");
                    return Ok(());
                }
                Err(trouble) if !trouble.passes() => return Err(trouble.reason()),
                Err(trouble) => {
                    if u128::from(self.clock.now_ns() - lost_ns) > hold_on.as_nanos() {
                        return Err(trouble.reason());
                    }
                }
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn send(
    connection: &mut Connection,
    name: Option<&str>,
    parcel: &mut Parcel,
) -> Result<(), Trouble> {
    let metadata = &mut parcel.metadata;
    if metadata.producer_name.is_empty() {
        metadata.producer_name = name.unwrap_or_default().to_owned();
    }
    let command = Body::Send(CommandSend {
        producer_id: SENDING,
        sequence_id: metadata.sequence_id,
        num_messages: i32::try_from(parcel.count).ok(),
        highest_sequence_id: metadata.highest_sequence_id,
        ..CommandSend::default()
    });
    connection.send_payload(command, metadata, &parcel.payload)
}
