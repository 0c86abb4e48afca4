//! The thread that keeps a running cluster together: it tells the others what they have to know,
//! and notices when one of them, or a worker of this process, goes on no more.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::message::Message;
use super::peers::{Peers, gone};
use crate::job::JobContext;
use crate::time::{EventTime, millis};

/// How often to look around: while positions move, and otherwise.
const GLANCE_MIN: Duration = millis(2);
const GLANCE_MAX: Duration = millis(20);
/// How often marks are sent to who has read the records.
const SHIP_EVERY: Duration = millis(100);

/// How often a process says that it is alive.
pub(super) fn beat_every(job: &JobContext) -> Duration {
    let cluster = job.options.cluster.as_ref();
    cluster.map_or(GLANCE_MAX, |cluster| cluster.peer_timeout / 8)
}

/// Looks around until the cluster is over or the job has failed.
pub(super) fn run(peers: &Peers, job: &Arc<JobContext>) {
    let Some(options) = &job.options.cluster else {
        return;
    };
    let now_ns = job.options.clock.now_ns();
    let mut watch = Watch {
        peers,
        job,
        peer_timeout: options.peer_timeout,
        stall_timeout: options.stall_timeout,
        looked_ns: now_ns,
        position: EventTime::MIN,
        shipped_ns: now_ns,
        has_told_stop: false,
        epochs: (0, false),
        frontier: 0,
        moved_ns: now_ns,
    };
    while !peers.is_over.load(Ordering::SeqCst) {
        if job.is_aborted() {
            return peers.tell_failure(job);
        }
        let pause = watch.look();
        std::thread::sleep(pause);
    }
}

struct Watch<'a> {
    peers: &'a Peers,
    job: &'a Arc<JobContext>,
    peer_timeout: Duration,
    stall_timeout: Duration,
    /// When it last looked around.
    looked_ns: u64,
    /// The position that the others know.
    position: EventTime,
    shipped_ns: u64,
    has_told_stop: bool,
    /// What the others know of the epochs.
    epochs: (u64, bool),
    frontier: u64,
    /// When the frontier last moved, or had a reason not to.
    moved_ns: u64,
}

impl Watch<'_> {
    /// Looks around, and says how soon to do so again.
    fn look(&mut self) -> Duration {
        let now_ns = self.job.options.clock.now_ns();
        let away = Duration::from_nanos(now_ns.saturating_sub(self.looked_ns));
        self.looked_ns = now_ns;
        self.pass_on_stop();
        self.tell_epochs();
        self.answer_flushes();
        if now_ns.saturating_sub(self.shipped_ns) >= nanos(SHIP_EVERY) {
            self.shipped_ns = now_ns;
            self.peers.ship_marks(self.job, false);
        }
        if away > self.peer_timeout / 4 {
            // It is this process that was not there, not the others.
            let others = self.peers.others();
            others.for_each(|peer| peer.heard_ns.store(now_ns, Ordering::Relaxed));
            self.moved_ns = now_ns;
        } else {
            self.miss_others(now_ns);
            self.miss_workers(now_ns);
            self.miss_progress(now_ns);
        }
        if self.tell_position() {
            GLANCE_MIN
        } else {
            GLANCE_MAX
        }
    }

    fn pass_on_stop(&mut self) {
        if self.job.stop.is_stopped() && !self.job.is_aborted() && !self.has_told_stop {
            self.has_told_stop = self.peers.try_tell_all(|| Message::Stop);
        }
    }

    /// Tells the others, from process 0, how far the epochs have got.
    fn tell_epochs(&mut self) {
        let epochs = self.job.epochs.as_ref();
        let Some(epochs) = epochs.filter(|_| self.peers.own == 0) else {
            return;
        };
        let (sealed, is_full) = (epochs.sealed(), epochs.is_full());
        let news = || Message::Epochs { sealed, is_full };
        if self.epochs != (sealed, is_full) && self.peers.try_tell_all(news) {
            self.epochs = (sealed, is_full);
        }
    }

    /// Tells the others how far the slowest partition here has got, if it has got on.
    fn tell_position(&mut self) -> bool {
        let position = match self.job.pulse.is_up() {
            true => self.job.alignment.slowest(),
            false => EventTime::MIN,
        };
        let has_moved = position != self.position;
        if has_moved && self.peers.try_tell_all(|| Message::Position(position)) {
            self.position = position;
        }
        has_moved
    }

    fn answer_flushes(&self) {
        let mut to_flush = self
            .peers
            .to_flush
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        to_flush.retain(|&(process, request, own)| {
            let asker = self.peers.others().find(|peer| peer.process == process);
            let is_answered = self.job.flushes.is_answered(own)
                && asker.is_none_or(|peer| peer.try_tell(Message::Flushed(request)));
            !is_answered
        });
    }

    /// Gives up a process of which nothing has been heard for too long.
    fn miss_others(&self, now_ns: u64) {
        for peer in self.peers.others() {
            let heard_ns = peer.heard_ns.load(Ordering::Relaxed);
            let silent = Duration::from_nanos(now_ns.saturating_sub(heard_ns));
            if silent > self.peer_timeout && self.peers.is_missed(peer) {
                let reason = format!("nothing has come from {} for {silent:.1?}", peer.host);
                self.job.lose(gone(peer.process, &reason));
            }
        }
    }

    /// Gives up this process when one of its workers is stuck.
    fn miss_workers(&self, now_ns: u64) {
        if let Some((worker, idle)) = self.job.pulse.stuck(now_ns, self.peer_timeout) {
            self.job.lose(format!(
                "worker {worker} of process {} has not come round for {idle:.1?}: a step that it \
                 runs hangs, or takes longer than `peer-timeout`",
                self.peers.own
            ));
        }
    }

    /// Gives up the cluster when the engine's time stands still although everybody is alive.
    fn miss_progress(&mut self, now_ns: u64) {
        let frontier = self.job.pulse.frontier();
        let a_second_ago = now_ns.saturating_sub(nanos(self.peer_timeout).max(1));
        let mut others = self.peers.others();
        let is_held_up = self.job.pulse.is_held_up(now_ns)
            || others.any(|peer| peer.held_up_ns.load(Ordering::Relaxed) > a_second_ago);
        // 0 is before the beginning, the greatest one the end.
        if frontier != self.frontier || is_held_up || frontier == 0 || frontier == u64::MAX {
            self.frontier = frontier;
            self.moved_ns = now_ns;
        }
        let still = Duration::from_nanos(now_ns.saturating_sub(self.moved_ns));
        if still > self.stall_timeout {
            self.job.lose(format!(
                "nothing has gone on for {still:.0?} although all processes are alive: records \
                 are lost between two of them, or a step takes longer than `stall-timeout`"
            ));
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
