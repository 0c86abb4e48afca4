//! Sends requests, and tries again.

use std::time::Duration;

use serde::Serialize;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{Refused, SinkError, Writer};
use tracing::warn;
use ureq::Agent;

use super::message::{Form, Message};
use super::sink::{HttpSink, TRUST, is_untrusted};
use crate::backoff::{Backoff, jitter};

/// Bytes of an answer that are looked at.
const ANSWER_BYTES_MAX: u64 = 4_096;

pub(crate) struct HttpWriter {
    agent: Agent,
    url: String,
    shown: String,
    form: Form,
    headers: Vec<(String, String)>,
    backoff: Backoff,
}

/// What came of one request.
enum Outcome {
    Delivered,
    Refused {
        status: u16,
        answer: String,
    },
    /// It may go better next time, which the server may have said when is.
    Failed {
        reason: String,
        wait: Option<Duration>,
    },
    /// It will go no better.
    Hopeless(String),
}

impl HttpWriter {
    pub(crate) fn new(sink: &HttpSink, agent: Agent) -> Self {
        Self {
            agent,
            url: sink.url.clone(),
            shown: sink.shown(),
            form: sink.form.clone(),
            headers: sink.headers.clone(),
            backoff: sink.backoff,
        }
    }

    /// Sends a record; gives the reason where it is refused.
    fn send<T: Serialize>(&self, record: &Record<T>) -> Result<Option<String>, SinkError> {
        let message = serde_json::to_string(&record.value)
            .map_err(|error| error.to_string())
            .and_then(|data| self.form.message(record, data));
        let message = match message {
            Ok(message) => message,
            Err(reason) => return Ok(Some(reason)),
        };
        let mut tries = 0;
        loop {
            let (reason, asked) = match self.post(&message) {
                Outcome::Delivered => return Ok(None),
                Outcome::Refused { status, answer } => {
                    return Ok(Some(format!("refused with status {status}: {answer}")));
                }
                Outcome::Hopeless(reason) => return Err(self.broken(reason)),
                Outcome::Failed { reason, wait } => (reason, wait),
            };
            let Some(wait) = self.backoff.wait(tries, asked, jitter()) else {
                return Err(self.broken(format!("{reason}, after {} tries", tries + 1)));
            };
            tries += 1;
            warn!(to = %self.shown, reason, tries, wait_ms = wait.as_millis() as u64, "trying again");
            std::thread::sleep(wait);
        }
    }

    fn post(&self, message: &Message) -> Outcome {
        let mut request = self.agent.post(&self.url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        for (name, value) in &message.headers {
            request = request.header(*name, value);
        }
        let mut response = match request.send(message.body.as_slice()) {
            Ok(response) => response,
            Err(error @ (ureq::Error::Http(_) | ureq::Error::BadUri(_))) => {
                return Outcome::Hopeless(error.to_string());
            }
            Err(error) if is_untrusted(&error) => {
                return Outcome::Hopeless(format!("{error}; {TRUST}"));
            }
            Err(error) => {
                return Outcome::Failed {
                    reason: error.to_string(),
                    wait: None,
                };
            }
        };
        let status = response.status().as_u16();
        let asked = response.headers().get("retry-after");
        let seconds = asked.and_then(|asked| asked.to_str().ok()?.trim().parse().ok());
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        // Read to its end, the connection serves the next request as well.
        let answer = body.lossy_utf8(true).read_to_string().unwrap_or_default();
        match status {
            200..=299 => Outcome::Delivered,
            408 | 425 | 429 | 500.. => Outcome::Failed {
                reason: format!("the server answers with status {status}"),
                wait: seconds.map(Duration::from_secs),
            },
            401 | 403 | 404 | 405 | 407 | 410 | ..=399 => {
                Outcome::Hopeless(format!("the server answers with status {status}"))
            }
            _ => Outcome::Refused { status, answer },
        }
    }

    fn broken(&self, reason: String) -> SinkError {
        SinkError::Write {
            what: self.shown.clone(),
            reason,
        }
    }
}

impl<T: Serialize> Writer<T> for HttpWriter {
    fn write(&mut self, records: &[Record<T>], refused: &mut Refused) -> Result<(), SinkError> {
        for (index, record) in records.iter().enumerate() {
            if let Some(reason) = self.send(record)? {
                refused.add(index, reason);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
