//! What an exactly-once sink leaves out of its epochs, on its way back into the graph.
//!
//! What the other side refuses is known only as an epoch is published, which is after the epoch is over. So its
//! dead letters belong to the epoch that is open then. Until that one is sealed, checkpoints go on naming the
//! outbox, so that a start from them publishes it again and hears again what was left out; and nothing more is
//! published, as the other side remembers what was left out of the last epoch alone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::checkpoint::Epoch;
use crate::intake::Wake;
use crate::letters::DeadLetter;
use crate::record::Record;

/// The dead letters of what was left out of an epoch.
pub(crate) type Letters = (Epoch, Vec<Record<DeadLetter>>);

/// What the thread that publishes and the operator that gives letters back tell each other.
pub(crate) struct LeftOut {
    state: Mutex<State>,
    wake: Wake,
}

/// Epochs are those of the run here, but for the one that the letters are of.
#[derive(Default)]
struct State {
    is_expected: bool,
    /// Those that have not been given back.
    letters: Option<Letters>,
    /// The epoch in which letters were given back last.
    given_in: Option<u64>,
    /// How many epochs the sink has closed, and whether these are all.
    closed: u64,
    has_ended: bool,
    /// How many of them have been published.
    published: u64,
}

impl LeftOut {
    pub(crate) fn new(wake: Wake) -> Self {
        Self {
            state: Mutex::default(),
            wake,
        }
    }

    /// Notes that the writer may leave something out.
    pub(crate) fn expect(&self) {
        self.lock().is_expected = true;
    }

    pub(crate) fn is_expected(&self) -> bool {
        self.lock().is_expected
    }

    /// Notes how many epochs the sink has closed.
    pub(crate) fn note_closed(&self, epochs: u64) {
        self.lock().closed = epochs;
    }

    /// Notes that nothing comes to the sink any more.
    pub(crate) fn note_end(&self) {
        self.lock().has_ended = true;
        self.wake.call();
    }

    /// Notes how many of them have been published, and what was left out of the last one.
    pub(crate) fn note_published(&self, epochs: u64, letters: Option<Letters>) {
        let mut state = self.lock();
        state.published = epochs;
        state.letters = letters.or(state.letters.take());
        let is_expected = state.is_expected;
        drop(state);
        if is_expected {
            self.wake.call();
        }
    }

    /// Whether the next epoch may be published, so many being sealed.
    pub(crate) fn may_publish(&self, sealed: u64) -> bool {
        let state = self.lock();
        state.letters.is_none() && state.given_in.is_none_or(|epoch| epoch < sealed)
    }

    /// Takes letters out to be given back in this epoch.
    pub(crate) fn take(&self, epoch: u64) -> Option<Letters> {
        let mut state = self.lock();
        let letters = state.letters.take()?;
        state.given_in = Some(epoch);
        Some(letters)
    }

    /// The epoch for what is still to come, once nothing comes to the sink any more.
    pub(crate) fn last_epoch(&self) -> u64 {
        let state = self.lock();
        state
            .given_in
            .map_or(0, |epoch| epoch + 1)
            .max(state.closed)
    }

    /// Whether everything has been published, and nothing is to be given back.
    pub(crate) fn is_done(&self) -> bool {
        let state = self.lock();
        state.has_ended && state.letters.is_none() && state.published >= state.closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
