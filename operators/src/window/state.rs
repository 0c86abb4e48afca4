//! The state of one key: its log and running values in one block, and the little that has to grow
//! beside it. Knows how to make room and move rows; what the lanes mean is the program's.

use hashbrown::HashSet;

use super::id_index::IdIndex;
use super::lanes;
use super::limit::Truncated;
use super::shape::{Geometry, Shape};
use super::slot::SlotState;
use super::tiles::Tiles;
use crate::aggregate::distinct::INDEX_ABOVE_ROWS;
use crate::aggregate::trail::Older;

/// Slots of the smallest ring.
pub(super) const SLOTS_MIN: u32 = 4;

/// What a key's features remember between its events: opaque, made by [`Default`], read and written
/// by [`FeaturePlan::update`](crate::features::FeaturePlan::update).
///
/// Everything of fixed size and the log share one allocation that grows by doubling and shrinks
/// again, so a key with few live events stays small. Serialised, it is a versioned record that
/// holds the live rows only; a restored state goes on exactly as the one that was saved would have.
/// It belongs to the plan it was made with: see
/// [`FeaturePlan::layout`](crate::features::FeaturePlan::layout).
#[derive(Clone, Debug)]
pub struct KeyFeatures {
    pub(crate) block: Box<[u32]>,
    pub(crate) extra: Option<Box<Extra>>,
    /// Position after the newest row.
    pub(crate) tail: u32,
    // The fields of its shape, which side by side take no more than they need.
    fixed_lanes: u32,
    bitmaps: u16,
    values: u16,
    ids: u16,
    /// Slots of the ring, a power of two or zero: half of two to the power of this.
    room: u8,
    /// [`WIDE_IDS`] and [`READY`].
    flags: u8,
}

/// Lanes at the front of a block, before those of its plan: the time of the newest event, then the
/// position of the oldest row.
pub(crate) const HEADER: usize = 3;
const NEWEST: usize = 0;
pub(super) const HEAD: usize = 2;

/// Ids take two lanes each.
const WIDE_IDS: u8 = 1;
/// Its plan has seen to it: a new key has no block yet, a restored one may not know its extremes.
const READY: u8 = 2;

/// State that does not fit a block of fixed shape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    /// Per id column of the log, where a long log has the last row of each id.
    pub(crate) indexes: Vec<IdIndex>,
    /// Per unbounded distinct, the ids seen.
    pub(crate) seen: Vec<HashSet<u64>>,
    /// Per trail, its older entries.
    pub(crate) older: Vec<Older>,
    /// Per aggregate in a slot, what it keeps.
    pub(crate) slots: Vec<SlotState>,
    /// What a limit has dropped, if it has.
    pub(crate) truncated: Option<Truncated>,
    /// What a limit has put into tiles, if it has.
    pub(crate) tiles: Option<Box<Tiles>>,
}

impl Default for KeyFeatures {
    /// The state of a key that has had no event.
    fn default() -> Self {
        Self {
            block: Box::default(),
            extra: None,
            tail: 0,
            fixed_lanes: 0,
            bitmaps: 0,
            values: 0,
            ids: 0,
            room: 0,
            flags: 0,
        }
    }
}

impl KeyFeatures {
    /// Bytes that this state takes in memory, itself included; what a hash set or index holds
    /// beside its entries is not counted, and what an aggregate holds on the heap counts as long
    /// as it is when serialised.
    pub fn memory_bytes(&self) -> usize {
        let extra = self.extra.as_ref().map_or(0, |extra| {
            let indexes = extra.indexes.iter().map(IdIndex::memory_bytes);
            let seen = extra.seen.iter().map(|seen| seen.capacity() * 8);
            let older = extra.older.iter().map(|older| older.capacity() * 16);
            let slots = extra.slots.iter().map(SlotState::memory_bytes);
            let tiles = extra.tiles.iter().map(|tiles| tiles.memory_bytes());
            let parts = indexes.chain(seen).chain(older).chain(slots).chain(tiles);
            size_of::<Extra>() + parts.sum::<usize>()
        });
        size_of::<Self>() + size_of_val::<[u32]>(&self.block) + extra
    }

