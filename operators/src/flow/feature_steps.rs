//! The steps that compute features: one without corrections, one with.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use thalweg_engine::guard::guard;
use thalweg_engine::key::Key;
use thalweg_engine::keyed::{Context, KeyedStep};
use thalweg_engine::look_ahead::Reach;
use thalweg_engine::record::{Data, Record};
use thalweg_engine::state::{KeyedState, State};
use thalweg_engine::telemetry::{Counter, Telemetry};
use thalweg_engine::time::EventTime;
use thalweg_engine::watermark::Watermark;

use super::features::Featured;
use super::idle_keys::IdleKeys;
use crate::features::{CorrectableFeatures, Correction, FeaturePlan, Outcome};
use crate::window::KeyFeatures;

/// How many features a row will have when it is complete, known to the step that begins it.
pub(super) type RowWidth = Rc<Cell<usize>>;

/// How a step makes rows of what comes in, and how it gets at the event before it does.
pub(super) struct Rows<T, I> {
    pub(super) lift: fn(I) -> Featured<T>,
    pub(super) event: fn(&I) -> &T,
}

/// What the steps have in common.
pub(super) struct Common<K, T, I> {
    /// `None` when it could not be built: the flow will not run.
    plan: Option<FeaturePlan<T>>,
    rows: Rows<T, I>,
    width: RowWidth,
    /// For a plan with rules beside its features.
    upkeep: Option<Upkeep<K>>,
    /// Keys of records that were rejected: they may have had no other.
    rejected: BTreeSet<K>,
}

/// The rules of a plan, as far as they are the step's.
struct Upkeep<K> {
    idle: Option<IdleKeys<K>>,
    begun: Counter,
    expired: Counter,
    truncated: Counter,
    refused: Counter,
}

impl<K: Key> Upkeep<K> {
    fn of<T: 'static>(plan: &FeaturePlan<T>, id: &str, telemetry: &Telemetry) -> Self {
        let forgets = plan.forgets_after();
        let counter = |what: &str| telemetry.counter(&format!("{id}_{what}"));
        Self {
            // For as long as an event may be late, it may find the key not yet idle.
            idle: forgets.map(|(ttl, lateness)| IdleKeys::new(ttl.saturating_add(lateness))),
            begun: counter("keys_begun"),
            expired: counter("keys_expired"),
            truncated: counter("truncated_events"),
            refused: counter("refused_events"),
        }
    }

    /// Makes the key begin anew that is due, whether or not its memory has been given back.
    fn before<S: Default>(
        &mut self,
        (key, state): (&K, &mut S),
        last_seen: EventTime,
        at: EventTime,
        passed: Watermark,
    ) {
        let Some(idle) = &mut self.idle else { return };
        if last_seen == EventTime::MIN {
            idle.begin(key, at);
            self.begun.add(1);
        } else if idle.is_due(last_seen, passed) {
            *state = S::default();
            self.expired.add(1);
            self.begun.add(1);
        }
    }

    fn after(&self, outcome: Outcome) {
        if outcome.has_expired {
            self.expired.add(1);
            self.begun.add(1);
        }
        if outcome.truncated > 0 {
            self.truncated.add(outcome.truncated);
        }
        if outcome.is_refused {
            self.refused.add(1);
        }
    }
}

impl<K: Key, T: Data, I: Data> Common<K, T, I> {
    pub(super) fn new(
        plan: Option<FeaturePlan<T>>,
        rows: Rows<T, I>,
        width: RowWidth,
        (id, telemetry): (&str, &Telemetry),
    ) -> Self {
        let with_upkeep = plan.as_ref().filter(|plan| plan.has_upkeep());
        let upkeep = with_upkeep.map(|plan| Upkeep::of(plan, id, telemetry));
        Self {
            plan,
            rows,
            width,
            upkeep,
            rejected: BTreeSet::new(),
        }
    }

    /// The record with its row begun, when all that is needed of the event has been taken from it;
    /// otherwise it is a dead letter.
    #[inline]
    fn extract<O>(
        &mut self,
        key: &K,
        record: Record<I>,
        context: &mut Context<'_, O>,
    ) -> Option<Record<Featured<T>>> {
        let mut record = record.map(self.rows.lift);
        let Featured { event, features } = &mut record.value;
        if let Some(plan) = &mut self.plan {
            if let Err(reason) = guard(|| plan.extract(event)) {
                context.reject(&record.with(()), Some(&record.value.event), reason);
                self.rejected.insert(key.clone());
                return None;
            }
            if features.capacity() == 0 && plan.has_row() {
                features.reserve_exact(self.width.get());
            }
        }
        Some(record)
    }

    /// Makes a dead letter of an event that is one too many.
    fn refuse<O>(&self, record: &Record<Featured<T>>, context: &mut Context<'_, O>) {
        let reason = "its key has as many events as the step holds of one: raise \
                      `max_events_per_key`, or take `HotKey::DropOldest`";
        context.reject(&record.with(()), Some(&record.value.event), reason);
    }

