//! Where windows lie that do not depend on the events, and the slices they are made of.
//!
//! Positions are numbers on an axis: microseconds of event time, or a count of events. A window is
//! a run of slices; each position is in one slice, and a slice is in one or more windows. Windows
//! are numbered in the order in which they begin, which is the order in which they end.

use std::cell::Cell;
use std::ops::{Range, RangeInclusive};

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use thalweg_engine::time::EventTime;

/// The longest span of a rule: about 10,000 years, in microseconds.
pub(super) const SPAN_MAX: i64 = 10_000 * 366 * DAY;

/// The greatest distance of a position from 0: no sum of a position and four spans overflows.
pub(super) const POSITION_MAX: i64 = i64::MAX - 4 * SPAN_MAX;

const DAY: i64 = 86_400_000_000;

/// The position of an instant. Those within 40,000 years of the limits of [`EventTime`], which is
/// beyond the year 250,000 on either side of the epoch, share the last position.
pub(super) fn position(at: EventTime) -> i64 {
    at.as_micros().clamp(-POSITION_MAX, POSITION_MAX)
}

/// Windows at places that do not depend on the events.
#[derive(Debug)]
pub(super) enum Layout {
    /// At regular distances.
    Grid(Grid),
    /// The days of a time zone; a slice each.
    Days(Days),
    /// One window, one slice.
    Whole,
}

impl Layout {
    pub(super) fn slice_of(&self, position: i64) -> i64 {
        match self {
            Self::Grid(grid) => (position - grid.offset).div_euclid(grid.slice),
            Self::Days(days) => days.day_of(position),
            Self::Whole => 0,
        }
    }

    pub(super) fn windows_of(&self, slice: i64) -> RangeInclusive<i64> {
        match self {
            Self::Grid(grid) => {
                let first = (slice - grid.per_window).div_euclid(grid.per_slide) + 1;
                first..=slice.div_euclid(grid.per_slide)
            }
            Self::Days(_) | Self::Whole => slice..=slice,
        }
    }

    pub(super) fn slices_of(&self, window: i64) -> Range<i64> {
        match self {
            Self::Grid(grid) => {
                let first = window * grid.per_slide;
                first..first + grid.per_window
            }
            Self::Days(_) | Self::Whole => window..window + 1,
        }
    }

    /// Slices in a window.
    pub(super) fn per_window(&self) -> i64 {
        match self {
            Self::Grid(grid) => grid.per_window,
            Self::Days(_) | Self::Whole => 1,
        }
    }

    /// The most windows that a slice is in.
    pub(super) fn overlap(&self) -> i64 {
        match self {
            Self::Grid(grid) => (grid.per_window - 1) / grid.per_slide + 1,
            Self::Days(_) | Self::Whole => 1,
        }
    }

    pub(super) fn start(&self, window: i64) -> i64 {
        match self {
            Self::Grid(grid) => grid.offset + window * grid.per_slide * grid.slice,
            Self::Days(days) => days.start(window),
            Self::Whole => i64::MIN,
        }
    }

    pub(super) fn end(&self, window: i64) -> i64 {
        match self {
            Self::Grid(grid) => self.start(window) + grid.per_window * grid.slice,
            Self::Days(days) => days.start(window + 1),
            Self::Whole => i64::MAX,
        }
    }

    /// The first window that ends after a position.
    pub(super) fn first_ending_after(&self, position: i64) -> i64 {
        match self {
            Self::Grid(grid) => {
                let begun = position - grid.offset - grid.per_window * grid.slice;
                begun.div_euclid(grid.per_slide * grid.slice) + 1
            }
            Self::Days(days) => {
                let day = days.day_of(position);
                if days.start(day + 1) > position {
                    day
                } else {
                    day + 1
                }
            }
            Self::Whole => i64::from(position == i64::MAX),
        }
    }
}

/// Windows of one length at regular distances; a slice is as long as the greatest common divisor of
/// length and slide.
#[derive(Debug)]
pub(super) struct Grid {
    slice: i64,
    per_window: i64,
    per_slide: i64,
    offset: i64,
}

