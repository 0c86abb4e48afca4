//! How features are read for keys that have tiles: of the log's windows and of what tiles add to
//! them. Keys without tiles don't come this way.

use super::finish::Windows;
use super::program::{ExtremeCell, Inputs, Output, Program, Reads};
use super::state::KeyFeatures;
use super::tiles::{Sums, Tiles};
use super::update::Scratch;
use crate::aggregate::extreme::Direction;
use crate::aggregate::mean::mean;
use crate::aggregate::moments::{Moments, MomentsCell};
use crate::aggregate::share::FlagCell;
use crate::aggregate::variance::{std, variance};

/// A feature over a bounded window, to which tiles add something: its place, its window, and what
/// it is of.
#[derive(Clone, Copy, Debug)]
struct TiledRead {
    place: usize,
    span: usize,
    of: Of,
}

#[derive(Clone, Copy, Debug)]
enum Of {
    /// Of the events from the position in a lane on.
    Count { cursor: usize },
    /// Of a value column.
    Moments(usize, MomentsCell, Made),
    /// Of a value column.
    Extreme(usize, ExtremeCell, Direction),
    /// Of a predicate.
    Holding(usize, FlagCell),
    /// Of a predicate.
    Share(usize, FlagCell),
}

/// What is made of moments.
#[derive(Clone, Copy, Debug)]
enum Made {
    Sum,
    Mean,
    Variance,
    Std,
}

/// How the features of a program are read for keys with tiles.
#[derive(Debug)]
pub(crate) struct Tiling {
    /// Microseconds of a tile.
    width: i64,
    before: Vec<TiledRead>,
    after: Vec<TiledRead>,
}

impl Tiling {
    pub(crate) fn new(program: &Program, width: i64) -> Self {
        let before = program.more.as_ref().map(|more| &more.before);
        Self {
            width,
            before: before.map_or_else(Vec::new, |reads| tiled(program, reads)),
            after: tiled(program, &program.after),
        }
    }

    /// Whether tiles that were restored are of this kind.
    pub(crate) fn accepts(&self, program: &Program, state: &KeyFeatures) -> bool {
        let Some(tiles) = state.extra.as_ref().and_then(|extra| extra.tiles.as_ref()) else {
            return true;
        };
        tiles.are_of(program, self.width)
    }
}

/// The features of bounded windows among some.
fn tiled(program: &Program, reads: &Reads) -> Vec<TiledRead> {
    let mut tiled = Vec::new();
    for (span, window) in program.spans.iter().enumerate() {
        let mut push = |place: usize, of| tiled.push(TiledRead { place, span, of });
        for read in &reads.moments {
            let mut cells = window.moments.iter();
            if let Some((column, cell)) = cells.find(|(_, cell)| cell.at == read.cell.at) {
                for (place, statistic) in [
                    (read.sum, Made::Sum),
                    (read.mean, Made::Mean),
                    (read.variance, Made::Variance),
                    (read.std, Made::Std),
                ] {
                    if let Some(place) = place {
                        push(place as usize, Of::Moments(*column, *cell, statistic));
                    }
                }
            }
        }
        for (place, cursor) in &reads.counts {
            if *cursor == window.cursor {
                push(*place, Of::Count { cursor: *cursor });
            }
        }
        for (place, at, column) in &reads.extremes {
            if let Some(cell) = window.extremes.iter().find(|cell| cell.at == *at) {
                let direction = program.stacks[cell.stack].direction;
                push(*place, Of::Extreme(*column, *cell, direction));
            }
        }
        for (place, output) in &reads.outputs {
            let flag = |at: usize| window.flags.iter().find(|(_, cell)| cell.at == at);
            match *output {
                Output::Holding(cell) => {
                    if let Some((flag, _)) = flag(cell.at) {
                        push(*place, Of::Holding(*flag, cell));
                    }
                }
                Output::Share(cell) => {
                    if let Some((flag, _)) = flag(cell.at) {
                        push(*place, Of::Share(*flag, cell));
                    }
                }
                _ => {}
            }
        }
    }
    tiled
}

impl Program {
    /// Lets the oldest row of a log go into its tile.
    pub(super) fn tile_oldest(&self, state: &mut KeyFeatures, width: i64) {
        let event = Sums::of_oldest(self, state);
        let at = self.let_oldest_go(state);
        let newest = state.newest();
        let new = || Box::new(Tiles::new(self, width));
        let tiles = state.extra().tiles.get_or_insert_with(new);
        tiles.merge(self, &event, at, newest);
    }

    /// Whether an edge of the window of this length that ends at `at` falls inside a tile.
    pub(crate) fn is_tile_cut(state: &KeyFeatures, at: i64, length: i64) -> bool {
        let tiles = state.extra.as_ref().and_then(|extra| extra.tiles.as_ref());
        tiles.is_some_and(|tiles| tiles.is_cut(at, length))
    }

