//! [`FeaturePlan`]: compiled features, run event by event over the state of each key.

use std::fmt;

use thalweg_engine::look_ahead::Reach;
use thalweg_engine::time::EventTime;

use super::extract::Extraction;
use super::upkeep::{Outcome, Upkeep};
use crate::window::{Inputs, KeyFeatures, Program, Scratch};

/// The compiled features of one keyed step. A worker builds its own: a plan is not `Send`.
///
/// Order, ties and late events: see [`crate::window`].
#[derive(Debug)]
pub struct FeaturePlan<T> {
    names: Vec<String>,
    layout: String,
    columns: Extraction<T>,
    pub(super) program: Program,
    wanted: Wanted<T>,
    /// What most plans do without.
    pub(super) upkeep: Option<Box<Upkeep>>,
    inputs: Inputs,
    /// Whether the event whose inputs these are gets a row.
    is_wanted: bool,
    scratch: Scratch,
}

/// Which events get a row: all, unless a predicate says.
pub(super) struct Wanted<T>(Option<Predicate<T>>);

type Predicate<T> = Box<dyn Fn(&T) -> bool>;

impl<T> Wanted<T> {
    pub(super) fn of(wanted: impl Fn(&T) -> bool + 'static) -> Self {
        Self(Some(Box::new(wanted)))
    }
}

impl<T> Default for Wanted<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> fmt::Debug for Wanted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Some" } else { "All" })
    }
}