    /// Whether ids are looked up in indexes.
    #[inline]
    pub(crate) fn has_indexes(&self) -> bool {
        self.extra
            .as_ref()
            .is_some_and(|extra| !extra.indexes.is_empty())
    }

    /// A state whose lanes behind the header, which the shape does not have, are to be filled in.
    pub(crate) fn with_header(
        newest: i64,
        (head, rows): (u32, u32),
        shape: Shape,
        (slots, wide_ids): (u32, bool),
    ) -> Self {
        let mut state = Self::default();
        let fixed = shape.fixed + HEADER as u32;
        state.make_block(Shape { fixed, ..shape }, slots, wide_ids);
        state.set_newest(newest);
        state.set_head(head);
        state.tail = head.wrapping_add(rows);
        state
    }

    /// The latest event time seen, in microseconds; the least number before the first event.
    #[inline]
    pub(crate) fn newest(&self) -> i64 {
        if self.is_new() {
            i64::MIN
        } else {
            lanes::get_u64(&self.block, NEWEST).cast_signed()
        }
    }

    /// Notes the latest event time. There must be a block.
    #[inline]
    pub(crate) fn set_newest(&mut self, at: i64) {
        lanes::set_u64(&mut self.block, NEWEST, at.cast_unsigned());
    }

    /// Position of the oldest row.
    #[inline]
    pub(crate) fn head(&self) -> u32 {
        self.block.get(HEAD).copied().unwrap_or(0)
    }

    /// Moves the oldest row. There must be a block.
    #[inline]
    pub(crate) fn set_head(&mut self, position: u32) {
        self.block[HEAD] = position;
    }

    /// What its plan has asked of the block.
    #[inline]
    pub(crate) fn shape(&self) -> Shape {
        Shape {
            fixed: self.fixed_lanes,
            bitmaps: self.bitmaps,
            values: self.values,
            ids: self.ids,
        }
    }

    /// Slots of the ring: a power of two, or zero.
    #[inline]
    pub(crate) fn slots(&self) -> u32 {
        ((1_u64 << self.room) / 2) as u32
    }

    /// Whether ids take two lanes each.
    #[inline]
    pub(crate) fn wide_ids(&self) -> bool {
        self.flags & WIDE_IDS != 0
    }

    fn set_room(&mut self, slots: u32, wide_ids: bool) {
        self.room = (u32::BITS - slots.leading_zeros()) as u8;
        self.flags = (self.flags & !WIDE_IDS) | if wide_ids { WIDE_IDS } else { 0 };
    }

