//! What can be wrong with declared windows.

use thiserror::Error;

/// A mistake in the declaration of windows; all of a declaration's mistakes are reported together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WindowError {
    /// Something must not be zero.
    #[error("the {what} is zero; give it at least one microsecond or one event")]
    Zero {
        /// What is zero.
        what: &'static str,
    },
    /// Something is beyond all reason.
    #[error("the {what} is more than 10,000 years or 3e17 events; use `Window::global`")]
    TooLong {
        /// What is too long.
        what: &'static str,
    },
    /// Events would be in no window.
    #[error(
        "the slide is longer than the window, so that events between windows would be in none; \
         make it as long as the window at most, or filter the events before"
    )]
    Gaps,
    /// Something has no meaning for windows of a kind.
    #[error("{what} has no meaning for {kind} windows; leave it out")]
    Unfit {
        /// What has no meaning.
        what: &'static str,
        /// The kind of windows.
        kind: &'static str,
    },
    /// The database has no such time zone.
    #[error(
        "time zone `{zone}` is unknown; use a name of the IANA database such as `America/New_York`"
    )]
    UnknownZone {
        /// The name given.
        zone: String,
    },
    /// Early and late firings and discarding look at every window of an event.
    #[error(
        "an event is in {windows} windows, and with early firings, lateness or discarding the step \
         looks at each of them, at most {limit}; make the slide longer"
    )]
    TooManyWindows {
        /// Windows an event is in.
        windows: i64,
        /// The most there may be.
        limit: i64,
    },
    /// Two aggregates have the same name.
    #[error("aggregate `{name}` is declared more than once; give each aggregate its own name")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// An aggregate has no name.
    #[error("aggregate number {position} has an empty name; name it")]
    EmptyName {
        /// Which aggregate, counted from 1 in the order of declaration.
        position: usize,
    },
    /// There is no aggregate at all.
    #[error("no aggregate is declared; declare at least one, as in `w.aggregate(\"n\", ..)`")]
    NoAggregates,
}
