//! Event time: the instant at which something happened, as the user's data says it.
//!
//! The engine never reads the wall clock here; see [`crate::clock`] for that.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An instant of event time in microseconds since the Unix epoch (UTC).
///
/// Serialised as the bare number of microseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct EventTime(i64);

impl EventTime {
    /// The earliest instant; as a watermark: nothing is known to be complete.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest instant; as a watermark: everything is complete, nothing more will come.
    pub const MAX: Self = Self(i64::MAX);

    /// The instant `micros` microseconds after the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The instant `millis` milliseconds after the Unix epoch, saturating.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// The instant `seconds` seconds after the Unix epoch, saturating.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This instant moved into the future, saturating at [`EventTime::MAX`].
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(micros(span)))
    }

    /// This instant moved into the past, saturating at [`EventTime::MIN`].
    ///
    /// [`EventTime::MAX`] stays where it is: "everything is complete" has no allowance to subtract.
    pub fn saturating_sub(self, span: Duration) -> Self {
        if self == Self::MAX {
            return self;
        }
        Self(self.0.saturating_sub_unsigned(micros(span)))
    }

    /// The time from `earlier` to this instant; zero when `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        if self <= earlier {
            return Duration::ZERO;
        }
        Duration::from_micros(self.0.abs_diff(earlier.0))
    }

    /// The start of the window of length `size` that holds this instant, windows being laid out
    /// from `EventTime(0) + offset`.
    ///
    /// # Panics
    /// When `size` is shorter than a microsecond.
    pub fn window_start(self, size: Duration, offset: Duration) -> Self {
        let size = span_micros(size);
        assert!(size > 0, "a window must be at least one microsecond long");
        let phase = (i128::from(self.0) - i128::from(span_micros(offset))).rem_euclid(size.into());
        let start = i128::from(self.0) - phase;
        Self(i64::try_from(start).unwrap_or(i64::MIN))
    }
}

/// A span in whole microseconds, saturating.
fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A span in whole microseconds, saturating at `i64::MAX`.
fn span_micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl fmt::Display for EventTime {
    /// Formats as RFC 3339 in UTC; instants outside the calendar's range as `<micros>us`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

/// A span of `n` milliseconds.
pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A span of `n` seconds.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A span of `n` minutes.
pub const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// A span of `n` hours.
pub const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3_600)
}

/// A span of `n` days of 24 hours.
pub const fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_start_rounds_down_before_and_after_the_epoch() {
        let check = |at, size, offset, expected| {
            let start = EventTime::from_seconds(at).window_start(secs(size), secs(offset));
            assert_eq!(start, EventTime::from_seconds(expected));
        };
        check(25, 10, 0, 20);
        check(20, 10, 0, 20);
        check(-1, 10, 0, -10);
        check(25, 10, 7, 17);
    }

    #[test]
    fn arithmetic_saturates_at_the_limits() {
        assert_eq!(EventTime::MAX.saturating_add(secs(1)), EventTime::MAX);
        assert_eq!(EventTime::MAX.saturating_sub(secs(1)), EventTime::MAX);
        assert_eq!(EventTime::MIN.saturating_sub(secs(1)), EventTime::MIN);
        assert_eq!(EventTime::MIN.saturating_add(Duration::MAX), EventTime::MAX);
        let all = EventTime::MAX.since(EventTime::MIN);
        assert_eq!(EventTime::MIN.saturating_add(all), EventTime::MAX);
        assert_eq!(EventTime::MIN.since(EventTime::MAX), Duration::ZERO);
        assert_eq!(
            EventTime::MIN.window_start(secs(10), secs(0)),
            EventTime::MIN
        );
    }

    #[test]
    fn displays_as_rfc_3339() {
        assert_eq!(
            EventTime::from_seconds(1_357_034_400).to_string(),
            "2013-01-01T10:00:00Z"
        );
        assert_eq!(EventTime::MAX.to_string(), format!("{}us", i64::MAX));
    }
}
