//! Frames: a command, and for messages the metadata and the payload after it.
//!
//! The package `pulsar` has a codec of frames, too. It is not used because it takes frames of any
//! length, fails at a payload that is garbled without saying which it was, so that there would be no
//! dead letter of it, and copies each payload once more to check it.

use crc32c::crc32c;
use prost_pulsar::Message;

use super::protocol::{BaseCommand, Body, MessageMetadata, put_command};

/// Goes before the checksum of a payload.
const CHECKSUM_MAGIC: [u8; 2] = [0x0e, 0x01];
/// Goes before what the broker has added to an entry.
const BROKER_MAGIC: [u8; 2] = [0x0e, 0x02];
/// Bytes that commands and metadata may have beside the greatest payload.
const ROOM: usize = 1024 * 1024;

/// What comes in one piece.
pub(super) struct Frame {
    /// What the command says, where it is one that is heeded here.
    pub(super) body: Option<Body>,
    pub(super) payload: Option<Result<Payload, Garbled>>,
}

/// A payload as it was sent: compressed, and of many messages, if the metadata says so.
pub(super) struct Payload {
    pub(super) metadata: MessageMetadata,
    pub(super) bytes: Vec<u8>,
}

/// A payload that cannot be read at all.
#[derive(Debug)]
pub(super) struct Garbled {
    pub(super) reason: String,
    pub(super) bytes: Vec<u8>,
}

/// Writes a frame with nothing but a command.
pub(super) fn write_command(body: Body, out: &mut Vec<u8>) {
    let start = out.len();
    put(out, 0);
    put_body(body, out);
    put_length(out, start);
}

/// Writes a frame with a payload.
pub(super) fn write_payload(
    body: Body,
    metadata: &MessageMetadata,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let start = out.len();
    put(out, 0);
    put_body(body, out);
    out.extend(CHECKSUM_MAGIC);
    let checksum_at = out.len();
    put(out, 0);
    put(out, metadata.encoded_len());
    metadata.encode_raw(out);
    out.extend_from_slice(payload);
    let checksum = crc32c(&out[checksum_at + 4..]);
    out[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_be_bytes());
    put_length(out, start);
}

/// Appends a command, with its length before it.
fn put_body(body: Body, out: &mut Vec<u8>) {
    let start = out.len();
    put(out, 0);
    put_command(BaseCommand::from(body), out);
    put_length(out, start);
}

/// Writes at `start`, where four bytes are kept for it, the length of what follows them.
fn put_length(out: &mut [u8], start: usize) {
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Lengths on the wire have four bytes; what is longer is refused before it is sent.
fn put(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&(length as u32).to_be_bytes());
}

/// Takes a number of four bytes from the front.
pub(super) fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}

/// Takes so many bytes from the front.
pub(super) fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// How many bytes the frame at the front has, once that can be told.
///
/// Fails where it has more than a message of `message_bytes_max` can need.
pub(super) fn length(bytes: &[u8], message_bytes_max: usize) -> Result<Option<usize>, String> {
    let mut rest = bytes;
    match take_length(&mut rest) {
        None => Ok(None),
        Some(length) if length > message_bytes_max + ROOM => Err(format!(
            "a frame of {length} bytes came, which is more than the broker itself allows"
        )),
        Some(length) => Ok(Some(length + 4)),
    }
}

/// Reads a whole frame, without its length.
pub(super) fn parse(mut bytes: &[u8]) -> Result<Frame, String> {
    let command = take_length(&mut bytes).and_then(|length| take(&mut bytes, length));
    let command = command.ok_or("a frame ends before its command does")?;
    let command = BaseCommand::decode(command)
        .map_err(|error| format!("a command cannot be understood: {error}"))?;
    let payload = (!bytes.is_empty()).then(|| {
        parse_payload(bytes).map_err(|reason| Garbled {
            reason,
            bytes: bytes.to_vec(),
        })
    });
    let body = Body::of(command);
    Ok(Frame { body, payload })
}

