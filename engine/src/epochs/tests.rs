//! Jobs that are ended at every durable step, and go on with other workers: what they publish is what
//! a job publishes that is never interrupted.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::outside::{Outside, assert_equal};
use super::{Checkpointing, Failpoint, KEYS};
use crate::checkpoint::{CheckpointOptions, Checkpoints, Epoch, Location, PartKind, PartRef};
use crate::flow::Flow;
use crate::job::{JobOptions, Order, StopHandle};
use crate::keyed::{Context, KeyedStep};
use crate::ledger::{Fate, Fates};
use crate::record::{Origin, Record};
use crate::relation::Change;
use crate::source::{ReadBatch, ReadStatus, Reader, Source, SourceError};
use crate::state::KeyedState;
use crate::telemetry::Telemetry;
use crate::testing::{SimulatedStore, StoreFaults};
use crate::time::{EventTime, secs};
use crate::{BuildResult, RunError, run};

pub(super) const EVENTS: u64 = 1_200;
const PARTITIONS: u32 = 3;
const BATCH: usize = 8;

/// An event: its key, its second, its number.
pub(super) type Event = (u64, i64, u64);

/// Events of several partitions, of which some come late or out of order; read slowly.
#[derive(Clone)]
pub(super) struct Slow {
    pub(super) topic: u64,
    pub(super) is_endless: bool,
}

impl Slow {
    fn event(&self, partition: u32, offset: u64) -> Event {
        let number = offset * u64::from(PARTITIONS) + u64::from(partition);
        let mixed = (number + self.topic * 7_919).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let disorder = (mixed % 9) as i64;
        (mixed % 17, (number / 4) as i64 - disorder, number)
    }
}

struct SlowReader {
    source: Slow,
    partition: u32,
    offset: u64,
}

impl Source<Event> for Slow {
    fn describe(&self) -> String {
        format!("events {}", self.topic)
    }

    fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        Ok((0..PARTITIONS).collect())
    }

    fn partition_name(&self, partition: u32) -> String {
        format!("p{partition}")
    }

    fn open(&self, partition: u32, offset: u64) -> Result<Box<dyn Reader<Event>>, SourceError> {
        Ok(Box::new(SlowReader {
            source: self.clone(),
            partition,
            offset,
        }))
    }
}

impl Reader<Event> for SlowReader {
    fn read(
        &mut self,
        batch: &mut ReadBatch<Event>,
        limit: usize,
    ) -> Result<ReadStatus, SourceError> {
        std::thread::sleep(Duration::from_micros(200));
        let end = match self.source.is_endless {
            true => u64::MAX,
            false => EVENTS / u64::from(PARTITIONS),
        };
        let stop = end.min(self.offset + limit as u64);
        for offset in self.offset..stop {
            batch.push((offset, Ok(self.source.event(self.partition, offset))));
        }
        self.offset = stop;
        Ok(if stop < end {
            ReadStatus::More
        } else {
            ReadStatus::End
        })
    }
}

/// Numbers the events of a key and sums them up.
struct Sum;

impl KeyedStep<Event> for Sum {
    type Key = u64;
    type State = (u64, u64);
    type Out = (u64, u64, u64, u64);

    fn process(
        &mut self,
        key: &u64,
        state: &mut (u64, u64),
        record: Record<Event>,
        context: &mut Context<'_, Self::Out>,
    ) {
        state.0 += 1;
        state.1 += record.value.2;
        let (count, sum) = *state;
        context.emit(record.map(|(_, _, number)| (*key, number, count, sum)));
    }
}

/// Keeps the events of a key until ten of them are there; gives their numbers at once.
struct Tens;

impl KeyedStep<Event> for Tens {
    type Key = u64;
    type State = Vec<(Origin, u64)>;
    type Out = Vec<u64>;

    fn process(
        &mut self,
        _: &u64,
        kept: &mut Vec<(Origin, u64)>,
        record: Record<Event>,
        context: &mut Context<'_, Vec<u64>>,
    ) {
        kept.push((record.origin, record.value.2));
        if kept.len() == 10 {
            let numbers = kept.iter().map(|(_, number)| *number).collect();
            for (origin, _) in kept.drain(..) {
                if origin != record.origin {
                    context.finish(origin, Fate::Processed);
                }
            }
            context.emit(record.map(|_| numbers));
        }
    }

    fn waiting(&self, kept: &Vec<(Origin, u64)>, note: &mut dyn FnMut(Origin)) {
        kept.iter().for_each(|(origin, _)| note(*origin));
    }
}

/// Counts everything, and looks at the count on every worker whenever the watermark moves.
struct Total;

impl KeyedStep<Event> for Total {
    type Key = ();
    type State = u64;
    type Out = (u64, u64);

    fn process(
        &mut self,
        (): &(),
        count: &mut u64,
        record: Record<Event>,
        context: &mut Context<'_, (u64, u64)>,
    ) {
        *count += 1;
        let count = *count;
        context.emit(record.map(|(_, _, number)| (number, count)));
    }

