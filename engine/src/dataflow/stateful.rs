//! Operators with state: where a job takes checkpoints, they hold back what belongs to the next epoch
//! until the open one is over, give what they keep to be saved, and acknowledge it.
//!
//! In a job without checkpoints they are what [`unary`](super::unary)'s are: they never hear of a
//! frontier.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crossbeam::channel::{Receiver, unbounded};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, InputCapability};
use timely::progress::frontier::MutableAntichain;
use timely::progress::operate::FrontierInterest;
use timely::scheduling::Activator;

use super::epoch::{epoch_of, first_tick, open_epoch};
use super::unary::{SideEdges, SideOutputs, Sides};
use super::{Edge, Site, Tick};
use crate::checkpoint::KeyGroups;
use crate::epochs::{Ack, Epochs, Growth, MergePieces, Reply, Save, Saved};
use crate::job::JobContext;
use crate::key::KeyGroup;
use crate::letters::Letters;
use crate::record::{Data, Packet};
use crate::state::{EncodedKeys, TakeHow};
use crate::step_state::StepState;
use crate::turns;

/// So many of the keys and records that are being taken are encoded whenever the operator is called, some
/// 50 microseconds' worth.
const KEYS_AT_ONCE: usize = 64;
/// And one more for so many records, so that it does not last much longer where these are many.
const RECORDS_PER_KEY: usize = 4;

/// What a stateful operator runs.
pub(super) trait Stateful<I, O>: TakeState + 'static {
    /// Takes a packet in, and leaves what comes of it.
    fn take_in(&mut self, packet: Packet<I>, given: &mut Vec<Packet<O>>, letters: &mut Letters);
}

/// Whatever has something to keep over a restart.
pub(crate) trait TakeState {
    /// Begins to take what is to be kept, between two packets, as of the tick `end` before which all
    /// has come: gives all of it but what [`TakeState::take_some`] gives.
    ///
    /// # Errors
    /// When something refuses to be written.
    fn begin_taking(&mut self, end: Tick, how: TakeHow) -> Result<StepState, postcard::Error>;

    /// Encodes up to `most` more of the rest, as it was then. Gives all of it once nothing is left.
    ///
    /// # Errors
    /// When something refuses to be written.
    fn take_some(&mut self, most: usize) -> Result<Option<TakenState>, postcard::Error>;

    /// Has what was taken saved.
    fn save(&self, save: Save, epochs: &Epochs) {
        epochs.save(save);
    }

    /// All at once.
    ///
    /// # Errors
    /// When something refuses to be written.
    fn take_state(&mut self, end: Tick) -> Result<StepState, postcard::Error> {
        let mut state = self.begin_taking(end, TakeHow::default())?;
        let taken = self.take_some(usize::MAX)?;
        taken
            .expect("invariant: nothing is left")
            .add_to(&mut state);
        Ok(state)
    }
}

/// What is taken little by little.
pub(crate) struct TakenState {
    /// The keys that have changed.
    pub(super) keys: EncodedKeys,
    /// Records that wait for the watermark.
    pub(super) waiting: BTreeMap<KeyGroup, Vec<u8>>,
}

impl TakenState {
    pub(super) fn add_to(self, state: &mut StepState) {
        state.keys = self.keys;
        state.waiting.extend(self.waiting);
    }
}

/// Who an operator is for those that save its state.
pub(super) struct Identity {
    pub(super) id: String,
    /// The type of the step.
    pub(super) kind: String,
    /// The key groups of this worker, as far as the step is concerned.
    pub(super) groups: KeyGroups,
    /// Makes one of several pieces of its keyed state, if it has any.
    pub(super) merge: Option<MergePieces>,
}

