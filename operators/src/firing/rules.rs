//! [`Window`]: which windows there are and when they fire, as the user says it.

use std::time::Duration;

use super::error::WindowError;
use super::layout::{Days, Grid, Layout, SPAN_MAX};

/// The most windows that an event may touch one by one.
const OVERLAP_MAX: i64 = 10_000;

/// The windows of a step: of what kind, how long, and when they fire.
///
/// A window fires **on time** once the watermark has passed its end, and at the end of input. On
/// request it fires **early** as well, and **late** for events that come afterwards. A window that
/// has no events does not exist and never fires.
///
/// ```
/// use thalweg_engine::time::{hours, minutes};
/// use thalweg_operators::firing::Window;
///
/// // The last 24 hours, every hour; first results after every 100 events of a window; events may
/// // come five minutes after the watermark.
/// let spend = Window::hopping(hours(24), hours(1)).early_events(100).lateness(minutes(5));
/// // Midnight to midnight in New York, which twice a year is not 24 hours.
/// let day = Window::daily("America/New_York");
/// # let _ = (spend, day);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a window does nothing until a stream is given it"]
pub struct Window {
    kind: Kind,
    offset: Duration,
    lateness: Duration,
    early_events: Option<u64>,
    early_period: Option<Duration>,
    early_every: Option<Duration>,
    discarding: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Hopping { length: Duration, slide: Duration },
    Daily(String),
    Session(Duration),
    Count { events: u64, slide: u64 },
    Global,
}

impl Window {
    fn of(kind: Kind) -> Self {
        Self {
            kind,
            offset: Duration::ZERO,
            lateness: Duration::ZERO,
            early_events: None,
            early_period: None,
            early_every: None,
            discarding: false,
        }
    }

    /// Windows of this length one after another, laid out from the epoch: `[0, length)`,
    /// `[length, 2 length)` and so on, and the same before the epoch.
    pub fn tumbling(length: Duration) -> Self {
        Self::hopping(length, length)
    }

    /// Windows of this length, one beginning at every multiple of `slide` from the epoch. The
    /// windows share what they have in common, so an event costs the same however many windows it
    /// is in.
    pub fn hopping(length: Duration, slide: Duration) -> Self {
        Self::of(Kind::Hopping { length, slide })
    }

    /// Calendar days of a time zone of the IANA database, from local midnight to local midnight:
    /// 23 or 25 hours long when daylight saving begins or ends. A day whose midnight the clock
    /// leaves out begins at its first instant. The database is compiled in.
    ///
    /// What is further from the epoch than the calendar reaches (the years -9997 to 9997) is in one
    /// window before it and one after it.
    pub fn daily(zone: &str) -> Self {
        Self::of(Kind::Daily(zone.to_owned()))
    }

    /// Sessions: events of a key less than `gap` apart. A session ends `gap` after its last event,
    /// so two events exactly `gap` apart are in two sessions; an event between two sessions can
    /// make them one, which goes on with the greater pane number.
    pub fn session(gap: Duration) -> Self {
        Self::of(Kind::Session(gap))
    }

    /// Every `events` events of a key, in the order in which the step processes them; none is ever
    /// late. At the end of input, the events since the last firing are one more window; so that it
    /// follows all others, its result has the last event time there is but one.
    ///
    /// A window's start is the time of its earliest event, its end a microsecond after that of its
    /// latest. A key's state is kept until the end of input.
    pub fn count(events: u64) -> Self {
        Self::count_sliding(events, events)
    }

    /// After every `slide` events of a key, the last `events` of them, or all where there are not
    /// so many yet; otherwise as [`count`](Self::count).
    pub fn count_sliding(events: u64, slide: u64) -> Self {
        Self::of(Kind::Count { events, slide })
    }

