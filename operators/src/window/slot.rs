//! Aggregates over windows: any [`Aggregate`] can be kept up for a key, in a slot of its own.
//!
//! What a slot keeps is of the aggregate's own type, which the key's state does not know; it is
//! boxed beside the block, and a restored state holds its bytes until the plan that knows what
//! they are is at hand.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thalweg_engine::time::EventTime;

use super::program::{FlagMarks, IdMarks, Inputs};
use super::shape::Geometry;
use crate::aggregate::{Aggregate, Frequency};

/// The rows of a key's log, for an aggregate to take its inputs from.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    pub(crate) log: &'a [u32],
    pub(crate) geometry: &'a Geometry,
    pub(crate) ids: &'a [IdMarks],
    pub(crate) flags: &'a [FlagMarks],
}

/// What an aggregate may take of an event.
pub trait SlotInput: Sized + 'static {
    /// What an event has in a column of the kind.
    fn of_event(inputs: &Inputs, column: usize) -> Option<Self>;

    /// What the row at a position has there.
    fn of_row(rows: &Rows<'_>, column: usize, position: u32) -> Option<Self>;
}

impl SlotInput for f64 {
    fn of_event(inputs: &Inputs, column: usize) -> Option<Self> {
        let value = inputs.values[column];
        (!value.is_nan()).then_some(value)
    }

    fn of_row(rows: &Rows<'_>, column: usize, position: u32) -> Option<Self> {
        let value = rows.geometry.value(rows.log, position, column);
        (!value.is_nan()).then_some(value)
    }
}

impl SlotInput for u64 {
    fn of_event(inputs: &Inputs, column: usize) -> Option<Self> {
        inputs.ids[column]
    }

    fn of_row(rows: &Rows<'_>, column: usize, position: u32) -> Option<Self> {
        let present = rows.geometry.bitmap(rows.ids[column].present);
        let id = || rows.geometry.id(rows.log, position, column);
        present.get(rows.log, position).then(id)
    }
}

impl SlotInput for bool {
    fn of_event(inputs: &Inputs, column: usize) -> Option<Self> {
        inputs.flags[column]
    }

    fn of_row(rows: &Rows<'_>, column: usize, position: u32) -> Option<Self> {
        let FlagMarks { holds, known } = rows.flags[column];
        let marked = |bitmap| rows.geometry.bitmap(bitmap).get(rows.log, position);
        known.is_some_and(marked).then(|| marked(holds))
    }
}

/// Nothing but the event: a flag that holds where there is one.
impl SlotInput for () {
    fn of_event(inputs: &Inputs, column: usize) -> Option<Self> {
        inputs.flags[column]?.then_some(())
    }

    fn of_row(rows: &Rows<'_>, column: usize, position: u32) -> Option<Self> {
        bool::of_row(rows, column, position)?.then_some(())
    }
}

/// What an aggregate may answer: as many numbers as its slot has answers, NaN for those that are
/// missing.
pub(crate) trait SlotOutput {
    /// Writes the answers; surplus ones are dropped.
    fn write(self, to: &mut [f64]);
}

impl SlotOutput for f64 {
    fn write(self, to: &mut [f64]) {
        if let Some(to) = to.first_mut() {
            *to = self;
        }
    }
}

impl SlotOutput for Vec<f64> {
    fn write(self, to: &mut [f64]) {
        let missing = std::iter::repeat(f64::NAN);
        for (answer, to) in self.into_iter().chain(missing).zip(to) {
            *to = answer;
        }
    }
}

impl SlotOutput for Option<Frequency> {
    fn write(self, to: &mut [f64]) {
        let count = self.map_or(f64::NAN, |most| most.count as f64);
        SlotOutput::write(count, to);
    }
}

/// One column of the rows.
pub(super) struct ColumnRows<'a, I> {
    rows: Rows<'a>,
    column: usize,
    input: PhantomData<I>,
}

impl<I: SlotInput> ColumnRows<'_, I> {
    /// The events in some rows that have something in the column, oldest first.
    pub(super) fn events(&self, window: Range<u32>) -> impl Iterator<Item = (EventTime, I)> {
        let positions =
            (0..window.end.wrapping_sub(window.start)).map(move |n| window.start.wrapping_add(n));
        positions.filter_map(|position| {
            let input = I::of_row(&self.rows, self.column, position)?;
            let at = self.rows.geometry.time(self.rows.log, position);
            Some((EventTime::from_micros(at), input))
        })
    }

    /// The state of the events in some rows.
    pub(super) fn state<A: Aggregate<Input = I>>(
        &self,
        aggregate: &A,
        window: Range<u32>,
    ) -> A::State {
        let mut state = aggregate.empty();
        for (at, input) in self.events(window) {
            aggregate.add(&mut state, at, &input);
        }
        state
    }
}

