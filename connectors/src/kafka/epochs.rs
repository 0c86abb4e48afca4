//! Publishes epochs in a topic, each record exactly once.
//!
//! Records are encoded before the epoch is sealed. An epoch is one transaction, together with a note of
//! it in another topic; so after a restart, or whenever the outcome is not known, the notes tell what
//! is left to do.

use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::sink::{EpochWriter, Refused, RefusedLate, SinkError};

use super::left_out::LeftOut;
use super::sink::{Headers, KafkaSink};
use super::transactions::{Exceptions, Place, Transactions, Trouble};
use crate::broker::outbox::{self, Staged};
use crate::broker::{Encoded, ID_HEADER, read_id};

/// What the client takes at once unless it is set (`message.max.bytes`).
const BYTES_MAX: usize = 1_000_000;
/// What surrounds a record on its way, at most, beside its headers.
const FRAME_BYTES: usize = 512;
/// What surrounds a header.
const HEADER_BYTES: usize = 16;

/// The one who publishes under a slot.
pub(super) struct KafkaEpochs<T> {
    sink: KafkaSink<T>,
    place: Place,
    /// None before it has taken over, and after trouble.
    transactions: Option<Transactions>,
    /// The newest epoch that is known to have been published.
    published: Option<Epoch>,
    bytes_max: usize,
    encoded: Encoded,
    headers: Headers,
    /// What was left out of the epoch published last, as its note says.
    left_out: Vec<RefusedLate>,
}

impl<T: 'static> KafkaEpochs<T> {
    pub(super) fn new(sink: KafkaSink<T>, place: Place) -> Self {
        let set = place.kafka.own_property("message.max.bytes");
        let set = set.and_then(|most| most.parse().ok());
        let bytes_max = set.unwrap_or(BYTES_MAX);
        Self {
            sink,
            bytes_max: place
                .batch_bytes_max
                .map_or(bytes_max, |most| most.min(bytes_max)),
            place,
            transactions: None,
            published: None,
            encoded: Encoded::default(),
            headers: Headers::default(),
            left_out: Vec::new(),
        }
    }

    /// Encodes a record. One that cannot be sent has to be refused now: what is in a sealed outbox must
    /// be published.
    fn put(&mut self, record: &Record<T>, outbox: &mut Vec<u8>) -> Result<(), String> {
        self.encoded.take(&self.sink.form, record)?;
        self.headers.0.clear();
        if let Some(make) = &self.sink.headers {
            make(record, &mut self.headers);
        }
        let own = self.headers.0.iter();
        let own = own.map(|(name, value)| (&**name, &**value));
        let millis = record.time.as_micros() / 1000;
        let staged = Staged {
            partition: None,
            time_ms: (self.sink.event_timestamps && millis >= 0).then_some(millis),
            key: self.encoded.key(),
            headers: std::iter::once((ID_HEADER, self.encoded.id.as_bytes()))
                .chain(own)
                .collect(),
            value: &self.encoded.value,
        };
        let around = FRAME_BYTES + HEADER_BYTES * staged.headers.len();
        if staged.bytes() + around > self.bytes_max {
            return Err(format!(
                "a record of {} bytes is too large to be delivered exactly once; raise the property \
                 `message.max.bytes`, and the topic's `max.message.bytes`",
                staged.bytes()
            ));
        }
        staged.put(outbox);
        Ok(())
    }

    fn try_publish(&mut self, epoch: Epoch, outbox: &[u8]) -> Result<(), Trouble> {
        let records = outbox::records(outbox).map_err(Trouble::Final)?;
        let mut exceptions = Exceptions::default();
        self.left_out.clear();
        loop {
            let mut transactions = match self.transactions.take() {
                Some(transactions) => transactions,
                None => self.begin()?,
            };
            if transactions.published() < Some(epoch) {
                let reports = self.sink.reports();
                match transactions.publish(epoch, &records, &exceptions, &reports) {
                    Ok(()) => {}
                    // The transaction is given up with its producer, and done again without them.
                    Err(Trouble::Refused(verdicts)) => {
                        exceptions.add(verdicts);
                        continue;
                    }
                    Err(trouble) => return Err(trouble),
                }
            }
            self.published = transactions.published();
            if self.published == Some(epoch) {
                self.left_out = left_out_of(&records, &transactions.left_out())?;
            }
            self.transactions = Some(transactions);
            return Ok(());
        }
    }

    /// Takes over, unless less is noted than has been published; a slot without a note gets its first.
    fn begin(&self) -> Result<Transactions, Trouble> {
        let mut transactions = Transactions::take_over(&self.place)?;
        let noted = transactions.published();
        if let Some(published) = self.published
            && noted < Some(published)
        {
            let noted = noted.map_or("nothing".to_owned(), |epoch| format!("epoch {epoch}"));
            return Err(Trouble::Final(format!(
                "epoch {published} has been published, and the last that topic `{}` notes is {noted}: \
                 notes have been removed; bring them back, or begin in another place of checkpoints \
                 with an export of this one",
                self.place.notes
            )));
        }
        if noted.is_none() {
            let reports = self.sink.reports();
            transactions.publish(Epoch(0), &[], &Exceptions::default(), &reports)?;
        }
        Ok(transactions)
    }

    fn in_trouble(&self, trouble: Trouble) -> SinkError {
        let what = self.sink.what();
        match trouble {
            Trouble::Passing(reason) => SinkError::Away { what, reason },
            Trouble::Final(reason) => SinkError::Write { what, reason },
            Trouble::Refused(verdicts) => unreachable!("invariant: {verdicts:?} are left out"),
        }
    }
}

