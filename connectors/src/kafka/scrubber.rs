//! Keeps secrets out of what the client tells.

use std::borrow::Cow;

/// Takes secrets out of texts that others have written.
#[derive(Clone, Default)]
pub(super) struct Scrubber(Vec<String>);

/// Shorter lines are no secrets, and taking them out would garble every text.
const SECRET_CHARS_MIN: usize = 4;

impl Scrubber {
    /// Has every line of `secret` taken out from now on.
    pub(super) fn add(&mut self, secret: &str) {
        let lines = secret.lines().map(str::trim);
        let long = lines.filter(|line| line.len() >= SECRET_CHARS_MIN && !line.starts_with("--"));
        for line in long {
            if !self.0.iter().any(|known| known == line) {
                self.0.push(line.to_owned());
            }
        }
    }

    pub(super) fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
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
pub(super) fn is_secret(property: &str) -> bool {
    const TELLTALES: [&str; 6] = ["password", "secret", "token", "pem", "config", "jaas"];
    TELLTALES.iter().any(|part| property.contains(part))
}

#[cfg(test)]
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
