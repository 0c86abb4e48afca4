//! The job through the whole dataflow: source, exchange by card, features, perhaps a model, sink.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use thalweg::connectors::codec::{Decode, JsonDecoder};
use thalweg::prelude::*;
use thalweg_engine::job::{JobOptions, StopHandle};
use thalweg_engine::sink::{Refused, SinkError, Writer, Writers};
use thalweg_engine::source::Undecodable;
use thalweg_engine::telemetry::Telemetry;
use thalweg_operators::infer::ModelError;

use super::operator;
use super::payments::Payment;
use super::replay::Replay;

/// What a run came to, in events a second.
pub(crate) struct Rates {
    pub(crate) wall: f64,
    /// For each second of processor time, of all threads.
    pub(crate) per_core: f64,
}

/// Payments in memory to feature rows.
pub(crate) fn features(payments: &Replay<Payment>, workers: usize) -> Rates {
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

/// JSON lines in memory to scores, counted.
pub(crate) fn scores(lines: &Replay<String>) -> Rates {
    let source = lines.clone();
    run(lines.len(), 1, move |flow, sink| {
        score(flow, &source)?.sink("scores", sink);
        Ok(())
    })
}

/// JSON lines to scores: parse, features, a 16-64-32-1 perceptron in batches.
pub(crate) fn score<'s>(
    flow: &Flow<'s>,
    lines: &Replay<String>,
) -> Result<Stream<'s, Scored<Payment>>, ModelError> {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/fraud_features/model");
    let decode =
        |line: &String| -> Result<Payment, Undecodable> { JsonDecoder.decode(line.as_bytes()) };
    let scored = flow
        .source("payments", lines.clone().with(decode))
        .event_time(|p: &Payment| p.at(), secs(0))
        .key_by(|p| p.card)
        .features("card", operator::declare)
        .infer("model", &Onnx::load(model)?);
    Ok(scored.into_stream())
}

fn run(
    expected: usize,
    workers: usize,
    build: impl Fn(&mut Flow<'_>, Counting) -> BuildResult + Send + Sync + 'static,
) -> Rates {
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
    Rates {
        wall: expected as f64 / seconds,
        per_core: expected as f64 / busy,
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
