//! What an entry holds: one message, or a batch of them.

use prost_pulsar::Message as _;

use super::compression::decompress;
use super::frame::{Garbled, Payload, take, take_length};
use super::position::Position;
use super::protocol::{KeyValue, MessageIdData, MessageMetadata, SingleMessageMetadata};

/// An entry on its way to the engine, message by message.
pub(super) struct Entry {
    pub(super) id: MessageIdData,
    metadata: MessageMetadata,
    bytes: Vec<u8>,
    /// Where the next message of the batch begins.
    at: usize,
    /// The place of the next message.
    pub(super) index: u32,
    /// How many messages there are.
    pub(super) count: u32,
}

/// A message as it stands in an entry.
pub(super) struct Raw<'a> {
    pub(super) topic: &'a str,
    pub(super) position: Position,
    pub(super) key: Option<&'a str>,
    /// Whether the key is bytes, written in base64.
    pub(super) is_key_encoded: bool,
    pub(super) properties: &'a [KeyValue],
    pub(super) event_time_ms: Option<u64>,
    pub(super) publish_time_ms: u64,
    pub(super) value: Option<&'a [u8]>,
}

/// What the next message of an entry is.
pub(super) enum Next<'a> {
    Message(u32, Raw<'a>),
    /// It has been compacted away.
    Gone,
    /// From here on nothing can be read.
    Garbled(u32, Garbled),
    End,
}

impl Entry {
    /// Opens an entry; where that cannot be done, what is left to be said of it.
    ///
    /// Gives none where the entry is nobody's message.
    pub(super) fn open(
        id: MessageIdData,
        payload: Result<Payload, Garbled>,
        bytes_max: usize,
    ) -> Option<(Self, Option<Garbled>)> {
        let (metadata, bytes, mut garbled) = match payload {
            Ok(payload) => (payload.metadata, payload.bytes, None),
            Err(garbled) => (MessageMetadata::default(), Vec::new(), Some(garbled)),
        };
        if metadata.marker_type.is_some() {
            return None;
        }
        let count = metadata.num_messages_in_batch.unwrap_or(1).max(1);
        let mut entry = Self {
            id,
            metadata,
            bytes,
            at: 0,
            index: 0,
            count: count.unsigned_abs(),
        };
        if garbled.is_none() {
            garbled = entry.unpack(bytes_max).err();
        }
        Some((entry, garbled))
    }

    fn unpack(&mut self, bytes_max: usize) -> Result<(), Garbled> {
        let bytes = std::mem::take(&mut self.bytes);
        let metadata = &self.metadata;
        if let Some(method) = &metadata.encryption_algo {
            let reason = format!("it is encrypted ({method}), which cannot be undone here");
            return Err(Garbled { reason, bytes });
        }
        if let Some(chunks @ 2..) = metadata.num_chunks_from_msg {
            let reason = format!(
                "it is one of {chunks} chunks of a message; have it sent in one piece, by a producer \
                 without chunking"
            );
            return Err(Garbled { reason, bytes });
        }
        let size = metadata.uncompressed_size.unwrap_or_default();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let kind = metadata.compression.unwrap_or_default();
        self.bytes = decompress(kind, bytes, size, bytes_max)
            .map_err(|(reason, bytes)| Garbled { reason, bytes })?;
        Ok(())
    }

    /// Makes one thing of a batch that is too large for its messages to be told apart by offsets.
    pub(super) fn give_up(&mut self) -> Garbled {
        let reason = format!(
            "its batch of {} messages is larger than an offset has room for; have at most {} sent \
             together",
            self.count,
            Position::BATCH_MAX
        );
        self.count = 1;
        Garbled {
            reason,
            bytes: std::mem::take(&mut self.bytes),
        }
    }

    /// The position of the entry's last message.
    pub(super) fn last(&self) -> Position {
        Position::of(&self.id, self.count - 1)
    }

    /// The next message, given where the entry is from; its metadata comes to stand in `single`.
    pub(super) fn next<'a>(
        &'a mut self,
        topic: &'a str,
        single: &'a mut SingleMessageMetadata,
    ) -> Next<'a> {
        if self.index >= self.count {
            return Next::End;
        }
        let index = self.index;
        self.index += 1;
        let position = Position::of(&self.id, index);
        let publish_time_ms = self.metadata.publish_time;
        if self.metadata.num_messages_in_batch.is_none() {
            let metadata = &self.metadata;
            let is_null = metadata.null_value.unwrap_or_default();
            let raw = Raw {
                topic,
                position,
                key: metadata.partition_key.as_deref(),
                is_key_encoded: metadata.partition_key_b64_encoded.unwrap_or_default(),
                properties: &metadata.properties,
                event_time_ms: metadata.event_time,
                publish_time_ms,
                value: (!is_null).then_some(&*self.bytes),
            };
            return Next::Message(index, raw);
        }
        let mut rest = &self.bytes[self.at..];
        let Some((metadata, value)) = take_single(&mut rest) else {
            self.index = self.count;
            let bytes = self.bytes[self.at..].to_vec();
            let reason = format!("its batch of {} messages breaks off here", self.count);
            return Next::Garbled(index, Garbled { reason, bytes });
        };
        self.at = self.bytes.len() - rest.len();
        *single = metadata;
        if single.compacted_out.unwrap_or_default() {
            return Next::Gone;
        }
        let is_null = single.null_value.unwrap_or_default();
        let raw = Raw {
            topic,
            position,
            key: single.partition_key.as_deref(),
            is_key_encoded: single.partition_key_b64_encoded.unwrap_or_default(),
            properties: &single.properties,
            event_time_ms: single.event_time,
            publish_time_ms,
            value: (!is_null).then_some(value),
        };
        Next::Message(index, raw)
    }
}

fn take_single<'a>(bytes: &mut &'a [u8]) -> Option<(SingleMessageMetadata, &'a [u8])> {
    let length = take_length(bytes)?;
    let metadata = SingleMessageMetadata::decode(take(bytes, length)?).ok()?;
    let value = take(bytes, usize::try_from(metadata.payload_size).ok()?)?;
    Some((metadata, value))
}

/// Appends a message to the payload of a batch.
pub(super) fn put_single(metadata: &SingleMessageMetadata, value: &[u8], batch: &mut Vec<u8>) {
    let length = metadata.encoded_len() as u32;
    batch.extend_from_slice(&length.to_be_bytes());
    metadata.encode_raw(batch);
    batch.extend_from_slice(value);
}
