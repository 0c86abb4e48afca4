//! Whether brokers can be reached, to be told when it changes and no oftener.

use std::sync::atomic::{AtomicU8, Ordering};

/// What a client knows of its brokers: nothing at first, while whoever asks is told that nobody answers.
#[derive(Default)]
pub(super) struct Outage(AtomicU8);

const HERE: u8 = 1;
const AWAY: u8 = 2;

impl Outage {
    /// Notes that nobody answers; whether that is news.
    pub(super) fn begin(&self) -> bool {
        let relaxed = Ordering::Relaxed;
        self.0
            .compare_exchange(HERE, AWAY, relaxed, relaxed)
            .is_ok()
    }

    /// Whether nobody answers.
    pub(super) fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed) == AWAY
    }

    /// Notes that somebody has answered; whether that is news.
    pub(super) fn end(&self) -> bool {
        // A look costs less than a write that changes nothing.
        self.0.load(Ordering::Relaxed) != HERE && self.0.swap(HERE, Ordering::Relaxed) == AWAY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_news_once_and_so_is_its_end() {
        let outage = Outage::default();
        assert!(!outage.begin(), "who asks is told");
        assert!(!outage.end());
        for _ in 0..2 {
            assert!(!outage.is_there());
            assert!(outage.begin());
            assert!(!outage.begin());
            assert!(outage.is_there());
            assert!(outage.end());
            assert!(!outage.end());
        }
    }
}
