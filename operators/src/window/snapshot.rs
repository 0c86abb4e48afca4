//! Key features as a versioned record: the block's lanes, of its rows the live ones, and what stands
//! beside it.

mod old;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::ser::{SerializeSeq, SerializeTuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::limit::Truncated;
use super::shape::{Geometry, Shape};
use super::slot::SlotState;
use super::state::{Extra, HEAD, HEADER, KeyFeatures, SLOTS_MIN};
use super::tiles::Tiles;
use crate::aggregate::trail::Older;

/// The version that is written; every version up to it can be read.
const VERSION: u8 = 5;

const TOO_MANY: &str = "more rows or slots than a log has; the state is corrupt";
const MISMATCH: &str = "lanes do not match the shape; the state is corrupt";

/// As many slots as a log of so many rows may have.
fn slots_max(rows: u32) -> u32 {
    let least = rows.checked_next_power_of_two().unwrap_or(u32::MAX);
    least.saturating_mul(4).max(SLOTS_MIN)
}

/// The form of a block: its shape without the header, as in every version, and the room of its log.
#[derive(Clone, Copy)]
struct Form {
    shape: Shape,
    slots: u32,
    wide_ids: bool,
    rows: u32,
}

impl Form {
    const BYTES: usize = 19;

    fn of(state: &KeyFeatures) -> Self {
        let mut shape = state.shape();
        shape.fixed -= if state.is_new() { 0 } else { HEADER as u32 };
        Self {
            shape,
            slots: state.slots(),
            wide_ids: state.wide_ids(),
            rows: state.rows(),
        }
    }

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.rows.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.slots.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.shape.fixed.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.shape.bitmaps.to_le_bytes());
        bytes[14..16].copy_from_slice(&self.shape.values.to_le_bytes());
        bytes[16..18].copy_from_slice(&self.shape.ids.to_le_bytes());
        bytes[18] = u8::from(self.wide_ids);
        bytes
    }

    /// Reads it, if it can be that of a block.
    fn from_bytes(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().map_err(|_| MISMATCH)?;
        let long = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let form = Self {
            rows: long(0),
            slots: long(4),
            shape: Shape {
                fixed: long(8),
                bitmaps: short(12),
                values: short(14),
                ids: short(16),
            },
            wide_ids: bytes[18] != 0,
        };
        let is_ring = form.slots == 0 || form.slots.is_power_of_two();
        if !is_ring || form.rows > form.slots || form.slots > slots_max(form.rows) {
            return Err(TOO_MANY);
        }
        Ok(form)
    }

    fn geometry(&self) -> Geometry {
        Geometry::new(self.shape, self.slots, self.wide_ids)
    }
}

/// What stands beside the block.
#[derive(Serialize, Deserialize)]
struct Beside<'a> {
    /// Ids seen, ascending, per unbounded distinct.
    seen: Vec<Vec<u64>>,
    older: Cow<'a, [Older]>,
    /// Per slot, what it keeps.
    saved: Vec<Vec<u8>>,
    truncated: Option<Truncated>,
    tiles: Cow<'a, Option<Box<Tiles>>>,
}

impl<'a> Beside<'a> {
    /// None where there is nothing that must be kept.
    fn of(extra: &'a Extra) -> Result<Option<Self>, postcard::Error> {
        let has_lists =
            !extra.seen.is_empty() || !extra.older.is_empty() || !extra.slots.is_empty();
        if !has_lists && extra.truncated.is_none() && extra.tiles.is_none() {
            return Ok(None);
        }
        let seen = extra.seen.iter().map(|set| {
            let mut ids: Vec<u64> = set.iter().copied().collect();
            ids.sort_unstable();
            ids
        });
        Ok(Some(Self {
            seen: seen.collect(),
            older: Cow::Borrowed(&extra.older),
            saved: extra
                .slots
                .iter()
                .map(SlotState::save)
                .collect::<Result<_, _>>()?,
            truncated: extra.truncated,
            tiles: Cow::Borrowed(&extra.tiles),
        }))
    }

    fn restore(self) -> Extra {
        let seen = self.seen.into_iter().map(|ids| ids.into_iter().collect());
        Extra {
            seen: seen.collect(),
            older: self.older.into_owned(),
            slots: self.saved.into_iter().map(SlotState::Saved).collect(),
            truncated: self.truncated,
            tiles: self.tiles.into_owned(),
            ..Extra::default()
        }
    }
}

/// Lanes as bytes, little-endian.
fn to_bytes(lanes: &[u32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(lanes))
    } else {
        Cow::Owned(lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect())
    }
}

/// Fills lanes from bytes, which are as many.
fn fill(lanes: &mut [u32], bytes: &[u8]) {
    for (lane, bytes) in lanes.iter_mut().zip(bytes.as_chunks().0) {
        *lane = u32::from_le_bytes(*bytes);
    }
}

/// Version 5, as it is written: pieces of the block as they stand in memory, each copied as a whole.
struct Written<'a>(&'a KeyFeatures);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(state) = self;
        let form = Form::of(state);
        let geometry = form.geometry();
        let front = state.shape().fixed as usize + geometry.bitmaps().len();
        let extra = state.extra.as_deref();
        let beside = extra.map_or(Ok(None), Beside::of);
        let mut parts = serializer.serialize_tuple(4)?;
        parts.serialize_element(&Bytes(&form.to_bytes()))?;
        parts.serialize_element(&Bytes(&to_bytes(&state.block[..front])))?;
        parts.serialize_element(&Runs {
            log: state.log(),
            runs: || live(&geometry, form.shape, state.head(), form.rows),
        })?;
        parts.serialize_element(&beside.map_err(ser::Error::custom)?)?;
        parts.end()
    }
}

