//! The end of a path: brings a stream to the sink's one writer thread.

use std::sync::Arc;

use crossbeam::channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use timely::dataflow::operators::Probe;

use super::event_time_queue::EventTimeQueue;
use super::route::route;
use super::unary::{exchanged, unary};
use super::{Edge, Site};
use crate::flushes::Answers;
use crate::job::{JobContext, Order};
use crate::ledger::{Fate, Pen};
use crate::record::{Data, Packet, Record};
use crate::sink::{Sink, SinkError, Writer, Writers};
use crate::telemetry::StepMetrics;
use crate::time::millis;
use crate::watermark::WatermarkMerge;

/// Batches the worker may be ahead of the writer.
const BATCHES_AHEAD: usize = 64;

/// Writes the stream with `config`; in event-time order the records are put in order first.
pub(crate) fn sink<'s, T: Data>(
    site: &Site<'s>,
    input: Edge<'s, T>,
    metrics: Arc<StepMetrics>,
    config: &Arc<dyn Sink<T>>,
) -> Result<(), SinkError> {
    let writers = config.writers();
    let is_written_here = writers == Writers::EachWorker || site.worker() == 0;
    let mut end = End {
        outlet: None,
        order: site.job.options.order,
        queue: EventTimeQueue::default(),
        watermarks: WatermarkMerge::new(match writers {
            Writers::One => site.workers(),
            Writers::EachWorker => 1,
        }),
        job: Arc::clone(&site.job),
    };
    if !site.planning && is_written_here {
        let desk = Desk {
            job: Arc::clone(&site.job),
            step: Arc::clone(&metrics),
            writer: config.open()?,
            pen: site.job.telemetry.ledger().pen(),
            is_dirty: false,
        };
        end.outlet = Some(match writers {
            Writers::EachWorker => Outlet::Here(desk),
            Writers::One => {
                let (batches, received) = bounded(BATCHES_AHEAD);
                let answers = site.job.flushes.join();
                site.job
                    .spawn(&metrics.id, move || write_all(desk, &received, &answers));
                Outlet::Thread(batches)
            }
        });
    }
    let name = metrics.id.clone();
    let take_in = move |mut packet: Packet<T>, _: &mut Vec<Packet<()>>| {
        if writers == Writers::EachWorker {
            packet.from = 0;
        }
        end.take_in(packet);
    };
    match writers {
        Writers::One => {
            let routed = route(site, input, |_| 0);
            exchanged(routed, &name, take_in).probe_with(&site.probe);
        }
        Writers::EachWorker => {
            unary(input, &name, take_in).probe_with(&site.probe);
        }
    }
    Ok(())
}

/// Where records go that have come to the end.
enum Outlet<T> {
    Here(Desk<T>),
    Thread(Sender<Vec<Record<T>>>),
}

struct End<T> {
    outlet: Option<Outlet<T>>,
    order: Order,
    queue: EventTimeQueue<T>,
    watermarks: WatermarkMerge,
    job: Arc<JobContext>,
}

impl<T: Data> End<T> {
    fn take_in(&mut self, packet: Packet<T>) {
        let watermark = self.watermarks.update(packet.from, packet.watermark);
        let ready = match self.order {
            Order::Arrival => packet.records,
            Order::EventTime => self.queue.exchange(packet.records, watermark, |_| 0),
        };
        if ready.is_empty() {
            return;
        }
        match &mut self.outlet {
            Some(Outlet::Thread(sender)) => hand_over(sender, ready, &self.job),
            Some(Outlet::Here(desk)) => drop(desk.write(&ready).and_then(|()| desk.flush())),
            None => {}
        }
    }
}

/// Hands records to the writer thread, waiting while it has enough; whoever watches over the worker
/// is to know that it waits.
fn hand_over<T>(sender: &Sender<Vec<Record<T>>>, records: Vec<Record<T>>, job: &JobContext) {
    let mut unsent = records;
    // Another failure than a time-out means that the writer has given up, and it has said why.
    while let Err(SendTimeoutError::Timeout(records)) = sender.send_timeout(unsent, millis(100)) {
        job.pulse.hold_up(FIRST_WORKER, job.options.clock.now_ns());
        unsent = records;
    }
}

/// The worker at which the records of a sink with one writer come together.
const FIRST_WORKER: usize = 0;

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        self.queue.hold(&mut self.job.telemetry.ledger().pen());
    }
}

/// A writer with what it has to account for.
struct Desk<T> {
    job: Arc<JobContext>,
    step: Arc<StepMetrics>,
    writer: Box<dyn Writer<T>>,
    pen: Pen,
    is_dirty: bool,
}

/// The writer is broken, and the job knows.
struct Broken;

impl<T> Desk<T> {
    fn write(&mut self, records: &[Record<T>]) -> Result<(), Broken> {
        self.is_dirty = true;
        let written = self.writer.write(records);
        self.settle(written)?;
        let now_ns = self.job.options.clock.now_ns();
        for record in records {
            self.pen.mark(record.origin, Fate::Processed);
        }
        let latencies_ns = records.iter().map(|r| now_ns.saturating_sub(r.ingested_ns));
        self.step.records(latencies_ns);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Broken> {
        if !std::mem::take(&mut self.is_dirty) {
            return Ok(());
        }
        let flushed = self.writer.flush();
        self.settle(flushed)
    }

    fn settle(&self, outcome: Result<(), SinkError>) -> Result<(), Broken> {
        outcome.map_err(|error| {
            self.job.fail(format!("sink `{}`: {error}", self.step.id));
            Broken
        })
    }
}

impl<T> Drop for Desk<T> {
    /// Whatever ends the run, what was written is to be seen.
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

/// The writer thread: writes what comes, and flushes whenever nothing more is waiting, or when it is
/// asked to.
fn write_all<T: Data>(mut desk: Desk<T>, batches: &Receiver<Vec<Record<T>>>, answers: &Answers) {
    loop {
        let asked = desk.job.flushes.asked();
        let outcome = if asked > answers.latest() {
            // What is here by now is what was given before the request.
            let outcome = batches
                .try_iter()
                .take(batches.len())
                .try_for_each(|records| desk.write(&records))
                .and_then(|()| desk.flush());
            outcome.map(|()| answers.answer(asked))
        } else {
            match batches.recv_timeout(millis(20)) {
                Ok(records) => desk.write(&records),
                Err(RecvTimeoutError::Timeout) => desk.flush(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        };
        if outcome.is_err() {
            return;
        }
    }
}