    /// One window for all events of a key, from [`EventTime::MIN`] to [`EventTime::MAX`]: it fires
    /// early when asked to, with [`early_events`](Self::early_events) or
    /// [`early_period`](Self::early_period), and on time at the end of input. A key's state is kept
    /// until then.
    ///
    /// [`EventTime::MIN`]: thalweg_engine::time::EventTime::MIN
    /// [`EventTime::MAX`]: thalweg_engine::time::EventTime::MAX
    pub fn global() -> Self {
        Self::of(Kind::Global)
    }

    /// Lays out tumbling and hopping windows from this long after the epoch.
    pub fn offset(mut self, offset: Duration) -> Self {
        self.offset = offset;
        self
    }

    /// How far the watermark may be past a window's end while events for it are still taken in,
    /// each of which makes it fire late; zero unless set. A window's state is kept until then.
    ///
    /// An event all of whose windows are further behind goes to the step's late stream. An event
    /// behind the watermark whose window has not ended is not late; where an aggregate needs events
    /// in order, one that is further behind the watermark than the lateness goes after those that
    /// were complete before it came.
    pub fn lateness(mut self, lateness: Duration) -> Self {
        self.lateness = lateness;
        self
    }

    /// Has every window fire early after each `events` events that it has not given yet.
    pub fn early_events(mut self, events: u64) -> Self {
        self.early_events = Some(events);
        self
    }

    /// Has every window fire early at the first multiple of `period`, in event time from the epoch,
    /// after an event that it has not given yet, once the watermark gets there. The clock on the
    /// wall plays no part; it does in [`early_every`](Self::early_every).
    pub fn early_period(mut self, period: Duration) -> Self {
        self.early_period = Some(period);
        self
    }

    /// Has every window that has events which it has not given yet fire early once in every `period`
    /// of the job's clock, also while nothing comes and the watermark stands still.
    ///
    /// What these firings hold depends on when events come, so they are not the same in a replay,
    /// nor with another number of workers; with [`discarding`](Self::discarding) that is true of all
    /// firings. A result is stamped with the time of the window's latest event or, where that is
    /// later and inside the window, with that of the watermark.
    pub fn early_every(mut self, period: Duration) -> Self {
        self.early_every = Some(period);
        self
    }

    /// Has each firing give only what came since the window's last one; otherwise each gives all
    /// events of the window so far. A firing that has nothing new is left out then.
    ///
    /// Hopping windows that discard share nothing: an event costs one addition for each window it
    /// is in.
    pub fn discarding(mut self) -> Self {
        self.discarding = true;
        self
    }

    /// What the state of a key depends on, in words: where windows lie, and whether they discard.
    /// When else they fire, and until when, may be another after a restart.
    pub(super) fn layout(&self) -> String {
        let of = match &self.kind {
            Kind::Hopping { length, slide } => {
                let offset = self.offset.as_micros().checked_rem(slide.as_micros());
                let offset = Duration::from_micros(offset.unwrap_or(0) as u64);
                format!("hopping, {length:?} every {slide:?} from {offset:?}")
            }
            Kind::Daily(zone) => format!("daily, {}", zone.to_ascii_lowercase()),
            Kind::Session(gap) => format!("session, {gap:?} apart"),
            Kind::Count { events, slide } => format!("count, {events} every {slide}"),
            Kind::Global => "global".to_owned(),
        };
        let discarding = if self.discarding { ", discarding" } else { "" };
        of + discarding
    }

