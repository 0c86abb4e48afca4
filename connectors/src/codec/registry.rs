//! A client of a schema registry with Confluent's REST interface.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::warn;
use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;

use crate::backoff::{Backoff, jitter};
#[cfg(feature = "http-tls")]
use crate::tls;

/// Bytes of an answer that are taken in.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// The kinds of schemas that a registry keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaKind {
    /// Apache Avro.
    Avro,
    /// JSON Schema.
    Json,
    /// Protocol Buffers.
    Protobuf,
}

impl SchemaKind {
    fn name(self) -> &'static str {
        match self {
            Self::Avro => "AVRO",
            Self::Json => "JSON",
            Self::Protobuf => "PROTOBUF",
        }
    }
}

/// A schema registry, and what it has answered so far; clones share both.
///
/// With `https://`, its certificate must be signed by one of the public authorities, or one of those that
/// `ca` names.
///
/// A registry that cannot be reached is asked again, after waits that grow, for about a minute.
///
/// ```no_run
/// use thalweg_connectors::codec::Registry;
///
/// let registry = Registry::new("http://localhost:8081").basic_auth("user", "password");
/// let schema = registry.schema(7)?;
/// # Ok::<(), String>(())
/// ```
#[derive(Clone)]
pub struct Registry {
    url: String,
    authorization: Option<String>,
    agent: Agent,
    backoff: Backoff,
    schemas: Arc<Mutex<HashMap<u32, Result<String, String>>>>,
}

#[derive(Deserialize)]
struct Found {
    schema: String,
}

#[derive(Serialize)]
struct Registering<'a> {
    schema: &'a str,
    #[serde(rename = "schemaType")]
    kind: &'static str,
}

#[derive(Deserialize)]
struct Registered {
    id: u32,
}

/// What came of one request.
enum Answer {
    Good(String),
    /// It may go better next time.
    Failed(String),
    /// It will go no better.
    Refused(String),
}

impl Registry {
    /// The registry at an address such as `http://localhost:8081`; `https://` needs the feature
    /// `http-tls`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into().trim_end_matches('/').to_owned(),
            authorization: None,
            agent: config().build().into(),
            backoff: Backoff::default(),
            schemas: Arc::default(),
        }
    }

    /// A file of certificates (PEM) that are trusted instead of those of the public authorities, where
    /// the address begins with `https://`.
    ///
    /// # Errors
    /// When it cannot be read, or holds no certificate.
    #[cfg(feature = "http-tls")]
    pub fn ca(mut self, file: impl AsRef<std::path::Path>) -> Result<Self, String> {
        let trusting = tls::trusting(Some(file.as_ref()))?;
        self.agent = config().tls_config(trusting).build().into();
        Ok(self)
    }

    /// Sends a user and a password with every request.
    #[must_use]
    pub fn basic_auth(mut self, user: &str, password: &str) -> Self {
        let pair = base64(format!("{user}:{password}").as_bytes());
        self.authorization = Some(format!("Basic {pair}"));
        self
    }

    /// How often to try again when the registry cannot be reached, how long to wait at most before
    /// the first time, and before any; 8 times, 100 ms and 10 seconds unless set.
    #[must_use]
    pub fn retries(mut self, retries: u32, first: Duration, longest: Duration) -> Self {
        self.backoff = Backoff {
            first,
            longest,
            retries,
        };
        self
    }

    /// The schema of this number, which is asked for once.
    ///
    /// # Errors
    /// When there is none, or the registry cannot be reached.
    pub fn schema(&self, id: u32) -> Result<String, String> {
        let known = || self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known().get(&id) {
            return known.clone();
        }
        let path = format!("/schemas/ids/{id}");
        // What could not be asked for is asked for again; what was answered is not.
        let found = self.ask(&path, None)?.and_then(|body| {
            let found = serde_json::from_str::<Found>(&body);
            found
                .map(|found| found.schema)
                .map_err(|error| format!("the registry's answer to {path} is none: {error}"))
        });
        known().insert(id, found.clone());
        found
    }

    /// Makes sure that the registry can be reached and knows a subject, such as before a job starts;
    /// returns the number of the subject's newest schema.
    ///
    /// # Errors
    /// When it does not, or cannot be reached.
    pub fn newest_of(&self, subject: &str) -> Result<u32, String> {
        let path = format!("/subjects/{}/versions/latest", percent_encoded(subject));
        let answer = self.ask(&path, None)??;
        number_in(&path, &answer)
    }

    /// Registers a schema under a subject, if it is not there yet, and returns its number.
    ///
    /// # Errors
    /// When the registry refuses it, or cannot be reached.
    pub fn register(&self, subject: &str, schema: &str, kind: SchemaKind) -> Result<u32, String> {
        let body = serde_json::to_string(&Registering {
            schema,
            kind: kind.name(),
        })
        .map_err(|error| error.to_string())?;
        let path = format!("/subjects/{}/versions", percent_encoded(subject));
        let answer = self.ask(&path, Some(&body))??;
        number_in(&path, &answer)
    }

    /// Sends a request until it is answered; the outer error is that it was not.
    fn ask(&self, path: &str, body: Option<&str>) -> Result<Result<String, String>, String> {
        let mut tries = 0;
        loop {
            let reason = match self.send(path, body) {
                Answer::Good(answer) => return Ok(Ok(answer)),
                Answer::Refused(reason) => return Ok(Err(reason)),
                Answer::Failed(reason) => reason,
            };
            let Some(wait) = self.backoff.wait(tries, None, jitter()) else {
                return Err(format!(
                    "the schema registry cannot be asked for {path}: {reason}, after {} tries; \
                     see to it that it is up",
                    tries + 1
                ));
            };
            tries += 1;
            warn!(path, reason, tries, "asking the schema registry again");
            std::thread::sleep(wait);
        }
    }

    fn send(&self, path: &str, body: Option<&str>) -> Answer {
        let url = format!("{}{path}", self.url);
        let authorization = self.authorization.as_deref();
        let sent = match body {
            Some(body) => {
                let mut request = self.agent.post(&url).header("content-type", CONTENT_TYPE);
                if let Some(authorization) = authorization {
                    request = request.header("authorization", authorization);
                }
                request.send(body)
            }
            None => {
                let mut request = self.agent.get(&url).header("accept", CONTENT_TYPE);
                if let Some(authorization) = authorization {
                    request = request.header("authorization", authorization);
                }
                request.call()
            }
        };
        let mut response = match sent {
            Ok(response) => response,
            Err(error @ (ureq::Error::Http(_) | ureq::Error::BadUri(_))) => {
                return Answer::Refused(error.to_string());
            }
            Err(error) => return Answer::Failed(error.to_string()),
        };
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        match (status, body.read_to_string()) {
            (200..=299, Ok(body)) => Answer::Good(body),
            (_, Err(error)) => Answer::Failed(error.to_string()),
            (408 | 429 | 500.., _) => Answer::Failed(format!("it answers with status {status}")),
            (_, Ok(body)) => Answer::Refused(format!(
                "the schema registry refuses {path} with status {status}: {}",
                super::decode::excerpt(body.as_bytes())
            )),
        }
    }
}

