//! What a job goes on from when it is started again: with more data, with other sources, from elsewhere
//! than the newest epoch.

use std::sync::Arc;
use std::thread;

use super::tests::{Outputs, ended, options};
use super::{Checkpointing, Comparison, Failpoint};
use crate::checkpoint::{Checkpoints, Epoch, Manifest, StartFrom};
use crate::flow::{Flow, Graph};
use crate::job::{JobOptions, Order, StopHandle};
use crate::keyed::{Context, KeyedStep};
use crate::ledger::Fates;
use crate::record::Record;
use crate::telemetry::{StepKind, Telemetry};
use crate::testing::{Collect, Events, SimulatedStore, StoreFaults};
use crate::time::{EventTime, millis, secs};
use crate::{RunError, run};

/// Numbers the values of each key.
struct Count;

impl KeyedStep<i64> for Count {
    type Key = i64;
    type State = u64;
    type Out = (i64, u64);

    fn process(
        &mut self,
        _: &i64,
        count: &mut u64,
        record: Record<i64>,
        context: &mut Context<'_, (i64, u64)>,
    ) {
        *count += 1;
        let count = *count;
        context.emit(record.map(|value| (value, count)));
    }
}

/// Counts the seconds of the sources, named in this order, each with its seconds.
fn counted(
    options: JobOptions,
    sources: &[(&'static str, i64)],
    collect: &Collect<(i64, u64)>,
) -> Fates {
    let telemetry = Arc::new(Telemetry::default());
    let (sources, own) = (sources.to_vec(), collect.clone());
    let build = move |flow: &mut Flow<'_>| {
        let mut streams = sources.iter().map(|(id, seconds)| {
            flow.source(id, Events::new((0..*seconds).collect::<Vec<_>>()))
                .event_time(|n: &i64| EventTime::from_seconds(*n), secs(5))
        });
        let first = streams.next().expect("there is a source");
        let all = first.merge("all", streams.collect::<Vec<_>>());
        let counts = all.key_by(|n| n % 7).step("count", "count", Count);
        counts.sink("counts", own.clone());
        Ok(())
    };
    let outcome = run(
        options,
        Arc::clone(&telemetry),
        StopHandle::default(),
        build,
    );
    outcome.expect("it comes to a good end");
    telemetry.fates()
}

fn newest(options: &JobOptions) -> Manifest {
    let checkpoints = options.checkpoints.as_ref().expect("it takes checkpoints");
    let opened = Checkpoints::open(&checkpoints.options, &checkpoints.pipeline);
    let newest = opened.expect("opened").newest().expect("readable");
    newest.expect("there is one")
}

#[test]
fn a_job_that_has_ended_goes_on_with_what_has_come_since() {
    let whole = Collect::default();
    counted(options(1, Order::EventTime, None), &[("a", 500)], &whole);
    let (store, collect) = (SimulatedStore::new(1), Collect::default());
    for (seconds, workers) in [(100, 1), (100, 2), (300, 2), (500, 3)] {
        let options = options(workers, Order::EventTime, Some(&store));
        let fates = counted(options, &[("a", seconds)], &collect);
        assert!(fates.balance() && fates.late == 0, "{fates:?}");
    }
    let sorted = |collect: &Collect<(i64, u64)>| {
        let mut values = collect.values();
        values.sort_unstable();
        values
    };
    assert_eq!(sorted(&collect), sorted(&whole));
}

#[test]
fn a_source_is_known_by_its_step_id_wherever_it_is_declared() {
    let (store, collect) = (SimulatedStore::new(1), Collect::default());
    let with = || options(2, Order::EventTime, Some(&store));
    counted(with(), &[("b", 50)], &collect);
    let fates = counted(with(), &[("a", 40), ("b", 80), ("c", 10)], &collect);
    assert!(fates.balance(), "{fates:?}");
    assert_eq!(fates.records_in, 40 + 30 + 10);
    let manifest = newest(&with());
    let number = |id: &str| manifest.source(id).expect("it was read").notes["number"].clone();
    assert_eq!(["a", "b", "c"].map(number), [1, 0, 2]);
    let counts = collect.values().len();
    assert_eq!(counts as u64, 50 + fates.processed);
}

#[test]
fn an_older_epoch_is_gone_on_from_once_by_all_restarts_of_one_start() {
    let (store, outputs) = (SimulatedStore::new(1), Outputs::default());
    let start = |from: Option<Epoch>, token: u64, failpoint: Failpoint| {
        let mut options = options(2, Order::EventTime, Some(&store));
        if let Some(checkpoints) = &mut options.checkpoints {
            checkpoints.options.retain = 1_000;
            checkpoints.from = from.map_or(StartFrom::Newest, StartFrom::Epoch);
            checkpoints.start_token = Some(token);
            checkpoints.failpoint = failpoint;
        }
        let (outcome, _) = ended(options.clone(), &outputs, &StopHandle::default(), false);
        if let Err(error) = outcome {
            assert!(matches!(error, RunError::Failed(_)), "{error}");
        }
        newest(&options)
    };
    let after_seals = |seals| Failpoint::at("after seal", seals);
    let first = start(None, 1, after_seals(6));
    let older = Epoch(first.epoch.0 - 3);
    // It breaks down before it has sealed anything, and after.
    start(Some(older), 2, Failpoint::at("before seal", 1));
    let second = start(Some(older), 2, after_seals(2));
    assert_eq!(second.restored_from, Some(older));
    let third = start(Some(older), 2, after_seals(1));
    assert_eq!(third.restored_from, Some(second.epoch));
    let other = start(Some(older), 3, after_seals(1));
    assert_eq!(other.restored_from, Some(older));
}

#[test]
fn what_differs_from_a_checkpoint_is_told() {
    let (store, collect) = (SimulatedStore::new(1), Collect::default());
    let options = options(1, Order::EventTime, Some(&store));
    counted(options.clone(), &[("a", 50)], &collect);
    let checkpointing: Checkpointing = options.checkpoints.expect("it takes checkpoints");
    let compare = |nodes: &[(&str, StepKind, &str)]| {
        let mut graph = Graph::default();
        for (id, kind, label) in nodes {
            graph.add(id, *kind, label, &[]);
        }
        let compared = checkpointing.compare(&graph).expect("it can be read");
        compared.expect("there is a checkpoint")
    };
    let sinks = ["counts", "dead_letters", "late"].map(|id| (id, StepKind::Sink, "sink"));
    let same = [
        ("a", StepKind::Source, "a"),
        ("count", StepKind::Keyed, "count"),
    ];
    let compared = compare(&[&same[..], &sinks].concat());
    assert_eq!(compared.errors(false), Vec::<String>::new());
    assert!(compared.added.is_empty(), "{compared:?}");
    let other = [
        ("b", StepKind::Source, "b"),
        ("count", StepKind::Keyed, "other"),
        ("more", StepKind::Keyed, "count"),
    ];
    let Comparison { added, dropped, .. } = compare(&[&other[..], &sinks].concat());
    assert_eq!(
        (added, dropped),
        (vec!["b".into(), "more".into()], vec!["a".into()])
    );
    let compared = compare(&[&other[..], &sinks].concat());
    assert_eq!(
        (compared.errors(false).len(), compared.errors(true).len()),
        (2, 1)
    );
    assert!(compared.errors(true)[0].contains("step `count` is a other step"));
}

#[test]
fn a_source_is_left_behind_once_and_keeps_its_place() {
    let (store, collect) = (SimulatedStore::new(1), Collect::default());
    let with = |allows: bool| {
        let mut options = options(1, Order::EventTime, Some(&store));
        let checkpoints = options.checkpoints.as_mut().expect("it takes checkpoints");
        checkpoints.allow_dropped_state = allows;
        options
    };
    let refused = |sources: &'static [(&'static str, i64)]| {
        let build = move |flow: &mut Flow<'_>| {
            for (id, seconds) in sources {
                flow.source(id, Events::new((0..*seconds).collect::<Vec<_>>()))
                    .event_time(|n: &i64| EventTime::from_seconds(*n), secs(5))
                    .key_by(|n| n % 7)
                    .step("count", "count", Count)
                    .sink("counts", Collect::default());
            }
            Ok(())
        };
        run(with(false), Arc::default(), StopHandle::default(), build)
            .expect_err("a source is missing")
    };
    counted(with(false), &[("a", 50), ("b", 50)], &collect);
    let error = refused(&[("a", 60)]).to_string();
    assert!(
        error.contains("`b`") && error.contains("--allow-dropped-state"),
        "{error}"
    );
    counted(with(true), &[("a", 60)], &collect);
    // From here on there is a manifest that knows of it.
    counted(with(false), &[("a", 70)], &collect);
    let fates = counted(with(false), &[("a", 80), ("b", 60)], &collect);
    assert_eq!(fates.records_in, 10 + 10);
    assert!(!newest(&with(false)).notes.contains_key("left"));
    let error = refused(&[("a", 80)]).to_string();
    assert!(error.contains("`b`"), "it is there again: {error}");
}

