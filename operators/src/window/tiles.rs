//! Tiles: what is left of events that a full log has let go, added up by stretches of event time.
//!
//! A tile is in a window, as a whole, while the latest of its events is. So a window is exact unless
//! its far edge falls between two events of one tile, and then reaches back by less than a tile's
//! width more. A late event's windows leave out a tile that is in part later than the event.
//!
//! How features are read from these is in [`tiling`](super::tiling).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::program::Program;
use super::state::KeyFeatures;
use crate::aggregate::compensated::{Compensated, square};

/// The tiles of one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tiles {
    /// Microseconds of a tile.
    width: i64,
    /// By number: that of the tile that begins with the epoch is zero.
    tiles: VecDeque<Tile>,
    /// What the tiles add to each bounded window that ends with the newest event.
    windows: Vec<InWindow>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tile {
    number: i64,
    /// Times of its earliest and its latest event.
    first: i64,
    last: i64,
    sums: Sums,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct InWindow {
    length: i64,
    /// The number of the oldest tile that is in it.
    oldest: Option<i64>,
    sums: Sums,
}

/// What is kept of some events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sums {
    pub(super) events: u64,
    pub(super) values: Vec<Values>,
    /// Per predicate, for how many it holds and is known.
    pub(super) flags: Vec<(u64, u64)>,
}

/// What is kept of the values of a column.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Values {
    pub(super) count: u64,
    pub(super) sum: Compensated,
    pub(super) squares: Compensated,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Values {
    fn none() -> Self {
        Self {
            count: 0,
            sum: Compensated::default(),
            squares: Compensated::default(),
            min: f64::NAN,
            max: f64::NAN,
        }
    }

    fn of(value: f64) -> Self {
        if value.is_nan() {
            return Self::none();
        }
        let (high, low) = square(value);
        Self {
            count: 1,
            sum: Compensated::default().add(value),
            squares: Compensated::default().add_exact(high, low),
            min: value,
            max: value,
        }
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum = self.sum.plus(other.sum);
        self.squares = self.squares.plus(other.squares);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

impl Sums {
    pub(super) fn none(program: &Program) -> Self {
        Self {
            events: 0,
            values: vec![Values::none(); usize::from(program.shape.values)],
            flags: vec![(0, 0); program.flag_marks.len()],
        }
    }

    /// Those of the oldest row of a log.
    pub(super) fn of_oldest(program: &Program, state: &KeyFeatures) -> Self {
        let (geometry, log, oldest) = (state.geometry(), state.log(), state.head());
        let values = 0..usize::from(program.shape.values);
        let flags = 0..program.flag_marks.len();
        let flag = |column| {
            let (holds, known) = program.flag_at(log, &geometry, oldest, column);
            (u64::from(holds), u64::from(known))
        };
        Self {
            events: 1,
            values: values
                .map(|column| Values::of(geometry.value(log, oldest, column)))
                .collect(),
            flags: flags.map(flag).collect(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.events += other.events;
        for (sums, other) in self.values.iter_mut().zip(&other.values) {
            sums.add(other);
        }
        for (sums, other) in self.flags.iter_mut().zip(&other.flags) {
            *sums = (sums.0 + other.0, sums.1 + other.1);
        }
    }
}

impl Tiles {
    pub(super) fn new(program: &Program, width: i64) -> Self {
        let windows = program.spans.iter().map(|span| InWindow {
            length: span.length,
            oldest: None,
            sums: Sums::none(program),
        });
        Self {
            width,
            tiles: VecDeque::new(),
            windows: windows.collect(),
        }
    }

    /// Bytes that these take in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let sums = |sums: &Sums| {
            size_of_val::<[Values]>(&sums.values) + size_of_val::<[(u64, u64)]>(&sums.flags)
        };
        let tiles = self.tiles.iter().map(|tile| sums(&tile.sums));
        let windows = self.windows.iter();
        let windows = windows.map(|window| size_of::<InWindow>() + sums(&window.sums));
        let own = size_of::<Self>() + self.tiles.capacity() * size_of::<Tile>();
        own + tiles.chain(windows).sum::<usize>()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.tiles.is_empty()
    }

    /// Whether these are tiles of a program, of so many microseconds each.
    pub(super) fn are_of(&self, program: &Program, width: i64) -> bool {
        let none = Sums::none(program);
        let fits = |sums: &Sums| {
            (sums.values.len(), sums.flags.len()) == (none.values.len(), none.flags.len())
        };
        let lengths = program.spans.iter().map(|span| span.length);
        self.width == width
            && self.windows.iter().map(|window| window.length).eq(lengths)
            && self.windows.iter().all(|window| fits(&window.sums))
            && self.tiles.iter().all(|tile| fits(&tile.sums))
    }

    /// What the tiles add to each bounded window that ends with the newest event.
    pub(super) fn of_newest(&self) -> Vec<Sums> {
        self.windows
            .iter()
            .map(|window| window.sums.clone())
            .collect()
    }

    /// What they add to each that ends at a time before it.
    pub(super) fn of_late(&self, program: &Program, at: i64) -> Vec<Sums> {
        let of = |window: &InWindow| {
            let edge = at.checked_sub(window.length);
            let mut sums = Sums::none(program);
            let inside = |tile: &&Tile| tile.last <= at && edge.is_none_or(|e| tile.last > e);
            let inside = self.tiles.iter().filter(inside);
            inside.for_each(|tile| sums.add(&tile.sums));
            sums
        };
        self.windows.iter().map(of).collect()
    }

    /// Lets tiles leave the windows that now end at a time, and drops those that nothing can reach.
    pub(super) fn advance(&mut self, program: &Program, newest: i64) {
        if let Some(horizon) = program.horizon(newest) {
            while self.tiles.front().is_some_and(|tile| tile.last <= horizon) {
                self.tiles.pop_front();
            }
        }
        for window in &mut self.windows {
            let first = match newest.checked_sub(window.length) {
                Some(edge) => self.tiles.partition_point(|tile| tile.last <= edge),
                None => 0,
            };
            let oldest = self.tiles.get(first).map(|tile| tile.number);
            if oldest != window.oldest {
                window.oldest = oldest;
                window.sums = Sums::none(program);
                let inside = self.tiles.range(first..);
                inside.for_each(|tile| window.sums.add(&tile.sums));
            }
        }
    }

    /// Takes in an event at a time.
    pub(super) fn merge(&mut self, program: &Program, event: &Sums, at: i64, newest: i64) {
        let number = at.div_euclid(self.width);
        let place = self.tiles.partition_point(|tile| tile.number < number);
        match self.tiles.get_mut(place) {
            Some(tile) if tile.number == number => {
                tile.first = tile.first.min(at);
                tile.last = tile.last.max(at);
                tile.sums.add(event);
            }
            _ => {
                let tile = Tile {
                    number,
                    first: at,
                    last: at,
                    sums: event.clone(),
                };
                self.tiles.insert(place, tile);
            }
        }
        for window in &mut self.windows {
            if window.oldest.is_some_and(|oldest| oldest <= number) {
                window.sums.add(event);
            }
        }
        self.advance(program, newest);
    }

    /// Whether the window of this length that ends at a time has an edge inside a tile.
    pub(super) fn is_cut(&self, at: i64, length: i64) -> bool {
        let cuts = |edge: i64| {
            let after = self.tiles.partition_point(|tile| tile.last <= edge);
            self.tiles.get(after).is_some_and(|tile| tile.first <= edge)
        };
        cuts(at) || at.checked_sub(length).is_some_and(cuts)
    }
}
