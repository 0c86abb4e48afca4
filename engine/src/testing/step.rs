//! One keyed step run by hand: its records, watermarks and restarts in the test's own order.

use std::error::Error;
use std::sync::Arc;

use crate::dataflow::Tick;
use crate::dataflow::keyed::{Seat, Shell};
use crate::dataflow::stateful::TakeState;
use crate::job::{JobContext, JobOptions, Order, StopHandle};
use crate::keyed::KeyedStep;
use crate::ledger::{Fate, Fates};
use crate::letters::{DeadLetter, LateEvent};
use crate::record::{Data, Packet, Record};
use crate::state::KeyedState;
use crate::step_state::StepState;
use crate::telemetry::{StepKind, Telemetry};
use crate::watermark::Watermark;

type KeyOf<K, T> = Box<dyn Fn(&T) -> K>;

/// A keyed step as one worker runs it, without the worker: what it gives for some records and a
/// watermark comes back at once.
///
/// ```
/// use thalweg_engine::job::Order;
/// use thalweg_engine::keyed::{Context, KeyedStep};
/// use thalweg_engine::record::{Origin, Record};
/// use thalweg_engine::testing::StepRun;
/// use thalweg_engine::time::EventTime;
/// use thalweg_engine::watermark::Watermark;
///
/// struct Sum;
/// impl KeyedStep<u64> for Sum {
///     type Key = ();
///     type State = u64;
///     type Out = u64;
///
///     fn process(&mut self, (): &(), sum: &mut u64, record: Record<u64>, context: &mut Context<'_, u64>) {
///         *sum += record.value;
///         let sum = *sum;
///         context.emit(record.with(sum));
///     }
/// }
///
/// let mut run = StepRun::new(Order::Arrival, Sum, |_| ());
/// let record = |value| Record {
///     time: EventTime::from_seconds(1),
///     origin: Origin { offset: value, ..Origin::default() },
///     ingested_ns: 0,
///     value,
/// };
/// let before = run.feed(vec![record(1), record(2)], Watermark::START);
/// assert_eq!(before.values(), [1, 3]);
/// run.restart(Sum)?;
/// let after = run.feed(vec![record(3)], Watermark::END);
/// assert_eq!(after.values(), [6]);
/// assert_eq!(run.finish().processed, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StepRun<T: Data, S: KeyedStep<T>> {
    shell: Shell<T, S, KeyOf<S::Key, T>>,
    job: Arc<JobContext>,
    /// What all restarts so far have gone on from.
    saved: Option<StepState>,
}

/// What a step gave for one packet.
#[derive(Debug)]
pub struct StepOutput<O> {
    /// The records it sent on.
    pub records: Vec<Record<O>>,
    /// What it sent to its late stream.
    pub late: Vec<LateEvent>,
    /// What it sent to the dead letters.
    pub dead: Vec<DeadLetter>,
}

impl<O: Clone> StepOutput<O> {
    /// The values of the records sent on.
    pub fn values(&self) -> Vec<O> {
        self.records.iter().map(|r| r.value.clone()).collect()
    }
}

impl<T: Data, S: KeyedStep<T>> StepRun<T, S> {
    /// A step with the id `step` in the order given, with nothing in its state.
    pub fn new(order: Order, step: S, key: impl Fn(&T) -> S::Key + 'static) -> Self {
        let telemetry = Arc::new(Telemetry::default());
        let metrics = telemetry.step("step", StepKind::Keyed);
        let job = JobContext::new(JobOptions::default(), telemetry, StopHandle::default());
        let key: KeyOf<S::Key, T> = Box::new(key);
        let job = Arc::new(job);
        let seat = Seat {
            worker: 0,
            workers: 1,
            inputs: 1,
            is_local: false,
        };
        let shell = Shell::new(seat, &job, metrics, step, order, key);
        Self {
            shell,
            job,
            saved: None,
        }
    }

    /// Hands over records as sources read them, then a watermark. What comes out counts as
    /// processed, as if written by a sink.
    ///
    /// # Panics
    /// When the step does.
    pub fn feed(&mut self, records: Vec<Record<T>>, watermark: Watermark) -> StepOutput<S::Out> {
        let mut pen = self.job.telemetry.ledger().pen();
        records.iter().for_each(|record| pen.read(record.origin));
        let given = self.shell.take_in(Packet::local(0, records, watermark));
        assert_eq!(self.job.failure(), None);
        let records = given.map_or_else(Vec::new, |packet| packet.records);
        let letters = std::mem::take(self.shell.letters());
        for record in &records {
            pen.mark(record.origin, Fate::Processed);
        }
        StepOutput {
            records,
            late: letters.late.into_iter().map(|r| r.value).collect(),
            dead: letters.dead.into_iter().map(|r| r.value).collect(),
        }
    }

    /// Puts another step in its place, as after a restart from a checkpoint: it goes on from the
    /// changes of this restart and all before it.
    ///
    /// # Errors
    /// When the state cannot be written, or not be read back, or the step refuses it.
    pub fn restart(&mut self, step: S) -> Result<(), Box<dyn Error>> {
        let taken = self.shell.take_state(Tick::MAX)?;
        let saved = match self.saved.take() {
            Some(mut saved) => {
                saved.extend(taken);
                saved
            }
            None => taken,
        };
        self.shell.restart(step, self.saved.insert(saved).clone())?;
        Ok(())
    }

    /// The step's state.
    pub fn state(&mut self) -> &mut KeyedState<S::Key, S::State> {
        self.shell.state()
    }

    /// Ends the run, as a job that is stopped, and counts what became of the records.
    ///
    /// # Panics
    /// When a record is lost.
    pub fn finish(self) -> Fates {
        let Self { shell, job, .. } = self;
        drop(shell);
        let fates = job.telemetry.ledger().fates();
        assert!(fates.balance(), "records were lost: {fates:?}");
        fates
    }
}
