//! A job from topic to topic, in whatever broker they are.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_engine::job::{JobOptions, StopHandle};
use thalweg_engine::ledger::Fates;
use thalweg_engine::letters::DeadLetter;
use thalweg_engine::sink::Sink;
use thalweg_engine::source::{Found, ReadBatch, ReadStatus, Source, WatermarkPolicy};
use thalweg_engine::telemetry::Telemetry;
use thalweg_engine::testing::Collect;
use thalweg_engine::time::{EventTime, secs};
use thalweg_engine::{RunError, run};
use tracing::subscriber::NoSubscriber;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What the tests send around.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) id: u64,
}

impl Event {
    pub(crate) fn text(id: u64) -> String {
        format!(r#"{{"id":{id}}}"#)
    }

    /// When it happened.
    pub(crate) fn time(&self) -> EventTime {
        EventTime::from_millis(self.id as i64 + 1_000)
    }
}

/// A flow that runs beside the test.
pub(crate) struct Running {
    stop: StopHandle,
    pub(crate) dead: Collect<DeadLetter>,
    telemetry: Arc<Telemetry>,
    thread: JoinHandle<Result<(), RunError>>,
}

impl Running {
    /// Brings every record of a source to a sink, on so many workers.
    pub(crate) fn start<S: Source<Event>, K: Sink<Event>>(
        workers: usize,
        ends: impl Fn() -> (S, K) + Send + Sync + 'static,
    ) -> Self {
        let (stop, telemetry) = (StopHandle::default(), Arc::new(Telemetry::default()));
        let dead = Collect::default();
        let options = JobOptions {
            workers,
            dead_letters: Some(Arc::new(dead.clone())),
            ..JobOptions::default()
        };
        let (stopped, told) = (stop.clone(), Arc::clone(&telemetry));
        let thread = std::thread::spawn(move || {
            run(options, told, stopped, move |flow| {
                let (source, sink) = ends();
                // No event is late here.
                let policy = WatermarkPolicy::disorder(secs(1_000_000));
                flow.source("in", source)
                    .event_time(Event::time, policy)
                    .map("same", |event| event)
                    .sink("out", sink);
                Ok(())
            })
        });
        Self {
            stop,
            dead,
            telemetry,
            thread,
        }
    }

    /// Waits for its end.
    pub(crate) fn join(self) -> Result<Fates, RunError> {
        self.thread.join().unwrap()?;
        let fates = self.telemetry.ledger().fates();
        assert!(fates.balance(), "records were lost: {fates:?}");
        Ok(fates)
    }

    pub(crate) fn stop(self) -> Fates {
        self.stop.stop();
        self.join().unwrap()
    }
}

/// Waits until `is_so`, for at most two minutes.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1_200 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{what} never came");
}

/// A record as it was read: its partition, its offset, and the value or why there is none.
pub(crate) type Read<T> = (u32, u64, Result<T, String>);

/// Reads a source to its end, partition by partition, behind the engine's back.
pub(crate) fn read_all<T: 'static>(source: &dyn Source<T>) -> Vec<Read<T>> {
    let mut all = Vec::new();
    for partition in source.partitions().unwrap() {
        let start = source.start_offset(partition, Found::AtStart).unwrap();
        let mut reader = source.open(partition, start).unwrap();
        loop {
            let mut batch = ReadBatch::new();
            let status = reader.read(&mut batch, 100).unwrap();
            let items = batch.into_iter();
            all.extend(
                items.map(|(offset, item)| (partition, offset, item.map_err(|bad| bad.reason))),
            );
            if status == ReadStatus::End {
                break;
            }
        }
    }
    all
}

/// The ids of events, from their texts, as often as they are there.
pub(crate) fn all_ids<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u64> {
    let id = |text| serde_json::from_slice::<Event>(text).unwrap().id;
    texts.into_iter().map(id).collect()
}

/// What the source's check, which must not pass, says.
pub(crate) fn refusal(source: &dyn Source<Event>) -> String {
    source.check().unwrap_err().to_string()
}

pub(crate) fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

/// Everything that is logged, at any level, while this thread does the work.
pub(crate) fn logs_of(work: impl FnOnce()) -> String {
    let logs = Logs::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(logs.clone())
        .finish();
    // With only one, what another thread comes to first would count as wanted by nobody.
    let _second = tracing::Dispatch::new(NoSubscriber::default());
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!("begins");
        work();
    });
    let logs = String::from_utf8_lossy(&logs.0.lock().unwrap()).into_owned();
    assert!(logs.contains("begins"));
    logs
}

/// Looks for secrets in what was said and logged.
pub(crate) fn assert_has_none(canaries: &[&str], said: &str, logs: &str) {
    for canary in canaries {
        assert!(!said.contains(canary), "{canary} shows in a message");
        let line = logs.lines().find(|line| line.contains(canary));
        assert_eq!(line, None, "{canary} shows in the logs");
    }
}

#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
