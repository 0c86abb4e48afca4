//! Every feature against its definition, recomputed from the raw events for every event: any number
//! of windows, disorder, lateness, ties, and a state that is saved and restored mid-stream.
//!
//! `THALWEG_SOAK_CASES` sets how many cases there are: see [`crate::soak`].

mod aggregates;
mod compositions;
mod corrections;
mod statistics;
mod upkeep;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::{FeaturePlan, Features, KeyFeatures, WindowFeatures};
use crate::soak::cases;

/// An event with everything that a feature can be about.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Event {
    at: i64,
    value: Option<f64>,
    id: Option<u64>,
    flag: Option<bool>,
    wanted: bool,
}

impl Event {
    /// The value, if it is present.
    fn finite(&self) -> Option<f64> {
        self.value.filter(|value| value.is_finite())
    }

    fn time(&self) -> EventTime {
        EventTime::from_micros(self.at)
    }
}

/// What is declared and in what stream it runs.
#[derive(Clone, Debug)]
struct Case {
    events: Vec<Event>,
    /// Lengths of bounded windows.
    windows: Vec<u64>,
    /// Whether there is an unbounded window.
    ever: bool,
    lateness: u64,
    /// One bit per family of features.
    families: u32,
    saved_after: usize,
    /// What is held at each event, for a plan that does not hold all.
    held: Option<Vec<Held>>,
}

/// What is held of a key when an event comes for it, by definition.
#[derive(Clone, Debug, Default)]
struct Held {
    /// The first event that counts for what is over everything.
    since: usize,
    /// The events in the log once this one is, by event time, then arrival; this one among them,
    /// also if it goes again at once.
    live: Vec<usize>,
    /// The latest time of the events that were dropped before it.
    truncated: Option<i64>,
    /// The events in each tile.
    tiles: Vec<Vec<usize>>,
}

impl Case {
    fn has(&self, family: u32) -> bool {
        self.families & family != 0
    }

    /// Declares the same features over each window; they get the window's name.
    fn over_each(
        &self,
        f: &mut Features<Event>,
        mut declare: impl FnMut(WindowFeatures<'_, Event>, &str),
    ) {
        for length in &self.windows {
            let over = f.over(std::time::Duration::from_micros(*length));
            declare(over, &length.to_string());
        }
        if self.ever {
            declare(f.ever(), "ever");
        }
    }

    /// The plan, when all is declared.
    fn plan(&self, mut f: Features<Event>) -> FeaturePlan<Event> {
        f.lateness(std::time::Duration::from_micros(self.lateness));
        f.rows_for(|e| e.wanted);
        f.build().unwrap()
    }

    /// The events in each window of event `n`, the event itself being the last if it is included.
    fn windows_of(&self, n: usize, including: bool) -> Vec<Vec<Event>> {
        let (events, event) = (&self.events, self.events[n]);
        let newest = i128::from(events[..=n].iter().map(|e| e.at).max().unwrap());
        let longest = self.windows.iter().copied().max().unwrap_or(0);
        let horizon = newest - i128::from(longest) - i128::from(self.lateness);
        let held = self.held.as_ref().map(|held| &held[n]);
        let window_of = |length: &u64| {
            let edge = i128::from(event.at) - i128::from(*length);
            let mut inside: Vec<(usize, Event)> = (0..n + usize::from(including))
                .map(|m| (m, events[m]))
                .filter(|(_, e)| i128::from(e.at) > edge && e.at <= event.at)
                .filter(|(m, e)| i128::from(e.at) > horizon || *m == n)
                .filter(|(m, _)| held.is_none_or(|held| held.live.contains(m)))
                .collect();
            inside.sort_by_key(|(m, e)| (e.at, *m));
            for tile in held.iter().flat_map(|held| &held.tiles) {
                let last = tile.iter().map(|m| events[*m].at).max().unwrap();
                if i128::from(last) > edge && last <= event.at {
                    inside.extend(tile.iter().map(|m| (*m, events[*m])));
                }
            }
            inside.into_iter().map(|(_, e)| e).collect()
        };
        let bounded = self.windows.iter().map(window_of);
        let since = held.map_or(0, |held| held.since);
        let ever = self
            .ever
            .then(|| events[since..n + usize::from(including)].to_vec());
        bounded.chain(ever).collect()
    }
}

/// Values are multiples of a quarter below 2^40, so that the oracle's plain sums are exact.
fn value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        8 => (-12i32..12).prop_map(|n| Some(f64::from(n) / 4.0)),
        4 => (0u32..4_000).prop_map(|n| Some(1e8 + f64::from(n) / 4.0)),
        1 => Just(Some(1e12)),
        2 => Just(None),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)]
            .prop_map(Some),
    ]
}