/// How an aggregate is kept up over a window. A window is the rows of a range of positions, the end
/// being that of the log; an unbounded one has none, and nothing leaves it.
pub(super) trait Window<A: Aggregate>:
    Clone + Serialize + DeserializeOwned + 'static
{
    /// No events.
    fn empty(aggregate: &A) -> Self;

    /// Takes the newest event in.
    fn add(&mut self, aggregate: &A, at: EventTime, input: &A::Input);

    /// The answer at a time.
    fn answer(&self, aggregate: &A, end: EventTime) -> A::Output;

    /// Calls `count` with each state that is held.
    fn states(&self, count: &mut dyn FnMut(&A::State));

    /// Lets the rows go that are before the window.
    fn leave(&mut self, _aggregate: &A, _rows: &ColumnRows<'_, A::Input>, _window: Range<u32>) {}

    /// Makes what is kept anew, from the window's rows.
    fn refill(&mut self, _aggregate: &A, _rows: &ColumnRows<'_, A::Input>, _window: Range<u32>) {}

    /// Follows the rows that have moved, so that the first now is at this position.
    fn follow(&mut self, _start: u32) {}
}

/// A [`Window`] over everything.
#[derive(Clone, Serialize, serde::Deserialize)]
pub(crate) struct Unbounded<S>(S);

impl<A: Aggregate> Window<A> for Unbounded<A::State> {
    fn empty(aggregate: &A) -> Self {
        Self(aggregate.empty())
    }

    fn add(&mut self, aggregate: &A, at: EventTime, input: &A::Input) {
        aggregate.add(&mut self.0, at, input);
        aggregate.compact(&mut self.0);
    }

    fn answer(&self, aggregate: &A, end: EventTime) -> A::Output {
        aggregate.finish(&self.0, end)
    }

    fn states(&self, count: &mut dyn FnMut(&A::State)) {
        count(&self.0);
    }
}

/// What a slot keeps for one key.
pub(crate) trait Kept: Any {
    fn copy(&self) -> Box<dyn Kept>;

    /// As bytes, for [`SlotAggregate::restore`].
    fn save(&self) -> Result<Vec<u8>, postcard::Error>;

    fn memory_bytes(&self) -> usize;
}

/// A [`Window`] as what a slot keeps.
struct KeptWindow<A, W> {
    window: W,
    aggregate: PhantomData<A>,
}

impl<A: Aggregate, W: Window<A>> Kept for KeptWindow<A, W> {
    fn copy(&self) -> Box<dyn Kept> {
        Box::new(Self {
            window: self.window.clone(),
            aggregate: PhantomData,
        })
    }

    fn save(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_allocvec(&self.window)
    }

    fn memory_bytes(&self) -> usize {
        let mut bytes = size_of::<Self>();
        self.window.states(&mut |state| {
            let size = postcard::ser_flavors::Size::default();
            let written = postcard::serialize_with_flavor(state, size);
            bytes += size_of::<A::State>() + written.unwrap_or_default();
        });
        bytes
    }
}

/// What a key's state holds for a slot.
pub(crate) enum SlotState {
    Kept(Box<dyn Kept>),
    /// As it was restored, before the first event.
    Saved(Vec<u8>),
}

impl SlotState {
    /// What [`SlotAggregate::restore`] takes.
    pub(super) fn save(&self) -> Result<Vec<u8>, postcard::Error> {
        match self {
            Self::Kept(kept) => kept.save(),
            Self::Saved(bytes) => Ok(bytes.clone()),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Kept(kept) => kept.memory_bytes(),
                Self::Saved(bytes) => bytes.capacity(),
            }
    }
}

impl Clone for SlotState {
    fn clone(&self) -> Self {
        match self {
            Self::Kept(kept) => Self::Kept(kept.copy()),
            Self::Saved(bytes) => Self::Saved(bytes.clone()),
        }
    }
}

impl fmt::Debug for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept(_) => "Kept",
            Self::Saved(_) => "Saved",
        })
    }
}

