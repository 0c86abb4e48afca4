//! How sinks deliver, by themselves and by what the job says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use thalweg_engine::checkpoint::{CheckpointOptions, Epoch, Location};
use thalweg_engine::job::JobOptions;
use thalweg_engine::letters::DeadLetter;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{
    Deliveries, Delivery, EpochWriter, Refused, RefusedLate, Sink, SinkError, Writer,
};
use thalweg_engine::testing::{Collect, Events, run_to_end};
use thalweg_engine::time::{EventTime, secs};
use thalweg_engine::{Checkpointing, plan};

/// A sink that delivers so by itself.
struct Out(Delivery);

impl Sink<i64> for Out {
    fn describe(&self) -> String {
        "the outside".to_owned()
    }

    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&self) -> Result<Box<dyn Writer<i64>>, SinkError> {
        Ok(Box::new(Nothing))
    }

    fn delivery(&self) -> Delivery {
        self.0
    }
}

struct Nothing;

impl Writer<i64> for Nothing {
    fn write(&mut self, _: &[Record<i64>], _: &mut Refused) -> Result<(), SinkError> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A sink that is away at every other call; what has been asked of it, in order.
#[derive(Clone, Default)]
struct Fickle(Arc<Mutex<Vec<String>>>);

impl Fickle {
    fn call(&self, call: String) -> Result<(), SinkError> {
        let mut calls = self.0.lock().unwrap();
        let is_second = calls.last() == Some(&format!("{call}?"));
        calls.push(if is_second { call } else { format!("{call}?") });
        match is_second {
            true => Ok(()),
            false => Err(SinkError::Away {
                what: "the outside".to_owned(),
                reason: "it is asleep".to_owned(),
            }),
        }
    }
}

impl Sink<i64> for Fickle {
    fn describe(&self) -> String {
        "the outside".to_owned()
    }

    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&self) -> Result<Box<dyn Writer<i64>>, SinkError> {
        Ok(Box::new(Nothing))
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    fn open_epochs(&self, _: &str) -> Result<Box<dyn EpochWriter<i64>>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl EpochWriter<i64> for Fickle {
    fn take_over(&mut self) -> Result<(), SinkError> {
        self.call("take over".to_owned())
    }

    fn stage(
        &mut self,
        records: &[Record<i64>],
        outbox: &mut Vec<u8>,
        _: &mut Refused,
    ) -> Result<(), SinkError> {
        outbox.extend(records.iter().map(|record| record.value as u8));
        Ok(())
    }

    fn publish(&mut self, epoch: Epoch, outbox: &[u8]) -> Result<(), SinkError> {
        self.call(format!("publish {epoch} {outbox:?}"))
    }
}

#[test]
fn a_sink_that_is_away_has_its_epochs_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let options = CheckpointOptions::new(Location::folder(folder.path()));
    let options = JobOptions {
        checkpoints: Some(Checkpointing::new("test", options)),
        ..JobOptions::default()
    };
    let sink = Fickle::default();
    let out = sink.clone();
    run_to_end(options, move |flow| {
        flow.source("in", Events::new([1_i64, 2]))
            .event_time(|n| EventTime::from_seconds(*n), secs(1))
            .sink("out", out.clone());
    })
    .unwrap();
    let calls = sink.0.lock().unwrap();
    let published = ["publish 1 [1, 2]?", "publish 1 [1, 2]"];
    assert_eq!(calls[..2], ["take over?", "take over"]);
    assert_eq!(calls[2..], published);
}

/// A sink that tells only later what it does not write: odd numbers, at the flush; or, where it delivers
/// exactly once, as it publishes.
#[derive(Clone)]
struct Later {
    delivery: Delivery,
    taken: Arc<Mutex<Vec<Record<i64>>>>,
    late: Arc<Mutex<Vec<RefusedLate>>>,
}

impl Later {
    fn new(delivery: Delivery) -> Self {
        Self {
            delivery,
            taken: Arc::default(),
            late: Arc::default(),
        }
    }

    fn refuse_odd(&self) {
        let taken = self.taken.lock().unwrap().split_off(0);
        let odd = taken.into_iter().filter(|record| record.value % 2 != 0);
        self.late
            .lock()
            .unwrap()
            .extend(odd.map(|record| RefusedLate {
                origin: record.origin,
                reason: "it is odd".to_owned(),
                raw: record.value.to_string().into_bytes(),
            }));
    }
}

impl Sink<i64> for Later {
    fn describe(&self) -> String {
        "even numbers".to_owned()
    }

    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&self) -> Result<Box<dyn Writer<i64>>, SinkError> {
        Ok(Box::new(self.clone()))
    }

    fn delivery(&self) -> Delivery {
        self.delivery
    }

    fn open_epochs(&self, _: &str) -> Result<Box<dyn EpochWriter<i64>>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl Writer<i64> for Later {
    fn write(&mut self, records: &[Record<i64>], _: &mut Refused) -> Result<(), SinkError> {
        self.taken.lock().unwrap().extend_from_slice(records);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.refuse_odd();
        Ok(())
    }

    fn look_back(&mut self, refused: &mut Vec<RefusedLate>) -> Result<bool, SinkError> {
        refused.append(&mut self.late.lock().unwrap());
        Ok(self.taken.lock().unwrap().is_empty())
    }
}

impl EpochWriter<i64> for Later {
    fn stage(
        &mut self,
        records: &[Record<i64>],
        outbox: &mut Vec<u8>,
        _: &mut Refused,
    ) -> Result<(), SinkError> {
        self.taken.lock().unwrap().extend_from_slice(records);
        outbox.extend(records.iter().map(|record| record.value as u8));
        Ok(())
    }