/// An operator on the packets of one input.
pub(super) fn stateful<'s, I: Data, O: Data>(
    site: &Site<'s>,
    input: Edge<'s, I>,
    pact: impl ParallelizationContract<Tick, Vec<Packet<I>>>,
    identity: Identity,
    sides: Sides,
    mut step: impl Stateful<I, O>,
) -> (Edge<'s, O>, SideEdges<'s>) {
    let mut builder = OperatorBuilder::new(identity.id.clone(), site.scope);
    let mut input = builder.new_input(input, pact);
    let (mut outputs, edge, side_edges) = SideOutputs::new(&mut builder, sides, site.worker());
    let Some(mut boundary) = Boundary::new(site, &mut builder, identity) else {
        builder.set_notify_for(0, FrontierInterest::Never);
        builder.build(move |_| {
            move |_| {
                input.for_each(|capability, packets| {
                    for packet in packets.drain(..) {
                        step.take_in(packet, &mut outputs.given, &mut outputs.letters);
                    }
                    outputs.send([&capability; 3]);
                });
            }
        });
        return (edge, side_edges);
    };
    builder.build(move |mut capabilities| {
        boundary.begin(capabilities.pop());
        let mut held = Held::default();
        let ports = if sides == Sides::DeadAndLate { 3 } else { 2 };
        move |frontiers| {
            let mut records = 0;
            input.for_each(|capability, packets| {
                let tick = *capability.stamp().expect_singleton();
                if epoch_of(tick) > boundary.epoch {
                    held.keep(tick, &capability, ports, std::mem::take(packets));
                    return;
                }
                for packet in packets.drain(..) {
                    records += packet.records.len();
                    step.take_in(packet, &mut outputs.given, &mut outputs.letters);
                }
                outputs.send([&capability; 3]);
            });
            while boundary.is_over(&frontiers[0]) {
                boundary.close(&mut step, frontiers, held.first_epoch());
                for (at, packets) in held.take(boundary.epoch) {
                    for packet in packets {
                        step.take_in(packet, &mut outputs.given, &mut outputs.letters);
                    }
                    outputs.send([&at[0], &at[1], &at[at.len() - 1]]);
                }
            }
            boundary.take_some(&mut step, records);
            boundary.acknowledge();
        }
    });
    (edge, side_edges)
}

/// Packets that came together, with the right to answer them at each output.
type Answerable<P> = (Vec<Capability<Tick>>, P);

/// Packets of epochs that are still to be opened.
pub(super) struct Held<P>(BTreeMap<u64, Vec<Answerable<P>>>);

impl<P> Default for Held<P> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<P> Held<P> {
    pub(super) fn keep(
        &mut self,
        tick: Tick,
        capability: &InputCapability<Tick>,
        ports: usize,
        packets: P,
    ) {
        let at = (0..ports).map(|port| capability.delayed(&tick, port));
        let of_epoch = self.0.entry(epoch_of(tick)).or_default();
        of_epoch.push((at.collect(), packets));
    }

    pub(super) fn first_epoch(&self) -> Option<u64> {
        self.0.keys().next().copied()
    }

    pub(super) fn take(&mut self, epoch: u64) -> Vec<Answerable<P>> {
        self.0.remove(&epoch).unwrap_or_default()
    }
}

/// An operator's side of the epochs.
pub(super) struct Boundary {
    job: Arc<JobContext>,
    epochs: Arc<Epochs>,
    identity: Identity,
    worker: usize,
    /// The epoch whose packets are taken in.
    pub(super) epoch: u64,
    /// The right to acknowledge it; none once nothing more will come.
    open: Option<Capability<Tick>>,
    /// What is being taken at the end of the epoch that was closed last; the most is still to come.
    taking: Option<Save>,
    activator: Activator,
    /// Epochs that are over and not durable yet.
    closed: VecDeque<(u64, Capability<Tick>)>,
    saved: Receiver<Saved>,
    /// What has been saved out of turn.
    early: BTreeMap<u64, Vec<Ack>>,
    growth: Growth,
    /// The buffers of what was saved last.
    room: EncodedKeys,
    reply: Reply,
    acks: OutputBuilder<Tick, CapacityContainerBuilder<Vec<Ack>>>,
    /// Whether the records that were saved last as waiting have to be replaced even by none.
    has_waiting: bool,
}

