//! One record as bytes.
//!
//! ```text
//! length      u32   bytes of the body
//! checksum    u32   CRC-32C of the segment's salt, the length and the body
//! body:
//!   attributes  u8    0: a record of the user's; 1: a note of progress (see `progress`)
//!   offset      u64
//!   time        i64   microseconds since the Unix epoch
//!   key         1 + its length as a varint, and its bytes; 0 for none
//!   headers     their number as a varint; of each, name and value as length (varint) and bytes
//!   payload     the rest
//! ```
//!
//! Integers are little-endian, varints LEB128. The salt makes sure that bytes of another log inside
//! a payload are never taken for a record.

use thalweg_engine::time::EventTime;

/// Length and checksum.
pub(crate) const HEAD_BYTES: usize = 8;
const FIXED_BYTES: usize = 1 + 8 + 8;
/// The body of a record without key, headers and payload.
pub(crate) const BODY_BYTES_MIN: usize = FIXED_BYTES + 2;
/// The longest body that is written and read.
pub(crate) const BODY_BYTES_MAX: usize = 256 << 20;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The user's.
    User,
    /// A note of how far an exactly-once sink has published.
    Progress,
}

impl Kind {
    fn attributes(self) -> u8 {
        match self {
            Self::User => 0,
            Self::Progress => 1,
        }
    }

    fn of(attributes: u8) -> Option<Self> {
        match attributes {
            0 => Some(Self::User),
            1 => Some(Self::Progress),
            _ => None,
        }
    }
}

/// A record as a topic holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition in it.
    pub partition: u32,
    /// The record's offset in the partition.
    pub offset: u64,
    /// The record's event time, as its writer gave it.
    pub time: EventTime,
    /// What chose its partition, if anything.
    pub key: Option<&'a [u8]>,
    /// Names and values beside the payload.
    pub headers: Headers<'a>,
    /// The record itself.
    pub payload: &'a [u8],
}

/// The headers of a [`Message`], in the order in which they were written; names may repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// The value of the first header of this name.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);
    type IntoIter = HeadersIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        HeadersIter(self)
    }
}

/// Goes through [`Headers`].
#[derive(Clone, Debug)]
pub struct HeadersIter<'a>(Headers<'a>);

impl<'a> Iterator for HeadersIter<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.count = self.0.count.checked_sub(1)?;
        let mut cursor = Cursor(self.0.bytes);
        let header = cursor.header()?;
        self.0.bytes = cursor.0;
        Some(header)
    }
}

/// What a body says, before it is known where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) offset: u64,
    pub(crate) time: EventTime,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) headers: Headers<'a>,
    pub(crate) payload: &'a [u8],
}

/// What stands beside a payload.
pub(crate) struct Beside<'a> {
    pub(crate) offset: u64,
    pub(crate) time: EventTime,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) headers: &'a [(String, Vec<u8>)],
}

/// Appends a record, its payload written by `payload`; leaves `out` as it was when that fails.
pub(crate) fn put(
    out: &mut Vec<u8>,
    seed: u32,
    kind: Kind,
    beside: &Beside<'_>,
    payload: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    out.push(kind.attributes());
    out.extend_from_slice(&beside.offset.to_le_bytes());
    out.extend_from_slice(&beside.time.as_micros().to_le_bytes());
    match beside.key {
        Some(key) => {
            put_varint(out, key.len() + 1);
            out.extend_from_slice(key);
        }
        None => put_varint(out, 0),
    }
    put_varint(out, beside.headers.len());
    for (name, value) in beside.headers {
        for part in [name.as_bytes(), value] {
            put_varint(out, part.len());
            out.extend_from_slice(part);
        }
    }
    let written = payload(out).and_then(|()| {
        let bytes = out.len() - start - HEAD_BYTES;
        match u32::try_from(bytes).ok() {
            Some(length) if bytes <= BODY_BYTES_MAX => Ok(length),
            _ => Err(format!(
                "the record has {bytes} bytes, more than the {BODY_BYTES_MAX} that a log can hold"
            )),
        }
    });
    let length = match written {
        Ok(length) => length.to_le_bytes(),
        Err(reason) => {
            out.truncate(start);
            return Err(reason);
        }
    };
    let crc = checksum(seed, length, &out[start + HEAD_BYTES..]);
    out[start..start + 4].copy_from_slice(&length);
    out[start + 4..start + HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// The seed of the checksums of a segment with this salt.
pub(crate) fn seed(salt: u64) -> u32 {
    crc32c::crc32c(&salt.to_le_bytes())
}

fn checksum(seed: u32, length: [u8; 4], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &length), body)
}

/// The length of the body that begins with these bytes; none when it cannot be one.
pub(crate) fn body_bytes(head: [u8; HEAD_BYTES]) -> Option<usize> {
    let [a, b, c, d, ..] = head;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
    (BODY_BYTES_MIN..=BODY_BYTES_MAX)
        .contains(&length)
        .then_some(length)
}

