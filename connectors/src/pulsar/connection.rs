//! A connection to one broker: commands go out, frames come in, and questions are answered.

use std::collections::VecDeque;
use std::time::Duration;

use thalweg_engine::clock::Clock;

use super::frame::{self, Frame};
use super::problem::Trouble;
use super::protocol::{
    AuthData, Body, CommandAuthResponse, CommandConnect, CommandPong, FeatureFlags,
    MessageMetadata, VERSION,
};
use super::settings::Pulsar;
use super::stream::Stream;
use crate::broker::Problem;

/// The greatest message, where the broker does not say.
const MESSAGE_BYTES_MAX: usize = 5 * 1024 * 1024;
const METHOD: &str = "token";

/// A connection. Whoever holds it must look at it now and then: a broker gives up on clients that do
/// not answer it for a minute.
pub(super) struct Connection {
    settings: Pulsar,
    stream: Stream,
    /// What has come and has not been parsed: from `parsed` on.
    inbox: Vec<u8>,
    parsed: usize,
    /// Frames that came while an answer was waited for.
    parked: VecDeque<Frame>,
    outbox: Vec<u8>,
    requests: u64,
    clock: Clock,
    /// The greatest payload that the broker takes.
    pub(super) message_bytes_max: usize,
}

impl Connection {
    /// Connects to a broker, through a proxy if it is named as `behind` one.
    pub(super) fn open(
        settings: &Pulsar,
        address: &str,
        behind: Option<String>,
    ) -> Result<Self, Trouble> {
        let patience = settings.how_long_to_wait();
        let (_, tls) = settings.addresses()?;
        let stream = Stream::connect(address, tls.as_ref(), patience).map_err(Trouble::Lost)?;
        let mut connection = Self {
            settings: settings.clone(),
            stream,
            inbox: Vec::new(),
            parsed: 0,
            parked: VecDeque::new(),
            outbox: Vec::new(),
            requests: 0,
            clock: Clock::system(),
            message_bytes_max: MESSAGE_BYTES_MAX,
        };
        let token = settings.read_token()?;
        connection.send(Body::Connect(CommandConnect {
            client_version: concat!("thalweg-", env!("CARGO_PKG_VERSION")).to_owned(),
            protocol_version: Some(VERSION),
            auth_method_name: token.is_some().then(|| METHOD.to_owned()),
            auth_data: token,
            proxy_to_broker_url: behind,
            feature_flags: Some(FeatureFlags {
                supports_auth_refresh: Some(true),
                ..FeatureFlags::default()
            }),
            ..CommandConnect::default()
        }))?;
        let is_answer = |body: &Body| matches!(body, Body::Connected(_) | Body::Error(_));
        let answer = connection.wait_for(patience, is_answer);
        match answer.map_err(|trouble| trouble.at(address))? {
            Body::Connected(connected) => {
                let most = connected.max_message_size;
                let most = most.and_then(|most| usize::try_from(most).ok());
                connection.message_bytes_max = most.unwrap_or(MESSAGE_BYTES_MAX);
                Ok(connection)
            }
            Body::Error(failure) => Err(Trouble::refused(failure.error, &failure.message)),
            _ => unreachable!("invariant: only answers are waited for"),
        }
    }

    /// Sends a command.
    pub(super) fn send(&mut self, body: Body) -> Result<(), Trouble> {
        self.outbox.clear();
        frame::write_command(body, &mut self.outbox);
        self.flush()
    }

