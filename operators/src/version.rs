//! The version byte at the front of state.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The first field of a state that is written: the version of its format, and nothing in memory.
/// State of another version is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version<const NUMBER: u8>;

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

#[cfg(test)]
pub(crate) mod testing {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    /// Checks that state is written as these bytes (hexadecimal) and that another version is
    /// refused; gives what is read back.
    pub(crate) fn check_format<S: Serialize + DeserializeOwned>(state: &S, expected: &str) -> S {
        let written = postcard::to_allocvec(state).unwrap();
        let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex, expected,
            "a change of the format needs a new version and its fixture"
        );
        let newer = [&[written[0] + 1], &written[1..]].concat();
        assert!(postcard::from_bytes::<S>(&newer).is_err());
        let read: S = postcard::from_bytes(&written).unwrap();
        assert_eq!(postcard::to_allocvec(&read).unwrap(), written);
        read
    }
}
