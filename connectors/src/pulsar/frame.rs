//! Frames: a command, and for messages the metadata and the payload after it.

use crc32c::crc32c;
use prost::Message;

use super::protocol::{Command, EntryMetadata};

/// Goes before the checksum of a payload.
const CHECKSUM_MAGIC: [u8; 2] = [0x0e, 0x01];
/// Goes before what the broker has added to an entry.
const BROKER_MAGIC: [u8; 2] = [0x0e, 0x02];
/// Bytes that commands and metadata may have beside the greatest payload.
const ROOM: usize = 1024 * 1024;

/// What comes in one piece.
pub(super) struct Frame {
    pub(super) command: Command,
    pub(super) payload: Option<Result<Payload, Garbled>>,
}

/// A payload as it was sent: compressed, and of many messages, if the metadata says so.
pub(super) struct Payload {
    pub(super) metadata: EntryMetadata,
    pub(super) bytes: Vec<u8>,
}

/// A payload that cannot be read at all.
#[derive(Debug)]
pub(super) struct Garbled {
    pub(super) reason: String,
    pub(super) bytes: Vec<u8>,
}

/// Writes a frame with nothing but a command.
pub(super) fn write_command(command: &Command, out: &mut Vec<u8>) {
    let length = command.encoded_len();
    put(out, length + 4);
    put(out, length);
    command.encode_raw(out);
}

/// Writes a frame with a payload.
pub(super) fn write_payload(
    command: &Command,
    metadata: &EntryMetadata,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let (command_length, metadata_length) = (command.encoded_len(), metadata.encoded_len());
    put(
        out,
        4 + command_length + 6 + 4 + metadata_length + payload.len(),
    );
    put(out, command_length);
    command.encode_raw(out);
    out.extend(CHECKSUM_MAGIC);
    let checksum_at = out.len();
    put(out, 0);
    put(out, metadata_length);
    metadata.encode_raw(out);
    out.extend_from_slice(payload);
    let checksum = crc32c(&out[checksum_at + 4..]);
    out[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_be_bytes());
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
    let command = Command::decode(command)
        .map_err(|error| format!("a command cannot be understood: {error}"))?;
    let payload = (!bytes.is_empty()).then(|| {
        parse_payload(bytes).map_err(|reason| Garbled {
            reason,
            bytes: bytes.to_vec(),
        })
    });
    Ok(Frame { command, payload })
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
    let metadata = EntryMetadata::decode(metadata.ok_or(SHORT)?)
        .map_err(|error| format!("the message's metadata cannot be understood: {error}"))?;
    Ok(Payload {
        metadata,
        bytes: bytes.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::protocol::{Body, Empty, Send};
    use super::*;

    fn message(payload: &[u8]) -> Vec<u8> {
        let command = Command::new(Body::Send(Send {
            producer_id: 1,
            sequence_id: 2,
            ..Send::default()
        }));
        let metadata = EntryMetadata {
            producer_name: "p".to_owned(),
            sequence_id: 2,
            ..EntryMetadata::default()
        };
        let mut bytes = Vec::new();
        write_payload(&command, &metadata, payload, &mut bytes);
        bytes
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut bytes = Vec::new();
        write_command(&Command::new(Body::Ping(Empty {})), &mut bytes);
        assert_eq!(length(&bytes, 0), Ok(Some(bytes.len())));
        let frame = parse(&bytes[4..]).unwrap();
        assert_eq!(frame.command.body, Some(Body::Ping(Empty {})));
        assert!(frame.payload.is_none());

        let bytes = message(b"hello");
        assert_eq!(length(&bytes[..3], 5), Ok(None));
        assert_eq!(length(&bytes, 5), Ok(Some(bytes.len())));
        let payload = parse(&bytes[4..]).unwrap().payload.unwrap().unwrap();
        assert_eq!(payload.bytes, b"hello");
        assert_eq!(payload.metadata.producer_name, "p");
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
