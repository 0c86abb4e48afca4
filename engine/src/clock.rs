//! The engine's one clock, and the virtual one that tests put in its place.
//!
//! Nothing else in the engine reads the wall clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::EventTime;

/// A source of time, shared by everything that runs in one job.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    System {
        started: Instant,
        wall_started: EventTime,
        /// How far it has been put forward.
        leapt_ns: AtomicU64,
    },
    Manual {
        elapsed_ns: AtomicU64,
        wall_started: EventTime,
    },
}

impl Clock {
    /// The machine's clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    pub fn system() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(Arc::new(Kind::System {
            started: Instant::now(),
            wall_started: EventTime::from_micros(0).saturating_add(since_epoch),
            leapt_ns: AtomicU64::new(0),
        }))
    }

    /// A clock that stands at `start` and moves only when [`Clock::advance`] is called.
    pub fn manual(start: EventTime) -> Self {
        Self(Arc::new(Kind::Manual {
            elapsed_ns: AtomicU64::new(0),
            wall_started: start,
        }))
    }

    /// Moves a manual clock forward.
    ///
    /// # Panics
    /// On a system clock.
    pub fn advance(&self, by: Duration) {
        match &*self.0 {
            Kind::System { .. } => panic!("the system clock cannot be advanced by hand"),
            Kind::Manual { elapsed_ns, .. } => {
                elapsed_ns.fetch_add(nanos(by), Ordering::SeqCst);
            }
        }
    }

    /// Puts the clock forward, if it is not that far, so that those of several processes are in
    /// step; the time of day stays.
    pub(crate) fn leap_to(&self, now_ns: u64) {
        let missing_ns = now_ns.saturating_sub(self.now_ns());
        match &*self.0 {
            Kind::System { leapt_ns, .. } => leapt_ns.fetch_add(missing_ns, Ordering::SeqCst),
            Kind::Manual { elapsed_ns, .. } => elapsed_ns.fetch_add(missing_ns, Ordering::SeqCst),
        };
    }

    /// Nanoseconds since the clock was made, or since the oldest was of those that are in step with
    /// it; never goes back.
    pub fn now_ns(&self) -> u64 {
        match &*self.0 {
            Kind::System {
                started, leapt_ns, ..
            } => nanos(started.elapsed()) + leapt_ns.load(Ordering::Relaxed),
            Kind::Manual { elapsed_ns, .. } => elapsed_ns.load(Ordering::SeqCst),
        }
    }

    /// The wall clock's time of day, advancing with [`Clock::now_ns`].
    pub fn wall(&self) -> EventTime {
        match &*self.0 {
            Kind::System {
                started,
                wall_started,
                ..
            } => wall_started.saturating_add(started.elapsed()),
            Kind::Manual { wall_started, .. } => {
                wall_started.saturating_add(Duration::from_nanos(self.now_ns()))
            }
        }
    }

    /// Whether time moves only by hand, so that waiting must poll.
    pub fn is_manual(&self) -> bool {
        matches!(&*self.0, Kind::Manual { .. })
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Clock::manual(EventTime::from_seconds(100));
        assert_eq!(clock.now_ns(), 0);
        clock.advance(Duration::from_secs(2));
        assert_eq!(clock.now_ns(), 2_000_000_000);
        assert_eq!(clock.wall(), EventTime::from_seconds(102));
    }

    #[test]
    fn a_clock_that_is_put_forward_keeps_the_time_of_day() {
        let clock = Clock::system();
        let before = clock.wall();
        clock.leap_to(3_600_000_000_000);
        clock.leap_to(1);
        let hour = Duration::from_secs(3_600);
        assert!((hour..2 * hour).contains(&Duration::from_nanos(clock.now_ns())));
        assert!(clock.wall() < before.saturating_add(hour));
    }
}
