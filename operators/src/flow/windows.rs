//! Windows over keyed streams: results as the windows fire.

use std::sync::Arc;
use std::time::Duration;

use thalweg_engine::expiry::Expiry;
use thalweg_engine::flow::{Keyed, Stream};
use thalweg_engine::guard::guard;
use thalweg_engine::key::Key;
use thalweg_engine::keyed::{Context, KeyedStep};
use thalweg_engine::ledger::Fate;
use thalweg_engine::record::{Data, Record};
use thalweg_engine::state::KeyedState;

use crate::aggregate::Aggregate;
use crate::firing::{
    Event, Fired, InputOf, KeyWindows, NoColumns, Window, WindowColumns, WindowError, WindowResult,
    Windows,
};

/// Aggregates keyed streams over windows that fire.
///
/// An event counts as processed once a window has taken it in. One that is too late for all of its
/// windows goes to the step's late stream, [`Flow::late`](thalweg_engine::flow::Flow::late) by the
/// step id, or where the job has its late events go; one on which a closure panics is a dead letter.
///
/// State goes on only with windows that lie as they did, of aggregates of the same names and types;
/// an aggregate that is set up in another way needs another name, or the step another id. When
/// windows fire early, and the lateness, may change, and hold from then on.
///
/// In event-time order the results of events that are not late are the same bytes for any number of
/// workers and any batch split; in arrival order, a window's result on time is of the same events.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use thalweg_engine::job::JobOptions;
/// use thalweg_engine::testing::{Events, run_flow};
/// use thalweg_engine::time::{EventTime, minutes, secs};
/// use thalweg_operators::aggregate::{Count, Sum};
/// use thalweg_operators::prelude::*;
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Payment { card: u64, amount: f64, second: i64 }
///
/// let payment = |second, amount| Payment { card: 7, amount, second };
/// let payments = Events::new([payment(0, 5.0), payment(70, 2.0), payment(100, 1.0)]);
/// let results = run_flow(JobOptions::default(), move |flow| {
///     flow.source("payments", payments.clone())
///         .event_time(|p| EventTime::from_seconds(p.second), secs(5))
///         .key_by(|p| p.card)
///         .windows("spend", Window::tumbling(minutes(1)), |w| {
///             w.aggregate("spend", Sum, |p| p.amount).aggregate("n", Count, |_| ())
///         })
///         .into_stream()
/// })?;
/// let rows: Vec<_> = results.iter().map(|r| (r.start.as_micros() / 1_000_000, &r.value)).collect();
/// assert_eq!(rows, [(0, &vec![5.0, 1.0]), (60, &vec![3.0, 2.0])]);
/// # Ok::<(), thalweg_engine::RunError>(())
/// ```
pub trait WindowStreams<'s, K, T> {
    /// Computes a row of named numbers whenever a window of a key fires.
    fn windows<C>(
        self,
        id: &str,
        window: Window,
        declare: impl FnOnce(WindowColumns<T, NoColumns>) -> WindowColumns<T, C>,
    ) -> WindowStream<'s, K>
    where
        C: Aggregate<Output = Vec<f64>>;

    /// Computes one aggregate, of whatever type, whenever a window of a key fires; `input` takes
    /// from an event what the aggregate is of.
    fn aggregate_windows<A>(
        self,
        id: &str,
        window: Window,
        aggregate: A,
        input: impl Fn(&T) -> A::Input + 'static,
    ) -> Stream<'s, WindowResult<K, A::Output>>
    where
        A: Aggregate,
        A::Output: Data;
}

impl<'s, K: Key, T: Data> WindowStreams<'s, K, T> for Keyed<'s, K, T> {
    fn windows<C>(
        self,
        id: &str,
        window: Window,
        declare: impl FnOnce(WindowColumns<T, NoColumns>) -> WindowColumns<T, C>,
    ) -> WindowStream<'s, K>
    where
        C: Aggregate<Output = Vec<f64>>,
    {
        let (names, row, inputs, errors) = declare(WindowColumns::new()).into_parts();
        let windows = Windows::new(&window, &names, row);
        let stream = attach(self, id, windows, inputs, errors);
        let names = Arc::new(names);
        WindowStream { stream, names }
    }

    fn aggregate_windows<A>(
        self,
        id: &str,
        window: Window,
        aggregate: A,
        input: impl Fn(&T) -> A::Input + 'static,
    ) -> Stream<'s, WindowResult<K, A::Output>>
    where
        A: Aggregate,
        A::Output: Data,
    {
        let windows = Windows::new(&window, &[], aggregate);
        attach(self, id, windows, Box::new(input), Vec::new())
    }
}

fn attach<'s, K: Key, T: Data, A: Aggregate>(
    keyed: Keyed<'s, K, T>,
    id: &str,
    windows: Result<Windows<A>, Vec<WindowError>>,
    input: InputOf<T, A::Input>,
    mut errors: Vec<WindowError>,
) -> Stream<'s, WindowResult<K, A::Output>>
where
    A::Output: Data,
{
    let windows = windows.map_err(|more| errors.extend(more));
    let step = WindowStep::new(windows.ok(), input);
    let stream = keyed.step(id, "windows", step);
    for error in errors {
        stream.error(format!("windows `{id}`: {error}"));
    }
    stream
}

/// A stream of the rows that windows give as they fire, which knows the columns' names.
pub struct WindowStream<'s, K> {
    stream: Stream<'s, WindowResult<K, Vec<f64>>>,
    names: Arc<Vec<String>>,
}

impl<K: Key> Clone for WindowStream<'_, K> {
    fn clone(&self) -> Self {
        Self {
            stream: self.stream.clone(),
            names: Arc::clone(&self.names),
        }
    }
}

