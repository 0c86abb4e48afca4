//! How a job takes its checkpoints.

use std::time::Duration;

use super::location::Location;
use crate::time::secs;

/// Where and how often checkpoints are taken, and how many are kept.
#[derive(Clone, Debug)]
pub struct CheckpointOptions {
    /// Where they are kept.
    pub location: Location,
    /// The length of an epoch, 1 second unless said otherwise.
    pub interval: Duration,
    /// How many of the newest checkpoints are kept, 10 unless said otherwise; at least 1.
    pub retain: usize,
    /// A step's changes are merged into a new full base once they are this many times as large as
    /// its base, 1 unless said otherwise.
    pub changes_per_base: f64,
    /// ... but not while they are of fewer bytes than this, 128 MiB unless said otherwise: a restart
    /// reads so many in half a second.
    pub changes_bytes_min: u64,
    /// ... or once they are in so many parts, 60 per worker unless said otherwise.
    pub parts_per_base: usize,
    /// The level of zstd that parts are compressed with, -3 unless said otherwise: of the state of features
    /// it makes a seventh more bytes than 1 does, in 0.6 of the time.
    pub compression_level: i32,
}

impl CheckpointOptions {
    /// The usual options for a location.
    pub fn new(location: Location) -> Self {
        Self {
            location,
            interval: secs(1),
            retain: 10,
            changes_per_base: 1.0,
            changes_bytes_min: 128 << 20,
            parts_per_base: 60,
            compression_level: -3,
        }
    }

    /// Whether changes of so many bytes are to make way for a new base.
    pub(crate) fn have_outgrown(&self, changes_bytes: u64, base_bytes: u64) -> bool {
        changes_bytes >= self.changes_bytes_min
            && changes_bytes as f64 > self.changes_per_base * base_bytes as f64
    }
}
