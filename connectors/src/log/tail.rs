//! Follows the records of a partition from segment to segment, while they are being written.

use std::path::PathBuf;

use super::error::LogError;
use super::frame::Frame;
use super::frames::{Frames, Next};
use super::index;
use super::segment::{self, Segment};

/// A place in a partition, and the way on from it.
pub(crate) struct Tail {
    folder: PathBuf,
    /// None as long as there is no segment with a header.
    frames: Option<Frames>,
    /// The offset of the next record.
    offset: u64,
    /// The offset to stop before.
    end: Option<u64>,
    /// A later segment has been seen: this one is complete.
    is_complete: bool,
    /// A whole record has been seen behind one that was not: to be looked at once more.
    is_suspect: bool,
    /// Bytes of the segment when its last record was found to be unfinished.
    unfinished_bytes: Option<u64>,
}

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// A record, which is the [current](Tail::current) one now.
    Record,
    /// Nothing yet.
    Nothing,
    /// The end that was set.
    End,
}

/// What to do about a segment in which nothing more is whole.
enum Then {
    LookAgain,
    Wait,
}

impl Tail {
    /// Begins at `offset`.
    pub(crate) fn open(folder: PathBuf, offset: u64, end: Option<u64>) -> Result<Self, LogError> {
        let bases = segment::list(&folder)?;
        let first = bases.first().copied().unwrap_or(0);
        if offset < first {
            return Err(LogError::Gone {
                from: offset,
                to: first - 1,
            });
        }
        let behind = bases.partition_point(|base| *base <= offset);
        let frames = match behind.checked_sub(1) {
            Some(last) => match Segment::open(&folder, bases[last])? {
                Some(segment) => Some(index::seek(segment, offset)?),
                None => None,
            },
            None => None,
        };
        let mut tail = Self {
            folder,
            frames,
            offset,
            end,
            is_complete: false,
            is_suspect: false,
            unfinished_bytes: None,
        };
        tail.pass_over(first, bases.get(behind).copied())?;
        Ok(tail)
    }

    /// Passes over the records before the offset to begin at.
    fn pass_over(&mut self, first: u64, next_base: Option<u64>) -> Result<(), LogError> {
        let offset = self.offset;
        let Some(frames) = &mut self.frames else {
            return match offset == first {
                true => Ok(()),
                false => Err(LogError::Ahead { offset, end: first }),
            };
        };
        while frames.offset < offset {
            let next = frames.advance()?;
            let end = frames.offset;
            match (next, next_base) {
                (Next::Frame, _) => {}
                (Next::End, Some(base)) => {
                    return Err(LogError::Gone {
                        from: end,
                        to: base - 1,
                    });
                }
                (Next::End, None) => return Err(LogError::Ahead { offset, end }),
                (Next::Broken(reason), _) => {
                    if next_base.is_some() || frames.whole_record_behind()? {
                        return Err(frames.corrupt(reason));
                    }
                    return Err(LogError::Ahead { offset, end });
                }
            }
        }
        Ok(())
    }

    /// Goes to the next record, if there is one.
    pub(crate) fn advance(&mut self) -> Result<Turn, LogError> {
        loop {
            if self.end.is_some_and(|end| self.offset >= end) {
                return Ok(Turn::End);
            }
            let next = match &mut self.frames {
                Some(frames) => frames.advance()?,
                None => Next::End,
            };
            if next == Next::Frame {
                self.offset += 1;
                self.is_suspect = false;
                return Ok(Turn::Record);
            }
            match self.without_record(next)? {
                Then::LookAgain => {}
                Then::Wait => return Ok(Turn::Nothing),
            }
        }
    }

    /// The record that was gone to last.
    pub(crate) fn current(&self) -> Option<Frame<'_>> {
        self.frames.as_ref().map(Frames::current)
    }

    fn without_record(&mut self, next: Next) -> Result<Then, LogError> {
        let bases = segment::list(&self.folder)?;
        let Some(frames) = &mut self.frames else {
            return self.begin(&bases);
        };
        let behind = bases
            .iter()
            .copied()
            .find(|base| *base > frames.segment.base);
        match (behind, next) {
            // What was written before the next segment began may have been missed.
            (Some(_), _) if !self.is_complete => {
                self.is_complete = true;
                Ok(Then::LookAgain)
            }
            (Some(base), Next::End) if base == self.offset => {
                let Some(segment) = Segment::open(&self.folder, base)? else {
                    return Ok(Then::Wait);
                };
                self.frames = Some(Frames::new(segment));
                self.is_complete = false;
                self.unfinished_bytes = None;
                Ok(Then::LookAgain)
            }
            (Some(base), Next::End) => Err(LogError::Gone {
                from: self.offset,
                to: base.saturating_sub(1),
            }),
            (Some(_), Next::Broken(reason)) => Err(frames.corrupt(reason)),
            (None, Next::Broken(reason)) => self.judge_unfinished(reason),
            (None, _) => Ok(Then::Wait),
            (Some(_), Next::Frame) => Ok(Then::LookAgain),
        }
    }

    fn begin(&mut self, bases: &[u64]) -> Result<Then, LogError> {
        let Some(&base) = bases.iter().find(|base| **base >= self.offset) else {
            return Ok(Then::Wait);
        };
        if base > self.offset {
            return Err(LogError::Gone {
                from: self.offset,
                to: base - 1,
            });
        }
        self.frames = Segment::open(&self.folder, base)?.map(Frames::new);
        Ok(match self.frames {
            Some(_) => Then::LookAgain,
            None => Then::Wait,
        })
    }

    /// Whether the record at the end is only unfinished, or damaged: then one follows that is whole.
    fn judge_unfinished(&mut self, reason: &'static str) -> Result<Then, LogError> {
        let Some(frames) = &mut self.frames else {
            return Ok(Then::Wait);
        };
        let bytes = frames.segment.bytes()?;
        if self.unfinished_bytes == Some(bytes) {
            return Ok(Then::Wait);
        }
        if !frames.whole_record_behind()? {
            self.unfinished_bytes = Some(bytes);
            return Ok(Then::Wait);
        }
        // The writer may have finished it in the meantime.
        if !std::mem::replace(&mut self.is_suspect, true) {
            return Ok(Then::LookAgain);
        }
        Err(frames.corrupt(reason))
    }
}