    /// Checks and compiles the declaration.
    pub(super) fn rules(&self) -> Result<Rules, Vec<WindowError>> {
        let mut errors = Vec::new();
        let frame = self.frame(&mut errors);
        let lateness = micros(self.lateness);
        if lateness > SPAN_MAX {
            errors.push(WindowError::TooLong { what: "lateness" });
        }
        if self.early_events == Some(0) {
            errors.push(WindowError::Zero {
                what: "number of events between early firings",
            });
        }
        let early_period = self
            .early_period
            .map(|period| span(period, "period of early firings", &mut errors));
        if let Some(period) = self.early_every {
            span(period, "period of early firings by the clock", &mut errors);
        }
        if let Kind::Count { .. } = self.kind {
            let unfit = [
                (lateness > 0, "lateness"),
                (early_period.is_some(), "a period of early firings"),
                (
                    self.early_every.is_some(),
                    "a period of early firings by the clock",
                ),
            ];
            for (_, what) in unfit.into_iter().filter(|(unfit, _)| *unfit) {
                errors.push(WindowError::Unfit {
                    what,
                    kind: "count",
                });
            }
        }
        let Some(frame) = frame else {
            return Err(errors);
        };
        let rules = Rules {
            frame,
            lateness,
            early_events: self.early_events,
            early_period,
            early_every: self.early_every,
            discarding: self.discarding,
        };
        let windows = rules.overlap();
        if windows > OVERLAP_MAX && (rules.fires_again() || rules.discarding) {
            let limit = OVERLAP_MAX;
            errors.push(WindowError::TooManyWindows { windows, limit });
        }
        if errors.is_empty() {
            Ok(rules)
        } else {
            Err(errors)
        }
    }

    fn frame(&self, errors: &mut Vec<WindowError>) -> Option<Frame> {
        if !self.offset.is_zero() && !matches!(self.kind, Kind::Hopping { .. }) {
            let kind = self.kind.name();
            errors.push(WindowError::Unfit {
                what: "an offset",
                kind,
            });
        }
        let before = errors.len();
        let frame = match &self.kind {
            Kind::Hopping { length, slide } => {
                let length = span(*length, "length of a window", errors);
                let slide = span(*slide, "slide of a window", errors);
                if slide > length {
                    errors.push(WindowError::Gaps);
                }
                if errors.len() > before {
                    return None;
                }
                let offset = i64::try_from(self.offset.as_micros() % slide.unsigned_abs() as u128);
                Frame::time(Layout::Grid(Grid::new(length, slide, offset.unwrap_or(0))))
            }
            Kind::Daily(zone) => match Days::of(zone) {
                Some(days) => Frame::time(Layout::Days(days)),
                None => {
                    errors.push(WindowError::UnknownZone { zone: zone.clone() });
                    return None;
                }
            },
            Kind::Session(gap) => Frame::Session {
                gap: span(*gap, "gap of a session", errors),
            },
            Kind::Count { events, slide } => {
                let [length, slide] =
                    [events, slide].map(|n| i64::try_from(*n).unwrap_or(i64::MAX));
                if length == 0 || slide == 0 {
                    errors.push(WindowError::Zero {
                        what: "number of events of a window",
                    });
                }
                if length > SPAN_MAX {
                    errors.push(WindowError::TooLong {
                        what: "number of events of a window",
                    });
                }
                if slide > length {
                    errors.push(WindowError::Gaps);
                }
                if errors.len() > before {
                    return None;
                }
                // Windows end at the multiples of the slide.
                let offset = (-length).rem_euclid(slide);
                Frame::Aligned {
                    layout: Layout::Grid(Grid::new(length, slide, offset)),
                    axis: Axis::Count { slide },
                }
            }
            Kind::Global => Frame::time(Layout::Whole),
        };
        (errors.len() == before).then_some(frame)
    }
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Self::Hopping { .. } => "hopping",
            Self::Daily(_) => "daily",
            Self::Session(_) => "session",
            Self::Count { .. } => "count",
            Self::Global => "global",
        }
    }
}

/// Compiled rules; all spans in microseconds.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) frame: Frame,
    pub(super) lateness: i64,
    pub(super) early_events: Option<u64>,
    pub(super) early_period: Option<i64>,
    pub(super) early_every: Option<Duration>,
    pub(super) discarding: bool,
}

/// How windows lie.
#[derive(Debug)]
pub(super) enum Frame {
    /// At places that do not depend on the events.
    Aligned { layout: Layout, axis: Axis },
    /// Around events less than `gap` apart.
    Session { gap: i64 },
}

