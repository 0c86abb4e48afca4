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

    /// Nanoseconds since the clock was made; never goes back.
    pub fn now_ns(&self) -> u64 {
        match &*self.0 {
            Kind::System { started, .. } => nanos(started.elapsed()),
            Kind::Manual { elapsed_ns, .. } => elapsed_ns.load(Ordering::SeqCst),
        }
    }

    /// The wall clock's time of day, advancing with [`Clock::now_ns`].
    pub fn wall(&self) -> EventTime {
        let (Kind::System { wall_started, .. } | Kind::Manual { wall_started, .. }) = &*self.0;
        wall_started.saturating_add(Duration::from_nanos(self.now_ns()))
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
}
