//! How a flow differs from the checkpoint that it is to go on from.

use serde_json::Value;

use super::Checkpointing;
use super::sealer::LEFT;
use crate::checkpoint::{CheckpointError, Checkpoints, Epoch, Manifest};
use crate::flow::{Graph, Node};
use crate::telemetry::StepKind;

/// How a flow differs from the checkpoint that a job of it would go on from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The checkpoint's epoch.
    pub epoch: Epoch,
    /// Sources and steps with state that the checkpoint does not know: they begin anew.
    pub added: Vec<String>,
    /// Those that the flow no longer has, whose state would be left behind, and has not been yet.
    pub dropped: Vec<String>,
    /// Why the job cannot go on at all: steps that have another type now.
    pub changed: Vec<String>,
}

impl Comparison {
    pub(super) fn of(manifest: &Manifest, graph: &Graph) -> Self {
        let known = |id: &str| graph.nodes().iter().find(|node| node.id == id);
        let steps = manifest.steps.iter().map(|step| (&step.id, &*step.kind));
        let source = StepKind::Source.word();
        let sources = manifest.sources.iter().map(|own| (&own.id, source));
        let (mut dropped, mut changed) = (Vec::new(), Vec::new());
        let noted = manifest.notes.get(LEFT).and_then(Value::as_array);
        let is_left = |id: &str| noted.is_some_and(|left| left.iter().any(|other| other == id));
        for (id, kind) in sources.chain(steps.clone()) {
            match known(id) {
                Some(node) if kind_of(node) == kind => {}
                Some(node) => changed.push(format!(
                    "step `{id}` is a {} step, but epoch {} holds the state of a {kind} step of \
                     that id: give the step another id",
                    kind_of(node),
                    manifest.epoch,
                )),
                None if is_left(id) => {}
                None => dropped.push(id.clone()),
            }
        }
        let has_state = |node: &&Node| matches!(node.kind, StepKind::Source | StepKind::Keyed);
        let is_known = |id: &str| manifest.source(id).is_some() || manifest.step(id).is_some();
        let added = graph.nodes().iter().filter(has_state);
        let added = added.filter(|node| !is_known(&node.id));
        Self {
            epoch: manifest.epoch,
            added: added.map(|node| node.id.clone()).collect(),
            dropped,
            changed,
        }
    }

    /// Why the job cannot go on, where state may be left behind or not.
    pub fn errors(&self, allow_dropped_state: bool) -> Vec<String> {
        let dropped = self.dropped.iter().filter(|_| !allow_dropped_state);
        let dropped = dropped.map(|id| {
            format!(
                "epoch {} knows of `{id}`, which the pipeline does not have: put it back, or leave \
                 its state behind with --allow-dropped-state",
                self.epoch
            )
        });
        self.changed.iter().cloned().chain(dropped).collect()
    }
}

impl Checkpointing {
    /// Compares a flow with the checkpoint that a job of it would go on from; nothing where there is
    /// none. Nothing is written.
    ///
    /// # Errors
    /// When checkpoints cannot be read, or there is none of those to start from.
    pub fn compare(&self, graph: &Graph) -> Result<Option<Comparison>, CheckpointError> {
        let checkpoints = Checkpoints::open(&self.options, &self.pipeline)?;
        let manifest = checkpoints.candidate(&self.from)?;
        Ok(manifest.map(|manifest| Comparison::of(&manifest, graph)))
    }
}

/// The sources of a manifest that a flow does not have any more.
pub(super) fn left(manifest: &Manifest, graph: &Graph) -> Vec<String> {
    let left = manifest.sources.iter().map(|source| source.id.clone());
    left.filter(|id| !graph.contains(id)).collect()
}

/// The type of a stateful step.
fn kind_of(node: &Node) -> &str {
    match node.kind {
        StepKind::Keyed => &node.label,
        kind => kind.word(),
    }
}
