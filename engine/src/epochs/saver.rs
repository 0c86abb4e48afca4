//! The threads that make state durable beside the workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use super::ack::Ack;
use super::{Epochs, KEYS};
use crate::checkpoint::{
    CheckpointError, KeyGroups, PartContent, PartKind, PartRef, PartSpec, PartWriter,
};
use crate::job::JobContext;
use crate::key::KeyGroup;
use crate::publisher::Outbox;
use crate::state::EncodedKeys;
use crate::step_state::StepState;
use crate::time::{millis, secs};
use crate::turns;

/// How long to wait before a call that failed is made again: at first, and at most.
const RETRY_MIN: Duration = millis(10);
const RETRY_MAX: Duration = secs(1);

/// So much memory a step keeps for what it will save next: what is fetched anew each time, or handed back,
/// costs the worker more than to write to it.
const ROOM_BYTES_MAX: usize = 64 << 20;

/// What is said to wait when the store is away or full.
pub(crate) const WAITING: &str = "checkpoint";

/// What is to be made durable of a step at the end of an epoch.
pub(crate) struct Save {
    pub(crate) epoch: u64,
    pub(crate) step: String,
    pub(crate) kind: String,
    pub(crate) worker: usize,
    /// The key groups of the worker, as far as the step is concerned.
    pub(crate) groups: KeyGroups,
    pub(crate) state: StepState,
    /// Whether the records that wait are to be written even when there are none.
    pub(crate) replaces_waiting: bool,
    /// What a sink has to publish.
    pub(crate) outbox: Option<Arc<Outbox>>,
    /// How far it has published, in its own words.
    pub(crate) published: Option<String>,
    pub(crate) reply: Reply,
}

/// Says that a step's state of an epoch is durable.
pub(crate) struct Saved {
    pub(crate) epoch: u64,
    pub(crate) acks: Vec<Ack>,
    /// The emptied buffers of the keys, for those that are saved next.
    pub(crate) room: EncodedKeys,
}

/// Where to say so.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) saved: Sender<Saved>,
    pub(crate) wake: Arc<dyn Fn() + Send + Sync>,
}

/// Writes what comes, until the job ends.
pub(super) fn run(
    job: &Arc<JobContext>,
    epochs: &Epochs,
    writer: &PartWriter,
    saves: &Receiver<Save>,
) {
    loop {
        match turns::recv_timeout(saves, millis(20)) {
            Ok(save) => {
                let reply = save.reply.clone();
                let Some(saved) = write_all(job, epochs, writer, save) else {
                    return;
                };
                // Fails only when the worker has gone.
                let _ = reply.saved.send(saved);
                (reply.wake)();
            }
            Err(RecvTimeoutError::Timeout) if !job.is_over() => {}
            Err(_) => return,
        }
    }
}

fn write_all(job: &JobContext, epochs: &Epochs, writer: &PartWriter, save: Save) -> Option<Saved> {
    let mut parts = Vec::new();
    let spec = |content: &str, kind, groups| PartSpec {
        epoch: epochs.number(save.epoch),
        step: save.step.clone(),
        content: content.to_owned(),
        worker: save.worker,
        process: job.options.process(),
        kind,
        groups,
        state_version: 1,
        fingerprint: 0,
    };
    let write = |spec: PartSpec, content: &PartContent| -> Option<PartRef> {
        let failpoint = &epochs.failpoint;
        if failpoint.is_hit(job, "before part") {
            return None;
        }
        let part = persist(job, &spec.step, || writer.write(&spec, content))?;
        (!failpoint.is_hit(job, "after part")).then_some(part)
    };
    let StepState {
        keys,
        bases,
        waiting,
        watermarks,
    } = save.state;
    let (base, changed): (PartContent, PartContent) = keys
        .into_iter()
        .partition(|(group, _)| bases.contains(*group));
    if !bases.is_empty() {
        parts.push(write(spec(KEYS, PartKind::Base, bases), &base)?);
    }
    if !changed.is_empty() {
        let groups = changed.keys().copied().collect();
        parts.push(write(spec(KEYS, PartKind::Delta, groups), &changed)?);
    }
    if save.replaces_waiting && !save.groups.is_empty() {
        parts.push(write(
            spec("waiting", PartKind::Base, save.groups),
            &waiting,
        )?);
    }
    let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
    let mut acks = vec![Ack::Step {
        step: save.step.clone(),
        kind: save.kind.clone(),
        worker: save.worker,
        parts,
        watermarks: watermarks.into_iter().next()?,
        published: save.published,
    }];
    if let Some(outbox) = save.outbox {
        let slot = KeyGroup(0);
        let groups = [slot].into_iter().collect();
        let content = BTreeMap::from([(slot, outbox.bytes.clone())]);
        acks.push(Ack::Outbox {
            sink: save.step.clone(),
            parts: vec![write(spec("outbox", PartKind::Outbox, groups), &content)?],
        });
    }
    job.telemetry.counter("checkpoint_bytes").add(bytes);
    Some(Saved {
        epoch: save.epoch,
        acks,
        room: emptied(base.into_iter().chain(changed)),
    })
}

/// The buffers of what has been written, unless they are too large to be kept.
fn emptied(content: impl Iterator<Item = (KeyGroup, Vec<u8>)>) -> EncodedKeys {
    let mut room: EncodedKeys = content.collect();
    if room.values().map(Vec::capacity).sum::<usize>() > ROOM_BYTES_MAX {
        return EncodedKeys::new();
    }
    room.values_mut().for_each(Vec::clear);
    room
}

/// Makes a call until it succeeds; none when it cannot, or the job has ended meanwhile.
pub(super) fn persist<R>(
    job: &JobContext,
    what: &str,
    mut call: impl FnMut() -> Result<R, CheckpointError>,
) -> Option<R> {
    let mut wait = RETRY_MIN;
    let mut has_waited = false;
    loop {
        match call() {
            Ok(done) => {
                if has_waited {
                    job.telemetry.set_waiting(WAITING, what, None);
                }
                return Some(done);
            }
            Err(error) if error.is_transient() => {
                tracing::warn!(what, "a checkpoint waits: {error}");
                let reason = Some(error.to_string());
                job.telemetry.set_waiting(WAITING, what, reason);
                has_waited = true;
            }
            Err(error @ CheckpointError::Superseded { .. }) => {
                job.supersede(error.to_string());
                return None;
            }
            Err(error) => {
                job.fail(format!("checkpoint: {error}"));
                return None;
            }
        }
        if job.is_aborted() {
            return None;
        }
        turns::sleep(wait);
        wait = (wait * 2).min(RETRY_MAX);
    }
}