fn id() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        1 => Just(None),
        12 => (0u64..9).prop_map(Some),
        4 => (0u64..200).prop_map(Some),
        1 => prop_oneof![Just(Some(u64::MAX)), Just(Some(1 << 32))],
    ]
}

/// Events whose times step forward and, for some, fall back by up to `disorder`.
fn events(disorder: i64, most: usize) -> impl Strategy<Value = Vec<Event>> {
    let step = prop_oneof![5 => 0i64..3, 3 => 0i64..20, 1 => 0i64..300];
    let back = prop_oneof![3 => Just(0), 1 => 0..=disorder];
    let flag = prop_oneof![Just(None), any::<bool>().prop_map(Some)];
    let event = (step, back, value(), id(), flag, prop::bool::weighted(0.8));
    prop::collection::vec(event, 1..most).prop_map(|parts| {
        let mut now = -200;
        let event = |(step, back, value, id, flag, wanted)| {
            now += step;
            Event {
                at: now - back,
                value,
                id,
                flag,
                wanted,
            }
        };
        parts.into_iter().map(event).collect()
    })
}

fn case(most: usize) -> impl Strategy<Value = Case> {
    let length = prop_oneof![1u64..30, 1u64..2_000];
    let windows = prop::collection::btree_set(length, 0..4).prop_map(|set| {
        let mut windows: Vec<u64> = set.into_iter().collect();
        let shortest_last = usize::from(windows.len() > 1);
        windows.rotate_left(shortest_last);
        windows
    });
    let disorder = prop_oneof![Just(0i64), 0i64..60, 0i64..1_500];
    let events = disorder.prop_flat_map(move |disorder| events(disorder, most));
    let lateness = prop_oneof![Just(0u64), 0u64..60, Just(1_500u64)];
    let shape = (windows, any::<bool>(), lateness, any::<u32>());
    (events, shape, 0..most).prop_map(
        |(events, (windows, ever, lateness, families), saved_after)| Case {
            events,
            windows,
            ever,
            lateness,
            families,
            saved_after,
            held: None,
        },
    )
}

/// The features of an event by definition: what is expected, and how far it may be off, as a part
/// of itself or, below one, of one.
type Expected = Vec<(f64, f64)>;

fn agrees(got: f64, (expected, tolerance): (f64, f64)) -> bool {
    got == expected
        || (got.is_nan() && expected.is_nan())
        || (got - expected).abs() <= tolerance * expected.abs().max(1.0)
}

/// Runs generated cases of at most so many events through the features of `declare`, whose values
/// by definition are those of `expected`; `may_be_missing` tells of what state need not remember.
fn check(
    most: usize,
    default_cases: u32,
    declare: impl Fn(&Case) -> FeaturePlan<Event>,
    expected: impl Fn(&Case, usize) -> Expected,
    may_be_missing: impl Fn(&Case, usize, &str) -> bool,
) {
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(cases(default_cases))
    });
    let result = runner.run(&case(most), |case| {
        check_case(&case, declare(&case), &expected, &may_be_missing);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

fn check_case(
    case: &Case,
    mut plan: FeaturePlan<Event>,
    expected: impl Fn(&Case, usize) -> Expected,
    may_be_missing: impl Fn(&Case, usize, &str) -> bool,
) {
    let mut state = KeyFeatures::default();
    let mut restored: Option<KeyFeatures> = None;
    for (n, event) in case.events.iter().enumerate() {
        let mut row = Vec::new();
        plan.update(&mut state, event, event.time(), &mut row);
        if let Some(restored) = &mut restored {
            let mut again = Vec::new();
            plan.update(restored, event, event.time(), &mut again);
            let bits = |row: &[f64]| row.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&row), bits(&again), "event {n} after a restore");
        }
        if n == case.saved_after {
            let bytes = postcard::to_allocvec(&state).unwrap();
            let saved: KeyFeatures = postcard::from_bytes(&bytes).unwrap();
            assert!(plan.accepts(&saved));
            restored = Some(saved);
        }
        if !event.wanted {
            assert!(row.is_empty());
            continue;
        }
        let expected = expected(case, n);
        assert_eq!(row.len(), plan.names().len());
        assert_eq!(row.len(), expected.len());
        for ((name, got), expected) in plan.names().iter().zip(&row).zip(&expected) {
            let forgotten = got.is_nan() && may_be_missing(case, n, name);
            assert!(
                agrees(*got, *expected) || forgotten,
                "event {n} at {}: {name} is {got}, expected {}",
                event.at,
                expected.0
            );
        }
    }
    if let Some(restored) = restored {
        // They may have different room for more events.
        let bytes = |state: &KeyFeatures| {
            let mut packed = state.clone();
            packed.pack();
            postcard::to_allocvec(&packed).unwrap()
        };
        assert_eq!(bytes(&state), bytes(&restored), "saved again");
    }
}
