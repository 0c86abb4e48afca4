//! Key features as a versioned record: fixed lanes, marks, and the live rows.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::limit::Truncated;
use super::shape::{Geometry, Shape};
use super::slot::SlotState;
use super::state::{Extra, HEADER, KeyFeatures, SLOTS_MIN};
use super::tiles::Tiles;
use crate::aggregate::trail::Older;

/// The version that is written; every version up to it can be read.
const VERSION: u8 = 4;

/// Lanes as bytes, little-endian: a checkpoint writes many.
struct Lanes(Vec<u8>);

impl Lanes {
    fn push(&mut self, lanes: &[u32]) {
        let at = self.0.len();
        self.0.resize(at + size_of_val(lanes), 0);
        let (to, _) = self.0[at..].as_chunks_mut();
        for (to, lane) in to.iter_mut().zip(lanes) {
            *to = lane.to_le_bytes();
        }
    }

    /// How many there are, if they are whole.
    fn count(&self) -> Option<usize> {
        let (lanes, rest) = self.0.as_chunks::<4>();
        rest.is_empty().then_some(lanes.len())
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.as_chunks().0.iter().copied().map(u32::from_le_bytes)
    }
}

impl Serialize for Lanes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Lanes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl de::Visitor<'_> for Bytes {
            type Value = Lanes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("lanes of four bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Lanes, E> {
                Ok(Lanes(bytes.to_vec()))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

/// Version 4: lanes as they stand in memory, so that little is to be done for each. The header of the
/// block stands in fields of its own, and the shape is without it, as in every version.
#[derive(Serialize, Deserialize)]
struct Record4 {
    newest: i64,
    shape: Shape,
    head: u32,
    rows: u32,
    /// Of the ring.
    slots: u32,
    wide_ids: bool,
    /// Fixed lanes, bitmaps, the live rows, oldest first, and their ids, column by column.
    lanes: Lanes,
    /// Ids seen, ascending, per unbounded distinct.
    seen: Vec<Vec<u64>>,
    older: Vec<Older>,
    /// Per slot, what it keeps.
    saved: Vec<Vec<u8>>,
    truncated: Option<Truncated>,
    tiles: Option<Box<Tiles>>,
}

impl Record4 {
    /// As many slots as a log of so many rows may have.
    fn slots_max(rows: u32) -> u32 {
        rows.next_power_of_two().saturating_mul(4).max(SLOTS_MIN)
    }

    fn of(state: &KeyFeatures) -> Result<Self, postcard::Error> {
        let rows = state.rows();
        if state.slots() > Self::slots_max(rows) {
            let mut packed = state.clone();
            packed.pack();
            return Self::of(&packed);
        }
        let (geometry, log) = (state.geometry(), state.log());
        let (mut shape, head) = (state.shape(), state.head());
        let front = shape.fixed as usize + geometry.bitmaps().len();
        let header = if state.is_new() { 0 } else { HEADER };
        shape.fixed -= header as u32;
        let mut lanes = Lanes(Vec::with_capacity(size_of_val::<[u32]>(&state.block)));
        lanes.push(&state.block[header..front]);
        for run in live(&geometry, shape, head, rows) {
            lanes.push(&log[run]);
        }
        let extra = state.extra.as_deref();
        let seen = extra.iter().flat_map(|extra| &extra.seen).map(|set| {
            let mut ids: Vec<u64> = set.iter().copied().collect();
            ids.sort_unstable();
            ids
        });
        let saved = extra.iter().flat_map(|extra| &extra.slots);
        Ok(Self {
            newest: state.newest(),
            shape,
            head,
            rows,
            slots: state.slots(),
            wide_ids: state.wide_ids(),
            lanes,
            seen: seen.collect(),
            older: extra.map_or_else(Vec::new, |extra| extra.older.clone()),
            saved: saved.map(SlotState::save).collect::<Result<_, _>>()?,
            truncated: extra.and_then(|extra| extra.truncated),
            tiles: extra.and_then(|extra| extra.tiles.clone()),
        })
    }

    fn restore(self) -> Result<KeyFeatures, &'static str> {
        let is_ring = self.slots == 0 || self.slots.is_power_of_two();
        if !is_ring || self.rows > self.slots || self.slots > Self::slots_max(self.rows) {
            return Err("more rows or slots than a log has; the state is corrupt");
        }
        let geometry = Geometry::new(self.shape, self.slots, self.wide_ids);
        let fixed = self.shape.fixed as usize;
        let front = fixed + geometry.bitmaps().len();
        let runs = || live(&geometry, self.shape, self.head, self.rows);
        if self.lanes.count() != Some(front + runs().map(|run| run.len()).sum::<usize>()) {
            return Err("lanes do not match the shape; the state is corrupt");
        }
        if is_new(self.newest, self.shape) {
            return Ok(KeyFeatures::default());
        }
        let (log, room) = ((self.head, self.rows), (self.slots, self.wide_ids));
        let mut state = KeyFeatures::with_header(self.newest, log, self.shape, room);
        let behind = &mut state.block[HEADER..];
        let mut lanes = self.lanes.iter();
        let to = behind[..front].iter_mut();
        to.zip(&mut lanes).for_each(|(to, lane)| *to = lane);
        for run in runs() {
            let to = behind[fixed..][run].iter_mut();
            to.zip(&mut lanes).for_each(|(to, lane)| *to = lane);
        }
        let has_lists = !self.seen.is_empty() || !self.older.is_empty() || !self.saved.is_empty();
        if has_lists || self.truncated.is_some() || self.tiles.is_some() {
            *state.extra() = Extra {
                seen: self
                    .seen
                    .into_iter()
                    .map(|ids| ids.into_iter().collect())
                    .collect(),
                older: self.older,
                slots: self.saved.into_iter().map(SlotState::Saved).collect(),
                truncated: self.truncated,
                tiles: self.tiles,
                ..Extra::default()
            };
        }
        Ok(state)
    }
}

