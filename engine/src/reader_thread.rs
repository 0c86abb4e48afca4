//! The thread that reads one source partition whose reader may have to wait.

use std::time::Duration;

use crossbeam::channel::{SendTimeoutError, Sender};

use crate::intake::{Batch, Intake, Wake};
use crate::job::Pace;
use crate::record::Data;
use crate::source::{ReadStatus, SourceError};
use crate::time::{EventTime, millis};
use crate::turns;

/// Everything the thread needs.
pub(crate) struct ReaderThread<T> {
    pub(crate) intake: Intake<T>,
    pub(crate) batches: Sender<Batch<T>>,
    pub(crate) wake: Wake,
}

/// The worker has gone away, or the job is to stop.
struct Stopped;

impl<T: Data> ReaderThread<T> {
    /// Reads to the end of the partition, or until the job stops.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.pump() {
            self.intake.fail(&error);
        }
        drop(self.batches);
        self.wake.call_anyway();
    }

    fn pump(&mut self) -> Result<(), SourceError> {
        while !self.intake.job.stop.is_stopped() {
            let Some(status) = self.intake.read()? else {
                continue;
            };
            if self.hand_over(status).is_err() || status == ReadStatus::End {
                break;
            }
        }
        Ok(())
    }

    /// Hands over what has been read, in a paced replay each record when it is due.
    fn hand_over(&mut self, status: ReadStatus) -> Result<(), Stopped> {
        match self.intake.job.options.pace {
            Pace::Max => self.intake.admit_all(),
            Pace::Times(factor) => {
                for (offset, item) in std::mem::take(&mut self.intake.read) {
                    let time = item
                        .as_ref()
                        .ok()
                        .map(|value| self.intake.event_time(value));
                    if let Some(Ok(time)) = time
                        && self.keep_pace(time, factor).is_err()
                    {
                        let batch = self.intake.close(ReadStatus::More);
                        self.intake.abandon(&batch);
                        return Err(Stopped);
                    }
                    self.intake.admit(offset, item);
                }
            }
        }
        self.send(status)
    }

    /// Waits until a paced replay has come to `time`, handing over first what is already due.
    fn keep_pace(&mut self, time: EventTime, factor: f64) -> Result<(), Stopped> {
        let clock = self.intake.job.options.clock.clone();
        let (first, started_ns) = self.intake.job.pace_origin(time);
        let due_ns = started_ns + (time.since(first).as_nanos() as f64 / factor) as u64;
        while clock.now_ns() < due_ns {
            if self.intake.has_admitted() {
                self.send(ReadStatus::More)?;
            }
            if self.intake.job.stop.is_stopped() {
                return Err(Stopped);
            }
            let wait = Duration::from_nanos(due_ns.saturating_sub(clock.now_ns()));
            turns::sleep(wait.min(millis(20)));
            self.intake.look_at_the_clock();
        }
        Ok(())
    }

    /// Hands the batch over, waiting while the worker has enough; when the job stops, what is in it is
    /// held.
    fn send(&mut self, status: ReadStatus) -> Result<(), Stopped> {
        let mut batch = self.intake.close(status);
        while let Err(error) = turns::send_timeout(&self.batches, batch, millis(50)) {
            match error {
                SendTimeoutError::Timeout(unsent) if !self.intake.job.stop.is_stopped() => {
                    batch = unsent;
                }
                error => {
                    self.intake.abandon(&error.into_inner());
                    return Err(Stopped);
                }
            }
        }
        self.wake.call();
        Ok(())
    }
}
