//! The log's part of an event: rows leave the windows they have grown too old for, and the new row
//! enters every window that it is in, at the end or, when it is late, in its place.

use std::ops::Range;

use super::lanes;
use super::program::{Inputs, Program, Span};
use super::shape::Geometry;
use super::state::KeyFeatures;
use crate::aggregate::compensated::square;
use crate::aggregate::moments::MomentsCell;
use crate::aggregate::share::FlagCell;

impl Program {
    /// Lets rows leave the windows that now end at `at`.
    #[inline]
    pub(super) fn advance(&self, state: &mut KeyFeatures, geometry: &Geometry, at: i64) {
        let tail = state.tail;
        let (fixed, log) = state.split();
        for span in &self.spans {
            let Some(edge) = span.edge(at) else { continue };
            let start = fixed[span.cursor];
            let mut cursor = start;
            while cursor != tail && geometry.time(log, cursor) <= edge {
                cursor = cursor.wrapping_add(1);
            }
            if cursor != start {
                fixed[span.cursor] = cursor;
                self.leave(span, fixed, (geometry, log), (start..cursor, tail));
            }
        }
    }

    /// Lets rows leave a window that from now on is the other rows up to `tail`.
    #[inline]
    pub(super) fn leave(
        &self,
        span: &Span,
        fixed: &mut [u32],
        (geometry, log): (&Geometry, &[u32]),
        (gone, tail): (Range<u32>, u32),
    ) {
        let count = gone.end.wrapping_sub(gone.start);
        let rows = || (0..count).map(|n| gone.start.wrapping_add(n));
        let mut is_right = true;
        for (column, cell) in &span.moments {
            let values = rows().map(|row| geometry.value(log, row, *column));
            is_right &= cell.remove(fixed, values.filter(|value| !value.is_nan()));
        }
        for (column, cell) in &span.flags {
            for row in rows() {
                let (holds, known) = self.flag_at(log, geometry, row, *column);
                cell.remove(fixed, holds, known);
            }
        }
        for (column, at) in &span.distincts {
            let last = geometry.bitmap(self.id_marks[*column].last);
            let lasts = rows().filter(|row| last.get(log, *row)).count();
            fixed[*at] -= lasts as u32;
        }
        for cell in &span.extremes {
            if fixed[cell.at].wrapping_sub(gone.start) < count {
                let bitmap = geometry.bitmap(self.stacks[cell.stack].bitmap);
                fixed[cell.at] = bitmap.next(log, gone.end, tail);
            }
        }
        if !is_right {
            rebuild(span, fixed, (geometry, log), tail);
        }
    }

    /// Whether a predicate holds at a row, and whether it is known there.
    #[inline]
    pub(super) fn flag_at(
        &self,
        log: &[u32],
        geometry: &Geometry,
        position: u32,
        column: usize,
    ) -> (bool, bool) {
        let marks = self.flag_marks[column];
        let holds = geometry.bitmap(marks.holds).get(log, position);
        (
            holds,
            marks
                .known
                .is_some_and(|known| geometry.bitmap(known).get(log, position)),
        )
    }

    /// Drops the rows that no window can need any more.
    #[inline]
    pub(super) fn trim(&self, state: &mut KeyFeatures, geometry: &Geometry) {
        let head = if self.lateness == 0 {
            state.block[self.longest_cursor]
        } else {
            let Some(horizon) = self.horizon(state.newest()) else {
                return;
            };
            let mut head = state.head();
            while head != state.tail && geometry.time(state.log(), head) <= horizon {
                head = head.wrapping_add(1);
            }
            head
        };
        if state.has_indexes() {
            self.unindex(state, geometry, head);
        }
        state.set_head(head);
    }

    /// Adds the newest event as the last row. There must be room.
    #[inline]
    pub(super) fn append(
        &self,
        state: &mut KeyFeatures,
        geometry: &Geometry,
        inputs: &Inputs,
        at: i64,
    ) {
        let position = state.tail;
        state.tail = position.wrapping_add(1);
        let head = state.head();
        let (fixed, log) = state.split();
        self.write(geometry, log, inputs, at, position);
        enter(&self.entered_moments, &self.entered_flags, fixed, inputs);
        let tail = position.wrapping_add(1);
        for stack in &self.stacks {
            let value = inputs.values[stack.column];
            stack.push(log, geometry, value, (head, position, tail));
            for at in &stack.extremes {
                let known = fixed[*at];
                // An empty window's extreme is at the end of the log.
                let is_first = known == position;
                fixed[*at] = if value.is_nan() {
                    if is_first { tail } else { known }
                } else if is_first || stack.replaces(log, geometry, value, known) {
                    position
                } else {
                    known
                };
            }
        }
        self.mark_ids(state, geometry, inputs, position, |_| true);
    }

