//! What a keyed step is: logic over one key's state and one record at a time.

use std::time::Duration;

use serde::Serialize;

use crate::job::Order;
use crate::key::Key;
use crate::ledger::Fate;
use crate::letters::Endings;
use crate::look_ahead::Reach;
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

    /// Whether the step turns records away by rules of its own: whether it has a late stream, as it
    /// must for [`Context::divert`]. Its late events and dead letters then tell of the watermark, so
    /// that they have their place in event-time order; other steps have dead letters only where a
    /// closure panics, and these go out as they come.
    const TURNS_AWAY: bool = false;

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

    /// Asks for the memory that records to come will need, given their states as far as they are
    /// known already; see [`look_ahead`](crate::look_ahead).
    fn touch(&self, _reach: Reach, _records: &[Record<T>], _states: &[Option<&Self::State>]) {}

    /// Called when the watermark has moved, after the records before it.
    fn advance(
        &mut self,
        _state: &mut KeyedState<Self::Key, Self::State>,
        _context: &mut Context<'_, Self::Out>,
    ) {
    }

    /// How often the step is woken by the job's clock, if it is. Not for steps under a worker's key.
    fn wake_every(&self) -> Option<Duration> {
        None
    }

    /// Called once in every [period](Self::wake_every) of the job's clock, after the records at
    /// hand, also when none come. What depends on it is not the same in a replay.
    fn wake(
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
    passed: Watermark,
    watermark: Watermark,
    order: Order,
    now_ns: u64,
    out: Vec<Record<O>>,
}

impl<'a, O> Context<'a, O> {
    pub(crate) fn new(
        endings: &'a mut Endings,
        (passed, watermark): (Watermark, Watermark),
        order: Order,
        now_ns: u64,
        expected: usize,
    ) -> Self {
        let out = Vec::with_capacity(expected);
        Self {
            endings,
            passed,
            watermark,
            order,
            now_ns,
            out,
        }
    }

    /// When these records were taken in, in nanoseconds of the job's clock: the ingestion time of
    /// records that the step makes of many.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// How far event time is complete with the records at hand.
    pub fn watermark(&self) -> Watermark {
        self.watermark
    }

    /// How far event time was complete before the records at hand: one that is earlier comes late.
    pub fn passed(&self) -> Watermark {
        self.passed
    }

    /// The event time before which no more records come, unless they are late, once the record at
    /// `time` is being processed: in arrival order what the watermark had passed before, in
    /// event-time order the record's own time as well.
    pub fn settled(&self, time: EventTime) -> EventTime {
        match self.order {
            Order::Arrival => self.passed.time,
            Order::EventTime => self.passed.time.max(time),
        }
    }

    /// Sends a record on.
    pub fn emit(&mut self, record: Record<O>) {
        self.out.push(record);
    }

    /// Notes that a record's path ends in this step.
    pub fn finish(&mut self, origin: Origin, fate: Fate) {
        self.endings.finish(origin, fate);
    }

    /// Makes a dead letter of the record `at`, with its value as JSON if that is still there; its
    /// path ends here.
    pub fn reject<V: Serialize>(
        &mut self,
        at: &Record<()>,
        value: Option<&V>,
        reason: impl Into<String>,
    ) {
        self.endings.reject(at, value, reason);
    }

    /// Sends a record that came too late to the step's late stream, where its path ends; for a step
    /// that [turns records away](KeyedStep::TURNS_AWAY).
    pub fn divert<V: Serialize>(&mut self, record: &Record<V>) {
        self.endings.divert(record, self.passed.time);
    }

    pub(crate) fn into_records(self) -> Vec<Record<O>> {
        self.out
    }
}
