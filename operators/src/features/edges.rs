//! What generated cases don't reach: windows without events, the edges of time, values that are no
//! numbers, values that dwarf all others.

use std::time::Duration;

use thalweg_engine::record::{Origin, Record};
use thalweg_engine::time::{EventTime, days, secs};

use super::testing::{Reading, check, plan, reading, run};
use super::{CorrectableFeatures, Features, HotKey, KeyFeatures, WindowFeatures};
use crate::aggregate::Max;

/// What can be asked of values, some of it of each kind.
fn declare<'a>(over: WindowFeatures<'a, Reading>) -> WindowFeatures<'a, Reading> {
    let value = |e: &Reading| e.value;
    over.count("n")
        .sum("sum", value)
        .mean("mean", value)
        .std("std", value)
        .min("min", value)
        .distinct("ids", |e| {
            e.value.is_finite().then_some(e.value.abs() as u64)
        })
        .share("share", |e| e.value.is_finite().then_some(e.value > 1.0))
        .quantile("median", 0.5, value)
        .skew("skew", value)
        .last_n("latest", 2, value)
        .histogram("bins", &[2.0], value)
        .streak("streak", |e| e.value > 0.0)
        .slope("slope", value)
        .ewma("ewma", secs(1), value)
        .aggregate("greatest", Max, value)
        .inter_arrival_mean("gap")
        .zscore("z", value)
}

const NONE: f64 = f64::NAN;

/// The ends of time and its middle, in no order.
const ENDS: [EventTime; 5] = [
    EventTime::MIN,
    EventTime::MAX,
    EventTime::from_micros(0),
    EventTime::MIN,
    EventTime::MAX,
];

#[test]
fn an_empty_window_answers_as_documented() {
    let empty = [
        0.0, 0.0, NONE, NONE, NONE, 0.0, NONE, NONE, NONE, NONE, NONE, 0.0, 0.0, 0.0, NONE, NONE,
        NONE, NONE, NONE,
    ];
    let same = |row: &[f64]| {
        let pairs = row.iter().zip(&empty);
        row.len() == empty.len()
            && pairs
                .into_iter()
                .all(|(a, b)| a == b || a.is_nan() && b.is_nan())
    };
    // The first event of all, and one long after the last.
    for ever in [false, true] {
        let rows = run(
            |f| {
                let over = if ever { f.ever() } else { f.over(secs(10)) };
                declare(over.excluding());
            },
            &[reading(0, 3.0), reading(10, 3.0)],
        );
        assert!(same(&rows[0]), "{:?}", rows[0]);
        assert_eq!(same(&rows[1]), !ever, "{:?}", rows[1]);
    }
}

#[test]
fn without_the_event_earlier_arrivals_of_its_time_are_still_there() {
    check(
        |f| {
            let value = |e: &Reading| e.value;
            f.lateness(secs(10));
            f.over(secs(10))
                .excluding()
                .count("n")
                .max("max", value)
                .last_n("latest", 2, value)
                .including()
                .first_seen("new", |e| e.value as u32);
        },
        &[
            reading(5, 1.0),
            reading(5, 2.0),
            reading(5, 2.0),
            // Late, twice at the same time.
            reading(3, 2.0),
            reading(3, 9.0),
            reading(5, 9.0),
        ],
        &[
            &[0.0, NONE, NONE, NONE, 1.0],
            &[1.0, 1.0, 1.0, NONE, 1.0],
            &[2.0, 2.0, 1.0, 2.0, 0.0],
            &[0.0, NONE, NONE, NONE, 1.0],
            &[1.0, 2.0, 2.0, NONE, 1.0],
            &[5.0, 9.0, 2.0, 2.0, 0.0],
        ],
    );
}

#[test]
fn windows_reach_over_the_epoch() {
    let mut f = Features::<f64>::new();
    f.over(Duration::from_micros(2))
        .count("n")
        .sum("sum", |v| *v)
        .quantile("least", 0.0, |v| *v)
        .excluding()
        .inter_arrival_mean("gap");
    let mut plan = f.build().unwrap();
    let mut state = KeyFeatures::default();
    let mut rows = Vec::new();
    for micros in [-3, -2, -1, 0, 1, 3] {
        let mut row = Vec::new();
        let at = EventTime::from_micros(micros);
        plan.update(&mut state, &(micros as f64), at, &mut row);
        rows.push(row[..3].to_vec());
        assert!(row[3].is_nan(), "one event has no gap");
    }
    let expected: [&[f64]; 6] = [
        &[1.0, -3.0, -3.0],
        &[2.0, -5.0, -3.0],
        &[2.0, -3.0, -2.0],
        &[2.0, -1.0, -1.0],
        &[2.0, 1.0, 0.0],
        &[1.0, 3.0, 3.0],
    ];
    assert_eq!(rows, expected);
}

