//! The version byte at the front of state.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The first field of a state that is written: the version of its format, and nothing in memory.
/// State of another version is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version<const NUMBER: u8>;

impl<const NUMBER: u8> Serialize for Version<NUMBER> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(NUMBER)
    }
}

impl<'de, const NUMBER: u8> Deserialize<'de> for Version<NUMBER> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            number if number == NUMBER => Ok(Self),
            other => Err(de::Error::custom(format_args!(
                "state of format version {other}; this build reads version {NUMBER}"
            ))),
        }
    }
}
