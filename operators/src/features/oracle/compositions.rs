//! Features that are made of others, and conditional ones.

use std::collections::BTreeSet;

use super::*;

const RATIOS: u32 = 1;
const ZSCORE: u32 = 2;
const FIRST_SEEN: u32 = 4;
const CONDITIONAL: u32 = 8;

fn declare(case: &Case) -> FeaturePlan<Event> {
    let mut f = Features::<Event>::new();
    f.value("value", |e| e.value);
    let value = f.column(|e: &Event| e.value);
    case.over_each(&mut f, |mut over, window| {
        let name = |what: &str| format!("{what}_{window}");
        if case.has(RATIOS) {
            over = over.count(&name("count")).mean(&name("mean"), value);
        }
        if case.has(ZSCORE) {
            over = over.zscore(&name("zscore"), value);
        }
        if case.has(FIRST_SEEN) {
            over = over.first_seen(&name("new"), |e| e.id);
        }
        if case.has(CONDITIONAL) {
            let flag = |e: &Event| e.flag;
            over = over.sum_if(&name("sum_if"), value, flag);
            over = over.mean_if(&name("mean_if"), value, flag);
            over = over.min_if(&name("min_if"), value, flag);
            over = over.max_if(&name("max_if"), value, flag);
            over = over.variance_if(&name("variance_if"), value, flag);
            over = over.std_if(&name("std_if"), value, flag);
            over.distinct_if(&name("distinct_if"), |e| e.id, flag);
        }
    });
    if case.has(RATIOS)
        && let [long, .., short] = case.windows[..]
    {
        f.ratio("ratio", &format!("mean_{short}"), &format!("mean_{long}"));
        f.velocity(
            "of_means",
            &format!("mean_{short}"),
            &format!("mean_{long}"),
        );
        f.velocity(
            "velocity",
            &format!("count_{short}"),
            &format!("count_{long}"),
        );
    }
    case.plan(f)
}

fn expected(case: &Case, n: usize) -> Expected {
    let event = case.events[n];
    let mut row = vec![event.finite().unwrap_or(f64::NAN)];
    let (including, excluding) = (case.windows_of(n, true), case.windows_of(n, false));
    for (including, excluding) in including.iter().zip(&excluding) {
        if case.has(RATIOS) {
            row.extend([including.len() as f64, mean(&values(including))]);
        }
        if case.has(ZSCORE) {
            row.push(zscore(&event, &values(excluding)));
        }
        if case.has(FIRST_SEEN) {
            let new = excluding.iter().all(|e| e.id != event.id);
            row.push(event.id.map_or(f64::NAN, |_| f64::from(u8::from(new))));
        }
        if case.has(CONDITIONAL) {
            let holding = || including.iter().filter(|e| e.flag == Some(true));
            let ids: BTreeSet<u64> = holding().filter_map(|e| e.id).collect();
            let holding: Vec<f64> = holding().filter_map(Event::finite).collect();
            row.extend([holding.iter().sum::<f64>() + 0.0, mean(&holding)]);
            row.push(holding.iter().copied().fold(f64::NAN, f64::min));
            row.push(holding.iter().copied().fold(f64::NAN, f64::max));
            let variance = variance(&holding);
            row.extend([variance, variance.sqrt(), ids.len() as f64]);
        }
    }
    if case.has(RATIOS)
        && let [long, .., short] = case.windows[..]
    {
        let over_long = &including[0];
        let over_short = &including[case.windows.len() - 1];
        let ratio = over(mean(&values(over_short)), mean(&values(over_long)));
        let per_time = |events: &[Event], length| events.len() as f64 / length as f64;
        let velocity = over(per_time(over_short, short), per_time(over_long, long));
        row.extend([ratio, ratio, velocity]);
    }
    row.into_iter().map(|value| (value, 1e-9)).collect()
}

fn values(events: &[Event]) -> Vec<f64> {
    events.iter().filter_map(Event::finite).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Missing below two values.
fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    match values.len() {
        0 | 1 => f64::NAN,
        n => squares / (n as f64 - 1.0),
    }
}

fn over(of: f64, to: f64) -> f64 {
    if to == 0.0 { f64::NAN } else { of / to }
}

fn zscore(event: &Event, history: &[f64]) -> f64 {
    let (mean, std) = (mean(history), variance(history).sqrt());
    match event.finite() {
        Some(value) if history.len() > 1 && std > 0.0 => (value - mean) / std,
        _ => f64::NAN,
    }
}

#[test]
fn compositions_are_made_of_what_they_say() {
    check(160, 2_500, declare, expected, |_, _, _| false);
}
