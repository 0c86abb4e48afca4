//! Runs `join_latest` on real workers, tick by tick, to the end of input or to a cut.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Barrier, Mutex};

use timely::dataflow::operators::{Input, Inspect, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;

use super::keyed::Seat;
use super::latest_join::LatestJoin;
use super::relation::run;
use super::stateful::TakeState;
use super::{Site, Tick};
use crate::job::{JobContext, JobOptions, StopHandle};
use crate::record::{Origin, Packet, Record};
use crate::relation::Change;
use crate::step_state::{RestoredStates, StepState};
use crate::telemetry::{StepKind, Telemetry};
use crate::time::{EventTime, secs};
use crate::watermark::Watermark;

/// The horizon in seconds where a run names no other.
pub(super) const HORIZON: u64 = 10;

/// What happens in a tick: facts and values as (key, seconds, value), then the watermark's seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Step {
    pub(super) left: Vec<(u64, i64, i64)>,
    pub(super) right: Vec<(u64, i64, i64)>,
    pub(super) watermark: i64,
    /// Whether the next step belongs to the same tick.
    pub(super) goes_on: bool,
}

pub(super) type Seen = Vec<(Tick, usize, Packet<Change<u64, i64, i64>>)>;

pub(super) struct Run {
    pub(super) workers: usize,
    pub(super) steps: Vec<Step>,
    /// Whether workers wait for each other at the end of each tick.
    pub(super) lockstep: bool,
    pub(super) horizon: u64,
    pub(super) restored: Option<StepState>,
    /// How many records have been given before.
    pub(super) given: u64,
    /// Ends after the last step, not at the end of input, with the state of then; what the state
    /// was after so many steps goes before what has changed since.
    pub(super) cut: Option<usize>,
}

impl Run {
    pub(super) fn to_end(workers: usize, steps: Vec<Step>) -> Self {
        Self {
            workers,
            steps,
            lockstep: true,
            horizon: HORIZON,
            restored: None,
            given: 0,
            cut: None,
        }
    }
}

pub(super) struct Done {
    pub(super) seen: Seen,
    pub(super) telemetry: Arc<Telemetry>,
    /// What all workers have left, after a cut.
    pub(super) state: Option<StepState>,
    pub(super) failure: Option<String>,
}

pub(super) fn execute(plan: Run) -> Done {
    let telemetry = Arc::new(Telemetry::default());
    let stop = StopHandle::default();
    let mut job = JobContext::new(JobOptions::default(), Arc::clone(&telemetry), stop);
    let restored = plan.restored.clone();
    let restored = restored.map(|state| ("join".to_owned(), state));
    job.restored = RestoredStates::new(restored.into_iter().collect());
    let job = Arc::new(job);
    let (seen, left): (Arc<Mutex<Seen>>, Arc<Mutex<Vec<_>>>) = Default::default();
    let workers = plan.workers;
    let config = match workers {
        1 => timely::Config::thread(),
        n => timely::Config::process(n),
    };
    let shared = (Arc::clone(&job), Arc::clone(&seen), Arc::clone(&left));
    let barrier = Barrier::new(workers);
    let guards = timely::execute(config, move |worker| {
        let (job, seen, left) = &shared;
        let state = work(worker, &plan, job, seen, &barrier);
        left.lock().unwrap().extend(state);
    })
    .unwrap();
    for guard in guards.join() {
        guard.unwrap();
    }
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    check_packets(&seen, workers);
    let left = std::mem::take(&mut *left.lock().unwrap());
    Done {
        seen,
        telemetry,
        state: left.into_iter().reduce(together),
        failure: job.failure(),
    }
}

/// Whatever the run, each worker gives one packet a tick, in order.
fn check_packets(seen: &Seen, workers: usize) {
    for worker in 0..workers {
        let mine: Vec<_> = seen.iter().filter(|(_, w, _)| *w == worker).collect();
        let in_order = mine
            .windows(2)
            .all(|p| p[0].0 < p[1].0 && p[0].2.watermark.time <= p[1].2.watermark.time);
        assert!(in_order, "one packet per tick, in order");
        assert!(mine.iter().all(|p| p.2.from == worker && p.2.to == worker));
        for (_, _, packet) in &mine {
            assert!(packet.records.is_sorted_by_key(|r| (r.time, r.origin)));
        }
    }
}