fn parse_payload(mut bytes: &[u8]) -> Result<Payload, String> {
    const SHORT: &str = "the message ends before its metadata does";
    if let Some(rest) = bytes.strip_prefix(&BROKER_MAGIC) {
        bytes = rest;
        let length = take_length(&mut bytes).ok_or(SHORT)?;
        take(&mut bytes, length).ok_or(SHORT)?;
    }
    // Very old clients send no checksum.
    if let Some(rest) = bytes.strip_prefix(&CHECKSUM_MAGIC) {
        bytes = rest;
        let expected = take(&mut bytes, 4).ok_or(SHORT)?;
        if crc32c(bytes).to_be_bytes() != expected {
            return Err("the message's checksum is wrong".to_owned());
        }
    }
    let metadata = take_length(&mut bytes).and_then(|length| take(&mut bytes, length));
    let metadata = MessageMetadata::decode(metadata.ok_or(SHORT)?)
        .map_err(|error| format!("the message's metadata cannot be understood: {error}"))?;
    Ok(Payload {
        metadata,
        bytes: bytes.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::protocol::{CommandPartitionedTopicMetadata, CommandPing, CommandSend};
    use super::*;

    fn message(payload: &[u8]) -> Vec<u8> {
        let body = Body::Send(CommandSend {
            producer_id: 1,
            sequence_id: 2,
            ..CommandSend::default()
        });
        let metadata = MessageMetadata {
            producer_name: "p".to_owned(),
            sequence_id: 2,
            ..MessageMetadata::default()
        };
        let mut bytes = Vec::new();
        write_payload(body, &metadata, payload, &mut bytes);
        bytes
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut bytes = Vec::new();
        write_command(Body::Ping(CommandPing {}), &mut bytes);
        assert_eq!(length(&bytes, 0), Ok(Some(bytes.len())));
        let frame = parse(&bytes[4..]).unwrap();
        assert_eq!(frame.body, Some(Body::Ping(CommandPing {})));
        assert!(frame.payload.is_none());

        let bytes = message(b"hello");
        assert_eq!(length(&bytes[..3], 5), Ok(None));
        assert_eq!(length(&bytes, 5), Ok(Some(bytes.len())));
        let payload = parse(&bytes[4..]).unwrap().payload.unwrap().unwrap();
        assert_eq!(payload.bytes, b"hello");
        assert_eq!(payload.metadata.producer_name, "p");
    }

    #[test]
    fn asking_how_a_topic_is_divided_does_not_create_it() {
        let question = CommandPartitionedTopicMetadata {
            topic: "t".to_owned(),
            request_id: 3,
            ..CommandPartitionedTopicMetadata::default()
        };
        let question = Body::PartitionedMetadata(question);
        let mut bytes = Vec::new();
        write_command(question.clone(), &mut bytes);
        assert_eq!(length(&bytes, 0), Ok(Some(bytes.len())));
        // Field 1 is 21; field 21 has 7 bytes: "t", 3, and no to field 6.
        let command = [8, 21, 0xaa, 1, 7, 0x0a, 1, b't', 0x10, 3, 0x30, 0];
        assert_eq!(bytes[8..], command);
        assert_eq!(parse(&bytes[4..]).unwrap().body, Some(question));
    }

    #[test]
    fn nothing_that_comes_is_trusted() {
        let whole = message(b"hello");
        for end in 4..whole.len() {
            // Cut anywhere, it is no message; and it is no panic.
            let frame = parse(&whole[4..end]);
            let payload = frame.map(|frame| frame.payload);
            assert!(!matches!(payload, Ok(Some(Ok(_)))), "cut at {end}");
        }
        for at in whole.len() - 9..whole.len() {
            let mut garbled = whole.clone();
            garbled[at] ^= 1;
            let payload = parse(&garbled[4..]).unwrap().payload.unwrap();
            let reason = payload.map(drop).unwrap_err().reason;
            assert!(reason.contains("checksum"), "{reason}");
        }
        let huge = [0xff; 8];
        assert!(length(&huge, 5_000_000).is_err());
    }
}
