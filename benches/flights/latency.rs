//! The latency of lone events: from the moment at which a reader has one to the moment at which
//! the sink's writer has taken its prediction.

use std::sync::Arc;
use std::time::{Duration, Instant};

use thalweg::prelude::*;
use thalweg_engine::job::{JobOptions, StopHandle};
use thalweg_engine::source::{ReadBatch, ReadStatus, Reader, Source, SourceError};
use thalweg_engine::telemetry::{Latency, Telemetry};
use thalweg_engine::testing::Collect;

use crate::events::{Code, Event, Scheduled};
use crate::features;

/// How long each rate is held.
const SECONDS: u64 = 10;

/// Runs the features and the model of `flights` in arrival order at a steady rate.
pub(crate) fn measure(events_per_second: u64) -> Latency {
    let events = events_per_second * SECONDS;
    let telemetry = Arc::new(Telemetry::default());
    let source = Steady {
        interval: Duration::from_nanos(1_000_000_000 / events_per_second),
        events: questions(events as usize).into(),
    };
    let build = move |flow: &mut Flow<'_>| {
        let model = Onnx::load(crate::pipelines("models/flights-delay"))?;
        let events = flow
            .source("questions", source.clone())
            .event_time(|s: &Scheduled| s.at, secs(0))
            .map("departures", Event::scheduled);
        features::declare(events)
            .infer("model", &model)
            .into_stream()
            .map("score", |scored| scored.score)
            .sink("scores", Collect::default());
        Ok(())
    };
    let options = JobOptions::default();
    thalweg_engine::run(
        options,
        Arc::clone(&telemetry),
        StopHandle::default(),
        build,
    )
    .unwrap();
    assert_eq!(telemetry.ledger().fates().processed, events);
    let latency = telemetry.sink_latency();
    eprintln!(
        "  {events_per_second:>6} events/s: p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us",
        latency.p50, latency.p99, latency.p999
    );
    latency
}

/// Questions one event-time second apart, over the airports and planes of a small company.
fn questions(count: usize) -> Vec<Scheduled> {
    let code = |text: String| serde_json::from_value::<Code>(text.into()).unwrap();
    let question = |n: usize| {
        let at = EventTime::from_seconds(1_357_016_400 + n as i64);
        Scheduled {
            flight: n as u32,
            at,
            carrier: code(format!("C{}", n % 16)),
            origin: code(format!("O{}", n % 3)),
            dest: code(format!("D{}", n % 100)),
            tail: code(format!("N{}", n % 4_000)),
            distance: 500.0 + (n % 2_000) as f64,
            departs: at.saturating_add(hours(1)),
            arrives: at.saturating_add(hours(3)),
            minute: (n / 60 % 1_440) as u16,
            weekday: (n / 86_400 % 7) as u8,
        }
    };
    (0..count).map(question).collect()
}

/// A source that has one more event every `interval`, whether or not anybody takes it.
#[derive(Clone)]
struct Steady {
    interval: Duration,
    events: Arc<[Scheduled]>,
}

impl Source<Scheduled> for Steady {
    fn describe(&self) -> String {
        "a steady stream of questions".to_owned()
    }

    fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        Ok(vec![0])
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    fn open(&self, _: u32, _: u64) -> Result<Box<dyn Reader<Scheduled>>, SourceError> {
        let (source, begun) = (self.clone(), Instant::now());
        Ok(Box::new(SteadyReader {
            source,
            begun,
            next: 0,
        }))
    }
}

struct SteadyReader {
    source: Steady,
    begun: Instant,
    next: usize,
}

impl Reader<Scheduled> for SteadyReader {
    fn read(
        &mut self,
        batch: &mut ReadBatch<Scheduled>,
        limit: usize,
    ) -> Result<ReadStatus, SourceError> {
        let begun = self.begun;
        if self.next == self.source.events.len() {
            return Ok(ReadStatus::End);
        }
        let due = self.source.interval * self.next as u32;
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        let so_far = begun.elapsed().as_nanos() / self.source.interval.as_nanos();
        let end = (so_far as usize + 1)
            .min(self.source.events.len())
            .min(self.next + limit);
        for n in self.next..end {
            batch.push((n as u64, Ok(self.source.events[n].clone())));
        }
        self.next = self.next.max(end);
        Ok(ReadStatus::More)
    }
}
