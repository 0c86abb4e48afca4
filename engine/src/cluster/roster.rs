//! Who has come while a cluster forms.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::connection::Connection;
use super::hello::{Hello, Purpose, Refusal};
use super::hosts::Host;

/// The two connections to another process.
pub(crate) struct Pair {
    pub(crate) messages: Connection,
    pub(crate) records: Connection,
}

/// The places of all processes, of which each other one's is to be filled.
pub(crate) struct Roster {
    own: Hello,
    places: Mutex<Vec<Place>>,
    /// What can never be mended by waiting.
    fatal: Mutex<Option<String>>,
    is_closed: AtomicBool,
}

/// What is there of one process.
#[derive(Default)]
struct Place {
    messages: Option<Held>,
    records: Option<Held>,
    /// Why it is not there yet.
    trouble: Option<String>,
}

struct Held {
    incarnation: u64,
    connection: Connection,
}

impl Place {
    fn of(&mut self, purpose: Purpose) -> &mut Option<Held> {
        match purpose {
            Purpose::Messages => &mut self.messages,
            Purpose::Records => &mut self.records,
        }
    }

    fn held(&mut self) -> [&mut Option<Held>; 2] {
        [&mut self.messages, &mut self.records]
    }

    fn is_filled(&self) -> bool {
        self.messages.is_some() && self.records.is_some()
    }

    fn drop_dead(&mut self) {
        for held in self.held() {
            if held.as_ref().is_some_and(|held| held.connection.is_dead()) {
                *held = None;
            }
        }
    }
}

impl Roster {
    pub(crate) fn new(own: Hello) -> Self {
        let places = (0..own.processes).map(|_| Place::default()).collect();
        Self {
            own,
            places: Mutex::new(places),
            fatal: Mutex::default(),
            is_closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn own(&self) -> &Hello {
        &self.own
    }

    /// Takes in a process that has come to this one, if it may; `welcome` tells it so.
    pub(crate) fn admit(
        &self,
        hello: &Hello,
        connection: Connection,
        welcome: impl FnOnce(&mut Connection) -> std::io::Result<()>,
    ) -> Result<(), (Connection, Refusal)> {
        let taken = |connection, what: &str| {
            let refusal = Refusal::Taken(format!("there is a process {} {what}", hello.process));
            Err((connection, refusal))
        };
        let mut places = self.lock();
        if self.is_closed() {
            return taken(connection, "already, and the cluster is running");
        }
        let place = &mut places[hello.process];
        place.drop_dead();
        let is_other = |held: &Held| held.incarnation != hello.incarnation;
        if place
            .held()
            .into_iter()
            .any(|held| held.as_ref().is_some_and(is_other))
        {
            return taken(
                connection,
                "already: it may be another start of the same one",
            );
        }
        let mut connection = connection;
        // One that is gone by now will come again.
        if welcome(&mut connection).is_ok() {
            *place.of(hello.purpose) = Some(Held {
                incarnation: hello.incarnation,
                connection,
            });
        }
        Ok(())
    }

    /// Takes in a process to which this one has come.
    pub(crate) fn enter(&self, hello: &Hello, connection: Connection) {
        let mut places = self.lock();
        let place = &mut places[hello.process];
        for held in place.held() {
            if held
                .as_ref()
                .is_some_and(|held| held.incarnation != hello.incarnation)
            {
                *held = None;
            }
        }
        *place.of(hello.purpose) = Some(Held {
            incarnation: hello.incarnation,
            connection,
        });
    }

    /// What is missing of a process.
    pub(crate) fn wanted(&self, process: usize) -> Option<Purpose> {
        let mut places = self.lock();
        let purposes = [Purpose::Messages, Purpose::Records].into_iter();
        purposes
            .into_iter()
            .find(|purpose| places[process].of(*purpose).is_none())
    }

    /// Notes why a process is not there yet.
    pub(crate) fn note_trouble(&self, process: usize, trouble: String) {
        if let Some(place) = self.lock().get_mut(process) {
            place.trouble = Some(trouble);
        }
    }

    pub(crate) fn note_fatal(&self, reason: String) {
        let mut fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        fatal.get_or_insert(reason);
    }

    pub(crate) fn fatal(&self) -> Option<String> {
        self.fatal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gives out all connections once everybody is there; who comes later is refused.
    pub(crate) fn close(&self) -> Option<Vec<Option<Pair>>> {
        let mut places = self.lock();
        places.iter_mut().for_each(Place::drop_dead);
        let own = self.own.process;
        let is_there = |(process, place): (usize, &Place)| process == own || place.is_filled();
        if !places.iter().enumerate().all(is_there) {
            return None;
        }
        self.is_closed.store(true, Ordering::SeqCst);
        let pairs = places.drain(..).map(|place| {
            Some(Pair {
                messages: place.messages?.connection,
                records: place.records?.connection,
            })
        });
        Some(pairs.collect())
    }

    /// Lets nobody in any more.
    pub(crate) fn give_up(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Who is missing, in words.
    pub(crate) fn missing(&self, hosts: &[Host]) -> String {
        let places = self.lock();
        let missing = places
            .iter()
            .enumerate()
            .filter(|(process, place)| *process != self.own.process && !place.is_filled());
        let told = missing.map(|(process, place)| {
            let trouble = place
                .trouble
                .as_deref()
                .unwrap_or("nothing has come from it");
            format!("process {process} at {}: {trouble}", hosts[process])
        });
        told.collect::<Vec<_>>().join("; ")
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
