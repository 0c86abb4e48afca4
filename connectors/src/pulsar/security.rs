//! TLS and tokens, as settings.

use std::path::PathBuf;

use serde::Deserialize;

/// How the connection is encrypted.
///
/// The broker's certificate must bear the broker's host name, and be signed by one of the
/// certificate authorities that browsers trust (Mozilla's list).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// A file of certificates (PEM) that are trusted instead.
    pub ca: Option<PathBuf>,
}
