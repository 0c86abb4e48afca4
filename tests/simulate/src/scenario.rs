//! One simulation: a job is started, interrupted, started again, and comes to its end at last.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thalweg_engine::checkpoint::{CheckpointOptions, Checkpoints, Location, Manifest};
use thalweg_engine::job::{JobOptions, Order};
use thalweg_engine::simulation::{Defect, Process, Running, Turns, pass};
use thalweg_engine::telemetry::Telemetry;
use thalweg_engine::testing::{SimulatedStore, StoreFaults};
use thalweg_engine::{Checkpointing, RunError, run};

use crate::broker::{Broker, Faults};
use crate::input::Input;
use crate::oracle::Expected;
use crate::pipeline::{TRANSACTIONAL, build};
use crate::place::Place;
use crate::random::Random;

/// The points before and after every durable step.
pub(crate) const POINTS: [&str; 7] = [
    "before part",
    "after part",
    "before seal",
    "after seal",
    "before publish",
    "after publish",
    "after letters",
];
/// After how many turns a job that is not through is stopped.
const TURNS_MAX: u64 = 40_000;
/// How often a job is started, at most, to come to its end.
const STARTS_MAX: usize = 30;
/// Why a run may end by itself: for each of these it is right to start again.
const RIGHT_ENDS: [&str; 5] = [
    "the simulated store is away",
    "there is no room",
    "another producer has taken over",
    "the process was killed",
    "has been superseded",
];

/// What interrupts a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Interruption {
    /// It is killed after so many turns.
    Kill { turns: u64 },
    /// It is killed at a point, when it comes there for the n-th time.
    KillAt { point: &'static str, times: u64 },
    /// It is halted after so many turns, and goes on so many later, when another one has started.
    Halt { turns: u64, for_turns: u64 },
    /// Likewise, but nobody else starts.
    Stall { turns: u64, for_turns: u64 },
}

/// How a simulation has ended.
pub(crate) struct Outcome {
    pub(crate) failure: Option<String>,
    pub(crate) trace: u64,
    pub(crate) lines: Vec<String>,
    pub(crate) turns: u64,
    /// How often a run was interrupted.
    pub(crate) interrupted: usize,
}

/// Simulates what a seed says; where `interruptions` are given, with these.
pub(crate) fn simulate(
    seed: u64,
    defect: Option<Defect>,
    interruptions: Option<&[Interruption]>,
    keeps_trace: bool,
) -> Outcome {
    let turns = Turns::new(seed, defect, keeps_trace);
    let (ended, interrupted) = turns.run(|| {
        let mut scenario = Scenario::new(seed, &turns, interruptions);
        let ended = scenario.play();
        scenario.leave();
        (ended, scenario.interrupted)
    });
    Outcome {
        failure: ended.err(),
        trace: turns.trace(),
        lines: turns.take_lines(),
        turns: turns.turns(),
        interrupted,
    }
}

/// A job that has been started.
struct Started {
    process: Process,
    running: Running,
    since: u64,
    ended: Arc<Mutex<Option<Result<(), RunError>>>>,
}

impl Started {
    fn outcome(self) -> Result<(), String> {
        if self.running.join().is_err() {
            return Err("a thread panicked".to_owned());
        }
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = ended.take().expect("invariant: it has ended");
        ended.map_err(|error| error.to_string())
    }
}

struct Scenario {
    random: Random,
    turns: Turns,
    inputs: [Input; 2],
    order: Order,
    broker: Broker,
    place: Place,
    store_faults: StoreFaults,
    interruptions: Vec<Interruption>,
    /// Before which start a part is damaged for a while.
    damage_at: Option<usize>,
    /// Whether a partition is still to come.
    has_late_partition: bool,
    /// Whether what is published comes in the order of the events: not so where one partition begins
    /// when others have gone on without it.
    is_ordered: bool,
    /// One that goes on though another one has started.
    zombies: Vec<(Started, u64)>,
    interrupted: usize,
}

