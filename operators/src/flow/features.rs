//! Streams of events with their features.

use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thalweg_engine::flow::{Keyed, Stream};
use thalweg_engine::key::Key;
use thalweg_engine::record::Data;

use super::feature_steps::{Common, CorrectingStep, FeaturesStep, RowWidth, Rows};
use crate::features::{Correction, FeaturePlan, Features};

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
    /// The step that gave the last of them.
    id: String,
    corrections: Option<Corrections<'s, T>>,
}

impl<T: Data> Clone for FeatureStream<'_, T> {
    fn clone(&self) -> Self {
        Self {
            stream: self.stream.clone(),
            names: Arc::clone(&self.names),
            width: Rc::clone(&self.width),
            id: self.id.clone(),
            corrections: self.corrections.clone(),
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

    /// The rows that the step's events have changed after they were given, each as it is now, with
    /// the event that it is of; for a step that was asked for
    /// [`corrections`](Features::corrections).
    ///
    /// A correction flows with the time and the origin (and an index) of the late event that caused
    /// it; its value says when and where its own event was read. The corrections of one event come
    /// after its own row, oldest first. In event-time order only events behind the watermark cause
    /// any. They are of this step alone: steps before it have corrections
    /// of their own, and what [`filter`](Self::filter) leaves out is still corrected.
    ///
    /// ```
    /// use thalweg_engine::job::JobOptions;
    /// use thalweg_engine::testing::{Events, run_flow};
    /// use thalweg_engine::time::{EventTime, secs};
    /// use thalweg_operators::prelude::*;
    ///
    /// let corrected = run_flow(JobOptions::default(), |flow| {
    ///     let features = flow
    ///         .source("seconds", Events::new([20_u32, 24, 22]))
    ///         .event_time(|second| EventTime::from_seconds((*second).into()), secs(5))
    ///         .key_by(|_| ())
    ///         .features("counts", |f| {
    ///             f.over(secs(10)).count("n");
    ///             f.lateness(secs(5));
    ///             f.corrections();
    ///         });
    ///     features.corrections()
    /// })?;
    /// assert_eq!(corrected.len(), 1);
    /// assert_eq!((corrected[0].event, &corrected[0].features), (24, &vec![3.0]));
    /// assert_eq!(corrected[0].origin.offset, 1);
    /// # Ok::<(), thalweg_engine::RunError>(())
    /// ```
    pub fn corrections(&self) -> Stream<'s, Correction<T>> {
        match &self.corrections {
            Some(corrections) => corrections.clone(),
            None => {
                let id = &self.id;
                self.stream.error(format!(
                    "features `{id}` give no corrections: declare them with `f.corrections()`"
                ));
                let none = |_| None::<Correction<T>>;
                self.stream
                    .clone()
                    .flat_map(&format!("{id}.corrections"), none)
            }
        }
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
    let (stream, corrections) = run(keyed, id, plan, rows, Rc::clone(&width));
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
        id: id.to_owned(),
        corrections,
    }
}

type Corrections<'s, T> = Stream<'s, Correction<T>>;

/// Runs the step that the plan asks for.
fn run<'s, K: Key, T: Data, I: Data>(
    keyed: Keyed<'s, K, I>,
    id: &str,
    plan: Option<FeaturePlan<T>>,
    rows: Rows<T, I>,
    width: RowWidth,
) -> (Stream<'s, Featured<T>>, Option<Corrections<'s, T>>) {
    let asks = |what: fn(&FeaturePlan<T>) -> bool| plan.as_ref().is_some_and(what);
    let (refuses, corrects) = (asks(FeaturePlan::refuses), asks(FeaturePlan::corrects));
    let telemetry = Arc::clone(keyed.telemetry());
    let common = Common::new(plan, rows, width, (id, &telemetry));
    if corrects {
        let both = keyed.step(id, "features", CorrectingStep(common));
        let corrections = both
            .clone()
            .flat_map(&format!("{id}.corrections"), |both| both.corrections);
        let rows = both.map(&format!("{id}.rows"), |both| both.row);
        return (rows, Some(corrections));
    }
    let stream = if refuses {
        keyed.step(id, "features", FeaturesStep::<_, _, _, true>(common))
    } else {
        keyed.step(id, "features", FeaturesStep::<_, _, _, false>(common))
    };
    (stream, None)
}

#[cfg(test)]
#[path = "features_tests.rs"]
mod tests;
