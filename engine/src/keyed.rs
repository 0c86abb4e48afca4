//! What a keyed step is: logic over one key's state and one record at a time.

use serde::Serialize;

use crate::key::Key;
use crate::ledger::{Fate, Pen};
use crate::letters::{DeadLetter, LateEvent};
use crate::record::{Data, Origin, Record};
use crate::state::{KeyedState, State};
use crate::time::EventTime;
use crate::watermark::Watermark;

/// The logic of a keyed step. The engine brings records in the job's order to the worker that owns
/// their key, keeps the state, and carries watermarks.
pub trait KeyedStep<T: Data>: 'static {
    /// What records are keyed by.
    type Key: Key;
    /// What is kept per key.
    type State: State;
    /// What comes out.
    type Out: Data;

    /// Whether the step has a late stream and dead letters: whether it may call [`Context::late`]
    /// and [`Context::dead`].
    const SIDE_STREAMS: bool = false;

    /// Processes one record with its key's state.
    fn process(
        &mut self,
        key: &Self::Key,
        state: &mut Self::State,
        record: Record<T>,
        context: &mut Context<'_, Self::Out>,
    );

    /// Called when the watermark has moved, after the records before it.
    fn advance(
        &mut self,
        _state: &mut KeyedState<Self::Key, Self::State>,
        _context: &mut Context<'_, Self::Out>,
    ) {
    }

    /// Which of two records of the same event time goes first in event-time order: the lower rank.
    fn rank(&self, _value: &T) -> u8 {
        0
    }

    /// Names the records that wait in a key's state, to count as held when the job stops before the
    /// end of its input.
    fn waiting(&self, _state: &Self::State, _note: &mut dyn FnMut(Origin)) {}
}

/// What a step may do besides changing its state.
pub struct Context<'a, O> {
    step: &'a str,
    pen: &'a mut Pen,
    watermark: Watermark,
    settled: EventTime,
    now_ns: u64,
    out: Vec<Record<O>>,
    letters: Letters,
}

/// Records that leave a step by its side streams.
#[derive(Default)]
pub(crate) struct Letters {
    pub(crate) late: Vec<Record<LateEvent>>,
    pub(crate) dead: Vec<Record<DeadLetter>>,
}

impl Letters {
    pub(crate) fn is_empty(&self) -> bool {
        self.late.is_empty() && self.dead.is_empty()
    }
}

impl<'a, O> Context<'a, O> {
    pub(crate) fn new(
        step: &'a str,
        pen: &'a mut Pen,
        watermark: Watermark,
        now_ns: u64,
        expected: usize,
    ) -> Self {
        Self {
            step,
            pen,
            watermark,
            settled: EventTime::MIN,
            now_ns,
            out: Vec::with_capacity(expected),
            letters: Letters::default(),
        }
    }

    /// When these records were taken in, in nanoseconds of the job's clock: the ingestion time of
    /// records that the step makes of many.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// How far event time is complete.
    pub fn watermark(&self) -> Watermark {
        self.watermark
    }

    /// The event time before which no more records come than are here already, unless they are
    /// late. For a record being processed that is, in arrival order, what the watermark was before
    /// the packet with the record; in event-time order it is the record's own time as well.
    pub fn settled(&self) -> EventTime {
        self.settled
    }

    pub(crate) fn settle(&mut self, settled: EventTime) {
        self.settled = settled;
    }

    /// Sends a record on.
    pub fn emit(&mut self, record: Record<O>) {
        self.out.push(record);
    }

    /// Notes that a record's path ends in this step.
    pub fn finish(&mut self, origin: Origin, fate: Fate) {
        self.pen.mark(origin, fate);
    }

    /// Sends a record that came after the watermark had `passed` it to the step's late stream,
    /// where its path ends; for a step with [`KeyedStep::SIDE_STREAMS`].
    pub fn late<T: Serialize>(&mut self, record: &Record<T>, passed: Watermark) {
        self.pen.mark(record.origin, Fate::Late);
        let late = LateEvent::of_record(self.step, record, passed.time);
        self.letters.late.push(record.with(late));
    }

    /// Gives a record up: it goes to the dead letters with the reason, and its path ends; for a step
    /// with [`KeyedStep::SIDE_STREAMS`].
    pub fn dead<T: Serialize>(&mut self, record: &Record<T>, reason: impl Into<String>) {
        self.pen.mark(record.origin, Fate::Dead);
        let letter = DeadLetter::of_value(self.step, record.origin, reason, &record.value);
        self.letters.dead.push(record.with(letter));
    }

    pub(crate) fn into_parts(self) -> (Vec<Record<O>>, Letters) {
        (self.out, self.letters)
    }
}
