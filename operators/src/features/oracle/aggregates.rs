//! Aggregates in slots: each answers as one that is given the window's events and nothing else.

use thalweg_engine::time::{EventTime, secs};

use super::*;
use crate::aggregate::{
    Aggregate, ApproxDistinct, BottomK, DdQuantile, Distinct, Entropy, Ewma, First, FirstN,
    FirstSeen, Histogram, InterArrivalMean, InterArrivalStd, KllQuantile, Kurtosis, Last, LastN,
    Max, MostFrequent, Quantile, Skew, Slope, Streak, TopK,
};

const POWERS: u32 = 1;
const ORDER: u32 = 2;
const GAPS: u32 = 4;
const SORTED: u32 = 8;
const SKETCHES: u32 = 16;
const TALLIES: u32 = 32;
const MERGED: u32 = 64;
const INCLUDING: u32 = 128;
const EXCLUDING: u32 = 256;

/// A hash of the sequence of ids: an event that is missing, there twice or out of order shows.
struct Sequence;

const PRIME: u64 = (1 << 31) - 1;

#[derive(Clone, Serialize, Deserialize)]
struct Hash {
    hash: u64,
    power: u64,
}

impl Aggregate for Sequence {
    type Input = u64;
    type State = Hash;
    type Output = f64;

    fn empty(&self) -> Hash {
        Hash { hash: 0, power: 1 }
    }

    fn add(&self, state: &mut Hash, _at: EventTime, id: &u64) {
        let one = Hash {
            hash: id % (PRIME - 1) + 1,
            power: 48_271,
        };
        self.merge(state, &one);
    }

    fn merge(&self, state: &mut Hash, later: &Hash) {
        state.hash = (state.hash * later.power + later.hash) % PRIME;
        state.power = state.power * later.power % PRIME;
    }

    fn finish(&self, state: &Hash, _end: EventTime) -> f64 {
        state.hash as f64
    }
}

fn declare(case: &Case) -> FeaturePlan<Event> {
    let mut f = Features::<Event>::new();
    f.value("value", |e| e.value);
    case.over_each(&mut f, |mut over, window| {
        if case.has(INCLUDING) {
            over = declare_aggregates(case, over, window);
        }
        if case.has(EXCLUDING) {
            declare_aggregates(case, over.excluding(), &format!("{window}_before"));
        }
    });
    case.plan(f)
}

fn declare_aggregates<'a>(
    case: &Case,
    mut over: WindowFeatures<'a, Event>,
    window: &str,
) -> WindowFeatures<'a, Event> {
    let name = |what: &str| format!("{what}_{window}");
    let (value, id) = (|e: &Event| e.value, |e: &Event| e.id);
    if case.has(POWERS) {
        over = over.skew(&name("skew"), value);
        over = over.kurtosis(&name("kurtosis"), value);
        over = over.slope(&name("slope"), value);
    }
    if case.has(ORDER) {
        over = over.first(&name("first"), value).last(&name("last"), value);
        over = over.first_n(&name("firsts"), 3, value);
        over = over.last_n(&name("lasts"), 3, value);
        over = over.streak(&name("streak"), |e| e.flag);
    }
    if case.has(GAPS) {
        over = over.inter_arrival_mean(&name("gap"));
        over = over.inter_arrival_std(&name("gap_std"));
    }
    if case.has(SORTED) {
        over = over.quantile(&name("quantile"), 0.3, value);
        over = over.quantiles(&name("quantiles"), &[0.0, 0.5, 1.0], value);
        over = over.top_k(&name("top"), 2, value);
        over = over.bottom_k(&name("bottom"), 2, value);
        over = over.histogram(&name("bins"), &[-1.0, 0.0, 1e8], value);
    }
    if case.has(SKETCHES) {
        over = over.approx_quantile(&name("dd"), 0.7, 0.01, value);
        over = over.kll_quantile(&name("kll"), 0.7, 200, value);
        over = over.approx_distinct(&name("hll"), 8, id);
    }
    if case.has(TALLIES) {
        over = over.most_frequent(&name("most"), 5, id);
        over = over.entropy(&name("entropy"), 8, id);
        over = over.aggregate(&name("up_to"), Distinct::up_to(6), id);
        over = over.aggregate(&name("seen"), FirstSeen::up_to(9), id);
    }
    if case.has(MERGED) {
        over = over.ewma(&name("ewma"), secs(1) / 50_000, value);
        over = over.aggregate(&name("greatest"), Max, value);
        over = over.aggregate(&name("sequence"), Sequence, id);
    }
    over
}

