//! The versions before, which are read only.

use serde::Deserialize;

use super::{MISMATCH, TOO_MANY, live, slots_max};
use crate::aggregate::trail::Older;
use crate::window::limit::Truncated;
use crate::window::shape::{Geometry, Shape};
use crate::window::slot::SlotState;
use crate::window::state::{Extra, HEADER, KeyFeatures};
use crate::window::tiles::Tiles;

/// Version 4: the header of the block stands in fields of its own.
#[derive(Deserialize)]
pub(super) struct Record4<'a> {
    newest: i64,
    shape: Shape,
    head: u32,
    rows: u32,
    /// Of the ring.
    slots: u32,
    wide_ids: bool,
    /// Fixed lanes, bitmaps, the live rows, oldest first, and their ids, column by column.
    lanes: &'a [u8],
    /// Ids seen, ascending, per unbounded distinct.
    seen: Vec<Vec<u64>>,
    older: Vec<Older>,
    /// Per slot, what it keeps.
    saved: Vec<Vec<u8>>,
    truncated: Option<Truncated>,
    tiles: Option<Box<Tiles>>,
}

impl Record4<'_> {
    pub(super) fn restore(self) -> Result<KeyFeatures, &'static str> {
        let is_ring = self.slots == 0 || self.slots.is_power_of_two();
        if !is_ring || self.rows > self.slots || self.slots > slots_max(self.rows) {
            return Err(TOO_MANY);
        }
        let geometry = Geometry::new(self.shape, self.slots, self.wide_ids);
        let fixed = self.shape.fixed as usize;
        let front = fixed + geometry.bitmaps().len();
        let runs = || live(&geometry, self.shape, self.head, self.rows);
        let (lanes, rest) = self.lanes.as_chunks();
        if !rest.is_empty() || lanes.len() != front + runs().map(|run| run.len()).sum::<usize>() {
            return Err(MISMATCH);
        }
        if is_new(self.newest, self.shape) {
            return Ok(KeyFeatures::default());
        }
        let (log, room) = ((self.head, self.rows), (self.slots, self.wide_ids));
        let mut state = KeyFeatures::with_header(self.newest, log, self.shape, room);
        let behind = &mut state.block[HEADER..];
        let mut lanes = lanes.iter().copied().map(u32::from_le_bytes);
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

/// Version 3: what has become of rows beyond a limit stands after the record of version 2.
#[derive(Deserialize)]
pub(super) struct Record3 {
    record: Record2,
    truncated: Option<Truncated>,
    tiles: Option<Box<Tiles>>,
}

impl Record3 {
    pub(super) fn restore(self) -> Result<KeyFeatures, &'static str> {
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
pub(super) struct Record2 {
    record: Record1,
    /// Per slot, what it keeps.
    slots: Vec<Vec<u8>>,
}

impl Record2 {
    pub(super) fn restore(self) -> Result<KeyFeatures, &'static str> {
        let mut state = self.record.restore()?;
        if !self.slots.is_empty() {
            state.extra().slots = self.slots.into_iter().map(SlotState::Saved).collect();
        }
        Ok(state)
    }
}

/// Version 1.
#[derive(Deserialize)]
pub(super) struct Record1 {
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

impl Record1 {
    fn slots(rows: u32) -> u32 {
        if rows == 0 {
            0
        } else {
            rows.next_power_of_two()
        }
    }

    pub(super) fn restore(self) -> Result<KeyFeatures, &'static str> {
        if self.rows > 1 << 31 {
            return Err(TOO_MANY);
        }
        let slots = Self::slots(self.rows);
        let geometry = Geometry::new(self.shape, slots, self.wide_ids);
        let fixed = self.shape.fixed as usize;
        let ids = usize::from(self.shape.ids);
        let stride = geometry.row(0).len() + ids * geometry.id_lanes(0, 0).len();
        if self.front.len() != fixed + geometry.bitmaps().len()
            || Some(self.log.len()) != stride.checked_mul(self.rows as usize)
        {
            return Err(MISMATCH);
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
