//! Reads one partition.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thalweg_engine::guard::guard;
use thalweg_engine::source::{ReadBatch, ReadStatus, Reader, SourceError, Undecodable};

use super::entry::Raw;
use super::feed::{Fed, Feed, Given};
use super::message::Make;

/// How long to wait for a message before saying that there is none.
const PATIENCE: Duration = Duration::from_millis(20);

/// A feed, for its reader and for who acknowledges.
pub(super) struct Shared {
    feed: Mutex<Feed>,
    /// How many wait to acknowledge: the reader lets them go first.
    waiting: AtomicUsize,
}

impl Shared {
    pub(super) fn new(feed: Feed) -> Self {
        Self {
            feed: Mutex::new(feed),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Acknowledges everything before the offset.
    pub(super) fn acknowledge(&self, done: u64) -> Result<(), String> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        feed.acknowledge(done)
    }
}

/// The reader of one partition.
pub(super) struct PulsarReader<T> {
    pub(super) shared: Arc<Shared>,
    pub(super) make: Make<T>,
}

/// Makes the value of a message; what panics is a bad message, too.
fn make_value<T>(make: &mut Make<T>, message: &Raw<'_>) -> Result<T, Undecodable> {
    guard(|| make(message)).unwrap_or_else(|reason| {
        let raw = message.value.unwrap_or_default().to_vec();
        Err(Undecodable { reason, raw })
    })
}

impl<T> Reader<T> for PulsarReader<T> {
    fn read(&mut self, batch: &mut ReadBatch<T>, limit: usize) -> Result<ReadStatus, SourceError> {
        while self.shared.waiting.load(Ordering::Relaxed) > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let Self { shared, make } = self;
        let mut feed = shared.feed.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, mut patience) = (batch.len(), PATIENCE);
        while batch.len() < before + limit && !feed.is_at_end() {
            let fed = feed.feed(patience, |given| match given {
                Given::Message(raw) => make_value(make, &raw),
                Given::Garbled(garbled) => Err(Undecodable {
                    reason: garbled.reason,
                    raw: garbled.bytes,
                }),
            });
            match fed {
                Ok(Fed::Item(offset, _)) if feed.end.is_some_and(|end| offset >= end) => {
                    return Ok(ReadStatus::End);
                }
                Ok(Fed::Item(offset, item)) => batch.push((offset, item)),
                Ok(Fed::Nothing) => break,
                Err(problem) => {
                    return Err(SourceError::Read {
                        what: format!("topic `{}`", feed.topic()),
                        reason: format!("{}; {}", problem.reason, problem.remedy),
                    });
                }
            }
            patience = Duration::ZERO;
        }
        Ok(if feed.is_at_end() {
            ReadStatus::End
        } else if batch.len() > before {
            ReadStatus::More
        } else if feed.is_cut_off() {
            ReadStatus::Away
        } else {
            ReadStatus::Waiting
        })
    }
}
