//! Idle keys, hot keys and corrections in steps and flows: who runs them, when memory is given back
//! and where a run is cut must not show.

use std::collections::BTreeMap;

use proptest::prelude::*;
use thalweg_engine::job::{JobOptions, Order};
use thalweg_engine::record::Origin;
use thalweg_engine::testing::{Collect, Events, StepRun, run_flow};
use thalweg_engine::time::{millis, secs};

use super::*;
use crate::features::{Features, HotKey};
use crate::flow::WithFeatures;
use crate::soak::cases;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Event {
    number: u64,
    card: u64,
    ms: i64,
    amount: f64,
}

impl Event {
    fn time(&self) -> EventTime {
        EventTime::from_millis(self.ms)
    }

    fn record(self) -> Record<Event> {
        Record {
            time: self.time(),
            origin: Origin {
                offset: self.number,
                ..Origin::default()
            },
            ingested_ns: 0,
            value: self,
        }
    }
}

fn plan(declare: impl FnOnce(&mut Features<Event>)) -> FeaturePlan<Event> {
    let mut features = Features::new();
    declare(&mut features);
    features.build().unwrap()
}

fn common(plan: FeaturePlan<Event>, telemetry: &Telemetry) -> Common<u64, Event, Event> {
    let rows = Rows {
        lift: |event| Featured {
            event,
            features: Vec::new(),
        },
        event: |event: &Event| event,
    };
    Common::new(Some(plan), rows, RowWidth::default(), ("card", telemetry))
}

fn declare(f: &mut Features<Event>) {
    let amount = f.column(|e: &Event| e.amount);
    f.over(millis(20))
        .count("n")
        .std("std", amount)
        .max("max", amount)
        .distinct("distinct", |e| e.amount as u32)
        .excluding()
        .quantile("median", 0.5, amount);
    f.ever().count("ever").ewma("ewma", millis(10), amount);
    f.last("last", amount);
}

/// With idle keys and hot keys.
fn declare_held(f: &mut Features<Event>) {
    declare(f);
    f.over(millis(20)).truncated("cut");
    f.ttl(millis(25));
    f.max_events_per_key(3, HotKey::DropOldest);
}

/// With hot keys whose oldest events go into tiles.
fn declare_tiled(f: &mut Features<Event>) {
    let amount = f.column(|e: &Event| e.amount);
    for length in [5, 20] {
        let name = |what: &str| format!("{what}_{length}");
        f.over(millis(length))
            .count(&name("n"))
            .std(&name("std"), amount)
            .max(&name("max"), amount)
            .truncated(&name("cut"));
    }
    f.ratio("part", "max_5", "max_20");
    f.max_events_per_key(3, HotKey::Tiles(millis(4)));
}

/// Events of some cards that step forward and, for some, fall back by up to 5 ms.
fn events(back: i64) -> impl Strategy<Value = Vec<Event>> {
    let step = prop_oneof![4 => 0i64..4, 1 => 0i64..40];
    let back = prop_oneof![2 => Just(0), 1 => 0..=back];
    let part = (0u64..4, step, back, 0u32..12);
    prop::collection::vec(part, 0..60).prop_map(|parts| {
        let mut now = 0;
        let event = |(number, (card, step, back, quarters)): (usize, (u64, i64, i64, u32))| {
            now += step;
            Event {
                number: number as u64,
                card,
                ms: now - back,
                amount: f64::from(quarters) / 4.0,
            }
        };
        parts.into_iter().enumerate().map(event).collect()
    })
}

type Bits = (Event, Vec<u64>);

fn bits(row: &Featured<Event>) -> Bits {
    (
        row.event,
        row.features.iter().map(|f| f.to_bits()).collect(),
    )
}