impl<T: 'static> EpochWriter<T> for KafkaEpochs<T> {
    fn resume(&mut self, published: &str) -> Result<(), SinkError> {
        let epoch = published.parse().map_err(|_| SinkError::Write {
            what: self.sink.what(),
            reason: format!("the checkpoint says that `{published}` has been published: no epoch"),
        })?;
        self.published = Some(Epoch(epoch));
        Ok(())
    }

    fn published(&self) -> Option<String> {
        self.published.map(|epoch| epoch.to_string())
    }

    fn take_over(&mut self) -> Result<(), SinkError> {
        match self.begin() {
            Ok(transactions) => {
                self.published = transactions.published();
                self.transactions = Some(transactions);
                Ok(())
            }
            Err(trouble) => Err(self.in_trouble(trouble)),
        }
    }

    fn stage(
        &mut self,
        records: &[Record<T>],
        outbox: &mut Vec<u8>,
        refused: &mut Refused,
    ) -> Result<(), SinkError> {
        for (index, record) in records.iter().enumerate() {
            if let Err(reason) = self.put(record, outbox) {
                refused.add(index, reason);
            }
        }
        Ok(())
    }

    fn publish(&mut self, epoch: Epoch, outbox: &[u8]) -> Result<(), SinkError> {
        let published = self.try_publish(epoch, outbox);
        published.map_err(|trouble| self.in_trouble(trouble))
    }

    fn leaves_out(&self) -> bool {
        true
    }

    fn left_out(&mut self) -> Vec<RefusedLate> {
        std::mem::take(&mut self.left_out)
    }
}

/// The records of an epoch that its note says were left out.
fn left_out_of(records: &[Staged<'_>], left_out: &LeftOut) -> Result<Vec<RefusedLate>, Trouble> {
    let refused = left_out.refused().map_err(Trouble::Final)?;
    let refused = refused.into_iter().filter_map(|(index, refusal)| {
        let record = records.get(index)?;
        Some(RefusedLate {
            origin: origin_of(record),
            reason: refusal.reason(record.value.len()),
            raw: record.value.to_vec(),
        })
    });
    Ok(refused.collect())
}

/// The origin of a record, which its id tells.
fn origin_of(record: &Staged<'_>) -> Origin {
    let mut headers = record.headers.iter();
    let id = headers.find(|(name, _)| *name == ID_HEADER);
    let id = id.and_then(|(_, id)| std::str::from_utf8(id).ok());
    id.and_then(read_id).unwrap_or(Origin::derived(0))
}
