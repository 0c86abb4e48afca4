//! What the tests of the joins share.

use serde::Serialize;
use serde::de::DeserializeOwned;
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

/// The state is written as these bytes (hexadecimal), which are read back; another version is
/// refused.
pub(crate) fn check_format<S: Serialize + DeserializeOwned>(state: &S, expected: &str) {
    let written = postcard::to_allocvec(state).unwrap();
    let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex, expected,
        "a change of the format needs a new version and its fixture"
    );
    let read: S = postcard::from_bytes(&written).unwrap();
    assert_eq!(postcard::to_allocvec(&read).unwrap(), written);
    let other = [&[2], &written[1..]].concat();
    assert!(postcard::from_bytes::<S>(&other).is_err());
}