/// The watermark that may follow each event at the most: no event comes after it that is later than
/// 5 ms.
fn watermarks(events: &[Event]) -> Vec<Watermark> {
    let mut least = i64::MAX / 2_000;
    let mut watermarks: Vec<_> = events
        .iter()
        .rev()
        .map(|event| {
            let now = Watermark::active(EventTime::from_millis(least + 5));
            least = least.min(event.ms);
            now
        })
        .collect();
    watermarks.reverse();
    watermarks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(1_000)))]

    #[test]
    fn when_idle_keys_go_does_not_show(
        events in events(5),
        moves in prop::collection::vec(any::<bool>(), 60),
        restart_after in 0usize..60,
    ) {
        let late = |f: &mut Features<Event>| {
            declare_held(f);
            f.lateness(millis(5));
        };
        let telemetry = Telemetry::default();
        let make = || FeaturesStep::<_, _, _, false>(common(plan(late), &telemetry));
        let mut run = StepRun::new(Order::Arrival, make(), |e: &Event| e.card);
        let (mut by_hand, mut keys) = (plan(late), BTreeMap::<u64, KeyFeatures>::new());
        for (n, (event, watermark)) in events.iter().zip(watermarks(&events)).enumerate() {
            let mut features = Vec::new();
            by_hand.update(keys.entry(event.card).or_default(), event, event.time(), &mut features);
            let moved = if moves[n] && n + 1 < events.len() { watermark } else { Watermark::START };
            let given = run.feed(vec![event.record()], moved);
            let expected = bits(&Featured { event: *event, features });
            prop_assert_eq!(given.values().iter().map(bits).collect::<Vec<_>>(), [expected]);
            if n == restart_after {
                run.restart(make()).unwrap();
            }
            if moves[n] && n + 1 < events.len() {
                let due = |key: &KeyFeatures| key.newest() + 30_000 + 2_000;
                let kept = run.state();
                let none_due = kept.iter().all(|(_, key)| due(key) > watermark.time.as_micros());
                prop_assert!(none_due, "memory is given back a bucket later at most");
            }
        }
        let held = run.state().len() as u64;
        let count = |what: &str| telemetry.counter(what).get();
        prop_assert_eq!(count("card_keys_begun") - count("card_keys_expired"), held);
        run.feed(Vec::new(), Watermark::END);
        prop_assert_eq!(run.state().len() as u64, held, "the end of input drops nothing");
    }

    #[test]
    fn corrections_go_on_after_a_restart(events in events(8), restart_after in 0usize..60) {
        let corrected = |f: &mut Features<Event>| {
            declare_held(f);
            f.lateness(millis(5));
            f.corrections();
        };
        let make = || CorrectingStep(common(plan(corrected), &Telemetry::default()));
        let feed = |restarts: bool| {
            let mut run = StepRun::new(Order::Arrival, make(), |e: &Event| e.card);
            let mut given = Vec::new();
            for (n, event) in events.iter().enumerate() {
                given.extend(run.feed(vec![event.record()], Watermark::START).values());
                if restarts && n == restart_after {
                    run.restart(make()).unwrap();
                }
            }
            postcard::to_allocvec(&given).unwrap()
        };
        prop_assert_eq!(feed(true), feed(false));
    }
}

