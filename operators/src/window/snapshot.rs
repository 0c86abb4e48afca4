//! Key features as a versioned record: fixed lanes, marks, and the live rows.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::shape::{Geometry, Shape};
use super::state::{Extra, KeyFeatures};
use crate::aggregate::trail::Older;

/// The version that is written; every version up to it can be read.
const VERSION: u8 = 1;

/// Version 1.
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
        packed.lay_out(Self::slots(rows), state.wide_ids);
        let (geometry, from) = (packed.geometry(), packed.log());
        let mut log = Vec::new();
        for position in (0..rows).map(|n| state.head.wrapping_add(n)) {
            log.extend_from_slice(&from[geometry.row(position)]);
            for column in 0..usize::from(state.shape.ids) {
                log.extend_from_slice(&from[geometry.id_lanes(position, column)]);
            }
        }
        let mut seen = Vec::new();
        for set in state.extra.iter().flat_map(|extra| &extra.seen) {
            let mut ids: Vec<u64> = set.iter().copied().collect();
            ids.sort_unstable();
            seen.push(ids);
        }
        let front = state.shape.fixed as usize + geometry.bitmaps().len();
        Self {
            newest: state.newest,
            shape: state.shape,
            head: state.head,
            rows,
            wide_ids: state.wide_ids,
            front: packed.block[..front].to_vec(),
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
        let mut block = self.front;
        block.resize(fixed + geometry.lanes(), 0);
        let to = &mut block[fixed..];
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
        let mut state = KeyFeatures {
            block: block.into_boxed_slice(),
            extra: None,
            newest: self.newest,
            head: self.head,
            tail: self.head.wrapping_add(self.rows),
            shape: self.shape,
            slots,
            wide_ids: self.wide_ids,
        };
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
        ser::Serialize::serialize(&(VERSION, Record::of(self)), serializer)
    }
}

impl<'de> Deserialize<'de> for KeyFeatures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (version, record) = <(u8, Record)>::deserialize(deserializer)?;
        if version != VERSION {
            return Err(de::Error::custom(format_args!(
                "key features of format version {version}; this build reads version {VERSION}"
            )));
        }
        record.restore().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::testing::{Reading, plan, reading};
    use crate::features::{FeaturePlan, Features};
    use thalweg_engine::time::{EventTime, secs};

    /// State of version 1 after the events of [`saved_by_version_1`], as postcard.
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
    fn saved_by_version_1(plan: &mut FeaturePlan<Reading>) -> KeyFeatures {
        let mut state = KeyFeatures::default();
        for (second, value) in [(-40, 9.0), (1, 1.5), (12, 3.25), (8, 2.5), (12, 3.25)] {
            feed(plan, &mut state, reading(second, value));
        }
        state
    }

    #[test]
    fn state_that_version_1_wrote_is_read_and_goes_on() {
        let mut plan = plan(declare);
        let mut state = saved_by_version_1(&mut plan);
        let written = postcard::to_allocvec(&state).unwrap();
        let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex, VERSION_1,
            "a change of the format needs a new version and its fixture"
        );
        let byte = |at| u8::from_str_radix(&VERSION_1[at..at + 2], 16).unwrap();
        let kept: Vec<u8> = (0..VERSION_1.len()).step_by(2).map(byte).collect();
        let mut restored: KeyFeatures = postcard::from_bytes(&kept).unwrap();
        for event in [reading(9, 1.0), reading(13, 4.0), reading(60, 0.5)] {
            let rows = [&mut state, &mut restored].map(|state| feed(&mut plan, state, event));
            let [went_on, restored] = rows.map(|row| row.into_iter().map(f64::to_bits));
            assert!(went_on.eq(restored), "{event:?}");
        }
    }

    #[test]
    fn damaged_state_is_an_error() {
        let mut plan = plan(declare);
        let state = saved_by_version_1(&mut plan);
        let read = |record: &(u8, Record)| {
            let bytes = postcard::to_allocvec(record).unwrap();
            postcard::from_bytes::<KeyFeatures>(&bytes)
        };
        assert!(read(&(VERSION, Record::of(&state))).is_ok());
        assert!(read(&(VERSION + 1, Record::of(&state))).is_err());
        let damage: [fn(&mut Record); 4] = [
            |record| record.rows += 1,
            |record| record.rows = u32::MAX,
            |record| record.wide_ids = true,
            |record| record.front.truncate(3),
        ];
        for damage in damage {
            let mut record = Record::of(&state);
            damage(&mut record);
            assert!(read(&(VERSION, record)).is_err());
        }
    }
}
