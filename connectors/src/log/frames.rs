//! Walks through the records of a segment, as far as they are whole.

use std::ops::Range;

use super::error::LogError;
use super::frame::{self, Frame, HEAD_BYTES};
use super::segment::{HEADER_BYTES, Segment};

/// Bytes read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// The records of one segment, from some place on.
pub(crate) struct Frames {
    pub(crate) segment: Segment,
    /// Where in the segment the next record begins.
    pub(crate) position: u64,
    /// The offset that it has to have.
    pub(crate) offset: u64,
    buffer: Vec<u8>,
    /// Bytes of the buffer that lie behind, and those of the current record among them.
    used: usize,
    current: Range<usize>,
}

/// What came next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A record, which is the [current](Frames::current) one now.
    Frame,
    /// The segment ends here.
    End,
    /// What follows is not a whole record.
    Broken(&'static str),
}

/// How much of the next record there is.
enum Ready {
    Whole(usize),
    None,
    Broken(&'static str),
}

impl Frames {
    /// From the segment's first record on.
    pub(crate) fn new(segment: Segment) -> Self {
        let offset = segment.base;
        Self::at(segment, HEADER_BYTES, offset)
    }

    /// From the record at `position`, which has this offset, on.
    pub(crate) fn at(segment: Segment, position: u64, offset: u64) -> Self {
        Self {
            segment,
            position,
            offset,
            buffer: Vec::new(),
            used: 0,
            current: 0..0,
        }
    }

    /// Goes to the next record. What is not whole is looked at anew each time, as it may still be
    /// written.
    pub(crate) fn advance(&mut self) -> Result<Next, LogError> {
        let bytes = match self.ready()? {
            Ready::Whole(bytes) => bytes,
            Ready::None => return Ok(Next::End),
            Ready::Broken(reason) => return Ok(self.broken(reason)),
        };
        let next = self.used..self.used + bytes;
        match frame::get(&self.buffer[next.clone()], self.segment.seed) {
            Ok(frame) if frame.offset == self.offset => {}
            Ok(_) => return Ok(self.broken("it has another offset than is its turn")),
            Err(reason) => return Ok(self.broken(reason)),
        }
        self.used = next.end;
        self.current = next;
        self.position += bytes as u64;
        self.offset += 1;
        Ok(Next::Frame)
    }

    /// The record that was gone to last.
    pub(crate) fn current(&self) -> Frame<'_> {
        frame::get_unchecked(&self.buffer[self.current.clone()])
            .expect("invariant: it has been read before")
    }

    /// Drops what was read ahead: a writer may replace it.
    fn broken(&mut self, reason: &'static str) -> Next {
        self.buffer.clear();
        self.used = 0;
        Next::Broken(reason)
    }

    /// Reads until the next record is there as a whole, or nothing more comes.
    fn ready(&mut self) -> Result<Ready, LogError> {
        loop {
            let there = &self.buffer[self.used..];
            let wanted = match there.first_chunk::<HEAD_BYTES>() {
                Some(head) => match frame::body_bytes(*head) {
                    Some(body) => HEAD_BYTES + body,
                    None => return Ok(Ready::Broken("its length is impossible")),
                },
                None => HEAD_BYTES,
            };
            if there.len() >= wanted && wanted > HEAD_BYTES {
                return Ok(Ready::Whole(wanted));
            }
            let there = there.len();
            if self.refill(wanted)? > 0 {
                continue;
            }
            return Ok(if there == 0 {
                Ready::None
            } else {
                Ready::Broken("it is cut off")
            });
        }
    }

    /// Reads more behind what is there, to have `wanted` bytes or more; returns how many came.
    fn refill(&mut self, wanted: usize) -> Result<usize, LogError> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let there = self.buffer.len();
        let limit = wanted.saturating_sub(there).max(CHUNK_BYTES);
        let from = self.position + there as u64;
        self.segment.read_at(from, limit, &mut self.buffer)
    }

    /// Looks for a whole record behind the broken one that is next: then it is damage, and not an
    /// end that was never finished.
    pub(crate) fn whole_record_behind(&mut self) -> Result<bool, LogError> {
        let mut bytes = Vec::new();
        self.segment
            .read_at(self.position, usize::MAX, &mut bytes)?;
        let seed = self.segment.seed;
        let most = self.offset + (bytes.len() / frame::BODY_BYTES_MIN) as u64 + 1;
        let is_whole = |at: usize| {
            let rest = &bytes[at..];
            let (head, body) = rest.split_first_chunk::<HEAD_BYTES>()?;
            let length = frame::body_bytes(*head)?;
            let offset = frame::claimed_offset(body)?;
            let plausible = (self.offset..=most).contains(&offset);
            let record = rest.get(..HEAD_BYTES + length)?;
            (plausible && frame::get(record, seed).is_ok()).then_some(())
        };
        Ok((1..bytes.len()).any(|at| is_whole(at).is_some()))
    }

    /// The error of a record that cannot be read, at the place that was come to.
    pub(crate) fn corrupt(&self, reason: &str) -> LogError {
        LogError::Corrupt {
            segment: self.segment.path.clone(),
            offset: self.offset,
            position: self.position,
            reason: reason.to_owned(),
        }
    }
}
