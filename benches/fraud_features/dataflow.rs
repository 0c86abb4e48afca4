//! The job through the whole dataflow: readers, exchange by card, features, perhaps a model, sink.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use thalweg::connectors::codec::{Decode, JsonDecoder};
use thalweg::prelude::*;
use thalweg_engine::job::{JobOptions, StopHandle};
use thalweg_engine::sink::{Refused, SinkError, Writer, Writers};
use thalweg_engine::source::Undecodable;
use thalweg_engine::telemetry::{Latency, Telemetry};

use super::operator;
use super::payments::Payment;
use super::replay::Replay;

/// What a run came to.
pub(crate) struct Report {
    pub(crate) events_per_second: f64,
    /// Over the processor time of all threads.
    pub(crate) events_per_core_second: f64,
    pub(crate) latency: Latency,
}

/// Payments in memory to feature rows.
pub(crate) fn features(payments: &Replay<Payment>, workers: usize) -> Report {
    let source = payments.clone();
    run(payments.len(), workers, move |flow, sink| {
        flow.source("payments", source.clone().with(|payment| Ok(*payment)))
            .event_time(|p: &Payment| p.at(), secs(0))
            .key_by(|p| p.card)
            .features("card", operator::declare)
            .into_stream()
            .sink("rows", sink);
        Ok(())
    })
}

/// JSON lines in memory to scores: parse, features, a 16-64-32-1 perceptron in batches.
pub(crate) fn scores(lines: &Replay<String>) -> Report {
    let source = lines.clone();
    run(lines.len(), 1, move |flow, sink| {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/fraud_features/model");
        let decode =
            |line: &String| -> Result<Payment, Undecodable> { JsonDecoder.decode(line.as_bytes()) };
        flow.source("payments", source.clone().with(decode))
            .event_time(|p: &Payment| p.at(), secs(0))
            .key_by(|p| p.card)
            .features("card", operator::declare)
            .infer("model", &Onnx::load(model)?)
            .into_stream()
            .sink("scores", sink);
        Ok(())
    })
}

fn run(
    expected: usize,
    workers: usize,
    build: impl Fn(&mut Flow<'_>, Counting) -> BuildResult + Send + Sync + 'static,
) -> Report {
    let telemetry = Arc::new(Telemetry::default());
    let count = Counting::default();
    let sink = count.clone();
    let options = JobOptions {
        workers,
        ..JobOptions::default()
    };
    let (begun, busy) = (Instant::now(), processor_seconds());
    let build = move |flow: &mut Flow<'_>| build(flow, sink.clone());
    thalweg_engine::run(
        options,
        Arc::clone(&telemetry),
        StopHandle::default(),
        build,
    )
    .unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    let busy = processor_seconds() - busy;
    assert_eq!(count.0.load(Ordering::Relaxed), expected as u64);
    assert_eq!(telemetry.ledger().fates().processed, expected as u64);
    Report {
        events_per_second: expected as f64 / seconds,
        events_per_core_second: expected as f64 / busy,
        latency: telemetry.sink_latency(),
    }
}

/// Processor time that this process has had, of all its threads, in user and kernel mode.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // After the program's name, which may hold anything: fields 14 and 15, in hundredths.
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let ticks = |field: &str| field.parse::<f64>().unwrap();
    (ticks(fields[11]) + ticks(fields[12])) / 100.0
}

/// Counts what comes and lets it go.
#[derive(Clone, Default)]
pub(crate) struct Counting(Arc<AtomicU64>);

impl<T: 'static> Sink<T> for Counting {
    fn describe(&self) -> String {
        "a count".to_owned()
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

impl<T> Writer<T> for Counting {
    fn write(&mut self, records: &[Record<T>], _: &mut Refused) -> Result<(), SinkError> {
        self.0.fetch_add(records.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