fn config() -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(10)))
        .http_status_as_error(false)
}

/// The number of a schema in an answer.
fn number_in(path: &str, answer: &str) -> Result<u32, String> {
    serde_json::from_str::<Registered>(answer)
        .map(|registered| registered.id)
        .map_err(|error| format!("the registry's answer to {path} is none: {error}"))
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Base64 of RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes(word);
        for digit in 0..4 {
            let value = (word >> (18 - 6 * digit)) & 63;
            text.push(match digit <= chunk.len() {
                true => char::from(DIGITS[value as usize]),
                false => '=',
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Answer, HttpServer};

    fn registry(server: &HttpServer) -> Registry {
        let quick = Duration::from_millis(1);
        Registry::new(format!("{}/", server.url())).retries(2, quick, quick)
    }

    #[test]
    fn a_schema_is_asked_for_once_and_a_failure_again() {
        let server = HttpServer::start([
            Answer::Status(503),
            Answer::Body(200, r#"{"schema":"\"long\""}"#.to_owned()),
            Answer::Body(404, r#"{"error_code":40403}"#.to_owned()),
        ]);
        let registry = registry(&server).basic_auth("user", "pass");
        for _ in 0..3 {
            assert_eq!(registry.schema(7), Ok("\"long\"".to_owned()));
            let missing = registry.schema(8).unwrap_err();
            assert!(
                missing.contains("status 404") && missing.contains("40403"),
                "{missing}"
            );
        }
        let requests = server.requests();
        assert_eq!(requests.len(), 3);
        assert!(requests[0].head.starts_with("get /schemas/ids/7 "));
        assert!(
            requests[0]
                .head
                .contains("authorization: basic dxnlcjpwyxnz")
        );
    }

    #[test]
    fn a_schema_is_registered_under_its_subject() {
        let server = HttpServer::start([Answer::Body(200, r#"{"id":9}"#.to_owned())]);
        let id = registry(&server).register("a/b-value", "\"long\"", SchemaKind::Avro);
        assert_eq!(id, Ok(9));
        let requests = server.requests();
        assert!(
            requests[0]
                .head
                .starts_with("post /subjects/a%2fb-value/versions ")
        );
        assert_eq!(
            requests[0].body,
            r#"{"schema":"\"long\"","schemaType":"AVRO"}"#
        );
    }

    #[test]
    fn a_subject_is_looked_for() {
        let server = HttpServer::start([
            Answer::Body(200, r#"{"subject":"a","version":2,"id":9}"#.to_owned()),
            Answer::Body(404, r#"{"error_code":40401}"#.to_owned()),
        ]);
        let registry = registry(&server);
        assert_eq!(registry.newest_of("a-value"), Ok(9));
        let missing = registry.newest_of("b-value").unwrap_err();
        assert!(
            missing.contains("/subjects/b-value/versions/latest with status 404"),
            "{missing}"
        );
    }

    #[test]
    fn a_registry_that_is_not_there_is_said_to_be_so() {
        let quick = Duration::from_millis(1);
        let registry = Registry::new("http://127.0.0.1:9").retries(1, quick, quick);
        let error = registry.schema(1).unwrap_err();
        assert!(
            error.contains("after 2 tries; see to it that it is up"),
            "{error}"
        );
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }
}
