//! Generated windows and streams.

use proptest::prelude::*;
use thalweg_engine::time::EventTime;

use super::super::testing::Op;
use super::{Case, Kind};

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => (1..40_i64, 1..40_i64, 0..40_i64).prop_map(|(a, b, offset)| Kind::Hopping {
            length: a.max(b),
            slide: a.min(b),
            offset,
        }),
        1 => (1..40_i64).prop_map(|length| Kind::Hopping { length, slide: length, offset: 0 }),
        2 => (1..20_i64).prop_map(|gap| Kind::Session { gap }),
        1 => (1..8_u64, 1..8_u64).prop_map(|(a, b)| Kind::Count {
            events: a.max(b),
            slide: a.min(b),
        }),
        1 => Just(Kind::Daily),
        1 => Just(Kind::Global),
    ]
}

/// Events whose times step forward and, for some, fall back by up to `disorder`, with watermarks
/// between them that trail by less than that.
fn ops(disorder: i64) -> impl Strategy<Value = Vec<Op>> {
    let step = prop_oneof![6 => 0..4_i64, 2 => 0..30_i64, 1 => 0..120_i64];
    let back = prop_oneof![2 => Just(0), 1 => 0..=disorder];
    let watermark = prop_oneof![2 => Just(None), 1 => (0..=disorder).prop_map(Some)];
    let wakes = prop_oneof![2 => Just(0.0), 1 => Just(0.3)];
    let steps = wakes.prop_flat_map(move |wakes| {
        let woken = prop::bool::weighted(wakes);
        let step = (
            step.clone(),
            back.clone(),
            0..10_i64,
            watermark.clone(),
            woken,
        );
        prop::collection::vec(step, 1..40)
    });
    steps.prop_map(|steps| {
        let (mut now, mut told, mut ops) = (-60, i64::MIN, Vec::new());
        for (step, back, value, watermark, woken) in steps {
            now += step;
            ops.push(Op::Event(EventTime::from_micros(now - back), value));
            if let Some(behind) = watermark
                && now - behind > told
            {
                told = now - behind;
                ops.push(Op::Watermark(EventTime::from_micros(told)));
            }
            if woken {
                ops.push(Op::Wake);
            }
        }
        ops
    })
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let ops = prop_oneof![Just(0_i64), 0..12_i64, 0..60_i64].prop_flat_map(ops);
    let lateness = prop_oneof![2 => Just(0_i64), 2 => 0..12_i64, 1 => 0..80_i64];
    let early_events = prop_oneof![2 => Just(None), 1 => (1..6_u64).prop_map(Some)];
    let early_period = prop_oneof![2 => Just(None), 1 => (1..25_i64).prop_map(Some)];
    let rest = (
        lateness,
        early_events,
        early_period,
        any::<bool>(),
        ops,
        0..60_usize,
    );
    (kind(), rest).prop_map(
        |(kind, (lateness, early_events, early_period, discarding, ops, saved_after))| {
            let mut case = Case {
                kind,
                lateness,
                early_events,
                early_period,
                discarding,
                ops,
                saved_after,
            };
            if let Kind::Daily = kind {
                // Twenty minutes a step, around the day that has 23 hours.
                let scale = |n: i64| n * 20 * 60_000_000;
                let at = |at: EventTime| {
                    EventTime::from_micros(scale(at.as_micros()) + 1_710_086_400_000_000)
                };
                case.lateness = scale(lateness);
                case.early_period = early_period.map(scale);
                for op in &mut case.ops {
                    *op = match *op {
                        Op::Event(time, value) => Op::Event(at(time), value),
                        Op::Watermark(time) => Op::Watermark(at(time)),
                        Op::Wake => Op::Wake,
                    };
                }
            }
            case
        },
    )
}
