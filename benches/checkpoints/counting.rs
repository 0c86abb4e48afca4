//! A sink that counts what comes and lets it go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use thalweg::prelude::*;
use thalweg_engine::sink::{Refused, SinkError, Writer, Writers};

/// Counts records, and knows when the first and the last came.
#[derive(Clone, Default)]
pub(crate) struct Counting {
    count: Arc<AtomicU64>,
    seen: Arc<Mutex<Option<(Instant, Instant)>>>,
}

impl Counting {
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// From the first record to the last.
    pub(crate) fn span(&self) -> Duration {
        let seen = self.seen.lock().unwrap();
        seen.map_or(Duration::ZERO, |(first, last)| last - first)
    }
}

impl<T: 'static> Sink<T> for Counting {
    fn describe(&self) -> String {
        "a count".to_owned()
    }

    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn writers(&self) -> Writers {
        Writers::EachWorker
    }

    fn open(&self) -> Result<Box<dyn Writer<T>>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl<T> Writer<T> for Counting {
    fn write(&mut self, records: &[Record<T>], _: &mut Refused) -> Result<(), SinkError> {
        self.count
            .fetch_add(records.len() as u64, Ordering::Relaxed);
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap();
        *seen = Some((seen.map_or(now, |(first, _)| first), now));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
