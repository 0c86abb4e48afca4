//! Every feature against its definition, recomputed from the raw events for every event.

use proptest::prelude::*;
use thalweg_engine::time::EventTime;

use super::{FeaturePlan, Features, KeyFeatures};

/// An event with everything that a feature can be about.
#[derive(Clone, Copy, Debug)]
struct Event {
    at: i64,
    value: Option<f64>,
    id: Option<u64>,
    flag: Option<bool>,
    wanted: bool,
}

/// What is declared and in what stream it runs.
#[derive(Clone, Debug)]
struct Case {
    events: Vec<Event>,
    windows: Vec<u64>,
    lateness: u64,
    /// One bit per family of features.
    families: u32,
    saved_after: usize,
}

const COUNT: u32 = 1;
const MOMENTS: u32 = 2;
const EXTREMES: u32 = 4;
const FLAGS: u32 = 8;
const IDS: u32 = 16;
const EVER: u32 = 32;
const TRAILS: u32 = 64;

fn declare(case: &Case) -> FeaturePlan<Event> {
    let mut f = Features::<Event>::new();
    let value = f.column(|e: &Event| e.value);
    let has = |family| case.families & family != 0;
    f.value("value", value);
    let windows = case.windows.iter().map(|length| Some(*length));
    for window in windows.chain(has(EVER).then_some(None)) {
        let name = |what: &str| format!("{what}_{window:?}");
        let mut over = match window {
            Some(length) => f.over(std::time::Duration::from_micros(length)),
            None => f.ever(),
        };
        if has(COUNT) {
            over = over.count(&name("count"));
        }
        if has(MOMENTS) {
            over = over.sum(&name("sum"), value).mean(&name("mean"), value);
            over = over
                .variance(&name("variance"), value)
                .std(&name("std"), value);
        }
        if has(EXTREMES) {
            over = over.min(&name("min"), value).max(&name("max"), value);
        }
        if has(FLAGS) {
            over = over.count_if(&name("count_if"), |e| e.flag);
            over = over.count_if(&name("big"), |e| e.value.is_some_and(|v| v > 1.0));
            over = over.share(&name("share"), |e| e.flag);
        }
        if has(IDS) {
            over.distinct(&name("distinct"), |e| e.id);
        }
    }
    if has(TRAILS) {
        f.last("last", value);
        f.since_last("since", |e| e.flag);
    }
    f.lateness(std::time::Duration::from_micros(case.lateness));
    f.rows_for(|e| e.wanted);
    f.build().unwrap()
}

/// The features of event `n` by definition, and whether its trails must be found.
fn expected(case: &Case, n: usize) -> (Vec<f64>, bool) {
    let (events, event) = (&case.events[..=n], case.events[n]);
    let has = |family| case.families & family != 0;
    let newest = i128::from(events.iter().map(|e| e.at).max().unwrap());
    let longest = case.windows.iter().copied().max().unwrap_or(0);
    let horizon = newest - i128::from(longest) - i128::from(case.lateness);
    let mut row = vec![finite(&event).unwrap_or(f64::NAN)];
    for window in &case.windows {
        let edge = i128::from(event.at) - i128::from(*window);
        let inside: Vec<Event> = (0..=n)
            .map(|m| (m, events[m]))
            .filter(|(_, e)| i128::from(e.at) > edge && e.at <= event.at)
            .filter(|(m, e)| i128::from(e.at) > horizon || *m == n)
            .map(|(_, e)| e)
            .collect();
        statistics(case, &inside, &mut row);
    }
    if has(EVER) {
        statistics(case, events, &mut row);
    }
    if has(TRAILS) {
        let earlier = |wanted: fn(&Event) -> bool| {
            let before = events[..n].iter().filter(|e| wanted(e) && e.at <= event.at);
            before.max_by_key(|e| e.at)
        };
        row.push(
            earlier(|e| finite(e).is_some())
                .and_then(finite)
                .unwrap_or(f64::NAN),
        );
        let since = earlier(|e| e.flag == Some(true)).map(|e| event.at.abs_diff(e.at));
        row.push(since.map_or(f64::NAN, |micros| micros as f64 / 1e6));
    }
    (
        row,
        i128::from(event.at) >= newest - i128::from(case.lateness),
    )
}

fn finite(event: &Event) -> Option<f64> {
    event.value.filter(|value| value.is_finite())
}

