//! The shell of every keyed step: it brings records to the owner of their key, in the job's order,
//! and hands them to the step's logic together with the key's state.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::event_time_queue::EventTimeQueue;
use super::route::route;
use super::unary::{exchanged, unary};
use super::{Edge, Site};
use crate::job::{JobContext, Order};
use crate::key::{Key, KeyGroup, LocalKey, key_hash};
use crate::keyed::{Context, KeyedStep};
use crate::ledger::Pen;
use crate::record::{Data, Packet};
use crate::state::{KeyedState, LOOK_AHEAD, StateError, decode_all, encode_to};
use crate::step_state::StepState;
use crate::telemetry::StepMetrics;
use crate::watermark::{Watermark, WatermarkMerge};

/// Runs `step` on the records of `input`, by key.
pub(crate) fn keyed<'s, T: Data, S: KeyedStep<T>>(
    site: &Site<'s>,
    input: Edge<'s, T>,
    metrics: Arc<StepMetrics>,
    step: S,
    order: Order,
    key: impl Fn(&T) -> S::Key + Clone + 'static,
) -> Edge<'s, S::Out> {
    let workers = site.workers();
    let owner_key = key.clone();
    let routed = route(site, input, move |value| owner(&owner_key(value), workers));
    let name = metrics.id.clone();
    let seat = Seat::new(site, workers);
    let mut shell = Shell::new(seat, &site.job, metrics, step, order, key);
    exchanged(routed, &name, move |packet, given| {
        given.extend(shell.take_in(packet));
    })
}

/// Runs `step` on this worker's own records as they arrive, all under the worker's key.
pub(crate) fn local<'s, T: Data, S: KeyedStep<T, Key = LocalKey>>(
    site: &Site<'s>,
    input: Edge<'s, T>,
    metrics: Arc<StepMetrics>,
    step: S,
) -> Edge<'s, S::Out> {
    let name = metrics.id.clone();
    let own = LocalKey::of(site.worker(), site.workers());
    let key = move |_: &T| own;
    let seat = Seat::new(site, 1);
    let mut shell = Shell::new(seat, &site.job, metrics, step, Order::Arrival, key);
    unary(input, &name, move |mut packet, given| {
        packet.from = 0;
        given.extend(shell.take_in(packet));
    })
}

/// The worker that owns a key.
pub(crate) fn owner<K: Key>(key: &K, workers: usize) -> usize {
    KeyGroup::of(key_hash(key)).owner(workers)
}

/// Where a shell stands: the worker, and how many send to it.
#[derive(Clone, Copy)]
struct Seat {
    worker: usize,
    workers: usize,
    inputs: usize,
}

impl Seat {
    fn new(site: &Site<'_>, inputs: usize) -> Self {
        Self {
            worker: site.worker(),
            workers: site.workers(),
            inputs,
        }
    }
}

struct Shell<T: Data, S: KeyedStep<T>, F> {
    seat: Seat,
    clock: crate::clock::Clock,
    metrics: Arc<StepMetrics>,
    step: S,
    key: F,
    state: KeyedState<S::Key, S::State>,
    queue: EventTimeQueue<T>,
    order: Order,
    watermarks: WatermarkMerge,
    emitted: Watermark,
    pen: Pen,
}

impl<T: Data, S: KeyedStep<T>, F: Fn(&T) -> S::Key> Shell<T, S, F> {
    /// Goes on from what the job has restored for the step, or begins anew.
    fn new(
        seat: Seat,
        job: &JobContext,
        metrics: Arc<StepMetrics>,
        step: S,
        order: Order,
        key: F,
    ) -> Self {
        let restored = job.restored.get(&metrics.id);
        let mut shell = Self {
            seat,
            clock: job.options.clock.clone(),
            metrics,
            step,
            key,
            state: KeyedState::default(),
            queue: EventTimeQueue::default(),
            order,
            watermarks: WatermarkMerge::new(seat.inputs),
            emitted: Watermark::START,
            pen: job.telemetry.ledger().pen(),
        };
        if let Some(state) = restored
            && let Err(error) = shell.restore(state)
        {
            job.fail(error.to_string());
        }
        shell
    }

    /// Takes in the key groups that this worker owns now.
    fn restore(&mut self, state: &StepState) -> Result<(), StateError> {
        let id = &self.metrics.id;
        let Seat {
            worker,
            workers,
            inputs,
        } = self.seat;
        let is_own = |group: &KeyGroup| group.owner(workers) == worker;
        for (_, bytes) in state.keys.iter().filter(|(group, _)| is_own(group)) {
            self.state.restore(id, bytes)?;
        }
        let mut waiting = Vec::new();
        for (_, bytes) in state.waiting.iter().filter(|(group, _)| is_own(group)) {
            decode_all(id, bytes, |record| waiting.push(record))?;
        }
        self.queue.push(waiting, |value| self.step.rank(value));
        self.watermarks = state.watermarks.clone().resume(inputs);
        self.emitted = self.watermarks.current();
        self.step.accepts(&self.state).map_err(|reason| {
            let step = id.clone();
            StateError::Refused { step, reason }
        })
    }

