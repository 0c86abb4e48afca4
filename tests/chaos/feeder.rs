//! Writes events to the job's input all the time, from a seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thalweg::engine::record::{Origin, Record};
use thalweg::engine::sink::{Refused, SinkError, Writer};
use thalweg::prelude::EventTime;

use crate::broker::Broker;
use crate::random::Random;
use crate::records::Event;

/// How far behind the newest event time of its partition an event may be.
pub(crate) const DISORDER: Duration = Duration::from_millis(400);
/// Event time that passes from one event to the next.
const STEP_MICROS: i64 = 1_000;
/// The first event's time: 2026-01-01.
const BEGIN_MICROS: i64 = 1_767_225_600_000_000;
const KEYS: u64 = 300;
/// So many events are written at once, and then there is a pause.
const BATCH: u64 = 20;
const PAUSE: Duration = Duration::from_millis(15);

/// A thread that writes events until it is told to stop.
pub(crate) struct Feeder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Feeder {
    pub(crate) fn start(broker: &Arc<dyn Broker>, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, broker) = (Arc::clone(&stop), Arc::clone(broker));
        let thread = thread::spawn(move || feed(&*broker, seed, &stopped));
        Self { stop, thread }
    }

    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the feeder does not panic");
    }
}

fn feed(broker: &dyn Broker, seed: u64, stop: &AtomicBool) {
    let mut random = Random::new(seed ^ 0xfeed);
    let (mut next, mut writer) = (0, None);
    while !stop.load(Ordering::SeqCst) {
        let batch: Vec<_> = (next..next + BATCH)
            .map(|id| record(event(id, &mut random)))
            .collect();
        next += BATCH;
        // A broker that is away may have taken some of them: these are then in the input twice.
        while let Err(error) = write(broker, &mut writer, &batch) {
            eprintln!("chaos: the input waits for the broker: {error}");
            thread::sleep(Duration::from_secs(1));
        }
        thread::sleep(PAUSE);
    }
}

/// Writes with the writer at hand, or a new one; one that has failed is dropped.
fn write(
    broker: &dyn Broker,
    writer: &mut Option<Box<dyn Writer<Event>>>,
    batch: &[Record<Event>],
) -> Result<(), SinkError> {
    let mut at_hand = match writer.take() {
        Some(writer) => writer,
        None => broker.input().open()?,
    };
    at_hand.write(batch, &mut Refused::default())?;
    at_hand.flush()?;
    *writer = Some(at_hand);
    Ok(())
}

fn event(id: u64, random: &mut Random) -> Event {
    let behind = random.below(DISORDER.as_micros() as u64) as i64;
    Event {
        id,
        at: EventTime::from_micros(BEGIN_MICROS + id as i64 * STEP_MICROS - behind),
        // A few keys have most of the events.
        key: (random.below(KEYS) * random.below(KEYS) / KEYS) as u32,
        amount: random.below(1_000) as i64 - 200,
    }
}

fn record(value: Event) -> Record<Event> {
    Record {
        time: value.at,
        origin: Origin::default(),
        ingested_ns: 0,
        value,
    }
}