impl Grid {
    pub(super) fn new(length: i64, slide: i64, offset: i64) -> Self {
        let slice = gcd(length, slide);
        Self {
            slice,
            per_window: length / slice,
            per_slide: slide / slice,
            offset,
        }
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The days of a time zone, numbered from the epoch's.
#[derive(Debug)]
pub(super) struct Days {
    zone: TimeZone,
    /// The day last asked for: its number, start and end.
    last: Cell<(i64, i64, i64)>,
}

impl Days {
    /// The calendar's first and last full days; what lies outside is one day each.
    const FIRST: i64 = -4_371_000;
    const LAST: i64 = 2_932_000;

    /// `None` when the database does not know the zone.
    pub(super) fn of(zone: &str) -> Option<Self> {
        let zone = TimeZoneDatabase::bundled().get(zone).ok()?;
        let last = Cell::new((0, 0, 0));
        Some(Self { zone, last })
    }

    /// The last day that has begun at the position.
    fn day_of(&self, position: i64) -> i64 {
        let (day, start, end) = self.last.get();
        if start <= position && position < end {
            return day;
        }
        let day = self.find(position);
        self.last.set((day, self.start(day), self.start(day + 1)));
        day
    }

    fn find(&self, position: i64) -> i64 {
        if position < self.start(Self::FIRST) {
            return Self::FIRST - 1;
        }
        if position >= self.start(Self::LAST + 1) {
            return Self::LAST + 1;
        }
        let offset_s =
            Timestamp::from_microsecond(position).map_or(0, |at| self.zone.to_offset(at).seconds());
        let mut day = (position + i64::from(offset_s) * 1_000_000).div_euclid(DAY);
        // The clock can be set back over midnight, and over a whole day at the date line.
        while self.start(day) > position {
            day -= 1;
        }
        while self.start(day + 1) <= position {
            day += 1;
        }
        day
    }

    fn start(&self, day: i64) -> i64 {
        if day < Self::FIRST {
            return i64::MIN;
        }
        if day > Self::LAST + 1 {
            return i64::MAX;
        }
        let midnight = Timestamp::from_microsecond(day * DAY)
            .map(|utc| TimeZone::UTC.to_datetime(utc))
            .and_then(|midnight| self.zone.to_ambiguous_timestamp(midnight).compatible());
        midnight
            .expect("invariant: the first and the last day are well within the calendar")
            .as_microsecond()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn instant(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn check_day(zone: &str, at: &str, start: &str, hours: i64) {
        let days = Layout::Days(Days::of(zone).unwrap());
        let day = days.slice_of(instant(at));
        assert_eq!(days.start(day), instant(start), "{zone} {at}");
        assert_eq!(days.end(day) - days.start(day), hours * HOUR, "{zone} {at}");
    }

    #[test]
    fn a_day_is_as_long_as_the_clocks_of_its_zone_make_it() {
        let new_york = "America/New_York";
        check_day(new_york, "2024-03-10T12:00:00Z", "2024-03-10T05:00:00Z", 23);
        check_day(
            new_york,
            "2024-03-11T03:59:59.999999Z",
            "2024-03-10T05:00:00Z",
            23,
        );
        check_day(new_york, "2024-03-11T04:00:00Z", "2024-03-11T04:00:00Z", 24);
        check_day(new_york, "2024-11-03T12:00:00Z", "2024-11-03T04:00:00Z", 25);
        check_day(new_york, "1969-07-20T20:17:40Z", "1969-07-20T04:00:00Z", 24);
        // Midnight does not exist: the clock went from 23:59:59 to 01:00:00.
        check_day(
            "America/Sao_Paulo",
            "2018-11-04T12:00:00Z",
            "2018-11-04T03:00:00Z",
            23,
        );
        // Between 00:01 and 24:00 of the day before, the clock was set back.
        check_day(
            "America/St_Johns",
            "2006-10-29T02:30:30Z",
            "2006-10-29T02:30:00Z",
            25,
        );
        // The 30th was left out.
        check_day(
            "Pacific/Apia",
            "2011-12-30T09:59:59Z",
            "2011-12-29T10:00:00Z",
            24,
        );
        check_day(
            "Pacific/Apia",
            "2011-12-30T10:00:00Z",
            "2011-12-30T10:00:00Z",
            24,
        );
    }

    #[test]
    fn days_beyond_the_calendar_are_one_window() {
        let days = Layout::Days(Days::of("Asia/Tokyo").unwrap());
        for (at, bounds) in [
            (EventTime::MIN, (i64::MIN, days.start(Days::FIRST))),
            (EventTime::MAX, (days.start(Days::LAST + 1), i64::MAX)),
        ] {
            let day = days.slice_of(position(at));
            assert_eq!((days.start(day), days.end(day)), bounds);
        }
    }

    fn layout() -> impl Strategy<Value = Layout> {
        let grid = (1..60_i64, 1..60_i64, 0..60_i64).prop_map(|(a, b, offset)| {
            let (slide, length) = (a.min(b), a.max(b));
            Layout::Grid(Grid::new(length, slide, offset % slide))
        });
        const ZONES: [&str; 4] = [
            "America/New_York",
            "Australia/Lord_Howe",
            "Pacific/Apia",
            "UTC",
        ];
        let days =
            prop::sample::select(&ZONES[..]).prop_map(|zone| Layout::Days(Days::of(zone).unwrap()));
        prop_oneof![4 => grid, 1 => days]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::soak::cases(2_000)))]

        /// What the numbers say agrees with where windows start and end.
        #[test]
        fn a_position_is_in_the_windows_that_say_so(
            layout in layout(),
            at in prop_oneof![
                -200..200_i64,
                -70_000_000 * HOUR / 1_000..70_000_000 * HOUR / 1_000,
                Just(POSITION_MAX),
                Just(-POSITION_MAX),
            ],
        ) {
            let slice = layout.slice_of(at);
            let windows = layout.windows_of(slice);
            prop_assert!(windows.clone().count() as i64 <= layout.overlap());
            for window in windows.start() - 2..=windows.end() + 2 {
                let holds = layout.start(window) <= at && at < layout.end(window);
                prop_assert_eq!(holds, windows.contains(&window));
                prop_assert_eq!(holds, layout.slices_of(window).contains(&slice));
                let slices = layout.slices_of(window);
                prop_assert_eq!(slices.end - slices.start, layout.per_window());
            }
            prop_assert_eq!(layout.first_ending_after(at), *windows.start());
        }
    }
}
