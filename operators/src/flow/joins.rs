//! Joins in time as methods of keyed streams.

use std::time::Duration;

use thalweg_engine::flow::{Keyed, Stream};
use thalweg_engine::key::Key;
use thalweg_engine::record::Data;

use super::either::unite;
use super::interval_step::IntervalStep;
use super::table_step::TableStep;
use crate::join::{AsOf, FullTable, Interval, LatePolicy, Latest, Lookup, Rows, Table};

/// Joins a keyed stream with others in event time; see [`join`](crate::join) for what holds of all.
///
/// In event-time order the results are exact, and the same for any number of workers and any batch
/// split. In arrival order a join works with what has come so far.
pub trait TimeJoins<'s, K, T> {
    /// Pairs each event with the latest row of its key at or before the event's time, if that row
    /// is not older than `how` allows (a [`Duration`] will do); one record comes out per event, with
    /// the event's time and origin. Of several rows of one instant the one that was read last counts
    /// (the greatest origin).
    ///
    /// In event-time order, rows go before events of the same instant. In arrival order an event
    /// meets the latest row at or before its own time of those that have come.
    ///
    /// Per key, the rows later than the watermark are kept, and the latest before it until it is too
    /// old; [`AsOf::max_rows_per_key`] sets a limit.
    ///
    /// ```
    /// # use thalweg_engine::job::{JobOptions, Order};
    /// # use thalweg_engine::testing::{Events, run_flow};
    /// # use thalweg_engine::time::{EventTime, hours};
    /// use thalweg_operators::prelude::*;
    ///
    /// // (station, hour, degrees), (station, hour)
    /// let readings = [("JFK", 1, 20), ("LGA", 1, 18), ("JFK", 4, 24)];
    /// let flights = [("JFK", 3), ("JFK", 4), ("LGA", 9)];
    /// let at = |hour: i64| EventTime::from_seconds(hour * 3_600);
    ///
    /// # let options = JobOptions { order: Order::EventTime, ..JobOptions::default() };
    /// let joined = run_flow(options, move |flow| {
    ///     let weather = flow
    ///         .source("weather", Events::new(readings.map(|(s, hour, t)| (s.to_owned(), hour, t))))
    ///         .event_time(move |w| at(w.1), hours(1))
    ///         .key_by(|w| w.0.clone());
    ///     flow.source("flights", Events::new(flights.map(|(s, hour)| (s.to_owned(), hour))))
    ///         .event_time(move |f| at(f.1), hours(1))
    ///         .key_by(|f| f.0.clone())
    ///         .as_of("weather_at", weather, AsOf::within(hours(3)), |flight, weather| {
    ///             (flight.1, weather.map(|w| w.2))
    ///         })
    /// })?;
    /// assert_eq!(joined, [(3, Some(20)), (4, Some(24)), (9, None)]);
    /// # Ok::<(), thalweg_engine::RunError>(())
    /// ```
    #[expect(
        clippy::wrong_self_convention,
        reason = "\"as of\" is what the join is called"
    )]
    fn as_of<R: Data, U: Data>(
        self,
        id: &str,
        table: Keyed<'s, K, R>,
        how: impl Into<AsOf>,
        pair: impl FnMut(T, Option<&R>) -> U + 'static,
    ) -> Stream<'s, U>;

    /// Pairs each event with the row of its key that stands in an upsert table; one record comes out
    /// per event, with the event's time and origin. Of a key's rows the latest stands, by event time,
    /// then origin; a row of `None` deletes the one before it.
    ///
    /// In event-time order, the table stands as of the event's own time, rows of that instant
    /// included: the result of [`as_of`](TimeJoins::as_of) with rows of any age, from one row a key.
    /// In arrival order, and for an event behind the watermark, it stands as it does at that moment,
    /// with rows that may be later than the event.
    ///
    /// One row is kept for every key that was not deleted, unless [`Lookup::ttl`] says for how long.
    ///
    /// ```
    /// # use thalweg_engine::job::{JobOptions, Order};
    /// # use thalweg_engine::testing::{Events, run_flow};
    /// # use thalweg_engine::time::{EventTime, secs};
    /// use thalweg_operators::prelude::*;
    ///
    /// // (merchant, second, category), (merchant, second)
    /// let changes = [(7, 1, Some("food")), (7, 5, Some("fuel")), (7, 9, None)];
    /// let payments = [(7, 4), (7, 5), (7, 20), (8, 20)];
    /// let at = EventTime::from_seconds;
    ///
    /// # let options = JobOptions { order: Order::EventTime, ..JobOptions::default() };
    /// let enriched = run_flow(options, move |flow| {
    ///     let changes = changes.map(|(merchant, at, row)| (merchant, at, row.map(str::to_owned)));
    ///     let merchants = flow
    ///         .source("merchants", Events::new(changes))
    ///         .event_time(move |m| at(m.1), secs(5))
    ///         .map("rows", |(merchant, _, category)| (merchant, category));
    ///     flow.source("payments", Events::new(payments))
    ///         .event_time(move |p| at(p.1), secs(5))
    ///         .key_by(|p| p.0)
    ///         .lookup("merchant", merchants, Lookup::forever(), |payment, category| {
    ///             (payment.0, payment.1, category.cloned().unwrap_or_default())
    ///         })
    /// })?;
    /// let expected = [(7, 4, "food"), (7, 5, "fuel"), (7, 20, ""), (8, 20, "")];
    /// assert_eq!(enriched, expected.map(|(m, at, category)| (m, at, category.to_owned())));
    /// # Ok::<(), thalweg_engine::RunError>(())
    /// ```
    fn lookup<R: Data, U: Data>(
        self,
        id: &str,
        table: Stream<'s, (K, Option<R>)>,
        how: Lookup,
        pair: impl FnMut(T, Option<&R>) -> U + 'static,
    ) -> Stream<'s, U>;

    /// Pairs each event with every event of its key in `other` that happened within the interval of
    /// it: each pair once. An event without a partner counts as filtered once none can come.
    ///
    /// A pair has the later of the two times and the origin of the event that completed it, with an
    /// index that tells apart the pairs that one event completes. In event-time order the pairs come
    /// by that time, then origin.
    ///
    /// Events are kept until the watermark has passed their last possible partner.
    ///
    /// ```
    /// # use thalweg_engine::job::{JobOptions, Order};
    /// # use thalweg_engine::testing::{Events, run_flow};
    /// # use thalweg_engine::time::{EventTime, secs};
    /// use thalweg_operators::prelude::*;
    ///
    /// // (visitor, second)
    /// let views = [(1, 10), (2, 12), (1, 30)];
    /// let clicks = [(1, 14), (1, 31), (2, 40)];
    /// let at = EventTime::from_seconds;
    ///
    /// # let options = JobOptions { order: Order::EventTime, ..JobOptions::default() };
    /// let pairs = run_flow(options, move |flow| {
    ///     let clicks = flow
    ///         .source("clicks", Events::new(clicks))
    ///         .event_time(move |c| at(c.1), secs(5))
    ///         .key_by(|c| c.0);
    ///     flow.source("views", Events::new(views))
    ///         .event_time(move |v| at(v.1), secs(5))
    ///         .key_by(|v| v.0)
    ///         .interval_join("clicked", clicks, Interval::after(secs(20)), |view, click| {
    ///             (view.0, view.1, click.1)
    ///         })
    /// })?;
    /// assert_eq!(pairs, [(1, 10, 14), (1, 30, 31)]);
    /// # Ok::<(), thalweg_engine::RunError>(())
    /// ```
    fn interval_join<B: Data, U: Data>(
        self,
        id: &str,
        other: Keyed<'s, K, B>,
        interval: Interval,
        pair: impl FnMut(&T, &B) -> U + 'static,
    ) -> Stream<'s, U>;

    /// As [`interval_join`](TimeJoins::interval_join), but an event that no partner came for is
    /// paired with `None`: when that is certain, and so at the time at which the last partner could
    /// have come. An event of `other` without a partner counts as filtered.
    ///
    /// ```
    /// # use thalweg_engine::job::{JobOptions, Order};
    /// # use thalweg_engine::testing::{Events, run_flow};
    /// # use thalweg_engine::time::{EventTime, secs};
    /// use thalweg_operators::prelude::*;
    ///
    /// // (order, second)
    /// let orders = [(1, 10), (2, 12)];
    /// let shipments = [(2, 14)];
    /// let at = EventTime::from_seconds;
    ///
    /// # let options = JobOptions { order: Order::EventTime, ..JobOptions::default() };
    /// let shipped = run_flow(options, move |flow| {
    ///     let shipments = flow
    ///         .source("shipments", Events::new(shipments))
    ///         .event_time(move |s| at(s.1), secs(5))
    ///         .key_by(|s| s.0);
    ///     flow.source("orders", Events::new(orders))
    ///         .event_time(move |o| at(o.1), secs(5))
    ///         .key_by(|o| o.0)
    ///         .interval_left_join("shipped", shipments, Interval::after(secs(60)), |order, shipment| {
    ///             (order.0, shipment.map(|s| s.1))
    ///         })
    /// })?;
    /// assert_eq!(shipped, [(2, Some(14)), (1, None)]);
    /// # Ok::<(), thalweg_engine::RunError>(())
    /// ```
    fn interval_left_join<B: Data, U: Data>(
        self,
        id: &str,
        other: Keyed<'s, K, B>,
        interval: Interval,
        pair: impl FnMut(&T, Option<&B>) -> U + 'static,
    ) -> Stream<'s, U>;
}

