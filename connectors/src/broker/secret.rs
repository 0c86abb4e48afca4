//! Values that must never be printed.

#[cfg(feature = "kafka")]
use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;

/// A password or a token: it shows in no log and no message.
///
/// `format!("{secret:?}")` gives `***`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
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

/// Takes secrets out of texts that others have written.
#[cfg(feature = "kafka")]
#[derive(Clone, Default)]
pub(crate) struct Scrubber(Vec<String>);

/// Shorter lines are no secrets, and taking them out would garble every text.
#[cfg(feature = "kafka")]
const SECRET_CHARS_MIN: usize = 4;

#[cfg(feature = "kafka")]
impl Scrubber {
    /// Has every line of `secret` taken out from now on.
    pub(crate) fn add(&mut self, secret: &str) {
        let lines = secret.lines().map(str::trim);
        let long = lines.filter(|line| line.len() >= SECRET_CHARS_MIN && !line.starts_with("--"));
        for line in long {
            if !self.0.iter().any(|known| known == line) {
                self.0.push(line.to_owned());
            }
        }
    }

    pub(crate) fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut clean = Cow::Borrowed(text);
        for secret in &self.0 {
            if clean.contains(secret.as_str()) {
                clean = Cow::Owned(clean.replace(secret.as_str(), "***"));
            }
        }
        clean
    }
}

/// Whether what a property of this name holds is to be kept secret.
#[cfg(feature = "kafka")]
pub(crate) fn is_secret(property: &str) -> bool {
    const TELLTALES: [&str; 6] = ["password", "secret", "token", "pem", "config", "jaas"];
    TELLTALES.iter().any(|part| property.contains(part))
}

#[cfg(all(test, feature = "kafka"))]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_secret_is_taken_out() {
        let mut scrubber = Scrubber::default();
        scrubber.add("-----BEGIN KEY-----\nMIIabc\nMIIdef\n-----END KEY-----");
        scrubber.add("s3cret");
        assert_eq!(scrubber.clean("nothing in here"), "nothing in here");
        assert_eq!(
            scrubber.clean("with s3cret and MIIdef,MIIabc"),
            "with *** and ***,***"
        );
    }
}
