//! What is outside, for the tests of epochs: a sink that publishes each epoch once, and may leave something out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::checkpoint::Epoch;
use crate::record::{Data, Origin, Record};
use crate::sink::{Delivery, EpochWriter, Refused, RefusedLate, Sink, SinkError, Writer};

/// What has been published, by slot.
pub(super) struct Outside<T> {
    slots: Arc<Mutex<BTreeMap<String, Slot<T>>>>,
    /// What is refused as it is published.
    refuses: Option<fn(&T) -> bool>,
}

struct Slot<T> {
    /// The epoch up to which it has been published.
    epoch: u64,
    values: Vec<T>,
    /// What was left out of that epoch.
    left_out: Vec<RefusedLate>,
}

impl<T> Clone for Outside<T> {
    fn clone(&self) -> Self {
        Self {
            slots: Arc::clone(&self.slots),
            refuses: self.refuses,
        }
    }
}

impl<T> Default for Outside<T> {
    fn default() -> Self {
        Self {
            slots: Arc::default(),
            refuses: None,
        }
    }
}

impl<T: Data + Ord> Outside<T> {
    /// One that refuses such values as they are published.
    pub(super) fn refusing(refuses: fn(&T) -> bool) -> Self {
        Self {
            refuses: Some(refuses),
            ..Self::default()
        }
    }

    pub(super) fn values(&self) -> Vec<T> {
        let slots = self.slots.lock().unwrap();
        let mut all: Vec<T> = slots
            .values()
            .flat_map(|slot| slot.values.clone())
            .collect();
        all.sort();
        all
    }

    /// The newest epoch.
    pub(super) fn newest(&self) -> Option<u64> {
        let slots = self.slots.lock().unwrap();
        slots.values().map(|slot| slot.epoch).max()
    }

    /// Loses everything.
    pub(super) fn clear(&self) {
        self.slots.lock().unwrap().clear();
    }
}

/// Fails when something is missing here, or there twice, or wrong.
pub(super) fn assert_equal<T: Data + Ord + std::fmt::Debug>(
    found: &Outside<T>,
    expected: &Outside<T>,
    when: &str,
) {
    let (mut found, mut missing) = (found.values(), Vec::new());
    for value in expected.values() {
        match found.binary_search(&value) {
            Ok(place) => drop(found.remove(place)),
            Err(_) => missing.push(value),
        }
    }
    let first = |values: &[T]| format!("{:?}", &values[..values.len().min(5)]);
    assert!(
        found.is_empty() && missing.is_empty(),
        "{when}: {} too many: {} ..., {} missing: {} ...",
        found.len(),
        first(&found),
        missing.len(),
        first(&missing)
    );
}

impl<T: Data + Sync> Sink<T> for Outside<T> {
    fn describe(&self) -> String {
        "the outside".to_owned()
    }

    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&self) -> Result<Box<dyn Writer<T>>, SinkError> {
        Ok(Box::new(Once(self.clone(), String::new(), 0)))
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    fn published(&self, slots: &str) -> Result<Option<Epoch>, SinkError> {
        let known = self.slots.lock().unwrap();
        let of_slots = known.iter().filter(|(name, _)| name.starts_with(slots));
        Ok(of_slots.map(|(_, slot)| Epoch(slot.epoch)).max())
    }

    fn open_epochs(&self, slot: &str) -> Result<Box<dyn EpochWriter<T>>, SinkError> {
        Ok(Box::new(Once(self.clone(), slot.to_owned(), 0)))
    }
}

/// The outside, the slot, and the epoch that was to be published last.
struct Once<T>(Outside<T>, String, u64);

impl<T: Data> Once<T> {
    fn push(&self, epoch: u64, values: impl IntoIterator<Item = (Origin, T)>) {
        let mut slots = self.0.slots.lock().unwrap();
        let slot = slots.entry(self.1.clone()).or_insert(Slot {
            epoch: 0,
            values: Vec::new(),
            left_out: Vec::new(),
        });
        if epoch != 0 && epoch <= slot.epoch {
            return;
        }
        slot.epoch = epoch;
        slot.left_out.clear();
        for (origin, value) in values {
            if self.0.refuses.is_some_and(|refuses| refuses(&value)) {
                slot.left_out.push(RefusedLate {
                    origin,
                    reason: "it is refused".to_owned(),
                    raw: postcard::to_allocvec(&value).unwrap(),
                });
            } else {
                slot.values.push(value);
            }
        }
    }
}

impl<T: Data> Writer<T> for Once<T> {
    fn write(&mut self, records: &[Record<T>], _: &mut Refused) -> Result<(), SinkError> {
        let values = records.iter();
        self.push(
            0,
            values.map(|record| (record.origin, record.value.clone())),
        );
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

impl<T: Data> EpochWriter<T> for Once<T> {
    fn resume(&mut self, published: &str) -> Result<(), SinkError> {
        let expected: u64 = published.parse().unwrap();
        let slots = self.0.slots.lock().unwrap();
        match slots
            .get(&self.1)
            .is_some_and(|slot| slot.epoch >= expected)
        {
            true => Ok(()),
            false => Err(SinkError::Write {
                what: "the outside".to_owned(),
                reason: format!("epoch {expected} is lost"),
            }),
        }
    }

    fn published(&self) -> Option<String> {
        let slots = self.0.slots.lock().unwrap();
        slots.get(&self.1).map(|slot| slot.epoch.to_string())
    }

    fn stage(
        &mut self,
        records: &[Record<T>],
        outbox: &mut Vec<u8>,
        _: &mut Refused,
    ) -> Result<(), SinkError> {
        for record in records {
            let staged = (record.origin, &record.value);
            *outbox = postcard::to_extend(&staged, std::mem::take(outbox)).unwrap();
        }
        Ok(())
    }

    fn publish(&mut self, epoch: Epoch, mut outbox: &[u8]) -> Result<(), SinkError> {
        let mut values = Vec::new();
        while !outbox.is_empty() {
            let (value, rest) = postcard::take_from_bytes(outbox).unwrap();
            values.push(value);
            outbox = rest;
        }
        self.push(epoch.0, values);
        self.2 = epoch.0;
        Ok(())
    }

    fn leaves_out(&self) -> bool {
        self.0.refuses.is_some()
    }

    fn left_out(&mut self) -> Vec<RefusedLate> {
        let slots = self.0.slots.lock().unwrap();
        let slot = slots.get(&self.1).filter(|slot| slot.epoch == self.2);
        slot.map_or_else(Vec::new, |slot| slot.left_out.clone())
    }
}
