//! What is known of records that were sent: who they are, and whether they have arrived.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use thalweg_engine::record::Origin;

/// The header, or property, with a record's own id.
pub const ID_HEADER: &str = "thalweg-id";
/// The header with a record's place in all that an exactly-once sink publishes: the epoch, and the
/// number in it from 0, as in `17-0`; in Pulsar the number among those of the partition.
pub const EPOCH_HEADER: &str = "thalweg-epoch";
/// The property with the name of who publishes: the pipeline, the sink, and the row of checkpoints.
#[cfg(feature = "pulsar")]
pub const SLOT_HEADER: &str = "thalweg-slot";

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

    pub(crate) fn add_delivered(&self, count: u64) {
        self.delivered.fetch_add(count, Ordering::Relaxed);
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
pub(super) fn write_id(origin: Origin, id: &mut String) {
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

/// The origin that an id tells.
#[cfg(feature = "kafka")]
pub(crate) fn read_id(id: &str) -> Option<Origin> {
    let mut parts = id.split('-');
    if id.starts_with("derived-") {
        let (sequence, index) = (parts.nth(1)?, parts.next()?);
        return Some(Origin {
            index: index.parse().ok()?,
            ..Origin::derived(sequence.parse().ok()?)
        });
    }
    Some(Origin {
        source: parts.next()?.parse().ok()?,
        partition: parts.next()?.parse().ok()?,
        offset: parts.next()?.parse().ok()?,
        index: parts.next()?.parse().ok()?,
    })
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
        #[cfg(feature = "kafka")]
        assert_eq!(read_id(&id), Some(origin));
        write_id(Origin::derived(7), &mut id);
        assert_eq!(id, "derived-7-0");
        #[cfg(feature = "kafka")]
        {
            assert_eq!(read_id(&id), Some(Origin::derived(7)));
            assert_eq!(read_id("1-2-x-4"), None);
        }
    }
}