    fn advance(&mut self, state: &mut KeyedState<(), u64>, _: &mut Context<'_, (u64, u64)>) {
        state.entry(&());
    }
}

/// What comes out of the flow.
#[derive(Clone, Default)]
pub(super) struct Outputs {
    sums: Outside<(u64, u64, u64, u64)>,
    tens: Outside<Vec<u64>>,
    totals: Outside<(u64, u64)>,
    met: Outside<(u64, u64, u64)>,
    late: Outside<u64>,
    plain: Outside<u64>,
}

impl Outputs {
    pub(super) fn build(&self, is_endless: bool) -> impl Fn(&mut Flow<'_>) -> BuildResult + use<> {
        let outputs = self.clone();
        move |flow| {
            let read = |id: &str, topic, disorder_s| {
                let source = Slow { topic, is_endless };
                flow.source(id, source)
                    .event_time(|event| EventTime::from_seconds(event.1), secs(disorder_s))
            };
            let (facts, labels) = (read("facts", 1, 6), read("labels", 2, 6));
            // In event-time order some hundreds wait for the sink: more than are taken at once.
            read("plain", 3, 100)
                .map("number", |event| event.2)
                .sink("plain.out", outputs.plain.clone());
            facts
                .clone()
                .key_by(|event| event.0)
                .step("sums", "sums", Sum)
                .sink("sums.out", outputs.sums.clone());
            facts
                .clone()
                .key_by(|event| event.0)
                .step("tens", "tens", Tens)
                .sink("tens.out", outputs.tens.clone());
            facts
                .clone()
                .key_by(|_| ())
                .step("total", "total", Total)
                .sink("total.out", outputs.totals.clone());
            let fact = facts.map("fact", |(_, _, number)| (number, 1_u64));
            let label = labels.map("label", |(key, _, number)| (number, key));
            fact.join_latest("join", label, secs(1_000_000))
                .map("met", |change| match change {
                    Change::Added { key, left, right } => (key, left, right),
                    Change::Revised { key, left, new, .. } => (key, left, new),
                })
                .sink("met.out", outputs.met.clone());
            flow.late("facts")
                .map("late", |late| late.offset)
                .sink("late.out", outputs.late.clone());
            Ok(())
        }
    }

    /// Fails when something is missing here, or there twice, or wrong.
    pub(super) fn assert_same(&self, whole: &Self, when: &str) {
        assert_equal(&self.plain, &whole.plain, when);
        assert_equal(&self.late, &whole.late, when);
        assert_equal(&self.sums, &whole.sums, when);
        assert_equal(&self.tens, &whole.tens, when);
        assert_equal(&self.totals, &whole.totals, when);
        assert_equal(&self.met, &whole.met, when);
    }
}

pub(super) fn options(workers: usize, order: Order, store: Option<&SimulatedStore>) -> JobOptions {
    let checkpoints = store.map(|store| {
        let location = Location::store(Arc::new(store.clone()));
        let options = CheckpointOptions {
            interval: Duration::from_millis(3),
            retain: 3,
            changes_bytes_min: 1_000,
            parts_per_base: 4,
            ..CheckpointOptions::new(location)
        };
        Checkpointing::new("test", options)
    });
    JobOptions {
        workers,
        order,
        batch_records: BATCH,
        in_flight_max: 64,
        tick: Duration::from_millis(1),
        checkpoints,
        ..JobOptions::default()
    }
}

pub(super) fn ended(
    options: JobOptions,
    outputs: &Outputs,
    stop: &StopHandle,
    is_endless: bool,
) -> (Result<(), RunError>, Fates) {
    let telemetry = Arc::new(Telemetry::default());
    let build = outputs.build(is_endless);
    let outcome = run(options, Arc::clone(&telemetry), stop.clone(), build);
    (outcome, telemetry.ledger().fates())
}

pub(super) fn to_end(options: JobOptions, outputs: &Outputs) -> Fates {
    let (outcome, fates) = ended(options, outputs, &StopHandle::default(), false);
    outcome.unwrap();
    assert!(fates.balance(), "{fates:?}");
    fates
}

pub(super) const FAILPOINTS: [&str; 6] = [
    "before part",
    "after part",
    "before seal",
    "after seal",
    "before publish",
    "after publish",
];

