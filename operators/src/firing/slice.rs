//! Slices: what is kept of the events of a stretch that windows share, or of a session.

use serde::{Deserialize, Serialize};
use thalweg_engine::record::Origin;
use thalweg_engine::time::EventTime;

use crate::aggregate::Aggregate;

/// Runs that may lie in a slice before those that are complete are merged.
const RUNS_MAX: usize = 8;

/// Events after which a state is made compact again.
const EVENTS_BETWEEN_COMPACTIONS: u64 = 64;

/// An event on its way into a slice.
pub(super) struct Arrival<'a, I> {
    pub(super) at: EventTime,
    /// Its place among the events of the slice.
    pub(super) position: i64,
    /// No event comes any more whose place is before this.
    pub(super) complete_to: i64,
    pub(super) origin: Origin,
    pub(super) input: &'a I,
}

impl<I> Arrival<'_, I> {
    /// Where the event goes: one that comes after its place was complete goes behind what was.
    fn place(&self) -> i64 {
        self.position.max(self.complete_to)
    }
}

/// What is kept of the events of a slice.
#[derive(Serialize, Deserialize)]
pub(super) struct Slice<S> {
    /// The slice's number; of a discarding window, the window's; of a session, its first event's
    /// position.
    pub(super) index: i64,
    pub(super) summary: Summary,
    /// The origin of the latest event.
    origin: Origin,
    /// The number that the next result with that origin gets.
    signed: u32,
    runs: Vec<Run<S>>,
}

/// How many events, and from when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) events: u64,
    /// The least event time, in microseconds.
    pub(super) first: i64,
    /// The greatest.
    pub(super) last: i64,
}

impl Summary {
    pub(super) fn merge(&mut self, other: &Self) {
        self.events += other.events;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// Neighbouring events of a slice, aggregated.
#[derive(Serialize, Deserialize)]
struct Run<S> {
    first: i64,
    last: i64,
    state: S,
}

impl<S: Clone> Slice<S> {
    /// A slice without events; its first is about to come, at `at`.
    pub(super) fn new(index: i64, at: i64) -> Self {
        Self {
            index,
            summary: Summary {
                events: 0,
                first: at,
                last: at,
            },
            origin: Origin::default(),
            signed: 0,
            runs: Vec::new(),
        }
    }

    /// Takes an event in. Results that carry its origin are numbered from `number` on.
    pub(super) fn add<A>(
        &mut self,
        aggregate: &A,
        event: &Arrival<'_, A::Input>,
        at: i64,
        number: u32,
    ) where
        A: Aggregate<State = S>,
    {
        if at >= self.summary.last {
            self.origin = event.origin;
            self.signed = number;
        }
        self.summary.merge(&Summary {
            events: 1,
            first: at,
            last: at,
        });
        let compacts = self
            .summary
            .events
            .is_multiple_of(EVENTS_BETWEEN_COMPACTIONS);
        let place = event.place();
        if let Some(run) = self.run_for::<A>(event) {
            aggregate.add(&mut run.state, event.at, event.input);
            run.last = run.last.max(place);
            if compacts {
                aggregate.compact(&mut run.state);
            }
            return;
        }
        let mut state = aggregate.empty();
        aggregate.add(&mut state, event.at, event.input);
        let run = Run {
            first: place,
            last: place,
            state,
        };
        let before = self.runs.partition_point(|run| run.first <= place);
        self.runs.insert(before, run);
        if self.runs.len() > RUNS_MAX {
            self.merge_complete(aggregate, event.complete_to);
        }
    }

    /// The run that the event continues. A run may grow only to where no event comes any more, or
    /// such an event could not be put between those of the run.
    fn run_for<A: Aggregate>(&mut self, event: &Arrival<'_, A::Input>) -> Option<&mut Run<S>> {
        if !A::ORDERED {
            return self.runs.first_mut();
        }
        let place = event.place();
        let before = self.runs.partition_point(|run| run.first <= place);
        let run = self.runs[..before].last_mut()?;
        (place <= event.complete_to || run.last == place).then_some(run)
    }

    /// Merges the runs between which no event comes any more, if they are many.
    fn merge_complete<A: Aggregate<State = S>>(&mut self, aggregate: &A, complete_to: i64) {
        let complete = self.runs.partition_point(|run| run.last <= complete_to);
        if complete < 2 || complete < self.runs.len() / 2 {
            return;
        }
        let mut runs = self.runs.drain(..complete);
        if let Some(mut first) = runs.next() {
            for run in runs {
                aggregate.merge(&mut first.state, &run.state);
                first.last = run.last;
            }
            aggregate.compact(&mut first.state);
            self.runs.insert(0, first);
        }
    }

    /// What is kept of all events of the slice.
    pub(super) fn state<A: Aggregate<State = S>>(&self, aggregate: &A) -> S {
        let Some((first, rest)) = self.runs.split_first() else {
            return aggregate.empty();
        };
        let mut state = first.state.clone();
        rest.iter()
            .for_each(|run| aggregate.merge(&mut state, &run.state));
        state
    }

    /// What is kept, without a copy where it is in one piece.
    pub(super) fn whole(&self) -> Option<&S> {
        match self.runs.as_slice() {
            [run] => Some(&run.state),
            _ => None,
        }
    }

    /// Adds a slice of later events to this one.
    pub(super) fn join(&mut self, later: Self) {
        self.summary.merge(&later.summary);
        self.origin = later.origin;
        self.signed = later.signed;
        self.runs.extend(later.runs);
    }

    /// Forgets the events, as they have been given; the slice stays where it is.
    pub(super) fn discard(&mut self) {
        self.runs.clear();
        self.summary.events = 0;
    }

    /// Whether this event is the slice's latest.
    pub(super) fn is_latest(&self, origin: Origin) -> bool {
        self.origin == origin
    }

    /// The origin for the next result that the latest event stands for; `stride` is the distance of
    /// the numbers.
    pub(super) fn sign(&mut self, stride: u32) -> Origin {
        let signed = self.signed;
        self.signed = signed.wrapping_add(stride);
        self.origin.child(signed)
    }

    /// Whether what was read back is in order.
    pub(super) fn is_sound(&self) -> bool {
        self.runs.is_sorted_by_key(|run| run.first)
    }
}
