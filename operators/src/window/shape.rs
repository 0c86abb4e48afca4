//! How a key's block is laid out: fixed lanes, then its log.
//!
//! The log is a ring: bitmaps (marks, one bit per row), then rows, then ids. A row is its event
//! time and its values side by side, so that an event touches one cache line per position and not
//! one per column. Ids lie in a column each, so that a short log can be searched for one at the
//! speed of a scan; they take one lane each until one of the key's does not fit 32 bits.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::bitmap::Bitmap;
use super::id_index::tag;
use super::lanes;

/// What a plan asks of every key's block; the same for all keys of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Lanes of cursors, running values and trails.
    pub(crate) fixed: u32,
    /// Bitmaps of one bit per row.
    pub(crate) bitmaps: u16,
    /// Values of a row.
    pub(crate) values: u16,
    /// Ids of a row.
    pub(crate) ids: u16,
}

/// Where everything lies in the lanes of one key's log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    mask: u32,
    bitmap_lanes: usize,
    rows: usize,
    stride: usize,
    ids: usize,
    wide_ids: bool,
    end: usize,
}

impl Geometry {
    /// The layout of a log with room for `slots` rows (a power of two, or none).
    #[inline]
    pub(crate) fn new(shape: Shape, slots: u32, wide_ids: bool) -> Self {
        let bitmap_lanes = Bitmap::lanes(slots);
        let rows = bitmap_lanes * usize::from(shape.bitmaps);
        let stride = 2 + 2 * usize::from(shape.values);
        let ids = rows + slots as usize * stride;
        let id_lanes = slots as usize * if wide_ids { 2 } else { 1 };
        let end = ids + id_lanes * usize::from(shape.ids);
        Self {
            mask: slots.wrapping_sub(1),
            bitmap_lanes,
            rows,
            stride,
            ids,
            wide_ids,
            end,
        }
    }

    /// Lanes of the log.
    pub(crate) fn lanes(&self) -> usize {
        self.end
    }

    /// The lanes of the bitmaps.
    pub(crate) fn bitmaps(&self) -> Range<usize> {
        0..self.rows
    }

    /// The lanes of time and values of the row at `position`.
    #[inline]
    pub(crate) fn row(&self, position: u32) -> Range<usize> {
        let start = self.rows + (position & self.mask) as usize * self.stride;
        start..start + self.stride
    }

    /// How many rows from `position` on lie one after another in the ring.
    #[inline]
    pub(crate) fn before_wrap(&self, position: u32) -> u32 {
        self.mask - (position & self.mask) + 1
    }

    /// The lanes of some rows that lie one after another.
    #[inline]
    pub(crate) fn rows(&self, run: &Range<u32>) -> Range<usize> {
        let start = self.row(run.start).start;
        start..start + run.end.wrapping_sub(run.start) as usize * self.stride
    }

    /// Event time of the row at `position`, in microseconds.
    #[inline]
    pub(crate) fn time(&self, log: &[u32], position: u32) -> i64 {
        let start = self.rows + (position & self.mask) as usize * self.stride;
        lanes::get_u64(log, start).cast_signed()
    }

    /// Value `column` of the row at `position`; NaN when it is missing.
    #[inline]
    pub(crate) fn value(&self, log: &[u32], position: u32, column: usize) -> f64 {
        let start = self.rows + (position & self.mask) as usize * self.stride;
        lanes::get_f64(log, start + 2 + 2 * column)
    }

    /// Where id `column` of the row at `position` lies.
    #[inline]
    pub(crate) fn id_lanes(&self, position: u32, column: usize) -> Range<usize> {
        let place = column * (self.mask as usize + 1) + (position & self.mask) as usize;
        if self.wide_ids {
            self.ids + 2 * place..self.ids + 2 * place + 2
        } else {
            self.ids + place..self.ids + place + 1
        }
    }

    /// Id `column` of the row at `position`; meaningless when it is missing.
    #[inline]
    pub(crate) fn id(&self, log: &[u32], position: u32, column: usize) -> u64 {
        let at = self.id_lanes(position, column).start;
        if self.wide_ids {
            lanes::get_u64(log, at)
        } else {
            u64::from(log[at])
        }
    }

    /// Whether the row at `position` has this id in `column`, of rows with the id's tag: that of a
    /// narrow id is the id.
    #[inline]
    pub(crate) fn is_id(&self, log: &[u32], position: u32, column: usize, id: u64) -> bool {
        !self.wide_ids || self.id(log, position, column) == id
    }

    /// What an index calls an id.
    #[inline]
    pub(crate) fn tag(&self, id: u64) -> u32 {
        tag(id, self.wide_ids)
    }

    /// Writes id `column` of the row at `position`; the id must fit the lanes of an id.
    #[inline]
    pub(crate) fn set_id(&self, log: &mut [u32], position: u32, column: usize, id: u64) {
        let at = self.id_lanes(position, column).start;
        if self.wide_ids {
            lanes::set_u64(log, at, id);
        } else {
            debug_assert!(
                u32::try_from(id).is_ok(),
                "an id of 64 bits in a narrow log"
            );
            log[at] = id as u32;
        }
    }

    /// What `wanted` makes of the first slot whose id `column` is `id` and of which it wants any:
    /// it is asked of slots of no live row, too.
    #[inline]
    pub(crate) fn find_slot<R>(
        &self,
        log: &[u32],
        column: usize,
        id: u64,
        wanted: impl Fn(u32) -> Option<R>,
    ) -> Option<R> {
        let slots = self.mask as usize + 1;
        let lanes_each = if self.wide_ids { 2 } else { 1 };
        let start = self.ids + column * slots * lanes_each;
        let column = &log[start..start + slots * lanes_each];
        // Whole chunks are compared at once; a wide id is looked for by its low half first.
        let low = id as u32;
        if !self.wide_ids && u64::from(low) != id {
            return None;
        }
        for (chunk, first) in column.chunks(16).zip((0u32..).step_by(16)) {
            if !chunk
                .iter()
                .fold(false, |found, lane| found | (*lane == low))
            {
                continue;
            }
            for (lane, at) in chunk.iter().zip(first..) {
                let is_id = *lane == low
                    && (!self.wide_ids
                        || at % 2 == 0 && lanes::get_u64(chunk, (at - first) as usize) == id);
                if is_id && let Some(found) = wanted(at / lanes_each as u32) {
                    return Some(found);
                }
            }
        }
        None
    }

    /// The bitmap with this number.
    #[inline]
    pub(crate) fn bitmap(&self, number: usize) -> Bitmap {
        Bitmap {
            at: number * self.bitmap_lanes,
            mask: self.mask,
        }
    }

    /// The first position in `head..tail` whose time is after `at`, or `tail`.
    pub(crate) fn after(&self, log: &[u32], head: u32, tail: u32, at: i64) -> u32 {
        let (mut low, mut high) = (0, tail.wrapping_sub(head));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.time(log, head.wrapping_add(middle)) <= at {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        head.wrapping_add(low)
    }
}
