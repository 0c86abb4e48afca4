//! Threads run as they like.

use super::Defect;

/// Passes the turn on, where there are turns.
#[inline(always)]
pub(crate) fn pass() -> bool {
    false
}

#[inline(always)]
pub(super) fn found(_: bool) {}

#[inline(always)]
pub(super) fn is_taken() -> bool {
    false
}

/// Whether the thread's process has been killed.
#[inline(always)]
pub(crate) fn is_killed() -> bool {
    false
}

/// Whether the thread's process is killed at this point, which it has just come to.
#[inline(always)]
pub(crate) fn is_hit(_: &str) -> bool {
    false
}

/// Whether a defect is planted.
#[inline(always)]
pub(crate) fn is_planted(_: Defect) -> bool {
    false
}

/// A number from the seed.
#[inline(always)]
pub(crate) fn random() -> Option<u64> {
    None
}

pub(super) fn reserve() -> Reserved {
    Reserved
}

pub(crate) struct Reserved;

impl Reserved {
    pub(super) fn watch(&self) -> Watch {
        Watch
    }

    pub(super) fn take(self) -> Seat {
        Seat
    }
}

pub(super) struct Watch;

impl Watch {
    pub(super) fn is_over(&self) -> bool {
        true
    }
}

pub(crate) struct Seat;
