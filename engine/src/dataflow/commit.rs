//! The committer: on the first worker, it has each epoch sealed once everybody has acknowledged it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam::channel::{Sender, unbounded};
use timely::dataflow::Scope;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::Tick;
use super::epoch::{EpochSite, epoch_of, open_epoch};
use crate::epochs::{Ack, Sealing};
use crate::job::JobContext;

/// Builds the committer, after all sources, steps and sinks.
pub(super) fn commit<'s>(scope: Scope<'s, Tick>, job: &Arc<JobContext>, site: &Rc<EpochSite<'s>>) {
    let acks = scope.concatenate(site.acks.take());
    let mut builder = OperatorBuilder::new("commit".to_owned(), scope);
    let mut acks = builder.new_input(acks, Exchange::new(|_: &Ack| 0));
    let mut committer = (scope.index() == 0)
        .then(|| Committer::start(job))
        .flatten();
    let (turn, announcer) = (Rc::clone(&site.turn), site.announcer.clone());
    let interval_ns = job.epochs.as_ref().map_or(0, |epochs| {
        u64::try_from(epochs.interval().as_nanos()).unwrap_or(u64::MAX)
    });
    let clock = job.options.clock.clone();
    builder.build(move |_| {
        move |frontiers| {
            acks.for_each(|capability, given| {
                let tick = *capability.stamp().expect_singleton();
                for ack in given.drain(..) {
                    let epoch = epoch_of(tick);
                    if matches!(ack, Ack::Begun) {
                        let due_ns = clock.now_ns().saturating_add(interval_ns);
                        if turn.borrow_mut().begun(epoch, due_ns) {
                            announcer.activate();
                        }
                    } else if let Some(committer) = &mut committer {
                        committer.acks.entry(epoch).or_default().push(ack);
                    }
                }
            });
            let open = open_epoch(&frontiers[0]);
            if let Some(known) = &mut committer {
                known.seal_before(open);
            }
            if open.is_none() && committer.take().is_some() {
                turn.borrow_mut().is_over = true;
                announcer.activate();
            }
        }
    });
}

/// What has been said about the epochs that are not over.
struct Committer {
    acks: BTreeMap<u64, Vec<Ack>>,
    /// The epoch to be sealed next.
    next: u64,
    sealer: Sender<Sealing>,
}

impl Committer {
    /// Starts the thread that seals.
    fn start(job: &Arc<JobContext>) -> Option<Self> {
        let epochs = Arc::clone(job.epochs.as_ref()?);
        let (sealer, sealings) = unbounded();
        let shared = Arc::clone(job);
        job.spawn("checkpoint-seal", move || {
            epochs.seal_all(&shared, &sealings)
        });
        Some(Self {
            acks: BTreeMap::new(),
            next: 0,
            sealer,
        })
    }

    /// Has all epochs before the open one sealed; where none is open, all that there have been.
    fn seal_before(&mut self, open: Option<u64>) {
        let last = self.acks.keys().next_back().map_or(0, |last| last + 1);
        while self.next < open.unwrap_or(last) {
            let acks = self.acks.remove(&self.next).unwrap_or_default();
            // Fails only when the thread has given up, and it has said why.
            let _ = self.sealer.send(Sealing {
                epoch: self.next,
                acks,
            });
            self.next += 1;
        }
    }
}
