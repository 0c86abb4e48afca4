//! Streams scored by a model.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thalweg_engine::flow::Stream;
use thalweg_engine::record::{Data, Record};
use thalweg_engine::telemetry::StepKind;

use super::{FeatureStream, Featured};
use crate::infer::{Binding, ModelInfo, Onnx, Scorer};

/// An event with its features and what the model says of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored<T> {
    /// The event.
    pub event: T,
    /// One value per feature; `NaN` where there is none.
    pub features: Vec<f64>,
    /// The model's output.
    pub score: f32,
}

/// A stream of scored events, which knows the features' names and the model.
pub struct ScoredStream<'s, T> {
    stream: Stream<'s, Scored<T>>,
    names: Arc<Vec<String>>,
    model: Option<ModelInfo>,
}

impl<T: Data> Clone for ScoredStream<'_, T> {
    fn clone(&self) -> Self {
        Self {
            stream: self.stream.clone(),
            names: Arc::clone(&self.names),
            model: self.model.clone(),
        }
    }
}

impl<'s, T: Data> FeatureStream<'s, T> {
    /// Scores every row with a model, whose inputs are bound to features by name.
    ///
    /// A row that cannot be scored goes to the dead letters with its reason.
    pub fn infer(self, id: &str, model: &Onnx) -> ScoredStream<'s, T> {
        let names = Arc::clone(self.names());
        let stream = self.into_stream();
        let built = Binding::resolve(model.features(), &names)
            .and_then(|binding| Ok(Scorer::new(Box::new(model.build()?), binding)));
        let mut scorer = built
            .map_err(|error| stream.error(format!("model step `{id}`: {error}")))
            .ok();
        let info = scorer.as_ref().map(|scorer| scorer.info().clone());
        if let Some(info) = &info {
            stream.telemetry().set_info("model_name", &info.name);
            stream.telemetry().set_info("model_version", &info.version);
        }
        let predictions = stream.telemetry().counter("predictions");
        let stream = stream.try_map_batch(id, StepKind::Infer, "infer", move |records| {
            let Some(scorer) = &mut scorer else {
                return Vec::new();
            };
            let outcomes = scorer.score(records.iter().map(|r| r.value.features.as_slice()));
            predictions.add(outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64);
            records
                .into_iter()
                .zip(outcomes)
                .map(|(record, o)| scored(record, o))
                .collect()
        });
        ScoredStream {
            stream,
            names,
            model: info,
        }
    }
}

type Failed<T> = (Record<Featured<T>>, String);

fn scored<T>(
    record: Record<Featured<T>>,
    outcome: Result<f32, String>,
) -> Result<Record<Scored<T>>, Failed<T>> {
    match outcome {
        Ok(score) => Ok(record.map(|Featured { event, features }| Scored {
            event,
            features,
            score,
        })),
        Err(reason) => Err((record, reason)),
    }
}

impl<'s, T: Data> ScoredStream<'s, T> {
    /// The features' names, in the order of the row.
    pub fn names(&self) -> &Arc<Vec<String>> {
        &self.names
    }

    /// The model that scores, unless it could not be built.
    pub fn model(&self) -> Option<&ModelInfo> {
        self.model.as_ref()
    }

    /// The stream itself.
    pub fn into_stream(self) -> Stream<'s, Scored<T>> {
        self.stream
    }
}
