//! Reads one partition of a topic.

use std::time::Duration;

use thalweg_engine::guard::guard;
use thalweg_engine::source::{ReadBatch, ReadStatus, Reader, SourceError, Undecodable};

use super::frame::{Frame, Kind, Message};
use super::source::DecodeMessage;
use super::tail::{Tail, Turn};
use crate::codec::{Check, checked, undecodable};

/// How long to wait before looking again whether something has come: at first, and at most.
pub(crate) const PAUSE_MIN: Duration = Duration::from_micros(500);
const PAUSE_MAX: Duration = Duration::from_millis(5);

/// The reader of a partition.
pub(crate) struct LogReader<T> {
    pub(crate) what: String,
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) tail: Tail,
    pub(crate) decode: DecodeMessage<T>,
    pub(crate) check: Option<Check<T>>,
    pub(crate) value_bytes_max: usize,
    pub(crate) pause: Duration,
}

impl<T> Reader<T> for LogReader<T> {
    fn read(&mut self, batch: &mut ReadBatch<T>, limit: usize) -> Result<ReadStatus, SourceError> {
        for read in 0..limit {
            let turn = self.tail.advance();
            match turn.map_err(|error| error.reading(&self.what))? {
                Turn::Record => batch.extend(self.current()),
                Turn::End => return Ok(ReadStatus::End),
                Turn::Nothing if read > 0 => return Ok(ReadStatus::More),
                Turn::Nothing => {
                    std::thread::sleep(self.pause);
                    self.pause = (self.pause * 2).min(PAUSE_MAX);
                    return Ok(ReadStatus::Waiting);
                }
            }
            self.pause = PAUSE_MIN;
        }
        Ok(ReadStatus::More)
    }
}

impl<T> LogReader<T> {
    fn current(&mut self) -> Option<(u64, Result<T, Undecodable>)> {
        let Frame {
            kind,
            offset,
            time,
            key,
            headers,
            payload,
        } = self.tail.current()?;
        if kind != Kind::User {
            return None;
        }
        if payload.len() > self.value_bytes_max {
            let reason = format!(
                "the payload has {} bytes, more than the limit of {}; raise it with \
                 `value_bytes_max`",
                payload.len(),
                self.value_bytes_max
            );
            let head = &payload[..self.value_bytes_max];
            return Some((offset, Err(undecodable(reason, head))));
        }
        let message = Message {
            topic: &self.topic,
            partition: self.partition,
            offset,
            time,
            key,
            headers,
            payload,
        };
        let (decode, check) = (&mut self.decode, self.check.as_ref());
        let value = guard(|| checked(decode(&message)?, check, payload));
        let value = value.unwrap_or_else(|reason| Err(undecodable(reason, payload)));
        Some((offset, value))
    }
}
