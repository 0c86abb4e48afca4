//! A consumer of one partition: what it gets, where it stands, and what it has to acknowledge.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use thalweg_engine::clock::Clock;

use super::client::{Client, is_before, last_of, position_after, reader, span, subscribe};
use super::connection::Connection;
use super::entry::{Entry, Next, Raw};
use super::frame::{Frame, Garbled};
use super::position::Position;
use super::problem::Trouble;
use super::protocol::{
    AckType, Body, CommandAck, CommandFlow, CommandSubscribe, InitialPosition, MessageIdData,
    SingleMessageMetadata, earliest,
};
use super::source::SubscriptionKind;
use crate::broker::Problem;

/// Messages that a broker may send ahead of the reader.
const PERMITS: u32 = 2_000;
/// The consumer that reads.
const READING: u64 = 1;
/// How long to wait before connecting again.
const PAUSE_NS: u64 = 100_000_000;

/// How a partition is read.
#[derive(Clone, Debug)]
pub(super) enum Way {
    /// From where the engine says, leaving no trace.
    Reader,
    /// From where a subscription has got to, which is told what is done.
    Subscription {
        name: String,
        kind: SubscriptionKind,
        /// Whether one that is made now begins at the end.
        from_end: bool,
    },
}

impl Way {
    /// Whether messages come in the order of the topic, so that their positions are their offsets.
    fn is_ordered(&self) -> bool {
        !matches!(
            self,
            Self::Subscription {
                kind: SubscriptionKind::KeyShared,
                ..
            }
        )
    }
}

/// An entry that was given to the engine and is not yet acknowledged.
struct Held {
    id: MessageIdData,
    /// The offset after its last message.
    end: u64,
}

/// The ledger and the entry of an id.
fn place_of(id: &MessageIdData) -> (u64, u64) {
    (id.ledger_id, id.entry_id)
}

/// What a feed has to give.
pub(super) enum Fed<T> {
    Item(u64, T),
    Nothing,
}

/// What there is to be made a value of.
pub(super) enum Given<'a> {
    Message(Raw<'a>),
    Garbled(Garbled),
}

/// A consumer of one partition.
pub(super) struct Feed {
    client: Client,
    /// The partition's whole name.
    topic: String,
    way: Way,
    connection: Option<Connection>,
    clock: Clock,
    /// The offset of the next message at the least.
    pub(super) next: u64,
    /// The offset before which the partition ends, where it is read to an end.
    pub(super) end: Option<u64>,
    payload_bytes_max: usize,
    current: Option<(Entry, Option<Garbled>)>,
    /// Messages that were taken since the broker was last told.
    used: u32,
    held: VecDeque<Held>,
    /// The entries among them; kept where they come in any order.
    known: HashSet<(u64, u64)>,
    lost_ns: Option<u64>,
    retry_ns: u64,
}