/// Bytes to be copied.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Pieces of a log.
struct Runs<'a, F> {
    log: &'a [u32],
    runs: F,
}

impl<F: Fn() -> I, I: Iterator<Item = Range<usize>>> Serialize for Runs<'_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut runs = serializer.serialize_seq(Some((self.runs)().count()))?;
        for run in (self.runs)() {
            runs.serialize_element(&Bytes(&to_bytes(&self.log[run])))?;
        }
        runs.end()
    }
}

/// Version 5, as it is read.
#[derive(Deserialize)]
struct Record5<'a> {
    form: &'a [u8],
    /// The header, unless the key is new, fixed lanes, bitmaps.
    front: &'a [u8],
    /// The live rows, oldest first, and their ids, column by column.
    #[serde(borrow)]
    log: Vec<&'a [u8]>,
    beside: Option<Beside<'a>>,
}

impl Record5<'_> {
    fn restore(self) -> Result<KeyFeatures, &'static str> {
        let form = Form::from_bytes(self.form)?;
        if self.front.is_empty() && form.rows == 0 {
            // A key that has had no event has no block.
            return Ok(KeyFeatures::default());
        }
        let geometry = form.geometry();
        let fixed = HEADER + form.shape.fixed as usize;
        let (lanes, rest) = self.front.as_chunks();
        if !rest.is_empty() || lanes.len() != fixed + geometry.bitmaps().len() {
            return Err(MISMATCH);
        }
        let head = u32::from_le_bytes(lanes[HEAD]);
        let runs = || live(&geometry, form.shape, head, form.rows);
        let lengths = self.log.iter().map(|run| run.len());
        if !runs().map(|run| size_of::<u32>() * run.len()).eq(lengths) {
            return Err(MISMATCH);
        }
        let (log, room) = ((head, form.rows), (form.slots, form.wide_ids));
        let mut state = KeyFeatures::with_header(i64::MIN, log, form.shape, room);
        fill(&mut state.block, self.front);
        let (_, to) = state.split();
        for (run, bytes) in runs().zip(self.log) {
            fill(&mut to[run], bytes);
        }
        if let Some(beside) = self.beside {
            *state.extra() = beside.restore();
        }
        Ok(state)
    }
}

/// The lanes of a log in which there are rows, and ids of rows, in the order in which they are
/// written.
fn live(
    geometry: &Geometry,
    shape: Shape,
    head: u32,
    rows: u32,
) -> impl Iterator<Item = Range<usize>> {
    let first = if rows == 0 {
        0
    } else {
        geometry.before_wrap(head).min(rows)
    };
    let wrapped = head.wrapping_add(first);
    let runs = [(head, first), (wrapped, rows - first)];
    let runs = move || runs.into_iter().filter(|(_, rows)| *rows > 0);
    let of_rows = runs().map(|(from, rows)| geometry.rows(&(from..from.wrapping_add(rows))));
    let of_ids = (0..usize::from(shape.ids)).flat_map(move |column| {
        runs().map(move |(from, rows)| {
            let last = from.wrapping_add(rows - 1);
            geometry.id_lanes(from, column).start..geometry.id_lanes(last, column).end
        })
    });
    of_rows.chain(of_ids)
}

impl Serialize for KeyFeatures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.slots() > slots_max(self.rows()) {
            let mut packed = self.clone();
            packed.pack();
            return packed.serialize(serializer);
        }
        (VERSION, Written(self)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for KeyFeatures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(2, Versioned)
    }
}

/// Reads the record that the version before it says it is.
struct Versioned;

impl<'de> de::Visitor<'de> for Versioned {
    type Value = KeyFeatures;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("key features: a format version and a record")
    }

    fn visit_seq<S: de::SeqAccess<'de>>(self, mut parts: S) -> Result<KeyFeatures, S::Error> {
        let missing = |part| de::Error::invalid_length(part, &self);
        let version: u8 = parts.next_element()?.ok_or_else(|| missing(0))?;
        let restored = match version {
            1 => {
                let record: Option<old::Record1> = parts.next_element()?;
                record.ok_or_else(|| missing(1))?.restore()
            }
            2 => {
                let record: Option<old::Record2> = parts.next_element()?;
                record.ok_or_else(|| missing(1))?.restore()
            }
            3 => {
                let record: Option<old::Record3> = parts.next_element()?;
                record.ok_or_else(|| missing(1))?.restore()
            }
            4 => {
                let record: Option<old::Record4<'_>> = parts.next_element()?;
                record.ok_or_else(|| missing(1))?.restore()
            }
            VERSION => {
                let record: Option<Record5<'_>> = parts.next_element()?;
                record.ok_or_else(|| missing(1))?.restore()
            }
            _ => {
                return Err(de::Error::custom(format_args!(
                    "key features of format version {version}; this build reads up to {VERSION}"
                )));
            }
        };
        restored.map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