fn expected(case: &Case, n: usize) -> Expected {
    let event = case.events[n];
    let mut row = vec![(event.finite().unwrap_or(f64::NAN), 0.0)];
    let (including, excluding) = (case.windows_of(n, true), case.windows_of(n, false));
    for (including, excluding) in including.iter().zip(&excluding) {
        if case.has(INCLUDING) {
            aggregates(case, including, event.time(), &mut row);
        }
        if case.has(EXCLUDING) {
            aggregates(case, excluding, event.time(), &mut row);
        }
    }
    row
}

/// What is asked of the events in one window.
fn aggregates(case: &Case, inside: &[Event], end: EventTime, row: &mut Expected) {
    let inputs = |of: fn(&Event) -> Option<f64>| {
        let with_time = move |e: &Event| Some((e.time(), of(e)?));
        inside.iter().filter_map(with_time).collect::<Vec<_>>()
    };
    let values = inputs(Event::finite);
    let with_id = |e: &Event| Some((e.time(), e.id?));
    let ids: Vec<(EventTime, u64)> = inside.iter().filter_map(with_id).collect();
    let with_flag = |e: &Event| Some((e.time(), e.flag?));
    let flags: Vec<(EventTime, bool)> = inside.iter().filter_map(with_flag).collect();
    let ticks: Vec<(EventTime, ())> = inside.iter().map(|e| (e.time(), ())).collect();
    if case.has(POWERS) {
        row.push((answer(&Skew, &values, end), 1e-6));
        row.push((answer(&Kurtosis, &values, end), 1e-6));
        row.push((answer(&Slope, &values, end), 1e-6));
    }
    if case.has(ORDER) {
        row.push((answer(&First, &values, end), 0.0));
        row.push((answer(&Last, &values, end), 0.0));
        push_all(answer(&FirstN(3), &values, end), 3, row);
        push_all(answer(&LastN(3), &values, end), 3, row);
        row.push((answer(&Streak, &flags, end), 0.0));
    }
    if case.has(GAPS) {
        row.push((answer(&InterArrivalMean, &ticks, end), 1e-9));
        row.push((answer(&InterArrivalStd, &ticks, end), 1e-9));
    }
    if case.has(SORTED) {
        let quantiles = Quantile::new(vec![0.3, 0.0, 0.5, 1.0]).unwrap();
        push_all(answer(&quantiles, &values, end), 4, row);
        push_all(answer(&TopK(2), &values, end), 2, row);
        push_all(answer(&BottomK(2), &values, end), 2, row);
        let histogram = Histogram::new(vec![-1.0, 0.0, 1e8]).unwrap();
        push_all(answer(&histogram, &values, end), 4, row);
    }
    if case.has(SKETCHES) {
        let dd = DdQuantile::new(0.7, 0.01).unwrap();
        row.push((answer(&dd, &values, end), 0.0));
        // As many values as the sketch keeps are all there, however it was merged.
        let kll = KllQuantile::new(0.7, 200).unwrap();
        row.push((answer(&kll, &values, end), 0.0));
        let hll = ApproxDistinct::new(8).unwrap();
        row.push((answer(&hll, &ids, end), 0.0));
    }
    if case.has(TALLIES) {
        let most = answer(&MostFrequent::up_to(5), &ids, end);
        row.push((most.map_or(f64::NAN, |most| most.count as f64), 0.0));
        row.push((answer(&Entropy::up_to(8), &ids, end), 1e-9));
        row.push((answer(&Distinct::up_to(6), &ids, end), 0.0));
        row.push((answer(&FirstSeen::up_to(9), &ids, end), 0.0));
    }
    if case.has(MERGED) {
        let ewma = Ewma::new(secs(1) / 50_000).unwrap();
        row.push((answer(&ewma, &values, end), 1e-9));
        row.push((answer(&Max, &values, end), 0.0));
        row.push((answer(&Sequence, &ids, end), 0.0));
    }
}

fn answer<A: Aggregate>(
    aggregate: &A,
    events: &[(EventTime, A::Input)],
    end: EventTime,
) -> A::Output {
    let mut state = aggregate.empty();
    for (at, input) in events {
        aggregate.add(&mut state, *at, input);
    }
    aggregate.finish(&state, end)
}

fn push_all(answers: Vec<f64>, count: usize, row: &mut Expected) {
    let missing = std::iter::repeat(f64::NAN);
    let answers = answers.into_iter().chain(missing).take(count);
    row.extend(answers.map(|answer| (answer, 0.0)));
}

#[test]
fn aggregates_are_those_of_the_windows_events() {
    check(90, 4_000, declare, expected, |_, _, _| false);
}