    /// Drops the keys that have been idle for too long, and those that never had an event that
    /// could be taken in.
    fn advance<S: State>(
        &mut self,
        state: &mut KeyedState<K, S>,
        watermark: Watermark,
        last_seen: impl Fn(&FeaturePlan<T>, &S) -> EventTime,
    ) {
        let Some(plan) = &self.plan else { return };
        while let Some(key) = self.rejected.pop_first() {
            let is_new = |kept| last_seen(plan, kept) == EventTime::MIN;
            if state.get(&key).is_some_and(is_new) {
                state.remove(&key);
            }
        }
        if let Some(upkeep) = &mut self.upkeep
            && let Some(idle) = &mut upkeep.idle
        {
            let dropped = idle.advance(state, watermark, |kept| last_seen(plan, kept));
            upkeep.expired.add(dropped);
        }
    }

    fn accepts<'a, S: 'a>(
        &self,
        mut states: impl Iterator<Item = &'a S>,
        accepts: impl Fn(&FeaturePlan<T>, &S) -> bool,
    ) -> Result<(), String> {
        let Some(plan) = &self.plan else {
            return Ok(());
        };
        if states.all(|state| accepts(plan, state)) {
            return Ok(());
        }
        let remedy = "declare them as then, or give the step another id to start anew";
        Err(format!(
            "its features were declared in another way when it was written; {remedy}"
        ))
    }
}

/// Computes features. A step that may refuse events has dead letters by rules of its own.
pub(super) struct FeaturesStep<K, T, I, const REFUSES: bool>(pub(super) Common<K, T, I>);

impl<K: Key, T: Data, I: Data, const REFUSES: bool> KeyedStep<I>
    for FeaturesStep<K, T, I, REFUSES>
{
    type Key = K;
    type State = KeyFeatures;
    type Out = Featured<T>;

    const TURNS_AWAY: bool = REFUSES;

    fn touch(&self, reach: Reach, records: &[Record<I>], states: &[Option<&KeyFeatures>]) {
        if let Some(plan) = &self.0.plan {
            let events = records
                .iter()
                .map(|record| (self.0.rows.event)(&record.value));
            plan.touch(reach, events, states);
        }
    }

    fn accepts(&self, states: &KeyedState<K, KeyFeatures>) -> Result<(), String> {
        let states = states.iter().map(|(_, state)| state);
        self.0.accepts(states, FeaturePlan::accepts)
    }

    #[inline]
    fn process(
        &mut self,
        key: &K,
        state: &mut KeyFeatures,
        record: Record<I>,
        context: &mut Context<'_, Featured<T>>,
    ) {
        let Some(mut record) = self.0.extract(key, record, context) else {
            return;
        };
        if let Some(plan) = &mut self.0.plan {
            let at = record.time;
            if let Some(upkeep) = &mut self.0.upkeep {
                let last_seen = plan.last_seen(state);
                upkeep.before((key, state), last_seen, at, context.passed());
            }
            let outcome = plan.update_extracted(state, at, &mut record.value.features);
            if let Some(upkeep) = &self.0.upkeep {
                upkeep.after(outcome);
                if outcome.is_refused {
                    return self.0.refuse(&record, context);
                }
            }
        }
        context.emit(record);
    }

    fn advance(
        &mut self,
        state: &mut KeyedState<K, KeyFeatures>,
        context: &mut Context<'_, Featured<T>>,
    ) {
        self.0
            .advance(state, context.watermark(), FeaturePlan::last_seen);
    }
}

/// A row, and the rows that its event has changed.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Corrected<T> {
    pub(super) row: Featured<T>,
    pub(super) corrections: Vec<Correction<T>>,
}

/// Computes features, and corrects them.
pub(super) struct CorrectingStep<K, T, I>(pub(super) Common<K, T, I>);

impl<K: Key, T: Data, I: Data> KeyedStep<I> for CorrectingStep<K, T, I> {
    type Key = K;
    type State = CorrectableFeatures<T>;
    type Out = Corrected<T>;

    const TURNS_AWAY: bool = true;

    fn accepts(&self, states: &KeyedState<K, CorrectableFeatures<T>>) -> Result<(), String> {
        let states = states.iter().map(|(_, state)| state);
        self.0.accepts(states, FeaturePlan::accepts_corrected)
    }

    fn process(
        &mut self,
        key: &K,
        state: &mut CorrectableFeatures<T>,
        record: Record<I>,
        context: &mut Context<'_, Corrected<T>>,
    ) {
        let Some(mut record) = self.0.extract(key, record, context) else {
            return;
        };
        let Some(plan) = &mut self.0.plan else { return };
        let at = record.with(());
        if let Some(upkeep) = &mut self.0.upkeep {
            let last_seen = plan.last_seen_corrected(state);
            upkeep.before((key, state), last_seen, at.time, context.passed());
        }
        let mut corrections = Vec::new();
        let Featured { event, features } = &mut record.value;
        let outcome = plan.correct_extracted(state, at, event, features, &mut corrections);
        if let Some(upkeep) = &self.0.upkeep {
            upkeep.after(outcome);
        }
        if outcome.is_refused {
            return self.0.refuse(&record, context);
        }
        context.emit(record.map(|row| Corrected { row, corrections }));
    }

    fn advance(
        &mut self,
        state: &mut KeyedState<K, CorrectableFeatures<T>>,
        context: &mut Context<'_, Corrected<T>>,
    ) {
        let watermark = context.watermark();
        self.0
            .advance(state, watermark, FeaturePlan::last_seen_corrected);
    }
}

#[cfg(test)]
#[path = "feature_steps_tests.rs"]
mod tests;