#[test]
fn aggregates_live_at_the_ends_of_time() {
    let mut plan = plan(|f| {
        f.lateness(Duration::MAX);
        for over in [Duration::MAX, Duration::from_micros(1)] {
            let prefix = over.as_micros().to_string();
            let name = |what: &str| format!("{what}_{prefix}");
            let value = |e: &Reading| e.value;
            f.over(over)
                .inter_arrival_std(&name("gap"))
                .slope(&name("slope"), value)
                .ewma(&name("ewma"), secs(1), value)
                .excluding()
                .last(&name("last"), value)
                .aggregate(&name("greatest"), Max, value);
        }
        f.ever().ewma("ever", days(1), |e| e.value);
    });
    let mut state = KeyFeatures::default();
    for (value, at) in [1.0, 2.0, 3.0, 4.0, 5.0].into_iter().zip(ENDS) {
        let mut row = Vec::new();
        plan.update(&mut state, &reading(0, value), at, &mut row);
        assert_eq!(row.len(), plan.names().len());
        if value == 5.0 {
            // The other event of this time is all that is in the short window before it.
            assert_eq!(row[8..10], [2.0, 2.0]);
        }
    }
}

#[test]
fn rules_live_at_the_ends_of_time() {
    let tiles = HotKey::Tiles(Duration::MAX);
    for policy in [HotKey::DropOldest, HotKey::Refuse, tiles] {
        let mut plan = plan(|f| {
            for length in [Duration::MAX, Duration::from_micros(1)] {
                let name = |what: &str| format!("{what}_{}", length.as_micros());
                let over = f.over(length).count(&name("n"));
                over.max(&name("max"), |e| e.value)
                    .excluding()
                    .sum(&name("before"), |e| e.value);
            }
            f.ever().count("ever");
            f.lateness(Duration::MAX);
            f.ttl(Duration::MAX);
            f.max_events_per_key(2, policy);
            f.corrections();
        });
        let (mut state, mut corrected) = (KeyFeatures::default(), CorrectableFeatures::default());
        for (value, time) in [1.0, 2.0, 3.0, 4.0, 5.0].into_iter().zip(ENDS) {
            let (mut row, mut again, mut corrections) = (Vec::new(), Vec::new(), Vec::new());
            let event = reading(0, value);
            let taken = plan.update(&mut state, &event, time, &mut row);
            let record = Record {
                time,
                origin: Origin::default(),
                ingested_ns: 0,
                value: event,
            };
            plan.update_corrected(&mut corrected, &record, &mut again, &mut corrections);
            assert_eq!(row.len(), if taken { 7 } else { 0 }, "{policy:?} at {time}");
            // The earliest instant is out of reach of the latest, so two events are held by then.
            assert_eq!(taken, policy != HotKey::Refuse || value < 5.0);
            assert_eq!(row.len(), again.len());
        }
    }
}

#[test]
fn values_that_are_no_numbers_count_nowhere() {
    let numbers = [reading(0, 2.0), reading(3, 4.0), reading(4, 0.5)];
    let mut mixed = vec![reading(0, NONE)];
    for number in numbers {
        for value in [f64::INFINITY, f64::NEG_INFINITY, NONE] {
            mixed.push(reading(number.second, value));
        }
        mixed.push(number);
    }
    let over = |f: &mut Features<Reading>| {
        let value = |e: &Reading| e.value;
        f.over(secs(4))
            .sum("sum", value)
            .std("std", value)
            .max("max", value)
            .quantile("median", 0.5, value)
            .last_n("latest", 2, value)
            .histogram("bins", &[1.0], value)
            .ewma("ewma", secs(1), value)
            .slope("slope", value)
            .top_k("top", 2, value);
        f.ever().mean("mean", value).first("first", value);
    };
    let (expected, got) = (run(over, &numbers), run(over, &mixed));
    let bits = |row: &Vec<f64>| row.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for (n, expected) in expected.iter().enumerate() {
        assert_eq!(bits(&got[4 * (n + 1)]), bits(expected), "number {n}");
    }
}

