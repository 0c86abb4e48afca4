//! Which keys of a step have been idle for so long that their memory can be given back: keys in
//! coarse buckets of event time.
//!
//! A key lies in one bucket, that of the time at which it was due when it was put there. Its events
//! do not move it: when the watermark has passed the bucket, the keys that had events since are put
//! where they are due now, and the others go. So an event costs nothing, and a key a look per span.

use std::collections::BTreeMap;

use thalweg_engine::key::Key;
use thalweg_engine::state::{KeyedState, State};
use thalweg_engine::time::EventTime;
use thalweg_engine::watermark::Watermark;

/// Buckets in the span after which a key is due.
const BUCKETS: i64 = 16;

/// The keys of one step by when they are due. It is no state of its own: the first call of
/// [`IdleKeys::advance`] makes it from the step's state, which may have been restored.
pub(super) struct IdleKeys<K> {
    /// How long after its last event a key is due, in microseconds.
    span: i64,
    /// Microseconds of a bucket.
    width: i64,
    buckets: BTreeMap<i64, Vec<K>>,
    is_complete: bool,
}

impl<K: Key> IdleKeys<K> {
    /// No keys yet; each is due `span` microseconds after its last event.
    pub(super) fn new(span: i64) -> Self {
        Self {
            span,
            width: (span / BUCKETS).max(1),
            buckets: BTreeMap::new(),
            is_complete: false,
        }
    }

    /// Whether a key whose last event was at `last_seen` is due. At the end of input none is.
    pub(super) fn is_due(&self, last_seen: EventTime, watermark: Watermark) -> bool {
        let due = last_seen.as_micros().checked_add(self.span);
        let passed = |due| watermark.has_passed(EventTime::from_micros(due));
        !watermark.is_end() && due.is_some_and(passed)
    }

    /// Takes in a key that has had its first event.
    pub(super) fn begin(&mut self, key: &K, first_seen: EventTime) {
        if self.is_complete {
            self.put(key.clone(), first_seen);
        }
    }

    /// Drops the keys that are due, once the watermark has passed their buckets; says how many have
    /// gone. `last_seen` tells from a key's state when its last event was.
    pub(super) fn advance<S: State>(
        &mut self,
        state: &mut KeyedState<K, S>,
        watermark: Watermark,
        last_seen: impl Fn(&S) -> EventTime,
    ) -> u64 {
        if !self.is_complete {
            self.is_complete = true;
            for (key, kept) in state.iter() {
                self.put(key.clone(), last_seen(kept));
            }
        }
        let mut dropped = 0;
        while let Some(bucket) = self.buckets.first_entry()
            && !watermark.is_end()
            && i128::from(watermark.time.as_micros())
                >= (i128::from(*bucket.key()) + 1) * i128::from(self.width)
        {
            for key in bucket.remove() {
                let Some(kept) = state.get(&key) else {
                    continue;
                };
                let last_seen = last_seen(kept);
                if self.is_due(last_seen, watermark) {
                    state.remove(&key);
                    dropped += 1;
                } else {
                    self.put(key, last_seen);
                }
            }
        }
        dropped
    }

    /// Puts a key where it is due; one that never is goes nowhere.
    fn put(&mut self, key: K, last_seen: EventTime) {
        if let Some(due) = last_seen.as_micros().checked_add(self.span) {
            let bucket = due.div_euclid(self.width);
            self.buckets.entry(bucket).or_default().push(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> EventTime {
        EventTime::from_seconds(second)
    }

    /// Keys with the second of their last event; a key is due 16 s after it.
    struct Step {
        keys: IdleKeys<char>,
        state: KeyedState<char, i64>,
    }

    impl Step {
        fn new() -> Self {
            Self {
                keys: IdleKeys::new(16_000_000),
                state: KeyedState::default(),
            }
        }

        fn event(&mut self, key: char, second: i64) {
            if self.state.get(&key).is_none() {
                self.keys.begin(&key, at(second));
            }
            *self.state.entry(&key) = second;
        }

        /// The keys that are left.
        fn advance(&mut self, watermark: Watermark) -> String {
            let before = self.state.len() as u64;
            let dropped = self.keys.advance(&mut self.state, watermark, |s| at(*s));
            assert_eq!(before - dropped, self.state.len() as u64);
            let mut left: Vec<char> = self.state.iter().map(|(key, _)| *key).collect();
            left.sort_unstable();
            left.into_iter().collect()
        }
    }

    #[test]
    fn keys_go_when_the_watermark_has_passed_the_bucket_in_which_they_are_due() {
        let mut step = Step::new();
        step.event('a', 0);
        step.event('b', 1);
        assert_eq!(step.advance(Watermark::active(at(10))), "ab");
        step.event('c', 11);
        step.event('a', 12);
        assert_eq!(step.advance(Watermark::active(at(17))), "abc");
        assert_eq!(step.advance(Watermark::active(at(18))), "ac");
        assert_eq!(step.advance(Watermark::active(at(28))), "a");
        assert_eq!(step.advance(Watermark::active(at(29))), "");
        assert!(step.keys.buckets.is_empty());
    }

    #[test]
    fn an_active_key_lies_in_one_bucket() {
        let mut step = Step::new();
        for second in 0..500 {
            step.event('a', second);
            assert_eq!(step.advance(Watermark::active(at(second))), "a");
            let entries: usize = step.keys.buckets.values().map(Vec::len).sum();
            assert_eq!(entries, 1);
        }
        let mut restored = Step::new();
        restored.state = step.state;
        assert_eq!(restored.advance(Watermark::active(at(510))), "a");
        assert_eq!(restored.advance(Watermark::active(at(600))), "");
    }

    #[test]
    fn the_end_of_input_drops_nothing_and_the_end_of_time_is_never_due() {
        let mut step = Step::new();
        step.event('a', 0);
        step.state.entry(&'z');
        *step.state.entry(&'z') = i64::MAX;
        assert_eq!(step.advance(Watermark::active(at(5))), "az");
        let last = Watermark::active(EventTime::from_micros(i64::MAX - 1));
        assert_eq!(step.advance(last), "z");
        step.event('b', 0);
        assert_eq!(step.advance(Watermark::END), "bz");
    }
}
