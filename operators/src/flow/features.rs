//! Streams of events with their features.

use std::cell::Cell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thalweg_engine::flow::{Keyed, Stream};
use thalweg_engine::guard::guard;
use thalweg_engine::key::Key;
use thalweg_engine::keyed::{Context, KeyedStep};
use thalweg_engine::record::{Data, Record};
use thalweg_engine::state::KeyedState;

use crate::features::{FeaturePlan, Features};
use crate::window::KeyFeatures;

/// An event and its feature row; the stream knows the features' names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Featured<T> {
    /// The event.
    pub event: T,
    /// One value per feature; `NaN` where there is none.
    pub features: Vec<f64>,
}

/// A stream of events with feature rows of one shape.
pub struct FeatureStream<'s, T> {
    stream: Stream<'s, Featured<T>>,
    names: Arc<Vec<String>>,
    width: RowWidth,
}

/// How many features a row will have when it is complete, known to the step that begins it.
type RowWidth = Rc<Cell<usize>>;

impl<T: Data> Clone for FeatureStream<'_, T> {
    fn clone(&self) -> Self {
        Self {
            stream: self.stream.clone(),
            names: Arc::clone(&self.names),
            width: Rc::clone(&self.width),
        }
    }
}

impl<'s, T: Data> FeatureStream<'s, T> {
    /// The features' names, in the order of the row.
    pub fn names(&self) -> &Arc<Vec<String>> {
        &self.names
    }

    /// The stream itself.
    pub fn into_stream(self) -> Stream<'s, Featured<T>> {
        self.stream
    }

    /// Keeps the events that `keep` wants, with their rows; the others count as filtered.
    pub fn filter(self, id: &str, mut keep: impl FnMut(&T) -> bool + 'static) -> Self {
        let stream = self.stream.filter(id, move |row| keep(&row.event));
        Self { stream, ..self }
    }

    /// Keys the stream by something in the event, to add more features.
    pub fn key_by<K: Key>(self, key: impl Fn(&T) -> K + 'static) -> KeyedFeatures<'s, K, T> {
        let key = Rc::new(key);
        let keyed = self.stream.key_by(move |row: &Featured<T>| key(&row.event));
        KeyedFeatures {
            keyed,
            names: self.names,
            width: self.width,
        }
    }
}

/// A keyed stream of events that have features already.
pub struct KeyedFeatures<'s, K, T> {
    keyed: Keyed<'s, K, Featured<T>>,
    names: Arc<Vec<String>>,
    width: RowWidth,
}

impl<'s, K: Key, T: Data> KeyedFeatures<'s, K, T> {
    /// Adds features over windows of the key's own events to every row.
    pub fn features(
        self,
        id: &str,
        declare: impl FnOnce(&mut Features<T>),
    ) -> FeatureStream<'s, T> {
        attach(
            self.keyed,
            (&self.names, self.width),
            id,
            declare,
            Rows {
                lift: |row| row,
                event: |row| &row.event,
            },
        )
    }
}

/// Gives keyed streams of plain events their first features.
pub trait WithFeatures<'s, T> {
    /// Computes features over windows of the key's own events: one row per event, exact.
    fn features(self, id: &str, declare: impl FnOnce(&mut Features<T>)) -> FeatureStream<'s, T>;
}

impl<'s, K: Key, T: Data> WithFeatures<'s, T> for Keyed<'s, K, T> {
    fn features(self, id: &str, declare: impl FnOnce(&mut Features<T>)) -> FeatureStream<'s, T> {
        let lift = |event| Featured {
            event,
            features: Vec::new(),
        };
        attach(
            self,
            (&[], RowWidth::default()),
            id,
            declare,
            Rows {
                lift,
                event: |event| event,
            },
        )
    }
}

/// How a step makes rows of what comes in, and how it gets at the event before it does.
struct Rows<T, I> {
    lift: fn(I) -> Featured<T>,
    event: fn(&I) -> &T,
}

fn attach<'s, K: Key, T: Data, I: Data>(
    keyed: Keyed<'s, K, I>,
    (names, width): (&[String], RowWidth),
    id: &str,
    declare: impl FnOnce(&mut Features<T>),
    rows: Rows<T, I>,
) -> FeatureStream<'s, T> {
    let mut features = Features::new();
    declare(&mut features);
    let (plan, errors) = match features.build() {
        Ok(plan) => (Some(plan), Vec::new()),
        Err(errors) => (None, errors),
    };
    let new = plan
        .as_ref()
        .map(|plan| plan.names().to_vec())
        .unwrap_or_default();
    let taken: Vec<_> = new
        .iter()
        .filter(|name| names.contains(name))
        .cloned()
        .collect();
    let all: Vec<_> = names.iter().cloned().chain(new).collect();
    width.set(width.get().max(all.len()));
    let step = FeaturesStep {
        plan,
        rows,
        width: Rc::clone(&width),
        key: PhantomData,
    };
    let stream = keyed.step(id, "features", step);
    errors
        .into_iter()
        .for_each(|error| stream.error(format!("features `{id}`: {error}")));
    for name in taken {
        stream.error(format!(
            "features `{id}`: `{name}` is the name of an earlier feature: choose another name"
        ));
    }
    FeatureStream {
        stream,
        names: Arc::new(all),
        width,
    }
}

struct FeaturesStep<K, T, I> {
    /// `None` when it could not be built: the flow will not run.
    plan: Option<FeaturePlan<T>>,
    rows: Rows<T, I>,
    width: RowWidth,
    key: PhantomData<K>,
}

impl<K: Key, T: Data, I: Data> KeyedStep<I> for FeaturesStep<K, T, I> {
    type Key = K;
    type State = KeyFeatures;
    type Out = Featured<T>;

    fn touch(&self, records: &[Record<I>], states: &[Option<&KeyFeatures>]) {
        if let Some(plan) = &self.plan {
            plan.touch(
                records
                    .iter()
                    .map(|record| (self.rows.event)(&record.value)),
                states,
            );
        }
    }

    fn accepts(&self, states: &KeyedState<K, KeyFeatures>) -> Result<(), String> {
        let Some(plan) = &self.plan else {
            return Ok(());
        };
        if states.iter().all(|(_, state)| plan.accepts(state)) {
            return Ok(());
        }
        let remedy = "declare them as then, or give the step another id to start anew";
        Err(format!(
            "its features were declared in another way when it was written; {remedy}"
        ))
    }

    #[inline]
    fn process(
        &mut self,
        _key: &K,
        state: &mut KeyFeatures,
        record: Record<I>,
        context: &mut Context<'_, Featured<T>>,
    ) {
        let mut record = record.map(self.rows.lift);
        let Featured { event, features } = &mut record.value;
        if let Some(plan) = &mut self.plan {
            if let Err(reason) = guard(|| plan.extract(event)) {
                return context.reject(&record.with(()), Some(&record.value.event), reason);
            }
            if features.capacity() == 0 && plan.has_row() {
                features.reserve_exact(self.width.get());
            }
            plan.update_extracted(state, record.time, features);
        }
        context.emit(record);
    }
}

#[cfg(test)]
#[path = "features_tests.rs"]
mod tests;