impl<'s, K: Key, T: Data> TimeJoins<'s, K, T> for Keyed<'s, K, T> {
    fn as_of<R: Data, U: Data>(
        self,
        id: &str,
        table: Keyed<'s, K, R>,
        how: impl Into<AsOf>,
        pair: impl FnMut(T, Option<&R>) -> U + 'static,
    ) -> Stream<'s, U> {
        let AsOf {
            age_max,
            late,
            limit,
        } = how.into();
        let keep = Keep::<Rows<R>, R> {
            label: "as_of",
            age_max,
            late,
            limit,
            row: |row| row,
        };
        keep.join(self, id, table, pair)
    }

    fn lookup<R: Data, U: Data>(
        self,
        id: &str,
        table: Stream<'s, (K, Option<R>)>,
        how: Lookup,
        pair: impl FnMut(T, Option<&R>) -> U + 'static,
    ) -> Stream<'s, U> {
        let keep = Keep::<Latest<R>, (K, Option<R>)> {
            label: "lookup",
            age_max: how.ttl,
            late: how.late,
            limit: None,
            row: |(_, row)| row,
        };
        keep.join(self, id, table.key_by(|(key, _)| key.clone()), pair)
    }

    fn interval_join<B: Data, U: Data>(
        self,
        id: &str,
        other: Keyed<'s, K, B>,
        interval: Interval,
        mut pair: impl FnMut(&T, &B) -> U + 'static,
    ) -> Stream<'s, U> {
        join_interval(self, id, other, "interval_join", interval, move |a, b| {
            b.map(|b| pair(a, b))
        })
    }

    fn interval_left_join<B: Data, U: Data>(
        self,
        id: &str,
        other: Keyed<'s, K, B>,
        interval: Interval,
        mut pair: impl FnMut(&T, Option<&B>) -> U + 'static,
    ) -> Stream<'s, U> {
        let label = "interval_left_join";
        join_interval(self, id, other, label, interval, move |a, b| {
            Some(pair(a, b))
        })
    }
}

