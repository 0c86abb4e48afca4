//! How a step's changes have grown over their base, as the worker sees it that takes both.

use super::ack::Ack;
use super::{Epochs, KEYS};
use crate::checkpoint::PartKind;

/// Bytes of the keyed state of a step on one worker that are durable.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    /// Of the last base; none after a restart.
    base_bytes: u64,
    /// Of the changes since then.
    changes_bytes: u64,
}

impl Growth {
    /// Takes note of what has been saved.
    pub(crate) fn note(&mut self, acks: &[Ack]) {
        for ack in acks {
            let Ack::Step { parts, .. } = ack else {
                continue;
            };
            for part in parts.iter().filter(|part| part.content == KEYS) {
                match part.kind {
                    PartKind::Delta => self.changes_bytes += part.bytes,
                    _ => self.base_bytes = part.bytes,
                }
            }
        }
    }

    /// Takes note that a base goes over all changes so far.
    pub(crate) fn base_is_taken(&mut self) {
        self.changes_bytes = 0;
    }
}

impl Epochs {
    /// Whether a base is wanted of a step whose changes would soon have to be merged: to write all keys
    /// once more is less than to read and merge, where most of them have changed anyway.
    pub(crate) fn wants_base(&self, growth: &Growth) -> bool {
        let soon_bytes = 2 * growth.changes_bytes;
        self.options.have_outgrown(soon_bytes, growth.base_bytes)
    }
}
