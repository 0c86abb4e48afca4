//! What a window is asked without an aggregate of its own, with the event and without it, and
//! trails.

use super::*;

const COUNT: u32 = 1;
const MOMENTS: u32 = 2;
const EXTREMES: u32 = 4;
const FLAGS: u32 = 8;
const IDS: u32 = 16;
const TRAILS: u32 = 32;
const INCLUDING: u32 = 64;
const EXCLUDING: u32 = 128;

fn declare(case: &Case) -> FeaturePlan<Event> {
    let mut f = Features::<Event>::new();
    f.value("value", |e| e.value);
    case.over_each(&mut f, |mut over, window| {
        if case.has(INCLUDING) {
            over = declare_statistics(case, over, window);
        }
        if case.has(EXCLUDING) {
            declare_statistics(case, over.excluding(), &format!("{window}_before"));
        }
    });
    if case.has(TRAILS) {
        f.last("last", |e| e.value);
        f.since_last("since", |e| e.flag);
    }
    case.plan(f)
}

fn declare_statistics<'a>(
    case: &Case,
    mut over: WindowFeatures<'a, Event>,
    window: &str,
) -> WindowFeatures<'a, Event> {
    let name = |what: &str| format!("{what}_{window}");
    let value = |e: &Event| e.value;
    if case.has(COUNT) {
        over = over.count(&name("count"));
    }
    if case.has(MOMENTS) {
        over = over.sum(&name("sum"), value).mean(&name("mean"), value);
        over = over
            .variance(&name("variance"), value)
            .std(&name("std"), value);
    }
    if case.has(EXTREMES) {
        over = over.min(&name("min"), value).max(&name("max"), value);
    }
    if case.has(FLAGS) {
        over = over.count_if(&name("count_if"), |e| e.flag);
        over = over.count_if(&name("big"), |e| e.value.is_some_and(|v| v > 1.0));
        over = over.share(&name("share"), |e| e.flag);
    }
    if case.has(IDS) {
        over = over.distinct(&name("distinct"), |e| e.id);
    }
    over
}

fn expected(case: &Case, n: usize) -> Expected {
    let (events, event) = (&case.events[..=n], case.events[n]);
    let mut row = vec![event.finite().unwrap_or(f64::NAN)];
    let (including, excluding) = (case.windows_of(n, true), case.windows_of(n, false));
    for (including, excluding) in including.iter().zip(&excluding) {
        if case.has(INCLUDING) {
            statistics(case, including, &mut row);
        }
        if case.has(EXCLUDING) {
            statistics(case, excluding, &mut row);
        }
    }
    if case.has(TRAILS) {
        let earlier = |wanted: fn(&Event) -> bool| {
            let before = events[..n].iter().filter(|e| wanted(e) && e.at <= event.at);
            before.max_by_key(|e| e.at)
        };
        let last = earlier(|e| e.finite().is_some()).and_then(Event::finite);
        row.push(last.unwrap_or(f64::NAN));
        let since = earlier(|e| e.flag == Some(true)).map(|e| event.at.abs_diff(e.at));
        row.push(since.map_or(f64::NAN, |micros| micros as f64 / 1e6));
    }
    row.into_iter().map(|value| (value, 1e-9)).collect()
}

/// What is asked of the events in one window.
fn statistics(case: &Case, inside: &[Event], row: &mut Vec<f64>) {
    let values: Vec<f64> = inside.iter().filter_map(Event::finite).collect();
    let n = values.len() as f64;
    let known = inside.iter().filter(|e| e.flag.is_some()).count() as f64;
    let holding = inside.iter().filter(|e| e.flag == Some(true)).count() as f64;
    if case.has(COUNT) {
        row.push(inside.len() as f64);
    }
    if case.has(MOMENTS) {
        let sum = values.iter().sum::<f64>();
        let deviations: f64 = values.iter().map(|v| (v - sum / n).powi(2)).sum();
        let variance = if n < 2.0 {
            f64::NAN
        } else {
            deviations / (n - 1.0)
        };
        row.extend([sum + 0.0, sum / n, variance, variance.sqrt()]);
    }
    if case.has(EXTREMES) {
        row.push(values.iter().copied().fold(f64::NAN, f64::min));
        row.push(values.iter().copied().fold(f64::NAN, f64::max));
    }
    if case.has(FLAGS) {
        let big = inside
            .iter()
            .filter(|e| e.value.is_some_and(|v| v > 1.0))
            .count();
        row.extend([holding, big as f64, holding / known]);
    }
    if case.has(IDS) {
        let ids: std::collections::BTreeSet<u64> = inside.iter().filter_map(|e| e.id).collect();
        row.push(ids.len() as f64);
    }
}

/// A late event finds the latest before it for as long as it is allowed only.
fn may_be_missing(case: &Case, n: usize, name: &str) -> bool {
    let newest = case.events[..=n].iter().map(|e| i128::from(e.at)).max();
    let timely = i128::from(case.events[n].at) >= newest.unwrap() - i128::from(case.lateness);
    !timely && (name == "last" || name == "since")
}

#[test]
fn statistics_are_what_their_definitions_say() {
    check(240, 4_000, declare, expected, may_be_missing);
}