/// What is asked of the events in one window.
fn statistics(case: &Case, inside: &[Event], row: &mut Vec<f64>) {
    let has = |family| case.families & family != 0;
    let values: Vec<f64> = inside.iter().filter_map(finite).collect();
    let n = values.len() as f64;
    let known = inside.iter().filter(|e| e.flag.is_some()).count() as f64;
    let holding = inside.iter().filter(|e| e.flag == Some(true)).count() as f64;
    if has(COUNT) {
        row.push(inside.len() as f64);
    }
    if has(MOMENTS) {
        let sum = values.iter().sum::<f64>();
        let deviations: f64 = values.iter().map(|v| (v - sum / n).powi(2)).sum();
        let variance = if n < 2.0 {
            f64::NAN
        } else {
            deviations / (n - 1.0)
        };
        row.extend([sum + 0.0, sum / n, variance, variance.sqrt()]);
    }
    if has(EXTREMES) {
        row.push(values.iter().copied().fold(f64::NAN, f64::min));
        row.push(values.iter().copied().fold(f64::NAN, f64::max));
    }
    if has(FLAGS) {
        let big = inside
            .iter()
            .filter(|e| e.value.is_some_and(|v| v > 1.0))
            .count();
        row.extend([holding, big as f64, holding / known]);
    }
    if has(IDS) {
        let ids: std::collections::BTreeSet<u64> = inside.iter().filter_map(|e| e.id).collect();
        row.push(ids.len() as f64);
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
fn events(disorder: i64) -> impl Strategy<Value = Vec<Event>> {
    let step = prop_oneof![5 => 0i64..3, 3 => 0i64..20, 1 => 0i64..300];
    let back = prop_oneof![3 => Just(0), 1 => 0..=disorder];
    let flag = prop_oneof![Just(None), any::<bool>().prop_map(Some)];
    let event = (step, back, value(), id(), flag, prop::bool::weighted(0.8));
    prop::collection::vec(event, 1..240).prop_map(|parts| {
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

fn case() -> impl Strategy<Value = Case> {
    let length = prop_oneof![1u64..30, 1u64..2_000];
    let windows = prop::collection::btree_set(length, 0..4).prop_map(|set| {
        let mut windows: Vec<u64> = set.into_iter().collect();
        let shortest_last = usize::from(windows.len() > 1);
        windows.rotate_left(shortest_last);
        windows
    });
    let events = prop_oneof![Just(0i64), 0i64..60, 0i64..1_500].prop_flat_map(events);
    let lateness = prop_oneof![Just(0u64), 0u64..60, Just(1_500u64)];
    (events, windows, lateness, 0u32..128, 0usize..240).prop_map(
        |(events, windows, lateness, families, saved_after)| Case {
            events,
            windows,
            lateness,
            families,
            saved_after,
        },
    )
}

fn agrees(got: f64, expected: f64) -> bool {
    got == expected
        || (got.is_nan() && expected.is_nan())
        || (got - expected).abs() <= 1e-9 * expected.abs()
}

fn check(case: &Case) {
    let mut plan = declare(case);
    let mut state = KeyFeatures::default();
    let mut restored: Option<KeyFeatures> = None;
    for (n, event) in case.events.iter().enumerate() {
        let mut row = Vec::new();
        plan.update(
            &mut state,
            event,
            EventTime::from_micros(event.at),
            &mut row,
        );
        if let Some(restored) = &mut restored {
            let mut again = Vec::new();
            plan.update(
                restored,
                event,
                EventTime::from_micros(event.at),
                &mut again,
            );
            let bits = |row: &[f64]| row.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&row), bits(&again), "event {n} after a restore");
        }
        if n == case.saved_after {
            let bytes = postcard::to_allocvec(&state).unwrap();
            restored = Some(postcard::from_bytes(&bytes).unwrap());
        }
        if !event.wanted {
            assert!(row.is_empty());
            continue;
        }
        let (expected, timely) = expected(case, n);
        assert_eq!(row.len(), plan.names().len());
        assert_eq!(row.len(), expected.len());
        for ((name, got), expected) in plan.names().iter().zip(&row).zip(&expected) {
            let forgotten = !timely && got.is_nan() && (name == "last" || name == "since");
            assert!(
                agrees(*got, *expected) || forgotten,
                "event {n} at {}: {name} is {got}, expected {expected}",
                event.at
            );
        }
    }
    if let Some(restored) = restored {
        let bytes = |state: &KeyFeatures| postcard::to_allocvec(state).unwrap();
        assert_eq!(bytes(&state), bytes(&restored), "saved again");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn features_are_what_their_definitions_say(case in case()) {
        check(&case);
    }
}