impl<'s, K: Key> WindowStream<'s, K> {
    /// The columns' names, in the order of the row.
    pub fn names(&self) -> &Arc<Vec<String>> {
        &self.names
    }

    /// The stream itself.
    pub fn into_stream(self) -> Stream<'s, WindowResult<K, Vec<f64>>> {
        self.stream
    }
}

struct WindowStep<K, T, A: Aggregate> {
    /// `None` when they could not be built: the flow will not run.
    windows: Option<Windows<A>>,
    input: InputOf<T, A::Input>,
    expiry: Expiry<K>,
    /// The keys that the clock has to look at; after a restart, until it has, all of them.
    fresh: Option<Vec<K>>,
    fired: Vec<Fired<A::Output>>,
}

impl<K: Key, T, A: Aggregate> WindowStep<K, T, A> {
    fn new(windows: Option<Windows<A>>, input: InputOf<T, A::Input>) -> Self {
        Self {
            windows,
            input,
            expiry: Expiry::default(),
            fresh: None,
            fired: Vec::new(),
        }
    }
}

impl<K, T, A> KeyedStep<T> for WindowStep<K, T, A>
where
    K: Key,
    T: Data,
    A: Aggregate,
    A::Output: Data,
{
    type Key = K;
    type State = KeyWindows<A::State>;
    type Out = WindowResult<K, A::Output>;

    const TURNS_AWAY: bool = true;

    fn process(
        &mut self,
        key: &K,
        state: &mut KeyWindows<A::State>,
        record: Record<T>,
        context: &mut Context<'_, Self::Out>,
    ) {
        let Some(windows) = &self.windows else { return };
        match guard(|| (self.input)(&record.value)) {
            Ok(input) => {
                let event = Event {
                    at: record.time,
                    origin: record.origin,
                    input: &input,
                };
                let settled = context.settled(record.time);
                if windows.take(state, &event, settled, &mut self.fired) {
                    context.finish(record.origin, Fate::Processed);
                } else {
                    context.divert(&record);
                }
            }
            Err(reason) => context.reject(&record.with(()), Some(&record.value), reason),
        }
        for fired in self.fired.drain(..) {
            let ingested_ns = match fired.by_event {
                true => record.ingested_ns,
                false => context.now_ns(),
            };
            context.emit(result(fired, key, ingested_ns));
        }
        state.schedule(key, windows.due(state), &mut self.expiry);
        if windows.wake_every().is_some()
            && let Some(fresh) = &mut self.fresh
            && !std::mem::replace(&mut state.is_fresh, true)
        {
            fresh.push(key.clone());
        }
    }

    fn wake_every(&self) -> Option<Duration> {
        self.windows.as_ref()?.wake_every()
    }

    fn wake(
        &mut self,
        state: &mut KeyedState<K, KeyWindows<A::State>>,
        context: &mut Context<'_, Self::Out>,
    ) {
        let Some(windows) = &self.windows else { return };
        let all = || state.iter().map(|(key, _)| key.clone()).collect();
        let fresh = self.fresh.replace(Vec::new()).unwrap_or_else(all);
        let settled = context.watermark().time;
        let mut results = Vec::new();
        for key in fresh {
            if state.get(&key).is_none() {
                continue;
            }
            let open = state.entry(&key);
            open.is_fresh = false;
            windows.wake(open, settled, &mut self.fired);
            let fired = self.fired.drain(..);
            results.extend(fired.map(|fired| result(fired, &key, context.now_ns())));
        }
        emit_sorted(results, context);
    }

    fn accepts(&self, states: &KeyedState<K, KeyWindows<A::State>>) -> Result<(), String> {
        let Some(windows) = &self.windows else {
            return Ok(());
        };
        if states.iter().all(|(_, state)| windows.accepts(state)) {
            return Ok(());
        }
        Err(format!(
            "its windows were declared in another way when it was written than now ({}); declare \
             them as then, or give the step another id to start anew",
            windows.layout()
        ))
    }

    /// Looks at the keys that are due.
    fn advance(
        &mut self,
        state: &mut KeyedState<K, KeyWindows<A::State>>,
        context: &mut Context<'_, Self::Out>,
    ) {
        let Some(windows) = &self.windows else { return };
        let watermark = context.watermark();
        let mut results = Vec::new();
        for key in self.expiry.due(watermark, state, |s| Some(windows.due(s))) {
            let open = state.entry(&key);
            open.scheduled = None;
            windows.advance(open, watermark.time, &mut self.fired);
            let fired = self.fired.drain(..);
            results.extend(fired.map(|fired| result(fired, &key, context.now_ns())));
            if open.is_empty() {
                state.remove(&key);
            } else {
                open.schedule(&key, windows.due(open), &mut self.expiry);
            }
        }
        emit_sorted(results, context);
    }
}

/// Sends results on by event time and key.
fn emit_sorted<K: Key, V>(
    mut results: Vec<Record<WindowResult<K, V>>>,
    context: &mut Context<'_, WindowResult<K, V>>,
) {
    results.sort_by(|a, b| (a.time, &a.value.key).cmp(&(b.time, &b.value.key)));
    results.into_iter().for_each(|result| context.emit(result));
}

fn result<K: Key, V>(fired: Fired<V>, key: &K, ingested_ns: u64) -> Record<WindowResult<K, V>> {
    Record {
        time: fired.time,
        origin: fired.origin,
        ingested_ns,
        value: fired.of_key(key.clone()),
    }
}

#[cfg(test)]
#[path = "windows_tests.rs"]
mod tests;
