//! The notes that the embedded log keeps of exactly-once sinks, read without the connector's help.
//!
//! The format is that of `connectors/src/log/frame.rs`, `segment.rs` and `progress.rs`.

use std::fs;
use std::path::Path;

use crate::ledger::Entry;

/// Bytes before the first record of a segment, and where in them the salt is.
const SEGMENT_HEAD_BYTES: usize = 32;
const SALT: std::ops::Range<usize> = 16..24;
const HEAD_BYTES: usize = 8;

/// What stands in a partition, whole records only.
pub(crate) fn read(partition: &Path) -> Vec<Entry> {
    let files = fs::read_dir(partition).expect("the partition is there");
    let mut segments: Vec<_> = files
        .map(|file| file.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    segments.sort();
    let bytes = segments
        .iter()
        .map(|path| fs::read(path).expect("it can be read"));
    bytes.flat_map(|bytes| segment(&bytes)).collect()
}

fn segment(bytes: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let Some(mut rest) = bytes.get(SEGMENT_HEAD_BYTES..) else {
        return entries;
    };
    let seed = crc32c::crc32c(&bytes[SALT]);
    while let Some(head) = rest.get(..HEAD_BYTES) {
        let length = u32_of(&head[..4]) as usize;
        let Some(body) = rest.get(HEAD_BYTES..HEAD_BYTES + length) else {
            break;
        };
        let sum = crc32c::crc32c_append(crc32c::crc32c_append(seed, &head[..4]), body);
        assert_eq!(sum, u32_of(&head[4..]), "a record is damaged");
        entries.push(entry(body).expect("a whole record has all its fields"));
        rest = &rest[HEAD_BYTES + length..];
    }
    entries
}

fn u32_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

fn entry(body: &[u8]) -> Option<Entry> {
    let (kind, mut rest) = body.split_first()?;
    take(&mut rest, 8)?;
    let time = take(&mut rest, 8)?;
    let key = match varint(&mut rest)? {
        0 => None,
        length => Some(take(&mut rest, length - 1)?),
    };
    let mut print = crc32c::crc32c(time);
    let mut add = |bytes: &[u8]| {
        print = crc32c::crc32c_append(print, &(bytes.len() as u64).to_le_bytes());
        print = crc32c::crc32c_append(print, bytes);
    };
    add(&[u8::from(key.is_some())]);
    add(key.unwrap_or_default());
    for _ in 0..2 * varint(&mut rest)? {
        let length = varint(&mut rest)?;
        add(take(&mut rest, length)?);
    }
    add(rest);
    if *kind == 0 {
        let bytes = print.to_le_bytes().to_vec();
        return Some(Entry::Record { bytes });
    }
    let note: serde_json::Value = serde_json::from_slice(rest).ok()?;
    Some(Entry::Note {
        slot: String::from_utf8(key?.to_vec()).ok()?,
        epoch: note["epoch"].as_u64()?,
        records: note["records"].as_u64()?,
        crc: u32::try_from(note["crc"].as_u64()?).ok()?,
    })
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(bytes)?;
    *rest = after;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
