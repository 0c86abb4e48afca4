//! The shared property test of aggregates: against a naive recomputation over the window's events,
//! while a window slides, while windows are put together from parts, and by the laws.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use thalweg_engine::time::EventTime;

use super::Aggregate;
use super::testing::check_laws;
use crate::soak::cases;

/// Generated values are whole multiples of this, and at most 2^50 of it: their sums are whole
/// numbers too, so that oracles can be exact.
const UNIT: f64 = 1.0 / 1024.0;

/// Lists of events to try on each aggregate.
const CASES: u32 = 1_000;

/// One key's events, in order of event time.
pub(crate) type Events<I> = Vec<(EventTime, I)>;

/// A window's length, and where windows are cut.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    length: Duration,
    cuts: [prop::sample::Index; 2],
}

/// Events with values of all kinds: small and fractional, around 1e8, spikes of 1e12, missing.
pub(crate) fn values() -> impl Strategy<Value = (Events<f64>, Plan)> {
    let units = prop_oneof![
        4 => -2_000i64..2_000,
        2 => Just(5 * 1_024),
        3 => (100_000_000 * 1_024)..(100_000_000i64 * 1_024 + 1_000),
        1 => prop_oneof![Just(1i64 << 50), Just(-(1i64 << 50)), Just((1i64 << 50) - 77)],
    ];
    let value = prop_oneof![
        8 => units.prop_map(|units| units as f64 * UNIT),
        1 => prop_oneof![
            Just(f64::NAN),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
            Just(-0.0),
        ],
    ];
    events(value)
}

/// Events with ids, few different ones, some of them wide.
pub(crate) fn ids() -> impl Strategy<Value = (Events<u64>, Plan)> {
    events(prop_oneof![6 => 0u64..5, 2 => 0u64..40, 1 => Just(u64::MAX), 1 => any::<u64>()])
}

/// Events with a flag.
pub(crate) fn flags() -> impl Strategy<Value = (Events<bool>, Plan)> {
    events(prop::bool::weighted(0.7))
}

/// Events with nothing but their time.
pub(crate) fn ticks() -> impl Strategy<Value = (Events<()>, Plan)> {
    events(Just(()))
}

fn events<I: Debug>(input: impl Strategy<Value = I>) -> impl Strategy<Value = (Events<I>, Plan)> {
    let gap = prop_oneof![3 => Just(0i64), 4 => 1i64..3_000_000, 1 => 0i64..40_000_000];
    let events = prop::collection::vec((gap, input), 0..48).prop_map(|events| {
        let mut at = 1_700_000_000_000_000;
        let stamp = |(gap, input)| {
            at += gap;
            (EventTime::from_micros(at), input)
        };
        events.into_iter().map(stamp).collect()
    });
    let plan = (1u64..60_000_000, any::<[prop::sample::Index; 2]>());
    let plan = plan.prop_map(|(micros, cuts)| Plan {
        length: Duration::from_micros(micros),
        cuts,
    });
    (events, plan)
}

