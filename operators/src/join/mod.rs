//! Joins in time: what is kept per key, until when, and who meets whom.
//!
//! - [`AsOf`]: an event meets the row of a table that was the latest at the event's own time.
//! - [`Lookup`]: an event meets the row of an upsert table that stands.
//! - [`Interval`]: the events of two streams meet when their times are near each other.
//!
//! The joins share three rules. **State is bounded by the watermark**: what no event that is still
//! to come can meet is dropped once the watermark says so, also for keys that get nothing more; an
//! index by time finds it, so that a move of the watermark costs what it drops. **Nothing disappears
//! silently**: see [`LatePolicy`] and [`Interval::max_per_key`]. **State is versioned**: its first
//! byte is the version of its format.
//!
//! The methods of streams are in [`flow`](crate::flow).

mod as_of;
mod interval;
mod late;
mod lookup;
mod stamp;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod upkeep;

pub use as_of::{AsOf, FullTable};
pub use interval::Interval;
pub use late::LatePolicy;
pub use lookup::Lookup;

pub(crate) use as_of::Rows;
pub(crate) use interval::{Pending, Taken, Waiting};
pub(crate) use lookup::Latest;
pub(crate) use stamp::Stamp;
pub(crate) use table::Table;
pub(crate) use upkeep::{Ageing, Upkeep};
