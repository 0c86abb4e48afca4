//! What can be asked of the events in a window, one file each: the definition, the running value
//! and how it is finished.
//!
//! | aggregate | of | empty window |
//! |---|---|---|
//! | `count` | every event of the key | 0 |
//! | `count_if` | events for which a predicate holds | 0 |
//! | `sum` | present values | 0 |
//! | `mean`, `min`, `max` | present values | missing |
//! | `variance`, `std` | present values, divisor n - 1 | missing below two values |
//! | `share` | events for which a predicate is known | missing |
//! | `distinct` | different present ids | 0 |
//! | `last`, `since_last` | events before this one | missing |
//!
//! Missing is NaN in a feature row. A value is present when its extractor returns a finite number:
//! `None`, NaN and infinities are missing and are never added to anything. Counts are returned as
//! `f64`, exact to 2^53. A sum beyond the range of `f64` is infinite for as long as the values that
//! make it so are in the window.
//!
//! This module keeps values; where the rows lie and when they leave is [`crate::window`]'s.

pub(crate) mod compensated;
mod conditional;
mod contract;
mod count;
pub(crate) mod distinct;
pub(crate) mod extreme;
mod kurtosis;
pub(crate) mod mean;
pub(crate) mod moments;
#[cfg(test)]
mod oracle;
mod powers;
pub(crate) mod share;
mod skew;
mod sum;
pub mod testing;
mod total;
pub(crate) mod trail;
pub(crate) mod variance;

pub use conditional::If;
pub use contract::Aggregate;
pub use count::Count;
pub use extreme::{Max, Min};
pub use kurtosis::Kurtosis;
pub use mean::Mean;
pub use share::{CountIf, Share};
pub use skew::Skew;
pub use sum::Sum;
pub use variance::{Std, Variance};
