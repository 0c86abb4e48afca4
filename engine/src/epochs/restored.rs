//! What a run goes on from.

use std::collections::BTreeMap;

use super::Checkpointing;
use super::sealer::LINEAGE;
use crate::checkpoint::{Checkpoints, Epoch, KeyGroups, Manifest, Piece, Pieces, SourcePartition};
use crate::flow::{Graph, Node};
use crate::key::KeyGroup;
use crate::step_state::StepState;
use crate::telemetry::StepKind;
use crate::watermark::WatermarkMerge;

/// The checkpoint that a run goes on from, but for the states of the steps.
pub(crate) struct Restored {
    pub(super) lineage: Option<u64>,
    /// By step id.
    pub(crate) sources: BTreeMap<String, RestoredSource>,
    states: BTreeMap<String, StepState>,
    outboxes: BTreeMap<String, Vec<(Epoch, Vec<u8>)>>,
}

/// How far a source has been read.
pub(crate) struct RestoredSource {
    pub(crate) number: u16,
    /// By name.
    pub(crate) partitions: BTreeMap<String, SourcePartition>,
}

impl Restored {
    /// Reads everything that the manifest names; the graph must have room for it.
    pub(super) fn load(
        checkpoints: &Checkpoints,
        manifest: &Manifest,
        graph: &Graph,
        config: &Checkpointing,
    ) -> Result<Self, String> {
        let errors = differences(manifest, graph, config.allow_dropped_state);
        if !errors.is_empty() {
            return Err(errors.join("\n"));
        }
        let mut states = BTreeMap::new();
        for step in &manifest.steps {
            if !graph.contains(&step.id) {
                continue;
            }
            let pieces = checkpoints.load(manifest, &step.id, KeyGroups::ALL);
            let mut pieces = pieces.map_err(|error| error.to_string())?;
            let watermarks = step.notes.get("watermarks").cloned().unwrap_or_default();
            let watermarks = serde_json::from_value::<BTreeMap<usize, WatermarkMerge>>(watermarks);
            let watermarks = watermarks.map_err(|error| {
                format!(
                    "the watermarks of step `{}` in epoch {} cannot be read: {error}",
                    step.id, manifest.epoch
                )
            })?;
            states.insert(
                step.id.clone(),
                StepState {
                    keys: joined(&mut pieces, "keys"),
                    bases: KeyGroups::NONE,
                    waiting: joined(&mut pieces, "waiting"),
                    watermarks: watermarks.into_values().collect(),
                },
            );
        }
        let mut outboxes = BTreeMap::<_, Vec<_>>::new();
        for outbox in &manifest.outboxes {
            for part in &outbox.parts {
                let content = checkpoints.read_part(part, KeyGroups::ALL);
                let content = content.map_err(|error| error.to_string())?;
                let of_sink = outboxes.entry(outbox.sink.clone()).or_default();
                of_sink.extend(content.into_values().map(|bytes| (outbox.epoch, bytes)));
            }
        }
        let sources = manifest.sources.iter().map(|source| {
            let number = source
                .notes
                .get("number")
                .and_then(serde_json::Value::as_u64);
            let places = source.partitions.iter().cloned();
            let restored = RestoredSource {
                number: number
                    .and_then(|n| u16::try_from(n).ok())
                    .unwrap_or_default(),
                partitions: places.map(|place| (place.name.clone(), place)).collect(),
            };
            (source.id.clone(), restored)
        });
        Ok(Self {
            lineage: manifest
                .notes
                .get(LINEAGE)
                .and_then(serde_json::Value::as_u64),
            sources: sources.collect(),
            states,
            outboxes,
        })
    }

    /// Takes the states of the steps out, by step id.
    pub(crate) fn take_states(&mut self) -> BTreeMap<String, StepState> {
        std::mem::take(&mut self.states)
    }

    /// What a sink has still to publish of earlier runs, oldest first.
    pub(crate) fn outboxes(&self, sink: &str) -> &[(Epoch, Vec<u8>)] {
        self.outboxes.get(sink).map_or(&[], Vec::as_slice)
    }
}

/// The type of a stateful step.
fn kind_of(node: &Node) -> &str {
    match node.kind {
        StepKind::Keyed => &node.label,
        kind => kind.word(),
    }
}

/// All pieces of a content, one after the other.
fn joined(pieces: &mut Pieces, content: &str) -> BTreeMap<KeyGroup, Vec<u8>> {
    let groups = pieces.take(content).into_iter();
    let join = |(group, pieces): (KeyGroup, Vec<Piece>)| {
        let mut pieces = pieces.into_iter().map(|piece| piece.bytes);
        let mut bytes = pieces.next().unwrap_or_default();
        pieces.for_each(|more| bytes.extend_from_slice(&more));
        (group, bytes)
    };
    groups.map(join).collect()
}

/// Why the graph cannot go on from the manifest.
fn differences(manifest: &Manifest, graph: &Graph, allows_dropped: bool) -> Vec<String> {
    let mut errors = Vec::new();
    let epoch = manifest.epoch;
    let known = |id: &str| graph.nodes().iter().find(|node| node.id == id);
    for step in &manifest.steps {
        match known(&step.id) {
            Some(node) if kind_of(node) == step.kind => {}
            Some(node) => errors.push(format!(
                "step `{}` is a {} step, but epoch {epoch} holds the state of a {} step of that \
                 id: give the step another id",
                step.id,
                kind_of(node),
                step.kind
            )),
            None if allows_dropped => {}
            None => errors.push(format!(
                "epoch {epoch} holds state of step `{}`, which the pipeline does not have: put the \
                 step back, or leave its state behind with --allow-dropped-state",
                step.id
            )),
        }
    }
    let sources = graph
        .nodes()
        .iter()
        .filter(|node| node.kind == StepKind::Source);
    let numbers: BTreeMap<&str, u64> = sources.map(|node| node.id.as_str()).zip(0..).collect();
    for source in &manifest.sources {
        let number = source
            .notes
            .get("number")
            .and_then(serde_json::Value::as_u64);
        match numbers.get(source.id.as_str()) {
            Some(now) if number.is_none_or(|number| number == *now) => {}
            Some(_) => errors.push(format!(
                "source `{}` stood in another place among the sources in epoch {epoch}: declare \
                 new sources behind those that were there",
                source.id
            )),
            None if allows_dropped => {}
            None => errors.push(format!(
                "epoch {epoch} knows how far source `{}` was read, which the pipeline does not \
                 have: put it back, or leave it behind with --allow-dropped-state",
                source.id
            )),
        }
    }
    errors
}
