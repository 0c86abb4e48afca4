//! Lets a thread find out when all that sinks have been given is visible outside.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Requests to flush, which writers on threads of their own answer; the others flush at once.
#[derive(Default)]
pub(crate) struct Flushes {
    asked: AtomicU64,
    writers: Mutex<Vec<Arc<AtomicU64>>>,
}

/// Where one writer answers requests.
pub(crate) struct Answers(Arc<AtomicU64>);

impl Flushes {
    /// Adds a writer, which has to answer from the next request on.
    pub(crate) fn join(&self) -> Answers {
        let answered = Arc::new(AtomicU64::new(self.asked()));
        self.writers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&answered));
        Answers(answered)
    }

    /// Makes a request, to be looked after with [`Flushes::is_answered`].
    pub(crate) fn ask(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The latest request.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    /// Whether every writer has flushed since the request was made, or is gone.
    pub(crate) fn is_answered(&self, request: u64) -> bool {
        self.writers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .all(|answered| answered.load(Ordering::Acquire) >= request)
    }
}

impl Answers {
    /// The latest request answered.
    pub(crate) fn latest(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Notes that everything given before the request has been flushed.
    pub(crate) fn answer(&self, request: u64) {
        self.0.store(request, Ordering::Release);
    }
}

impl Drop for Answers {
    /// A writer that is gone has nothing left to flush.
    fn drop(&mut self) {
        self.answer(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_when_every_writer_has_flushed_or_gone() {
        let flushes = Flushes::default();
        assert!(flushes.is_answered(flushes.ask()), "there are no writers");
        let (first, second) = (flushes.join(), flushes.join());
        let request = flushes.ask();
        assert!(!flushes.is_answered(request));
        first.answer(flushes.asked());
        assert!(!flushes.is_answered(request));
        drop(second);
        assert!(flushes.is_answered(request));
    }
}
