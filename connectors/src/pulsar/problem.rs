//! What goes wrong between a client and a broker, and what to do about it.

use super::protocol::ServerError;
use crate::broker::Problem;

/// Why a connection did not do what it was asked to.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// There is no connection, or no longer.
    Lost(String),
    /// The broker has said no.
    Refused(ServerError, String),
    /// It cannot be had whatever the broker says.
    Hopeless(Problem),
}

impl Trouble {
    /// What a broker says, without what its own code has to say about it.
    pub(super) fn refused(code: i32, message: &str) -> Self {
        let code = ServerError::try_from(code).unwrap_or(ServerError::UnknownError);
        let line = message.lines().next().unwrap_or_default();
        // Java's exceptions name their class, often several times.
        let line = line.rsplit("Exception: ").next().unwrap_or(line);
        Self::Refused(code, line.trim().to_owned())
    }

    /// Whether the same may be had a little later.
    pub(super) fn passes(&self) -> bool {
        use ServerError as Code;
        match self {
            Self::Lost(_) => true,
            Self::Refused(code, _) => matches!(
                code,
                Code::ServiceNotReady
                    | Code::MetadataError
                    | Code::PersistenceError
                    | Code::ConsumerBusy
                    | Code::ProducerBusy
                    | Code::TooManyRequests
                    | Code::UnknownError
            ),
            Self::Hopeless(_) => false,
        }
    }

    pub(super) fn reason(&self) -> String {
        match self {
            Self::Lost(reason) => reason.clone(),
            Self::Refused(code, message) if message.is_empty() => format!("{code:?}"),
            Self::Refused(code, message) => format!("{code:?}: {message}"),
            Self::Hopeless(problem) => problem.reason.clone(),
        }
    }

    pub(super) fn into_problem(self) -> Problem {
        use ServerError as Code;
        let mut may_pass = self.passes();
        let remedy = match &self {
            Self::Lost(reason) if reason.to_lowercase().contains("certificate") => {
                may_pass = false;
                "check the certificates (`tls`), and that the port is one for TLS"
            }
            Self::Lost(_) => "check that the broker runs and that `url` names it",
            Self::Refused(Code::AuthenticationError, _) => "check the token",
            Self::Refused(Code::AuthorizationError, _) => {
                "have the token's subject given the right to it (pulsar-admin namespaces \
                 grant-permission)"
            }
            Self::Refused(Code::TopicNotFound, _) => "create the topic, or fix its name",
            Self::Refused(Code::ConsumerBusy, _) => {
                "is another job reading with the same subscription? stop it, or use another"
            }
            Self::Refused(Code::InvalidTopicName, _) => "fix the topic's name",
            Self::Refused(..) => "see what the broker's own log says",
            Self::Hopeless(problem) => return problem.clone(),
        };
        Problem {
            may_pass,
            ..Problem::new(self.reason(), remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_quoted_without_its_java() {
        let said = "java.util.concurrent.CompletionException: org.apache.X$YException: no such \
                    topic\n\tat org.apache.Z(Z.java:1)";
        let trouble = Trouble::refused(11, said);
        assert_eq!(trouble.reason(), "TopicNotFound: no such topic");
        assert!(!trouble.passes());
        assert!(Trouble::refused(6, "").passes());
        let problem = Trouble::refused(3, "bad token").into_problem();
        assert_eq!(problem.remedy, "check the token");
    }
}
