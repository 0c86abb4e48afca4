//! Windows that fire: tumbling, hopping and session windows, calendar days, counts of events, and
//! the global window; declared with [`Window`], over any [`Aggregate`](crate::aggregate::Aggregate).
//!
//! This module is the pure logic for one key: what is kept and what fires when. The step that runs
//! it is in [`crate::flow`]. The per-event sliding windows of features are [`crate::window`]'s.
//!
//! # What fires when
//! Windows are half-open, `[start, end)`. A position in time is *settled* when no event before it
//! comes any more unless it is late: by the watermark or, in event-time order, by the event at
//! hand. A window fires on time when its end is settled, and its state is kept until its end and
//! the lateness are. What is due fires before an event is taken in, so that in event-time order
//! nothing depends on how events come in batches. Only firings by the clock are another matter: the
//! step says when.
//!
//! # What a result is stamped with
//! The event time of a result that is on time or late is a microsecond before the window's end; of
//! an early one, the time of the event that made it fire, or a microsecond before the end of the
//! period, or by the clock that of its latest event or of the watermark: always inside the window, so that a later step with windows of the same size has it in
//! the same window. Its origin is that of the event that made it fire or, for the watermark, of the
//! latest event in the window, numbered ([`Origin::child`](thalweg_engine::record::Origin::child)).
//!
//! # What is kept
//! Windows that overlap are made of slices they share: an event is added once, and a window that
//! fires on time merges a constant number of states; one that fires early, or late, merges its
//! slices. A slice goes when the last window that it is in is closed; a key goes with its last
//! slice. Counts and the global window keep a key until the end of input.
//!
//! Aggregates get events by event time, as their contract says; where they are
//! [`ORDERED`](crate::aggregate::Aggregate::ORDERED), events that come ahead of what is settled are
//! kept apart, a state each, until they are in order, and with a lateness until that has passed.

mod blocks;
mod columns;
mod error;
mod fire;
#[cfg(test)]
mod kept_tests;
mod layout;
#[cfg(test)]
mod oracle;
mod result;
mod rules;
mod session;
mod slice;
#[cfg(test)]
mod snapshot_tests;
mod state;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod windows;

pub(crate) use columns::InputOf;
pub use columns::{NoColumns, WindowColumns, WithColumn};
pub use error::WindowError;
pub(crate) use result::Fired;
pub use result::{Timing, WindowResult};
pub use rules::Window;
pub(crate) use state::KeyWindows;
pub(crate) use windows::{Event, Windows};