/// Reads the record that `bytes` are, head and body.
pub(crate) fn get(bytes: &[u8], seed: u32) -> Result<Frame<'_>, &'static str> {
    let (head, body) = bytes
        .split_first_chunk::<HEAD_BYTES>()
        .ok_or("it is cut off")?;
    let [a, b, c, d, e, f, g, h] = *head;
    if checksum(seed, [a, b, c, d], body) != u32::from_le_bytes([e, f, g, h]) {
        return Err("the checksum does not match");
    }
    if body.first().copied().and_then(Kind::of).is_none() {
        return Err("it is of a kind that this version does not know");
    }
    get_unchecked(bytes).ok_or("its fields do not fit into it")
}

/// As [`get`], of bytes that it has been happy with.
pub(crate) fn get_unchecked(bytes: &[u8]) -> Option<Frame<'_>> {
    let (attributes, rest) = bytes.get(HEAD_BYTES..)?.split_first()?;
    Cursor(rest).frame(Kind::of(*attributes)?)
}

/// The offset that the body says, unchecked.
pub(crate) fn claimed_offset(body: &[u8]) -> Option<u64> {
    let mut cursor = Cursor(body);
    let [attributes] = cursor.array()?;
    Kind::of(attributes)?;
    cursor.array().map(u64::from_le_bytes)
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn frame(mut self, kind: Kind) -> Option<Frame<'a>> {
        let offset = u64::from_le_bytes(self.array()?);
        let time = EventTime::from_micros(i64::from_le_bytes(self.array()?));
        let key = match self.varint()? {
            0 => None,
            length => Some(self.take(length - 1)?),
        };
        let count = self.varint()?;
        let begin = self.0;
        for _ in 0..count {
            self.header()?;
        }
        let headers = Headers {
            count,
            bytes: &begin[..begin.len() - self.0.len()],
        };
        Some(Frame {
            kind,
            offset,
            time,
            key,
            headers,
            payload: self.0,
        })
    }

    fn header(&mut self) -> Option<(&'a str, &'a [u8])> {
        let length = self.varint()?;
        let name = std::str::from_utf8(self.take(length)?).ok()?;
        let length = self.varint()?;
        Some((name, self.take(length)?))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<usize> {
        let mut value = 0_u64;
        for shift in (0..63).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return usize::try_from(value).ok();
            }
        }
        None
    }
}

fn put_varint(out: &mut Vec<u8>, value: usize) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let mut out = Vec::new();
        let headers = [("h".to_owned(), b"v".to_vec())];
        let beside = Beside {
            offset: 3,
            time: EventTime::from_micros(-2),
            key: Some(b"k"),
            headers: &headers,
        };
        put(&mut out, seed(0), Kind::User, &beside, |out| {
            out.extend_from_slice(b"pay");
            Ok(())
        })
        .unwrap();
        let body = b"\0\x03\0\0\0\0\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff\x02k\x01\x01h\x01vpay";
        assert_eq!(out[..4], 27_u32.to_le_bytes());
        assert_eq!(&out[8..], body);
        assert_eq!(out[4..8], 0x72d6_7447_u32.to_le_bytes());
    }

    #[test]
    fn a_payload_that_cannot_be_written_leaves_nothing() {
        let mut out = b"before".to_vec();
        let beside = Beside {
            offset: 0,
            time: EventTime::default(),
            key: None,
            headers: &[],
        };
        let outcome = put(&mut out, 0, Kind::User, &beside, |_| Err("no".to_owned()));
        assert_eq!((outcome, out), (Err("no".to_owned()), b"before".to_vec()));
    }

    proptest! {
        #[test]
        fn what_is_put_is_got_and_any_changed_bit_is_noticed(
            offset: u64,
            micros: i64,
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
            headers in prop::collection::vec(("[a-z]{0,5}", prop::collection::vec(any::<u8>(), 0..5)), 0..4),
            payload in prop::collection::vec(any::<u8>(), 0..300),
            salt: u64,
            flipped: prop::sample::Index,
        ) {
            let beside = Beside {
                offset,
                time: EventTime::from_micros(micros),
                key: key.as_deref(),
                headers: &headers,
            };
            let mut out = Vec::new();
            put(&mut out, seed(salt), Kind::User, &beside, |out| {
                out.extend_from_slice(&payload);
                Ok(())
            })
            .unwrap();
            let frame = get(&out, seed(salt)).unwrap();
            prop_assert_eq!((frame.offset, frame.time), (offset, beside.time));
            prop_assert_eq!((frame.key, frame.payload), (key.as_deref(), payload.as_slice()));
            let got: Vec<_> = frame
                .headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_vec()))
                .collect();
            prop_assert_eq!(&got, &headers);
            let bit = flipped.index(out.len() * 8);
            out[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(get(&out, seed(salt)).is_err());
        }
    }
}
