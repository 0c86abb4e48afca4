//! What a keyed step is: logic over one key's state and one record at a time.

use serde::Serialize;

use crate::key::Key;
use crate::ledger::Fate;
use crate::letters::Endings;
use crate::record::{Data, Origin, Record};
use crate::state::{KeyedState, State};
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

    /// Whether the step has a late stream and refuses records on its own account: whether it may
    /// call [`Context::late`], and its dead letters are in the graph.
    const SIDE_STREAMS: bool = false;

    /// Processes one record with its key's state.
    ///
    /// A panic ends the run, as the state may be half changed by then. So closures of the user's
    /// that can run before the state is touched belong into a [`guard`](crate::guard::guard), and
    /// the record on which one panics is to be given to [`Context::reject`].
    fn process(
        &mut self,
        key: &Self::Key,
        state: &mut Self::State,
        record: Record<T>,
        context: &mut Context<'_, Self::Out>,
    );

    /// Looks at the states that the next records will need, as far as they are known already, so
    /// that their memory is near when it is their turn: see [`KeyedState::look_ahead`].
    fn touch(&self, _records: &[Record<T>], _states: &[Option<&Self::State>]) {}

    /// Called when the watermark has moved, after the records before it.
    fn advance(
        &mut self,
        _state: &mut KeyedState<Self::Key, Self::State>,
        _context: &mut Context<'_, Self::Out>,
    ) {
    }

    /// Says why the step cannot go on with state that it has written itself, perhaps because it
    /// was set up in another way, and what to do about it. Called once after a restart.
    ///
    /// # Errors
    /// The reason and the remedy, in words.
    fn accepts(&self, _state: &KeyedState<Self::Key, Self::State>) -> Result<(), String> {
        Ok(())
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
    endings: &'a mut Endings,
    watermark: Watermark,
    now_ns: u64,
    out: Vec<Record<O>>,
}

impl<'a, O> Context<'a, O> {
    pub(crate) fn new(
        endings: &'a mut Endings,
        watermark: Watermark,
        now_ns: u64,
        expected: usize,
    ) -> Self {
        let out = Vec::with_capacity(expected);
        Self {
            endings,
            watermark,
            now_ns,
            out,
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

    /// Sends a record on.
    pub fn emit(&mut self, record: Record<O>) {
        self.out.push(record);
    }

    /// Notes that a record's path ends in this step.
    pub fn finish(&mut self, origin: Origin, fate: Fate) {
        self.endings.finish(origin, fate);
    }

    /// Makes a dead letter of the record `at`, with its value as JSON if that is still there.
    pub fn reject<V: Serialize>(&mut self, at: &Record<()>, value: Option<&V>, reason: String) {
        self.endings.reject(at, value, reason);
    }

    /// Sends a record that came after the watermark had `passed` it to the step's late stream,
    /// where its path ends; for a step with [`KeyedStep::SIDE_STREAMS`].
    pub fn late<V: Serialize>(&mut self, record: &Record<V>, passed: Watermark) {
        self.endings.late(record, passed.time);
    }

    pub(crate) fn into_records(self) -> Vec<Record<O>> {
        self.out
    }
}
