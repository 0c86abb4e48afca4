//! Idle keys that are forgotten and hot keys that are held short: every row by definition, from the
//! events that are still held.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::features::HotKey;
use crate::window::KeyFeatures;

const EXCLUDING: u32 = 1;
const SLOTS: u32 = 2;
const IDS: u32 = 4;
const EVER: u32 = 8;
const ZSCORE: u32 = 16;

/// The rules of a case.
#[derive(Clone, Copy, Debug)]
struct Rules {
    ttl: Option<u64>,
    limit: Option<(usize, HotKey)>,
}

impl Rules {
    /// Microseconds of a tile.
    fn tiles(self) -> Option<i64> {
        match self.limit?.1 {
            HotKey::Tiles(width) => Some(width.as_micros() as i64),
            _ => None,
        }
    }

    fn approximate(self) -> bool {
        let policy = self.limit.map(|(_, policy)| policy);
        policy.is_some_and(|policy| policy != HotKey::Refuse)
    }
}

fn rules() -> impl Strategy<Value = Rules> {
    let limit = prop_oneof![1usize..6, 1usize..40];
    let width = prop_oneof![1u64..20, 1u64..500];
    let policy = prop_oneof![
        3 => Just(HotKey::DropOldest),
        1 => Just(HotKey::Refuse),
        4 => width.prop_map(|width| HotKey::Tiles(Duration::from_micros(width))),
    ];
    let limit = prop_oneof![1 => Just(None), 4 => (limit, policy).prop_map(Some)];
    // Beside the least that the windows ask for.
    let ttl = prop_oneof![Just(None), (1u64..200).prop_map(Some)];
    (ttl, limit).prop_map(|(ttl, limit)| Rules { ttl, limit })
}

fn declare(case: &Case, rules: Rules) -> FeaturePlan<Event> {
    let mut f = Features::<Event>::new();
    f.value("value", |e| e.value);
    let value = |e: &Event| e.value;
    for length in &case.windows {
        let name = |what: &str| format!("{what}_{length}");
        let mut over = f.over(Duration::from_micros(*length));
        over = over.count(&name("n")).sum(&name("sum"), value);
        over = over.min(&name("min"), value).max(&name("max"), value);
        over = over
            .std(&name("std"), value)
            .share(&name("share"), |e| e.flag);
        over = over.count_if(&name("big"), |e| e.value.is_some_and(|v| v > 1.0));
        if rules.approximate() {
            over = over.truncated(&name("cut"));
        }
        if case.has(ZSCORE) {
            over = over.zscore(&name("zscore"), value);
        }
        if case.has(IDS) && rules.tiles().is_none() {
            over = over.distinct(&name("ids"), |e| e.id);
        }
        if case.has(SLOTS) && rules.tiles().is_none() {
            over = over.quantile(&name("median"), 0.5, value);
            over = over.aggregate(&name("greatest"), crate::aggregate::Max, value);
        }
        if case.has(EXCLUDING) {
            over.excluding()
                .count(&name("n_before"))
                .mean(&name("mean_before"), value)
                .min(&name("min_before"), value);
        }
    }
    if case.has(EVER) {
        f.ever()
            .count("n_ever")
            .max("max_ever", value)
            .first("first_ever", value);
    }
    if let Some((most, policy)) = rules.limit {
        f.max_events_per_key(most, policy);
    }
    if let Some(ttl) = rules.ttl {
        f.ttl(Duration::from_micros(case.least_ttl() + ttl));
    }
    case.plan(f)
}

impl Case {
    fn longest(&self) -> u64 {
        self.windows.iter().copied().max().unwrap_or(0)
    }

    fn least_ttl(&self) -> u64 {
        self.longest() + self.lateness
    }

    /// The case with the events that are taken in, and what is held at each; and how many are not,
    /// and how many are dropped.
    fn under(&self, rules: Rules) -> (Self, usize, u64) {
        let (mut taken, mut held) = (Vec::new(), Vec::<Held>::new());
        let (mut log, mut newest) = (Vec::<usize>::new(), None::<i64>);
        let (mut since, mut truncated, mut dropped) = (0, None::<i64>, 0);
        let (mut refused, mut tiles) = (0, BTreeMap::<i64, Vec<usize>>::new());
        // Without windows nothing is held.
        let limit = rules.limit.filter(|_| !self.windows.is_empty());
        for event in &self.events {
            let (n, at) = (taken.len(), event.at);
            let gap = newest.map_or(0, |newest| at - newest);
            let forgotten = |ttl: u64| gap > (self.least_ttl() + ttl) as i64;
            if rules.ttl.is_some_and(forgotten) {
                (log, newest, truncated, since) = (Vec::new(), None, None, n);
                tiles.clear();
            }
            let now = newest.map_or(at, |newest| newest.max(at));
            let past = now - self.least_ttl() as i64;
            let live = |m: &usize, taken: &Vec<Event>| taken[*m].at > past;
            if let Some((most, HotKey::Refuse)) = limit
                && at > past
                && log.iter().filter(|m| live(m, &taken)).count() >= most
            {
                refused += 1;
                continue;
            }
            taken.push(*event);
            newest = Some(now);
            log.retain(|m| live(m, &taken));
            tiles.retain(|_, tile| tile.iter().any(|m| live(m, &taken)));
            let place = log.partition_point(|m| taken[*m].at <= at);
            log.insert(place, n);
            let mut row = Held {
                since,
                live: log.clone(),
                truncated,
                tiles: tiles.values().cloned().collect(),
            };
            if let Some((most, policy)) = limit
                && log.len() > most
                && at > past
            {
                let oldest = log.remove(0);
                let time = taken[oldest].at;
                if let HotKey::Tiles(width) = policy {
                    let number = time.div_euclid(width.as_micros() as i64);
                    tiles.entry(number).or_default().push(oldest);
                } else {
                    dropped += 1;
                    truncated = truncated.max(Some(time));
                }
                if oldest != n {
                    row.live.remove(0);
                    row.truncated = truncated;
                    row.tiles = tiles.values().cloned().collect();
                }
            }
            if at <= past {
                log.retain(|m| *m != n);
            }
            held.push(row);
        }
        let case = Self {
            events: taken,
            held: Some(held),
            ..self.clone()
        };
        (case, refused, dropped)
    }
}

