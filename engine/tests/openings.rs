//! What cannot be opened any more once a job begins ends it with the reason.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use thalweg_engine::Checkpointing;
use thalweg_engine::checkpoint::{CheckpointOptions, Epoch, Location};
use thalweg_engine::job::JobOptions;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{Delivery, EpochWriter, Refused, Sink, SinkError, Writer, Writers};
use thalweg_engine::source::{Reader, Source, SourceError};
use thalweg_engine::testing::{Events, run_to_end};
use thalweg_engine::time::{EventTime, secs};

/// Numbers that are gone by the time they are to be read, or not.
struct Numbers {
    events: Events<i64>,
    is_gone: bool,
}

impl Source<i64> for Numbers {
    fn describe(&self) -> String {
        "numbers".to_owned()
    }

    fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        self.events.partitions()
    }

    fn open(&self, partition: u32, offset: u64) -> Result<Box<dyn Reader<i64>>, SourceError> {
        match self.is_gone {
            false => self.events.open(partition, offset),
            true => Err(SourceError::Open {
                what: self.describe(),
                reason: "they are gone".to_owned(),
                remedy: "bring them back".to_owned(),
            }),
        }
    }
}

/// A sink that is full by the time it is to be written, or not.
#[derive(Clone, Copy)]
struct Out {
    is_full: bool,
    delivery: Delivery,
    writers: Writers,
}

impl Out {
    fn open<W>(self, writer: W) -> Result<W, SinkError> {
        match self.is_full {
            false => Ok(writer),
            true => Err(SinkError::Open {
                what: self.describe(),
                reason: "it is full".to_owned(),
                remedy: "make room".to_owned(),
            }),
        }
    }
}

impl Sink<i64> for Out {
    fn describe(&self) -> String {
        "the outside".to_owned()
    }

    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn writers(&self) -> Writers {
        self.writers
    }

    fn delivery(&self) -> Delivery {
        self.delivery
    }

    fn open(&self) -> Result<Box<dyn Writer<i64>>, SinkError> {
        Out::open(*self, Box::new(Nothing))
    }

    fn open_epochs(&self, _: &str) -> Result<Box<dyn EpochWriter<i64>>, SinkError> {
        Out::open(*self, Box::new(Nothing))
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

impl EpochWriter<i64> for Nothing {
    fn take_over(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn stage(
        &mut self,
        _: &[Record<i64>],
        _: &mut Vec<u8>,
        _: &mut Refused,
    ) -> Result<(), SinkError> {
        Ok(())
    }

    fn publish(&mut self, _: Epoch, _: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }
}

/// How a job ends whose source or sink cannot be opened, on so many workers.
fn outcome(is_gone: bool, out: Out, workers: usize, has_checkpoints: bool) -> String {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = || CheckpointOptions::new(Location::folder(folder.path()));
    let options = JobOptions {
        workers,
        checkpoints: has_checkpoints.then(|| Checkpointing::new("test", checkpoints())),
        ..JobOptions::default()
    };
    let ran = run_to_end(options, move |flow| {
        let events = Events::partitions([[1_i64, 2], [3, 4]]);
        flow.source("in", Numbers { events, is_gone })
            .event_time(|n| EventTime::from_seconds(*n), secs(1))
            .sink("out", out);
    });
    ran.map_or_else(|error| error.to_string(), |_| "done".to_owned())
}

#[test]
fn the_reason_is_told() {
    for workers in [1, 2] {
        for has_checkpoints in [false, true] {
            for writers in [Writers::One, Writers::EachWorker] {
                let delivery = match has_checkpoints {
                    true => Delivery::ExactlyOnce,
                    false => Delivery::Immediate,
                };
                let out = |is_full| Out {
                    is_full,
                    delivery,
                    writers,
                };
                let outcome = |is_gone, out| outcome(is_gone, out, workers, has_checkpoints);
                assert_eq!(outcome(false, out(false)), "done");
                let source = "source `in`: cannot open numbers: they are gone; bring them back";
                assert_eq!(outcome(true, out(false)), source);
                let sink = "sink `out`: cannot write to the outside: it is full; make room";
                assert_eq!(outcome(false, out(true)), sink);
            }
        }
    }
}
