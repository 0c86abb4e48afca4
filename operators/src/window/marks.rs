//! The marks of rows that depend on other rows: who is on a monotone stack, who is the last of an
//! id; and the index that finds the latter in a long log.

use super::id_index::IdIndex;
use super::program::{Inputs, Program, Span, Stack};
use super::shape::Geometry;
use super::state::KeyFeatures;
use crate::aggregate::distinct::INDEX_ABOVE_ROWS;

impl Stack {
    /// Puts the row at `position` on the stack unless a later row takes its place, and takes those
    /// off whose place it takes. The log's rows are `head..tail`.
    #[inline]
    pub(super) fn push(
        &self,
        log: &mut [u32],
        geometry: &Geometry,
        value: f64,
        (head, position, tail): (u32, u32, u32),
    ) {
        let bitmap = geometry.bitmap(self.bitmap);
        let later = bitmap.next(log, position.wrapping_add(1), tail);
        let replaced = || {
            self.direction
                .replaces(geometry.value(log, later, self.column), value)
        };
        if value.is_nan() || (later != tail && replaced()) {
            bitmap.set(log, position, false);
            return;
        }
        let mut end = position;
        while let Some(earlier) = bitmap.previous(log, head, end) {
            if !self
                .direction
                .replaces(value, geometry.value(log, earlier, self.column))
            {
                break;
            }
            bitmap.set(log, earlier, false);
            end = earlier;
        }
        bitmap.set(log, position, true);
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
        inside: impl Fn(&Span) -> bool,
    ) {
        for (column, marks) in self.id_marks.iter().enumerate() {
            let Some(id) = inputs.ids[column] else {
                continue;
            };
            let head = state.head;
            let offset = |position: u32| position.wrapping_sub(head);
            let former = self.replace_last(state, geometry, column, (id, position));
            if former.is_some_and(|former| offset(former) > offset(position)) {
                continue;
            }
            let last = geometry.bitmap(marks.last);
            let (fixed, log) = state.split();
            if let Some(former) = former {
                last.set(log, former, false);
            }
            last.set(log, position, true);
            for span in self.spans.iter().filter(|span| inside(span)) {
                let Some(at) = span.distinct(column) else {
                    continue;
                };
                let cursor = offset(fixed[span.cursor]);
                if former.is_none_or(|former| offset(former) < cursor) {
                    fixed[at] += 1;
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
        let (head, rows, slots) = (state.head, state.rows(), state.slots);
        if slots <= INDEX_ABOVE_ROWS {
            let last = geometry.bitmap(self.id_marks[column].last);
            let log = state.log();
            let offsets = geometry.slots_with_id(log, column, id);
            let mut offsets = offsets.map(|slot| slot.wrapping_sub(head) & (slots - 1));
            let marked = |offset: &u32| *offset < rows && last.get(log, head.wrapping_add(*offset));
            return offsets.find(marked).map(|offset| head.wrapping_add(offset));
        }
        if state.extra().indexes.is_empty() {
            self.build_indexes(state, geometry);
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

    fn build_indexes(&self, state: &mut KeyFeatures, geometry: &Geometry) {
        let mut indexes = vec![IdIndex::default(); self.id_marks.len()];
        let log = state.log();
        for (column, index) in indexes.iter_mut().enumerate() {
            let last = geometry.bitmap(self.id_marks[column].last);
            let mut position = last.next(log, state.head, state.tail);
            while position != state.tail {
                let tag = geometry.tag(geometry.id(log, position, column));
                index.insert(tag, |_| false, position);
                position = last.next(log, position.wrapping_add(1), state.tail);
            }
        }
        state.extra().indexes = indexes;
    }

    /// Forgets the oldest row, which is about to go.
    #[inline]
    pub(super) fn unindex(&self, state: &mut KeyFeatures, geometry: &Geometry, oldest: u32) {
        let Some(extra) = &mut state.extra else {
            return;
        };
        let log = &state.block[self.shape.fixed as usize..];
        for (column, index) in extra.indexes.iter_mut().enumerate() {
            if geometry.bitmap(self.id_marks[column].last).get(log, oldest) {
                let tag = geometry.tag(geometry.id(log, oldest, column));
                index.remove(tag, |at| at == oldest);
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
