//! A broker: topics that are written in transactions, and topics with one exclusive producer.
//!
//! It does what real ones do when something goes wrong between it and a client: a request gets lost, or
//! its reply does; a request is carried out later than the client thinks, which for the end of a
//! transaction may mean in the next one; a client tries again by itself, and both tries arrive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_engine::simulation::{Turns, is_killed};

use crate::random::Random;
use crate::row::Row;

/// Over how many further requests one that is delayed may be late.
const DELAY_REQUESTS_MAX: u64 = 15;

/// Why a request has no good end, as far as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No reply: it may have been carried out or not, or may yet be.
    Unknown,
    /// Another producer has taken the place of this one.
    Fenced,
    /// The client's process is dead.
    Dead,
}

/// What stands in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The n-th row of an epoch.
    Row { epoch: u64, index: u64, row: Row },
    /// An epoch has been published, with so many rows, and without those at the places of these bits.
    Note {
        epoch: u64,
        rows: u64,
        left_out: u128,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Open,
    Committed,
    Aborted,
}

/// How often what goes wrong, out of a thousand times.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) reply_lost: u64,
    pub(crate) delayed: u64,
    pub(crate) tried_again: u64,
}

/// Clones are the same broker.
#[derive(Clone)]
pub(crate) struct Broker(Arc<Mutex<State>>, Turns);

struct State {
    random: Random,
    faults: Faults,
    requests: u64,
    /// By transactional id.
    producers: BTreeMap<String, Producer>,
    outcomes: Vec<Outcome>,
    /// By transactional id, what was written under it, each in a transaction.
    topics: BTreeMap<String, Vec<(usize, Entry)>>,
    /// Ends of transactions that are on their way, with the request before which they arrive.
    delayed: Vec<(u64, String, u64, Outcome)>,
    exclusive: BTreeMap<String, Exclusive>,
}

#[derive(Default)]
struct Producer {
    epoch: u64,
    open: Option<usize>,
}

/// A topic with an exclusive producer.
#[derive(Default)]
struct Exclusive {
    owner: u64,
    entries: Vec<Entry>,
    /// By the producer's name, its greatest number: what is not greater is taken for sent twice.
    numbers: BTreeMap<String, u64>,
}

impl Broker {
    pub(crate) fn new(seed: u64, faults: Faults, turns: Turns) -> Self {
        let state = State {
            random: Random(seed),
            faults,
            requests: 0,
            producers: BTreeMap::new(),
            outcomes: Vec::new(),
            topics: BTreeMap::new(),
            delayed: Vec::new(),
            exclusive: BTreeMap::new(),
        };
        Self(Arc::new(Mutex::new(state)), turns)
    }

    /// Makes this the id's one producer, of an epoch that is given: what the one before has begun is
    /// given up.
    pub(crate) fn init(&self, id: &str) -> Result<u64, Trouble> {
        self.request(&format!("init {id}"), |state| {
            let producer = state.producers.entry(id.to_owned()).or_default();
            producer.epoch += 1;
            let (epoch, open) = (producer.epoch, producer.open.take());
            if let Some(open) = open {
                state.outcomes[open] = Outcome::Aborted;
            }
            Ok(epoch)
        })
    }

    /// Writes entries in the open transaction, or in a new one.
    pub(crate) fn write(&self, id: &str, epoch: u64, entries: &[Entry]) -> Result<(), Trouble> {
        self.request(&format!("write {id} {entries:?}"), |state| {
            let next = state.outcomes.len();
            let producer = state.producers.entry(id.to_owned()).or_default();
            if producer.epoch != epoch {
                return Err(Trouble::Fenced);
            }
            let open = *producer.open.get_or_insert(next);
            if open == next {
                state.outcomes.push(Outcome::Open);
            }
            let topic = state.topics.entry(id.to_owned()).or_default();
            topic.extend(entries.iter().map(|entry| (open, *entry)));
            Ok(())
        })
    }

    /// Commits the open transaction; tells whether the client had to try again for it.
    pub(crate) fn commit(&self, id: &str, epoch: u64) -> Result<bool, Trouble> {
        let (late, tries) = {
            let mut state = self.state();
            let Faults {
                delayed,
                tried_again,
                ..
            } = state.faults;
            (
                state.random.permille(delayed),
                state.random.permille(tried_again),
            )
        };
        if (late || tries) && !is_killed() {
            let mut state = self.state();
            let at = state.requests + 1 + state.random.below(DELAY_REQUESTS_MAX);
            let end = (at, id.to_owned(), epoch, Outcome::Committed);
            state.delayed.push(end);
            if late {
                drop(state);
                self.1.note(&format!("commit {id} is late"));
                return Err(Trouble::Unknown);
            }
        }
        self.request(&format!("commit {id}, tried again: {tries}"), |state| {
            state.end(id, epoch, Outcome::Committed)
        })?;
        Ok(tries)
    }

