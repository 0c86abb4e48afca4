//! What can be asked of the events in a window, one file each: the definition, and what is kept to
//! answer it.
//!
//! Each is a type that implements [`Aggregate`]. Those whose feature is named are also kept up by
//! [`crate::features`] for every event at once; the definition is the same.
//!
//! | aggregate | feature | of | empty window | how exact | lets go |
//! |---|---|---|---|---|---|
//! | [`Count`] | `count` | every event | 0 | exact | yes |
//! | [`CountIf`] | `count_if` | flags | 0 | exact | yes |
//! | [`Sum`] | `sum` | values | 0 | to rounding | yes |
//! | [`Mean`] | `mean` | values | missing | to rounding | yes |
//! | [`Min`], [`Max`] | `min`, `max` | values | missing | exact | no |
//! | [`Variance`], [`Std`] | `variance`, `std` | values | missing below two | to rounding | yes |
//! | [`Skew`] | | values | missing below three, or all equal | to rounding | yes |
//! | [`Kurtosis`] | | values | missing below four, or all equal | to rounding | yes |
//! | [`First`], [`Last`] | `last`, of earlier events | values | missing | exact | yes |
//! | [`FirstN`], [`LastN`] | | values | none | exact | yes |
//! | [`TopK`], [`BottomK`] | | values | none | exact | yes |
//! | [`Quantile`] | | values | missing | exact | yes |
//! | [`DdQuantile`] | | values | missing | relative error, as chosen | yes |
//! | [`KllQuantile`] | | values | missing | rank error 2.3 / kept^0.97 | no |
//! | [`Histogram`] | | values | zeros | exact | yes |
//! | [`Ewma`] | | values | missing | to rounding | no |
//! | [`Slope`] | | values | missing below two times | to rounding | yes |
//! | [`Distinct`] | `distinct`, without a limit | ids | 0 | exact up to a limit, then the limit | yes |
//! | [`ApproxDistinct`] | | ids | 0 | standard error 1.04 / sqrt(2^precision) | no |
//! | [`MostFrequent`] | | ids | none | exact up to a limit, then none | yes |
//! | [`Entropy`] | | ids | missing | to rounding up to a limit, then missing | yes |
//! | [`FirstSeen`] | | ids | missing | exact up to a limit, then missing | yes |
//! | [`Share`] | `share` | flags | missing | exact | yes |
//! | [`Streak`] | | flags | 0 | exact | yes |
//! | [`TimeSinceLast`] | `since_last`, of earlier events | every event | missing | exact | yes |
//! | [`InterArrivalMean`] | | every event | missing below two | exact | yes |
//! | [`InterArrivalStd`] | | every event | missing below three | exact | yes |
//! | [`If`] of any of them | | those that have an input | as without | as without | as without |
//!
//! Missing is NaN. A value is present when it is a finite number: NaN and infinities are missing and
//! are never added to anything. Ids and flags are always present; [`If`] leaves out those that are
//! not. Counts are answered as `f64`, exact to 2^53. "To rounding" holds at any distance from zero
//! and whatever has left the window. A sum beyond the range of `f64` is infinite for as long as the
//! values that make it so are in the window. A limit is on how many different ids are held.
//!
//! What doesn't let go of events is kept up over a sliding window by merging parts.
//!
//! This module keeps values; where the rows lie and when they leave is [`crate::window`]'s.

mod approx_distinct;
pub(crate) mod compensated;
mod conditional;
mod contract;
mod count;
mod counts;
mod dd_quantile;
pub(crate) mod distinct;
mod entropy;
mod error;
mod ewma;
pub(crate) mod extreme;
mod first;
mod first_seen;
mod histogram;
mod inter_arrival;
mod kept;
mod kll_quantile;
mod kurtosis;
mod last;
pub(crate) mod mean;
pub(crate) mod moments;
mod most_frequent;
#[cfg(test)]
mod oracle;
mod powers;
mod quantile;
mod ranks;
pub(crate) mod share;
mod since_last;
mod skew;
mod slope;
mod sorted;
mod streak;
mod sum;
mod tally;
pub mod testing;
mod top;
mod total;
pub(crate) mod trail;
pub(crate) mod variance;

pub use approx_distinct::ApproxDistinct;
pub use conditional::If;
pub use contract::Aggregate;
pub use count::Count;
pub use dd_quantile::DdQuantile;
pub use distinct::Distinct;
pub use entropy::Entropy;
pub use error::AggregateError;
pub use ewma::Ewma;
pub use extreme::{Max, Min};
pub use first::{First, FirstN};
pub use first_seen::FirstSeen;
pub use histogram::Histogram;
pub use inter_arrival::{InterArrivalMean, InterArrivalStd};
pub use kll_quantile::KllQuantile;
pub use kurtosis::Kurtosis;
pub use last::{Last, LastN};
pub use mean::Mean;
pub use most_frequent::{Frequency, MostFrequent};
pub use quantile::Quantile;
pub use ranks::Ranks;
pub use share::{CountIf, Share};
pub use since_last::TimeSinceLast;
pub use skew::Skew;
pub use slope::Slope;
pub use streak::Streak;
pub use sum::Sum;
pub use top::{BottomK, TopK};
pub use variance::{Std, Variance};
