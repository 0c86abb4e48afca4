//! Time per event against one thing at a time, the others held.

use std::time::{Duration, Instant};

use thalweg::prelude::EventTime;
use thalweg_engine::state::KeyedState;
use thalweg_operators::features::{FeaturePlan, KeyFeatures};

use super::declare::{Event, Last, plan};

/// Keys that take turns: few, so that what is seen is the operator and not the memory's speed.
const KEYS: u64 = 16;
/// Events of each key that are measured, after the windows have filled.
const EVENTS: u64 = 8_000;
/// Runs of each point, of which the best counts.
const RUNS: usize = 5;

/// Nanoseconds per event, point by point.
pub(crate) struct Curve {
    pub(crate) title: &'static str,
    pub(crate) axis: &'static str,
    /// Whether the axis is one of powers, or of numbers.
    pub(crate) powers: bool,
    pub(crate) points: Vec<(u64, f64)>,
}

impl Curve {
    fn new(
        title: &'static str,
        axis: &'static str,
        xs: impl Iterator<Item = u64>,
        cost_ns: impl Fn(u64) -> f64,
    ) -> Self {
        let points = xs.map(|x| (x, cost_ns(x))).collect();
        Self {
            title,
            axis,
            powers: true,
            points,
        }
    }

    /// The last point's cost over the first's, to two decimals.
    pub(crate) fn last_over_first(&self) -> f64 {
        let (first, last) = (self.points[0].1, self.points[self.points.len() - 1].1);
        (last / first * 100.0).round() / 100.0
    }
}

/// One window of 1 minute to 45 days that always holds 64 events.
pub(crate) fn window_length() -> Curve {
    let minutes = (0..9).map(|n| 4u64.pow(n));
    Curve::new(
        "window length, 64 live events",
        "minutes",
        minutes,
        |minutes| {
            let window = Duration::from_secs(60 * minutes);
            cost_ns(
                &|| plan(std::iter::once(window), Last::Distinct),
                64,
                window,
            )
        },
    )
}

/// One window of an hour that holds 16 to 65,536 events.
pub(crate) fn live_events() -> Curve {
    let counts = (0..7).map(|n| 16 * 4u64.pow(n));
    Curve::new("live events, one window", "live events", counts, |live| {
        let window = Duration::from_secs(3_600);
        cost_ns(
            &|| plan(std::iter::once(window), Last::Distinct),
            live,
            window,
        )
    })
}

/// 1 to 32 windows, the longest of which holds 1,024 events.
pub(crate) fn windows() -> Curve {
    let counts = (0..6).map(|n| 2u64.pow(n));
    let curve = Curve::new(
        "number of windows, 1,024 live events",
        "windows",
        counts,
        |count| {
            let longest = Duration::from_secs(3_600);
            let windows = move || (1..=count).map(move |n| longest * n as u32 / count as u32);
            cost_ns(&|| plan(windows(), Last::Distinct), 1_024, longest)
        },
    );
    Curve {
        powers: false,
        ..curve
    }
}

/// The best of several runs over events so far apart that `live` are in `longest`.
fn cost_ns(plan: &dyn Fn() -> FeaturePlan<Event>, live: u64, longest: Duration) -> f64 {
    let apart_us = longest.as_micros() as u64 / live;
    let runs = (0..RUNS).map(|_| run_ns(&mut plan(), live, apart_us));
    runs.fold(f64::INFINITY, f64::min)
}

fn run_ns(plan: &mut FeaturePlan<Event>, live: u64, apart_us: u64) -> f64 {
    let mut keys = KeyedState::<u64, KeyFeatures>::default();
    let mut row = Vec::new();
    let mut feed = |round: u64| {
        for key in 0..KEYS {
            row.clear();
            let event = Event::nth(round * KEYS + key);
            let at = EventTime::from_micros((round * apart_us).cast_signed());
            plan.update(keys.entry(&key), &event, at, &mut row);
        }
        std::hint::black_box(&row);
    };
    let full = live + live / 4;
    (0..full).for_each(&mut feed);
    let begun = Instant::now();
    (full..full + EVENTS).for_each(&mut feed);
    begun.elapsed().as_nanos() as f64 / (EVENTS * KEYS) as f64
}