fn expected(case: &Case, rules: Rules, n: usize) -> Expected {
    let event = case.events[n];
    let held = &case.held.as_ref().unwrap()[n];
    let mut row = vec![event.finite().unwrap_or(f64::NAN)];
    let (including, excluding) = (case.windows_of(n, true), case.windows_of(n, false));
    let values = |events: &[Event]| events.iter().filter_map(Event::finite).collect::<Vec<_>>();
    for (window, length) in case.windows.iter().enumerate() {
        let inside = &including[window];
        let of = values(inside);
        row.extend([inside.len() as f64, of.iter().sum::<f64>() + 0.0]);
        row.push(of.iter().copied().fold(f64::NAN, f64::min));
        row.push(of.iter().copied().fold(f64::NAN, f64::max));
        row.push(std(&of));
        let known = inside.iter().filter_map(|e| e.flag);
        let holding = known.clone().filter(|holds| *holds);
        row.push(holding.count() as f64 / known.count() as f64);
        let big = inside.iter().filter(|e| e.value.is_some_and(|v| v > 1.0));
        row.push(big.count() as f64);
        if rules.approximate() {
            let edge = event.at - *length as i64;
            let cut = held.truncated.is_some_and(|until| until > edge);
            let times = |tile: &Vec<usize>| tile.iter().map(|m| case.events[*m].at).collect();
            let in_tile = held.tiles.iter().map(times).any(|times: Vec<i64>| {
                let parts = |edge: i64| {
                    times.iter().any(|at| *at <= edge) && times.iter().any(|at| *at > edge)
                };
                parts(edge) || parts(event.at)
            });
            row.push(f64::from(u8::from(cut || in_tile)));
        }
        let before = values(&excluding[window]);
        let mean = before.iter().sum::<f64>() / before.len() as f64;
        if case.has(ZSCORE) {
            row.push(match event.finite() {
                Some(value) if std(&before) > 0.0 => (value - mean) / std(&before),
                _ => f64::NAN,
            });
        }
        if case.has(IDS) && rules.tiles().is_none() {
            let ids = inside.iter().filter_map(|e| e.id);
            row.push(ids.collect::<std::collections::BTreeSet<_>>().len() as f64);
        }
        if case.has(SLOTS) && rules.tiles().is_none() {
            let mut sorted = of.clone();
            sorted.sort_by(f64::total_cmp);
            let place = (sorted.len().saturating_sub(1)) as f64 * 0.5;
            let at = |place: f64| sorted.get(place as usize).copied().unwrap_or(f64::NAN);
            let (low, high) = (at(place.floor()), at(place.ceil()));
            row.push(low + (high - low) * place.fract());
            row.push(of.iter().copied().fold(f64::NAN, f64::max));
        }
        if case.has(EXCLUDING) {
            row.extend([excluding[window].len() as f64, mean]);
            row.push(before.iter().copied().fold(f64::NAN, f64::min));
        }
    }
    if case.has(EVER) {
        let all = &case.events[held.since..=n];
        let of = values(all);
        row.push(all.len() as f64);
        row.push(of.iter().copied().fold(f64::NAN, f64::max));
        row.push(of.first().copied().unwrap_or(f64::NAN));
    }
    row.into_iter().map(|value| (value, 1e-9)).collect()
}

/// The sample standard deviation.
fn std(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    match values.len() {
        0 | 1 => f64::NAN,
        _ => (squares / (n - 1.0)).sqrt(),
    }
}

#[test]
fn what_is_held_is_what_the_rules_say() {
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(cases(4_000))
    });
    let result = runner.run(&(case(120), rules()), |(case, rules)| {
        let (taken, refused, dropped) = case.under(rules);
        let mut plan = declare(&case, rules);
        let mut state = KeyFeatures::default();
        let mut refusals = 0;
        let mut accepted = Vec::new();
        for event in &case.events {
            let before = postcard::to_allocvec(&state).unwrap();
            if plan.update(&mut state, event, event.time(), &mut Vec::new()) {
                accepted.push(event.at);
            } else {
                refusals += 1;
                let after = postcard::to_allocvec(&state).unwrap();
                assert_eq!(before, after, "an event that is refused leaves no trace");
            }
        }
        let times: Vec<i64> = taken.events.iter().map(|e| e.at).collect();
        assert_eq!(accepted, times);
        assert_eq!(refusals, refused);
        if rules.ttl.is_none() {
            let counted = crate::features::upkeep::truncated(&state);
            assert_eq!(counted, dropped, "every event that goes is counted");
        }
        if let Some((most, _)) = rules.limit {
            assert!(state.rows() as usize <= most, "{} rows", state.rows());
        }
        let expected = |case: &Case, n: usize| expected(case, rules, n);
        check_case(&taken, declare(&case, rules), expected, |_, _, _| false);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