    /// Adds a late event as a row in its place, after the rows of the same time.
    pub(super) fn insert_late(&self, state: &mut KeyFeatures, inputs: &Inputs, at: i64) {
        state.reserve(self.has_wide_id(inputs));
        let geometry = state.geometry();
        let place = geometry.after(state.log(), state.head(), state.tail, at);
        // Before all rows there is always a free position; elsewhere the later rows move up.
        let in_front = place == state.head();
        let position = if in_front {
            place.wrapping_sub(1)
        } else {
            place
        };
        if in_front {
            state.set_head(position);
        } else {
            state.open(position);
            self.shift_indexes(state, &geometry, position);
        }
        let (head, tail, newest) = (state.head(), state.tail, state.newest());
        let inside = |span: &Span| span.edge(newest).is_none_or(|edge| at > edge);
        let (fixed, log) = state.split();
        self.write(&geometry, log, inputs, at, position);
        for span in &self.spans {
            let cursor = &mut fixed[span.cursor];
            match (inside(span), in_front) {
                (true, true) => *cursor = position,
                (false, false) => *cursor = cursor.wrapping_add(1),
                _ => {}
            }
            if inside(span) {
                enter(&span.moments, &span.flags, fixed, inputs);
            }
        }
        for stack in &self.stacks {
            let value = inputs.values[stack.column];
            stack.push(log, &geometry, value, (head, position, tail));
        }
        self.find_extremes(state, &geometry);
        let inside = |span: usize| inside(&self.spans[span]);
        self.mark_ids(state, &geometry, inputs, position, inside);
    }

    /// Whether an id of the event needs two lanes.
    #[inline]
    pub(super) fn has_wide_id(&self, inputs: &Inputs) -> bool {
        let ids = &inputs.ids[..self.id_marks.len()];
        ids.iter().flatten().any(|id| u32::try_from(*id).is_err())
    }

    /// Writes the row at `position`: its columns, and marks that tell of the event alone.
    #[inline(always)]
    fn write(&self, geometry: &Geometry, log: &mut [u32], inputs: &Inputs, at: i64, position: u32) {
        let row = &mut log[geometry.row(position)];
        lanes::set_u64(row, 0, at.cast_unsigned());
        for (lanes, value) in row[2..].chunks_exact_mut(2).zip(&inputs.values) {
            lanes::set_f64(lanes, 0, *value);
        }
        for (column, marks) in self.id_marks.iter().enumerate() {
            let id = inputs.ids[column];
            geometry.set_id(log, position, column, id.unwrap_or(0));
            let present = geometry.bitmap(marks.present);
            present.set(log, position, id.is_some());
        }
        for (marks, flag) in self.flag_marks.iter().zip(&inputs.flags) {
            geometry
                .bitmap(marks.holds)
                .set(log, position, *flag == Some(true));
            if let Some(known) = marks.known {
                geometry.bitmap(known).set(log, position, flag.is_some());
            }
        }
    }
}

/// Takes the event into sums and counts.
#[inline(always)]
fn enter(
    moments: &[(usize, MomentsCell)],
    flags: &[(usize, FlagCell)],
    fixed: &mut [u32],
    inputs: &Inputs,
) {
    let mut squared = (usize::MAX, (0.0, 0.0));
    for (column, cell) in moments {
        let value = inputs.values[*column];
        if value.is_nan() {
            continue;
        }
        if squared.0 != *column {
            squared = (*column, square(value));
        }
        cell.add_squared(fixed, value, squared.1);
    }
    for (column, cell) in flags {
        let flag = inputs.flags[*column];
        cell.add(fixed, flag == Some(true), flag.is_some());
    }
}

/// Computes totals anew, from the rows still in the window, after some had overflowed.
#[cold]
fn rebuild(span: &Span, fixed: &mut [u32], (geometry, log): (&Geometry, &[u32]), tail: u32) {
    for (column, cell) in &span.moments {
        cell.clear(fixed);
        let mut position = fixed[span.cursor];
        while position != tail {
            let value = geometry.value(log, position, *column);
            if !value.is_nan() {
                cell.add(fixed, value);
            }
            position = position.wrapping_add(1);
        }
    }
}
