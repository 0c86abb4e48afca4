//! What a cluster can be asked about its topics.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use thalweg_engine::clock::Clock;
use thalweg_engine::time::EventTime;

use super::connection::Connection;
use super::position::Position;
use super::problem::Trouble;
use super::protocol::{
    Body, CommandCloseConsumer, CommandFlow, CommandGetLastMessageId,
    CommandGetLastMessageIdResponse, CommandGetTopicsOfNamespace, CommandLookupTopic,
    CommandPartitionedTopicMetadata, CommandSeek, CommandSubscribe, CommandUnsubscribe,
    InitialPosition, LookupType, MessageIdData, ServerError, earliest,
};
use super::settings::Pulsar;
use super::topic_name;
use crate::broker::Problem;

/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(100);
/// Brokers that may pass a question on to each other.
const REDIRECTS_MAX: usize = 8;
/// How often to try to remove a subscription.
const FORGET_ATTEMPTS: u32 = 30;
/// The consumer that asks, beside the one that reads.
const ASKING: u64 = 0;

/// How many partitions a topic has; none where it is not divided.
pub(super) type Partitions = Option<u32>;

/// Asks a cluster, over connections that are closed afterwards.
#[derive(Clone)]
pub(super) struct Client {
    settings: Pulsar,
    clock: Clock,
}

impl Client {
    pub(super) fn new(settings: &Pulsar) -> Self {
        Self {
            settings: settings.clone(),
            clock: Clock::system(),
        }
    }

    pub(super) fn settings(&self) -> &Pulsar {
        &self.settings
    }

