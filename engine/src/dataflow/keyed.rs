//! The shell of every keyed step: it brings records to the owner of their key, in the job's order,
//! and hands them to the step's logic together with the key's state.

use std::collections::BTreeMap;
use std::iter::zip;
use std::sync::Arc;

use timely::dataflow::channels::pact::{Exchange, Pipeline};

use super::event_time_queue::{EventTimeQueue, TakenRecords};
use super::route::route;
use super::stateful::{Identity, Stateful, TakeState, TakenState, stateful};
use super::unary::{SideEdges, Sides};
use super::wake::{Alarm, waking};
use super::{Edge, Site, Tick};
use crate::checkpoint::KeyGroups;
use crate::guard::guard;
use crate::job::{JobContext, Order};
use crate::key::{Key, KeyGroup, LocalKey, key_hash};
use crate::keyed::{Context, KeyedStep};
use crate::ledger::Fate;
use crate::letters::{Endings, Letters};
use crate::look_ahead::{Ahead, BLOCKS_UNDER_WAY, Stage, stages};
use crate::record::{Data, Origin, Packet, Record};
use crate::state::{KeyedState, State, StateError, TakeHow, decode_all, merge_pieces};
use crate::step_state::StepState;
use crate::telemetry::StepMetrics;
use crate::watermark::{Watermark, WatermarkMerge};

/// Runs `step`, which is of this kind, on the records of `input`, by key.
pub(crate) fn keyed<'s, T: Data, S: KeyedStep<T>>(
    site: &Site<'s>,
    input: Edge<'s, T>,
    (metrics, kind): (Arc<StepMetrics>, &str),
    step: S,
    order: Order,
    key: impl Fn(&T) -> S::Key + Clone + 'static,
) -> (Edge<'s, S::Out>, SideEdges<'s>) {
    let workers = site.workers();
    let owner_key = key.clone();
    // A record whose key cannot be taken becomes a dead letter wherever it arrives.
    let owner_of = move |value: &T| guard(|| owner(&owner_key(value), workers)).unwrap_or(0);
    let routed = route(site, input, owner_of);
    let seat = Seat::new(site, workers);
    let identity = seat.identity::<S::Key, S::State>(&metrics.id, kind);
    let wake_every = step.wake_every();
    let shell = Shell::new(seat, &site.job, metrics, step, order, key);
    let sides = sides::<T, S>();
    if let Some(period) = wake_every {
        let woken = waking(site, routed, period);
        return stateful(site, woken, Pipeline, identity, sides, shell);
    }
    if workers == 1 {
        return stateful(site, routed, Pipeline, identity, sides, shell);
    }
    let to_addressee = Exchange::new(|packet: &Packet<T>| packet.to as u64);
    stateful(site, routed, to_addressee, identity, sides, shell)
}

/// Runs `step` on this worker's own records as they arrive, all under the worker's key.
pub(crate) fn local<'s, T: Data, S: KeyedStep<T, Key = LocalKey>>(
    site: &Site<'s>,
    input: Edge<'s, T>,
    (metrics, kind): (Arc<StepMetrics>, &str),
    step: S,
) -> (Edge<'s, S::Out>, SideEdges<'s>) {
    let own = LocalKey::of(site.worker(), site.workers());
    let key = move |_: &T| own;
    let seat = Seat {
        is_local: true,
        ..Seat::new(site, 1)
    };
    let identity = seat.identity::<S::Key, S::State>(&metrics.id, kind);
    let shell = Shell::new(seat, &site.job, metrics, step, Order::Arrival, key);
    stateful(site, input, Pipeline, identity, sides::<T, S>(), shell)
}

/// What a step has to send beside its records.
fn sides<T: Data, S: KeyedStep<T>>() -> Sides {
    if S::TURNS_AWAY {
        Sides::DeadAndLate
    } else {
        Sides::Panics
    }
}

/// The worker that owns a key.
pub(crate) fn owner<K: Key>(key: &K, workers: usize) -> usize {
    KeyGroup::of(key_hash(key)).owner(workers)
}

