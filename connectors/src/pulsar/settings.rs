//! Which cluster, and how to get in.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::problem::Trouble;
use super::security::Tls;
use crate::broker::{Problem, Secret, without_users};

/// A Pulsar cluster, and how to get in.
///
/// The same as settings:
///
/// ```
/// use thalweg_connectors::pulsar::Pulsar;
///
/// let pulsar: Pulsar = serde_json::from_str(
///     r#"{
///         "url": "pulsar+ssl://one.example:6651,two.example:6651",
///         "tls": { "ca": "/etc/pulsar/ca.pem" },
///         "token": "eyJhbGciOi..."
///     }"#,
/// )?;
/// assert!(!format!("{pulsar:?}").contains("eyJ"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pulsar {
    url: String,
    tls: Option<Tls>,
    token: Option<Secret>,
    token_file: Option<PathBuf>,
    #[serde(
        default = "patience_ms",
        rename = "patience_ms",
        deserialize_with = "millis"
    )]
    patience: Duration,
}

fn patience_ms() -> Duration {
    Duration::from_secs(10)
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// The scheme of connections without TLS, and of those with it.
const PLAIN: (&str, u16) = ("pulsar://", 6650);
const ENCRYPTED: (&str, u16) = ("pulsar+ssl://", 6651);

impl Pulsar {
    /// The cluster at a service URL: `pulsar://host:6650`, or `pulsar+ssl://host:6651` with TLS.
    /// There may be several hosts, separated by commas, of which the first that answers is asked.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            tls: None,
            token: None,
            token_file: None,
            patience: patience_ms(),
        }
    }

    /// What to trust, where the URL says `pulsar+ssl`.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The JSON web token that says who the client is. Use it with TLS only: it is sent as it is.
    #[must_use]
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The file in which something else, such as Kubernetes, keeps a fresh token. It is read whenever
    /// the client connects, and whenever the broker asks anew.
    #[must_use]
    pub fn token_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.token_file = Some(file.into());
        self
    }

    /// How long to wait for an answer, and for a broker that is gone to be back before a job ends
    /// for it; 10 seconds, and a minute at least for the latter, unless set.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The URL, as it may be shown.
    pub(super) fn url(&self) -> String {
        without_users(&self.url)
    }

    pub(super) fn how_long_to_wait(&self) -> Duration {
        self.patience
    }

    /// How long a job that runs waits for a broker to be back.
    pub(super) fn how_long_to_hold_on(&self) -> Duration {
        self.patience.max(Duration::from_secs(60))
    }

    /// The hosts with their ports, and what to encrypt with.
    pub(super) fn addresses(&self) -> Result<(Vec<String>, Option<Tls>), Trouble> {
        let problem =
            |reason: String, remedy: &str| Trouble::Hopeless(Problem::new(reason, remedy));
        if self.url.contains('@') {
            return Err(problem(
                "the URL names a user".to_owned(),
                "leave that out, and say who the client is with `token` or `token_file`",
            ));
        }
        let scheme = |(scheme, port)| Some((self.url.strip_prefix(scheme)?, port));
        let (tls, (hosts, port)) = match (scheme(PLAIN), scheme(ENCRYPTED)) {
            (Some(_), _) if self.tls.is_some() => {
                return Err(problem(
                    format!("`{}` is no URL for TLS", self.url()),
                    "write pulsar+ssl://, or leave `tls` out",
                ));
            }
            (Some(plain), _) => (None, plain),
            (_, Some(encrypted)) => (Some(self.tls.clone().unwrap_or_default()), encrypted),
            (None, None) => {
                return Err(problem(
                    format!("`{}` is no service URL of Pulsar", self.url()),
                    "write pulsar://HOST:6650, or pulsar+ssl://HOST:6651",
                ));
            }
        };
        let hosts = hosts.trim_end_matches('/').split(',').map(str::trim);
        let addresses =
            hosts
                .filter(|host| !host.is_empty())
                .map(|host| match host.rsplit_once(':') {
                    Some((_, digits)) if digits.parse::<u16>().is_ok() => host.to_owned(),
                    _ => format!("{host}:{port}"),
                });
        Ok((addresses.collect(), tls))
    }

    /// The token of now, if there is to be one.
    pub(super) fn read_token(&self) -> Result<Option<Vec<u8>>, Trouble> {
        match (&self.token, &self.token_file) {
            (Some(token), None) => Ok(Some(token.reveal().as_bytes().to_vec())),
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(Trouble::Hopeless(Problem::new(
                "both `token` and `token_file` are set",
                "leave one of them out",
            ))),
            (None, Some(file)) => match std::fs::read_to_string(file) {
                Ok(token) => Ok(Some(token.trim().as_bytes().to_vec())),
                Err(error) => Err(Trouble::Hopeless(Problem::new(
                    format!("the token file {}: {error}", file.display()),
                    "name a readable file with `token_file`",
                ))),
            },
        }
    }
}

impl fmt::Debug for Pulsar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulsar")
            .field("url", &self.url())
            .field("tls", &self.tls)
            .field("token", &self.token)
            .field("token_file", &self.token_file)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_hosts_and_whether_to_encrypt() {
        let addresses = |url: &str| Pulsar::at(url).addresses();
        let (hosts, tls) = addresses("pulsar://one,two:7000/").unwrap();
        assert_eq!(
            (hosts, tls),
            (vec!["one:6650".into(), "two:7000".into()], None)
        );
        let (hosts, tls) = addresses("pulsar+ssl://[::1]").unwrap();
        assert_eq!(hosts, ["[::1]:6651"]);
        assert!(tls.is_some());
        let problem = addresses("localhost:6650").unwrap_err().into_problem();
        assert!(problem.remedy.contains("pulsar://HOST:6650"));
        let pulsar = Pulsar::at("pulsar://me:canary@one");
        let problem = pulsar.addresses().unwrap_err().into_problem();
        assert_eq!(problem.reason, "the URL names a user");
        assert!(!format!("{} {pulsar:?}", pulsar.url()).contains("canary"));
        let plain = Pulsar::at("pulsar://one").tls(Tls::default());
        assert!(plain.addresses().is_err());
    }

    #[test]
    fn settings_with_everything_set_show_no_secret() {
        let pulsar: Pulsar = serde_json::from_str(
            r#"{ "url": "pulsar+ssl://one", "tls": { "ca": "/ca.pem" }, "token": "canary",
                 "patience_ms": 100 }"#,
        )
        .unwrap();
        assert_eq!(pulsar.read_token().unwrap(), Some(b"canary".to_vec()));
        let shown = format!("{pulsar:?}");
        assert!(
            shown.contains("/ca.pem") && !shown.contains("canary"),
            "{shown}"
        );
        let outcome = serde_json::from_str::<Pulsar>(r#"{"url": "a", "tokens": "b"}"#);
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("unknown field `tokens`"), "{error}");
    }
}
