//! Whether the workers of this process come round, and whether the engine's time goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The pulse of all workers of one process.
pub(crate) struct Pulse {
    workers: Vec<Worker>,
    /// When a worker was last held up by a sink; 0 if none ever was.
    held_up_ns: AtomicU64,
    /// Up to which tick everything has gone through the graph.
    frontier: AtomicU64,
}

#[derive(Default)]
struct Worker {
    /// When it last came round; 0 before it has begun, [`u64::MAX`] after its end.
    turned_ns: AtomicU64,
}

impl Pulse {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Worker::default()).collect(),
            held_up_ns: AtomicU64::new(0),
            frontier: AtomicU64::new(0),
        }
    }

    /// Notes that a worker has come round.
    pub(crate) fn turn(&self, worker: usize, now_ns: u64) {
        self.workers[worker]
            .turned_ns
            .store(now_ns.max(1), Ordering::Relaxed);
    }

    /// Notes that a worker is alive, but cannot go on until a sink takes more.
    pub(crate) fn hold_up(&self, worker: usize, now_ns: u64) {
        self.turn(worker, now_ns);
        self.held_up_ns.store(now_ns.max(1), Ordering::Relaxed);
    }

    /// Notes that a worker has ended.
    pub(crate) fn end(&self, worker: usize) {
        self.workers[worker]
            .turned_ns
            .store(u64::MAX, Ordering::Relaxed);
    }

    /// Notes up to which tick everything has gone through the graph.
    pub(crate) fn set_frontier(&self, tick: u64) {
        self.frontier.store(tick, Ordering::Relaxed);
    }

    pub(crate) fn frontier(&self) -> u64 {
        self.frontier.load(Ordering::Relaxed)
    }

    /// Whether a worker has been held up by a sink a moment ago.
    pub(crate) fn is_held_up(&self, now_ns: u64) -> bool {
        let held_up_ns = self.held_up_ns.load(Ordering::Relaxed);
        held_up_ns != 0 && now_ns.saturating_sub(held_up_ns) < 1_000_000_000
    }

    /// Whether all workers have built their part of the graph.
    pub(crate) fn is_up(&self) -> bool {
        self.workers
            .iter()
            .all(|worker| worker.turned_ns.load(Ordering::Relaxed) != 0)
    }

    /// A worker that has not come round for so long, and how long.
    pub(crate) fn stuck(&self, now_ns: u64, patience: Duration) -> Option<(usize, Duration)> {
        let since = |worker: &Worker| match worker.turned_ns.load(Ordering::Relaxed) {
            0 | u64::MAX => Duration::ZERO,
            turned_ns => Duration::from_nanos(now_ns.saturating_sub(turned_ns)),
        };
        let idle = self.workers.iter().map(since).enumerate();
        idle.max_by_key(|(_, idle)| *idle)
            .filter(|(_, idle)| *idle > patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::secs;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn only_a_worker_between_its_beginning_and_its_end_can_be_stuck() {
        let pulse = Pulse::new(2);
        let stuck = |seconds: u64| pulse.stuck(seconds * SECOND_NS, secs(4));
        assert_eq!(stuck(100), None);
        assert!(!pulse.is_up());
        pulse.turn(0, 0);
        pulse.turn(1, 3 * SECOND_NS);
        assert!(pulse.is_up());
        assert_eq!(stuck(4), None);
        assert_eq!(stuck(6).map(|(worker, _)| worker), Some(0));
        pulse.end(0);
        assert_eq!(stuck(6), None);
        assert_eq!(stuck(8), Some((1, secs(5))));
    }

    #[test]
    fn a_worker_that_waits_for_a_sink_is_not_stuck() {
        let pulse = Pulse::new(1);
        assert!(!pulse.is_held_up(SECOND_NS));
        pulse.hold_up(0, 9 * SECOND_NS);
        assert_eq!(pulse.stuck(10 * SECOND_NS, secs(4)), None);
        assert!(pulse.is_held_up(9 * SECOND_NS + SECOND_NS / 2));
        assert!(!pulse.is_held_up(11 * SECOND_NS));
    }
}