impl Boundary {
    /// Adds the output for acknowledgements, as the operator's last; none in a job without
    /// checkpoints.
    pub(super) fn new<'s>(
        site: &Site<'s>,
        builder: &mut OperatorBuilder<'s, Tick>,
        identity: Identity,
    ) -> Option<Self> {
        let (epochs, epoch_site) = (site.job.epochs.as_ref()?, site.epochs.as_ref()?);
        let (acks, stream) = builder.new_output();
        epoch_site.join(stream);
        if let Some(merge) = identity.merge {
            epochs.note_merge(&identity.id, merge);
        }
        let (saved_sender, saved) = unbounded();
        let address = builder.operator_info().address;
        let waker = site.scope.worker().sync_activator_for(address.to_vec());
        Some(Self {
            job: Arc::clone(&site.job),
            epochs: Arc::clone(epochs),
            identity,
            worker: site.worker(),
            epoch: 0,
            open: None,
            taking: None,
            activator: site.scope.activator_for(address),
            closed: VecDeque::new(),
            saved,
            early: BTreeMap::new(),
            growth: Growth::default(),
            room: EncodedKeys::new(),
            reply: Reply {
                saved: saved_sender,
                wake: Arc::new(move || {
                    // Fails only when the worker has gone.
                    let _ = waker.activate();
                }),
            },
            acks: OutputBuilder::from(acks),
            has_waiting: epochs.restored.is_some(),
        })
    }

    /// Takes the right to acknowledge the first epoch.
    pub(super) fn begin(&mut self, capability: Option<Capability<Tick>>) {
        self.open = capability;
    }

    /// Whether everything of the open epoch has come.
    pub(super) fn is_over(&self, frontier: &MutableAntichain<Tick>) -> bool {
        self.open.is_some() && open_epoch(frontier).is_none_or(|open| open > self.epoch)
    }

    /// Begins to take the state at the end of the open epoch, and opens the next one in which there
    /// is something.
    pub(super) fn close(
        &mut self,
        step: &mut impl TakeState,
        frontiers: &[MutableAntichain<Tick>],
        first_held: Option<u64>,
    ) {
        self.take_up_to(step, usize::MAX);
        let how = TakeHow {
            as_base: self.epochs.wants_base(&self.growth),
            room: std::mem::take(&mut self.room),
        };
        match step.begin_taking(first_tick(self.epoch + 1), how) {
            Ok(state) => {
                if !state.bases.is_empty() {
                    self.growth.base_is_taken();
                }
                self.taking = Some(self.saving(state));
            }
            Err(error) => self.fail(&error),
        }
        self.open_next(frontiers, first_held);
    }

    /// Goes on with what is being taken, beside so many records: little at a time, so that these do
    /// not wait for it.
    pub(super) fn take_some(&mut self, step: &mut impl TakeState, records: usize) {
        let most = match turns::random() {
            None => KEYS_AT_ONCE + records / RECORDS_PER_KEY,
            Some(any) => (any % 3) as usize,
        };
        self.take_up_to(step, most);
        if self.taking.is_some() {
            self.activator.activate();
        }
    }

    fn take_up_to(&mut self, step: &mut impl TakeState, most: usize) {
        let Some(mut save) = self.taking.take() else {
            return;
        };
        match step.take_some(most) {
            Ok(Some(taken)) => {
                taken.add_to(&mut save.state);
                self.has_waiting = !save.state.waiting.is_empty();
                save.replaces_waiting |= self.has_waiting;
                step.save(save, &self.epochs);
            }
            Ok(None) => self.taking = Some(save),
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&self, error: &postcard::Error) {
        let id = &self.identity.id;
        let reason = format!("state of step `{id}` cannot be written: {error}");
        self.job.fail(reason);
    }

    /// What is to be made durable of the open epoch.
    fn saving(&mut self, state: StepState) -> Save {
        let has_waiting = !state.waiting.is_empty();
        let had_waiting = std::mem::replace(&mut self.has_waiting, has_waiting);
        Save {
            epoch: self.epoch,
            step: self.identity.id.clone(),
            kind: self.identity.kind.clone(),
            worker: self.worker,
            groups: self.identity.groups,
            state,
            replaces_waiting: had_waiting || has_waiting,
            outbox: None,
            published: None,
            reply: self.reply.clone(),
        }
    }

    fn open_next(&mut self, frontiers: &[MutableAntichain<Tick>], first_held: Option<u64>) {
        let Some(closed) = self.open.take() else {
            return;
        };
        let open = frontiers.iter().filter_map(open_epoch);
        let next = open.chain(first_held).min();
        if let Some(next) = next {
            self.open = Some(closed.delayed(&first_tick(next)));
        }
        self.closed.push_back((self.epoch, closed));
        self.epoch = next.unwrap_or(u64::MAX);
    }

    /// Whether nothing comes any more.
    pub(super) fn has_ended(&self) -> bool {
        self.open.is_none()
    }

    /// Acknowledges what is durable by now, in order.
    pub(super) fn acknowledge(&mut self) {
        for saved in self.saved.try_iter() {
            self.early.insert(saved.epoch, saved.acks);
            self.room = saved.room;
        }
        while let Some((epoch, capability)) = self.closed.front()
            && let Some(mut acks) = self.early.remove(epoch)
        {
            self.growth.note(&acks);
            self.acks
                .activate()
                .session(capability)
                .give_container(&mut acks);
            self.closed.pop_front();
        }
    }
}
