//! A step's features compiled: which lanes, bitmaps and columns every window's running values
//! take, and how each feature is read from them.
//!
//! Nothing here knows the user's event type: an event arrives as its extracted [`Inputs`].

use super::more::More;
use super::shape::Shape;
use super::state::SLOTS_MIN;
use crate::aggregate::extreme::Direction;
use crate::aggregate::moments::MomentsCell;
use crate::aggregate::share::FlagCell;
use crate::aggregate::trail::TrailCell;

/// What was extracted from one event, a slot per column. Columns that the log holds come first.
#[derive(Debug, Default)]
pub struct Inputs {
    /// Finite values; NaN when missing.
    pub(crate) values: Vec<f64>,
    /// Ids.
    pub(crate) ids: Vec<Option<u64>>,
    /// Answers of predicates.
    pub(crate) flags: Vec<Option<bool>>,
}

/// The features of a step over the columns of its events.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) shape: Shape,
    /// Bounded windows.
    pub(crate) spans: Vec<Span>,
    /// Length of the longest of them.
    pub(crate) longest: i64,
    /// Lane of the cursor of the longest.
    pub(crate) longest_cursor: usize,
    pub(crate) lateness: i64,
    /// Whether every event is a row, because something counts events.
    pub(crate) counts_events: bool,
    /// Every bounded window's moments and predicates, which the newest event always enters.
    pub(crate) entered_moments: Vec<(usize, MomentsCell)>,
    pub(crate) entered_flags: Vec<(usize, FlagCell)>,
    pub(crate) stacks: Vec<Stack>,
    pub(crate) id_marks: Vec<IdMarks>,
    pub(crate) flag_marks: Vec<FlagMarks>,
    pub(crate) ever: Ever,
    pub(crate) trails: Vec<Trail>,
    /// Number of features, those included that only others are made of.
    pub(crate) features: usize,
    /// What is read when the event has been taken in.
    pub(crate) after: Reads,
    /// What most plans do without.
    pub(crate) more: Option<Box<More>>,
}

/// Features to read at one moment.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Features read from moments, by cell.
    pub(crate) moments: Vec<MomentsOutputs>,
    /// All others, each with its place among the features.
    pub(crate) outputs: Vec<(usize, Output)>,
}

/// A bounded window: its length, where its first row's position is kept, its running values.
#[derive(Debug, Default)]
pub(crate) struct Span {
    /// Microseconds.
    pub(crate) length: i64,
    pub(crate) cursor: usize,
    pub(crate) moments: Vec<(usize, MomentsCell)>,
    pub(crate) flags: Vec<(usize, FlagCell)>,
    /// Id column and the lane of the number of different ids.
    pub(crate) distincts: Vec<(usize, usize)>,
    pub(crate) extremes: Vec<ExtremeCell>,
}

/// A window's extreme: no row of the stack lies in the window before the position in lane `at`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExtremeCell {
    pub(crate) stack: usize,
    pub(crate) at: usize,
}

/// A monotone stack over a value column, as a bitmap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stack {
    pub(crate) column: usize,
    pub(crate) direction: Direction,
    pub(crate) bitmap: usize,
}

/// Bitmaps of an id column: rows that have an id, rows that are the last of theirs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdMarks {
    pub(crate) present: usize,
    pub(crate) last: usize,
}

/// Bitmaps of a predicate: rows for which it holds, and, where asked for, is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlagMarks {
    pub(crate) holds: usize,
    pub(crate) known: Option<usize>,
}

/// Running values of the unbounded window.
#[derive(Debug, Default)]
pub(crate) struct Ever {
    /// Two lanes that count events.
    pub(crate) count: Option<usize>,
    pub(crate) moments: Vec<(usize, MomentsCell)>,
    pub(crate) flags: Vec<(usize, FlagCell)>,
    /// Column, direction and two lanes; NaN while nothing was present.
    pub(crate) extremes: Vec<(usize, Direction, usize)>,
    /// Id columns, one set each.
    pub(crate) distincts: Vec<usize>,
}

/// What a trail remembers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trail {
    pub(crate) cell: TrailCell,
    pub(crate) source: TrailSource,
}

/// Which events make an entry of a trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrailSource {
    /// Those in which this value is present; the entry is the value.
    Value(usize),
    /// Those for which this predicate holds; the entry is its time.
    Flag(usize),
}

/// The features read from one cell, each with its place among the features.
#[derive(Debug)]
pub(crate) struct MomentsOutputs {
    pub(crate) cell: MomentsCell,
    pub(crate) outputs: Vec<(usize, MomentsOutput)>,
}

/// What is made of moments.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MomentsOutput {
    Sum,
    Mean,
    Variance,
    Std,
}

/// Where a feature's value comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Output {
    Value(usize),
    Last(usize),
    Since(usize),
    CountSince { cursor: usize },
    CountEver { at: usize },
    Holding(FlagCell),
    Share(FlagCell),
    Extreme { cell: ExtremeCell, column: usize },
    ExtremeEver { at: usize },
    Distinct { at: usize },
    DistinctEver { set: usize },
}

impl Program {
    /// Slots that the log of a key's first event has.
    pub(crate) fn first_slots(&self) -> u32 {
        if self.has_log() { SLOTS_MIN } else { 0 }
    }

    /// Whether any window needs the log.
    #[inline]
    pub(crate) fn has_log(&self) -> bool {
        !self.spans.is_empty()
    }

    /// The latest time of rows that neither a window nor an allowed late event can still reach.
    #[inline]
    pub(crate) fn horizon(&self, newest: i64) -> Option<i64> {
        newest.checked_sub(self.longest)?.checked_sub(self.lateness)
    }
}

impl Program {
    /// The stack over a column.
    pub(crate) fn stack(&self, column: usize, direction: Direction) -> Option<usize> {
        let wanted = |stack: &Stack| stack.column == column && stack.direction == direction;
        self.stacks.iter().position(wanted)
    }
}

impl Span {
    /// The time up to which rows have left the window when the latest event is at `newest`; none
    /// when the window reaches back beyond the earliest instant.
    #[inline]
    pub(crate) fn edge(&self, newest: i64) -> Option<i64> {
        newest.checked_sub(self.length)
    }

    /// The window's extreme on a stack.
    pub(crate) fn extreme(&self, stack: usize) -> Option<ExtremeCell> {
        self.extremes
            .iter()
            .copied()
            .find(|cell| cell.stack == stack)
    }

    /// The lane of the number of different ids of a column.
    pub(crate) fn distinct(&self, id: usize) -> Option<usize> {
        self.distincts
            .iter()
            .find(|cell| cell.0 == id)
            .map(|cell| cell.1)
    }
}

impl Ever {
    /// The lanes of the extreme of a column.
    pub(crate) fn extreme(&self, column: usize, direction: Direction) -> Option<usize> {
        self.extremes
            .iter()
            .find(|cell| (cell.0, cell.1) == (column, direction))
            .map(|c| c.2)
    }
}
