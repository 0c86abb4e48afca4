//! TLS and SASL, as settings.

use std::path::PathBuf;

use serde::Deserialize;

use crate::broker::Secret;

/// How the connection is encrypted.
///
/// By default the broker's certificate must be signed by one of the machine's certificate
/// authorities and bear the broker's host name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// A file of certificates (PEM) that are trusted instead of the machine's.
    pub ca: Option<PathBuf>,
    /// This client's own certificate (PEM), where the brokers ask for one.
    pub certificate: Option<PathBuf>,
    /// The private key (PEM) of the certificate.
    pub key: Option<PathBuf>,
    /// What the private key is encrypted with.
    pub key_password: Option<Secret>,
}

/// How the client says who it is.
///
/// In a settings file, `mechanism` is `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or `OAUTHBEARER`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "mechanism", deny_unknown_fields)]
pub enum Sasl {
    /// A name and a password, sent as they are: use it with [`Tls`] only.
    #[serde(rename = "PLAIN")]
    Plain {
        /// The user's name.
        username: String,
        /// The user's password.
        password: Secret,
    },
    /// A name and a password that is never sent.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256 {
        /// The user's name.
        username: String,
        /// The user's password.
        password: Secret,
    },
    /// A name and a password that is never sent.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512 {
        /// The user's name.
        username: String,
        /// The user's password.
        password: Secret,
    },
    /// A bearer token from a file, which is read anew whenever the one before is about to expire.
    #[serde(rename = "OAUTHBEARER")]
    OAuthBearer {
        /// Where something else, such as Kubernetes or a sidecar, keeps a fresh JSON web token.
        token_file: PathBuf,
    },
}

impl Tls {
    pub(super) fn properties(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let password = self.key_password.as_ref();
        let given = [
            // Where the machine keeps its authorities depends on the distribution.
            (
                "ssl.ca.location",
                Some(path(&self.ca).unwrap_or_else(|| "probe".to_owned())),
            ),
            ("ssl.certificate.location", path(&self.certificate)),
            ("ssl.key.location", path(&self.key)),
            (
                "ssl.key.password",
                password.map(|password| password.reveal().to_owned()),
            ),
        ];
        let given = given.into_iter();
        given
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

impl Sasl {
    pub(super) fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "PLAIN",
            Self::ScramSha256 { .. } => "SCRAM-SHA-256",
            Self::ScramSha512 { .. } => "SCRAM-SHA-512",
            Self::OAuthBearer { .. } => "OAUTHBEARER",
        }
    }

    pub(super) fn properties(&self) -> Vec<(&'static str, String)> {
        let mut properties = vec![("sasl.mechanism", self.mechanism().to_owned())];
        match self {
            Self::Plain { username, password }
            | Self::ScramSha256 { username, password }
            | Self::ScramSha512 { username, password } => {
                properties.push(("sasl.username", username.clone()));
                properties.push(("sasl.password", password.reveal().to_owned()));
            }
            Self::OAuthBearer { .. } => {}
        }
        properties
    }
}