    /// The newest note under an id that is committed: its epoch, and what was left out of it.
    pub(crate) fn note(&self, id: &str) -> Result<Option<(u64, u128)>, Trouble> {
        self.request(&format!("note {id}"), |state| {
            let notes = state.committed(id).into_iter();
            let epochs = notes.filter_map(|entry| match entry {
                Entry::Note {
                    epoch, left_out, ..
                } => Some((epoch, left_out)),
                Entry::Row { .. } => None,
            });
            Ok(epochs.max())
        })
    }

    /// Makes a session this topic's one producer.
    pub(crate) fn open(&self, topic: &str) -> Result<u64, Trouble> {
        self.request(&format!("open {topic}"), |state| {
            let topic = state.exclusive.entry(topic.to_owned()).or_default();
            topic.owner += 1;
            Ok(topic.owner)
        })
    }

    /// The last entry of a topic with an exclusive producer.
    pub(crate) fn tail(&self, topic: &str) -> Result<Option<Entry>, Trouble> {
        self.request(&format!("tail {topic}"), |state| {
            let topic = state.exclusive.get(topic);
            Ok(topic.and_then(|topic| topic.entries.last().copied()))
        })
    }

    /// Appends an entry, unless the producer of this name has sent one of this number before.
    pub(crate) fn append(
        &self,
        topic: &str,
        session: u64,
        name: &str,
        number: u64,
        entry: Entry,
    ) -> Result<(), Trouble> {
        self.request(
            &format!("append {topic} {name} {number} {entry:?}"),
            |state| {
                let topic = state.exclusive.entry(topic.to_owned()).or_default();
                if topic.owner != session {
                    return Err(Trouble::Fenced);
                }
                let before = topic.numbers.get(name);
                if before.is_none_or(|before| *before < number) {
                    topic.numbers.insert(name.to_owned(), number);
                    topic.entries.push(entry);
                }
                Ok(())
            },
        )
    }

    /// What readers of a topic see.
    pub(crate) fn published(&self, topic: &str) -> Vec<Entry> {
        let state = self.state();
        match state.exclusive.get(topic) {
            Some(topic) => topic.entries.clone(),
            None => state.committed(topic),
        }
    }

    fn request<R>(
        &self,
        what: &str,
        carry_out: impl FnOnce(&mut State) -> Result<R, Trouble>,
    ) -> Result<R, Trouble> {
        if is_killed() {
            return Err(Trouble::Dead);
        }
        let mut state = self.state();
        state.begin();
        let Faults {
            lost, reply_lost, ..
        } = state.faults;
        let (lost, reply_lost) = (
            state.random.permille(lost),
            state.random.permille(reply_lost),
        );
        if lost {
            drop(state);
            self.1.note(&format!("{what}: lost"));
            return Err(Trouble::Unknown);
        }
        let outcome = carry_out(&mut state);
        drop(state);
        let shown = match &outcome {
            Ok(_) if reply_lost => "its reply is lost",
            Ok(_) => "done",
            Err(_) => "refused",
        };
        self.1.note(&format!("{what}: {shown}"));
        if reply_lost {
            return Err(Trouble::Unknown);
        }
        outcome
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What was late until now comes first.
    fn begin(&mut self) {
        self.requests += 1;
        let requests = self.requests;
        let is_due = |(at, ..): &mut (u64, String, u64, Outcome)| *at <= requests;
        let due: Vec<_> = self.delayed.extract_if(.., is_due).collect();
        for (_, id, epoch, outcome) in due {
            // Nobody waits for the reply.
            let _ = self.end(&id, epoch, outcome);
        }
    }

    /// Ends whatever transaction is open; where none is, it has been ended before.
    fn end(&mut self, id: &str, epoch: u64, outcome: Outcome) -> Result<(), Trouble> {
        let producer = self.producers.entry(id.to_owned()).or_default();
        if producer.epoch != epoch {
            return Err(Trouble::Fenced);
        }
        if let Some(open) = producer.open.take() {
            self.outcomes[open] = outcome;
        }
        Ok(())
    }

    fn committed(&self, id: &str) -> Vec<Entry> {
        let entries = self.topics.get(id).into_iter().flatten();
        let committed =
            entries.filter(|(transaction, _)| self.outcomes[*transaction] == Outcome::Committed);
        committed.map(|(_, entry)| *entry).collect()
    }
}
