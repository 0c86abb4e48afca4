//! What the tests of the joins share.

use thalweg_engine::record::Origin;
use thalweg_engine::time::EventTime;

use super::Stamp;

pub(crate) fn at(second: i64) -> EventTime {
    EventTime::from_seconds(second)
}

pub(crate) fn stamp(second: i64, offset: u64) -> Stamp {
    Stamp {
        time: at(second),
        origin: Origin {
            offset,
            ..Origin::default()
        },
    }
}