    /// What the step must keep over a restart, of its keys only what has changed since the last
    /// call; to be asked between packets.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "what a checkpoint asks every step for")
    )]
    fn take_state(&mut self) -> Result<StepState, postcard::Error> {
        let mut waiting = BTreeMap::new();
        for record in self.queue.waiting() {
            let group = KeyGroup::of(key_hash(&(self.key)(&record.value)));
            encode_to(&mut waiting, group, record)?;
        }
        Ok(StepState {
            keys: self.state.take_changed()?,
            waiting,
            watermarks: self.watermarks.clone(),
        })
    }

    fn take_in(&mut self, packet: Packet<T>) -> Option<Packet<S::Out>> {
        let watermark = self.watermarks.update(packet.from, packet.watermark);
        let taken = packet.records.len();
        let ready = match self.order {
            Order::Arrival => packet.records,
            Order::EventTime => {
                let step = &self.step;
                self.queue
                    .exchange(packet.records, watermark, |value| step.rank(value))
            }
        };
        let oldest_ns = ready.first().map(|record| record.ingested_ns);
        let mut context = Context::new(&mut self.pen, watermark, self.clock.now_ns(), ready.len());
        let mut ready = ready.into_iter();
        let mut keys: Vec<S::Key> = Vec::with_capacity(LOOK_AHEAD);
        while !ready.as_slice().is_empty() {
            let next = &ready.as_slice()[..LOOK_AHEAD.min(ready.len())];
            keys.extend(next.iter().map(|record| (self.key)(&record.value)));
            let touch = |states: &[Option<&S::State>]| self.step.touch(next, states);
            let hashes = self.state.look_ahead(keys.iter(), touch);
            for (key, hash) in keys.drain(..).zip(hashes) {
                let record = ready.next().expect("invariant: each key is a record's");
                let state = self.state.entry_hashed(hash, &key);
                self.step.process(&key, state, record, &mut context);
            }
        }
        if watermark != self.emitted {
            self.step.advance(&mut self.state, &mut context);
        }
        let records = context.into_records();
        let latency_ns = oldest_ns.map(|ns| self.clock.now_ns().saturating_sub(ns));
        self.metrics.packet(taken, records.len(), latency_ns);
        if records.is_empty() && watermark == self.emitted {
            return None;
        }
        self.emitted = watermark;
        Some(Packet {
            from: self.seat.worker,
            to: self.seat.worker,
            records,
            watermark,
        })
    }
}

