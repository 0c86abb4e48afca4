//! A generation: one start of a pipeline, from its fence on.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::chain;
use super::checkpoints::Checkpoints;
use super::compaction::Compaction;
use super::entry::Entry;
use super::error::CheckpointError;
use super::location::Location;
use super::log::Appended;
use super::manifest::{
    Epoch, Manifest, ManifestDraft, OutboxDraft, OutboxRecord, StepDraft, StepRecord,
};
use super::part::{self, PartRef, PartWriter};
use super::retention::{Retention, Tidied};

/// Which generation it is; can be sent to the other processes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GenerationId {
    /// Counts the starts of the pipeline, from 1.
    pub number: u64,
    /// Tells two starts apart that take the same number at once.
    #[serde(with = "super::entry::hex")]
    pub token: u64,
}

/// Where a generation starts from.
#[derive(Clone, Debug, Default)]
pub enum StartFrom {
    /// The newest sealed epoch; nothing where there is none.
    #[default]
    Newest,
    /// A sealed epoch that is kept. What has been sealed after it is left behind; epochs count on
    /// from the newest one nevertheless.
    Epoch(Epoch),
    /// A savepoint of this name.
    Savepoint(String),
    /// The newest sealed epoch in another place, such as an exported checkpoint.
    Elsewhere(Location),
}

/// The one that seals epochs. A pipeline has one at a time: the next one fences it off.
#[derive(Debug)]
pub struct Generation {
    checkpoints: Checkpoints,
    id: GenerationId,
    restored: Option<Manifest>,
    /// The checkpoint that the next one builds on: the one sealed last or else the restored one.
    latest: Option<Manifest>,
    next_epoch: Epoch,
    /// The log's newest entry, as far as it is ours.
    last_entry: u64,
    /// A seal of which it is not known whether it has come through.
    pending: Option<(ManifestDraft, Manifest)>,
    /// Up to which epoch each sink has published.
    published: BTreeMap<String, Epoch>,
    /// When a merge was last asked for, by step, content and worker.
    compacting: BTreeMap<(String, String, usize), Epoch>,
    retention: Retention,
}

impl Generation {
    /// A generation whose fence is entry `fence`, with the checkpoints that are kept, and the one to
    /// restore, whose parts are all in this store.
    pub(super) fn new(
        checkpoints: Checkpoints,
        id: GenerationId,
        fence: u64,
        kept: VecDeque<Manifest>,
        restored: Option<Manifest>,
    ) -> Self {
        let newest = kept.back().map(|manifest| manifest.epoch);
        let from = restored.as_ref().map(|manifest| manifest.epoch);
        Self {
            id,
            next_epoch: newest.max(from).unwrap_or_default().next(),
            last_entry: fence,
            latest: restored.clone(),
            restored,
            pending: None,
            published: BTreeMap::new(),
            compacting: BTreeMap::new(),
            retention: Retention::new(kept, checkpoints.options.retain),
            checkpoints,
        }
    }

    /// Which it is.
    pub fn id(&self) -> GenerationId {
        self.id
    }

    /// The checkpoint to restore state, offsets and outboxes from; none at a pipeline's first start.
    pub fn restored(&self) -> Option<&Manifest> {
        self.restored.as_ref()
    }

    /// The epoch to be sealed next.
    pub fn next_epoch(&self) -> Epoch {
        self.next_epoch
    }

    /// What writes parts for it.
    pub fn writer(&self) -> PartWriter {
        self.checkpoints.writer(self.id)
    }

    /// Seals the next epoch: from now on it is the newest checkpoint. Every part that the draft names
    /// must have been written.
    ///
    /// # Errors
    /// - transient ones: call again with the same draft, which is what is sealed even if the earlier
    ///   call had come through.
    /// - [`CheckpointError::Superseded`]: another generation has begun. This one must end without
    ///   publishing anything.
    /// - [`CheckpointError::Draft`]: the draft is for another epoch, names a part of another generation,
    ///   or is another one than in the call before, which may have come through.
    pub fn seal(&mut self, draft: &ManifestDraft) -> Result<Manifest, CheckpointError> {
        let manifest = match self.pending.take() {
            Some((earlier, manifest)) => {
                let is_same = earlier == *draft;
                self.pending = Some((earlier, manifest.clone()));
                if !is_same {
                    return Err(refused(
                        draft,
                        "it may be sealed already with another draft",
                    ));
                }
                manifest
            }
            None => {
                let manifest = self.manifest(draft)?;
                self.pending = Some((draft.clone(), manifest.clone()));
                manifest
            }
        };
        let entry = Entry::Manifest(Box::new(manifest.clone()));
        match self.checkpoints.log().append(&entry)? {
            Appended::Ours => {}
            Appended::Lost(other) => {
                return Err(CheckpointError::Superseded {
                    generation: self.id.number,
                    other: other.generation().number,
                    file: self.checkpoints.log().shown(entry.number()),
                });
            }
        }
        self.pending = None;
        self.last_entry = manifest.entry;
        self.next_epoch = manifest.epoch.next();
        self.latest = Some(manifest.clone());
        self.retention.keep(manifest.clone());
        for step in &draft.steps {
            for base in step.parts.iter().filter(|part| part.kind.is_base()) {
                let of = (step.id.clone(), base.content.clone(), base.worker);
                self.compacting.remove(&of);
            }
        }
        Ok(manifest)
    }

    /// Looks whether another generation has begun. It would be found at the next
    /// [`Generation::seal`], too.
    ///
    /// # Errors
    /// [`CheckpointError::Superseded`] if so, and when the log cannot be read.
    pub fn check_newest(&self) -> Result<(), CheckpointError> {
        let log = self.checkpoints.log();
        match log.read(self.last_entry + 1)? {
            Some(other) if other.generation() != self.id => Err(CheckpointError::Superseded {
                generation: self.id.number,
                other: other.generation().number,
                file: log.shown(other.number()),
            }),
            _ => Ok(()),
        }
    }

