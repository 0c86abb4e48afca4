//! How a cluster comes to its end: all together, or not at all.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::message::Message;
use super::peers::{Peer, Peers, Stage};
use crate::job::JobContext;
use crate::time::{millis, secs};

/// How long last words may take.
const LAST_WORDS: Duration = secs(1);

impl Peers {
    /// Waits, when this process has come to a good end, until all others have, too, and everybody
    /// knows what became of the records that it has read; no longer than the job has not failed.
    pub(crate) fn end_together(&self, job: &JobContext) {
        self.ship_marks(job, true);
        self.tell_all(job, || Message::Ended);
        self.wait_until(job, |peer| peer.stage() >= Stage::Ended);
    }

    /// Brings all figures to process 0, which lets the others go then.
    pub(crate) fn part(&self, job: &JobContext) {
        let telemetry = &job.telemetry;
        if self.own == 0 {
            self.wait_until(job, Peer::has_figures);
            let figures = self.others().filter_map(Peer::take_figures);
            figures.for_each(|figures| telemetry.absorb(&figures));
            if !job.is_aborted() {
                self.is_over.store(true, Ordering::SeqCst);
                self.tell_all(job, || Message::Done);
            }
        } else {
            let leader = self.others().find(|peer| peer.process == 0);
            leader.inspect(|peer| peer.tell(job, Message::Figures(Box::new(telemetry.figures()))));
            self.wait_until(job, |peer| peer.process != 0 || peer.stage() == Stage::Done);
            if !job.is_aborted() {
                self.is_over.store(true, Ordering::SeqCst);
            }
        }
        self.leave(job);
    }

    /// Ends all connections; if the job has failed, the others are told.
    pub(crate) fn leave(&self, job: &JobContext) {
        self.tell_failure(job);
        self.is_over.store(true, Ordering::SeqCst);
        self.close(LAST_WORDS);
        self.shut_door();
    }

    fn wait_until(&self, job: &JobContext, is_so: impl Fn(&Peer) -> bool) {
        while !job.is_aborted() && !self.others().all(&is_so) {
            std::thread::sleep(millis(2));
        }
    }
}
