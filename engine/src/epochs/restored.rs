//! What a run goes on from.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::Value;

use super::decision::cannot_begin;
use super::sealer::{LINEAGE, PUBLISHED};
use super::{KEYS, lock};
use crate::checkpoint::{
    Checkpoints, Epoch, KeyGroups, Manifest, Piece, Pieces, SourcePartition, SourceRecord,
};
use crate::cluster::opening::FormError;
use crate::flow::Graph;
use crate::key::KeyGroup;
use crate::step_state::StepState;
use crate::telemetry::StepKind;
use crate::watermark::WatermarkMerge;

/// The checkpoint that a run goes on from, but for the states of the steps.
pub(crate) struct Restored {
    /// By step id.
    pub(crate) sources: BTreeMap<String, RestoredSource>,
    states: BTreeMap<String, StepState>,
    /// By sink, what it has still to publish, oldest first.
    outboxes: Mutex<BTreeMap<String, Outboxes>>,
    /// How far sinks had published, in their own words.
    published: BTreeMap<String, String>,
}

/// What a sink has still to publish, by epoch.
type Outboxes = Vec<(Epoch, Vec<u8>)>;

/// How far a source has been read.
pub(crate) struct RestoredSource {
    pub(crate) number: u16,
    /// By name.
    pub(crate) partitions: BTreeMap<String, SourcePartition>,
}

impl Restored {
    /// Reads what the manifest names of these key groups for a graph that has room for it; in the
    /// first process all that is for sinks, too, since those with one writer have it there.
    pub(super) fn load(
        checkpoints: &Checkpoints,
        manifest: &Manifest,
        graph: &Graph,
        (groups, is_first): (KeyGroups, bool),
    ) -> Result<Self, FormError> {
        let mut states = BTreeMap::new();
        for step in &manifest.steps {
            if !graph.contains(&step.id) {
                continue;
            }
            let groups = match step.kind == StepKind::Sink.word() && is_first {
                true => KeyGroups::ALL,
                false => groups,
            };
            let pieces = checkpoints.load(manifest, &step.id, groups);
            let mut pieces = pieces.map_err(cannot_begin)?;
            let watermarks = step.notes.get("watermarks").cloned().unwrap_or_default();
            let watermarks = serde_json::from_value::<BTreeMap<usize, WatermarkMerge>>(watermarks);
            let watermarks = watermarks.map_err(|error| {
                FormError::Refused(format!(
                    "the watermarks of step `{}` in epoch {} cannot be read: {error}",
                    step.id, manifest.epoch
                ))
            })?;
            states.insert(
                step.id.clone(),
                StepState {
                    keys: joined(&mut pieces, KEYS),
                    bases: KeyGroups::NONE,
                    waiting: joined(&mut pieces, "waiting"),
                    watermarks: watermarks.into_values().collect(),
                },
            );
        }
        let mut outboxes = BTreeMap::<_, Vec<_>>::new();
        for outbox in &manifest.outboxes {
            let of_sink = outboxes.entry(outbox.sink.clone()).or_default();
            for part in outbox.parts.iter().filter(|_| is_first) {
                let content = checkpoints.read_part(part, KeyGroups::ALL);
                let content = content.map_err(cannot_begin)?;
                of_sink.extend(content.into_values().map(|bytes| (outbox.epoch, bytes)));
            }
        }
        let sources = manifest.sources.iter().map(|source| {
            let places = source.partitions.iter().cloned();
            let restored = RestoredSource {
                number: number(source).unwrap_or_default(),
                partitions: places.map(|place| (place.name.clone(), place)).collect(),
            };
            (source.id.clone(), restored)
        });
        let published = manifest.steps.iter().filter_map(|step| {
            let words = step.notes.get(PUBLISHED)?.as_str()?;
            Some((step.id.clone(), words.to_owned()))
        });
        Ok(Self {
            sources: sources.collect(),
            states,
            outboxes: Mutex::new(outboxes),
            published: published.collect(),
        })
    }

    /// Takes the states of the steps out, by step id.
    pub(crate) fn take_states(&mut self) -> BTreeMap<String, StepState> {
        std::mem::take(&mut self.states)
    }

    /// Whether a sink had something to publish.
    pub(crate) fn has_outboxes(&self, sink: &str) -> bool {
        lock(&self.outboxes).contains_key(sink)
    }

    /// Takes out what a sink has still to publish of earlier runs, oldest first.
    pub(crate) fn take_outboxes(&self, sink: &str) -> Outboxes {
        let mut outboxes = lock(&self.outboxes);
        outboxes
            .get_mut(sink)
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// How far a sink had published, in its own words.
    pub(crate) fn published(&self, sink: &str) -> Option<&str> {
        self.published.get(sink).map(String::as_str)
    }

    /// Forgets how far sinks had published: under other slots, nothing has been.
    pub(super) fn forget_published(&mut self) {
        self.published.clear();
    }
}

/// Which row of checkpoints a manifest belongs to.
pub(super) fn lineage(manifest: &Manifest) -> Option<u64> {
    manifest.notes.get(LINEAGE).and_then(Value::as_u64)
}

/// The number that a source had.
fn number(source: &SourceRecord) -> Option<u16> {
    let number = source.notes.get("number").and_then(Value::as_u64)?;
    u16::try_from(number).ok()
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
