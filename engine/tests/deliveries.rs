//! How sinks deliver, by themselves and by what the job says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use thalweg_engine::checkpoint::{CheckpointOptions, Location};
use thalweg_engine::job::JobOptions;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{Deliveries, Delivery, Refused, Sink, SinkError, Writer};
use thalweg_engine::testing::Events;
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
