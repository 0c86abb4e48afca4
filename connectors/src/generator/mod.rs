//! Events made on the spot: seeded, at a rate, with bursts, and with changes on schedule.
//!
//! For demonstrations, load tests, and tests of what drifts. What is made depends on the seed and on
//! the event's number alone, so that reading can go on from any offset.

mod moment;
mod reader;
mod rng;
mod schedule;
mod source;

pub use moment::Moment;
pub use rng::Rng;
pub use source::GeneratorSource;
