//! The latency of lone events: from the moment at which one is due to the moment at which the sink's
//! writer has its score.
//!
//! Counted from when an event is due and not from when it was read, so that it shows where the
//! reader itself comes late, be it that the machine had no core for it: what it oversleeps is in the
//! figures.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hdrhistogram::Histogram;
use thalweg::prelude::*;
use thalweg_engine::job::{JobOptions, StopHandle};
use thalweg_engine::sink::{Refused, SinkError, Writer, Writers};
use thalweg_engine::telemetry::Telemetry;

use super::dataflow::score;
use super::replay::{Pace, Replay};

/// What is due before is left out: the model is being loaded, and the cards are new.
const WARM_UP: Duration = secs(1);

/// Percentiles in microseconds.
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// JSON lines to scores on one worker, at a steady rate of so many a second. The reader waits for
/// events to be due, and so has a thread beside the worker's.
pub(crate) fn measure(lines: &Replay<String>, events_per_second: f64) -> Latency {
    let telemetry = Arc::new(Telemetry::default());
    let (lines, pace) = lines.at(events_per_second);
    let timing = Timing {
        pace,
        micros: Arc::new(Mutex::new(Histogram::new(3).unwrap())),
    };
    let sink = timing.clone();
    let expected = lines.len() as u64;
    thalweg_engine::run(
        JobOptions::default(),
        Arc::clone(&telemetry),
        StopHandle::default(),
        move |flow| {
            score(flow, &lines)?.sink("scores", sink.clone());
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(telemetry.ledger().fates().processed, expected);
    let micros = timing.micros.lock().unwrap();
    assert!(micros.len() > expected / 4, "nearly all was warm-up");
    eprintln!("  from ingestion to each step, warm-up included:");
    for step in telemetry.steps() {
        let own = step.latency();
        let id = &step.id;
        eprintln!("    {id:<10} p50 {:.0} us, p99 {:.0} us", own.p50, own.p99);
    }
    Latency {
        p50: micros.value_at_quantile(0.5) as f64,
        p99: micros.value_at_quantile(0.99) as f64,
    }
}

/// Notes how long after it was due each record has come, and lets it go.
#[derive(Clone)]
struct Timing {
    pace: Pace,
    micros: Arc<Mutex<Histogram<u64>>>,
}

impl<T: 'static> Sink<T> for Timing {
    fn describe(&self) -> String {
        "a stopwatch".to_owned()
    }

    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn writers(&self) -> Writers {
        Writers::EachWorker
    }

    fn open(&self) -> Result<Box<dyn Writer<T>>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl<T> Writer<T> for Timing {
    fn write(&mut self, records: &[Record<T>], _: &mut Refused) -> Result<(), SinkError> {
        let now = self.pace.elapsed();
        let mut micros = self.micros.lock().unwrap();
        for record in records {
            let due = self.pace.due(record.origin.offset);
            if due >= WARM_UP {
                let late = now.saturating_sub(due);
                micros.record(late.as_micros() as u64).unwrap();
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