/// Where a shell stands: the worker, and how many send to it.
#[derive(Clone, Copy)]
pub(crate) struct Seat {
    pub(crate) worker: usize,
    pub(crate) workers: usize,
    pub(crate) inputs: usize,
    /// Whether it has its own worker's records only, which come by one input.
    pub(crate) is_local: bool,
}

impl Seat {
    fn new(site: &Site<'_>, inputs: usize) -> Self {
        Self {
            worker: site.worker(),
            workers: site.workers(),
            inputs,
            is_local: false,
        }
    }

    /// The key groups that the worker owns.
    pub(super) fn groups(self) -> KeyGroups {
        KeyGroups::of_worker(self.worker, self.workers)
    }

    /// A step of this kind, with states of this type by keys of that, for those that save them.
    pub(super) fn identity<K: Key, S: State>(self, id: &str, kind: &str) -> Identity {
        Identity {
            id: id.to_owned(),
            kind: kind.to_owned(),
            groups: self.groups(),
            merge: Some(merge_pieces::<K, S>),
        }
    }

    /// How far the inputs have got, for a step that goes on from `state`.
    pub(crate) fn resume(self, state: &StepState) -> WatermarkMerge {
        state.resume_watermarks((self.worker, self.workers), self.inputs, self.is_local)
    }
}

/// The group of a value's key.
fn group_of<T, K: Key>(value: &T, key: impl Fn(&T) -> K) -> KeyGroup {
    guard(|| key_hash(&key(value))).map_or(KeyGroup(0), KeyGroup::of)
}

/// A step with all that it needs to take packets in.
pub(crate) struct Shell<T: Data, S: KeyedStep<T>, F> {
    seat: Seat,
    job: Arc<JobContext>,
    metrics: Arc<StepMetrics>,
    step: S,
    key: F,
    state: KeyedState<S::Key, S::State>,
    queue: EventTimeQueue<T>,
    /// Of the records that wait, what has been taken so far.
    waiting_taken: TakenRecords,
    order: Order,
    watermarks: WatermarkMerge,
    emitted: Watermark,
    /// Whether those behind know of it: after a restart they do not.
    is_told: bool,
    endings: Endings,
    /// For a step that is woken by the clock.
    alarm: Option<Alarm>,
    /// The logic has panicked: its state is not to be trusted, and the job is about to end.
    is_broken: bool,
}

impl<T: Data, S: KeyedStep<T>, F: Fn(&T) -> S::Key> Shell<T, S, F> {
    /// Goes on from what the job has restored for the step, or begins anew.
    pub(crate) fn new(
        seat: Seat,
        job: &Arc<JobContext>,
        metrics: Arc<StepMetrics>,
        step: S,
        order: Order,
        key: F,
    ) -> Self {
        let restored = job.restored.take(&metrics.id, seat.groups());
        let pen = job.telemetry.ledger().pen();
        let mut shell = Self {
            seat,
            job: Arc::clone(job),
            endings: Endings::new(&metrics.id, pen),
            alarm: step
                .wake_every()
                .map(|period| Alarm::new(period, job.options.clock.now_ns())),
            is_broken: false,
            metrics,
            step,
            key,
            state: KeyedState::default(),
            queue: EventTimeQueue::default(),
            waiting_taken: TakenRecords::default(),
            order,
            watermarks: WatermarkMerge::new(seat.inputs),
            emitted: Watermark::START,
            is_told: true,
        };
        if let Some(state) = restored
            && let Err(error) = shell.restore(state)
        {
            job.fail(error.to_string());
        }
        shell
    }

    /// Puts another step in the place of this one, which goes on from `state`.
    pub(crate) fn restart(&mut self, step: S, state: StepState) -> Result<(), StateError> {
        self.step = step;
        self.state = KeyedState::default();
        self.queue = EventTimeQueue::default();
        self.waiting_taken = TakenRecords::default();
        self.restore(state)
    }

