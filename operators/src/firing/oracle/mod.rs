//! Windows against their definition, on generated streams.

mod definition;
mod generate;

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use thalweg_engine::time::EventTime;

use super::testing::{Greatest, Harness, Listed, Op, Rounded, Total};
use super::{Fired, Window};
use crate::aggregate::Aggregate;
use definition::{Expected, expected};
use generate::case;

const ZONE: &str = "America/New_York";

#[derive(Clone, Copy, Debug)]
enum Kind {
    Hopping {
        length: i64,
        slide: i64,
        offset: i64,
    },
    Daily,
    Session {
        gap: i64,
    },
    Count {
        events: u64,
        slide: u64,
    },
    Global,
}

/// What windows there are and what happens to them; times are microseconds.
#[derive(Clone, Debug)]
struct Case {
    kind: Kind,
    lateness: i64,
    early_events: Option<u64>,
    early_period: Option<i64>,
    discarding: bool,
    ops: Vec<Op>,
    saved_after: usize,
}

impl Case {
    fn window(&self) -> Window {
        let micros = |n: i64| Duration::from_micros(n.unsigned_abs());
        let mut window = match self.kind {
            Kind::Hopping {
                length,
                slide,
                offset,
            } => Window::hopping(micros(length), micros(slide)).offset(micros(offset)),
            Kind::Daily => Window::daily(ZONE),
            Kind::Session { gap } => Window::session(micros(gap)),
            Kind::Count { events, slide } => Window::count_sliding(events, slide),
            Kind::Global => Window::global(),
        };
        if !matches!(self.kind, Kind::Count { .. }) {
            window = window.lateness(micros(self.lateness));
            if let Some(period) = self.early_period {
                window = window.early_period(micros(period));
            }
            if self.ops.contains(&Op::Wake) {
                window = window.early_every(micros(1));
            }
        }
        if let Some(events) = self.early_events {
            window = window.early_events(events);
        }
        if self.discarding {
            window.discarding()
        } else {
            window
        }
    }
}

fn run<A: Aggregate<Input = i64>>(case: &Case, aggregate: A, save: bool) -> Harness<A> {
    let mut harness = Harness::new(&case.window(), aggregate);
    let (before, after) = case.ops.split_at(case.saved_after.min(case.ops.len()));
    harness.run(before);
    if save {
        harness.save_and_restore();
    }
    harness.run(after);
    harness.watermark(EventTime::MAX);
    harness
}

/// Compares what an aggregate's windows give, whose answer on a list of values is `of`.
fn compare<A: Aggregate<Input = i64>>(
    case: &Case,
    aggregate: A,
    of: impl Fn(&Expected, &A::Output) -> bool,
) {
    let (expected, late) = expected(case);
    let found = run(case, aggregate, true);
    assert_eq!(found.late, late);
    assert_eq!(found.fired.len(), expected.len(), "{expected:#?}");
    for (fired, expected) in found.fired.iter().zip(&expected) {
        let Fired {
            start,
            end,
            timing,
            pane,
            events,
            time,
            ..
        } = fired;
        let bounds = (start.as_micros(), end.as_micros());
        assert_eq!(
            (bounds, *timing, *pane, *events, time.as_micros()),
            (
                expected.bounds,
                expected.timing,
                expected.pane,
                expected.values.len() as u64,
                expected.time
            ),
            "{expected:?}"
        );
        assert!(of(expected, &fired.value), "{expected:?}");
    }
    let origins: BTreeSet<_> = found.fired.iter().map(|fired| fired.origin).collect();
    assert_eq!(
        origins.len(),
        found.fired.len(),
        "results have ids of their own"
    );
    assert!(found.state.is_empty(), "nothing is left at the end");
}

fn check(case: &Case) {
    compare(case, Total, |expected, total| {
        *total == expected.values.iter().sum::<i64>()
    });
    compare(case, Greatest, |expected, max| {
        *max == expected.values.iter().max().copied()
    });
    compare(case, Listed, |expected, list| {
        let (mut list, mut values) = (list.clone(), expected.values.clone());
        if !expected.ordered {
            list.sort_unstable();
            values.sort_unstable();
        }
        list == values
    });
    let (on, restored) = (run(case, Rounded, false), run(case, Rounded, true));
    let bits = |harness: &Harness<Rounded>| {
        let values = harness.fired.iter().map(|fired| fired.value);
        values.collect::<Vec<_>>()
    };
    assert_eq!(
        bits(&on),
        bits(&restored),
        "to the last bit after a restore"
    );
}

/// Runs as a step in event-time order does: what a watermark has passed comes sorted, then the
/// watermark itself.
fn in_event_time_order(case: &Case, released_at: &[i64]) -> Vec<String> {
    let mut events: Vec<(i64, u64, i64)> = Vec::new();
    for op in &case.ops {
        if let Op::Event(at, value) = op {
            events.push((at.as_micros(), events.len() as u64, *value));
        }
    }
    events.sort_unstable();
    let mut harness = Harness::new(&case.window(), Rounded);
    let mut events = events.into_iter().peekable();
    for watermark in released_at.iter().copied().chain([i64::MAX]) {
        while let Some((at, number, value)) = events.next_if(|(at, ..)| *at < watermark) {
            let at = EventTime::from_micros(at);
            harness.event(at, number, value, at);
        }
        harness.watermark(EventTime::from_micros(watermark));
    }
    let mut fired: Vec<_> = harness
        .fired
        .iter()
        .map(|f| {
            (
                f.time, f.origin, f.start, f.end, f.timing, f.pane, f.events, f.value,
            )
        })
        .collect();
    fired.sort();
    fired.iter().map(|fired| format!("{fired:?}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::soak::cases(10_000)))]

    #[test]
    fn windows_give_what_their_definition_says(case in case()) {
        check(&case);
    }

    #[test]
    fn in_event_time_order_nothing_depends_on_when_the_watermark_moves(
        case in case(),
        moves in prop::collection::btree_set(-70..400_i64, 0..12),
    ) {
        let scale = |n: i64| match case.kind {
            Kind::Daily => n * 20 * 60_000_000 + 1_710_086_400_000_000,
            _ => n,
        };
        let moves: Vec<i64> = moves.into_iter().map(scale).collect();
        let (often, once) = (in_event_time_order(&case, &moves), in_event_time_order(&case, &[]));
        prop_assert_eq!(often, once);
    }
}
