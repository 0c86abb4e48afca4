//! Help for the tests of windows: aggregates of every sort, and one key's events in, results out.

use serde::{Deserialize, Serialize};
use thalweg_engine::record::Origin;
use thalweg_engine::time::EventTime;

use super::{Event, Fired, KeyWindows, Timing, Window, Windows};
use crate::aggregate::Aggregate;

/// The sum: can be inverted, order does not matter.
pub(super) struct Total;

impl Aggregate for Total {
    type Input = i64;
    type State = i64;
    type Output = i64;

    const REMOVES: bool = true;
    const ORDERED: bool = false;

    fn empty(&self) -> i64 {
        0
    }

    fn add(&self, total: &mut i64, _: EventTime, value: &i64) {
        *total += value;
    }

    fn merge(&self, total: &mut i64, later: &i64) {
        *total += later;
    }

    fn remove(&self, total: &mut i64, _: EventTime, value: &i64) {
        *total -= value;
    }

    fn finish(&self, total: &i64, _: EventTime) -> i64 {
        *total
    }
}

/// The greatest value: can only be merged.
pub(super) struct Greatest;

impl Aggregate for Greatest {
    type Input = i64;
    type State = Option<i64>;
    type Output = Option<i64>;

    const ORDERED: bool = false;

    fn empty(&self) -> Option<i64> {
        None
    }

    fn add(&self, greatest: &mut Option<i64>, _: EventTime, value: &i64) {
        *greatest = (*greatest).max(Some(*value));
    }

    fn merge(&self, greatest: &mut Option<i64>, later: &Option<i64>) {
        *greatest = (*greatest).max(*later);
    }

    fn finish(&self, greatest: &Option<i64>, _: EventTime) -> Option<i64> {
        *greatest
    }
}

/// The values one after another: the order matters.
pub(crate) struct Listed;

impl Aggregate for Listed {
    type Input = i64;
    type State = Vec<i64>;
    type Output = Vec<i64>;

    fn empty(&self) -> Vec<i64> {
        Vec::new()
    }

    fn add(&self, list: &mut Vec<i64>, _: EventTime, value: &i64) {
        list.push(*value);
    }

    fn merge(&self, list: &mut Vec<i64>, later: &Vec<i64>) {
        list.extend(later);
    }

    fn finish(&self, list: &Vec<i64>, _: EventTime) -> Vec<i64> {
        list.clone()
    }
}

/// A sum whose last bits tell in what order it was made.
pub(super) struct Rounded;

/// The running sum, and the time of finishing.
impl Aggregate for Rounded {
    type Input = i64;
    type State = f64;
    type Output = (u64, EventTime);

    fn empty(&self) -> f64 {
        0.0
    }

    fn add(&self, sum: &mut f64, _: EventTime, value: &i64) {
        *sum += (*value as f64 * 0.7).exp();
    }

    fn merge(&self, sum: &mut f64, later: &f64) {
        *sum += later;
    }

    fn finish(&self, sum: &f64, end: EventTime) -> (u64, EventTime) {
        (sum.to_bits(), end)
    }
}

/// What happens to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Op {
    /// An event with a value comes.
    Event(EventTime, i64),
    /// The watermark moves.
    Watermark(EventTime),
    /// A period of the clock is over.
    Wake,
}

/// One key that takes events in as they arrive.
pub(super) struct Harness<A: Aggregate> {
    pub(super) windows: Windows<A>,
    pub(super) state: KeyWindows<A::State>,
    pub(super) fired: Vec<Fired<A::Output>>,
    /// The numbers of the events that came too late.
    pub(super) late: Vec<u64>,
    watermark: EventTime,
    events: u64,
}

impl<A: Aggregate<Input = i64>> Harness<A> {
    pub(super) fn new(window: &Window, aggregate: A) -> Self {
        Self {
            windows: Windows::new(window, &[], aggregate).unwrap(),
            state: KeyWindows::default(),
            fired: Vec::new(),
            late: Vec::new(),
            watermark: EventTime::MIN,
            events: 0,
        }
    }

    /// Takes an event in, complete being what is before `settled`.
    pub(super) fn event(&mut self, at: EventTime, number: u64, value: i64, settled: EventTime) {
        let origin = Origin {
            offset: number,
            ..Origin::default()
        };
        let event = Event {
            at,
            origin,
            input: &value,
        };
        let (windows, state) = (&self.windows, &mut self.state);
        if !windows.take(state, &event, settled, &mut self.fired) {
            self.late.push(number);
        }
    }

    /// Looks at the key only if it has said that it is due.
    pub(super) fn watermark(&mut self, to: EventTime) {
        self.watermark = to;
        let watermark = thalweg_engine::watermark::Watermark::active(to);
        while !self.state.is_empty() && watermark.has_passed(self.windows.due(&self.state)) {
            self.windows.advance(&mut self.state, to, &mut self.fired);
        }
    }

    pub(super) fn run(&mut self, ops: &[Op]) {
        for op in ops {
            match *op {
                Op::Event(at, value) => {
                    self.event(at, self.events, value, self.watermark);
                    self.events += 1;
                }
                Op::Watermark(to) => self.watermark(to),
                Op::Wake if self.windows.wake_every().is_some() => {
                    let (windows, state) = (&self.windows, &mut self.state);
                    windows.wake(state, self.watermark, &mut self.fired);
                }
                Op::Wake => {}
            }
        }
    }

    pub(super) fn save_and_restore(&mut self) {
        let bytes = postcard::to_allocvec(&self.state).unwrap();
        self.state = postcard::from_bytes(&bytes).unwrap();
    }
}

/// Seconds, as times of tests are.
pub(super) fn at(second: i64) -> EventTime {
    EventTime::from_seconds(second)
}

/// An event at a second, whose value is that number.
pub(super) fn event(second: i64) -> Op {
    Op::Event(at(second), second)
}

pub(super) fn watermark(second: i64) -> Op {
    Op::Watermark(at(second))
}

pub(super) const END: Op = Op::Watermark(EventTime::MAX);

/// A result in seconds: start, end, timing, pane, values.
pub(super) type Row = (i64, i64, Timing, u32, Vec<i64>);

pub(super) fn rows(fired: &[Fired<Vec<i64>>]) -> Vec<Row> {
    let second = |at: EventTime| at.as_micros().div_euclid(1_000_000);
    let row = |f: &Fired<Vec<i64>>| {
        assert_eq!(f.events, f.value.len() as u64);
        (
            second(f.start),
            second(f.end),
            f.timing,
            f.pane,
            f.value.clone(),
        )
    };
    fired.iter().map(row).collect()
}

/// Asserts what one key's events give.
pub(super) fn check(window: Window, ops: &[Op], expected: &[Row]) -> Harness<Listed> {
    let mut harness = Harness::new(&window, Listed);
    harness.run(ops);
    assert_eq!(rows(&harness.fired), expected);
    harness
}
