//! The thread that seals one epoch after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam::channel::Receiver;
use serde_json::json;

use super::ack::Ack;
use super::saver::persist;
use super::{Epochs, lock};
use crate::checkpoint::{
    Generation, ManifestDraft, OutboxDraft, SourcePartition, SourceRecord, StepDraft,
};
use crate::job::JobContext;
use crate::turns;
use crate::watermark::WatermarkMerge;

/// The note of a manifest that says which row of checkpoints it belongs to.
pub(super) const LINEAGE: &str = "lineage";

/// An epoch that is over everywhere, with all that was said about it.
pub(crate) struct Sealing {
    pub(crate) epoch: u64,
    pub(crate) acks: Vec<Ack>,
}

impl Epochs {
    /// Seals what comes, in order.
    pub(crate) fn seal_all(&self, job: &Arc<JobContext>, sealings: &Receiver<Sealing>) {
        let Some(mut generation) = lock(&self.generation).take() else {
            return;
        };
        let mut book = Book::of(self);
        let clock = &job.options.clock;
        while let Ok(sealing) = turns::recv(sealings) {
            if job.is_aborted() {
                return;
            }
            let begun_ns = clock.now_ns();
            self.tell_published(&mut generation);
            let epoch = sealing.epoch;
            let draft = ManifestDraft {
                epoch: self.number(epoch),
                sealed_at: clock.wall(),
                workers: job.options.workers,
                processes: 1,
                notes: BTreeMap::from([(LINEAGE.to_owned(), json!(self.lineage))]),
                ..book.draft(sealing.acks)
            };
            if self.failpoint.is_hit(job, "before seal") {
                return;
            }
            let sealed = persist(job, "manifest", || generation.seal(&draft));
            let Some(manifest) = sealed else { return };
            if self.failpoint.is_hit(job, "after seal") {
                return;
            }
            self.note_sealed();
            let telemetry = &job.telemetry;
            telemetry
                .gauge("checkpoint_epoch")
                .set(manifest.epoch.0 as f64);
            let bytes: u64 = manifest.parts().map(|part| part.bytes).sum();
            telemetry.gauge("checkpoint_state_bytes").set(bytes as f64);
            let seconds = clock.now_ns().saturating_sub(begun_ns) as f64 / 1e9;
            telemetry.gauge("checkpoint_seal_seconds").set(seconds);
            telemetry.counter("checkpoints").add(1);
            if let Err(error) = generation.tidy() {
                tracing::warn!("old checkpoints cannot be deleted: {error}");
            }
        }
    }

    fn tell_published(&self, generation: &mut Generation) {
        for (sink, epoch) in lock(&self.published).iter() {
            generation.published(sink, *epoch);
        }
    }
}

/// What each manifest says again.
struct Book {
    sources: BTreeMap<String, SourceBook>,
    steps: BTreeMap<String, StepBook>,
}

#[derive(Default)]
struct SourceBook {
    kind: String,
    number: u16,
    partitions: BTreeMap<u32, SourcePartition>,
}

#[derive(Default)]
struct StepBook {
    kind: String,
    /// By worker.
    watermarks: BTreeMap<usize, WatermarkMerge>,
}

impl Book {
    /// Goes on from what was restored: a partition that is not there any more keeps its place.
    fn of(epochs: &Epochs) -> Self {
        let mut sources = BTreeMap::new();
        for (id, source) in epochs
            .restored
            .iter()
            .flat_map(|restored| &restored.sources)
        {
            let partitions = source.partitions.values().cloned();
            sources.insert(
                id.clone(),
                SourceBook {
                    kind: String::new(),
                    number: source.number,
                    partitions: partitions.map(|place| (place.number, place)).collect(),
                },
            );
        }
        Self {
            sources,
            steps: BTreeMap::new(),
        }
    }

    /// The draft of an epoch about which this has been said.
    fn draft(&mut self, acks: Vec<Ack>) -> ManifestDraft {
        let mut parts = BTreeMap::<String, Vec<_>>::new();
        let mut outboxes = Vec::new();
        for ack in acks {
            match ack {
                Ack::Begun => {}
                Ack::Source {
                    step,
                    number,
                    kind,
                    partitions,
                } => {
                    let source = self.sources.entry(step).or_default();
                    (source.number, source.kind) = (number, kind);
                    let places = partitions.into_iter().map(|place| (place.number, place));
                    source.partitions.extend(places);
                }
                Ack::Step {
                    step,
                    kind,
                    worker,
                    parts: written,
                    watermarks,
                } => {
                    let known = self.steps.entry(step.clone()).or_default();
                    known.kind = kind;
                    known.watermarks.insert(worker, watermarks);
                    parts.entry(step).or_default().extend(written);
                }
                Ack::Outbox { sink, parts } => outboxes.push(OutboxDraft { sink, parts }),
            }
        }
        let source = |(id, source): (&String, &SourceBook)| SourceRecord {
            id: id.clone(),
            kind: source.kind.clone(),
            partitions: source.partitions.values().cloned().collect(),
            notes: BTreeMap::from([("number".to_owned(), json!(source.number))]),
        };
        let step = |(id, step): (&String, &StepBook)| StepDraft {
            id: id.clone(),
            kind: step.kind.clone(),
            parts: parts.remove(id).unwrap_or_default(),
            notes: BTreeMap::from([("watermarks".to_owned(), json!(step.watermarks))]),
        };
        ManifestDraft {
            sources: self.sources.iter().map(source).collect(),
            steps: self.steps.iter().map(step).collect(),
            outboxes,
            ..ManifestDraft::default()
        }
    }
}