impl Scenario {
    fn new(seed: u64, turns: &Turns, interruptions: Option<&[Interruption]>) -> Self {
        let mut random = Random(seed ^ 0x5eed);
        let clock = turns.clock();
        let inputs = [0, 1].map(|number| Input::draw(number, &mut random, clock.clone()));
        let order = match random.below(4) {
            0 => Order::Arrival,
            _ => Order::EventTime,
        };
        let broker_faults = match random.below(3) {
            0 => Faults::default(),
            _ => Faults {
                lost: random.below(30),
                reply_lost: random.below(30),
                delayed: random.below(120),
                tried_again: random.below(500),
            },
        };
        let mut share = |most: u64| random.below(most) as f64 / 100.0;
        let store_faults = StoreFaults {
            fails: share(6),
            loses_reply: share(6),
            delays: share(6),
            is_full: share(3),
        };
        let drawn = || {
            let count = 1 + random.below(3);
            (0..count).map(|_| draw(&mut random)).collect()
        };
        let interruptions: Vec<_> = interruptions.map_or_else(drawn, <[_]>::to_vec);
        let damage_at = random.permille(250).then(|| 1 + random.below(2) as usize);
        let has_late_partition = random.permille(400);
        Self {
            inputs,
            order,
            is_ordered: order == Order::EventTime && !has_late_partition,
            has_late_partition,
            broker: Broker::new(seed, broker_faults, turns.clone()),
            place: Place::new(SimulatedStore::new(seed), turns.clone()),
            store_faults,
            interruptions,
            damage_at,
            zombies: Vec::new(),
            turns: turns.clone(),
            random,
            interrupted: 0,
        }
    }

    fn options(&self) -> CheckpointOptions {
        CheckpointOptions {
            interval: Duration::from_millis(2),
            retain: 2,
            // Some changes are merged, some go with a base that the worker takes.
            changes_bytes_min: 1_000,
            parts_per_base: 3,
            ..CheckpointOptions::new(Location::store(Arc::new(self.place.clone())))
        }
    }