    /// Sends a command with a message.
    pub(super) fn send_payload(
        &mut self,
        body: Body,
        metadata: &MessageMetadata,
        payload: &[u8],
    ) -> Result<(), Trouble> {
        self.outbox.clear();
        frame::write_payload(body, metadata, payload, &mut self.outbox);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Trouble> {
        let written = self.stream.write_all(&self.outbox);
        written.map_err(|error| Trouble::Lost(error.to_string()))
    }

    /// Asks something and waits for the answer; what else comes meanwhile is there afterwards.
    pub(super) fn ask(&mut self, question: impl FnOnce(u64) -> Body) -> Result<Body, Trouble> {
        self.requests += 1;
        let id = self.requests;
        self.send(question(id))?;
        let is_answer = |body: &Body| request_of(body) == Some(id);
        match self.wait_for(self.settings.how_long_to_wait(), is_answer)? {
            Body::Error(failure) => Err(Trouble::refused(failure.error, &failure.message)),
            answer => Ok(answer),
        }
    }

    fn wait_for(
        &mut self,
        patience: Duration,
        is_it: impl Fn(&Body) -> bool,
    ) -> Result<Body, Trouble> {
        let patience_ns = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let deadline_ns = self.clock.now_ns().saturating_add(patience_ns);
        loop {
            let left_ns = deadline_ns.saturating_sub(self.clock.now_ns());
            if left_ns == 0 {
                return Err(Trouble::Lost(format!("no answer within {patience:?}")));
            }
            let received = self.receive(Duration::from_nanos(left_ns.max(1_000_000)))?;
            if let Some(frame) = received {
                match frame.body {
                    Some(body) if is_it(&body) => return Ok(body),
                    _ => self.parked.push_back(frame),
                }
            }
        }
    }

    /// The next frame, if one comes within `patience`.
    pub(super) fn poll(&mut self, patience: Duration) -> Result<Option<Frame>, Trouble> {
        match self.parked.pop_front() {
            Some(frame) => Ok(Some(frame)),
            None => self.receive(patience),
        }
    }

    /// Has frames given out again, before those that come.
    pub(super) fn park(&mut self, frames: Vec<Frame>) {
        for frame in frames.into_iter().rev() {
            self.parked.push_front(frame);
        }
    }

    /// The next frame that is there already.
    pub(super) fn poll_here(&mut self) -> Result<Option<Frame>, Trouble> {
        match self.parked.pop_front() {
            Some(frame) => Ok(Some(frame)),
            None => self.parse(),
        }
    }

    fn receive(&mut self, patience: Duration) -> Result<Option<Frame>, Trouble> {
        let lost = |error: std::io::Error| Trouble::Lost(error.to_string());
        loop {
            if let Some(frame) = self.parse()? {
                return Ok(Some(frame));
            }
            self.inbox.drain(..self.parsed);
            self.parsed = 0;
            let read = self.stream.read_some(&mut self.inbox, patience);
            if read.map_err(lost)? == 0 {
                return Ok(None);
            }
        }
    }

    /// The next whole frame in the inbox that is not for the connection itself.
    fn parse(&mut self) -> Result<Option<Frame>, Trouble> {
        loop {
            let rest = &self.inbox[self.parsed..];
            let length = frame::length(rest, self.message_bytes_max).map_err(senseless)?;
            let Some(whole) = length.and_then(|length| rest.get(..length)) else {
                return Ok(None);
            };
            let frame = frame::parse(&whole[4..]).map_err(senseless)?;
            self.parsed += whole.len();
            match frame.body {
                Some(Body::Ping(_)) => self.send(Body::Pong(CommandPong {}))?,
                Some(Body::AuthChallenge(_)) => self.say_who_again()?,
                Some(Body::Pong(_)) | None => {}
                Some(_) => return Ok(Some(frame)),
            }
        }
    }

    fn say_who_again(&mut self) -> Result<(), Trouble> {
        let token = self.settings.read_token()?;
        self.send(Body::AuthResponse(CommandAuthResponse {
            response: Some(AuthData {
                auth_method_name: Some(METHOD.to_owned()),
                auth_data: token,
            }),
            protocol_version: Some(VERSION),
            ..CommandAuthResponse::default()
        }))
    }
}

impl Trouble {
    fn at(self, address: &str) -> Self {
        match self {
            Self::Lost(reason) => Self::Lost(format!("{address}: {reason}")),
            other => other,
        }
    }
}

/// What comes is not what a broker sends; it would not be the next time, either.
fn senseless(reason: String) -> Trouble {
    Trouble::Hopeless(Problem::new(
        reason,
        "check that `url` names a Pulsar broker",
    ))
}

/// The request that a command answers.
fn request_of(body: &Body) -> Option<u64> {
    match body {
        Body::Success(answer) => Some(answer.request_id),
        Body::Error(answer) => Some(answer.request_id),
        Body::ProducerSuccess(answer) => Some(answer.request_id),
        Body::PartitionedMetadataResponse(answer) => Some(answer.request_id),
        Body::LookupResponse(answer) => Some(answer.request_id),
        Body::GetLastMessageIdResponse(answer) => Some(answer.request_id),
        Body::GetTopicsOfNamespaceResponse(answer) => Some(answer.request_id),
        Body::AckResponse(answer) => answer.request_id,
        _ => None,
    }
}