impl Feed {
    /// Connects to a partition, to give what is there from offset `next` on.
    pub(super) fn open(
        client: Client,
        topic: String,
        way: Way,
        next: u64,
        payload_bytes_max: usize,
        until_end: bool,
    ) -> Result<Self, Problem> {
        let mut feed = Self {
            client: client.clone(),
            topic,
            way,
            connection: None,
            clock: Clock::system(),
            next,
            end: None,
            payload_bytes_max,
            current: None,
            used: 0,
            held: VecDeque::new(),
            known: HashSet::new(),
            lost_ns: None,
            retry_ns: 0,
        };
        client.patiently(|_| feed.connect())?;
        if until_end {
            feed.end = Some(client.patiently(|_| feed.find_end())??);
        }
        Ok(feed)
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Whether the broker cannot be reached now.
    pub(super) fn is_cut_off(&self) -> bool {
        self.connection.is_none()
    }

    fn connect(&mut self) -> Result<(), Trouble> {
        self.connection = None;
        self.used = 0;
        let mut connection = self.client.connect(&self.topic)?;
        let subscription = match &self.way {
            Way::Reader => {
                self.look_for_gap(&mut connection)?;
                let start = match self.next {
                    0 => earliest(),
                    next => Position::at(next).start(),
                };
                reader(&self.topic, start)
            }
            Way::Subscription {
                name,
                kind,
                from_end,
            } => CommandSubscribe {
                topic: self.topic.clone(),
                subscription: name.clone(),
                sub_type: kind.number(),
                durable: Some(true),
                initial_position: Some(i32::from(match from_end {
                    true => InitialPosition::Latest,
                    false => InitialPosition::Earliest,
                })),
                force_topic_creation: Some(false),
                ..CommandSubscribe::default()
            },
        };
        let subscription = CommandSubscribe {
            consumer_id: READING,
            ..subscription
        };
        subscribe(&mut connection, &subscription)?;
        connection.send(Body::Flow(CommandFlow {
            consumer_id: READING,
            message_permits: PERMITS,
        }))?;
        self.connection = Some(connection);
        self.lost_ns = None;
        Ok(())
    }

    /// Fails where messages may have been removed that were to be read.
    fn look_for_gap(&self, connection: &mut Connection) -> Result<(), Trouble> {
        let next = Position::at(self.next);
        // Of a ledger nothing of which was read, nothing is known.
        if next.entry == 0 && next.index == 0 {
            return Ok(());
        }
        match span(connection, &self.topic)?.first {
            Some(first) if first > next => Err(Trouble::Hopeless(Problem::new(
                format!(
                    "position {next}, where to go on, is not there any more: what is before \
                     {first} has been removed"
                ),
                "start anew from where the topic begins now, and keep messages longer (pulsar-admin \
                 namespaces set-retention)",
            ))),
            _ => Ok(()),
        }
    }

    /// The offset after the last message that is there now.
    fn find_end(&mut self) -> Result<Result<u64, Problem>, Trouble> {
        let connection = self.connection.as_mut();
        let connection = connection.ok_or_else(|| Trouble::Lost("no connection".to_owned()))?;
        let last = last_of(connection, READING)?;
        let is_done = match (&self.way, &last.consumer_mark_delete_position) {
            (Way::Subscription { .. }, Some(done)) => !is_before(done, &last.last_message_id),
            _ => false,
        };
        Ok(match position_after(&last) {
            Some(next) if !is_done && next != Position::start_of(next.ledger) => next.offset(),
            _ => Ok(self.next),
        })
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    /// The next item, made by `make`, with its offset; nothing when none comes within `patience`.
    pub(super) fn feed<T>(
        &mut self,
        patience: Duration,
        mut make: impl FnMut(Given<'_>) -> T,
    ) -> Result<Fed<T>, Problem> {
        loop {
            if self.current.is_some() {
                if let Some((offset, item)) = self.next_message(&mut make)? {
                    return Ok(Fed::Item(offset, item));
                }
                self.leave_entry();
                continue;
            }
            match self.next_frame(patience) {
                Ok(Some(frame)) => self.take_in(frame)?,
                Ok(None) => return Ok(Fed::Nothing),
                Err(trouble) => {
                    self.recover(trouble, patience)?;
                    return Ok(Fed::Nothing);
                }
            }
        }
    }

    fn next_frame(&mut self, patience: Duration) -> Result<Option<Frame>, Trouble> {
        match &mut self.connection {
            None => Err(Trouble::Lost("there is no connection".to_owned())),
            Some(connection) if patience.is_zero() => connection.poll_here(),
            Some(connection) => connection.poll(patience),
        }
    }

    fn take_in(&mut self, frame: Frame) -> Result<(), Problem> {
        match (frame.body, frame.payload) {
            (Some(Body::Message(delivery)), Some(payload)) if delivery.consumer_id == READING => {
                let id = delivery.message_id;
                self.current = Entry::open(id, payload, self.payload_bytes_max);
                self.note_entry()?;
            }
            (Some(Body::CloseConsumer(about)), _) if about.consumer_id == READING => {
                self.connection = None;
            }
            (Some(Body::ReachedEndOfTopic(_)), _) => self.end = Some(self.next),
            _ => {}
        }
        Ok(())
    }

    /// Looks at an entry that has just come: whether it is new, and that its positions fit.
    fn note_entry(&mut self) -> Result<(), Problem> {
        let Some((entry, garbled)) = &mut self.current else {
            self.used += 1;
            return Ok(());
        };
        self.used = self.used.saturating_add(entry.count);
        let place = place_of(&entry.id);
        if self.way.is_ordered() {
            if entry.count > Position::BATCH_MAX && garbled.is_none() {
                *garbled = Some(entry.give_up());
            }
            let end = entry.last().offset()? + 1;
            let is_new = self.held.back().is_none_or(|last| last.end < end);
            if is_new && !matches!(self.way, Way::Reader) {
                let id = entry.id.clone();
                self.held.push_back(Held { id, end });
            }
        } else if self.known.insert(place) {
            // Where it ends is known when it is used up.
            let (id, end) = (entry.id.clone(), u64::MAX);
            self.held.push_back(Held { id, end });
        } else {
            // It comes again, since the connection was lost.
            entry.index = entry.count;
        }
        Ok(())
    }

    /// The next message of the current entry that is new; none when the entry is used up.
    fn next_message<T>(
        &mut self,
        make: &mut impl FnMut(Given<'_>) -> T,
    ) -> Result<Option<(u64, T)>, Problem> {
        let Some((entry, garbled)) = &mut self.current else {
            return Ok(None);
        };
        let is_ordered = self.way.is_ordered();
        let offset_of = |id: &MessageIdData, index: u32, next: u64| match is_ordered {
            true => Position::of(id, index).offset(),
            false => Ok(next),
        };
        if let Some(garbled) = garbled.take() {
            // One letter for all that the entry holds, of which nothing is left to give then.
            let index = entry.index;
            entry.index = entry.count;
            let offset = offset_of(&entry.id, index, self.next)?;
            if offset >= self.next {
                self.next = match is_ordered {
                    true => entry.last().offset()? + 1,
                    false => offset + 1,
                };
                return Ok(Some((offset, make(Given::Garbled(garbled)))));
            }
        }
        let mut single = SingleMessageMetadata::default();
        loop {
            let id = entry.id.clone();
            let (index, given) = match entry.next(&self.topic, &mut single) {
                Next::End => return Ok(None),
                Next::Gone => continue,
                Next::Message(index, raw) => (index, Given::Message(raw)),
                Next::Garbled(index, garbled) => (index, Given::Garbled(garbled)),
            };
            let offset = offset_of(&id, index, self.next)?;
            if offset < self.next {
                continue;
            }
            let item = make(given);
            self.next = offset + 1;
            return Ok(Some((offset, item)));
        }
    }

    /// Leaves an entry that is used up, and lets the broker send more, when enough has been taken.
    fn leave_entry(&mut self) {
        self.current = None;
        if !self.way.is_ordered()
            && let Some(held) = self.held.back_mut()
        {
            held.end = held.end.min(self.next);
        }
        if self.used < PERMITS / 2 {
            return;
        }
        if let Some(connection) = &mut self.connection {
            let flow = CommandFlow {
                consumer_id: READING,
                message_permits: self.used,
            };
            // Where it fails, reading fails next.
            if connection.send(Body::Flow(flow)).is_err() {
                self.connection = None;
            }
        }
        self.used = 0;
    }

    /// Connects again, now and then, until it works or has not worked for too long.
    fn recover(&mut self, trouble: Trouble, patience: Duration) -> Result<(), Problem> {
        if !trouble.passes() {
            return Err(trouble.into_problem());
        }
        let now_ns = self.clock.now_ns();
        let hold_on = self.client.settings().how_long_to_hold_on();
        if self.lost_ns.is_none() {
            let reason = trouble.reason();
            tracing::warn!(topic = self.topic, "pulsar: {reason}; connecting again");
        }
        let lost_ns = *self.lost_ns.get_or_insert(now_ns);
        if u128::from(now_ns - lost_ns) > hold_on.as_nanos() {
            return Err(trouble.into_problem());
        }
        self.connection = None;
        if now_ns < self.retry_ns {
            std::thread::sleep(patience);
            return Ok(());
        }
        self.retry_ns = now_ns + PAUSE_NS;
        match self.connect() {
            Ok(()) => {
                tracing::info!(topic = self.topic, "pulsar: connected again");
                Ok(())
            }
            Err(trouble) if trouble.passes() => Ok(()),
            Err(trouble) => Err(trouble.into_problem()),
        }
    }

    /// Acknowledges the entries all of which is before `done`, and waits for the answer.
    pub(super) fn acknowledge(&mut self, done: u64) -> Result<(), String> {
        let count = self.held.iter().take_while(|held| held.end <= done).count();
        if count == 0 {
            return Ok(());
        }
        let whole = |held: &Held| MessageIdData {
            ledger_id: held.id.ledger_id,
            entry_id: held.id.entry_id,
            ..MessageIdData::default()
        };
        let (ack_type, message_ids) = match self.way.is_ordered() {
            true => (AckType::Cumulative, vec![whole(&self.held[count - 1])]),
            false => (
                AckType::Individual,
                self.held.iter().take(count).map(whole).collect(),
            ),
        };
        let mut attempts_left = 2;
        loop {
            attempts_left -= 1;
            match self.send_ack(ack_type, &message_ids) {
                Ok(()) => break,
                Err(trouble) if attempts_left > 0 && trouble.passes() => {
                    if let Err(trouble) = self.connect() {
                        return Err(trouble.reason());
                    }
                }
                Err(trouble) => return Err(trouble.reason()),
            }
        }
        for held in self.held.drain(..count) {
            self.known.remove(&place_of(&held.id));
        }
        Ok(())
    }

    fn send_ack(
        &mut self,
        ack_type: AckType,
        message_ids: &[MessageIdData],
    ) -> Result<(), Trouble> {
        let connection = self.connection.as_mut();
        let connection = connection.ok_or_else(|| Trouble::Lost("no connection".to_owned()))?;
        let answer = connection.ask(|request_id| {
            Body::Ack(CommandAck {
                consumer_id: READING,
                ack_type: ack_type.into(),
                message_id: message_ids.to_vec(),
                request_id: Some(request_id),
                ..CommandAck::default()
            })
        })?;
        match answer {
            Body::AckResponse(answer) => match answer.error {
                None => Ok(()),
                Some(error) => Err(Trouble::refused(error, &answer.message.unwrap_or_default())),
            },
            _ => Err(Trouble::Lost("no answer to an acknowledgement".to_owned())),
        }
    }
}