    fn start(&mut self) -> Result<Started, String> {
        self.place.store.set_faults(self.store_faults);
        let process = Process::default();
        let options = JobOptions {
            workers: 1 + self.random.below(3) as usize,
            order: self.order,
            batch_records: 1 + self.random.below(6) as usize,
            tick: Duration::from_millis(1),
            clock: self.turns.clock().clone(),
            checkpoints: Some(Checkpointing::new("simulated", self.options())),
            ..JobOptions::default()
        };
        self.turns
            .note(&format!("start with {} workers", options.workers));
        let (stop, flow) = (process.stop_handle(), build(&self.inputs, &self.broker));
        let ended = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&ended);
        let running = self.turns.spawn(&process, move || {
            let outcome = run(options, Arc::new(Telemetry::default()), stop, flow);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        });
        Ok(Started {
            process,
            running: running.map_err(|error| error.to_string())?,
            since: self.turns.turns(),
            ended,
        })
    }

    fn play(&mut self) -> Result<(), String> {
        let mut planned = std::mem::take(&mut self.interruptions).into_iter();
        for start in 0..STARTS_MAX {
            if self.damage_at == Some(start) {
                self.check_damage()?;
            }
            let started = self.start()?;
            let interruption = planned.next();
            if self.accompany(started, interruption)? {
                return self.expected().check(&self.broker, &self.place.store);
            }
        }
        Err(format!("it has not come to its end in {STARTS_MAX} starts"))
    }

    /// What should be there in the end: nothing is known of it before all partitions are there.
    fn expected(&self) -> Expected {
        Expected::of(&self.inputs, self.is_ordered)
    }

    /// Sees a run to its end, or interrupts it; whether it has come to a good end.
    fn accompany(
        &mut self,
        started: Started,
        interruption: Option<Interruption>,
    ) -> Result<bool, String> {
        if let Some(Interruption::KillAt { point, times }) = interruption {
            started.process.kill_at(point, times);
        }
        let mut expected = self.expected();
        let mut goes_on_at = None;
        while !started.running.is_over() {
            let age = self.turns.turns() - started.since;
            match interruption {
                Some(Interruption::Kill { turns }) if age >= turns => {
                    self.turns.note("killed");
                    started.process.kill();
                }
                Some(Interruption::Halt { turns, for_turns }) if age >= turns => {
                    self.turns.note("halted");
                    started.process.halt(true);
                    let until = self.turns.turns() + for_turns;
                    self.zombies.push((started, until));
                    self.interrupted += 1;
                    return Ok(false);
                }
                Some(Interruption::Stall { turns, for_turns })
                    if age >= turns && goes_on_at.is_none() =>
                {
                    self.turns.note("stalled");
                    started.process.halt(true);
                    goes_on_at = Some(age + for_turns);
                }
                _ => {}
            }
            if goes_on_at.is_some_and(|at| age >= at) {
                started.process.halt(false);
            }
            if started.process.is_killed() {
                break;
            }
            if self.look_after() {
                expected = self.expected();
            }
            let is_through = !self.has_late_partition && expected.is_there(&self.broker);
            if is_through || age > TURNS_MAX {
                self.has_late_partition = false;
                started.process.stop_handle().stop();
            }
            if age > 2 * TURNS_MAX {
                started.process.kill();
                return Err("it does not end when it is stopped".to_owned());
            }
            self.rest();
        }
        let was_killed = started.process.is_killed();
        let outcome = started.outcome();
        if was_killed {
            self.interrupted += 1;
            self.place.crash();
            return Ok(false);
        }
        self.judge(outcome)
    }

    /// Whether the end of a run is a good one; a failure where it is a wrong one.
    fn judge(&self, outcome: Result<(), String>) -> Result<bool, String> {
        match outcome {
            Ok(()) => Ok(true),
            Err(reason) if is_right(&reason) => {
                self.turns.note(&format!("ended: {reason}"));
                Ok(false)
            }
            Err(reason) => Err(format!("a run ends: {reason}")),
        }
    }

    /// Lets others have their turns.
    fn rest(&self) {
        for _ in 0..4 {
            pass();
        }
    }

    /// Wakes zombies, and adds the partition that is still to come; whether there are more now.
    fn look_after(&mut self) -> bool {
        let now = self.turns.turns();
        for (zombie, until) in &mut self.zombies {
            if now >= *until {
                *until = u64::MAX;
                self.turns.note("goes on");
                zombie.process.halt(false);
            }
        }
        let is_due = self.has_late_partition && !self.broker.published(TRANSACTIONAL).is_empty();
        if is_due {
            self.turns.note("a new partition");
            self.has_late_partition = false;
            self.inputs[0].add_partition();
        }
        is_due
    }

    /// Damages a part that is needed: nothing may start from it, and the file must be named.
    fn check_damage(&mut self) -> Result<(), String> {
        let store = self.place.store.clone();
        let Some(manifest) = self.newest()? else {
            return Ok(());
        };
        let parts = manifest.parts().filter(|part| !part.groups.is_empty());
        let parts: Vec<_> = parts.map(|part| part.file.clone()).collect();
        if parts.is_empty() {
            return Ok(());
        }
        let file = &parts[self.random.below(parts.len() as u64) as usize];
        let whole = store.objects().remove(file);
        let whole = whole.ok_or_else(|| format!("{file} is missing"))?;
        let mut damaged = whole.clone();
        let bit = damaged.len() * 6 + self.random.below(damaged.len() as u64 * 2) as usize;
        damaged[bit / 8] ^= 1 << (bit % 8);
        self.turns.note(&format!("damaged {file}"));
        store.put(file, Some(damaged));
        let faults = std::mem::take(&mut self.store_faults);
        let started = self.start()?;
        while !started.running.is_over() && self.turns.turns() < started.since + TURNS_MAX / 8 {
            self.rest();
        }
        let has_started = !started.running.is_over();
        started.process.kill();
        let outcome = started.outcome();
        self.store_faults = faults;
        store.put(file, Some(whole));
        match outcome {
            Err(reason) if !has_started && reason.contains(file.as_str()) => Ok(()),
            // It has lost its place to one before, and not looked at the parts.
            Err(reason) if !has_started && is_right(&reason) => Ok(()),
            // A manifest that was on its way has come in after all, and does not name the file.
            _ if self.newest()?.and_then(|newest| newest.restored_from) > Some(manifest.epoch) => {
                Ok(())
            }
            outcome => Err(format!("{file} is damaged, but: {outcome:?}")),
        }
    }

    /// The newest checkpoint.
    fn newest(&self) -> Result<Option<Manifest>, String> {
        let location = Location::store(Arc::new(self.place.store.copy()));
        let checkpoints = Checkpoints::open(&CheckpointOptions::new(location), "simulated");
        let newest = checkpoints.and_then(|checkpoints| checkpoints.newest());
        newest.map_err(|error| error.to_string())
    }

    /// Ends whatever still runs.
    fn leave(&mut self) {
        for (zombie, _) in self.zombies.drain(..) {
            zombie.process.kill();
            // It has been judged by what it has published.
            let _ = zombie.outcome();
        }
    }
}

/// Whether a run may end for this reason.
fn is_right(reason: &str) -> bool {
    RIGHT_ENDS.iter().any(|right| reason.contains(right))
}

fn draw(random: &mut Random) -> Interruption {
    let turns = 50 + random.below(2_500);
    let for_turns = 100 + random.below(2_000);
    match random.below(4) {
        0 => Interruption::Kill { turns },
        1 => Interruption::KillAt {
            point: POINTS[random.below(POINTS.len() as u64) as usize],
            times: 1 + random.below(5),
        },
        2 => Interruption::Stall { turns, for_turns },
        _ => Interruption::Halt { turns, for_turns },
    }
}