    /// Takes in the key groups that this worker owns now.
    fn restore(&mut self, mut state: StepState) -> Result<(), StateError> {
        let id = &self.metrics.id;
        // Bytes go as soon as they have been read: there may be many.
        for bytes in std::mem::take(&mut state.keys).into_values() {
            self.state.restore(id, &bytes)?;
        }
        let mut waiting = Vec::new();
        for bytes in std::mem::take(&mut state.waiting).into_values() {
            decode_all(id, &bytes, |record| waiting.push(record))?;
        }
        // They have been read before, and count in this job from here on.
        let mut pen = self.job.telemetry.ledger().pen();
        waiting
            .iter()
            .for_each(|record: &Record<T>| pen.read(record.origin));
        for (_, state) in self.state.iter() {
            self.step.waiting(state, &mut |origin| pen.read(origin));
        }
        self.queue.push(waiting, |value| self.step.rank(value));
        self.watermarks = self.seat.resume(&state);
        self.emitted = self.watermarks.current();
        self.is_told = false;
        self.step.accepts(&self.state).map_err(|reason| {
            let step = id.clone();
            StateError::Refused { step, reason }
        })
    }

    /// The step's state, by key.
    pub(crate) fn state(&mut self) -> &mut KeyedState<S::Key, S::State> {
        &mut self.state
    }

    /// What has left beside the records and is still to be sent.
    pub(crate) fn letters(&mut self) -> &mut Letters {
        &mut self.endings.letters
    }

    pub(crate) fn take_in(&mut self, packet: Packet<T>) -> Option<Packet<S::Out>> {
        if self.is_broken {
            return None;
        }
        let watermark = self.watermarks.update(packet.from, packet.watermark);
        let taken = packet.records.len();
        let ready = match self.order {
            Order::Arrival => packet.records,
            Order::EventTime => {
                let (step, key, taken) = (&self.step, &self.key, &mut self.waiting_taken);
                let rank = |value: &T| step.rank(value);
                let take = |record: &Record<T>| taken.write(group_of(&record.value, key), record);
                self.queue.exchange(packet.records, watermark, rank, take)
            }
        };
        let oldest_ns = ready.first().map(|record| record.ingested_ns);
        let mut at = None;
        let records = match guard(|| self.process(ready, watermark, &mut at)) {
            Ok(records) => records,
            Err(reason) => {
                self.give_up(at, &reason);
                return None;
            }
        };
        let latency_ns = oldest_ns.map(|ns| self.job.options.clock.now_ns().saturating_sub(ns));
        self.metrics.packet(taken, records.len(), latency_ns);
        if records.is_empty() && watermark == self.emitted && self.is_told {
            return None;
        }
        self.is_told = true;
        self.emitted = watermark;
        Some(Packet {
            from: self.seat.worker,
            to: self.seat.worker,
            records,
            watermark,
        })
    }
}

impl<T, S, F> Stateful<T, S::Out> for Shell<T, S, F>
where
    T: Data,
    S: KeyedStep<T>,
    F: Fn(&T) -> S::Key + 'static,
{
    fn take_in(
        &mut self,
        mut packet: Packet<T>,
        given: &mut Vec<Packet<S::Out>>,
        letters: &mut Letters,
    ) {
        if self.seat.is_local {
            packet.from = 0;
        }
        given.extend(Shell::take_in(self, packet));
        letters.append(self.letters());
    }
}

impl<T: Data, S: KeyedStep<T>, F: Fn(&T) -> S::Key> TakeState for Shell<T, S, F> {
    fn begin_taking(&mut self, _: Tick, how: TakeHow) -> Result<StepState, postcard::Error> {
        self.queue.begin_taking();
        let bases = match self.state.begin_taking(how) {
            true => self.seat.groups(),
            false => KeyGroups::NONE,
        };
        Ok(StepState {
            keys: BTreeMap::new(),
            bases,
            waiting: BTreeMap::new(),
            watermarks: vec![self.watermarks.clone()],
        })
    }