/// What windows are measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    /// Event time.
    Time,
    /// The number of the event of its key, from 0; firing after every `slide`.
    Count { slide: i64 },
}

impl Frame {
    fn time(layout: Layout) -> Self {
        let axis = Axis::Time;
        Self::Aligned { layout, axis }
    }
}

impl Rules {
    pub(super) fn is_count(&self) -> bool {
        let Frame::Aligned { axis, .. } = &self.frame else {
            return false;
        };
        *axis != Axis::Time
    }

    pub(super) fn fires_early(&self) -> bool {
        self.early_events.is_some() || self.early_period.is_some() || self.early_every.is_some()
    }

    /// Whether a window can fire more than once.
    pub(super) fn fires_again(&self) -> bool {
        self.fires_early() || self.lateness > 0
    }

    /// The most windows that an event is in.
    pub(super) fn overlap(&self) -> i64 {
        match &self.frame {
            Frame::Aligned { layout, .. } => layout.overlap(),
            Frame::Session { .. } => 1,
        }
    }
}

/// A span in whole microseconds, which must be at least one and not beyond all reason.
fn span(span: Duration, what: &'static str, errors: &mut Vec<WindowError>) -> i64 {
    let micros = micros(span);
    if micros == 0 {
        errors.push(WindowError::Zero { what });
    }
    if micros > SPAN_MAX {
        errors.push(WindowError::TooLong { what });
    }
    micros.clamp(1, SPAN_MAX)
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_engine::time::{hours, secs};

    fn check(window: Window, expected: &[&str]) {
        let found: Vec<String> = match window.rules() {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, part) in found.iter().zip(expected) {
            assert!(found.contains(part), "{found}");
        }
    }

    #[test]
    fn what_cannot_be_is_an_error_that_names_it() {
        check(
            Window::tumbling(Duration::ZERO),
            &["length of a window", "slide of a window"],
        );
        check(
            Window::tumbling(Duration::from_nanos(10)),
            &["length", "slide"],
        );
        check(Window::tumbling(Duration::MAX), &["length", "slide"]);
        check(
            Window::hopping(hours(1), hours(2)),
            &["longer than the window"],
        );
        check(Window::session(secs(0)), &["gap of a session"]);
        check(
            Window::session(secs(1)).offset(secs(1)),
            &["session windows"],
        );
        check(Window::count(0), &["number of events of a window"]);
        check(Window::count_sliding(2, 3), &["longer than the window"]);
        check(
            Window::count(2)
                .lateness(secs(1))
                .early_period(secs(1))
                .early_every(secs(1)),
            &["lateness", "period", "by the clock"],
        );
        check(
            Window::global()
                .early_events(0)
                .early_period(secs(0))
                .early_every(secs(0))
                .lateness(Duration::MAX),
            &["lateness", "between early", "period", "by the clock"],
        );
        check(
            Window::hopping(hours(24), Duration::from_millis(1)).discarding(),
            &["86400000 windows"],
        );
    }

    #[test]
    fn an_unknown_zone_is_an_error_that_names_it_and_the_remedy() {
        let window = Window::daily("Europe/Atlantis");
        check(
            window,
            &["time zone `Europe/Atlantis` is unknown; use a name"],
        );
    }

    #[test]
    fn what_can_be_is_no_error() {
        for window in [
            Window::tumbling(Duration::from_micros(1)),
            Window::hopping(hours(24), Duration::from_millis(1)),
            Window::hopping(secs(7), secs(3)).offset(hours(9)),
            Window::daily("america/new_york").early_period(hours(1)),
            Window::session(secs(1))
                .lateness(hours(1))
                .early_events(2)
                .discarding(),
            Window::count_sliding(100, 1).early_events(3),
            Window::global(),
        ] {
            check(window, &[]);
        }
    }
}
