//! The sinks: one publishes an epoch in a transaction, perhaps without what is refused, the other goes on from
//! the topic's last entry.
//!
//! Both do what the connectors do, over the simulated broker.

use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::simulation::{Defect, is_planted, pass};
use thalweg_engine::sink::{Delivery, EpochWriter, Refused, RefusedLate, Sink, SinkError, Writer};

use crate::broker::{Broker, Entry, Trouble};
use crate::row::{Row, rows, stage};

/// Rows that are written in one request, at most.
const BATCH_ROWS: usize = 3;

/// How a sink publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Each epoch in a transaction, with a note of it.
    Transactional,
    /// Likewise, but for rows that the broker refuses.
    Picky,
    /// Record by record, from the topic's last entry on.
    Exclusive,
}

/// A topic that is written.
#[derive(Clone)]
pub(crate) struct Output {
    pub(crate) broker: Broker,
    pub(crate) topic: &'static str,
    pub(crate) kind: Kind,
}

impl Sink<Row> for Output {
    fn describe(&self) -> String {
        format!("simulated topic {}", self.topic)
    }

    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&self) -> Result<Box<dyn Writer<Row>>, SinkError> {
        Err(self.broken("it delivers exactly once only"))
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    fn open_epochs(&self, _: &str) -> Result<Box<dyn EpochWriter<Row>>, SinkError> {
        let output = self.clone();
        Ok(match self.kind {
            Kind::Transactional | Kind::Picky => Box::new(Transactions {
                output,
                producer: None,
                left_out: Vec::new(),
            }),
            Kind::Exclusive => Box::new(Exclusive {
                output,
                session: None,
            }),
        })
    }
}

impl Output {
    fn broken(&self, reason: &str) -> SinkError {
        SinkError::Write {
            what: format!("topic {}", self.topic),
            reason: reason.to_owned(),
        }
    }

    /// Tries until it is done, or another one has taken over.
    fn insist(&self, mut attempt: impl FnMut() -> Result<(), Trouble>) -> Result<(), SinkError> {
        loop {
            match attempt() {
                Ok(()) => return Ok(()),
                Err(Trouble::Unknown) => pass(),
                Err(Trouble::Fenced) => return Err(self.broken("another producer has taken over")),
                Err(Trouble::Dead) => return Err(self.broken("the process was killed")),
            };
        }
    }
}

fn stage_all(records: &[Record<Row>], outbox: &mut Vec<u8>) {
    for record in records {
        stage(&record.value, outbox);
    }
}

/// Whether the broker refuses a row.
pub(crate) fn is_refused(id: u64) -> bool {
    id % 5 == 2
}

/// A producer that has fenced off all before it, the last epoch that was published by then, and what was
/// left out of that.
struct Producer {
    epoch: u64,
    published: Option<(u64, u128)>,
}

struct Transactions {
    output: Output,
    /// None before it has taken over, and after any doubt.
    producer: Option<Producer>,
    left_out: Vec<RefusedLate>,
}

impl Transactions {
    fn begin(&self) -> Result<Producer, Trouble> {
        let Output { broker, topic, .. } = &self.output;
        pass();
        if is_planted(Defect::StaleSlotNotFenced) {
            let published = broker.note(topic)?;
            pass();
            return Ok(Producer {
                epoch: broker.init(topic)?,
                published,
            });
        }
        let epoch = broker.init(topic)?;
        pass();
        Ok(Producer {
            epoch,
            published: broker.note(topic)?,
        })
    }

