//! Threads that take turns, in an order that comes from a seed.
//!
//! Each has a seat, and one of them the turn. So a run is a function of its seed, as long as nobody
//! looks at the wall clock or waits otherwise than by passing the turn on.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Defect, Thread};
use crate::clock::Clock;
use crate::job::StopHandle;
use crate::time::EventTime;

thread_local! {
    static SEAT: RefCell<Option<Own>> = const { RefCell::new(None) };
}

/// How long a turn takes at most, in microseconds of the simulated clock.
const TURN_US_MAX: u64 = 20;
/// How often one that found nothing is passed over, out of this many times.
const PASSED_OVER_OF: u64 = 8;
/// One thread is held up in so many turns, for up to so many.
const HELD_UP_EVERY: u64 = 256;
const HELD_UP_TURNS_MAX: u64 = 400;

/// A simulation: its clock, and who has the turn.
#[derive(Clone)]
pub struct Turns(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    clock: Clock,
    defect: Option<Defect>,
}

struct State {
    random: u64,
    seats: Vec<Place>,
    /// Those that are not over.
    open: Vec<usize>,
    current: usize,
    turns: u64,
    trace: u64,
    /// What has been noted; none where nobody wants to read it.
    lines: Option<Vec<String>>,
}

struct Place {
    called: Arc<Condvar>,
    process: Process,
    /// It last found nothing to do.
    is_idle: bool,
    /// The turn before which it gets none.
    held_up_until: u64,
}

/// What a thread knows of its own seat.
#[derive(Clone)]
struct Own {
    turns: Turns,
    index: usize,
    process: Process,
}

/// A simulated process: its threads, and those that they start, can be killed and halted together.
#[derive(Clone, Default)]
pub struct Process(Arc<Control>);

#[derive(Default)]
struct Control {
    is_killed: AtomicBool,
    is_halted: AtomicBool,
    stop: StopHandle,
    /// At which point it is to be killed, and after how often coming by.
    point: Mutex<Option<(String, u64)>>,
}

impl Process {
    /// What its job is to be run with.
    pub fn stop_handle(&self) -> StopHandle {
        self.0.stop.clone()
    }

    /// Kills it: nothing that its threads still do has any effect outside.
    pub fn kill(&self) {
        self.0.is_killed.store(true, Ordering::SeqCst);
        self.0.stop.stop();
        self.halt(false);
    }

    /// Whether it has been killed.
    pub fn is_killed(&self) -> bool {
        self.0.is_killed.load(Ordering::SeqCst)
    }

    /// Has its threads wait, or go on.
    pub fn halt(&self, is_halted: bool) {
        self.0.is_halted.store(is_halted, Ordering::SeqCst);
    }

    /// Has it killed when it comes to a point of this name for the n-th time, from 1.
    pub fn kill_at(&self, point: &str, times: u64) {
        *lock(&self.0.point) = Some((point.to_owned(), times));
    }
}

impl Turns {
    /// A simulation in which nothing has happened; `keeps_trace` for one that can be read.
    pub fn new(seed: u64, defect: Option<Defect>, keeps_trace: bool) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                random: seed,
                seats: Vec::new(),
                open: Vec::new(),
                current: 0,
                turns: 0,
                trace: 0,
                lines: keeps_trace.then(Vec::new),
            }),
            clock: Clock::manual(EventTime::from_seconds(0)),
            defect,
        }))
    }

    /// Runs `body` on this thread, which has the first turn. All threads that it starts must have ended
    /// before it does.
    pub fn run<R>(&self, body: impl FnOnce() -> R) -> R {
        let _seat = self.reserve(Process::default()).take();
        body()
    }

    /// Starts a thread of a process.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn spawn(
        &self,
        process: &Process,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Running> {
        let reserved = self.reserve(process.clone());
        let seat = reserved.watch();
        let seated = move || {
            let _seat = reserved.take();
            body();
        };
        let handle = std::thread::Builder::new().spawn(seated)?;
        Ok(Running(Thread { handle, seat }))
    }

    fn reserve(&self, process: Process) -> Reserved {
        let mut state = lock(&self.0.state);
        let index = state.seats.len();
        state.open.push(index);
        state.seats.push(Place {
            called: Arc::default(),
            process: process.clone(),
            is_idle: false,
            held_up_until: 0,
        });
        Reserved {
            own: Some(Own {
                turns: self.clone(),
                index,
                process,
            }),
            is_over: Arc::default(),
        }
    }

    /// The simulated clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// A number from the seed.
    pub fn random(&self) -> u64 {
        lock(&self.0.state).random()
    }

    /// How many turns there have been.
    pub fn turns(&self) -> u64 {
        lock(&self.0.state).turns
    }

    /// A number that two runs share only when the same has happened in both, in the same order.
    pub fn trace(&self) -> u64 {
        lock(&self.0.state).trace
    }

    /// Takes what has been noted.
    pub fn take_lines(&self) -> Vec<String> {
        let lines = &mut lock(&self.0.state).lines;
        lines.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Notes in the trace what happens.
    pub fn note(&self, line: &str) {
        let mut state = lock(&self.0.state);
        state.mix(xxhash_rust::xxh3::xxh3_64(line.as_bytes()));
        let (turns, current) = (state.turns, state.current);
        if let Some(lines) = &mut state.lines {
            lines.push(format!("{turns:>7} thread {current:>3}  {line}"));
        }
    }
}

