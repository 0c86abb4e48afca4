//! How the threads of a job wait: for one another, for a time, for their end.
//!
//! With the feature `simulation`, threads can be made to take turns: one runs at a time, in an order
//! that comes from a seed ([`seat`]). A thread passes its turn on wherever it would wait, so all
//! waiting goes through here. In any other build these are the plain calls.

mod defect;
#[cfg(feature = "simulation")]
pub(crate) mod seat;
#[cfg(not(feature = "simulation"))]
#[path = "no_seat.rs"]
mod seat;

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{
    Receiver, RecvError, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, TrySendError,
    select,
};

pub use defect::Defect;
pub(crate) use seat::{is_hit, is_killed, is_planted, pass, random};

/// As [`std::thread::sleep`]; in a simulation, for a turn of others.
pub(crate) fn sleep(time: Duration) {
    seat::found(false);
    if !pass() {
        std::thread::sleep(time);
    }
}

/// As [`Receiver::recv_timeout`]; in a simulation the time may be over at once.
pub(crate) fn recv_timeout<T>(from: &Receiver<T>, wait: Duration) -> Result<T, RecvTimeoutError> {
    if !pass() {
        return from.recv_timeout(wait);
    }
    let received = from.try_recv();
    seat::found(received.is_ok());
    received.map_err(|error| match error {
        TryRecvError::Empty => RecvTimeoutError::Timeout,
        TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
    })
}

/// As [`Receiver::recv`].
pub(crate) fn recv<T>(from: &Receiver<T>) -> Result<T, RecvError> {
    loop {
        match recv_timeout(from, Duration::MAX) {
            Ok(received) => return Ok(received),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(RecvError),
        }
    }
}

/// As [`recv_timeout`]; gives up early when one is `told` something.
pub(crate) fn recv_unless_told<T>(
    from: &Receiver<T>,
    told: &Receiver<()>,
    wait: Duration,
) -> Result<T, RecvTimeoutError> {
    if seat::is_taken() {
        let _ = told.try_recv();
        return recv_timeout(from, wait);
    }
    select! {
        recv(from) -> received => received.map_err(|RecvError| RecvTimeoutError::Disconnected),
        recv(told) -> _ => Err(RecvTimeoutError::Timeout),
        default(wait) => Err(RecvTimeoutError::Timeout),
    }
}

/// As [`Sender::send_timeout`]; in a simulation the time may be over at once.
pub(crate) fn send_timeout<T>(
    to: &Sender<T>,
    item: T,
    wait: Duration,
) -> Result<(), SendTimeoutError<T>> {
    if !pass() {
        return to.send_timeout(item, wait);
    }
    let sent = to.try_send(item);
    seat::found(sent.is_ok());
    sent.map_err(|error| match error {
        TrySendError::Full(item) => SendTimeoutError::Timeout(item),
        TrySendError::Disconnected(item) => SendTimeoutError::Disconnected(item),
    })
}

/// Whether threads take turns here.
pub(crate) fn is_simulated() -> bool {
    seat::is_taken()
}

/// A thread, to be waited for.
pub(crate) struct Thread {
    handle: JoinHandle<()>,
    seat: seat::Watch,
}

impl Thread {
    pub(crate) fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    pub(crate) fn join(self) -> std::thread::Result<()> {
        while !self.seat.is_over() && pass() {}
        self.handle.join()
    }
}

/// Starts a thread.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
    let reserved = seat::reserve();
    let watch = reserved.watch();
    let seated = move || {
        let _seat = reserved.take();
        body();
    };
    let handle = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(seated)?;
    Ok(Thread {
        handle,
        seat: watch,
    })
}

/// Seats for threads that somebody else starts, by number.
pub(crate) struct Seats(Mutex<Vec<Option<seat::Reserved>>>);

impl Seats {
    pub(crate) fn reserve(threads: usize) -> Self {
        Self(Mutex::new(
            (0..threads).map(|_| Some(seat::reserve())).collect(),
        ))
    }

    /// Takes the seat of a thread; it is given up when what this gives is dropped.
    pub(crate) fn take(&self, thread: usize) -> Option<seat::Seat> {
        let reserved = {
            let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            seats.get_mut(thread)?.take()
        };
        reserved.map(seat::Reserved::take)
    }
}
