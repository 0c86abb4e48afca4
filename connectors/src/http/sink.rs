//! The configuration of an HTTP sink.

use std::fmt;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use thalweg_engine::sink::{Sink, SinkError, Writer};
use ureq::Agent;
use ureq::http::Uri;

use super::message::{EventMode, Form};
use super::writer::HttpWriter;
use crate::backoff::Backoff;
#[cfg(feature = "http-tls")]
use crate::tls;

/// What to do about a certificate that is not trusted.
pub(super) const TRUST: &str = "name the authority of the server's certificate with `ca`";

/// Whether it is the server's certificate that is wrong.
pub(super) fn is_untrusted(error: &ureq::Error) -> bool {
    error.to_string().to_lowercase().contains("certificate")
}

/// Posts each record to an address, in order, one after the other.
///
/// | the server answers | then |
/// |---|---|
/// | 2xx | the record is delivered |
/// | nothing, 408, 425, 429, 5xx | it is sent again, after a wait that grows; the run ends with an error when that has not helped |
/// | with a certificate that is not trusted | the run ends with an error |
/// | 3xx, 401, 403, 404, 405, 407, 410 | the run ends with an error: it is not about the record |
/// | another 4xx | the record is refused for good: it becomes a dead letter with the answer, and the next one is sent |
///
/// ```no_run
/// use thalweg_connectors::http::{EventMode, HttpSink};
/// use thalweg_engine::time::{millis, secs};
///
/// let alerts = HttpSink::cloud_events("http://localhost:8080/alerts", "/fraud", "alert")
///     .mode(EventMode::Binary)
///     .bearer("a token")
///     .timeout(secs(5))
///     .retries(10, millis(50), secs(20));
/// ```
pub struct HttpSink {
    pub(super) url: String,
    pub(super) form: Form,
    pub(super) headers: Vec<(String, String)>,
    pub(super) timeout: Duration,
    pub(super) backoff: Backoff,
    #[cfg_attr(
        not(feature = "http-tls"),
        allow(dead_code, reason = "without TLS there is nothing to trust")
    )]
    ca: Option<PathBuf>,
}

impl HttpSink {
    /// Posts each value as JSON, with a header `idempotency-key`.
    pub fn webhook(url: impl Into<String>) -> Self {
        Self::new(url.into(), Form::Webhook)
    }

    /// Posts each value as the JSON data of a CloudEvent 1.0 with this `source` (a URI reference)
    /// and `type`, in structured mode unless set otherwise. Its `time` is the record's event time.
    pub fn cloud_events(
        url: impl Into<String>,
        source: impl Into<String>,
        kind: impl Into<String>,
    ) -> Self {
        let form = Form::Event {
            mode: EventMode::default(),
            source: source.into(),
            kind: kind.into(),
        };
        Self::new(url.into(), form)
    }

    fn new(url: String, form: Form) -> Self {
        Self {
            url,
            form,
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            backoff: Backoff::default(),
            ca: None,
        }
    }

    /// How CloudEvents are sent; webhooks have no modes.
    #[must_use]
    pub fn mode(mut self, mode: EventMode) -> Self {
        if let Form::Event { mode: known, .. } = &mut self.form {
            *known = mode;
        }
        self
    }

    /// A header that every request has. It is never shown anywhere.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A token that every request has (RFC 6750). It is never shown anywhere.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// A file of certificates (PEM) that are trusted instead of those of the public authorities, where
    /// the address is one of `https://`.
    #[must_use]
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// How long a request may take from its start to the whole answer; 10 seconds unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often to try again, how long to wait at most before the first time, and before any:
    /// unless set, 8 times, after 100 ms and twice as long each time, but no longer than 10 seconds.
    #[must_use]
    pub fn retries(mut self, retries: u32, first: Duration, longest: Duration) -> Self {
        self.backoff = Backoff {
            first,
            longest,
            retries,
        };
        self
    }

    /// The address without what may be secret: user, password, query.
    pub(super) fn shown(&self) -> String {
        match self.url.parse::<Uri>() {
            Ok(uri) => format!(
                "{}://{}{}",
                uri.scheme_str().unwrap_or("http"),
                uri.authority().map_or_else(String::new, |authority| {
                    let name = authority.as_str();
                    name.rsplit_once('@')
                        .map_or(name, |(_, host)| host)
                        .to_owned()
                }),
                uri.path()
            ),
            Err(_) => "an address that is none".to_owned(),
        }
    }

    /// What requests are sent with.
    fn agent(&self) -> Result<Agent, SinkError> {
        let config = Agent::config_builder()
            .timeout_global(Some(self.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("thalweg/", env!("CARGO_PKG_VERSION")));
        #[cfg(feature = "http-tls")]
        let config = config.tls_config(tls::trusting(self.ca.as_deref()).map_err(|reason| {
            self.refuse(
                reason,
                "name a readable file of certificates (PEM) with `ca`",
            )
        })?);
        Ok(config.build().into())
    }

    /// Whether the server's certificate is one to trust, where it has one: asks for what it can do.
    fn check_certificate(&self) -> Result<(), SinkError> {
        match self.agent()?.options(&self.url).call() {
            Ok(_) => Ok(()),
            Err(error) if is_untrusted(&error) => Err(self.refuse(error, TRUST)),
            Err(error) => Err(self.refuse(error, "see to it that the server is up")),
        }
    }

    fn refuse(&self, reason: impl fmt::Display, remedy: &str) -> SinkError {
        SinkError::Open {
            what: self.shown(),
            reason: reason.to_string(),
            remedy: remedy.to_owned(),
        }
    }

    /// The host and port, if the address is one that can be used.
    fn place(&self) -> Result<(String, u16), SinkError> {
        let remedy = "give an address such as http://host:8080/path";
        let uri: Uri = self
            .url
            .parse()
            .map_err(|error| self.refuse(error, remedy))?;
        let port = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") if cfg!(feature = "http-tls") => 443,
            Some("https") => {
                return Err(self.refuse(
                    "this program was built without TLS",
                    "build it with the feature `http-tls`",
                ));
            }
            _ => return Err(self.refuse("it is no address of the web", remedy)),
        };
        match uri.host() {
            Some(host) => Ok((host.to_owned(), uri.port_u16().unwrap_or(port))),
            None => Err(self.refuse("it names no host", remedy)),
        }
    }
}

impl<T: Serialize + 'static> Sink<T> for HttpSink {
    fn describe(&self) -> String {
        self.shown()
    }

    /// Looks whether somebody listens at the address and, over TLS, whether that is to be trusted.
    fn check(&self) -> Result<(), SinkError> {
        let (host, port) = self.place()?;
        let connect = || {
            let mut last = None;
            for address in (host.trim_matches(['[', ']']), port).to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, self.timeout) {
                    Ok(_) => return Ok(()),
                    Err(error) => last = Some(error),
                }
            }
            Err(last.unwrap_or_else(|| std::io::Error::other("the host has no address")))
        };
        connect().map_err(|error| self.refuse(error, "see to it that the server is up"))?;
        match self.url.starts_with("https:") {
            true => self.check_certificate(),
            false => Ok(()),
        }
    }

    fn open(&self) -> Result<Box<dyn Writer<T>>, SinkError> {
        self.place()?;
        Ok(Box::new(HttpWriter::new(self, self.agent()?)))
    }
}
