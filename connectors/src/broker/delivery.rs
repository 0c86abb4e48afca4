//! What is known of records that were sent: who they are, and whether they have arrived.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use thalweg_engine::record::Origin;

/// The header, or property, with a record's own id.
pub const ID_HEADER: &str = "thalweg-id";
/// The header with a record's place in all that an exactly-once sink publishes: the epoch, and the
/// number in it from 0, as in `17-0`.
#[cfg(feature = "kafka")]
pub const EPOCH_HEADER: &str = "thalweg-epoch";

/// How many records the brokers have acknowledged, and how many could not be delivered.
#[derive(Default)]
pub struct Reports {
    delivered: AtomicU64,
    failed: AtomicU64,
}

impl Reports {
    /// Records that the broker has acknowledged, as durably as it keeps the topic.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Records that could not be delivered; the first ends the run.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    pub(crate) fn count_delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (delivered, failed) = (self.delivered(), self.failed());
        write!(f, "{delivered} delivered, {failed} failed")
    }
}

/// Writes a record's id, which is the same whenever the same source record makes it.
pub(crate) fn write_id(origin: Origin, id: &mut String) {
    use fmt::Write;
    id.clear();
    let Origin {
        source,
        partition,
        offset,
        index,
    } = origin;
    // A text in memory takes everything.
    let _ = match source {
        Origin::DERIVED => write!(id, "derived-{offset}-{index}"),
        source => write!(id, "{source}-{partition}-{offset}-{index}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_tells_the_origin() {
        let mut id = String::new();
        let origin = Origin {
            source: 1,
            partition: 2,
            offset: 3,
            index: 4,
        };
        write_id(origin, &mut id);
        assert_eq!(id, "1-2-3-4");
        write_id(Origin::derived(7), &mut id);
        assert_eq!(id, "derived-7-0");
    }
}
