//! The thread that seals one epoch after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};
use serde_json::{Value, json};

use super::ack::Ack;
use super::merger::Merger;
use super::saver::persist;
use super::{Epochs, lock};
use crate::checkpoint::{
    CheckpointError, Generation, ManifestDraft, OutboxDraft, PartRef, SourcePartition,
    SourceRecord, StepDraft,
};
use crate::job::JobContext;
use crate::time::secs;
use crate::turns;
use crate::watermark::WatermarkMerge;

/// How often to look, while nothing is to be sealed, whether another generation has begun.
const LOOK_EVERY: Duration = secs(2);

/// The note of a manifest that says which row of checkpoints it belongs to.
pub(super) const LINEAGE: &str = "lineage";
/// The note that names sources whose places are kept, though they have been left behind.
pub(super) const LEFT: &str = "left";
/// The note that says which start has sealed it, where restarts are to know.
pub(super) const START: &str = "start";
/// The note of a sink that says how far it has published, in its own words.
pub(super) const PUBLISHED: &str = "published";

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
        let merger = Merger::start(job);
        let clock = &job.options.clock;
        loop {
            let sealing = match turns::recv_timeout(sealings, LOOK_EVERY) {
                Ok(sealing) => sealing,
                Err(RecvTimeoutError::Timeout) => {
                    // Where nothing happens there is nothing to lose it by.
                    match generation.check_newest() {
                        Err(error @ CheckpointError::Superseded { .. }) => {
                            return job.supersede(error.to_string());
                        }
                        // The store may be away for a while.
                        _ if job.is_aborted() => return,
                        _ => continue,
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if job.is_aborted() {
                return;
            }
            let begun_ns = clock.now_ns();
            let epoch = sealing.epoch;
            self.tell_published(&mut generation, epoch);
            self.note_end(epoch, begun_ns);
            let draft = ManifestDraft {
                epoch: self.number(epoch),
                sealed_at: clock.wall(),
                workers: job.options.all_workers(),
                processes: job.options.processes(),
                notes: self.notes(),
                ..book.draft(sealing.acks, merger.take())
            };
            if self.failpoint.is_hit(job, "before seal") {
                return;
            }
            let sealed = persist(job, "manifest", || generation.seal(&draft));
            let Some(manifest) = sealed else { return };
            if self.failpoint.is_hit(job, "after seal") {
                return;
            }
            self.set_sealed(epoch + 1);
            let telemetry = &job.telemetry;
            telemetry
                .gauge("checkpoint_epoch")
                .set(manifest.epoch.0 as f64);
            let bytes: u64 = manifest.parts().map(|part| part.bytes).sum();
            telemetry.gauge("checkpoint_state_bytes").set(bytes as f64);
            let sealed_ns = clock.now_ns();
            self.note_sealed(job, epoch, sealed_ns);
            let seconds = sealed_ns.saturating_sub(begun_ns) as f64 / 1e9;
            telemetry.gauge("checkpoint_seal_seconds").set(seconds);
            telemetry.counter("checkpoints").add(1);
            merger.want(generation.compactions());
            if let Err(error) = generation.tidy() {
                tracing::warn!("old checkpoints cannot be deleted: {error}");
            }
        }
    }

    fn notes(&self) -> BTreeMap<String, Value> {
        let token = self
            .start_token
            .map(|token| (START.to_owned(), json!(token)));
        let lineage = (LINEAGE.to_owned(), json!(self.lineage));
        let left = (!self.left.is_empty()).then(|| (LEFT.to_owned(), json!(self.left)));
        token.into_iter().chain([lineage]).chain(left).collect()
    }

    fn tell_published(&self, generation: &mut Generation, sealed: u64) {
        for (sink, (epoch, from)) in lock(&self.published).iter() {
            if *from <= sealed {
                generation.published(sink, *epoch);
            }
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
    published: Option<String>,
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

    /// The draft of an epoch about which this has been said, with bases that have been made meanwhile.
    fn draft(
        &mut self,
        acks: Vec<Ack>,
        bases: impl Iterator<Item = (String, PartRef)>,
    ) -> ManifestDraft {
        let mut parts = BTreeMap::<String, Vec<_>>::new();
        for (step, base) in bases {
            parts.entry(step).or_default().push(base);
        }
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
                    published,
                } => {
                    let known = self.steps.entry(step.clone()).or_default();
                    known.kind = kind;
                    known.watermarks.insert(worker, watermarks);
                    known.published = published.or(known.published.take());
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
        let step = |(id, step): (&String, &StepBook)| {
            let watermarks = ("watermarks".to_owned(), json!(step.watermarks));
            let published = step.published.as_ref();
            let published = published.map(|words| (PUBLISHED.to_owned(), json!(words)));
            StepDraft {
                id: id.clone(),
                kind: step.kind.clone(),
                parts: parts.remove(id).unwrap_or_default(),
                notes: published.into_iter().chain([watermarks]).collect(),
            }
        };
        ManifestDraft {
            sources: self.sources.iter().map(source).collect(),
            steps: self.steps.iter().map(step).collect(),
            outboxes,
            ..ManifestDraft::default()
        }
    }
}