/// Whether what was written is the state of a key that has had no event, which has no block.
fn is_new(newest: i64, shape: Shape) -> bool {
    newest == i64::MIN && shape == Shape::default()
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

/// Version 3: what has become of rows beyond a limit stands after the record of version 2.
#[derive(Deserialize)]
struct Record3 {
    record: Record2,
    truncated: Option<Truncated>,
    tiles: Option<Box<Tiles>>,
}

impl Record3 {
    fn restore(self) -> Result<KeyFeatures, &'static str> {
        let mut state = self.record.restore()?;
        if self.truncated.is_some() || self.tiles.is_some() {
            let extra = state.extra();
            (extra.truncated, extra.tiles) = (self.truncated, self.tiles);
        }
        Ok(state)
    }
}

/// Version 2: what slots keep stands after the record of version 1.
#[derive(Deserialize)]
struct Record2 {
    record: Record,
    /// Per slot, what it keeps.
    slots: Vec<Vec<u8>>,
}

impl Record2 {
    fn restore(self) -> Result<KeyFeatures, &'static str> {
        let mut state = self.record.restore()?;
        if !self.slots.is_empty() {
            state.extra().slots = self.slots.into_iter().map(SlotState::Saved).collect();
        }
        Ok(state)
    }
}

/// Version 1.
#[derive(Deserialize)]
struct Record {
    newest: i64,
    shape: Shape,
    head: u32,
    rows: u32,
    wide_ids: bool,
    /// Fixed lanes, then the bitmaps of a ring with the fewest slots that hold the rows.
    front: Vec<u32>,
    /// The rows, oldest first.
    log: Vec<u32>,
    /// Ids seen, ascending, per unbounded distinct.
    seen: Vec<Vec<u64>>,
    older: Vec<Older>,
}

impl Record {
    fn slots(rows: u32) -> u32 {
        if rows == 0 {
            0
        } else {
            rows.next_power_of_two()
        }
    }

    fn restore(self) -> Result<KeyFeatures, &'static str> {
        if self.rows > 1 << 31 {
            return Err("more rows than a log holds; the state is corrupt");
        }
        let slots = Self::slots(self.rows);
        let geometry = Geometry::new(self.shape, slots, self.wide_ids);
        let fixed = self.shape.fixed as usize;
        let ids = usize::from(self.shape.ids);
        let stride = geometry.row(0).len() + ids * geometry.id_lanes(0, 0).len();
        if self.front.len() != fixed + geometry.bitmaps().len()
            || Some(self.log.len()) != stride.checked_mul(self.rows as usize)
        {
            return Err("lanes do not match the shape; the state is corrupt");
        }
        if is_new(self.newest, self.shape) {
            return Ok(KeyFeatures::default());
        }
        let (log, room) = ((self.head, self.rows), (slots, self.wide_ids));
        let mut state = KeyFeatures::with_header(self.newest, log, self.shape, room);
        let behind = &mut state.block[HEADER..];
        behind[..self.front.len()].copy_from_slice(&self.front);
        let to = &mut behind[fixed..];
        for (lanes, n) in self.log.chunks_exact(stride).zip(0..self.rows) {
            let position = self.head.wrapping_add(n);
            let (row, mut rest) = lanes.split_at(geometry.row(position).len());
            to[geometry.row(position)].copy_from_slice(row);
            for column in 0..ids {
                let id = geometry.id_lanes(position, column);
                let (lanes, others) = rest.split_at(id.len());
                to[id].copy_from_slice(lanes);
                rest = others;
            }
        }
        if !self.seen.is_empty() || !self.older.is_empty() {
            let seen = self
                .seen
                .into_iter()
                .map(|ids| ids.into_iter().collect())
                .collect();
            let extra = Extra {
                seen,
                older: self.older,
                ..Extra::default()
            };
            state.extra = Some(Box::new(extra));
        }
        Ok(state)
    }
}