/// A thread that has been started.
pub struct Running(Thread);

impl Running {
    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.0.seat.is_over()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it has panicked.
    pub fn join(self) -> std::thread::Result<()> {
        self.0.join()
    }
}

impl State {
    /// The next number (splitmix64).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn mix(&mut self, value: u64) {
        self.trace = (self.trace.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// Gives the turn to somebody.
    fn pass(&mut self, clock: &Clock) {
        self.turns += 1;
        clock.advance(Duration::from_micros(self.random() % TURN_US_MAX));
        // Never the first, which looks after the others.
        if self.current > 0 && self.random().is_multiple_of(HELD_UP_EVERY) {
            let turns = self.random() % HELD_UP_TURNS_MAX;
            self.seats[self.current].held_up_until = self.turns + turns;
        }
        let next = loop {
            let any = self.random();
            let index = self.open[(any % self.open.len() as u64) as usize];
            let place = &self.seats[index];
            let is_halted = place.process.0.is_halted.load(Ordering::Relaxed);
            let is_held_up = place.held_up_until > self.turns;
            let is_passed_over = place.is_idle && !(any >> 32).is_multiple_of(PASSED_OVER_OF);
            if !is_halted && !is_held_up && !is_passed_over {
                break index;
            }
        };
        self.mix(next as u64);
        self.current = next;
    }
}

/// A seat that no thread has taken yet; none where threads take no turns.
pub(crate) struct Reserved {
    own: Option<Own>,
    is_over: Arc<AtomicBool>,
}

impl Reserved {
    pub(super) fn watch(&self) -> Watch {
        Watch(self.own.is_some().then(|| Arc::clone(&self.is_over)))
    }

    /// Takes it, and waits for the first turn.
    pub(super) fn take(self) -> Seat {
        SEAT.set(self.own.clone());
        if let Some(own) = &self.own {
            own.wait(lock(&own.turns.0.state));
        }
        Seat(self)
    }
}

impl Own {
    fn wait(&self, mut state: MutexGuard<'_, State>) {
        if state.current == self.index {
            return;
        }
        let called = Arc::clone(&state.seats[self.index].called);
        while state.current != self.index {
            state = called.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Tells whether a thread has given its seat up.
pub(super) struct Watch(Option<Arc<AtomicBool>>);

impl Watch {
    pub(super) fn is_over(&self) -> bool {
        let is_over = self.0.as_ref();
        is_over.is_none_or(|is_over| is_over.load(Ordering::SeqCst))
    }
}

/// The seat of the thread that holds this.
pub(crate) struct Seat(Reserved);

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(own) = &self.0.own else { return };
        SEAT.set(None);
        self.0.is_over.store(true, Ordering::SeqCst);
        let mut state = lock(&own.turns.0.state);
        state.open.retain(|index| *index != own.index);
        if !state.open.is_empty() {
            state.pass(&own.turns.0.clock);
            state.seats[state.current].called.notify_one();
        }
    }
}

fn own() -> Option<Own> {
    SEAT.with_borrow(Clone::clone)
}

/// Passes the turn on, and waits for the next one; false where there are no turns.
///
/// Nobody may hold a lock meanwhile.
pub fn pass() -> bool {
    let Some(own) = own() else { return false };
    let mut state = lock(&own.turns.0.state);
    state.pass(&own.turns.0.clock);
    if state.current != own.index {
        state.seats[state.current].called.notify_one();
        own.wait(state);
    }
    true
}

/// Notes whether the thread has just found something to do.
pub(super) fn found(anything: bool) {
    if let Some(own) = own() {
        lock(&own.turns.0.state).seats[own.index].is_idle = !anything;
    }
}

pub(super) fn is_taken() -> bool {
    SEAT.with_borrow(Option::is_some)
}

/// Whether the thread's process has been killed.
pub fn is_killed() -> bool {
    SEAT.with_borrow(|own| own.as_ref().is_some_and(|own| own.process.is_killed()))
}

/// Whether the thread's process is killed at this point, which it has just come to.
pub(crate) fn is_hit(point: &str) -> bool {
    let Some(own) = own() else { return false };
    let is_due = {
        let mut wanted = lock(&own.process.0.point);
        wanted.as_mut().is_some_and(|(name, left)| {
            let is_here = name == point;
            *left -= u64::from(is_here && *left > 0);
            is_here && *left == 0
        })
    };
    if is_due && !own.process.is_killed() {
        own.turns.note(&format!("killed {point}"));
        own.process.kill();
    }
    own.process.is_killed()
}

/// Whether a defect is planted.
pub fn is_planted(defect: Defect) -> bool {
    SEAT.with_borrow(|own| {
        own.as_ref()
            .is_some_and(|own| own.turns.0.defect == Some(defect))
    })
}

/// A number from the seed.
pub(crate) fn random() -> Option<u64> {
    own().map(|own| own.turns.random())
}

pub(super) fn reserve() -> Reserved {
    match own() {
        Some(own) => own.turns.reserve(own.process),
        None => Reserved {
            own: None,
            is_over: Arc::default(),
        },
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
