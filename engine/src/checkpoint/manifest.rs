//! Manifests: what a sealed epoch consists of.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::generation::GenerationId;
use super::part::PartRef;
use crate::time::EventTime;
use crate::watermark::Watermark;

/// The number of a checkpoint. It counts on over all generations of a pipeline, from 1, without gaps.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A sealed epoch: everything that a restart needs to go on from its end.
///
/// As it stands in the log it is JSON that a person can read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The epoch.
    pub epoch: Epoch,
    /// The pipeline.
    pub pipeline: String,
    /// The generation that sealed it.
    pub generation: GenerationId,
    /// Its place in the log.
    pub entry: u64,
    /// The version of the engine that wrote it.
    pub engine: String,
    /// The time of day at which it was sealed.
    pub sealed_at: EventTime,
    /// Worker threads, in all processes together.
    pub workers: usize,
    /// Processes.
    pub processes: usize,
    /// The epoch whose state the generation began with, if it did not begin with none.
    pub restored_from: Option<Epoch>,
    /// The oldest epoch that is kept beside this one: older ones may have gone.
    pub oldest_kept: Epoch,
    /// The sources, by step id.
    pub sources: Vec<SourceRecord>,
    /// The stateful steps, by step id.
    pub steps: Vec<StepRecord>,
    /// The outboxes that not every slot has published, oldest first.
    pub outboxes: Vec<OutboxRecord>,
    /// Whatever else belongs to the epoch, such as the version of a model.
    pub notes: BTreeMap<String, Value>,
}

impl Manifest {
    /// The record of a step.
    pub fn step(&self, id: &str) -> Option<&StepRecord> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// The record of a source.
    pub fn source(&self, id: &str) -> Option<&SourceRecord> {
        self.sources.iter().find(|source| source.id == id)
    }

    /// Every part that it names.
    pub fn parts(&self) -> impl Iterator<Item = &PartRef> {
        let state = self.steps.iter().flat_map(|step| &step.parts);
        state.chain(self.outboxes.iter().flat_map(|outbox| &outbox.parts))
    }
}

/// How far a source has been read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRecord {
    /// The source's step id.
    pub id: String,
    /// What it is, in words.
    pub kind: String,
    /// Its partitions, in the source's order.
    pub partitions: Vec<SourcePartition>,
    /// Whatever else belongs to it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, Value>,
}

/// How far a partition of a source has been read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourcePartition {
    /// What the partition is called where it comes from.
    pub name: String,
    /// Its number.
    pub number: u32,
    /// The offset of the first record that does not belong to this epoch or an earlier one.
    pub offset: u64,
    /// How far event time has got in it.
    pub watermark: Watermark,
}

/// The state of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// The step id.
    pub id: String,
    /// The type of the step.
    pub kind: String,
    /// The parts that make up its state: what a part says of a key group goes over what those before
    /// it say, and a base begins anew.
    pub parts: Vec<PartRef>,
    /// Whatever else belongs to it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, Value>,
}

/// What an exactly-once sink has to publish of an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboxRecord {
    /// The sink's step id.
    pub sink: String,
    /// The epoch.
    pub epoch: Epoch,
    /// The parts, by worker.
    pub parts: Vec<PartRef>,
}

/// What is to be sealed: the epoch's own, from which [`Generation::seal`](super::Generation::seal)
/// makes the whole [`Manifest`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ManifestDraft {
    /// The epoch, which must be the generation's next one.
    pub epoch: Epoch,
    /// The time of day.
    pub sealed_at: EventTime,
    /// Worker threads, in all processes together.
    pub workers: usize,
    /// Processes.
    pub processes: usize,
    /// Every source.
    pub sources: Vec<SourceRecord>,
    /// Every stateful step; the state of a step that is not there is dropped.
    pub steps: Vec<StepDraft>,
    /// What the exactly-once sinks have to publish of this epoch.
    pub outboxes: Vec<OutboxDraft>,
    /// Whatever else belongs to the epoch.
    pub notes: BTreeMap<String, Value>,
}

/// A step, with what the epoch has changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepDraft {
    /// The step id.
    pub id: String,
    /// The type of the step.
    pub kind: String,
    /// The parts written for this epoch, and bases that
    /// [`Compaction::run`](super::Compaction::run) has made meanwhile. A step without changes has none.
    pub parts: Vec<PartRef>,
    /// Whatever else belongs to it.
    pub notes: BTreeMap<String, Value>,
}

/// What a sink has to publish of the epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboxDraft {
    /// The sink's step id.
    pub sink: String,
    /// The parts, by worker; none where there is nothing to publish.
    pub parts: Vec<PartRef>,
}
