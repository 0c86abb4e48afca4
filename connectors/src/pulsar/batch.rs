//! Records on their way to a broker: collected to batches, compressed, and kept until they are
//! acknowledged.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thalweg_engine::clock::Clock;

use super::compression::Compression;
use super::entry::put_single;
use super::protocol::{KeyValue, MessageMetadata, SingleMessageMetadata};

/// A record as it is sent.
pub(super) struct Outgoing<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) properties: Vec<KeyValue>,
    pub(super) event_time_ms: Option<u64>,
    pub(super) value: &'a [u8],
}

/// Records that are to be sent together.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    pub(super) count: u32,
    first_key: Option<(String, bool)>,
}

/// What is sent in one piece, and kept until the broker has it.
pub(super) struct Parcel {
    pub(super) metadata: MessageMetadata,
    pub(super) payload: Vec<u8>,
    pub(super) count: u32,
}

/// A key as it is written: bytes that are no text in base64, which is said then.
pub(super) fn written_key(key: &[u8]) -> (String, bool) {
    match str::from_utf8(key) {
        Ok(text) => (text.to_owned(), false),
        Err(_) => (STANDARD.encode(key), true),
    }
}

impl Batch {
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn add(&mut self, record: Outgoing<'_>) {
        let key = record.key.map(written_key);
        if self.count == 0 {
            self.first_key.clone_from(&key);
        }
        let (partition_key, is_encoded) = key.unzip();
        let metadata = SingleMessageMetadata {
            properties: record.properties,
            partition_key,
            partition_key_b64_encoded: is_encoded,
            // Values are shorter than messages may be, which the writer sees to.
            payload_size: i32::try_from(record.value.len()).unwrap_or(i32::MAX),
            event_time: record.event_time_ms,
            ..SingleMessageMetadata::default()
        };
        put_single(&metadata, record.value, &mut self.bytes);
        self.count += 1;
    }

    /// Takes everything out, ready to be sent as the messages from `sequence` on.
    pub(super) fn seal(
        &mut self,
        sequence: u64,
        compression: Compression,
    ) -> Result<Parcel, String> {
        let (partition_key, is_encoded) = self.first_key.take().unzip();
        let count = std::mem::take(&mut self.count);
        let metadata = MessageMetadata {
            num_messages_in_batch: i32::try_from(count).ok(),
            partition_key,
            partition_key_b64_encoded: is_encoded,
            highest_sequence_id: Some(sequence + u64::from(count.max(1)) - 1),
            ..MessageMetadata::default()
        };
        let parcel = Parcel::new(metadata, &self.bytes, count, sequence, compression);
        self.bytes.clear();
        parcel
    }
}

impl Parcel {
    /// One record, alone.
    pub(super) fn single(
        record: Outgoing<'_>,
        sequence: u64,
        compression: Compression,
    ) -> Result<Self, String> {
        let (partition_key, is_encoded) = record.key.map(written_key).unzip();
        let metadata = MessageMetadata {
            properties: record.properties,
            partition_key,
            partition_key_b64_encoded: is_encoded,
            event_time: record.event_time_ms,
            ..MessageMetadata::default()
        };
        Self::new(metadata, record.value, 1, sequence, compression)
    }

    fn new(
        metadata: MessageMetadata,
        bytes: &[u8],
        count: u32,
        sequence_id: u64,
        compression: Compression,
    ) -> Result<Self, String> {
        let now = Clock::system().wall().as_micros() / 1000;
        let metadata = MessageMetadata {
            sequence_id,
            publish_time: now.max(0).unsigned_abs(),
            compression: (compression != Compression::None).then_some(compression.kind().into()),
            uncompressed_size: u32::try_from(bytes.len()).ok(),
            ..metadata
        };
        Ok(Self {
            metadata,
            payload: compression.compress(bytes)?,
            count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Entry, Next};
    use super::super::frame::Payload;
    use super::super::protocol::MessageIdData;
    use super::*;

    fn outgoing(value: &[u8]) -> Outgoing<'_> {
        Outgoing {
            key: Some(b"\xff\x00"),
            properties: vec![KeyValue {
                key: "a".to_owned(),
                value: "b".to_owned(),
            }],
            event_time_ms: Some(7),
            value,
        }
    }

    /// The values that an entry holds, and what could not be read.
    fn contents(parcel: Parcel) -> Vec<Result<Vec<u8>, String>> {
        let payload = Payload {
            metadata: parcel.metadata,
            bytes: parcel.payload,
        };
        let (mut entry, garbled) =
            Entry::open(MessageIdData::default(), Ok(payload), 1 << 20).unwrap();
        assert!(garbled.is_none());
        let (mut all, mut single) = (Vec::new(), SingleMessageMetadata::default());
        loop {
            all.push(match entry.next("t", &mut single) {
                Next::End => return all,
                Next::Message(index, raw) => {
                    assert_eq!(index as usize, all.len());
                    assert_eq!((raw.key, raw.is_key_encoded), (Some("/wA="), true));
                    assert_eq!(raw.event_time_ms, Some(7));
                    assert_eq!(raw.properties[0].value, "b");
                    Ok(raw.value.unwrap().to_vec())
                }
                Next::Garbled(_, garbled) => Err(garbled.reason),
                Next::Gone => unreachable!("nothing is compacted here"),
            });
        }
    }

    #[test]
    fn a_batch_is_read_as_it_was_written() {
        for compression in [Compression::None, Compression::Zstd] {
            let mut batch = Batch::default();
            let values = [&b"one"[..], b"", b"three"];
            values.iter().for_each(|value| batch.add(outgoing(value)));
            let parcel = batch.seal(5, compression).unwrap();
            assert_eq!(parcel.metadata.highest_sequence_id, Some(7));
            assert_eq!((batch.count, batch.bytes()), (0, 0));
            let expected: Vec<_> = values.iter().map(|value| Ok(value.to_vec())).collect();
            assert_eq!(contents(parcel), expected);
            let alone = Parcel::single(outgoing(b"one"), 0, compression).unwrap();
            assert_eq!(contents(alone), [Ok(b"one".to_vec())]);
        }
    }

    #[test]
    fn a_batch_that_breaks_off_gives_what_it_has() {
        let mut batch = Batch::default();
        batch.add(outgoing(b"one"));
        batch.add(outgoing(b"two"));
        let mut parcel = batch.seal(0, Compression::None).unwrap();
        parcel.payload.truncate(parcel.payload.len() - 1);
        let contents = contents(parcel);
        assert_eq!(contents.len(), 2);
        assert_eq!(contents[0], Ok(b"one".to_vec()));
        let reason = contents[1].as_ref().unwrap_err();
        assert!(reason.contains("breaks off"), "{reason}");
    }
}