/// How a table of `S` is kept from rows of `R`.
struct Keep<S: Table, R> {
    label: &'static str,
    age_max: Duration,
    late: LatePolicy,
    limit: Option<(usize, FullTable)>,
    row: fn(R) -> S::Row,
}

impl<S: Table, R: Data> Keep<S, R> {
    fn join<'s, K: Key, T: Data, U: Data>(
        self,
        events: Keyed<'s, K, T>,
        id: &str,
        table: Keyed<'s, K, R>,
        pair: impl FnMut(T, Option<&S::Value>) -> U + 'static,
    ) -> Stream<'s, U> {
        let both = unite(id, ("events", events), ("rows", table));
        let late_joined = both.telemetry().counter(&format!("{id}_late_joined"));
        let mut step =
            TableStep::<K, S, R, U, _>::new(self.age_max, self.late, self.row, pair, late_joined);
        if let Some((most, policy)) = self.limit {
            let beyond = match policy {
                FullTable::DropOldest => "dropped_rows",
                FullTable::Refuse => "refused_rows",
            };
            let beyond = both.telemetry().counter(&format!("{id}_{beyond}"));
            step = step.limited(most, policy, beyond);
        }
        both.step(id, self.label, step)
    }
}

fn join_interval<'s, K: Key, A: Data, B: Data, U: Data>(
    events: Keyed<'s, K, A>,
    id: &str,
    other: Keyed<'s, K, B>,
    label: &str,
    interval: Interval,
    pair: impl FnMut(&A, Option<&B>) -> Option<U> + 'static,
) -> Stream<'s, U> {
    let both = unite(id, ("left", events), ("right", other));
    let late_joined = both.telemetry().counter(&format!("{id}_late_joined"));
    both.step(id, label, IntervalStep::new(interval, pair, late_joined))
}
