//! The indexes of the join with latest values, made anew from its state: the numbers of keys, and
//! which keys have something that expires.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::key::Key;
use crate::time::EventTime;

/// The number of a key.
pub(super) type Place = u64;

/// Numbers for keys, which differential sorts and compares in their stead.
///
/// The low half of a number is where the key stands; what makes it the only one of its kind, the
/// high half, counts on. So a key that comes meets nothing of one that has gone, and the numbers of
/// keys that come together are near each other.
pub(super) struct Places<K> {
    keys: Vec<Option<(Place, u64, K)>>,
    free: Vec<u32>,
    next: u32,
}

impl<K> Default for Places<K> {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            free: Vec::new(),
            next: 0,
        }
    }
}

impl<K: Key> Places<K> {
    pub(super) fn add(&mut self, hash: u64, key: &K) -> Place {
        let index = self.free.pop().unwrap_or_else(|| {
            self.keys.push(None);
            u32::try_from(self.keys.len() - 1).expect("invariant: a worker has not as many keys")
        });
        let place = u64::from(self.next) << 32 | u64::from(index);
        self.next = self.next.wrapping_add(1);
        self.keys[index as usize] = Some((place, hash, key.clone()));
        place
    }

    /// The hash and the key with this number, if it has not gone.
    pub(super) fn get(&self, place: Place) -> Option<(u64, &K)> {
        let kept = self.keys[place as u32 as usize].as_ref();
        let kept = kept.filter(|(kept, ..)| *kept == place);
        kept.map(|(_, hash, key)| (*hash, key))
    }

    pub(super) fn key(&self, place: Place) -> &K {
        let kept = self.get(place).map(|(_, key)| key);
        kept.expect("invariant: a key with state has its place")
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<K> {
        let (_, _, key) = self.keys[place as u32 as usize].take()?;
        self.free.push(place as u32);
        Some(key)
    }
}

/// The keys of what waits for the watermark to leave it behind, in spans that go as a whole: which
/// pairs there are does not depend on how long something stays beyond its last instant.
pub(super) struct Expiring {
    /// How long after its event time something is still of use.
    stay: Duration,
    span_us: i64,
    spans: BTreeMap<i64, Vec<Place>>,
    /// The span that was asked for last, taken out of the others.
    last: (i64, Vec<Place>),
}

impl Expiring {
    /// Spans of a small part of the horizon.
    pub(super) fn new(horizon: Duration, stay: Duration) -> Self {
        let span_us = i64::try_from(horizon.as_micros() / 64).unwrap_or(i64::MAX);
        Self {
            stay,
            span_us: span_us.max(1),
            spans: BTreeMap::new(),
            last: (i64::MIN, Vec::new()),
        }
    }

    fn span(&self, time: EventTime) -> i64 {
        time.as_micros().div_euclid(self.span_us)
    }

    pub(super) fn push(&mut self, time: EventTime, place: Place) {
        let span = self.span(time.saturating_add(self.stay));
        if self.last.0 != span {
            let next = self.spans.remove(&span).unwrap_or_default();
            let (before, places) = std::mem::replace(&mut self.last, (span, next));
            if !places.is_empty() {
                self.spans.insert(before, places);
            }
        }
        self.last.1.push(place);
    }

    pub(super) fn has_passed(&self, time: EventTime, watermark: EventTime) -> bool {
        self.span(time.saturating_add(self.stay)) < self.span(watermark)
    }

    pub(super) fn take_passed(&mut self, watermark: EventTime) -> Vec<Place> {
        let mut passed = Vec::new();
        let reached = self.span(watermark);
        if self.last.0 < reached {
            passed.append(&mut self.last.1);
        }
        while let Some(entry) = self.spans.first_entry()
            && *entry.key() < reached
        {
            passed.extend(entry.remove());
        }
        passed
    }
}
