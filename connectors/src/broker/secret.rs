//! Values that must never be printed.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A password or a token: it shows in no log and no message.
///
/// `format!("{secret:?}")` gives `***`. In settings it is a text; what is none is refused without being shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<S: Into<String>> From<S> for Secret {
    fn from(value: S) -> Self {
        Self(value.into())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer);
        let unseen = |_| D::Error::custom("a password or token is no text: write it in quotes");
        text.map(Self).map_err(unseen)
    }
}

/// Addresses without users and passwords that somebody may have put before an `@`.
pub(crate) fn without_users(addresses: &str) -> String {
    match addresses.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.find("://").map_or("", |end| &before[..end + 3]);
            format!("{scheme}***@{host}")
        }
        None => addresses.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_users() {
        let shown = without_users("pulsar://u:p,q@one,v:w@two:1,three");
        assert_eq!(shown, "pulsar://***@two:1,three");
        assert_eq!(without_users("u:p@one"), "***@one");
        assert_eq!(without_users("one:1,two:1"), "one:1,two:1");
    }

    #[test]
    fn what_is_no_text_is_refused_unseen() {
        assert_eq!(
            serde_json::from_str::<Secret>("\"31337\"")
                .unwrap()
                .reveal(),
            "31337"
        );
        for given in ["31337", "true", "[31337]", "{\"a\": 31337}", "null"] {
            let error = serde_json::from_str::<Secret>(given)
                .unwrap_err()
                .to_string();
            assert!(error.contains("write it in quotes"), "{error}");
            assert!(!error.contains("31337"), "{error}");
        }
    }
}
