//! The opening of a cluster whose processes have come to each other: process 0 decides what all begin
//! with, all prepare themselves for it, and they put their clocks in step and begin.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::connection::Connection;
use super::form::{GLANCE, Wait, nanos};
use super::frame;
use super::message::Message;
use super::roster::Pair;
use crate::time::millis;

/// How often one that is at work says so.
const BUSY_EVERY: Duration = millis(500);
/// The longest message before the start.
const BYTES_MAX: u32 = 64 << 20;

/// Why a job does not begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FormError {
    /// This process does not belong into the cluster, or cannot take part: starting again will not
    /// help.
    Refused(String),
    /// Somebody is missing.
    Missing(String),
    /// Something cannot be reached that may be there the next time.
    Away(String),
    /// Another start of the pipeline has taken over.
    Superseded(String),
    /// The job was asked to stop.
    Stopped,
}

impl FormError {
    /// The same, as another process says it of this one.
    fn of_process(self, process: usize) -> Self {
        let told = |reason| format!("process {process} cannot begin: {reason}");
        match self {
            Self::Refused(reason) => Self::Refused(told(reason)),
            Self::Missing(reason) => Self::Missing(told(reason)),
            Self::Away(reason) => Self::Away(told(reason)),
            Self::Superseded(reason) => Self::Superseded(told(reason)),
            Self::Stopped => Self::Stopped,
        }
    }
}

/// What comes before the start of a job, when all its processes are there. It may take long.
pub(crate) trait Opening: Send {
    /// Decides, in process 0 alone, what all of them begin with.
    fn decide(&mut self) -> Result<Vec<u8>, FormError>;

    /// Gets ready for what was decided, in every process.
    fn prepare(&mut self, decided: &[u8]) -> Result<(), FormError>;
}

/// Goes through the opening with the others.
pub(super) fn open(
    pairs: &mut [Option<Pair>],
    wait: &Wait,
    opening: &mut impl Opening,
) -> Result<(), FormError> {
    let others = pairs.iter_mut().enumerate();
    let lines = others.filter_map(|(process, pair)| {
        let connection = &mut pair.as_mut()?.messages;
        Some(Line {
            process,
            connection,
        })
    });
    let mut talk = Talk {
        lines: lines.collect(),
        wait,
    };
    if wait.options.process == 0 {
        talk.lead(opening)
    } else {
        talk.follow(opening)
    }
}

/// A connection for messages.
struct Line<'a> {
    process: usize,
    connection: &'a mut Connection,
}

/// What is said before the start: process 0 talks with all others, and each of them with it.
struct Talk<'a> {
    lines: Vec<Line<'a>>,
    wait: &'a Wait,
}

impl Talk<'_> {
    /// Decides for all, once all of them have everybody, and tells them when to begin.
    fn lead(&mut self, opening: &mut impl Opening) -> Result<(), FormError> {
        self.set_patience(self.wait.rest())?;
        self.expect_all(|message| (message == Message::Ready).then_some(()))?;
        let decided = self.do_work(|| opening.decide())?;
        self.tell_all(|| Message::Decided(decided.clone()))?;
        self.do_work(|| opening.prepare(&decided))?;
        self.set_patience(self.wait.patience())?;
        self.expect_all(|message| (message == Message::Prepared).then_some(()))?;
        self.tell_all(|| Message::Ask)?;
        let theirs = self.expect_all(|message| match message {
            Message::Now(now_ns) => Some(now_ns),
            _ => None,
        })?;
        let clock = &self.wait.clock;
        clock.leap_to(theirs.into_iter().max().unwrap_or(0));
        self.tell_all(|| Message::Start(clock.now_ns()))
    }

    fn follow(&mut self, opening: &mut impl Opening) -> Result<(), FormError> {
        // Process 0 is the one of the lowest number.
        self.lines.truncate(1);
        self.set_patience(self.wait.rest())?;
        self.tell_all(|| Message::Ready)?;
        let decided = self.expect_all(|message| match message {
            Message::Decided(decided) => Some(decided),
            _ => None,
        })?;
        self.set_patience(self.wait.patience())?;
        self.do_work(|| opening.prepare(&decided.concat()))?;
        self.tell_all(|| Message::Prepared)?;
        self.expect_all(|message| (message == Message::Ask).then_some(()))?;
        let clock = &self.wait.clock;
        self.tell_all(|| Message::Now(clock.now_ns()))?;
        let start_ns = self.expect_all(|message| match message {
            Message::Start(now_ns) => Some(now_ns),
            _ => None,
        })?;
        clock.leap_to(start_ns.into_iter().sum());
        Ok(())
    }

    /// Does what may take long, saying so; where it fails, the others hear why.
    fn do_work<R: Send>(
        &mut self,
        work: impl FnOnce() -> Result<R, FormError> + Send,
    ) -> Result<R, FormError> {
        let done = thread::scope(|scope| {
            let worker = scope.spawn(work);
            let mut said_ns = self.wait.clock.now_ns();
            while !worker.is_finished() {
                thread::sleep(GLANCE);
                let now_ns = self.wait.clock.now_ns();
                if now_ns - said_ns >= nanos(BUSY_EVERY) {
                    said_ns = now_ns;
                    // Who has gone is missed at the next word.
                    let _ = self.tell_all(|| Message::Busy);
                }
            }
            worker.join()
        });
        let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        if let Err(error) = &done {
            let _ = self.tell_all(|| Message::CannotBegin(error.clone()));
        }
        done
    }

    fn set_patience(&self, patience: Duration) -> Result<(), FormError> {
        self.lines.iter().try_for_each(|line| {
            let set = line.connection.set_timeout(Some(patience));
            set.map_err(|error| self.wait.missed(line.process, &error))
        })
    }

    fn tell_all(&mut self, message: impl Fn() -> Message) -> Result<(), FormError> {
        let wait = self.wait;
        self.lines.iter_mut().try_for_each(|line| {
            let told = frame::write(line.connection, &message());
            told.map_err(|error| wait.missed(line.process, &error))
        })
    }

    /// What `take` makes of the next word of each; that one of them cannot begin is passed on.
    fn expect_all<T>(
        &mut self,
        mut take: impl FnMut(Message) -> Option<T>,
    ) -> Result<Vec<T>, FormError> {
        let mut all = Vec::new();
        for place in 0..self.lines.len() {
            let process = self.lines[place].process;
            let message = loop {
                match frame::read(self.lines[place].connection, BYTES_MAX) {
                    // Where this process leads, the others wait for this one's word, too.
                    Ok(Message::Busy) if self.wait.options.process == 0 => {
                        self.tell_all(|| Message::Busy)?;
                    }
                    Ok(Message::Busy) => {}
                    Ok(Message::CannotBegin(error)) => {
                        let error = error.of_process(process);
                        if self.wait.options.process == 0 {
                            let _ = self.tell_all(|| Message::CannotBegin(error.clone()));
                        }
                        return Err(error);
                    }
                    Ok(message) => break message,
                    Err(error) => return Err(self.wait.missed(process, &error)),
                }
            };
            all.push(take(message).ok_or_else(|| {
                let error =
                    io::Error::new(ErrorKind::InvalidData, "it does not say what it should");
                self.wait.missed(process, &error)
            })?);
        }
        Ok(all)
    }
}