/// Ends a job at each of these points, then has it come to its end.
fn check_interrupted(order: Order, ends: &[(usize, u64, usize)], faults: StoreFaults, seed: u64) {
    let whole = Outputs::default();
    to_end(options(1, order, None), &whole);
    let (store, outputs) = (SimulatedStore::new(seed), Outputs::default());
    let mut hits = 0;
    for (failpoint, times, workers) in ends {
        store.set_faults(faults);
        let mut options = options(*workers, order, Some(&store));
        let point = Failpoint::at(FAILPOINTS[*failpoint], *times);
        if let Some(checkpoints) = &mut options.checkpoints {
            checkpoints.failpoint = point;
        }
        match ended(options, &outputs, &StopHandle::default(), false).0 {
            Ok(()) => {}
            // A job does not start where its checkpoints cannot be reached.
            Err(error) if error.to_string().contains("is away") => {
                assert!(matches!(error, RunError::Failed(_)), "{error:?}");
            }
            Err(error) => {
                assert!(error.to_string().starts_with("failpoint"), "{error}");
                hits += 1;
            }
        }
    }
    store.set_faults(StoreFaults::default());
    to_end(options(2, order, Some(&store)), &outputs);
    outputs.assert_same(&whole, &format!("after {hits} interruptions at {ends:?}"));
}

#[test]
fn a_job_with_checkpoints_gives_what_one_without_gives_and_seals_its_epochs() {
    for (workers, order) in [(1, Order::EventTime), (3, Order::EventTime)] {
        let whole = Outputs::default();
        to_end(options(workers, order, None), &whole);
        let (store, outputs) = (SimulatedStore::new(1), Outputs::default());
        let with = options(workers, order, Some(&store));
        let checkpoints = with.checkpoints.clone().unwrap();
        to_end(with, &outputs);
        outputs.assert_same(&whole, "at the end");
        let kept = Checkpoints::open(&checkpoints.options, "test").unwrap();
        let newest = kept.newest().unwrap().unwrap();
        assert!(newest.epoch > Epoch(3), "{}", newest.epoch);
        let read: u64 = newest
            .source("facts")
            .unwrap()
            .partitions
            .iter()
            .map(|p| p.offset)
            .sum();
        assert_eq!(read, EVENTS);
        assert!(newest.step("sums").is_some() && newest.step("join").is_some());
        let is_later_base = |part: &PartRef| part.kind == PartKind::Base && part.epoch > Epoch(2);
        let keys = newest.parts().filter(|part| part.content == KEYS);
        let bases = keys.filter(|part| is_later_base(part)).count();
        assert!(
            bases > 0,
            "most keys change in each epoch, so the workers take bases"
        );
        // Once more: there is nothing left to do.
        let again = to_end(options(workers, order, Some(&store)), &outputs);
        outputs.assert_same(&whole, "at the end");
        assert!(again.records_in < EVENTS, "{again:?}");
    }
}

#[test]
fn a_job_that_is_stopped_goes_on_where_it_was() {
    let whole = Outputs::default();
    to_end(options(2, Order::EventTime, None), &whole);
    let (store, outputs) = (SimulatedStore::new(1), Outputs::default());
    for workers in [1, 3, 2] {
        let stop = StopHandle::default();
        let own = stop.clone();
        let timer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(15));
            own.stop();
        });
        let with = options(workers, Order::EventTime, Some(&store));
        let (outcome, fates) = ended(with, &outputs, &stop, false);
        outcome.unwrap();
        assert!(fates.balance(), "{fates:?}");
        timer.join().unwrap();
    }
    to_end(options(1, Order::EventTime, Some(&store)), &outputs);
    outputs.assert_same(&whole, "at the end");
}

#[test]
fn what_is_lost_outside_ends_the_run_instead_of_being_published_again() {
    let (store, outputs) = (SimulatedStore::new(1), Outputs::default());
    let go_on = |stop: &StopHandle| {
        let with = options(2, Order::EventTime, Some(&store));
        ended(with, &outputs, stop, true).0
    };
    let published = || outputs.sums.newest();
    let stop = StopHandle::default();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| go_on(&stop));
        // So many that some have been published before the last one was closed.
        while !running.is_finished() && published() < Some(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.stop();
        running.join().unwrap().unwrap();
    });
    outputs.sums.clear();
    let outcome = go_on(&StopHandle::default());
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("sink `sums.out`"), "{error}");
    assert!(error.contains("is lost"), "{error}");
    assert!(outputs.sums.values().is_empty());
}

#[test]
fn ended_at_each_durable_step_it_publishes_everything_once() {
    for failpoint in 0..FAILPOINTS.len() {
        let ends = [
            (failpoint, 1, 1),
            (failpoint, 3, 2),
            (failpoint, 7, 3),
            (failpoint, 2, 2),
        ];
        check_interrupted(Order::EventTime, &ends, StoreFaults::default(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn ended_anywhere_with_a_store_that_fails_it_publishes_everything_once(
        ends in prop::collection::vec((0..FAILPOINTS.len(), 1..12_u64, 1..4_usize), 1..6),
        fails in prop_oneof![Just(0.0), Just(0.05)],
        seed: u64,
    ) {
        let faults = StoreFaults { fails, loses_reply: fails, ..StoreFaults::default() };
        check_interrupted(Order::EventTime, &ends, faults, seed);
    }
}
