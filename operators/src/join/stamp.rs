//! The place of a record among those of its key.

use serde::{Deserialize, Serialize};
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::time::EventTime;

/// When a record happened and where it was read; orders records as event-time order does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) time: EventTime,
    pub(crate) origin: Origin,
}

impl Stamp {
    pub(crate) fn of<T>(record: &Record<T>) -> Self {
        Self {
            time: record.time,
            origin: record.origin,
        }
    }
}
