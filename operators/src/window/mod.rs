//! Sliding windows of one key, exact to the event: a log of the events that some window may still
//! need, held once for all window lengths, and running values per window and aggregate.
//!
//! For an event at `t`, the window of length `w` is `(t - w, t]`, the event included. Events of
//! the same time are ordered by arrival: each sees the ones before it. An event older than the
//! newest of its key is late: its own row is computed from the log for its own `t`, over what has
//! arrived so far, and it takes its place in the log, so later events see it; nothing emitted
//! before changes. Rows leave the log once they are older than the newest event less the longest
//! window and the allowed lateness; an event later than that still gets a row, over as much of the
//! log as there is. Values of the unbounded window are over everything that has arrived, late or
//! not.
//!
//! # How it works
//! - The window of the newest event is always a suffix of the log, for every length. A window is
//!   therefore a cursor, and what one row means to all of them is one bit: whether it is on the
//!   monotone stack of a column's minimum or maximum, whether it is the last row of its id.
//! - Sums are double-double ([`crate::aggregate`]); a row that enters or leaves a window costs one
//!   addition per sum.
//! - Everything of a key but long id indexes and unbounded sets lies in one allocation.
//! - A log may have a limit. Its oldest rows then go before their time, for good or into tiles, and
//!   it is known which windows have lost some.
//!
//! # Architecture invariant
//! The code here is not generic over the user's event: [`crate::features`] extracts columns, this
//! module sees numbers. A key's values are a function of the sequence of its events alone: no hash
//! order, clock or allocation size shows in them.

mod bitmap;
mod compile;
mod feature;
mod finish;
mod formula;
mod id_index;
pub(crate) mod lanes;
mod limit;
mod marks;
mod merging;
mod more;
mod program;
mod removing;
mod shape;
mod slide;
mod slot;
mod snapshot;
mod state;
mod tiles;
mod tiling;
mod touch;
mod update;

pub(crate) use compile::compile;
pub(crate) use feature::{Column, ColumnOrder, Feature, SlotAnswer, Statistic};
pub(crate) use formula::Formula;
pub(crate) use limit::Excess;
pub(crate) use more::SlotSpec;
pub(crate) use program::{Inputs, Program};
pub(crate) use slot::{SlotInput, SlotOutput};
pub use state::KeyFeatures;
pub(crate) use tiling::Tiling;
pub(crate) use update::Scratch;
