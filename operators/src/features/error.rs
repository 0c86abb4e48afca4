//! What can be wrong with declared features.

use std::time::Duration;

use thiserror::Error;

/// A mistake in the declaration of features; all of a declaration's mistakes are reported together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// Two features have the same name.
    #[error("feature `{name}` is declared more than once; give each feature its own name")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A feature has no name.
    #[error("feature number {position} has an empty name; name it, models bind to names")]
    EmptyName {
        /// Which feature, counted from 1 in the order of declaration.
        position: usize,
    },
    /// A window has no length.
    #[error("a window is shorter than a microsecond; give `over` a longer time, or use `ever`")]
    EmptyWindow,
    /// A window is asked for something that cannot be.
    #[error("feature `{name}` cannot be: {reason}")]
    InvalidSetting {
        /// The feature.
        name: String,
        /// What is wrong with its settings.
        reason: String,
    },
    /// A feature is made of one that is not declared before it.
    #[error("feature `{name}` is made of `{of}`, which is not declared; declare that one first")]
    UnknownFeature {
        /// The feature.
        name: String,
        /// What it is made of.
        of: String,
    },
    /// A velocity of something that is not over a window of a certain length.
    #[error(
        "velocity `{name}` is of `{of}`, which is not over a bounded window; declare that one with \
         `over`"
    )]
    NoWindow {
        /// The velocity.
        name: String,
        /// What it is of.
        of: String,
    },
    /// Keys would be forgotten that windows still need.
    #[error(
        "keys are to be forgotten after {ttl:?}, but the longest window is {window:?} and events may \
         be {lateness:?} late: give `ttl` at least both together, and more than nothing"
    )]
    ShortTtl {
        /// After how long keys are forgotten.
        ttl: Duration,
        /// The longest window.
        window: Duration,
        /// The allowed lateness.
        lateness: Duration,
    },
    /// A limit on the events of a key that cannot be.
    #[error("at most {most} events of a key are to be held; let it be from 1 to {limit}")]
    InvalidLimit {
        /// The limit that was asked for.
        most: usize,
        /// The greatest there is.
        limit: u32,
    },
    /// Tiles have no width.
    #[error("tiles of `HotKey::Tiles` are shorter than a microsecond; give them a width")]
    EmptyTile,
    /// Corrections are asked for where no event can come late.
    #[error(
        "rows are to be corrected, but no event may be late; say with `lateness` for how long rows \
         can change"
    )]
    NothingToCorrect,
    /// There is no feature at all.
    #[error("no feature is declared; declare at least one, as in `f.over(hours(1)).count(\"n\")`")]
    NoFeatures,
    /// There are more features than a plan holds.
    #[error("{count} features are declared and a step holds {limit}; split them into two steps")]
    TooManyFeatures {
        /// Features declared.
        count: usize,
        /// The most a step holds.
        limit: usize,
    },
}