#[test]
fn a_start_waits_for_room_and_says_why() {
    let (store, outputs) = (SimulatedStore::new(1), Outputs::default());
    store.set_faults(StoreFaults {
        is_full: 1.0,
        ..StoreFaults::default()
    });
    let telemetry = Arc::new(Telemetry::default());
    let job = {
        let (telemetry, build) = (Arc::clone(&telemetry), outputs.build(false));
        let options = options(1, Order::EventTime, Some(&store));
        thread::spawn(move || run(options, telemetry, StopHandle::default(), build))
    };
    while telemetry.waiting().is_empty() {
        thread::sleep(millis(1));
    }
    let waiting = &telemetry.waiting()[0];
    assert!(waiting.reason.contains("free some room"), "{waiting:?}");
    assert_eq!(telemetry.records_in(), 0);
    store.set_faults(StoreFaults::default());
    let outcome = job.join().expect("it does not panic");
    outcome.expect("it comes to a good end");
    assert_eq!(telemetry.waiting(), []);
    assert!(telemetry.fates().records_in > 0);
    for name in ["epoch_sealed", "epoch_visible"] {
        assert!(telemetry.timing(name).totals().0 > 0, "{name}");
    }
}

#[test]
fn a_start_that_waits_for_room_can_be_stopped() {
    let (store, stop) = (SimulatedStore::new(1), StopHandle::default());
    store.set_faults(StoreFaults {
        is_full: 1.0,
        ..StoreFaults::default()
    });
    stop.stop();
    let options = options(1, Order::EventTime, Some(&store));
    let (outcome, fates) = ended(options, &Outputs::default(), &stop, true);
    outcome.expect("it ends as it was asked to");
    assert_eq!(fates.records_in, 0);
}