    /// Tries until it works, or cannot work, or patience runs out.
    pub(super) fn patiently<R>(
        &self,
        mut attempt: impl FnMut(&Self) -> Result<R, Trouble>,
    ) -> Result<R, Problem> {
        let patience = self.settings.how_long_to_wait();
        let patience_ns = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let deadline_ns = self.clock.now_ns().saturating_add(patience_ns);
        loop {
            match attempt(self) {
                Ok(result) => return Ok(result),
                Err(trouble) if !trouble.passes() || self.clock.now_ns() >= deadline_ns => {
                    return Err(trouble.into_problem());
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    /// A connection to the first broker that answers, which is named, too.
    fn connect_anywhere(&self) -> Result<(Connection, String), Trouble> {
        let (addresses, _) = self.settings.addresses()?;
        let mut trouble = Trouble::Lost("`url` names no host".to_owned());
        for address in addresses {
            match Connection::open(&self.settings, &address, None) {
                Ok(connection) => return Ok((connection, address)),
                Err(Trouble::Lost(reason)) => trouble = Trouble::Lost(reason),
                Err(other) => return Err(other),
            }
        }
        Err(trouble)
    }

    /// A connection to the broker that serves a topic, given its whole name.
    pub(super) fn connect(&self, topic: &str) -> Result<Connection, Trouble> {
        let (mut connection, mut at) = self.connect_anywhere()?;
        let (_, tls) = self.settings.addresses()?;
        let entrance = at.clone();
        let mut is_final = false;
        for _ in 0..REDIRECTS_MAX {
            let answer = connection.ask(|request_id| {
                Body::Lookup(CommandLookupTopic {
                    topic: topic.to_owned(),
                    request_id,
                    authoritative: Some(is_final),
                    ..CommandLookupTopic::default()
                })
            })?;
            let Body::LookupResponse(answer) = answer else {
                return Err(unexpected());
            };
            if let Some(error) = answer.error {
                return Err(Trouble::refused(error, &answer.message.unwrap_or_default()));
            }
            let url = if tls.is_some() {
                answer.broker_service_url_tls
            } else {
                answer.broker_service_url
            };
            let url = url.unwrap_or_default();
            let host = url.split("://").last().unwrap_or_default();
            let host = host.trim_end_matches('/').to_owned();
            if host.is_empty() {
                return Err(Trouble::Lost(format!("no broker serves {topic} yet")));
            }
            let is_behind = answer.proxy_through_service_url.unwrap_or_default();
            if is_behind {
                connection = Connection::open(&self.settings, &entrance, Some(host.clone()))?;
            } else if host != at {
                connection = Connection::open(&self.settings, &host, None)?;
            }
            at = host;
            if answer.response == Some(LookupType::Redirect.into()) {
                is_final = answer.authoritative.unwrap_or_default();
            } else {
                return Ok(connection);
            }
        }
        Err(Trouble::Lost(format!(
            "the brokers refer to each other for {topic}"
        )))
    }

    /// How a topic is divided.
    pub(super) fn partitions_of(&self, topic: &str) -> Result<Partitions, Trouble> {
        let (mut connection, _) = self.connect_anywhere()?;
        let full = topic_name::full(topic);
        let answer = connection.ask(|request_id| {
            Body::PartitionedMetadata(CommandPartitionedTopicMetadata {
                topic: full.clone(),
                request_id,
                ..CommandPartitionedTopicMetadata::default()
            })
        })?;
        let Body::PartitionedMetadataResponse(answer) = answer else {
            return Err(unexpected());
        };
        match (answer.error, answer.partitions) {
            (Some(error), _) if error != i32::from(ServerError::TopicNotFound) => {
                let message = answer.message.unwrap_or_default();
                return Err(Trouble::refused(error, &message));
            }
            (None, Some(count @ 1..)) => return Ok(Some(count)),
            _ => {}
        }
        // Nothing divided; is it there at all?
        let (namespace, _) = topic_name::split(topic);
        let topics = list(&mut connection, &namespace)?;
        if topics.contains(&full) {
            return Ok(None);
        }
        let mut names: Vec<_> = topics
            .iter()
            .map(|topic| topic_name::whole(topic))
            .collect();
        names.dedup();
        let names: Vec<_> = names.into_iter().take(8).map(topic_name::short).collect();
        let others = match names.as_slice() {
            [] => format!("there are no topics in {namespace}"),
            names => format!("there are {}", names.join(", ")),
        };
        Err(Trouble::Hopeless(Problem::new(
            format!("topic `{topic}` does not exist: {others}"),
            "create the topic, or fix its name",
        )))
    }

    /// The topics of a namespace, by their names in it, and how each is divided.
    pub(super) fn topics(&self, namespace: &str) -> Result<BTreeMap<String, Partitions>, Trouble> {
        let (mut connection, _) = self.connect_anywhere()?;
        let mut topics = BTreeMap::new();
        for full in list(&mut connection, namespace)? {
            let whole = topic_name::whole(&full);
            let (_, local) = topic_name::split(whole);
            if local.starts_with("__") {
                continue;
            }
            let count = topics
                .entry(topic_name::short(whole).to_owned())
                .or_insert(None);
            if whole != full {
                *count = Some(count.unwrap_or(0) + 1);
            }
        }
        Ok(topics)
    }

    /// What can be said of the messages that a topic's partition holds now.
    pub(super) fn span(&self, topic: &str) -> Result<Span, Trouble> {
        let mut connection = self.connect(topic)?;
        span(&mut connection, topic)
    }

    /// The position of the first entry that was published at `time` or later.
    ///
    /// Only a subscription that is kept can be moved to a time: there is one for as long as it takes.
    pub(super) fn position_at(&self, topic: &str, time: EventTime) -> Result<Position, Trouble> {
        let subscription = CommandSubscribe {
            durable: Some(true),
            start_message_id: None,
            initial_position: Some(InitialPosition::Earliest.into()),
            ..reader(topic, earliest())
        };
        let found = self.move_to(topic, &subscription, time);
        for _ in 0..FORGET_ATTEMPTS {
            match self.forget(topic, &subscription) {
                Ok(()) => return found,
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
        let subscription = subscription.subscription;
        tracing::warn!(
            topic,
            subscription,
            "pulsar: a subscription could not be removed"
        );
        found
    }

    fn move_to(
        &self,
        topic: &str,
        subscription: &CommandSubscribe,
        time: EventTime,
    ) -> Result<Position, Trouble> {
        // Rounded up, so that nothing from before comes with it.
        let micros = time.as_micros();
        let millis = micros.div_euclid(1000) + i64::from(micros.rem_euclid(1000) > 0);
        let mut connection = self.connect(topic)?;
        subscribe(&mut connection, subscription)?;
        connection.ask(|request_id| {
            Body::Seek(CommandSeek {
                consumer_id: ASKING,
                request_id,
                message_publish_time: Some(millis.max(0).unsigned_abs()),
                ..CommandSeek::default()
            })
        })?;
        // The broker parts with the consumer when it has moved it.
        let mut connection = self.connect(topic)?;
        subscribe(&mut connection, subscription)?;
        let last = last_of(&mut connection, ASKING)?;
        match (position_after(&last), &last.consumer_mark_delete_position) {
            (Some(next), Some(done)) if !is_before(done, &last.last_message_id) => Ok(next),
            (Some(next), _) => Ok(first_here(&mut connection)?.unwrap_or(next)),
            (None, _) => Ok(Position::default()),
        }
    }

    fn forget(&self, topic: &str, subscription: &CommandSubscribe) -> Result<(), Trouble> {
        let mut connection = self.connect(topic)?;
        subscribe(&mut connection, subscription)?;
        let unsubscribed = connection.ask(|request_id| {
            Body::Unsubscribe(CommandUnsubscribe {
                consumer_id: ASKING,
                request_id,
            })
        });
        unsubscribed.map(drop)
    }
}

fn unexpected() -> Trouble {
    Trouble::Lost("the broker has answered something else".to_owned())
}

/// The whole names of a namespace's topics.
fn list(connection: &mut Connection, namespace: &str) -> Result<Vec<String>, Trouble> {
    let answer = connection.ask(|request_id| {
        Body::GetTopicsOfNamespace(CommandGetTopicsOfNamespace {
            request_id,
            namespace: namespace.to_owned(),
            ..CommandGetTopicsOfNamespace::default()
        })
    })?;
    match answer {
        Body::GetTopicsOfNamespaceResponse(mut answer) => {
            answer.topics.sort_unstable();
            Ok(answer.topics)
        }
        _ => Err(unexpected()),
    }
}

/// A subscription that leaves no trace, from a message on.
pub(super) fn reader(topic: &str, start: MessageIdData) -> CommandSubscribe {
    // The keys of a hash map are the standard library's only random numbers.
    let random = RandomState::new().build_hasher().finish();
    CommandSubscribe {
        topic: topic.to_owned(),
        subscription: format!("thalweg-{random:016x}"),
        consumer_id: ASKING,
        durable: Some(false),
        start_message_id: Some(start),
        force_topic_creation: Some(false),
        ..CommandSubscribe::default()
    }
}

pub(super) fn subscribe(
    connection: &mut Connection,
    subscription: &CommandSubscribe,
) -> Result<(), Trouble> {
    let asked = connection.ask(|request_id| {
        Body::Subscribe(CommandSubscribe {
            request_id,
            ..subscription.clone()
        })
    });
    asked.map(drop)
}

/// What a topic's partition holds.
pub(super) struct Span {
    /// Its oldest message, if it has any.
    pub(super) first: Option<Position>,
    /// The position after its last message.
    pub(super) next: Option<Position>,
}

/// Looks what a topic's partition holds, with a consumer beside the one that reads.
pub(super) fn span(connection: &mut Connection, topic: &str) -> Result<Span, Trouble> {
    subscribe(connection, &reader(topic, earliest()))?;
    let next = position_after(&last_of(connection, ASKING)?);
    let first = match next {
        Some(next) if next.entry > 0 || next.index > 0 => first_here(connection)?,
        _ => None,
    };
    connection.ask(|request_id| {
        Body::CloseConsumer(CommandCloseConsumer {
            consumer_id: ASKING,
            request_id,
        })
    })?;
    Ok(Span { first, next })
}

/// The last message, and how far a consumer's subscription is, as the broker of a consumer says.
pub(super) fn last_of(
    connection: &mut Connection,
    consumer: u64,
) -> Result<CommandGetLastMessageIdResponse, Trouble> {
    let answer = connection.ask(|request_id| {
        Body::GetLastMessageId(CommandGetLastMessageId {
            consumer_id: consumer,
            request_id,
        })
    })?;
    match answer {
        Body::GetLastMessageIdResponse(last) => Ok(last),
        _ => Err(unexpected()),
    }
}

/// Whether an entry comes before another. Where there is none yet, its number is -1.
pub(super) fn is_before(one: &MessageIdData, other: &MessageIdData) -> bool {
    let place = |id: &MessageIdData| (id.ledger_id.cast_signed(), id.entry_id.cast_signed());
    place(one) < place(other)
}

/// The position after the last message; none where there has never been one.
pub(super) fn position_after(last: &CommandGetLastMessageIdResponse) -> Option<Position> {
    let last = &last.last_message_id;
    let (ledger, entry) = (last.ledger_id, last.entry_id);
    if ledger.cast_signed() < 0 {
        return None;
    }
    if entry.cast_signed() < 0 {
        return Some(Position::start_of(ledger));
    }
    let index = last.batch_index.unwrap_or_default().max(0);
    let place = |entry, index| {
        Some(Position {
            ledger,
            entry,
            index,
        })
    };
    match index.unsigned_abs() + 1 {
        Position::BATCH_MAX => place(entry + 1, 0),
        // Such a batch is one dead letter.
        next if next > Position::BATCH_MAX => place(entry, 1),
        next => place(entry, next),
    }
}

/// The position of the first message that comes to the consumer that asks.
fn first_here(connection: &mut Connection) -> Result<Option<Position>, Trouble> {
    connection.send(Body::Flow(CommandFlow {
        consumer_id: ASKING,
        message_permits: 1,
    }))?;
    let mut parked = Vec::new();
    let mut first = None;
    // The oldest entry is there; a second is long for it to come.
    for _ in 0..40 {
        let Some(frame) = connection.poll(Duration::from_millis(50))? else {
            continue;
        };
        match &frame.body {
            Some(Body::Message(delivery)) if delivery.consumer_id == ASKING => {
                first = Some(Position::of(&delivery.message_id, 0));
                break;
            }
            _ => parked.push(frame),
        }
    }
    connection.park(parked);
    Ok(first)
}