    fn publish(&mut self, _: Epoch, _: &[u8]) -> Result<(), SinkError> {
        self.refuse_odd();
        Ok(())
    }

    fn leaves_out(&self) -> bool {
        true
    }

    fn left_out(&mut self) -> Vec<RefusedLate> {
        self.late.lock().unwrap().split_off(0)
    }
}

#[test]
fn what_turns_out_later_not_to_be_written_is_a_dead_letter_to_the_last_record() {
    for numbers in [vec![1], (0..1_001).collect::<Vec<i64>>()] {
        let dead = Collect::<DeadLetter>::default();
        let options = JobOptions {
            batch_records: 7,
            dead_letters: Some(Arc::new(dead.clone())),
            ..JobOptions::default()
        };
        let events = numbers.clone();
        let fates = run_to_end(options, move |flow| {
            flow.source("in", Events::new(events.clone()))
                .event_time(|n| EventTime::from_seconds(*n), secs(1))
                .sink("out", Later::new(Delivery::Immediate));
        });
        let odd = numbers.iter().filter(|n| *n % 2 != 0);
        let expected: Vec<_> = odd
            .map(|n| (n.to_string(), "it is odd".to_owned()))
            .collect();
        assert_eq!(told(&dead), expected);
        assert_eq!(fates.unwrap().dead_letters as usize, expected.len());
    }
}

/// What dead letters hold, and their reasons.
fn told(dead: &Collect<DeadLetter>) -> Vec<(String, String)> {
    let letters = dead.values().into_iter();
    letters.map(|letter| (letter.raw, letter.reason)).collect()
}

#[test]
fn what_is_left_out_of_the_last_epoch_is_a_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let options = CheckpointOptions::new(Location::folder(folder.path()));
    let dead = Collect::default();
    let options = JobOptions {
        checkpoints: Some(Checkpointing::new("test", options)),
        dead_letters: Some(Arc::new(dead.clone())),
        ..JobOptions::default()
    };
    let fates = run_to_end(options, move |flow| {
        flow.source("in", Events::new([1_i64, 2, 3]))
            .event_time(|n| EventTime::from_seconds(*n), secs(1))
            .sink("out", Later::new(Delivery::ExactlyOnce));
    })
    .unwrap();
    assert_eq!((fates.processed, fates.dead_letters), (1, 2));
    let expected = ["1", "3"].map(|raw| (raw.to_owned(), "it is odd".to_owned()));
    assert_eq!(told(&dead), expected);
}

/// Plans a job with a sink that can deliver exactly once and one that cannot.
fn planned(deliveries: Deliveries, has_checkpoints: bool) -> Result<[Delivery; 2], String> {
    let folder = tempfile::tempdir().unwrap();
    let options = CheckpointOptions::new(Location::folder(folder.path()));
    let options = JobOptions {
        checkpoints: has_checkpoints.then(|| Checkpointing::new("test", options)),
        deliveries,
        ..JobOptions::default()
    };
    let graph = plan(&options, |flow| {
        let numbers = flow
            .source("in", Events::new([1_i64, 2]))
            .event_time(|n| EventTime::from_seconds(*n), secs(1));
        numbers.clone().sink("can", Out(Delivery::ExactlyOnce));
        numbers.sink("cannot", Out(Delivery::Immediate));
        Ok(())
    });
    let graph = graph.map_err(|error| error.errors.join("\n"))?;
    let of = |id: &str| {
        let mut nodes = graph.nodes().iter();
        nodes.find(|node| node.id == id).unwrap().delivery.unwrap()
    };
    Ok([of("can"), of("cannot")])
}

fn all(delivery: Delivery) -> Deliveries {
    Deliveries {
        all: Some(delivery),
        ..Deliveries::default()
    }
}

fn one(sink: &str, delivery: Delivery) -> Deliveries {
    Deliveries {
        by_sink: [(sink.to_owned(), delivery)].into(),
        ..Deliveries::default()
    }
}

#[test]
fn sinks_deliver_as_they_can_unless_the_job_says_otherwise() {
    let (now, once) = (Delivery::Immediate, Delivery::ExactlyOnce);
    assert_eq!(planned(Deliveries::default(), true), Ok([once, now]));
    assert_eq!(planned(Deliveries::default(), false), Ok([now, now]));
    assert_eq!(planned(all(now), true), Ok([now, now]));
    assert_eq!(planned(one("can", now), true), Ok([now, now]));
    let mut mixed = all(once);
    mixed.by_sink.insert("cannot".to_owned(), now);
    assert_eq!(planned(mixed, true), Ok([once, now]));
}

#[test]
fn what_cannot_be_is_told_before_anything_starts() {
    let once = Delivery::ExactlyOnce;
    let error = planned(all(once), true).unwrap_err();
    assert!(error.contains("sink `cannot`: "), "{error}");
    assert!(error.contains("choose immediate delivery"), "{error}");
    assert!(!error.contains("`can`"), "{error}");
    let error = planned(one("can", once), false).unwrap_err();
    assert!(
        error.contains("sink `can` is to deliver exactly once"),
        "{error}"
    );
    let error = planned(one("elsewhere", once), true).unwrap_err();
    assert!(
        error.contains("no such sink: there are can, cannot"),
        "{error}"
    );
}