    /// The whole manifest of a draft.
    fn manifest(&self, draft: &ManifestDraft) -> Result<Manifest, CheckpointError> {
        if draft.epoch != self.next_epoch {
            let reason = format!("the next epoch is {}", self.next_epoch);
            return Err(refused(draft, &reason));
        }
        for (number, step) in draft.steps.iter().enumerate() {
            if draft.steps[..number]
                .iter()
                .any(|other| other.id == step.id)
            {
                return Err(refused(
                    draft,
                    &format!("step `{}` is there twice", step.id),
                ));
            }
        }
        let state = draft.steps.iter().flat_map(|step| &step.parts);
        let outboxes = draft.outboxes.iter().flat_map(|outbox| &outbox.parts);
        for part in state.chain(outboxes) {
            self.check_part(draft, part)?;
        }
        Ok(Manifest {
            epoch: draft.epoch,
            pipeline: self.checkpoints.pipeline.clone(),
            generation: self.id,
            entry: self.last_entry + 1,
            engine: env!("CARGO_PKG_VERSION").to_owned(),
            sealed_at: draft.sealed_at,
            workers: draft.workers,
            processes: draft.processes,
            restored_from: self.restored.as_ref().map(|manifest| manifest.epoch),
            oldest_kept: self.retention.oldest_with(draft.epoch),
            sources: draft.sources.clone(),
            steps: draft.steps.iter().map(|step| self.step(step)).collect(),
            outboxes: self.outboxes(draft),
            notes: draft.notes.clone(),
        })
    }

    fn check_part(&self, draft: &ManifestDraft, part: &PartRef) -> Result<(), CheckpointError> {
        let reason = if part::generation_of(&part.file) != Some(self.id.number) {
            "of another generation"
        } else if part.epoch > draft.epoch {
            "of a later epoch"
        } else {
            return Ok(());
        };
        Err(refused(draft, &format!("part `{}` is {reason}", part.file)))
    }

    /// A step's record: the parts that count so far, with those of the draft. A step of another type has
    /// nothing from before.
    fn step(&self, draft: &StepDraft) -> StepRecord {
        let before = self
            .latest
            .as_ref()
            .and_then(|latest| latest.step(&draft.id));
        let before = before.filter(|before| before.kind == draft.kind);
        let before = before.map_or(&[][..], |before| &before.parts);
        StepRecord {
            id: draft.id.clone(),
            kind: draft.kind.clone(),
            parts: chain::extend(before, &draft.parts),
            notes: draft.notes.clone(),
        }
    }

    fn outboxes(&self, draft: &ManifestDraft) -> Vec<OutboxRecord> {
        let record = |outbox: &OutboxDraft| OutboxRecord {
            sink: outbox.sink.clone(),
            epoch: draft.epoch,
            parts: outbox.parts.clone(),
        };
        let mut outboxes: Vec<_> = self.pending_outboxes().cloned().collect();
        outboxes.extend(draft.outboxes.iter().map(record));
        outboxes
    }

    fn pending_outboxes(&self) -> impl Iterator<Item = &OutboxRecord> {
        let sealed = self.latest.iter().flat_map(|latest| &latest.outboxes);
        sealed.filter(|outbox| {
            let published = self.published.get(&outbox.sink);
            published.is_none_or(|published| *published < outbox.epoch)
        })
    }

    /// Takes note that every slot of a sink has published its outboxes up to and with this epoch: later
    /// manifests no longer name them.
    pub fn published(&mut self, sink: &str, epoch: Epoch) {
        let published = self.published.entry(sink.to_owned()).or_default();
        *published = epoch.max(*published);
    }

    /// The outboxes that are sealed and not [published](Self::published), as `(sink, epoch)`.
    pub fn unpublished(&self) -> impl Iterator<Item = (&str, Epoch)> {
        self.pending_outboxes()
            .map(|outbox| (&*outbox.sink, outbox.epoch))
    }

    /// Deletes checkpoints beyond those to keep and what no kept checkpoint names; to be called after
    /// each seal. Whatever it cannot delete now it deletes the next time.
    ///
    /// # Errors
    /// When the store refuses. Nothing is lost then, so the job may go on.
    pub fn tidy(&mut self) -> Result<Tidied, CheckpointError> {
        self.retention.tidy(&self.checkpoints, self.id)
    }

    /// The merges that are worth doing now, as of the epoch sealed last: one for each content of a step and
    /// worker whose changes have outgrown their base. One that has been given is given again only when no
    /// base has come of it for long.
    pub fn compactions(&mut self) -> Vec<Compaction> {
        let options = &self.checkpoints.options;
        let patience = options.parts_per_base as u64;
        // A checkpoint from elsewhere, not sealed here, is left as it is until it has been.
        let Some(latest) = self.latest.as_ref().filter(|m| m.generation == self.id) else {
            return Vec::new();
        };
        let mut due = Compaction::of(latest, options);
        due.retain(|compaction| {
            let of = (
                compaction.step.clone(),
                compaction.content.clone(),
                compaction.worker,
            );
            let asked = self.compacting.get(&of);
            let is_new = asked.is_none_or(|asked| asked.0 + patience < latest.epoch.0);
            if is_new {
                self.compacting.insert(of, latest.epoch);
            }
            is_new
        });
        due
    }
}

fn refused(draft: &ManifestDraft, reason: &str) -> CheckpointError {
    CheckpointError::Draft {
        epoch: draft.epoch,
        reason: reason.to_owned(),
    }
}
