//! A shell that is halted, and goes on from what it had to keep.

use proptest::prelude::*;

use super::*;
use crate::job::{JobOptions, StopHandle};
use crate::step_state::RestoredStates;
use crate::telemetry::{StepKind, Telemetry};
use crate::time::EventTime;

/// Numbers the values of each key.
struct Count {
    refuses: bool,
}

type Counted = (i64, u64);

impl KeyedStep<i64> for Count {
    type Key = i64;
    type State = u64;
    type Out = Counted;

    fn process(
        &mut self,
        _: &i64,
        count: &mut u64,
        record: Record<i64>,
        context: &mut Context<'_, Counted>,
    ) {
        *count += 1;
        let count = *count;
        context.emit(record.map(|value| (value, count)));
    }

    fn accepts(&self, state: &KeyedState<i64, u64>) -> Result<(), String> {
        if self.refuses {
            return Err(format!("{} keys of another day", state.len()));
        }
        Ok(())
    }
}

type CountShell = Shell<i64, Count, fn(&i64) -> i64>;

fn job(restored: Option<StepState>) -> Arc<JobContext> {
    let telemetry = Arc::new(Telemetry::default());
    let mut job = JobContext::new(JobOptions::default(), telemetry, StopHandle::default());
    let restored = restored.map(|state| ("count".to_owned(), state));
    job.restored = RestoredStates::new(restored.into_iter().collect());
    Arc::new(job)
}

fn shell(job: &Arc<JobContext>, worker: usize, workers: usize, refuses: bool) -> CountShell {
    let metrics = job.telemetry.step("count", StepKind::Keyed);
    let seat = Seat {
        worker,
        workers,
        inputs: 2,
        is_local: false,
    };
    let key: fn(&i64) -> i64 = |value| value % 5;
    Shell::new(seat, job, metrics, Count { refuses }, Order::EventTime, key)
}

/// A packet of one of two senders: values that are their event times, then its watermark.
type Sent = (usize, Vec<i64>, i64);

fn packet(offset: u64, (from, values, watermark): &Sent) -> Packet<i64> {
    let record = |(index, value): (u32, &i64)| Record {
        time: EventTime::from_seconds(*value),
        origin: Origin {
            offset,
            index,
            ..Origin::default()
        },
        ingested_ns: 0,
        value: *value,
    };
    Packet {
        from: *from,
        to: 0,
        records: (0..).zip(values).map(record).collect(),
        watermark: Watermark::active(EventTime::from_seconds(*watermark)),
    }
}

/// What comes out packet by packet: records and watermark.
fn run<'a>(
    shell: &mut CountShell,
    sent: impl IntoIterator<Item = (u64, &'a Sent)>,
) -> Vec<(Vec<Record<Counted>>, Watermark)> {
    let packets = sent.into_iter().map(|(offset, sent)| packet(offset, sent));
    let given = packets.filter_map(|packet| shell.take_in(packet));
    given
        .map(|packet| (packet.records, packet.watermark))
        .collect()
}

/// After a restart, what was told before is told once more.
fn without_repeats(
    given: Vec<(Vec<Record<Counted>>, Watermark)>,
) -> Vec<(Vec<Record<Counted>>, Watermark)> {
    let mut told = Watermark::START;
    let is_news = |(records, watermark): &(Vec<_>, Watermark)| {
        let before = std::mem::replace(&mut told, *watermark);
        !records.is_empty() || before != *watermark
    };
    given.into_iter().filter(is_news).collect()
}

fn numbered(sent: &[Sent]) -> impl Iterator<Item = (u64, &Sent)> {
    (0..).zip(sent)
}

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let values = prop::collection::vec(0..60_i64, 0..6);
    prop::collection::vec((0..2_usize, values, 0..60_i64), 0..12)
}

proptest! {
    /// Halted twice, so that what was taken first and what has changed since go together.
    #[test]
    fn what_goes_on_from_taken_state_gives_what_was_never_halted(
        sent in sent(),
        halts in (0..12_usize, 0..12_usize),
    ) {
        let first = halts.0.min(halts.1).min(sent.len());
        let second = halts.0.max(halts.1).min(sent.len());
        let whole = job(None);
        let expected = run(&mut shell(&whole, 0, 1, false), numbered(&sent));

        let before = job(None);
        let mut halted = shell(&before, 0, 1, false);
        let mut found = run(&mut halted, numbered(&sent).take(first));
        let mut state = halted.take_state(Tick::MAX).unwrap();
        found.extend(run(&mut halted, numbered(&sent).take(second).skip(first)));
        state.extend(halted.take_state(Tick::MAX).unwrap());
        let bytes = postcard::to_allocvec(&state).unwrap();
        let state = postcard::from_bytes(&bytes).unwrap();

        let after = job(Some(state));
        let mut resumed = shell(&after, 0, 1, false);
        found.extend(run(&mut resumed, numbered(&sent).skip(second)));
        prop_assert_eq!(without_repeats(found), expected);
    }
}

#[test]
fn more_workers_share_what_one_has_left() {
    let sent: Vec<Sent> = vec![(0, (0..20).collect(), 12), (1, vec![], 7)];
    let end: Vec<Sent> = vec![(0, vec![], 60), (1, vec![], 60)];
    let before = job(None);
    let mut one = shell(&before, 0, 1, false);
    run(&mut one, numbered(&sent));
    let state = one.take_state(Tick::MAX).unwrap();
    let mut expected: Vec<_> = run(&mut one, numbered(&end))
        .into_iter()
        .flat_map(|g| g.0)
        .collect();
    assert_eq!(expected.len(), 13, "from second 7 on they have waited");

    let after = job(Some(state));
    let mut found = Vec::new();
    let mut keys = Vec::new();
    for worker in 0..3 {
        let mut shell = shell(&after, worker, 3, false);
        keys.push(shell.state.len());
        found.extend(
            run(&mut shell, numbered(&end))
                .into_iter()
                .flat_map(|given| given.0),
        );
    }
    assert_eq!(keys.iter().sum::<usize>(), 5);
    assert!(keys.iter().all(|keys| *keys < 5), "{keys:?}");
    found.sort_by_key(|record| record.value);
    expected.sort_by_key(|record| record.value);
    assert_eq!(found, expected);
}

#[test]
fn state_that_cannot_be_used_fails_the_job_by_the_steps_name() {
    let before = job(None);
    let mut one = shell(&before, 0, 1, false);
    run(&mut one, numbered(&[(0, vec![1, 2], 3), (1, vec![], 3)]));
    let good = one.take_state(Tick::MAX).unwrap();
    let mut broken = good.clone();
    broken.keys.insert(KeyGroup(3), vec![0xff]);
    for (state, refuses, reason) in [
        (
            good,
            true,
            "state of step `count` cannot be used: 2 keys of another day",
        ),
        (broken, false, "state of step `count` cannot be decoded"),
    ] {
        let after = job(Some(state));
        shell(&after, 0, 1, refuses);
        let failure = after.failure().unwrap();
        assert!(failure.starts_with(reason), "{failure}");
    }
}
