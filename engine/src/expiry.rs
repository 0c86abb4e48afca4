//! When which key is due: an index from event time to keys, so that a step whose state ages looks
//! only at the keys whose time has come, and not at all of them whenever the watermark moves.

use std::collections::{BTreeSet, HashMap};

use crate::key::Key;
use crate::state::{KeyedState, State};
use crate::time::EventTime;
use crate::watermark::Watermark;

/// The keys of one step that are to be looked at once the watermark has passed some time: one time
/// a key, the earliest that was asked for.
///
/// It is no state of its own: the first call of [`Expiry::due`] makes it anew from the step's
/// state, which may have been restored.
///
/// ```
/// use thalweg_engine::expiry::Expiry;
/// use thalweg_engine::state::KeyedState;
/// use thalweg_engine::time::EventTime;
/// use thalweg_engine::watermark::Watermark;
///
/// // The state is the time at which a key was last seen; a key goes when that has passed.
/// let mut seen = KeyedState::<String, EventTime>::default();
/// let mut expiry = Expiry::default();
/// let at = EventTime::from_seconds;
/// for (key, second) in [("a", 1), ("b", 2), ("a", 5)] {
///     let key = key.to_owned();
///     *seen.entry(&key) = at(second);
///     expiry.schedule(&key, at(second));
/// }
/// let watermark = Watermark::active(at(3));
/// for key in expiry.due(watermark, &seen, |last| Some(*last)) {
///     let last = *seen.entry(&key);
///     if watermark.has_passed(last) {
///         seen.remove(&key);
///     } else {
///         expiry.schedule(&key, last); // it was seen again since it was scheduled
///     }
/// }
/// assert_eq!(seen.get(&"a".to_owned()), Some(&at(5)));
/// assert_eq!(seen.get(&"b".to_owned()), None);
/// ```
pub struct Expiry<K> {
    times: HashMap<K, EventTime>,
    queue: BTreeSet<(EventTime, K)>,
    complete: bool,
}

impl<K> Default for Expiry<K> {
    fn default() -> Self {
        Self {
            times: HashMap::new(),
            queue: BTreeSet::new(),
            complete: false,
        }
    }
}

impl<K: Key> Expiry<K> {
    /// Has `key` fall due when the watermark has passed `time`, or earlier if that was asked before.
    pub fn schedule(&mut self, key: &K, time: EventTime) {
        if let Some(scheduled) = self.times.get_mut(key) {
            if *scheduled <= time {
                return;
            }
            self.queue.remove(&(*scheduled, key.clone()));
            *scheduled = time;
        } else {
            self.times.insert(key.clone(), time);
        }
        self.queue.insert((time, key.clone()));
    }

    /// Takes out the keys whose time the watermark has passed, by time, then key. Who still has
    /// something to wait for is to be scheduled again.
    ///
    /// `deadline` tells from a key's state when the key is due, if ever; it is asked for every key
    /// at the first call only.
    pub fn due<S: State>(
        &mut self,
        watermark: Watermark,
        state: &KeyedState<K, S>,
        deadline: impl Fn(&S) -> Option<EventTime>,
    ) -> Vec<K> {
        if !self.complete {
            self.complete = true;
            for (key, state) in state.iter() {
                if let Some(time) = deadline(state) {
                    self.schedule(key, time);
                }
            }
        }
        let mut due = Vec::new();
        while let Some((time, _)) = self.queue.first()
            && watermark.has_passed(*time)
            && let Some((_, key)) = self.queue.pop_first()
        {
            self.times.remove(&key);
            due.push(key);
        }
        due
    }

    /// The number of keys that wait for their time.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether no key waits for its time.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> EventTime {
        EventTime::from_seconds(second)
    }

    /// Keys due when the watermark has reached `second`, nothing else being in the state.
    fn due(expiry: &mut Expiry<char>, second: i64) -> Vec<char> {
        let state = KeyedState::<char, ()>::default();
        expiry.due(Watermark::active(at(second)), &state, |()| None)
    }

    #[test]
    fn keys_fall_due_in_the_order_of_their_times_once_these_have_passed() {
        let mut expiry = Expiry::default();
        for (key, second) in [('c', 3), ('b', 1), ('a', 3), ('d', 9)] {
            expiry.schedule(&key, at(second));
        }
        assert!(due(&mut expiry, 1).is_empty());
        assert_eq!(due(&mut expiry, 4), ['b', 'a', 'c']);
        assert!(due(&mut expiry, 4).is_empty());
        assert_eq!(expiry.len(), 1);
    }

    #[test]
    fn the_earliest_time_asked_for_stands() {
        let mut expiry = Expiry::default();
        for second in [5, 2, 7] {
            expiry.schedule(&'a', at(second));
        }
        assert_eq!(due(&mut expiry, 3), ['a']);
        assert!(expiry.is_empty() && expiry.queue.is_empty());
        expiry.schedule(&'a', at(7));
        assert!(due(&mut expiry, 6).is_empty());
        assert_eq!(due(&mut expiry, 8), ['a']);
    }

    #[test]
    fn the_latest_instant_is_due_at_the_end_of_input_only() {
        let (mut expiry, state) = (Expiry::default(), KeyedState::<char, ()>::default());
        expiry.schedule(&'a', EventTime::MAX);
        let before = Watermark::active(EventTime::from_micros(i64::MAX - 1));
        assert!(expiry.due(before, &state, |()| None).is_empty());
        assert_eq!(expiry.due(Watermark::END, &state, |()| None), ['a']);
    }

    #[test]
    fn restored_keys_are_found() {
        let mut state = KeyedState::<char, EventTime>::default();
        for (key, second) in [('a', 1), ('b', 5), ('c', 2)] {
            *state.entry(&key) = at(second);
        }
        let deadline = |time: &EventTime| (*time != at(2)).then_some(*time);
        let mut expiry = Expiry::default();
        let due = |expiry: &mut Expiry<char>, second| {
            expiry.due(Watermark::active(at(second)), &state, deadline)
        };
        assert_eq!(due(&mut expiry, 3), ['a']);
        assert!(due(&mut expiry, 3).is_empty(), "the state is asked once");
        assert_eq!(due(&mut expiry, 6), ['b']);
    }
}