/// An [`Aggregate`] whose type is forgotten, with the [`Window`] that keeps it up.
pub(crate) trait SlotAggregate {
    /// What is kept of no events.
    fn empty(&self) -> Box<dyn Kept>;

    /// What was kept when it was saved.
    fn restore(&self, bytes: &[u8]) -> Result<Box<dyn Kept>, postcard::Error>;

    /// Takes the event in, if it has something in the column.
    fn add(&self, kept: &mut dyn Kept, inputs: &Inputs, column: usize, at: i64);

    /// Lets the rows go that are before the window.
    fn leave(&self, kept: &mut dyn Kept, rows: Rows<'_>, column: usize, window: Range<u32>);

    /// Makes what is kept anew, from the window's rows.
    fn refill(&self, kept: &mut dyn Kept, rows: Rows<'_>, column: usize, window: Range<u32>);

    /// Follows the rows that have moved.
    fn follow(&self, kept: &mut dyn Kept, start: u32);

    /// The answers at `at`.
    fn answer(&self, kept: &dyn Kept, at: i64, to: &mut [f64]);

    /// The answers at `at` of a window of its own.
    fn answer_over(
        &self,
        rows: Rows<'_>,
        column: usize,
        window: Range<u32>,
        at: i64,
        to: &mut [f64],
    );
}

/// An aggregate with the window that keeps it up.
pub(super) struct Over<A, W> {
    aggregate: A,
    window: PhantomData<W>,
}

impl<A: Aggregate, W: Window<A>> Over<A, W> {
    pub(super) fn new(aggregate: A) -> Self {
        Self {
            aggregate,
            window: PhantomData,
        }
    }

    fn boxed(window: W) -> Box<dyn Kept> {
        Box::new(KeptWindow::<A, W> {
            window,
            aggregate: PhantomData,
        })
    }

    fn window<'a>(&self, kept: &'a mut dyn Kept) -> &'a mut W {
        let kept = (kept as &mut dyn Any).downcast_mut::<KeptWindow<A, W>>();
        &mut kept.expect(OWN).window
    }
}

/// States are not given to other plans.
const OWN: &str = "invariant: a slot's state was made by its own aggregate";

impl<A, W> SlotAggregate for Over<A, W>
where
    A: Aggregate,
    A::Input: SlotInput,
    A::Output: SlotOutput,
    W: Window<A>,
{
    fn empty(&self) -> Box<dyn Kept> {
        Self::boxed(W::empty(&self.aggregate))
    }

    fn restore(&self, bytes: &[u8]) -> Result<Box<dyn Kept>, postcard::Error> {
        postcard::from_bytes(bytes).map(Self::boxed)
    }

    fn add(&self, kept: &mut dyn Kept, inputs: &Inputs, column: usize, at: i64) {
        if let Some(input) = A::Input::of_event(inputs, column) {
            let at = EventTime::from_micros(at);
            self.window(kept).add(&self.aggregate, at, &input);
        }
    }

    fn leave(&self, kept: &mut dyn Kept, rows: Rows<'_>, column: usize, window: Range<u32>) {
        let rows = column_of(rows, column);
        self.window(kept).leave(&self.aggregate, &rows, window);
    }

    fn refill(&self, kept: &mut dyn Kept, rows: Rows<'_>, column: usize, window: Range<u32>) {
        let rows = column_of(rows, column);
        self.window(kept).refill(&self.aggregate, &rows, window);
    }

    fn follow(&self, kept: &mut dyn Kept, start: u32) {
        self.window(kept).follow(start);
    }

    fn answer(&self, kept: &dyn Kept, at: i64, to: &mut [f64]) {
        let kept = (kept as &dyn Any).downcast_ref::<KeptWindow<A, W>>();
        let window = &kept.expect(OWN).window;
        window
            .answer(&self.aggregate, EventTime::from_micros(at))
            .write(to);
    }

    fn answer_over(
        &self,
        rows: Rows<'_>,
        column: usize,
        window: Range<u32>,
        at: i64,
        to: &mut [f64],
    ) {
        let state = column_of(rows, column).state(&self.aggregate, window);
        self.aggregate
            .finish(&state, EventTime::from_micros(at))
            .write(to);
    }
}

fn column_of<I>(rows: Rows<'_>, column: usize) -> ColumnRows<'_, I> {
    ColumnRows {
        rows,
        column,
        input: PhantomData,
    }
}
