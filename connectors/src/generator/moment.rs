//! What is known when an event is made.

use thalweg_engine::time::EventTime;

use super::rng::Rng;
use super::schedule::Schedule;

/// The moment of one event, for the closure that makes it.
pub struct Moment<'a> {
    pub(super) number: u64,
    pub(super) time: EventTime,
    pub(super) seconds: f64,
    pub(super) schedule: &'a Schedule,
    /// Random numbers of this event's own.
    pub rng: Rng,
}

impl Moment<'_> {
    /// The event's number among those of all partitions, from 0.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The event's time.
    pub const fn time(&self) -> EventTime {
        self.time
    }

    /// How far the scheduled changes of this name have gone by now; 0 before the first.
    pub fn level(&self, name: &str) -> f64 {
        self.schedule.level(name, self.seconds)
    }
}