#[test]
fn what_has_been_published_is_not_begun_anew_without_its_checkpoints() {
    let (store, outputs) = (SimulatedStore::new(1), Outputs::default());
    let start = |store: &SimulatedStore| {
        let options = options(1, Order::EventTime, Some(store));
        ended(options, &outputs, &StopHandle::default(), false).0
    };
    start(&store).expect("it comes to a good end");
    let missing = SimulatedStore::new(2);
    let error = start(&missing).expect_err("its checkpoints are missing");
    assert!(matches!(error, RunError::Plan(_)), "{error:?}");
    let error = error.to_string();
    assert!(error.contains("there are no checkpoints in"), "{error}");
    assert!(error.contains("to begin anew, take away"), "{error}");
    assert!(missing.objects().is_empty(), "nothing is written");
    // Nor without the newest of them.
    let older = store.copy();
    let objects = older.objects().into_keys().rev();
    let newest = objects.filter(|name| name.starts_with("log/")).take(2);
    newest.for_each(|name| older.put(&name, None));
    let error = start(&older).expect_err("its newest checkpoint is missing");
    assert!(
        error.to_string().contains("the newest checkpoint is epoch"),
        "{error}"
    );
    start(&store).expect("nothing is missing here");
}

#[test]
fn a_restart_that_finds_no_checkpoints_any_more_does_not_begin_anew() {
    let store = SimulatedStore::new(1);
    let mut options = options(1, Order::EventTime, Some(&store));
    let checkpoints = options.checkpoints.as_mut().expect("it takes checkpoints");
    checkpoints.has_sealed = true;
    let (outcome, fates) = ended(options, &Outputs::default(), &StopHandle::default(), false);
    let error = outcome.expect_err("its checkpoints are missing");
    assert!(matches!(error, RunError::Plan(_)), "{error:?}");
    assert!(error.to_string().contains("no checkpoints in"), "{error}");
    assert_eq!(fates.records_in, 0);
    assert!(store.objects().is_empty(), "nothing is written");
}
