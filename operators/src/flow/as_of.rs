//! The as-of join: each event meets the row that was the latest at its own time.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_engine::flow::Keyed;
use thalweg_engine::flow::Stream;
use thalweg_engine::guard::guard;
use thalweg_engine::key::Key;
use thalweg_engine::keyed::{Context, KeyedStep};
use thalweg_engine::ledger::Fate;
use thalweg_engine::record::{Data, Record};
use thalweg_engine::state::KeyedState;
use thalweg_engine::time::EventTime;
use thalweg_engine::watermark::Watermark;

/// Joins a keyed stream with a table that changes in event time.
pub trait AsOf<'s, K, T> {
    /// Pairs each event with the latest row of its key at or before the event's time, if that row
    /// is not older than `age_max`.
    #[expect(
        clippy::wrong_self_convention,
        reason = "\"as of\" is what the join is called"
    )]
    fn as_of<R: Data, U: Data>(
        self,
        id: &str,
        table: Keyed<'s, K, R>,
        age_max: Duration,
        pair: impl FnMut(T, Option<&R>) -> U + 'static,
    ) -> Stream<'s, U>;
}

impl<'s, K: Key, T: Data> AsOf<'s, K, T> for Keyed<'s, K, T> {
    fn as_of<R: Data, U: Data>(
        self,
        id: &str,
        table: Keyed<'s, K, R>,
        age_max: Duration,
        pair: impl FnMut(T, Option<&R>) -> U + 'static,
    ) -> Stream<'s, U> {
        let (events, event_key) = self.into_parts();
        let (rows, row_key) = table.into_parts();
        let (event_key, row_key) = (Rc::clone(&event_key), Rc::clone(&row_key));
        let rows = rows.map(&format!("{id}.rows"), Side::Row);
        events
            .map(&format!("{id}.events"), Side::Event)
            .merge(&format!("{id}.both"), [rows])
            .key_by(move |side| match side {
                Side::Event(event) => event_key(event),
                Side::Row(row) => row_key(row),
            })
            .step(
                id,
                "as_of",
                AsOfStep {
                    age_max,
                    settled: Watermark::START,
                    pair,
                    types: PhantomData,
                },
            )
    }
}

#[derive(Clone, Serialize, Deserialize)]
enum Side<T, R> {
    Event(T),
    Row(R),
}

struct AsOfStep<K, R, U, F> {
    age_max: Duration,
    /// The watermark before the records at hand: no event before it will come.
    settled: Watermark,
    pair: F,
    types: PhantomData<(K, R, U)>,
}

/// The rows of one key that an event may still ask for, oldest first.
#[derive(Serialize, Deserialize)]
struct Rows<R>(VecDeque<(EventTime, R)>);

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K, T, R, U, F> KeyedStep<Side<T, R>> for AsOfStep<K, R, U, F>
where
    K: Key,
    T: Data,
    R: Data,
    U: Data,
    F: FnMut(T, Option<&R>) -> U + 'static,
{
    type Key = K;
    type State = Rows<R>;
    type Out = U;

    fn process(
        &mut self,
        _key: &K,
        Rows(rows): &mut Rows<R>,
        record: Record<Side<T, R>>,
        context: &mut Context<'_, U>,
    ) {
        let (blank, time) = (record.with(()), record.time);
        match record.value {
            Side::Row(row) => {
                let after = rows.partition_point(|(at, _)| *at <= time);
                rows.insert(after, (time, row));
                while rows.len() > 1 && self.settled.has_passed(rows[1].0) {
                    rows.pop_front();
                }
                context.finish(blank.origin, Fate::Processed);
            }
            Side::Event(event) => {
                let latest = rows.partition_point(|(at, _)| *at <= time).checked_sub(1);
                let row = latest.map(|index| &rows[index]);
                let row = row.filter(|(at, _)| time.since(*at) <= self.age_max);
                match guard(|| (self.pair)(event, row.map(|(_, row)| row))) {
                    Ok(pair) => context.emit(blank.with(pair)),
                    Err(reason) => context.reject(&blank, None::<&T>, reason),
                }
            }
        }
    }

    fn advance(&mut self, _: &mut KeyedState<K, Rows<R>>, context: &mut Context<'_, U>) {
        self.settled = context.watermark();
    }

    /// Of one instant, rows go before events, so that "at or before" holds.
    fn rank(&self, side: &Side<T, R>) -> u8 {
        u8::from(matches!(side, Side::Event(_)))
    }
}

#[cfg(test)]
mod tests {
    use thalweg_engine::job::{JobOptions, Order};
    use thalweg_engine::testing::{Events, run_flow};
    use thalweg_engine::time::{EventTime, secs};

    use super::*;

    fn check(rows: &'static [i64], events: &'static [i64], expected: &[(i64, Option<i64>)]) {
        for workers in [1, 2] {
            let options = JobOptions {
                workers,
                order: Order::EventTime,
                ..JobOptions::default()
            };
            let joined = run_flow(options, move |flow| {
                let time = |at: &i64| EventTime::from_seconds(*at);
                let rows = flow
                    .source("rows", Events::new(rows.to_vec()))
                    .event_time(time, secs(0));
                flow.source("events", Events::new(events.to_vec()))
                    .event_time(time, secs(10))
                    .key_by(|_| 0_u8)
                    .as_of("join", rows.key_by(|_| 0_u8), secs(5), |event, row| {
                        (event, row.copied())
                    })
            });
            assert_eq!(joined.unwrap(), expected);
        }
    }

    #[test]
    fn the_latest_row_at_or_before_the_event_is_met() {
        check(
            &[2, 4, 6],
            &[1, 5, 4, 6],
            &[(1, None), (4, Some(4)), (5, Some(4)), (6, Some(6))],
        );
    }

    #[test]
    fn a_row_beyond_its_age_is_not_met() {
        check(&[2], &[7, 8], &[(7, Some(2)), (8, None)]);
    }
}