    fn take_some(&mut self, most: usize) -> Result<Option<TakenState>, postcard::Error> {
        let (key, waiting) = (&self.key, &mut self.waiting_taken);
        let take = |record: &Record<T>| waiting.write(group_of(&record.value, key), record);
        let left = self.queue.take_some(most, take);
        if self.queue.is_taking() {
            return Ok(None);
        }
        let Some(mut keys) = self.state.take_some(left)? else {
            return Ok(None);
        };
        // A step may have looked for a key, as its watermark moved, that another worker owns:
        // what it has made by that must not go over what is there.
        let own = self.seat.groups();
        keys.retain(|group, _| own.contains(*group));
        let waiting = self.waiting_taken.finish()?;
        Ok(Some(TakenState { keys, waiting }))
    }
}

impl<T: Data, S: KeyedStep<T>, F: Fn(&T) -> S::Key> Shell<T, S, F> {
    /// Hands records to the logic; `at` tells which of them it has at the moment, if any.
    fn process(
        &mut self,
        ready: Vec<Record<T>>,
        watermark: Watermark,
        at: &mut Option<Origin>,
    ) -> Vec<Record<S::Out>> {
        let now_ns = self.job.options.clock.now_ns();
        let watermarks = (self.emitted, watermark);
        let endings = &mut self.endings;
        let mut context = Context::new(endings, watermarks, self.order, now_ns, ready.len());
        let all = ready.len();
        let mut ready = ready.into_iter();
        let mut ahead: [(Vec<S::Key>, Ahead); BLOCKS_UNDER_WAY] = Default::default();
        for (block, range, stage) in stages(all) {
            let (keys, looked_up) = &mut ahead[block % BLOCKS_UNDER_WAY];
            let before = range.start - (all - ready.len());
            let records = &ready.as_slice()[before..before + range.len()];
            match stage {
                Stage::LookUp => {
                    let key = &self.key;
                    let taken =
                        guard(|| keys.extend(records.iter().map(|record| key(&record.value))));
                    if taken.is_err() {
                        // One of them panics: its turn will tell which.
                        keys.clear();
                    }
                    *looked_up = self.state.look_ahead(keys.iter());
                }
                Stage::Touch(reach) => {
                    let (step, states) = (&self.step, self.state.sighted(looked_up));
                    // What panics here does so again in its turn, and is told of then.
                    let _ = guard(|| step.touch(reach, records, &states));
                }
                Stage::Process => {
                    let mut known = zip(keys.drain(..), looked_up.hashes());
                    for record in ready.by_ref().take(range.len()) {
                        let (key, hash) = match known.next() {
                            Some(known) => known,
                            None => match guard(|| (self.key)(&record.value)) {
                                Ok(key) => {
                                    let hash = key_hash(&key);
                                    (key, hash)
                                }
                                Err(reason) => {
                                    context.reject(&record.with(()), Some(&record.value), reason);
                                    continue;
                                }
                            },
                        };
                        *at = Some(record.origin);
                        let state = self.state.entry_hashed(hash, &key);
                        self.step.process(&key, state, record, &mut context);
                    }
                }
            }
        }
        *at = None;
        if watermark != self.emitted {
            self.step.advance(&mut self.state, &mut context);
        }
        if self.alarm.as_mut().is_some_and(|alarm| alarm.rings(now_ns)) {
            self.step.wake(&mut self.state, &mut context);
        }
        context.into_records()
    }

    /// Ends the job, as the state may be half changed.
    fn give_up(&mut self, at: Option<Origin>, reason: &str) {
        self.is_broken = true;
        let id = &self.metrics.id;
        let on = at.map_or_else(
            || "as the watermark moved".to_owned(),
            |origin| format!("on {}", self.job.place(origin)),
        );
        self.job.fail(format!(
            "step `{id}`: {reason}, {on}; its state may be half changed: correct it and run again"
        ));
    }
}

impl<T: Data, S: KeyedStep<T>, F> Drop for Shell<T, S, F> {
    /// What is still queued, or waits in the step's state, when the graph comes down is held.
    fn drop(&mut self) {
        let mut pen = self.job.telemetry.ledger().pen();
        self.queue.hold(&mut pen);
        let mut hold = |origin| pen.mark(origin, Fate::Held);
        for (_, state) in self.state.iter() {
            self.step.waiting(state, &mut hold);
        }
    }
}

#[cfg(test)]
#[path = "keyed_tests.rs"]
mod tests;
