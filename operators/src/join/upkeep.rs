//! What every join keeps beside its state: what becomes of late records, and which key ages when.

use thalweg_engine::expiry::Expiry;
use thalweg_engine::key::Key;
use thalweg_engine::state::{KeyedState, State};
use thalweg_engine::time::EventTime;
use thalweg_engine::watermark::Watermark;

use super::LatePolicy;

/// State of one key from which things can be dropped as event time goes on.
pub(crate) trait Ageing: State {
    /// What decides how long things are kept.
    type Rule;

    /// The time after which there is something to drop, if there will ever be; the earliest time
    /// there is when nothing is left, so that the key itself goes.
    fn deadline(&self, rule: &Self::Rule) -> Option<EventTime>;

    /// Whether nothing is left.
    fn is_empty(&self) -> bool;
}

/// The part of a join that is not per key. All of it follows from the state.
pub(crate) struct Upkeep<K> {
    late: LatePolicy,
    expiry: Expiry<K>,
}

impl<K: Key> Upkeep<K> {
    pub(crate) fn new(late: LatePolicy) -> Self {
        Self {
            late,
            expiry: Expiry::default(),
        }
    }

    /// Whether late records are to leave by the late stream.
    pub(crate) fn diverts(&self) -> bool {
        self.late == LatePolicy::Divert
    }

    /// Has a key looked at when it will have something to drop.
    pub(crate) fn schedule<S: Ageing>(&mut self, key: &K, state: &S, rule: &S::Rule) {
        if let Some(time) = state.deadline(rule) {
            self.expiry.schedule(key, time);
        }
    }

    /// Moves on to `watermark`: has `drop_old` called for every key that has something to drop, and
    /// drops the keys with nothing left.
    pub(crate) fn advance<S: Ageing>(
        &mut self,
        state: &mut KeyedState<K, S>,
        rule: &S::Rule,
        watermark: Watermark,
        mut drop_old: impl FnMut(&mut S),
    ) {
        let deadline = |kept: &S| kept.deadline(rule);
        for key in self.expiry.due(watermark, state, deadline) {
            let kept = state.entry(&key);
            drop_old(kept);
            if kept.is_empty() {
                state.remove(&key);
            } else if let Some(time) = kept.deadline(rule) {
                self.expiry.schedule(&key, time);
            }
        }
    }
}