impl<T: Data, S: KeyedStep<T>, F> Drop for Shell<T, S, F> {
    /// What is still queued when the graph comes down is held.
    fn drop(&mut self) {
        self.queue.hold(&mut self.pen);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::job::{JobOptions, StopHandle};
    use crate::record::{Origin, Record};
    use crate::telemetry::{StepKind, Telemetry};
    use crate::time::EventTime;

    /// Numbers the values of each key, and says at each watermark how many keys there are.
    struct Count {
        refuses: bool,
    }

    type Counted = (i64, u64);

    impl KeyedStep<i64> for Count {
        type Key = i64;
        type State = u64;
        type Out = Counted;

        fn process(
            &mut self,
            _: &i64,
            count: &mut u64,
            record: Record<i64>,
            context: &mut Context<'_, Counted>,
        ) {
            *count += 1;
            let count = *count;
            context.emit(record.map(|value| (value, count)));
        }

        fn accepts(&self, state: &KeyedState<i64, u64>) -> Result<(), String> {
            if self.refuses {
                return Err(format!("{} keys of another day", state.len()));
            }
            Ok(())
        }
    }

    type CountShell = Shell<i64, Count, fn(&i64) -> i64>;

    fn job(restored: Option<StepState>) -> JobContext {
        let telemetry = Arc::new(Telemetry::default());
        let mut job = JobContext::new(JobOptions::default(), telemetry, StopHandle::default());
        job.restored = restored
            .map(|state| ("count".to_owned(), state))
            .into_iter()
            .collect();
        job
    }

    fn shell(job: &JobContext, worker: usize, workers: usize, refuses: bool) -> CountShell {
        let metrics = job.telemetry.step("count", StepKind::Keyed);
        let seat = Seat {
            worker,
            workers,
            inputs: 2,
        };
        let key: fn(&i64) -> i64 = |value| value % 5;
        Shell::new(seat, job, metrics, Count { refuses }, Order::EventTime, key)
    }

    /// A packet of one of two senders: values that are their event times, then its watermark.
    type Sent = (usize, Vec<i64>, i64);

    fn packet(offset: u64, (from, values, watermark): &Sent) -> Packet<i64> {
        let record = |(index, value): (u32, &i64)| Record {
            time: EventTime::from_seconds(*value),
            origin: Origin {
                offset,
                index,
                ..Origin::default()
            },
            ingested_ns: 0,
            value: *value,
        };
        Packet {
            from: *from,
            to: 0,
            records: (0..).zip(values).map(record).collect(),
            watermark: Watermark::active(EventTime::from_seconds(*watermark)),
        }
    }

    /// What comes out packet by packet: records and watermark.
    fn run<'a>(
        shell: &mut CountShell,
        sent: impl IntoIterator<Item = (u64, &'a Sent)>,
    ) -> Vec<(Vec<Record<Counted>>, Watermark)> {
        let packets = sent.into_iter().map(|(offset, sent)| packet(offset, sent));
        let given = packets.filter_map(|packet| shell.take_in(packet));
        given
            .map(|packet| (packet.records, packet.watermark))
            .collect()
    }

    fn numbered(sent: &[Sent]) -> impl Iterator<Item = (u64, &Sent)> {
        (0..).zip(sent)
    }

    fn sent() -> impl Strategy<Value = Vec<Sent>> {
        let values = prop::collection::vec(0..60_i64, 0..6);
        prop::collection::vec((0..2_usize, values, 0..60_i64), 0..12)
    }

    proptest! {
        /// Halted twice, so that what was taken first and what has changed since go together.
        #[test]
        fn what_goes_on_from_taken_state_gives_what_was_never_halted(
            sent in sent(),
            halts in (0..12_usize, 0..12_usize),
        ) {
            let first = halts.0.min(halts.1).min(sent.len());
            let second = halts.0.max(halts.1).min(sent.len());
            let whole = job(None);
            let expected = run(&mut shell(&whole, 0, 1, false), numbered(&sent));

            let before = job(None);
            let mut halted = shell(&before, 0, 1, false);
            let mut found = run(&mut halted, numbered(&sent).take(first));
            let base = halted.take_state().unwrap();
            found.extend(run(&mut halted, numbered(&sent).take(second).skip(first)));
            let mut state = halted.take_state().unwrap();
            for (group, mut bytes) in base.keys {
                bytes.append(state.keys.entry(group).or_default());
                state.keys.insert(group, bytes);
            }
            let bytes = postcard::to_allocvec(&state).unwrap();
            let state = postcard::from_bytes(&bytes).unwrap();

            let after = job(Some(state));
            let mut resumed = shell(&after, 0, 1, false);
            found.extend(run(&mut resumed, numbered(&sent).skip(second)));
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn more_workers_share_what_one_has_left() {
        let sent: Vec<Sent> = vec![(0, (0..20).collect(), 12), (1, vec![], 7)];
        let end: Vec<Sent> = vec![(0, vec![], 60), (1, vec![], 60)];
        let before = job(None);
        let mut one = shell(&before, 0, 1, false);
        run(&mut one, numbered(&sent));
        let state = one.take_state().unwrap();
        let mut expected: Vec<_> = run(&mut one, numbered(&end))
            .into_iter()
            .flat_map(|g| g.0)
            .collect();
        assert_eq!(expected.len(), 13, "from second 7 on they have waited");

        let after = job(Some(state));
        let mut found = Vec::new();
        let mut keys = Vec::new();
        for worker in 0..3 {
            let mut shell = shell(&after, worker, 3, false);
            keys.push(shell.state.len());
            found.extend(
                run(&mut shell, numbered(&end))
                    .into_iter()
                    .flat_map(|given| given.0),
            );
        }
        assert_eq!(keys.iter().sum::<usize>(), 5);
        assert!(keys.iter().all(|keys| *keys < 5), "{keys:?}");
        found.sort_by_key(|record| record.value);
        expected.sort_by_key(|record| record.value);
        assert_eq!(found, expected);
    }

    #[test]
    fn state_that_cannot_be_used_fails_the_job_by_the_steps_name() {
        let before = job(None);
        let mut one = shell(&before, 0, 1, false);
        run(&mut one, numbered(&[(0, vec![1, 2], 3), (1, vec![], 3)]));
        let good = one.take_state().unwrap();
        let mut broken = good.clone();
        broken.keys.insert(KeyGroup(3), vec![0xff]);
        for (state, refuses, reason) in [
            (
                good,
                true,
                "state of step `count` cannot be used: 2 keys of another day",
            ),
            (broken, false, "state of step `count` cannot be decoded"),
        ] {
            let after = job(Some(state));
            shell(&after, 0, 1, refuses);
            let failure = after.failure().unwrap();
            assert!(failure.starts_with(reason), "{failure}");
        }
    }
}
