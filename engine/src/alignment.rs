//! Keeps sources from reading far ahead of one another in event time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::time::EventTime;

/// How far all partitions have got.
pub(crate) struct Alignment {
    positions: Mutex<Vec<Arc<AtomicI64>>>,
    /// How far the slowest partition of all other processes has got.
    others: Arc<AtomicI64>,
}

impl Default for Alignment {
    fn default() -> Self {
        Self {
            positions: Mutex::default(),
            others: Arc::new(AtomicI64::new(i64::MAX)),
        }
    }
}

/// The place of one partition in the [`Alignment`].
pub(crate) struct Aligned {
    all: Vec<Arc<AtomicI64>>,
    own: Arc<AtomicI64>,
    others: Arc<AtomicI64>,
}

impl Alignment {
    /// Adds a partition at the beginning of time.
    pub(crate) fn join(&self) -> Aligned {
        let own = Arc::new(AtomicI64::new(i64::MIN));
        self.positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&own));
        Aligned {
            all: Vec::new(),
            own,
            others: Arc::clone(&self.others),
        }
    }

    /// Notes how far the slowest partition of all other processes has got.
    pub(crate) fn set_others(&self, time: EventTime) {
        self.others.store(time.as_micros(), Ordering::Relaxed);
    }

    /// How far the slowest partition of this process has got.
    pub(crate) fn slowest(&self) -> EventTime {
        let positions = self
            .positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let slowest = positions
            .iter()
            .map(|time| time.load(Ordering::Relaxed))
            .min();
        slowest.map_or(EventTime::MAX, EventTime::from_micros)
    }

    /// Lets a partition see all others; to be called again when partitions have joined.
    pub(crate) fn refresh(&self, aligned: &mut Aligned) {
        let positions = self
            .positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if positions.len() != aligned.all.len() {
            aligned.all.clone_from(&positions);
        }
    }
}

impl Aligned {
    /// Notes how far this partition has got; [`EventTime::MAX`] takes it out of the reckoning.
    pub(crate) fn set(&self, time: EventTime) {
        self.own.store(time.as_micros(), Ordering::Relaxed);
    }

    /// Whether this partition is more than `drift` ahead of the slowest.
    pub(crate) fn is_ahead(&self, drift: Duration) -> bool {
        let slowest = self
            .all
            .iter()
            .chain([&self.others])
            .map(|time| time.load(Ordering::Relaxed))
            .min();
        let own = EventTime::from_micros(self.own.load(Ordering::Relaxed));
        let limit = EventTime::from_micros(slowest.unwrap_or(i64::MIN)).saturating_add(drift);
        own > limit && own != EventTime::MAX
    }
}