/// What a flow of one partition in the order of arrival gives: rows, then corrections, by event.
fn run_corrected(events: &[Event], workers: usize, batch_records: usize) -> Vec<(u64, u64, Bits)> {
    let options = JobOptions {
        workers,
        batch_records,
        ..JobOptions::default()
    };
    let (events, rows) = (events.to_vec(), Collect::default());
    let sink = rows.clone();
    let corrections = run_flow(options, move |flow| {
        let features = flow
            .source("events", Events::new(events.clone()))
            .event_time(Event::time, secs(10))
            .key_by(|e| e.card)
            .features("card", |f| {
                declare(f);
                f.lateness(millis(5));
                f.corrections();
            });
        let corrections = features.corrections();
        features.into_stream().sink("rows", sink.clone());
        corrections.map("as rows", |c| {
            let Correction {
                event, features, ..
            } = c;
            (c.origin.offset, Featured { event, features })
        })
    });
    let rows = rows.values().into_iter().map(|row: Featured<Event>| {
        let number = row.event.number;
        (number, 0, bits(&row))
    });
    let corrections = corrections
        .unwrap()
        .into_iter()
        .zip(1..)
        .map(|((number, row), n)| {
            assert_eq!(number, row.event.number);
            (number, n, bits(&row))
        });
    let mut all: Vec<_> = rows.chain(corrections).collect();
    // Corrections of one key come in order, those of several as the workers run.
    all.sort_by_key(|(number, n, _)| (*number, *n));
    let mut place = 0;
    for at in 1..all.len() {
        place = if all[at].0 == all[at - 1].0 {
            place + 1
        } else {
            0
        };
        all[at].1 = place;
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(30)))]

    #[test]
    fn corrections_are_the_same_for_any_number_of_workers_and_any_batch(
        events in events(8),
        batch in 1usize..30,
    ) {
        let mut by_hand = plan(|f| {
            declare(f);
            f.lateness(millis(5));
            f.corrections();
        });
        let mut keys = BTreeMap::<u64, CorrectableFeatures<Event>>::new();
        let mut expected = Vec::new();
        let mut given = BTreeMap::<u64, u64>::new();
        for event in &events {
            let (mut features, mut corrections) = (Vec::new(), Vec::new());
            let state = keys.entry(event.card).or_default();
            by_hand.update_corrected(state, &event.record(), &mut features, &mut corrections);
            expected.push((event.number, 0, bits(&Featured { event: *event, features })));
            for Correction { event, features, .. } in corrections {
                let n = given.entry(event.number).or_default();
                *n += 1;
                expected.push((event.number, *n, bits(&Featured { event, features })));
            }
        }
        expected.sort_by_key(|(number, n, _)| (*number, *n));
        for workers in [1, 2, 3] {
            prop_assert_eq!(&run_corrected(&events, workers, batch), &expected, "{}", workers);
        }
    }

    #[test]
    fn held_features_are_the_same_for_any_number_of_workers_and_any_batch(
        events in events(0),
        batch in 1usize..30,
    ) {
        check_workers(&events, batch, declare_held);
        check_workers(&events, batch, declare_tiled);
    }
}

/// Runs a flow with several numbers of workers; each gives the rows that a plan gives by hand.
fn check_workers(events: &[Event], batch: usize, declare: fn(&mut Features<Event>)) {
    let (mut by_hand, mut keys) = (plan(declare), BTreeMap::<u64, KeyFeatures>::new());
    let by_hand = events.iter().map(|event| {
        let mut features = Vec::new();
        let state = keys.entry(event.card).or_default();
        by_hand.update(state, event, event.time(), &mut features);
        bits(&Featured {
            event: *event,
            features,
        })
    });
    let expected: Vec<Bits> = by_hand.collect();
    for workers in [1, 2, 3] {
        let options = JobOptions {
            workers,
            batch_records: batch,
            order: Order::EventTime,
            ..JobOptions::default()
        };
        let source = events.to_vec();
        let rows = run_flow(options, move |flow| {
            flow.source("events", Events::new(source.clone()))
                .event_time(Event::time, secs(0))
                .key_by(|e| e.card)
                .features("card", declare)
                .into_stream()
        });
        let mut rows: Vec<Bits> = rows.unwrap().iter().map(bits).collect();
        rows.sort_by_key(|(event, _)| event.number);
        assert_eq!(rows, expected, "{workers} workers");
    }
}

fn event(number: u64, ms: i64) -> Event {
    Event {
        number,
        card: 7,
        ms,
        amount: 1.0,
    }
}

