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
    /// Lanes that hold positions of rows: cursors and extremes.
    pub(crate) pointers: Vec<usize>,
    /// Whether every event is a row, because something counts events.
    pub(crate) counts_events: bool,
    /// Every bounded window's moments and predicates, which the newest event always enters.
    pub(crate) entered_moments: Vec<(usize, MomentsCell)>,
    pub(crate) entered_flags: Vec<(usize, FlagCell)>,
    pub(crate) stacks: Vec<Stack>,
    pub(crate) id_marks: Vec<IdMarks>,
    pub(crate) flag_marks: Vec<FlagMarks>,
    pub(crate) ever: Ever,
    /// Whether the unbounded window has any running value.
    pub(crate) keeps_ever: bool,
    pub(crate) trails: Vec<Trail>,
    /// A row of nothing but missing features, those included that only others are made of.
    pub(crate) missing: Vec<f64>,
    /// What is read when the event has been taken in.
    pub(crate) after: Reads,
    /// What most plans do without.
    pub(crate) more: Option<Box<More>>,
}

/// Features to read at one moment, each with its place among the features. The commonest are in
/// lists of their own, which are read without asking each what it is.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Features read from moments, by cell.
    pub(crate) moments: Vec<MomentsRead>,
    /// Events since the position in a lane.
    pub(crate) counts: Vec<(usize, usize)>,
    /// Different ids, counted in a lane.
    pub(crate) distincts: Vec<(usize, usize)>,
    /// The value in a column at the position in a lane.
    pub(crate) extremes: Vec<(usize, usize, usize)>,
    /// All others.
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

/// A window's extreme: lane `at` has the position of the first row of the stack in the window, or,
/// where there is none, that after the log's last row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExtremeCell {
    pub(crate) stack: usize,
    pub(crate) at: usize,
}

/// A monotone stack over a value column, as a bitmap.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) column: usize,
    pub(crate) direction: Direction,
    pub(crate) bitmap: usize,
    /// Lanes of all windows' extremes on it.
    pub(crate) extremes: Vec<usize>,
}

/// Bitmaps of an id column: rows that have an id, rows that are the last of theirs.
#[derive(Debug)]
pub(crate) struct IdMarks {
    pub(crate) present: usize,
    pub(crate) last: usize,
    /// The windows that count different ids.
    pub(crate) counts: Vec<DistinctCell>,
}

/// A window's number of different ids of a column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DistinctCell {
    pub(crate) span: usize,
    /// Lane of the window's cursor.
    pub(crate) cursor: usize,
    /// Lane of the number.
    pub(crate) at: usize,
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

/// The features read from one cell: their places.
#[derive(Debug)]
pub(crate) struct MomentsRead {
    pub(crate) cell: MomentsCell,
    pub(crate) sum: Option<u32>,
    pub(crate) mean: Option<u32>,
    pub(crate) variance: Option<u32>,
    pub(crate) std: Option<u32>,
}

impl MomentsRead {
    /// Nothing read from a cell.
    pub(crate) fn of(cell: MomentsCell) -> Self {
        Self {
            cell,
            sum: None,
            mean: None,
            variance: None,
            std: None,
        }
    }
}

/// Where a feature's value comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Output {
    Value(usize),
    Last(usize),
    Since(usize),
    CountEver { at: usize },
    Holding(FlagCell),
    Share(FlagCell),
    ExtremeEver { at: usize },
    DistinctEver { set: usize },
}

impl Reads {
    /// Whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.moments.is_empty()
            && self.counts.is_empty()
            && self.distincts.is_empty()
            && self.extremes.is_empty()
            && self.outputs.is_empty()
    }
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
    /// Whether it has no running value.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.is_none()
            && self.moments.is_empty()
            && self.flags.is_empty()
            && self.extremes.is_empty()
            && self.distincts.is_empty()
    }

    /// The lanes of the extreme of a column.
    pub(crate) fn extreme(&self, column: usize, direction: Direction) -> Option<usize> {
        self.extremes
            .iter()
            .find(|cell| (cell.0, cell.1) == (column, direction))
            .map(|c| c.2)
    }
}
