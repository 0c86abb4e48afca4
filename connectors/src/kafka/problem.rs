//! What is wrong with a cluster, a topic or a client, and what to do about it.

use std::sync::Arc;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use serde::{Deserialize, Serialize};

pub(super) use crate::broker::Problem;

impl Problem {
    /// A problem with `code`, which the client has described as `reason`.
    pub(super) fn of_code(code: Option<RDKafkaErrorCode>, reason: String) -> Self {
        Self {
            may_pass: may_pass(code),
            ..Self::new(reason, remedy(code))
        }
    }
}

/// What a source or a sink needs besides the cluster.
pub(super) type Requirement = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The problem that something is not as it is required to be.
pub(super) fn unmet(reason: String) -> Problem {
    Problem::new(reason, "see to what it requires")
}

/// Whether it may be otherwise a little later: nobody has answered, or the cluster is not ready.
fn may_pass(code: Option<RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode as Code;
    is_silence(code)
        || matches!(
            code,
            Some(
                Code::LeaderNotAvailable
                    | Code::BrokerNotAvailable
                    | Code::NotLeaderForPartition
                    | Code::NetworkException
                    | Code::RequestTimedOut
                    | Code::CoordinatorLoadInProgress
                    | Code::CoordinatorNotAvailable
                    | Code::NotCoordinator
            )
        )
}

/// Whether it is that no broker answers.
pub(super) fn is_silence(code: Option<RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Some(
            Code::BrokerTransportFailure
                | Code::OperationTimedOut
                | Code::AllBrokersDown
                | Code::Resolve
        )
    )
}

fn remedy(code: Option<RDKafkaErrorCode>) -> &'static str {
    use RDKafkaErrorCode as Code;
    match code {
        Some(Code::Authentication | Code::SaslAuthenticationFailed) => {
            "check the user's name, password and mechanism (`sasl`)"
        }
        Some(Code::SSL) => "check the certificates (`tls`), and that the port is one for TLS",
        // What a broker says to one that does not encrypt, where it wants that, is no more than this.
        Some(Code::AllBrokersDown | Code::BrokerTransportFailure) => {
            "check that the brokers run, that `brokers` names them, and whether they want `tls`"
        }
        Some(Code::Resolve) => "check the host names in `brokers`",
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed,
        ) => "have the user given the right to it (kafka-acls)",
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            "create the topic, or fix its name"
        }
        _ => "check that the brokers run and that `brokers` names them",
    }
}

/// Whether brokers refuse a batch for what one of its records is, which is so however often it is sent.
pub(super) fn is_of_the_record(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::MessageSizeTooLarge
                | Code::InvalidMessageSize
                | Code::InvalidTimestamp
                | Code::InvalidRecord
                | Code::InvalidDifferentRecord
                | Code::PolicyViolation
        )
    )
}

/// Whether they name the very record then, and not only its batch.
pub(super) fn names_the_record(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::InvalidTimestamp | Code::InvalidRecord)
    )
}

/// Why a record is not written, but for how large it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Refusal {
    TooLarge,
    /// In the client's words.
    Other(String),
}

impl Refusal {
    pub(super) fn of(error: &KafkaError) -> Self {
        match is_too_large(error) {
            true => Self::TooLarge,
            false => Self::Other(in_words(error)),
        }
    }

    /// The reason for a record of so many bytes.
    pub(super) fn reason(&self, bytes: usize) -> String {
        match self {
            Self::TooLarge => format!(
                "a record of {bytes} bytes is too large; raise the property `message.max.bytes`, and \
                 the topic's `max.message.bytes`"
            ),
            Self::Other(words) => format!("the brokers refuse the record: {words}"),
        }
    }
}

/// Whether a record, or a batch of them, is larger than the client or a broker takes.
pub(super) fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// The client's error in words, without any value of a setting.
pub(super) fn in_words(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, problem, property, _) => {
            format!("property `{property}`: {}", problem.trim_end_matches('.'))
        }
        error => match error.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => error.to_string(),
        },
    }
}