#[test]
fn an_event_too_many_is_a_dead_letter_and_what_is_dropped_is_counted() {
    let telemetry = Telemetry::default();
    let limited = |policy: HotKey| {
        plan(move |f| {
            f.over(millis(10)).count("n");
            f.max_events_per_key(2, policy);
        })
    };
    let records = || {
        let event = |(n, ms)| event(n, ms).record();
        (0..).zip([0, 1, 2, 3, 20]).map(event).collect()
    };
    let counts = |rows: Vec<Featured<Event>>| {
        let counts = rows.iter().map(|row| row.features[0]);
        counts.collect::<Vec<_>>()
    };
    let refusing = FeaturesStep::<_, _, _, true>(common(limited(HotKey::Refuse), &telemetry));
    let mut run = StepRun::new(Order::Arrival, refusing, |e: &Event| e.card);
    let given = run.feed(records(), Watermark::START);
    let letters: Vec<u64> = given.dead.iter().map(|letter| letter.offset).collect();
    assert_eq!(letters, [2, 3]);
    assert!(given.dead[0].reason.contains("raise `max_events_per_key`"));
    assert_eq!(counts(given.values()), [1.0, 2.0, 1.0]);
    assert_eq!(run.finish().dead_letters, 2);
    assert_eq!(telemetry.counter("card_refused_events").get(), 2);

    let dropping = FeaturesStep::<_, _, _, false>(common(limited(HotKey::DropOldest), &telemetry));
    let mut run = StepRun::new(Order::Arrival, dropping, |e: &Event| e.card);
    let given = run.feed(records(), Watermark::START);
    assert_eq!(counts(given.values()), [1.0, 2.0, 2.0, 2.0, 1.0]);
    assert_eq!(run.finish().processed, 5);
    assert_eq!(telemetry.counter("card_truncated_events").get(), 2);
}

#[test]
fn a_key_whose_only_event_was_rejected_leaves_no_state() {
    let telemetry = Telemetry::default();
    let plan = plan(|f| {
        f.over(millis(10)).count_if("good", |e| {
            assert!(e.number != 1, "no ones");
            true
        });
    });
    let step = FeaturesStep::<_, _, _, false>(common(plan, &telemetry));
    let mut run = StepRun::new(Order::Arrival, step, |e: &Event| e.number % 2);
    let records = (0..3).map(|n| event(n, 0).record()).collect();
    let given = run.feed(records, Watermark::START);
    assert_eq!((given.values().len(), given.dead.len()), (2, 1));
    run.feed(Vec::new(), Watermark::active(EventTime::from_millis(1)));
    let keys: Vec<u64> = run.state().iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, [0]);
}

#[test]
fn state_of_other_features_or_rules_is_refused() {
    fn windows(f: &mut Features<Event>) {
        f.over(millis(10)).count("n");
    }
    let telemetry = Telemetry::default();
    let dropping = |f: &mut Features<Event>| {
        windows(f);
        f.max_events_per_key(1, HotKey::DropOldest);
    };
    let step = |plan| FeaturesStep::<_, _, _, false>(common(plan, &telemetry));
    let mut run = StepRun::new(Order::Arrival, step(plan(dropping)), |e: &Event| e.card);
    run.feed(
        vec![event(0, 0).record(), event(1, 1).record()],
        Watermark::START,
    );
    assert!(run.restart(step(plan(dropping))).is_ok());
    for other in [windows as fn(&mut Features<Event>), declare] {
        let refused = run.restart(step(plan(other))).unwrap_err().to_string();
        let named = refused.contains("`step`") && refused.contains("start anew");
        assert!(named, "{refused}");
    }

    let correcting = |f: &mut Features<Event>| {
        windows(f);
        f.lateness(millis(5));
        f.corrections();
    };
    let make = || CorrectingStep(common(plan(correcting), &telemetry));
    let mut states = KeyedState::<u64, CorrectableFeatures<Event>>::default();
    let mut run = StepRun::new(Order::Arrival, make(), |e: &Event| e.card);
    run.feed(vec![event(0, 0).record()], Watermark::START);
    let bytes = run.state().take_changed().unwrap();
    let mut plain = KeyedState::<u64, KeyFeatures>::default();
    for group in bytes.values() {
        assert!(states.restore("card", group).is_ok());
        assert!(
            plain.restore("card", group).is_err(),
            "it is not what it looks like"
        );
    }
}

#[test]
fn a_stream_without_corrections_says_how_to_have_them() {
    let refused = run_flow(JobOptions::default(), |flow| {
        let features = flow
            .source("events", Events::new([event(0, 0)]))
            .event_time(Event::time, secs(1))
            .key_by(|e| e.card)
            .features("card", declare);
        features.corrections()
    });
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("`f.corrections()`"), "{refused}");
}