/// Checks an aggregate against `oracle`, which recomputes the answer from a window's events and
/// its end, on generated events: sliding windows, windows merged from parts, and the laws.
pub(crate) fn check<A: Aggregate>(
    aggregate: &A,
    strategy: impl Strategy<Value = (Events<A::Input>, Plan)>,
    same: impl Fn(&A::Output, &A::Output) -> bool + Copy,
    oracle: impl Fn(&[(EventTime, A::Input)], EventTime) -> A::Output,
) where
    A::Input: Debug,
    A::Output: Debug,
{
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(cases(CASES))
    });
    let result = runner.run(&strategy, |(events, plan)| {
        check_laws(aggregate, &events, same);
        let mut window = Window::new(aggregate, &events);
        for (newest, (end, _)) in events.iter().enumerate() {
            let end = *end;
            let inside = window.slide(newest, end.saturating_sub(plan.length));
            let expected = oracle(inside, end);
            for (how, got) in [
                ("slid", aggregate.finish(&window.state, end)),
                (
                    "merged",
                    aggregate.finish(&merged(aggregate, inside, &plan), end),
                ),
            ] {
                prop_assert!(
                    same(&got, &expected),
                    "{how} window of {inside:?}: {got:?}, expected {expected:?}"
                );
            }
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

/// A sliding window, kept up the way an owner has to.
pub(crate) struct Window<'a, A: Aggregate> {
    aggregate: &'a A,
    events: &'a [(EventTime, A::Input)],
    oldest: usize,
    pub(crate) state: A::State,
    /// How often the state was made anew because it was not exact.
    pub(crate) made_anew: u32,
}

impl<'a, A: Aggregate> Window<'a, A> {
    pub(crate) fn new(aggregate: &'a A, events: &'a [(EventTime, A::Input)]) -> Self {
        Self {
            aggregate,
            events,
            oldest: 0,
            state: aggregate.empty(),
            made_anew: 0,
        }
    }

    /// Takes in the event at `newest` and lets go what is not after `after`; the events inside.
    pub(crate) fn slide(&mut self, newest: usize, after: EventTime) -> &'a [(EventTime, A::Input)] {
        let (at, input) = &self.events[newest];
        self.aggregate.add(&mut self.state, *at, input);
        let former = self.oldest;
        while self.events[self.oldest].0 <= after {
            if A::REMOVES {
                let (at, input) = &self.events[self.oldest];
                self.aggregate.remove(&mut self.state, *at, input);
            }
            self.oldest += 1;
        }
        let inside = &self.events[self.oldest..=newest];
        let inexact = !self.aggregate.is_exact(&self.state);
        self.made_anew += u32::from(inexact);
        if inexact || (!A::REMOVES && self.oldest != former) {
            self.state = of(self.aggregate, inside);
        }
        inside
    }
}

fn of<A: Aggregate>(aggregate: &A, events: &[(EventTime, A::Input)]) -> A::State {
    let mut state = aggregate.empty();
    for (at, input) in events {
        aggregate.add(&mut state, *at, input);
    }
    state
}

/// The state of the events, merged from three parts; compact ones, as in windows that only merge.
fn merged<A: Aggregate>(aggregate: &A, events: &[(EventTime, A::Input)], plan: &Plan) -> A::State {
    let mut cuts = plan.cuts.map(|cut| cut.index(events.len() + 1));
    cuts.sort_unstable();
    let parts = [0..cuts[0], cuts[0]..cuts[1], cuts[1]..events.len()];
    let mut state = aggregate.empty();
    for part in parts {
        let mut part = of(aggregate, &events[part]);
        aggregate.compact(&mut part);
        aggregate.merge(&mut state, &part);
    }
    state
}

/// The answer over these events, at the time of the last.
pub(crate) fn finish_of<A: Aggregate>(
    aggregate: &A,
    events: &[(EventTime, A::Input)],
) -> A::Output {
    let end = events.last().map_or(EventTime::from_micros(0), |e| e.0);
    aggregate.finish(&of(aggregate, events), end)
}

/// The values that are present.
pub(crate) fn present(events: &[(EventTime, f64)]) -> Vec<f64> {
    let values = events.iter().map(|e| e.1);
    values.filter(|value| value.is_finite()).collect()
}

/// The present values, least first.
pub(crate) fn sorted(events: &[(EventTime, f64)]) -> Vec<f64> {
    let mut values = present(events);
    values.sort_by(f64::total_cmp);
    values
}

/// The sum of generated values, rounded once.
pub(crate) fn exact_sum(values: &[f64]) -> f64 {
    units(values).iter().sum::<i128>() as f64 * UNIT
}

/// The sum of the generated values' deviations from their mean to a power, each deviation rounded
/// once.
pub(crate) fn central(values: &[f64], power: i32) -> f64 {
    let units = units(values);
    let (n, sum) = (units.len() as i128, units.iter().sum::<i128>());
    let deviation = |units: &i128| (n * units - sum) as f64 / n as f64 * UNIT;
    units.iter().map(|u| deviation(u).powi(power)).sum()
}

/// How many events each id has.
pub(crate) fn tally(events: &[(EventTime, u64)]) -> BTreeMap<u64, u64> {
    let mut tally = BTreeMap::new();
    for (_, id) in events {
        *tally.entry(*id).or_default() += 1;
    }
    tally
}

fn units(values: &[f64]) -> Vec<i128> {
    values.iter().map(|value| (value / UNIT) as i128).collect()
}