    /// As [`Program::update`], for a key that may have tiles.
    pub(crate) fn update_tiled(
        &self,
        tiling: &Tiling,
        state: &mut KeyFeatures,
        (inputs, at): (&Inputs, i64),
        scratch: &mut Scratch,
        row: Option<&mut Vec<f64>>,
    ) {
        let tiles = state.extra.as_mut().and_then(|extra| extra.tiles.take());
        let Some(mut tiles) = tiles else {
            return self.update(state, inputs, at, scratch, row);
        };
        self.get_ready(state);
        let newest = state.newest().max(at);
        tiles.advance(self, newest);
        let reachable = self.horizon(newest).is_none_or(|horizon| at > horizon);
        match row {
            Some(row) if reachable => {
                self.row_with_tiles(tiling, &tiles, state, (inputs, at), scratch, row);
            }
            row => self.update(state, inputs, at, scratch, row),
        }
        if !tiles.is_empty() {
            state.extra().tiles = Some(tiles);
        }
    }

    fn row_with_tiles(
        &self,
        tiling: &Tiling,
        tiles: &Tiles,
        state: &mut KeyFeatures,
        (inputs, at): (&Inputs, i64),
        scratch: &mut Scratch,
        row: &mut Vec<f64>,
    ) {
        let late = at < state.newest();
        let sums = match late {
            true => tiles.of_late(self, at),
            false => tiles.of_newest(),
        };
        let mut values = Vec::new();
        if !tiling.before.is_empty() {
            let geometry = &state.geometry();
            let end = if late {
                self.draw_image(state, geometry, at, scratch)
            } else {
                self.expire(state, at);
                state.tail
            };
            read(
                &tiling.before,
                &sums,
                state,
                (late, end),
                scratch,
                &mut values,
            );
        }
        let first = row.len();
        self.update(state, inputs, at, scratch, Some(row));
        let end = match late {
            true => state
                .geometry()
                .after(state.log(), state.head(), state.tail, at),
            false => state.tail,
        };
        read(
            &tiling.after,
            &sums,
            state,
            (late, end),
            scratch,
            &mut values,
        );
        let Some(more) = &self.more else {
            values
                .iter()
                .for_each(|(place, value)| row[first + place] = *value);
            return;
        };
        for (place, value) in values {
            scratch.wide[place] = value;
        }
        for (place, formula) in &more.made {
            scratch.wide[*place] = formula.value(&scratch.wide, inputs);
        }
        row.truncate(first);
        row.extend_from_slice(&scratch.wide[..more.visible]);
    }
}

/// Reads features from the log's windows, which end at a position, and what tiles add to them.
fn read(
    reads: &[TiledRead],
    sums: &[Sums],
    state: &KeyFeatures,
    (late, end): (bool, u32),
    scratch: &Scratch,
    values: &mut Vec<(usize, f64)>,
) {
    let geometry = &state.geometry();
    let windows = Windows {
        fixed: if late { &scratch.image } else { state.fixed() },
        end,
        geometry,
    };
    let value = |read: &TiledRead| (read.place, read.value(&windows, state, &sums[read.span]));
    values.extend(reads.iter().map(value));
}

impl TiledRead {
    fn value(&self, windows: &Windows<'_>, state: &KeyFeatures, sums: &Sums) -> f64 {
        let Windows {
            fixed,
            end,
            geometry,
        } = *windows;
        match self.of {
            Of::Moments(column, cell, output) => {
                let (log, tiles) = (cell.load(fixed), &sums.values[column]);
                let both = Moments {
                    count: log.count + tiles.count,
                    sum: log.sum.plus(tiles.sum),
                    squares: log.squares.plus(tiles.squares),
                };
                match output {
                    Made::Sum => both.sum.value(),
                    Made::Mean => mean(&both),
                    Made::Variance => variance(&both),
                    Made::Std => std(&both),
                }
            }
            Of::Extreme(column, cell, direction) => {
                let position = fixed[cell.at];
                let log = if position == end {
                    f64::NAN
                } else {
                    geometry.value(state.log(), position, column)
                };
                match direction {
                    Direction::Min => log.min(sums.values[column].min),
                    Direction::Max => log.max(sums.values[column].max),
                }
            }
            Of::Count { cursor } => f64::from(end.wrapping_sub(fixed[cursor])) + sums.events as f64,
            Of::Holding(flag, cell) => cell.holding(fixed) + sums.flags[flag].0 as f64,
            Of::Share(flag, cell) => {
                let (holding, known) = sums.flags[flag];
                (cell.holding(fixed) + holding as f64) / (cell.known(fixed) + known as f64)
            }
        }
    }
}
