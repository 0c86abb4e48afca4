//! Reading features: from the running values, or, for a late event, from its own windows, which
//! are computed from the rows.

use super::lanes;
use super::program::{Inputs, Output, Program, Reads};
use super::shape::Geometry;
use super::state::KeyFeatures;
use super::update::Scratch;
use crate::aggregate::distinct::distinct;
use crate::aggregate::mean::mean;
use crate::aggregate::moments::Moments;
use crate::aggregate::variance::{std, variance};

/// An event as the program sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event<'a> {
    pub(super) inputs: &'a Inputs,
    pub(super) at: i64,
}

/// The windows that end at an event: their fixed lanes, the position after their last row, and
/// where the log's rows lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows<'a> {
    pub(super) fixed: &'a [u32],
    pub(super) end: u32,
    pub(super) geometry: &'a Geometry,
}

impl Program {
    /// Finds every window's extremes anew: the first row of their stack inside the window.
    pub(super) fn find_extremes(&self, state: &mut KeyFeatures, geometry: &Geometry) {
        let tail = state.tail;
        let (fixed, log) = state.split();
        for span in &self.spans {
            for cell in &span.extremes {
                let bitmap = geometry.bitmap(self.stacks[cell.stack].bitmap);
                fixed[cell.at] = bitmap.next(log, fixed[span.cursor], tail);
            }
        }
    }

    /// Computes the fixed lanes as they would be were a late event at `at` the newest, into the
    /// scratch image. Returns the position at which its windows end.
    pub(super) fn draw_image(
        &self,
        state: &KeyFeatures,
        geometry: &Geometry,
        at: i64,
        scratch: &mut Scratch,
    ) -> u32 {
        let Scratch { image, ids, .. } = scratch;
        let log = state.log();
        image.clear();
        image.extend_from_slice(state.fixed());
        let end = geometry.after(log, state.head(), state.tail, at);
        for span in &self.spans {
            let start = span.edge(at).map_or(state.head(), |edge| {
                geometry.after(log, state.head(), state.tail, edge)
            });
            let rows = || (0..end.wrapping_sub(start)).map(|n| start.wrapping_add(n));
            image[span.cursor] = start;
            for (column, cell) in &span.moments {
                cell.clear(image);
                let values = rows().map(|row| geometry.value(log, row, *column));
                values
                    .filter(|value| !value.is_nan())
                    .for_each(|value| cell.add(image, value));
            }
            for (column, cell) in &span.flags {
                cell.clear(image);
                for row in rows() {
                    let (holds, known) = self.flag_at(log, geometry, row, *column);
                    cell.add(image, holds, known);
                }
            }
            for (column, lane) in &span.distincts {
                let present = geometry.bitmap(self.id_marks[*column].present);
                ids.clear();
                let with_id = rows().filter(|row| present.get(log, *row));
                ids.extend(with_id.map(|row| geometry.id(log, row, *column)));
                image[*lane] = distinct(ids) as u32;
            }
            for cell in &span.extremes {
                let stack = &self.stacks[cell.stack];
                let value = |row| geometry.value(log, row, stack.column);
                let best = rows()
                    .filter(|row| !value(*row).is_nan())
                    .reduce(|best, row| {
                        if stack.direction.replaces(value(row), value(best)) {
                            row
                        } else {
                            best
                        }
                    });
                image[cell.at] = best.unwrap_or(end);
            }
        }
        end
    }

    /// Appends every feature of `event` to `row`, read from the windows that end at it.
    pub(super) fn finish(
        &self,
        windows: Windows<'_>,
        state: &KeyFeatures,
        event: &Event<'_>,
        before: &[Option<(i64, f64)>],
        row: &mut Vec<f64>,
    ) {
        let first = row.len();
        row.extend_from_slice(&self.missing);
        self.after
            .read(windows, state, event, before, &mut row[first..]);
    }
}

impl Reads {
    /// Puts features into their places in `row`.
    #[inline]
    pub(super) fn read(
        &self,
        Windows {
            fixed,
            end,
            geometry,
        }: Windows<'_>,
        state: &KeyFeatures,
        event: &Event<'_>,
        before: &[Option<(i64, f64)>],
        row: &mut [f64],
    ) {
        let Event { inputs, at } = *event;
        let log = state.log();
        for read in &self.moments {
            let moments = read.cell.load(fixed);
            let mut put = |place: Option<u32>, statistic: fn(&Moments) -> f64| {
                if let Some(place) = place {
                    row[place as usize] = statistic(&moments);
                }
            };
            put(read.sum, |moments| moments.sum.value());
            put(read.mean, mean);
            put(read.variance, variance);
            put(read.std, std);
        }
        for (place, cursor) in &self.counts {
            row[*place] = f64::from(end.wrapping_sub(fixed[*cursor]));
        }
        for (place, at) in &self.distincts {
            row[*place] = f64::from(fixed[*at]);
        }
        for (place, at, column) in &self.extremes {
            let position = fixed[*at];
            row[*place] = if position == end {
                f64::NAN
            } else {
                geometry.value(log, position, *column)
            };
        }
        for (place, output) in &self.outputs {
            row[*place] = match *output {
                Output::Value(column) => inputs.values[column],
                Output::Last(trail) => before[trail].map_or(f64::NAN, |entry| entry.1),
                Output::Since(trail) => {
                    before[trail].map_or(f64::NAN, |entry| at.abs_diff(entry.0) as f64 / 1e6)
                }
                Output::CountEver { at } => lanes::get_u64(fixed, at) as f64,
                Output::Holding(cell) => cell.holding(fixed),
                Output::Share(cell) => cell.share(fixed),
                Output::ExtremeEver { at } => lanes::get_f64(fixed, at),
                Output::DistinctEver { set } => {
                    let seen = state.extra.as_ref().and_then(|extra| extra.seen.get(set));
                    seen.map_or(0.0, |seen| seen.len() as f64)
                }
            };
        }
    }
}