impl Serialize for KeyFeatures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = Record4::of(self).map_err(ser::Error::custom)?;
        ser::Serialize::serialize(&(VERSION, record), serializer)
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
                let record: Option<Record> = parts.next_element()?;
                record.ok_or_else(|| missing(1))?.restore()
            }
            2 => {
                let record: Option<Record2> = parts.next_element()?;
                record.ok_or_else(|| missing(1))?.restore()
            }
            3 => {
                let record: Option<Record3> = parts.next_element()?;
                record.ok_or_else(|| missing(1))?.restore()
            }
            4 => {
                let record: Option<Record4> = parts.next_element()?;
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
mod tests {
    use super::*;
    use crate::aggregate::Max;
    use crate::features::testing::{Reading, plan, reading};
    use crate::features::{FeaturePlan, Features, HotKey};
    use thalweg_engine::time::{EventTime, secs};

    /// State of version 1 after the events of [`saved_state`], as postcard.
    const VERSION_1: &str = "\
        0180ecb80b1f050101010400240200808088810400000080c0ed81040000030401030403008080ce\
        810400000500008080e0ff0380b6dc0500008080a8800480b6dc050000000f070d0f0114c0843d00\
        008080e0ff030180a4e803000080809080040280b6dc0500008080a880040380b6dc0500008080a8\
        800403010401020309020380897a000000000000f83f80c8d007000000000000044080ecb80b0000\
        000000000a4003ffe79226000000000000000080c8d007000000000000000080ecb80b0000000000\
        000000";

    fn declare(f: &mut Features<Reading>) {
        f.lateness(secs(5));
        let value = f.column(|e| e.value);
        f.over(secs(10))
            .count("n")
            .std("std", value)
            .max("max", value);
        f.over(secs(30))
            .distinct("ids", |e| e.value as u32)
            .share("share", |e| e.value > 2.0);
        f.ever()
            .sum("sum", value)
            .min("min", value)
            .distinct("ever", |e| e.value as u64);
        f.last("last", value);
        f.since_last("since", |e| e.value > 2.0);
    }

    fn feed(plan: &mut FeaturePlan<Reading>, state: &mut KeyFeatures, event: Reading) -> Vec<f64> {
        let mut row = Vec::new();
        plan.update(
            state,
            &event,
            EventTime::from_seconds(event.second),
            &mut row,
        );
        row
    }

    /// A key after an event that left, late ones and equal ones.
    fn saved_state(plan: &mut FeaturePlan<Reading>) -> KeyFeatures {
        let mut state = KeyFeatures::default();
        for (second, value) in [(-40, 9.0), (1, 1.5), (12, 3.25), (8, 2.5), (12, 3.25)] {
            feed(plan, &mut state, reading(second, value));
        }
        state
    }

    /// State of version 2 after the same events, with an aggregate that removes, one that merges and
    /// one over everything.
    const VERSION_2: &str = "\
        0280ecb80b1f050201010400240200808088810400000080c0ed81040000030401030403008080ce\
        810400000500008080e0ff0380b6dc0500008080a8800480b6dc050000000f070d0f011cc0843d00\
        008080e0ff03008080e0ff030180a4e803000080809080040080809080040280b6dc0500008080a8\
        8004008080a880040380b6dc0500008080a88004008080a8800403010401020309020380897a0000\
        00000000f83f80c8d007000000000000044080ecb80b0000000000000a4003ffe792260000000000\
        00000080c8d007000000000000000080ecb80b000000000000000003220104000000000000f83f00\
        000000000004400000000000000a400000000000000a401301040000000000000a40000000000000\
        000a4011020000000000000a400000000000002240";

    fn declare_2(f: &mut Features<Reading>) {
        declare(f);
        let value = f.column(|e: &Reading| e.value);
        f.over(secs(30))
            .quantile("median", 0.5, value)
            .aggregate("greatest", Max, value);
        f.ever().excluding().top_k("top", 2, value);
    }

    /// State of version 3 after the same events, of which one was dropped.
    const VERSION_3: &str = "\
        0380ecb80b1f050201020300240200808088810400000080c0ed81040000030402030302008080ce\
        810400000500008080e0ff0380b6dc0500008080a8800480b6dc050000000d050d0d011580a4e803\
        000080809080040080809080040280b6dc0500008080a88004008080a880040380b6dc0500008080\
        a88004008080a8800403010401020309020380897a000000000000f83f80c8d00700000000000004\
        4080ecb80b0000000000000a4003ffe79226000000000000000080c8d007000000000000000080ec\
        b80b0000000000000000031a020300000000000004400000000000000a400000000000000a401302\
        040000000000000a40000000000000000a4011020000000000000a40000000000000224001018089\
        7a00";

    fn declare_3(f: &mut Features<Reading>) {
        declare_2(f);
        f.over(secs(30)).truncated("cut");
        f.max_events_per_key(3, HotKey::DropOldest);
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect()
    }

    /// Feeds the same events to both and asserts that they cannot be told apart.
    fn check_goes_on(plan: &mut FeaturePlan<Reading>, state: KeyFeatures, restored: KeyFeatures) {
        assert!(plan.accepts(&restored));
        let mut states = [state, restored];
        for event in [reading(9, 1.0), reading(13, 4.0), reading(60, 0.5)] {
            let rows = states.each_mut().map(|state| feed(plan, state, event));
            let [went_on, restored] = rows.map(|row| row.into_iter().map(f64::to_bits));
            assert!(went_on.eq(restored), "{event:?}");
        }
    }

    #[test]
    fn state_that_version_1_wrote_is_read_and_goes_on() {
        let mut plan = plan(declare);
        let state = saved_state(&mut plan);
        let restored = postcard::from_bytes(&bytes(VERSION_1)).unwrap();
        check_goes_on(&mut plan, state, restored);
    }

    #[test]
    fn state_that_version_2_wrote_is_read_and_goes_on() {
        let mut plan = plan(declare_2);
        let state = saved_state(&mut plan);
        let restored = postcard::from_bytes(&bytes(VERSION_2)).unwrap();
        check_goes_on(&mut plan, state, restored);
    }

    #[test]
    fn state_that_version_3_wrote_is_read_and_goes_on() {
        let mut plan = plan(declare_3);
        let state = saved_state(&mut plan);
        let restored = postcard::from_bytes(&bytes(VERSION_3)).unwrap();
        check_goes_on(&mut plan, state, restored);
    }

    /// State of version 4 after the same events.
    const VERSION_4: &str = "\
        0480ecb80b1f05020102030400e40102000000000000000000224000000000000000000000000000\
        603b4000000000000000000300000004000000020000000300000003000000020000000000000000\
        80334000000000000000000500000000000000000000000000f83f001bb700000000000000000000\
        000a40001bb7000000000000000000000000000f000000070000000d0000000f0000000100000000\
        127a000000000000000000000004400000000000000440001bb700000000000000000000000a4000\
        00000000000a40001bb700000000000000000000000a400000000000000a40020000000300000003\
        000000010401020309020380897a000000000000f83f80c8d007000000000000044080ecb80b0000\
        000000000a4003ffe79226000000000000000080c8d007000000000000000080ecb80b0000000000\
        000000031a020300000000000004400000000000000a400000000000000a40130204000000000000\
        0a40000000000000000a4011020000000000000a400000000000002240010180897a00";

    #[test]
    fn state_that_version_4_wrote_is_read_and_goes_on() {
        let mut plan = plan(declare_3);
        let state = saved_state(&mut plan);
        let written = postcard::to_allocvec(&state).unwrap();
        let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex, VERSION_4,
            "a change of the format needs a new version and its fixture"
        );
        let restored = postcard::from_bytes(&bytes(VERSION_4)).unwrap();
        check_goes_on(&mut plan, state, restored);
    }

    /// State of version 3 with a tile.
    const VERSION_3_TILES: &str = "\
        0380ecb80b0e0301000202001102008080e8800400000080c0d48104000002020202030303020880\
        b6dc0500008080a8800480b6dc0500008080a88004000000000180dac409010080897a80c8d00702\
        01020000000000001040000000000000000000000000000021400000000000000000000000000000\
        f83f000000000000044001010202808ece1c01000201020000000000001040000000000000000000\
        000000000021400000000000000000000000000000f83f000000000000044001010280ade2040100\
        02010200000000000010400000000000000000000000000000214000000000000000000000000000\
        00f83f0000000000000440010102";

    #[test]
    fn tiles_that_version_3_wrote_are_read_and_go_on() {
        let mut plan = plan(declare_tiles);
        let state = saved_state(&mut plan);
        let restored = postcard::from_bytes(&bytes(VERSION_3_TILES)).unwrap();
        check_goes_on(&mut plan, state, restored);
    }

    fn declare_tiles(f: &mut Features<Reading>) {
        let value = f.column(|e: &Reading| e.value);
        f.lateness(secs(5));
        f.over(secs(30)).std("std", value).truncated("cut");
        f.over(secs(5))
            .max("max", value)
            .share("share", |e| e.value > 2.0);
        f.max_events_per_key(2, HotKey::Tiles(secs(10)));
    }

    /// State of version 4 with a tile.
    const VERSION_4_TILES: &str = "\
        0480ecb80b0e0301000202040064020000000000000000001a400000000000000000000000000020\
        3540000000000000000002000000020000000200000002000000030000000f0000000f0000000900\
        0000001bb700000000000000000000000a40001bb700000000000000000000000a40000000000180\
        dac409010080897a80c8d00702010200000000000010400000000000000000000000000000214000\
        00000000000000000000000000f83f000000000000044001010202808ece1c010002010200000000\
        00001040000000000000000000000000000021400000000000000000000000000000f83f00000000\
        0000044001010280ade2040100020102000000000000104000000000000000000000000000002140\
        0000000000000000000000000000f83f0000000000000440010102";

    #[test]
    fn tiles_that_version_4_wrote_are_read_and_go_on() {
        let mut plan = plan(declare_tiles);
        let state = saved_state(&mut plan);
        let written = postcard::to_allocvec(&state).unwrap();
        let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex, VERSION_4_TILES,
            "a change of the format needs a new version and its fixture"
        );
        let restored = postcard::from_bytes(&bytes(VERSION_4_TILES)).unwrap();
        check_goes_on(&mut plan, state, restored);
    }

    #[test]
    fn a_ring_that_wraps_and_one_with_much_room_are_restored() {
        let mut plan = plan(declare_3);
        let mut state = KeyFeatures::default();
        for n in 0..400 {
            // Many at once, then few: the ring is large, full, and nearly empty.
            let second = if n < 200 { n / 40 } else { n };
            feed(
                &mut plan,
                &mut state,
                reading(second, f64::from(n as u32 % 7)),
            );
            let written = postcard::to_allocvec(&state).unwrap();
            let restored = postcard::from_bytes(&written).unwrap();
            check_goes_on(&mut plan, state.clone(), restored);
        }
    }

    #[test]
    fn damaged_state_is_an_error() {
        let mut plan = plan(declare_2);
        let state = saved_state(&mut plan);
        let read = |record: &(u8, Record4)| {
            let bytes = postcard::to_allocvec(record).unwrap();
            postcard::from_bytes::<KeyFeatures>(&bytes)
        };
        let record = || Record4::of(&state).unwrap();
        assert!(read(&(VERSION, record())).is_ok());
        assert!(read(&(VERSION + 1, record())).is_err());
        let damage: [fn(&mut Record4); 7] = [
            |record| record.rows += 1,
            |record| record.rows = u32::MAX,
            |record| record.slots += 1,
            |record| record.slots = 1 << 31,
            |record| record.wide_ids = true,
            |record| record.lanes.0.truncate(12),
            |record| record.lanes.0.push(0),
        ];
        for damage in damage {
            let mut record = record();
            damage(&mut record);
            assert!(read(&(VERSION, record)).is_err());
        }
    }

    #[test]
    fn state_of_another_plan_is_not_accepted() {
        let (mut first, mut second) = (plan(declare), plan(declare_2));
        let mut record = Record4::of(&saved_state(&mut second)).unwrap();
        record.saved[0].truncate(1);
        let damaged = record.restore().unwrap();
        let new = KeyFeatures::default();
        let (of_first, of_second) = (saved_state(&mut first), saved_state(&mut second));
        for (plan, state, accepts) in [
            (&first, &of_first, true),
            (&first, &of_second, false),
            (&first, &new, true),
            (&second, &of_first, false),
            (&second, &of_second, true),
            (&second, &damaged, false),
            (&second, &new, true),
        ] {
            assert_eq!(plan.accepts(state), accepts, "{:?}", plan.names());
        }
    }
}
