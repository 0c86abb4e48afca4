//! Writes the stream to its topics.

use std::error::Error;
use std::fmt::Write as _;

use thalweg::engine::record::Origin;
use thalweg::engine::sink::{Refused, SinkError, Writer};
use thalweg::prelude::*;
use thalweg::{Settings, TopicSink};

use super::town::Happened;
use crate::event::{Label, Payment};

/// Records handed over at once.
const BATCH: usize = 1_000;

/// The two topics, open for writing.
pub(super) struct Topics {
    payments: Topic<Payment>,
    labels: Topic<Label>,
    frauds: u64,
    first: EventTime,
    last: EventTime,
}

struct Topic<T> {
    place: String,
    writer: Box<dyn Writer<T>>,
    batch: Vec<Record<T>>,
    count: u64,
}

impl<T: Send + 'static> Topic<T> {
    fn open(sink: &TopicSink<T>) -> Result<Self, SinkError> {
        Ok(Self {
            place: sink.describe(),
            writer: sink.open()?,
            batch: Vec::with_capacity(BATCH),
            count: 0,
        })
    }

    fn push(&mut self, time: EventTime, value: T) -> Result<(), SinkError> {
        let origin = Origin::derived(self.count);
        self.count += 1;
        self.batch.push(Record {
            time,
            origin,
            ingested_ns: 0,
            value,
        });
        if self.batch.len() == BATCH {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), SinkError> {
        let mut refused = Refused::default();
        self.writer.write(&self.batch, &mut refused)?;
        if let Some((_, reason)) = refused.take().pop() {
            let what = self.place.clone();
            return Err(SinkError::Write { what, reason });
        }
        self.batch.clear();
        Ok(())
    }

    /// Makes everything visible.
    fn finish(&mut self) -> Result<(), SinkError> {
        self.write()?;
        self.writer.close()
    }
}

impl Topics {
    /// Opens both.
    ///
    /// # Errors
    /// When they cannot be written, or hold something already: what is made begins at the same time
    /// always, so that it would come too late behind anything else.
    pub(super) fn open(settings: &Settings) -> Result<Self, Box<dyn Error>> {
        if settings.topic_exists("payments") {
            let error = format!(
                "there are payments already in the log `{}`; name a new folder with --log, or \
                 remove that one",
                settings.log().display()
            );
            return Err(error.into());
        }
        let card = |p: &Payment| p.card.to_string();
        let payments = settings.topic_sink("payments", card);
        let labels = settings.topic_sink("labels", |l: &Label| l.card.to_string());
        payments.check()?;
        labels.check()?;
        Ok(Self {
            payments: Topic::open(&payments)?,
            labels: Topic::open(&labels)?,
            frauds: 0,
            first: EventTime::MAX,
            last: EventTime::MIN,
        })
    }

    pub(super) fn write(&mut self, happened: Happened) -> Result<(), SinkError> {
        match happened {
            Happened::Payment { payment, is_fraud } => {
                self.frauds += u64::from(is_fraud);
                self.first = self.first.min(payment.at);
                self.last = self.last.max(payment.at);
                self.payments.push(payment.at, payment)
            }
            Happened::Label(label) => self.labels.push(label.at, label),
        }
    }

    /// Completes both topics.
    pub(super) fn finish(&mut self) -> Result<(), SinkError> {
        self.payments.finish()?;
        self.labels.finish()
    }

    pub(super) fn summary(&self) -> String {
        let Self {
            payments,
            labels,
            frauds,
            first,
            last,
        } = self;
        let mut text = format!(
            "{} payments, {frauds} of them frauds, from {first} to {last}: {}",
            payments.count, payments.place
        );
        write!(text, "\n{} labels: {}", labels.count, labels.place)
            .expect("invariant: writing to a string does not fail");
        text
    }
}