#[test]
fn a_value_without_number_has_no_zscore_and_no_part_in_it() {
    check(
        |f| {
            f.over(secs(100)).zscore("z", |e| e.value);
        },
        &[
            reading(0, 1.0),
            reading(1, NONE),
            reading(2, 3.0),
            reading(3, f64::INFINITY),
            reading(4, 2.0),
            reading(5, 2.0 + 1.0),
        ],
        &[&[NONE], &[NONE], &[NONE], &[NONE], &[0.0], &[1.0]],
    );
}

#[test]
fn a_spike_that_has_left_leaves_nothing_behind() {
    let value = |n: i64| 1e8 + (n * 7_919 % 101) as f64 / 100.0;
    let mut events: Vec<_> = (0..3_000).map(|n| reading(n, value(n))).collect();
    events[500].value = 1e12;
    let rows = run(
        |f| {
            let value = |e: &Reading| e.value;
            let over = f.over(secs(1_000)).sum("sum", value).variance("var", value);
            over.skew("skew", value)
                .kurtosis("kurtosis", value)
                .slope("slope", value)
                .excluding()
                .mean("mean", value);
        },
        &events,
    );
    for end in (1_501..3_000).step_by(83) {
        let inside: Vec<f64> = events[end - 999..=end].iter().map(|e| e.value).collect();
        let n = inside.len() as f64;
        // Deviations from 1e8 are exact in what these sums lose.
        let deviations: Vec<f64> = inside.iter().map(|v| v - 1e8).collect();
        let mean = deviations.iter().sum::<f64>() / n;
        let moment = |power| {
            deviations
                .iter()
                .map(|d| (d - mean).powi(power))
                .sum::<f64>()
        };
        let (second, third, fourth) = (moment(2) / n, moment(3) / n, moment(4) / n);
        let skew = third / second.powf(1.5) * (n * (n - 1.0)).sqrt() / (n - 2.0);
        let excess = (n + 1.0) * (fourth / second.powi(2)) - 3.0 * (n - 1.0);
        let kurtosis = excess * (n - 1.0) / ((n - 2.0) * (n - 3.0));
        let row = &rows[end];
        let close = |got: f64, expected: f64, tolerance: f64| {
            let off = (got - expected).abs();
            assert!(
                off <= tolerance * expected.abs().max(1.0),
                "{got}, expected {expected}"
            );
        };
        close(row[0], 1e8 * n + mean * n, 1e-9);
        close(row[1], moment(2) / (n - 1.0), 1e-6);
        close(row[2], skew, 1e-6);
        close(row[3], kurtosis, 1e-6);
        assert!(row[4].abs() < 1e-3, "a flat line has a slope of {}", row[4]);
        close(row[5], 1e8, 1e-8);
    }
}

#[test]
fn memory_of_aggregates_counts_and_windows_that_merge_hold_few_states() {
    fn value(event: &Reading) -> f64 {
        event.value
    }
    let state_of = |declare: fn(&mut Features<Reading>)| {
        let mut plan = plan(declare);
        let mut state = KeyFeatures::default();
        for second in 0..1_000 {
            let at = EventTime::from_seconds(second);
            plan.update(&mut state, &reading(second, 1.0), at, &mut Vec::new());
        }
        state.memory_bytes()
    };
    let plain = state_of(|f| {
        f.over(secs(500)).sum("sum", value);
    });
    let sorted = state_of(|f| {
        f.over(secs(500))
            .sum("sum", value)
            .quantile("median", 0.5, value);
    });
    let merged = state_of(|f| {
        f.over(secs(500))
            .sum("sum", value)
            .aggregate("max", Max, value);
    });
    // 500 values of 8 bytes each; states of 8 bytes for parts of four rows (in tests).
    assert!(
        (500 * 8..501 * 8 + 400).contains(&(sorted - plain)),
        "{}",
        sorted - plain
    );
    assert!(merged - plain < 130 * 40, "{}", merged - plain);
    let ever = state_of(|f| {
        f.ever().top_k("top", 2, value).inter_arrival_mean("gap");
    });
    assert!(ever < 800, "{ever}: everything was remembered");
}