impl<T: 'static> FeaturePlan<T> {
    pub(super) fn new(
        names: Vec<String>,
        layout: String,
        columns: Extraction<T>,
        program: Program,
        wanted: Wanted<T>,
        upkeep: Upkeep,
    ) -> Self {
        let (inputs, scratch) = (Inputs::default(), Scratch::default());
        let upkeep = upkeep.if_any(&program);
        Self {
            names,
            layout,
            columns,
            program,
            wanted,
            upkeep,
            inputs,
            is_wanted: true,
            scratch,
        }
    }

    /// The names of the features, in the order of their values in a row.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What the state of a key depends on, in words: state may only be given to a plan of the same
    /// layout. A step compares it with the one in its checkpoint before it restores any key.
    ///
    /// It tells windows, statistics and shared columns apart; what a closure computes it cannot
    /// know.
    pub fn layout(&self) -> &str {
        &self.layout
    }

    /// Takes an event of the key in, at its event time, and appends its features to `row`: one
    /// finite value or NaN (missing) per name, or infinity where a sum overflows. An event that
    /// [`rows_for`](super::Features::rows_for) rules out appends nothing.
    ///
    /// Returns whether the event was taken in: false when [`HotKey::Refuse`](super::HotKey) refuses
    /// it, of which nothing shows.
    ///
    /// # Panics
    /// When `state` was made with a plan of another [`layout`](Self::layout), as far as that shows.
    pub fn update(
        &mut self,
        state: &mut KeyFeatures,
        event: &T,
        at: EventTime,
        row: &mut Vec<f64>,
    ) -> bool {
        self.extract(event);
        !self.update_extracted(state, at, row).is_refused
    }

    /// Takes from an event what [`FeaturePlan::update_extracted`] needs: this runs all of the
    /// user's closures, and touches no key's state.
    pub(crate) fn extract(&mut self, event: &T) {
        self.columns.extract(event, &mut self.inputs);
        self.is_wanted = self.wanted.0.as_ref().is_none_or(|wanted| wanted(event));
    }

    /// The second half of [`FeaturePlan::update`].
    pub(crate) fn update_extracted(
        &mut self,
        state: &mut KeyFeatures,
        at: EventTime,
        row: &mut Vec<f64>,
    ) -> Outcome {
        if self.is_refused(state, at) {
            return Outcome {
                is_refused: true,
                ..Outcome::default()
            };
        }
        self.apply(state, at, Some(row))
    }

    /// Whether the extracted event is to be refused.
    #[inline]
    pub(super) fn is_refused(&self, state: &KeyFeatures, at: EventTime) -> bool {
        let refused =
            |upkeep: &Upkeep| upkeep.is_refused(&self.program, state, &self.inputs, at.as_micros());
        self.upkeep.as_deref().is_some_and(refused)
    }

    /// Takes the extracted event in by the rules, and never refuses it.
    #[inline]
    pub(super) fn apply(
        &mut self,
        state: &mut KeyFeatures,
        at: EventTime,
        row: Option<&mut Vec<f64>>,
    ) -> Outcome {
        let event = (&self.inputs, at.as_micros());
        let row = row.filter(|_| self.is_wanted);
        match &self.upkeep {
            Some(upkeep) => upkeep.update(&self.program, state, event, &mut self.scratch, row),
            None => {
                self.program
                    .update(state, event.0, event.1, &mut self.scratch, row);
                Outcome::default()
            }
        }
    }

    /// After how long an idle key is forgotten, and how late its events may be, if it ever is.
    pub(crate) fn forgets_after(&self) -> Option<(i64, i64)> {
        let ttl = self.upkeep.as_ref()?.ttl()?;
        Some((ttl, self.program.lateness))
    }

    /// Whether events may be refused: see [`HotKey::Refuse`](super::HotKey::Refuse).
    pub(crate) fn refuses(&self) -> bool {
        self.upkeep.as_ref().is_some_and(|upkeep| upkeep.refuses())
    }

    /// Whether rows are to be corrected: see [`Features::corrections`](super::Features::corrections).
    pub(crate) fn corrects(&self) -> bool {
        self.upkeep
            .as_ref()
            .is_some_and(|upkeep| upkeep.corrections)
    }

    /// Whether there are any rules beside the features.
    pub(crate) fn has_upkeep(&self) -> bool {
        self.upkeep.is_some()
    }

    /// Whether a state that was restored is of this plan's layout, as far as that shows. What is not
    /// must not be given to [`update`](Self::update).
    pub fn accepts(&self, state: &KeyFeatures) -> bool {
        let fits = match &self.upkeep {
            Some(upkeep) => upkeep.accepts(&self.program, state),
            None => Upkeep::default().accepts(&self.program, state),
        };
        fits && self.program.accepts(state)
    }

    /// Asks for the memory that the next events will need of the states of their keys; see
    /// [`look_ahead`](thalweg_engine::look_ahead).
    pub fn touch<'a>(
        &self,
        reach: Reach,
        events: impl Iterator<Item = &'a T>,
        states: &[Option<&KeyFeatures>],
    ) {
        match reach {
            Reach::State => self.program.touch_blocks(states),
            Reach::Pointees => {
                self.program.touch_rows(states);
                for (event, state) in events.zip(states) {
                    if let Some(state) = state.filter(|state| state.has_indexes()) {
                        let id_of = |column| self.columns.id_of(event, column);
                        self.program.touch_indexes(state, id_of);
                    }
                }
            }
        }
    }

    /// Whether the extracted event gets a row: see [`rows_for`](super::Features::rows_for).
    pub(crate) fn has_row(&self) -> bool {
        self.is_wanted
    }

    /// The latest event time of the key's events, from which its idle time counts;
    /// [`EventTime::MIN`] for a key that has had none.
    pub fn last_seen(&self, state: &KeyFeatures) -> EventTime {
        EventTime::from_micros(state.newest())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::features::testing::{Reading, check, plan, reading, run};
    use crate::features::{Features, KeyFeatures};
    use thalweg_engine::time::{days, hours, secs};

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let mut f = Features::<f64>::new();
        f.over(secs(1))
            .count("n")
            .sum("sum", |v| *v)
            .max("max", |v| *v);
        f.over(Duration::MAX)
            .count("all")
            .distinct("ids", |v| *v as u64);
        f.since_last("since", |_| true);
        f.lateness(Duration::MAX);
        let mut plan = f.build().unwrap();
        let (mut state, mut row) = (KeyFeatures::default(), Vec::new());
        assert_eq!(plan.last_seen(&state), EventTime::MIN);
        let zero = EventTime::default();
        for at in [
            EventTime::MIN,
            EventTime::MIN,
            EventTime::MAX,
            zero,
            EventTime::MIN,
        ] {
            row.clear();
            plan.update(&mut state, &2.0, at, &mut row);
        }
        // Between the two ends lies more time than the longest window and the lateness hold.
        assert_eq!(row[..5], [1.0, 2.0, 2.0, 1.0, 1.0]);
        assert!(row[5].is_nan());
        assert_eq!(plan.last_seen(&state), EventTime::MAX);
        row.clear();
        plan.update(&mut state, &1.0, EventTime::MAX, &mut row);
        assert_eq!(row, [2.0, 3.0, 2.0, 2.0, 2.0, 0.0]);
    }

    #[test]
    fn events_without_a_row_update_the_state() {
        check(
            |f| {
                f.over(secs(10)).count("n").sum("sum", |e| e.value);
                f.rows_for(|e| e.value > 1.0);
            },
            &[
                reading(0, 1.0),
                reading(1, 0.5),
                reading(2, 2.0),
                reading(3, f64::NAN),
            ],
            &[&[], &[], &[3.0, 3.5], &[]],
        );
    }

    #[test]
    fn a_late_event_is_exact_and_seen_by_later_ones() {
        check(
            |f| {
                f.lateness(secs(5));
                f.over(secs(10))
                    .count("n")
                    .sum("sum", |e| e.value)
                    .max("max", |e| e.value);
            },
            &[
                reading(0, 1.0),
                reading(10, 2.0),
                reading(6, 8.0),
                reading(6, 4.0),
                reading(12, 16.0),
                // Later than allowed: the row is over what is left, and at 13 it still counts.
                reading(5, 32.0),
                reading(13, 64.0),
                reading(16, 0.0),
            ],
            &[
                &[1.0, 1.0, 1.0],
                &[1.0, 2.0, 2.0],
                &[2.0, 9.0, 8.0],
                &[3.0, 13.0, 8.0],
                &[4.0, 30.0, 16.0],
                &[2.0, 33.0, 32.0],
                &[6.0, 126.0, 64.0],
                &[4.0, 82.0, 64.0],
            ],
        );
    }

    #[test]
    fn long_logs_are_exact() {
        let mut events: Vec<_> = (0..9_000)
            .map(|n| reading(n, (n * 7_919 % 9_001) as f64))
            .collect();
        for late in (500..9_000).step_by(1_000) {
            events[late].second -= 400;
        }
        let rows = run(
            |f| {
                f.over(secs(5_000))
                    .max("max", |e| e.value)
                    .min("min", |e| e.value);
                f.over(secs(300)).max("short", |e| e.value);
            },
            &events,
        );
        for (n, row) in rows.iter().enumerate().step_by(37) {
            let at = events[n].second;
            let extremes = |length| {
                let inside = |e: &&Reading| e.second <= at && e.second > at - length;
                let values = events[..=n].iter().filter(inside).map(|e| e.value);
                values.fold((f64::NAN, f64::NAN), |(min, max), v| {
                    (v.min(min), v.max(max))
                })
            };
            let ((min, max), (_, short)) = (extremes(5_000), extremes(300));
            assert_eq!(row[..], [max, min, short], "event {n}");
        }
    }

    #[test]
    fn a_key_with_32_live_events_5_windows_and_8_aggregates_takes_less_than_1_kb() {
        let mut f = Features::<Reading>::new();
        let value = f.column(|e| e.value);
        for window in [2, 4, 8, 16, 32] {
            let name = |what: &str| format!("{what}_{window}");
            let over = f
                .over(secs(window))
                .count(&name("count"))
                .sum(&name("sum"), value);
            let over = over.mean(&name("mean"), value).std(&name("std"), value);
            let over = over.min(&name("min"), value).max(&name("max"), value);
            let over = over.count_if(&name("big"), |e| e.value > 10.0);
            over.distinct(&name("distinct"), |e| e.value as u32);
        }
        let mut plan = f.build().unwrap();
        let mut state = KeyFeatures::default();
        for n in 0..1_000 {
            let at = EventTime::from_seconds(n);
            plan.update(
                &mut state,
                &reading(n, (n % 23) as f64),
                at,
                &mut Vec::new(),
            );
        }
        // The index of tests' long logs is not made for so few rows otherwise.
        let index = state.extra.take().map_or(0, |_| size_of::<usize>());
        assert_eq!(state.rows(), 32);
        assert!(
            state.memory_bytes() + index <= 1_024,
            "{} bytes",
            state.memory_bytes()
        );
    }

    #[test]
    fn a_log_shrinks_again_and_unbounded_windows_keep_none() {
        let mut plan = plan(|f| {
            f.over(hours(1)).sum("sum", |e| e.value);
        });
        let mut state = KeyFeatures::default();
        let mut feed = |state: &mut KeyFeatures, second| {
            plan.update(
                state,
                &reading(second, 1.0),
                EventTime::from_seconds(second),
                &mut vec![],
            );
        };
        feed(&mut state, 0);
        let few = state.memory_bytes();
        (1..2_000).for_each(|second| feed(&mut state, second));
        assert!(state.memory_bytes() > 100 * few);
        (1..30).for_each(|day| feed(&mut state, day * 86_400));
        assert_eq!(state.memory_bytes(), few);

        let mut plan = plan_of_ever();
        let mut state = KeyFeatures::default();
        for n in 0..1_000 {
            let at = EventTime::from_seconds(n);
            plan.update(&mut state, &reading(n, 1.0), at, &mut Vec::new());
        }
        assert!(state.memory_bytes() < 200);
    }

    fn plan_of_ever() -> FeaturePlan<Reading> {
        plan(|f| {
            f.ever()
                .count("n")
                .mean("mean", |e| e.value)
                .max("max", |e| e.value);
        })
    }

    #[test]
    fn an_event_that_carries_nothing_takes_no_room() {
        let mut plan = plan(|f| {
            f.over(days(1))
                .sum("sum", |e| e.value)
                .count_if("big", |e| e.value > 1.0);
        });
        let mut state = KeyFeatures::default();
        for n in 0..100 {
            let at = EventTime::from_seconds(n);
            plan.update(&mut state, &reading(n, f64::NAN), at, &mut Vec::new());
        }
        assert_eq!(state.rows(), 0);
        assert_eq!(plan.last_seen(&state), EventTime::from_seconds(99));
    }
}
