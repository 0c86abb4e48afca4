//! When epochs have ended, and how long after that they are sealed and seen outside.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::{Epochs, UNPUBLISHED_MAX, lock};
use crate::job::JobContext;

/// When the epochs of this run have ended, in nanoseconds of the job's clock, as long as somebody may
/// still ask.
#[derive(Default)]
pub(super) struct Ends(Mutex<BTreeMap<u64, u64>>);

impl Epochs {
    /// Notes that nothing more is read in an epoch; the first to say so knows it best.
    pub(crate) fn note_end(&self, epoch: u64, now_ns: u64) {
        let mut ends = lock(&self.ends.0);
        ends.entry(epoch).or_insert(now_ns);
        while ends.len() as u64 > 2 * UNPUBLISHED_MAX {
            ends.pop_first();
        }
    }

    /// Notes that an epoch has been sealed.
    pub(super) fn note_sealed(&self, job: &JobContext, epoch: u64, now_ns: u64) {
        self.note_after_end(job, "epoch_sealed", epoch, now_ns);
    }

    /// Notes that a sink has published an epoch.
    pub(crate) fn note_visible(&self, job: &JobContext, epoch: u64, now_ns: u64) {
        self.note_after_end(job, "epoch_visible", epoch, now_ns);
    }

    fn note_after_end(&self, job: &JobContext, what: &str, epoch: u64, now_ns: u64) {
        let end_ns = lock(&self.ends.0).get(&epoch).copied();
        if let Some(end_ns) = end_ns {
            let timing = job.telemetry.timing(what);
            timing.record_ns(now_ns.saturating_sub(end_ns));
        }
    }
}