    /// Whether its plan has seen to it.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        self.flags & READY != 0
    }

    /// Notes that its plan has seen to it.
    pub(crate) fn set_ready(&mut self) {
        self.flags |= READY;
    }

    /// Rows in the log.
    #[inline]
    pub(crate) fn rows(&self) -> u32 {
        self.tail.wrapping_sub(self.head())
    }

    /// Where everything lies.
    #[inline]
    pub(crate) fn geometry(&self) -> Geometry {
        Geometry::new(self.shape(), self.slots(), self.wide_ids())
    }

    /// The fixed lanes and the log.
    #[inline]
    pub(crate) fn split(&mut self) -> (&mut [u32], &mut [u32]) {
        self.block.split_at_mut(self.fixed_lanes as usize)
    }

    /// The fixed lanes.
    #[inline]
    pub(crate) fn fixed(&self) -> &[u32] {
        &self.block[..self.fixed_lanes as usize]
    }

    /// The log.
    #[inline]
    pub(crate) fn log(&self) -> &[u32] {
        &self.block[self.fixed_lanes as usize..]
    }

    /// The state beside the block, made when first asked for.
    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Leaves no more room in the log than its rows need.
    pub(crate) fn pack(&mut self) {
        if !self.is_new() {
            let slots = self.rows().next_power_of_two().max(SLOTS_MIN);
            self.lay_out(slots, self.wide_ids());
        }
    }

    /// Makes room for one more row, for ids of any width where `wide_ids` says so. Returns whether
    /// everything has moved.
    #[inline]
    pub(crate) fn reserve(&mut self, wide_ids: bool) -> bool {
        let (rows, slots) = (self.rows(), self.slots());
        let slots = if rows == slots {
            (2 * slots).max(SLOTS_MIN)
        } else if rows < slots / 4 && slots > SLOTS_MIN {
            slots / 2
        } else if wide_ids && !self.wide_ids() {
            slots
        } else {
            return false;
        };
        self.lay_out(slots, self.wide_ids() || wide_ids);
        true
    }

    /// Moves everything to a new block with room for `slots` rows.
    pub(crate) fn lay_out(&mut self, slots: u32, wide_ids: bool) {
        assert!(
            slots <= 1 << 31,
            "invariant: a key's log holds at most 2^31 rows"
        );
        let (old, new) = (
            self.geometry(),
            Geometry::new(self.shape(), slots, wide_ids),
        );
        let fixed = self.fixed_lanes as usize;
        let mut block = vec![0; fixed + new.lanes()].into_boxed_slice();
        let (to_fixed, to) = block.split_at_mut(fixed);
        let (from_fixed, from) = self.block.split_at(fixed);
        to_fixed.copy_from_slice(from_fixed);
        let (head, tail) = (self.head(), self.tail);
        for number in 0..usize::from(self.bitmaps) {
            let (old, new) = (old.bitmap(number), new.bitmap(number));
            let mut marked = old.next(from, head, tail);
            while marked != tail {
                new.set(to, marked, true);
                marked = old.next(from, marked.wrapping_add(1), tail);
            }
        }
        let mut position = head;
        while position != tail {
            let together = old.before_wrap(position).min(new.before_wrap(position));
            let run = position..position.wrapping_add(together.min(tail.wrapping_sub(position)));
            let lanes = &from[old.rows(&run)];
            to[new.rows(&run)].copy_from_slice(lanes);
            for column in 0..usize::from(self.ids) {
                for offset in 0..run.end.wrapping_sub(run.start) {
                    let position = run.start.wrapping_add(offset);
                    new.set_id(to, position, column, old.id(from, position, column));
                }
            }
            position = run.end;
        }
        let is_indexed_anew = slots <= INDEX_ABOVE_ROWS || wide_ids != self.wide_ids();
        self.block = block;
        self.set_room(slots, wide_ids);
        if is_indexed_anew && let Some(extra) = &mut self.extra {
            extra.indexes = Vec::new();
        }
    }

    /// Whether the key has had no event.
    #[inline]
    pub(crate) fn is_new(&self) -> bool {
        self.block.is_empty()
    }

    /// Gives a new key its block.
    pub(crate) fn fit(&mut self, shape: Shape, slots: u32) {
        self.make_block(shape, slots, false);
        self.set_newest(i64::MIN);
    }

    fn make_block(&mut self, shape: Shape, slots: u32, wide_ids: bool) {
        self.fixed_lanes = shape.fixed;
        self.bitmaps = shape.bitmaps;
        self.values = shape.values;
        self.ids = shape.ids;
        self.set_room(slots, wide_ids);
        self.block = vec![0; shape.fixed as usize + self.geometry().lanes()].into_boxed_slice();
    }

    /// Opens a row at `position` by moving the rows from there on up by one. There must be room.
    pub(crate) fn open(&mut self, position: u32) {
        let geometry = self.geometry();
        let (shape, mut to) = (self.shape(), self.tail);
        self.tail = self.tail.wrapping_add(1);
        let (_, log) = self.split();
        while to != position {
            let from = to.wrapping_sub(1);
            log.copy_within(geometry.row(from), geometry.row(to).start);
            for column in 0..usize::from(shape.ids) {
                let id = geometry.id_lanes(from, column);
                log.copy_within(id, geometry.id_lanes(to, column).start);
            }
            for number in 0..usize::from(shape.bitmaps) {
                let bitmap = geometry.bitmap(number);
                let marked = bitmap.get(log, from);
                bitmap.set(log, to, marked);
            }
            to = from;
        }
    }
}
