//! The sinks: one publishes an epoch in a transaction, the other goes on from the topic's last entry.
//!
//! Both do what the connectors do, over the simulated broker.

use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::record::Record;
use thalweg_engine::simulation::{Defect, is_planted, pass};
use thalweg_engine::sink::{Delivery, EpochWriter, Refused, Sink, SinkError, Writer};

use crate::broker::{Broker, Entry, Trouble};
use crate::row::{Row, rows, stage};

/// Rows that are written in one request, at most.
const BATCH_ROWS: usize = 3;

/// How a sink publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Each epoch in a transaction, with a note of it.
    Transactional,
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
            Kind::Transactional => Box::new(Transactions {
                output,
                producer: None,
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

/// A producer that has fenced off all before it, and the last epoch that was published by then.
struct Producer {
    epoch: u64,
    published: Option<u64>,
}

struct Transactions {
    output: Output,
    /// None before it has taken over, and after any doubt.
    producer: Option<Producer>,
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
        if producer.published.is_none_or(|published| published < epoch) {
            let was_tried_again = self.transact(&producer, epoch, all)?;
            if was_tried_again && !is_planted(Defect::RetryIgnored) {
                return Ok(());
            }
            producer.published = Some(epoch);
        }
        self.producer = Some(producer);
        Ok(())
    }

    /// Publishes an epoch; tells whether the client had to try again.
    fn transact(&self, producer: &Producer, epoch: u64, all: &[Row]) -> Result<bool, Trouble> {
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
        let entries: Vec<_> = (0..).zip(all).map(entry).collect();
        for batch in entries.chunks(BATCH_ROWS) {
            write(batch)?;
        }
        let note = Entry::Note {
            epoch,
            rows: all.len() as u64,
        };
        if is_planted(Defect::ProgressOutsideTransaction) {
            commit()?;
        }
        write(&[note])?;
        commit()
    }
}

impl EpochWriter<Row> for Transactions {
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
