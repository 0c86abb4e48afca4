//! Key features as a versioned record: fixed lanes, marks, and the live rows.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::limit::Truncated;
use super::shape::{Geometry, Shape};
use super::slot::SlotState;
use super::state::{Extra, HEADER, KeyFeatures};
use super::tiles::Tiles;
use crate::aggregate::trail::Older;

/// The version that is written; every version up to it can be read.
const VERSION: u8 = 3;

/// Version 3: what has become of rows beyond a limit stands after the record of version 2.
#[derive(Serialize, Deserialize)]
struct Record3 {
    record: Record2,
    truncated: Option<Truncated>,
    tiles: Option<Box<Tiles>>,
}

impl Record3 {
    fn of(state: &KeyFeatures) -> Result<Self, postcard::Error> {
        let extra = state.extra.as_ref();
        Ok(Self {
            record: Record2::of(state)?,
            truncated: extra.and_then(|extra| extra.truncated),
            tiles: extra.and_then(|extra| extra.tiles.clone()),
        })
    }

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
#[derive(Serialize, Deserialize)]
struct Record2 {
    record: Record,
    /// Per slot, what it keeps.
    slots: Vec<Vec<u8>>,
}

impl Record2 {
    fn of(state: &KeyFeatures) -> Result<Self, postcard::Error> {
        let slots = state.extra.iter().flat_map(|extra| &extra.slots);
        Ok(Self {
            record: Record::of(state),
            slots: slots.map(SlotState::save).collect::<Result<_, _>>()?,
        })
    }

    fn restore(self) -> Result<KeyFeatures, &'static str> {
        let mut state = self.record.restore()?;
        if !self.slots.is_empty() {
            state.extra().slots = self.slots.into_iter().map(SlotState::Saved).collect();
        }
        Ok(state)
    }
}

/// Version 1. The header of the block stands in fields of its own, and the shape is without it.
#[derive(Serialize, Deserialize)]
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

    fn of(state: &KeyFeatures) -> Self {
        let rows = state.rows();
        let mut packed = KeyFeatures {
            extra: None,
            ..state.clone()
        };
        packed.lay_out(Self::slots(rows), state.wide_ids());
        let (geometry, from) = (packed.geometry(), packed.log());
        let (mut shape, head) = (state.shape(), state.head());
        let mut log = Vec::new();
        for position in (0..rows).map(|n| head.wrapping_add(n)) {
            log.extend_from_slice(&from[geometry.row(position)]);
            for column in 0..usize::from(shape.ids) {
                log.extend_from_slice(&from[geometry.id_lanes(position, column)]);
            }
        }
        let mut seen = Vec::new();
        for set in state.extra.iter().flat_map(|extra| &extra.seen) {
            let mut ids: Vec<u64> = set.iter().copied().collect();
            ids.sort_unstable();
            seen.push(ids);
        }
        let front = shape.fixed as usize + geometry.bitmaps().len();
        let header = if state.is_new() { 0 } else { HEADER };
        shape.fixed -= header as u32;
        Self {
            newest: state.newest(),
            shape,
            head,
            rows,
            wide_ids: state.wide_ids(),
            front: packed.block[header..front].to_vec(),
            log,
            seen,
            older: state
                .extra
                .as_ref()
                .map_or_else(Vec::new, |extra| extra.older.clone()),
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
        if (self.newest, self.shape, self.rows) == (i64::MIN, Shape::default(), 0) {
            return Ok(KeyFeatures::default());
        }
        let shape = Shape {
            fixed: self.shape.fixed + HEADER as u32,
            ..self.shape
        };
        let mut block = vec![0; HEADER];
        block.extend(self.front);
        block.resize(HEADER + fixed + geometry.lanes(), 0);
        let to = &mut block[HEADER + fixed..];
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
        let tail = self.head.wrapping_add(self.rows);
        let room = (slots, self.wide_ids);
        let mut state = KeyFeatures::of_block(block.into_boxed_slice(), shape, tail, room);
        state.set_newest(self.newest);
        state.set_head(self.head);
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
        let record = Record3::of(self).map_err(ser::Error::custom)?;
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
        let written = postcard::to_allocvec(&state).unwrap();
        let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex, VERSION_3,
            "a change of the format needs a new version and its fixture"
        );
        let restored = postcard::from_bytes(&bytes(VERSION_3)).unwrap();
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
        let mut plan = plan(|f| {
            let value = f.column(|e: &Reading| e.value);
            f.lateness(secs(5));
            f.over(secs(30)).std("std", value).truncated("cut");
            f.over(secs(5))
                .max("max", value)
                .share("share", |e| e.value > 2.0);
            f.max_events_per_key(2, HotKey::Tiles(secs(10)));
        });
        let state = saved_state(&mut plan);
        let written = postcard::to_allocvec(&state).unwrap();
        let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex, VERSION_3_TILES,
            "a change of the format needs a new version and its fixture"
        );
        let restored = postcard::from_bytes(&bytes(VERSION_3_TILES)).unwrap();
        check_goes_on(&mut plan, state, restored);
    }

    #[test]
    fn damaged_state_is_an_error() {
        let mut plan = plan(declare_2);
        let state = saved_state(&mut plan);
        let read = |record: &(u8, Record3)| {
            let bytes = postcard::to_allocvec(record).unwrap();
            postcard::from_bytes::<KeyFeatures>(&bytes)
        };
        let record = || Record3::of(&state).unwrap();
        assert!(read(&(VERSION, record())).is_ok());
        assert!(read(&(VERSION + 1, record())).is_err());
        let damage: [fn(&mut Record); 4] = [
            |record| record.rows += 1,
            |record| record.rows = u32::MAX,
            |record| record.wide_ids = true,
            |record| record.front.truncate(3),
        ];
        for damage in damage {
            let mut record = record();
            damage(&mut record.record.record);
            assert!(read(&(VERSION, record)).is_err());
        }
    }

    #[test]
    fn state_of_another_plan_is_not_accepted() {
        let (mut first, mut second) = (plan(declare), plan(declare_2));
        let mut record = Record2::of(&saved_state(&mut second)).unwrap();
        record.slots[0].truncate(1);
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
