//! What a client tells while it works: its logs, its errors, what was delivered and committed.

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, OwnedMessage};
use rdkafka::producer::ProducerContext;

use super::oauth;
use super::outage::Outage;
use super::problem::{Problem, in_words, is_of_the_record, is_silence};
use super::scrubber::Scrubber;
use crate::broker::Reports;

/// What a record is sent with, by which its report is known: that it is one of many, or that its
/// sender waits for what the brokers say to it.
pub(super) const AMONG_OTHERS: usize = 0;
pub(super) const ALONE: usize = 1;

/// What a client calls its messages of connections that fail.
const CONNECTION_FAILED: &str = "FAIL";

/// A record that the brokers have refused, or a batch that it was in.
pub(super) struct Bounced {
    pub(super) message: OwnedMessage,
    pub(super) error: KafkaError,
    /// Whether it was sent [`ALONE`], so that it is this one that they refuse.
    pub(super) was_alone: bool,
}

/// Hears what a client has to say. Nothing passes through it with a secret in it.
#[derive(Default)]
pub(super) struct Context {
    scrubber: RwLock<Scrubber>,
    token_file: Option<PathBuf>,
    /// What the client last complained about.
    complaint: Mutex<Option<(Option<RDKafkaErrorCode>, String)>>,
    reports: Arc<Reports>,
    /// Why a record was not delivered, from the first one that was not.
    undelivered: Mutex<Option<String>>,
    /// What the brokers have refused, in the order in which they did.
    bounced: Mutex<Vec<Bounced>>,
    outage: Outage,
}

impl Context {
    pub(super) fn new(
        scrubber: Scrubber,
        token_file: Option<PathBuf>,
        reports: Arc<Reports>,
    ) -> Self {
        Self {
            scrubber: RwLock::new(scrubber),
            token_file,
            reports,
            ..Self::default()
        }
    }

    /// An error of a call; where nobody has answered, in the words in which the client complained.
    pub(super) fn problem(&self, error: &KafkaError) -> Problem {
        let code = error.rdkafka_error_code();
        let is_silent = is_silence(code);
        match lock(&self.complaint).clone() {
            Some((code, complaint)) if is_silent => Problem::of_code(code, complaint),
            _ => Problem::of_code(code, self.clean(&in_words(error))),
        }
    }

    /// The text without any secret.
    fn clean(&self, text: &str) -> String {
        let scrubber = self.scrubber.read();
        let scrubber = scrubber.unwrap_or_else(PoisonError::into_inner);
        scrubber.clean(text).into_owned()
    }

    /// Whether the brokers have refused to talk to this client.
    pub(super) fn is_refused(&self) -> bool {
        use RDKafkaErrorCode as Code;
        matches!(
            *lock(&self.complaint),
            Some((
                Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL),
                _
            ))
        )
    }

    /// Notes that a broker has answered.
    pub(super) fn note_answer(&self) {
        if self.outage.end() {
            tracing::warn!("kafka: the brokers can be reached again");
        }
    }

    /// Whether no broker can be reached.
    pub(super) fn is_cut_off(&self) -> bool {
        self.outage.is_there()
    }

    pub(super) fn forget_complaints(&self) {
        self.note_answer();
        *lock(&self.complaint) = None;
    }

    /// Takes out what the brokers have refused.
    pub(super) fn take_bounced(&self) -> Vec<Bounced> {
        std::mem::take(&mut *lock(&self.bounced))
    }

    pub(super) fn undelivered(&self) -> Option<String> {
        lock(&self.undelivered).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        use RDKafkaLogLevel as Level;
        let message = self.clean(message);
        match level {
            // Every connection that fails, again and again: what matters comes as an error, too.
            _ if facility == CONNECTION_FAILED => tracing::debug!(facility, "kafka: {message}"),
            Level::Emerg | Level::Alert | Level::Critical | Level::Error => {
                tracing::error!(facility, "kafka: {message}");
            }
            Level::Warning => tracing::warn!(facility, "kafka: {message}"),
            Level::Notice | Level::Info => tracing::info!(facility, "kafka: {message}"),
            Level::Debug => tracing::debug!(facility, "kafka: {message}"),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let text = String::from_utf8_lossy(statistics);
        tracing::debug!("kafka statistics: {}", self.clean(&text));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::PartitionEOF) {
            // Whoever has asked for the end of a partition is told of it, too.
            return;
        }
        let reason = self.clean(reason);
        let is_outage = code == Some(RDKafkaErrorCode::AllBrokersDown);
        if is_outage && self.outage.begin() {
            let last = lock(&self.complaint).clone();
            let last = last.map_or(String::new(), |(_, complaint)| format!(" ({complaint})"));
            tracing::warn!("kafka: {reason}{last}; trying again until the brokers can be reached");
        } else if is_silence(code) {
            tracing::debug!("kafka: {reason}");
        } else {
            tracing::warn!("kafka: {reason}");
        }
        let mut complaint = lock(&self.complaint);
        // That no broker is left says less than what happened to the last of them.
        if !is_outage || complaint.is_none() {
            *complaint = Some((code, reason));
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        match &self.token_file {
            Some(file) => {
                let token = oauth::token(file)?;
                let scrubber = self.scrubber.write();
                let mut scrubber = scrubber.unwrap_or_else(PoisonError::into_inner);
                scrubber.add(&token.token);
                Ok(token)
            }
            None => Err("`sasl` names no token file".into()),
        }
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: usize) {
        match result {
            Ok(_) => {
                self.note_answer();
                self.reports.add_delivered(1);
            }
            Err((error, message)) if is_of_the_record(error) => {
                let bounced = Bounced {
                    message: message.detach(),
                    error: error.clone(),
                    was_alone: sent == ALONE,
                };
                lock(&self.bounced).push(bounced);
            }
            Err((error, message)) => {
                self.reports.count_failed();
                let bytes = message.payload().map_or(0, <[u8]>::len);
                lock(&self.undelivered).get_or_insert_with(|| {
                    format!(
                        "a record of {bytes} bytes was not delivered: {}",
                        in_words(error)
                    )
                });
            }
        }
    }
}