/// What two workers have left, as one.
fn together(mut one: StepState, other: StepState) -> StepState {
    for (group, bytes) in other.keys {
        assert!(
            one.keys.insert(group, bytes).is_none(),
            "one owner of {group:?}"
        );
    }
    one.waiting.extend(other.waiting);
    assert_eq!(one.watermarks, other.watermarks);
    one
}

/// One worker's part of a run; gives its state if the run is cut.
fn work(
    worker: &mut Worker,
    plan: &Run,
    job: &Arc<JobContext>,
    seen: &Arc<Mutex<Seen>>,
    barrier: &Barrier,
) -> Option<StepState> {
    let mut left = InputHandle::<Tick, _>::new();
    let mut right = InputHandle::<Tick, _>::new();
    let probe = ProbeHandle::new();
    let (index, peers) = (worker.index(), worker.peers());
    let seat = Seat {
        worker: index,
        workers: peers,
        inputs: 2 * peers,
        is_local: false,
    };
    let metrics = job.telemetry.step("join", StepKind::Keyed);
    let join = LatestJoin::new(seat, job, metrics, secs(plan.horizon));
    let join = Rc::new(RefCell::new(join));
    let out = Arc::clone(seen);
    worker.dataflow::<Tick, _, _>(|scope| {
        let site = Site {
            scope,
            job: Arc::clone(job),
            probe: probe.clone(),
            epochs: None,
            planning: false,
        };
        let (l, r) = (scope.input_from(&mut left), scope.input_from(&mut right));
        run::<u64, i64, i64>(&site, l, r, &join)
            .inspect_core(move |event| {
                if let Ok((stamp, packets)) = event {
                    let tick = *stamp.expect_singleton();
                    let packets = packets.iter().map(|p| (tick, index, p.clone()));
                    out.lock().unwrap().extend(packets);
                }
            })
            .probe_with(&probe);
    });
    let mut state: Option<StepState> = None;
    let mut take = || {
        let taken = join.borrow_mut().take_state(Tick::MAX).unwrap();
        match &mut state {
            Some(state) => state.extend(taken),
            None => state = Some(taken),
        }
    };
    let mut pen = job.telemetry.ledger().pen();
    let mut given = plan.given;
    let mut tick = 1;
    if plan.lockstep {
        left.advance_to(tick);
        right.advance_to(tick);
        while probe.less_than(&tick) {
            worker.step();
        }
    }
    tick = 10;
    for (n, step) in plan.steps.iter().enumerate() {
        if plan.cut == Some(n) {
            take();
        }
        left.advance_to(tick);
        right.advance_to(tick);
        let watermark = Watermark::active(EventTime::from_seconds(step.watermark));
        let mut records = |source: u16, events: &[(u64, i64, i64)]| {
            let mut mine = Vec::new();
            for &event in events {
                given += 1;
                if given as usize % peers == index {
                    let record = record(source, given, event);
                    pen.read(record.origin);
                    mine.push(record);
                }
            }
            mine
        };
        left.send(Packet::local(index, records(0, &step.left), watermark));
        right.send(Packet::local(index, records(1, &step.right), watermark));
        if step.goes_on {
            left.flush();
            right.flush();
            (0..5).for_each(|_| {
                worker.step();
            });
            continue;
        }
        if plan.lockstep {
            left.advance_to(tick + 1);
            right.advance_to(tick + 1);
            while probe.less_equal(&tick) {
                worker.step();
            }
        } else if (n + index) % 3 == 0 {
            worker.step();
        }
        tick += 10;
    }
    if plan.cut.is_some() {
        // What all have sent is to be with its owner.
        barrier.wait();
        (0..20).for_each(|_| {
            worker.step();
        });
        barrier.wait();
        take();
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
        return state;
    }
    left.send(Packet::local(index, Vec::new(), Watermark::END));
    right.send(Packet::local(index, Vec::new(), Watermark::END));
    None
}

pub(super) fn record(
    source: u16,
    offset: u64,
    (key, at, value): (u64, i64, i64),
) -> Record<(u64, i64)> {
    Record {
        time: EventTime::from_seconds(at),
        origin: Origin {
            source,
            offset,
            ..Origin::default()
        },
        ingested_ns: offset,
        value: (key, value),
    }
}
