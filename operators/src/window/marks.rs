//! The marks of rows that depend on other rows: who is on a monotone stack, who is the last of an
//! id; and the index that finds the latter in a long log.

use super::id_index::IdIndex;
use super::program::{Inputs, Program, Stack};
use super::shape::Geometry;
use super::state::KeyFeatures;
use crate::aggregate::distinct::INDEX_ABOVE_ROWS;

impl Stack {
    /// Puts the row at `position` on the stack unless a later row takes its place, and takes those
    /// off whose place it takes. The log's rows are `head..tail`.
    #[inline(always)]
    pub(super) fn push(
        &self,
        log: &mut [u32],
        geometry: &Geometry,
        value: f64,
        (head, position, tail): (u32, u32, u32),
    ) {
        let bitmap = geometry.bitmap(self.bitmap);
        if value.is_nan() || self.is_replaced(log, geometry, value, (position, tail)) {
            bitmap.set(log, position, false);
            return;
        }
        let mut end = position;
        while let Some(earlier) = bitmap.previous(log, head, end) {
            if !self.replaces(log, geometry, value, earlier) {
                break;
            }
            bitmap.set(log, earlier, false);
            end = earlier;
        }
        bitmap.set(log, position, true);
    }

    /// Whether a value takes the place of that of the row at a position.
    #[inline]
    pub(super) fn replaces(
        &self,
        log: &[u32],
        geometry: &Geometry,
        value: f64,
        position: u32,
    ) -> bool {
        let known = geometry.value(log, position, self.column);
        self.direction.replaces(value, known)
    }

    /// Whether a row after `position` takes the place of this value.
    #[inline]
    fn is_replaced(
        &self,
        log: &[u32],
        geometry: &Geometry,
        value: f64,
        (position, tail): (u32, u32),
    ) -> bool {
        let after = position.wrapping_add(1);
        if after == tail {
            return false;
        }
        let later = geometry.bitmap(self.bitmap).next(log, after, tail);
        later != tail
            && self
                .direction
                .replaces(geometry.value(log, later, self.column), value)
    }
}

impl Program {
    /// Marks a row as the last of its ids unless a later row is, and counts ids that are new to the
    /// windows that the row is inside of.
    #[inline]
    pub(super) fn mark_ids(
        &self,
        state: &mut KeyFeatures,
        geometry: &Geometry,
        inputs: &Inputs,
        position: u32,
        inside: impl Fn(usize) -> bool,
    ) {
        for (column, marks) in self.id_marks.iter().enumerate() {
            let head = state.head();
            let offset = |position: u32| position.wrapping_sub(head);
            let last = geometry.bitmap(marks.last);
            let Some(id) = inputs.ids[column] else {
                last.set(state.split().1, position, false);
                continue;
            };
            let former = self.replace_last(state, geometry, column, (id, position));
            let (fixed, log) = state.split();
            if former.is_some_and(|former| offset(former) > offset(position)) {
                last.set(log, position, false);
                continue;
            }
            if let Some(former) = former {
                last.set(log, former, false);
            }
            last.set(log, position, true);
            for cell in marks.counts.iter().filter(|cell| inside(cell.span)) {
                let cursor = offset(fixed[cell.cursor]);
                if former.is_none_or(|former| offset(former) < cursor) {
                    fixed[cell.at] += 1;
                }
            }
        }
    }

    /// Finds the row that is marked as the last of an id; where there is an index, puts the row at
    /// `position` in its place unless it is later.
    #[inline]
    fn replace_last(
        &self,
        state: &mut KeyFeatures,
        geometry: &Geometry,
        column: usize,
        (id, position): (u64, u32),
    ) -> Option<u32> {
        let (head, rows, slots) = (state.head(), state.rows(), state.slots());
        if slots <= INDEX_ABOVE_ROWS {
            let last = geometry.bitmap(self.id_marks[column].last);
            let log = state.log();
            return geometry.find_slot(log, column, id, |slot| {
                let offset = slot.wrapping_sub(head) & (slots - 1);
                let former = head.wrapping_add(offset);
                let is_former = offset < rows && former != position && last.get(log, former);
                is_former.then_some(former)
            });
        }
        if state.extra().indexes.is_empty() {
            self.build_indexes(state, geometry, position);
        }
        let log = &state.block[self.shape.fixed as usize..];
        let index = &mut state.extra.get_or_insert_default().indexes[column];
        let (tag, is) = (geometry.tag(id), |at| geometry.is_id(log, at, column, id));
        let former = index.insert(tag, is, position);
        if let Some(former) = former
            && former.wrapping_sub(head) > position.wrapping_sub(head)
        {
            index.insert(tag, is, former);
        }
        former
    }

    /// Makes the indexes anew. The row at `marked_next` does not have its marks yet.
    fn build_indexes(&self, state: &mut KeyFeatures, geometry: &Geometry, marked_next: u32) {
        let mut indexes = vec![IdIndex::default(); self.id_marks.len()];
        let log = state.log();
        for (column, index) in indexes.iter_mut().enumerate() {
            let last = geometry.bitmap(self.id_marks[column].last);
            let mut position = last.next(log, state.head(), state.tail);
            while position != state.tail {
                if position != marked_next {
                    let tag = geometry.tag(geometry.id(log, position, column));
                    index.insert(tag, |_| false, position);
                }
                position = last.next(log, position.wrapping_add(1), state.tail);
            }
        }
        state.extra().indexes = indexes;
    }

    /// Forgets the rows before `head`, which are about to go.
    #[inline]
    pub(super) fn unindex(&self, state: &mut KeyFeatures, geometry: &Geometry, head: u32) {
        let former = state.head();
        let Some(extra) = &mut state.extra else {
            return;
        };
        let log = &state.block[self.shape.fixed as usize..];
        for (column, index) in extra.indexes.iter_mut().enumerate() {
            let last = geometry.bitmap(self.id_marks[column].last);
            let rows = head.wrapping_sub(former);
            for oldest in (0..rows).map(|n| former.wrapping_add(n)) {
                if last.get(log, oldest) {
                    let tag = geometry.tag(geometry.id(log, oldest, column));
                    index.remove(tag, |at| at == oldest);
                }
            }
        }
    }

    /// Follows the rows that a late one, for which `opened` was opened, has moved up.
    pub(super) fn shift_indexes(&self, state: &mut KeyFeatures, geometry: &Geometry, opened: u32) {
        let tail = state.tail;
        let Some(extra) = &mut state.extra else {
            return;
        };
        let log = &state.block[self.shape.fixed as usize..];
        for (column, index) in extra.indexes.iter_mut().enumerate() {
            let last = geometry.bitmap(self.id_marks[column].last);
            // From the end on, so that no two rows are noted at one position.
            let mut end = tail;
            while let Some(position) = last.previous(log, opened.wrapping_add(1), end) {
                let tag = geometry.tag(geometry.id(log, position, column));
                index.insert(tag, |at| at == position.wrapping_sub(1), position);
                end = position;
            }
        }
    }
}
