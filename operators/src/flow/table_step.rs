//! The step of the joins of events with a table.

use std::marker::PhantomData;
use std::time::Duration;

use thalweg_engine::guard::guard;
use thalweg_engine::key::Key;
use thalweg_engine::keyed::{Context, KeyedStep};
use thalweg_engine::ledger::Fate;
use thalweg_engine::record::{Data, Record};
use thalweg_engine::state::KeyedState;
use thalweg_engine::telemetry::Counter;
use thalweg_engine::time::EventTime;
use thalweg_engine::watermark::Watermark;

use super::either::Either;
use crate::join::{FullTable, LatePolicy, Stamp, Table, Upkeep};

/// Events (left) meet rows (right) that the table `S` of their key keeps.
pub(super) struct TableStep<K, S: Table, R, U, F> {
    age_max: Duration,
    upkeep: Upkeep<K>,
    row: fn(R) -> S::Row,
    pair: F,
    late_joined: Counter,
    limit: Option<Limit>,
    out: PhantomData<U>,
}

/// The most rows of a key, and what becomes of more.
struct Limit {
    most: usize,
    policy: FullTable,
    beyond: Counter,
}

impl<K: Key, S: Table, R, U, F> TableStep<K, S, R, U, F> {
    pub(super) fn new(
        age_max: Duration,
        late: LatePolicy,
        row: fn(R) -> S::Row,
        pair: F,
        late_joined: Counter,
    ) -> Self {
        Self {
            age_max,
            upkeep: Upkeep::new(late),
            row,
            pair,
            late_joined,
            limit: None,
            out: PhantomData,
        }
    }

    /// Holds at most so many rows of a key, and counts those beyond.
    pub(super) fn limited(mut self, most: usize, policy: FullTable, beyond: Counter) -> Self {
        self.limit = Some(Limit {
            most,
            policy,
            beyond,
        });
        self
    }

    /// What becomes of a row for which the table has no room, if that is so.
    fn beyond(&self, table: &mut S, stamp: Stamp, settled: EventTime) -> Option<FullTable> {
        let limit = self.limit.as_ref()?;
        if table.excess(stamp, limit.most) {
            table.trim(self.age_max, Watermark::active(settled));
        }
        let is_beyond = table.excess(stamp, limit.most);
        is_beyond.then(|| {
            limit.beyond.add(1);
            limit.policy
        })
    }
}

impl<K, S, T, R, U, F> KeyedStep<Either<T, R>> for TableStep<K, S, R, U, F>
where
    K: Key,
    S: Table,
    T: Data,
    R: Data,
    U: Data,
    F: FnMut(T, Option<&S::Value>) -> U + 'static,
{
    type Key = K;
    type State = S;
    type Out = U;

    const TURNS_AWAY: bool = true;

    fn process(
        &mut self,
        key: &K,
        table: &mut S,
        record: Record<Either<T, R>>,
        context: &mut Context<'_, U>,
    ) {
        let (blank, stamp) = (record.with(()), Stamp::of(&record));
        let passed = context.passed();
        let late = passed.has_passed(stamp.time);
        let useless = || {
            let row = matches!(record.value, Either::Right(_));
            row && !table.wants(stamp, self.age_max, passed)
        };
        let given_up = late && (self.upkeep.diverts() || useless());
        if late && !given_up {
            self.late_joined.add(1);
        }
        let mut changed = table.is_empty();
        match record.value {
            value if given_up => context.divert(&blank.with(value.plain())),
            Either::Left(event) => {
                let row = table.find(stamp.time, self.age_max);
                // The closure takes the event, of which a dead letter wants the text.
                let kept = event.clone();
                match guard(|| (self.pair)(event, row)) {
                    Ok(pair) => context.emit(blank.with(pair)),
                    Err(reason) => context.reject(&blank, Some(&kept), reason),
                }
            }
            Either::Right(row) => {
                let beyond = self.beyond(table, stamp, context.settled(stamp.time));
                if beyond == Some(FullTable::Refuse) {
                    let reason = "its key has as many rows as the join holds of one: raise \
                                  `max_rows_per_key`, or take `FullTable::DropOldest`";
                    context.reject(&blank, Some(&row), reason);
                } else {
                    table.insert(stamp, (self.row)(row));
                    if beyond.is_some() {
                        table.drop_oldest();
                    }
                    context.finish(stamp.origin, Fate::Processed);
                }
                changed = true;
            }
        }
        // A key that is empty is new: the index is to find it, so that it goes again.
        if changed {
            self.upkeep.schedule(key, table, &self.age_max);
        }
    }

    fn advance(&mut self, state: &mut KeyedState<K, S>, context: &mut Context<'_, U>) {
        let (age_max, watermark) = (self.age_max, context.watermark());
        self.upkeep.advance(state, &age_max, watermark, |table| {
            table.trim(age_max, watermark);
        });
    }

    /// Of one instant, rows go before events, so that "at or before" holds.
    fn rank(&self, record: &Either<T, R>) -> u8 {
        u8::from(matches!(record, Either::Left(_)))
    }
}
