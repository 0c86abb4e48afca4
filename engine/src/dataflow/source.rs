//! The timely source of a step: it takes batches from reader threads into the open tick.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Antichain;
use timely::progress::operate::FrontierInterest;

use super::epoch::Announcement;
use super::feed::Feed;
use super::{Edge, Site, Tick};
use crate::epochs::Ack;
use crate::intake::{Opened, Opener, Wake};
use crate::letters::{DeadLetter, LateEvent};
use crate::record::{Data, Packet};
use crate::source::{EventTimes, Found, Source, SourceError};
use crate::telemetry::StepMetrics;
use crate::turns;
use crate::upkeep::{Passage, Upkeep};

/// What is announced to a source bears on no output.
const NO_PATH: [(usize, Antichain<Tick>); 0] = [];

/// What a source gives: the records, the late events, the dead letters.
pub(crate) type SourceEdges<'s, T> = (Edge<'s, T>, Edge<'s, LateEvent>, Edge<'s, DeadLetter>);

/// Builds the source of a step; its partitions are spread over the workers. Tells whether those of this one
/// could be opened.
pub(crate) fn source<'s, T: Data>(
    site: &Site<'s>,
    metrics: Arc<StepMetrics>,
    number: u16,
    config: &Arc<dyn Source<T>>,
    event_times: &EventTimes<T>,
) -> (SourceEdges<'s, T>, Result<(), SourceError>) {
    let mut builder = OperatorBuilder::new(metrics.id.clone(), site.scope);
    let mut announced = site.epochs.as_ref().map(|epochs| {
        let to_addressee = Exchange::new(|(worker, _): &Announcement| *worker as u64);
        let stream = epochs.announcements.clone();
        let input = builder.new_input_connection(stream, to_addressee, NO_PATH);
        builder.set_notify_for(0, FrontierInterest::Never);
        input
    });
    let (records, edge) = builder.new_output_connection(NO_PATH);
    let (late, late_edge) = builder.new_output_connection(NO_PATH);
    let (dead, dead_edge) = builder.new_output_connection(NO_PATH);
    let (mut records, mut late, mut dead) = (Port::new(records), Port::new(late), Port::new(dead));
    let mut acks = site.epochs.as_ref().map(|epochs| {
        let (acks, stream) = builder.new_output_connection(NO_PATH);
        epochs.join(stream);
        Port::new(acks)
    });
    let kind = config.describe();
    let address = builder.operator_info().address;
    let pending = Arc::new(AtomicBool::new(true));
    let opened = if site.planning {
        Ok(Supply::none())
    } else {
        let activator = site.scope.worker().sync_activator_for(address.to_vec());
        let activate = Arc::new(move || {
            // Fails only when the worker has gone, and the reader stops by itself then.
            let _ = activator.activate();
        });
        open_partitions(Opener {
            job: Arc::clone(&site.job),
            step: metrics.id.clone(),
            number,
            config: site.job.share_source(number, config),
            event_times: event_times.clone(),
            wake: Wake::new(Arc::clone(&pending), activate),
            worker: site.worker(),
            workers: site.workers(),
            known: BTreeMap::new(),
        })
    };
    // Timely panics where an operator that has been begun is not built, or the graph of one worker is another one.
    let (supply, opened) = match opened {
        Ok(supply) => (supply, Ok(())),
        Err(error) => (Supply::none(), Err(error)),
    };
    let mut feed = Feed::new(site, metrics, number, event_times.policy, supply, pending);
    let activator = site.scope.activator_for(address);
    let worker = site.worker();
    builder.build(move |capabilities| {
        let mut capabilities = Some(capabilities);
        move |_| {
            // Between two sources of a worker anything may come from elsewhere.
            turns::pass();
            let mut next = None;
            if let Some(announced) = &mut announced {
                announced.for_each(|_, given| {
                    let epochs = given.drain(..).map(|(_, epoch)| epoch);
                    next = epochs.chain(next).max();
                });
            }
            let Some(held) = capabilities.as_mut() else {
                return;
            };
            feed.take_arrivals();
            if let (Some(epoch), Some(acks)) = (next, &mut acks) {
                acks.give(&held[3], feed.places(&kind));
                feed.open_epoch(epoch);
            }
            feed.open_tick(held);
            let mut has_given = false;
            let more = feed.take_batches(|batch, watermark| {
                has_given = true;
                records.give(&held[0], Packet::local(worker, batch.records, watermark));
                late.give(&held[1], Packet::local(worker, batch.late, watermark));
                dead.give(&held[2], Packet::local(worker, batch.dead, watermark));
            });
            if let Some(watermark) = feed.closing_watermark() {
                has_given = true;
                records.give(&held[0], Packet::local(worker, Vec::new(), watermark));
                late.give(&held[1], Packet::local(worker, Vec::new(), watermark));
                dead.give(&held[2], Packet::local(worker, Vec::new(), watermark));
            }
            if let Some(acks) = &mut acks {
                if has_given && feed.begin_epoch() {
                    acks.give(&held[3], Ack::Begun);
                }
                if feed.is_done() {
                    acks.give(&held[3], feed.places(&kind));
                }
            }
            if feed.is_done() {
                capabilities = None;
            } else {
                feed.schedule(&activator, more);
            }
        }
    });
    ((edge, late_edge, dead_edge), opened)
}

/// Opens this worker's share of the partitions, and sees to their upkeep.
fn open_partitions<T: Data>(mut opener: Opener<T>) -> Result<Supply<T>, SourceError> {
    let listed = opener.config.partitions()?;
    opener.learn(&listed);
    let mut opened = Vec::new();
    for (index, partition) in listed.iter().enumerate() {
        if opener.is_mine(index) {
            opened.push(opener.open(*partition, Found::AtStart)?);
        }
    }
    let (arrive, arrivals) = opener.config.discover_every().map(|_| unbounded()).unzip();
    let (open, closed) = bounded(0);
    let passage = Arc::new(Passage::default());
    Upkeep::new(
        opener,
        &opened,
        listed.len(),
        Arc::clone(&passage),
        arrive,
        closed,
    )
    .start();
    Ok(Supply {
        opened,
        arrivals,
        passage,
        _open: Some(open),
    })
}

/// Where a worker's records come from.
pub(super) struct Supply<T> {
    pub(super) opened: Vec<Opened<T>>,
    /// Partitions that are found later; none where there will be no more.
    pub(super) arrivals: Option<Receiver<Opened<T>>>,
    pub(super) passage: Arc<Passage>,
    /// Closes when the worker has no more need of the source.
    _open: Option<Sender<()>>,
}

impl<T> Supply<T> {
    fn none() -> Self {
        Self {
            opened: Vec::new(),
            arrivals: None,
            passage: Arc::default(),
            _open: None,
        }
    }
}

/// One output of the source operator.
struct Port<D: Clone + 'static>(OutputBuilder<Tick, CapacityContainerBuilder<Vec<D>>>);

impl<D: Clone + 'static> Port<D> {
    fn new(output: timely::dataflow::channels::pushers::Output<Tick, Vec<D>>) -> Self {
        Self(OutputBuilder::from(output))
    }

    fn give(&mut self, capability: &Capability<Tick>, given: D) {
        self.0.activate().session(capability).give(given);
    }
}
