//! Corrections: after every event, the rows of a key that are not yet final are those of its events
//! in event-time order, and what has not changed is not given again.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_engine::record::{Origin, Record};

use super::*;
use crate::features::{CorrectableFeatures, Correction};

const EXCLUDING: u32 = 1;
const SLOTS: u32 = 2;
const IDS: u32 = 4;
const EVER: u32 = 8;

fn declare(case: &Case) -> FeaturePlan<Event> {
    let mut f = Features::<Event>::new();
    let value = |e: &Event| e.value;
    f.value("value", value);
    for length in &case.windows {
        let name = |what: &str| format!("{what}_{length}");
        let mut over = f.over(Duration::from_micros(*length));
        over = over.count(&name("n")).std(&name("std"), value);
        over = over.max(&name("max"), value);
        if case.has(IDS) {
            over = over.distinct(&name("ids"), |e| e.id);
            over = over.first_seen(&name("new"), |e| e.id);
        }
        if case.has(SLOTS) {
            over = over.last_n(&name("lasts"), 2, value);
            over = over.aggregate(&name("least"), crate::aggregate::Min, value);
        }
        if case.has(EXCLUDING) {
            over.excluding().sum(&name("before"), value);
        }
    }
    if case.has(EVER) {
        f.ever().count("n_ever").first("first_ever", value);
        f.last("last", value);
    }
    f.corrections();
    case.plan(f)
}

/// The row of event `n` of a case whose events are in the order in which they count.
fn expected(case: &Case, n: usize) -> Expected {
    let event = case.events[n];
    let mut row = vec![event.finite().unwrap_or(f64::NAN)];
    let (including, excluding) = (case.windows_of(n, true), case.windows_of(n, false));
    let values = |events: &[Event]| events.iter().filter_map(Event::finite).collect::<Vec<_>>();
    for (inside, before) in including.iter().zip(&excluding).take(case.windows.len()) {
        let of = values(inside);
        let mean = of.iter().sum::<f64>() / of.len() as f64;
        let squares: f64 = of.iter().map(|v| (v - mean).powi(2)).sum();
        let std = match of.len() {
            0 | 1 => f64::NAN,
            n => (squares / (n as f64 - 1.0)).sqrt(),
        };
        let greatest = of.iter().copied().fold(f64::NAN, f64::max);
        row.extend([inside.len() as f64, std, greatest]);
        if case.has(IDS) {
            let ids = inside.iter().filter_map(|e| e.id);
            row.push(ids.collect::<std::collections::BTreeSet<_>>().len() as f64);
            let new = before.iter().all(|e| e.id != event.id);
            row.push(event.id.map_or(f64::NAN, |_| f64::from(u8::from(new))));
        }
        if case.has(SLOTS) {
            let latest = &of[of.len().saturating_sub(2)..];
            row.extend(latest.iter().copied().chain([f64::NAN; 2]).take(2));
            row.push(of.iter().copied().fold(f64::NAN, f64::min));
        }
        if case.has(EXCLUDING) {
            row.push(values(before).iter().sum::<f64>() + 0.0);
        }
    }
    if case.has(EVER) {
        let of = values(&case.events[..=n]);
        row.push((n + 1) as f64);
        row.push(of.first().copied().unwrap_or(f64::NAN));
        let earlier = case.events[..n].iter().filter(|e| e.at <= event.at);
        let latest = earlier
            .filter(|e| e.finite().is_some())
            .max_by_key(|e| e.at);
        row.push(latest.and_then(Event::finite).unwrap_or(f64::NAN));
    }
    row.into_iter().map(|value| (value, 1e-9)).collect()
}

/// The numbers of the events that have come, in the order in which they count.
#[derive(Default)]
struct Order {
    settled: Vec<usize>,
    open: Vec<usize>,
}

impl Order {
    /// Takes in event `n`.
    fn take(&mut self, events: &[Event], lateness: u64, n: usize) {
        let at = events[n].at;
        let newest = self.open.last().map_or(at, |m| events[*m].at.max(at));
        let edge = newest - lateness as i64;
        if at <= edge {
            self.settled.push(n);
            return;
        }
        let place = self.open.partition_point(|m| events[*m].at <= at);
        self.open.insert(place, n);
        let open = self.open.partition_point(|m| events[*m].at <= edge);
        self.settled.extend(self.open.drain(..open));
    }
}

fn bits(row: &[f64]) -> Vec<u64> {
    row.iter().map(|v| v.to_bits()).collect()
}

fn check_corrections(case: &Case) {
    let mut plan = declare(case);
    let mut state = CorrectableFeatures::default();
    let (mut order, mut rows) = (Order::default(), BTreeMap::<usize, Vec<f64>>::new());
    for (n, event) in case.events.iter().enumerate() {
        let record = Record {
            time: event.time(),
            origin: Origin {
                offset: n as u64,
                ..Origin::default()
            },
            ingested_ns: 0,
            value: *event,
        };
        let (mut row, mut corrections) = (Vec::new(), Vec::<Correction<Event>>::new());
        plan.update_corrected(&mut state, &record, &mut row, &mut corrections);
        order.take(&case.events, case.lateness, n);
        if n == case.saved_after {
            let bytes = postcard::to_allocvec(&state).unwrap();
            state = postcard::from_bytes(&bytes).unwrap();
            assert!(plan.accepts_corrected(&state));
            assert_eq!(postcard::to_allocvec(&state).unwrap(), bytes);
        }
        for correction in &corrections {
            let corrected = correction.origin.offset as usize;
            assert_eq!(correction.time, case.events[corrected].time());
            assert!(order.open.contains(&corrected) && corrected != n);
            let former = rows.insert(corrected, correction.features.clone()).unwrap();
            assert_ne!(bits(&former), bits(&correction.features), "it has changed");
        }
        let times: Vec<_> = corrections.iter().map(|c| c.time).collect();
        assert!(times.is_sorted(), "{times:?}");
        rows.insert(n, row);
        let counted = [&order.settled[..], &order.open[..]].concat();
        let so_far = Case {
            events: counted.iter().map(|m| case.events[*m]).collect(),
            ..case.clone()
        };
        let own = counted.iter().position(|m| *m == n).unwrap();
        let open = order.settled.len()..counted.len();
        for place in open.chain([own]) {
            let (number, row) = (counted[place], &rows[&counted[place]]);
            if !case.events[number].wanted {
                assert!(row.is_empty());
                continue;
            }
            for ((name, got), expected) in
                plan.names().iter().zip(row).zip(expected(&so_far, place))
            {
                // An event that is later than allowed may not find what was before it.
                let forgotten = got.is_nan() && name == "last" && place < order.settled.len();
                assert!(
                    agrees(*got, expected) || forgotten,
                    "after event {n}, event {number}: {name} is {got}, expected {}",
                    expected.0
                );
            }
        }
    }
}

#[test]
fn rows_are_corrected_to_those_in_event_time_order_and_only_if_they_change() {
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(cases(1_500))
    });
    let result = runner.run(&case(50), |mut case| {
        case.lateness = case.lateness.max(1);
        case.ever = false;
        check_corrections(&case);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