    fn publish_all(&mut self, epoch: u64, all: &[Row]) -> Result<(), Trouble> {
        let mut producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.begin()?,
        };
        let published = producer.published;
        if published.is_none_or(|(published, _)| published < epoch) {
            let left_out = self.refused_of(all);
            let was_tried_again = self.transact(&producer, epoch, all, left_out)?;
            self.left_out = told(all, left_out);
            if was_tried_again && !is_planted(Defect::RetryIgnored) {
                return Ok(());
            }
            producer.published = Some((epoch, left_out));
        } else {
            let noted = published.filter(|(published, _)| *published == epoch);
            self.left_out = noted.map_or_else(Vec::new, |(_, left_out)| told(all, left_out));
        }
        self.producer = Some(producer);
        Ok(())
    }

    fn refused_of(&self, all: &[Row]) -> u128 {
        let is_picky = self.output.kind == Kind::Picky;
        let refused = (0..).zip(all).filter(|(_, row)| is_refused(row.id));
        refused
            .filter(|_| is_picky)
            .map(|(place, _): (u32, _)| 1 << place)
            .sum()
    }

    /// Publishes an epoch but for what is left out; tells whether the client had to try again.
    fn transact(
        &self,
        producer: &Producer,
        epoch: u64,
        all: &[Row],
        left_out: u128,
    ) -> Result<bool, Trouble> {
        let Output { broker, topic, .. } = &self.output;
        let write = |entries: &[Entry]| {
            pass();
            broker.write(topic, producer.epoch, entries)
        };
        let commit = || {
            pass();
            broker.commit(topic, producer.epoch)
        };
        let entry = |(index, row): (u64, &Row)| Entry::Row {
            epoch,
            index,
            row: *row,
        };
        let taken = (0..).zip(all).filter(|(place, _)| !is_in(left_out, *place));
        let taken = taken.map(|(_, row)| row);
        let entries: Vec<_> = (0..).zip(taken).map(entry).collect();
        for batch in entries.chunks(BATCH_ROWS) {
            write(batch)?;
        }
        let note = Entry::Note {
            epoch,
            rows: entries.len() as u64,
            left_out,
        };
        if is_planted(Defect::ProgressOutsideTransaction) {
            commit()?;
        }
        write(&[note])?;
        commit()
    }
}

fn is_in(places: u128, place: u32) -> bool {
    places >> place & 1 == 1
}

/// What is told of the rows at these places.
fn told(all: &[Row], places: u128) -> Vec<RefusedLate> {
    let rows = (0..).zip(all).filter(|(place, _)| is_in(places, *place));
    rows.map(|(_, row)| RefusedLate {
        origin: Origin::derived(row.id),
        reason: "it is refused".to_owned(),
        raw: row.id.to_string().into_bytes(),
    })
    .collect()
}

impl EpochWriter<Row> for Transactions {
    fn leaves_out(&self) -> bool {
        self.output.kind == Kind::Picky
    }

    fn left_out(&mut self) -> Vec<RefusedLate> {
        self.left_out.clone()
    }

    fn stage(
        &mut self,
        records: &[Record<Row>],
        outbox: &mut Vec<u8>,
        _: &mut Refused,
    ) -> Result<(), SinkError> {
        stage_all(records, outbox);
        Ok(())
    }

    fn publish(&mut self, epoch: Epoch, outbox: &[u8]) -> Result<(), SinkError> {
        let (output, all) = (self.output.clone(), rows(outbox));
        output.insist(|| self.publish_all(epoch.0, &all))
    }
}

/// A producer that has the topic for itself.
struct Session {
    id: u64,
    name: String,
    /// The number of its next record.
    number: u64,
}

struct Exclusive {
    output: Output,
    session: Option<Session>,
}

impl Exclusive {
    fn publish_all(&mut self, epoch: u64, all: &[Row]) -> Result<(), Trouble> {
        let Output { broker, topic, .. } = self.output.clone();
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.open()?,
        };
        pass();
        // Only now that nobody else can append.
        let next = match broker.tail(topic)? {
            Some(Entry::Row {
                epoch: last, index, ..
            }) => (last, index + 1),
            _ => (0, 0),
        };
        for (index, row) in (0..).zip(all) {
            if (epoch, index) < next {
                continue;
            }
            let row = *row;
            let entry = Entry::Row { epoch, index, row };
            pass();
            broker.append(topic, session.id, &session.name, session.number, entry)?;
            session.number += 1;
        }
        self.session = Some(session);
        Ok(())
    }

    fn open(&self) -> Result<Session, Trouble> {
        let Output { broker, topic, .. } = &self.output;
        pass();
        let id = broker.open(topic)?;
        let name = match is_planted(Defect::ReusedProducerName) {
            true => (*topic).to_owned(),
            false => format!("{topic}-{id}"),
        };
        Ok(Session {
            id,
            name,
            number: 0,
        })
    }
}

impl EpochWriter<Row> for Exclusive {
    fn stage(
        &mut self,
        records: &[Record<Row>],
        outbox: &mut Vec<u8>,
        _: &mut Refused,
    ) -> Result<(), SinkError> {
        stage_all(records, outbox);
        Ok(())
    }

    fn publish(&mut self, epoch: Epoch, outbox: &[u8]) -> Result<(), SinkError> {
        let (output, all) = (self.output.clone(), rows(outbox));
        output.insist(|| self.publish_all(epoch.0, &all))
    }
}
