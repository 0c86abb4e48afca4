//! The end of a path: brings a stream to the sink's one writer thread.

use std::sync::Arc;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use timely::dataflow::operators::Probe;

use super::event_time_queue::EventTimeQueue;
use super::route::route;
use super::unary::exchanged;
use super::{Edge, Site};
use crate::job::{JobContext, Order};
use crate::ledger::Fate;
use crate::record::{Data, Packet, Record};
use crate::sink::{Sink, SinkError, Writer};
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
    let routed = route(site, input, |_| 0);
    let mut sender = None;
    if !site.planning && site.worker() == 0 {
        let (batches, received) = bounded(BATCHES_AHEAD);
        let writer = config.open()?;
        let (job, step) = (Arc::clone(&site.job), Arc::clone(&metrics));
        site.job.spawn(&metrics.id, move || {
            write_all(&job, &step, writer, &received)
        });
        sender = Some(batches);
    }
    let mut end = End {
        sender,
        order: site.job.options.order,
        queue: EventTimeQueue::default(),
        watermarks: WatermarkMerge::new(site.workers()),
        job: Arc::clone(&site.job),
    };
    let name = metrics.id.clone();
    exchanged(routed, &name, move |packet, _: &mut Vec<Packet<()>>| {
        end.take_in(packet)
    })
    .probe_with(&site.probe);
    Ok(())
}

struct End<T> {
    sender: Option<Sender<Vec<Record<T>>>>,
    order: Order,
    queue: EventTimeQueue<T>,
    watermarks: WatermarkMerge,
    job: Arc<JobContext>,
}

impl<T> End<T> {
    fn take_in(&mut self, packet: Packet<T>) {
        let watermark = self.watermarks.update(packet.from, packet.watermark);
        let ready = match self.order {
            Order::Arrival => packet.records,
            Order::EventTime => self.queue.exchange(packet.records, watermark, |_| 0),
        };
        if let (false, Some(sender)) = (ready.is_empty(), &self.sender) {
            // Fails only when the writer has given up, and it has said why.
            let _ = sender.send(ready);
        }
    }
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        self.queue.hold(&mut self.job.telemetry.ledger().pen());
    }
}

/// The writer thread: writes what comes, and flushes whenever nothing more is waiting.
fn write_all<T: Data>(
    job: &JobContext,
    step: &StepMetrics,
    mut writer: Box<dyn Writer<T>>,
    batches: &Receiver<Vec<Record<T>>>,
) {
    let mut pen = job.telemetry.ledger().pen();
    let mut dirty = false;
    loop {
        let outcome = match batches.recv_timeout(millis(20)) {
            Ok(records) => {
                dirty = true;
                let written = writer.write(&records);
                if written.is_ok() {
                    let now_ns = job.options.clock.now_ns();
                    records
                        .iter()
                        .for_each(|r| pen.mark(r.origin, Fate::Processed));
                    step.records(records.iter().map(|r| now_ns.saturating_sub(r.ingested_ns)));
                }
                written
            }
            Err(RecvTimeoutError::Timeout) if dirty => {
                dirty = false;
                writer.flush()
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                if let Err(error) = writer.flush() {
                    job.fail(format!("sink `{}`: {error}", step.id));
                }
                return;
            }
        };
        if let Err(error) = outcome {
            job.fail(format!("sink `{}`: {error}", step.id));
            return;
        }
    }
}
