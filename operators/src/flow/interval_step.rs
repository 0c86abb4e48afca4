//! The step of the interval join.

use std::marker::PhantomData;

use thalweg_engine::guard::guard;
use thalweg_engine::key::Key;
use thalweg_engine::keyed::{Context, KeyedStep};
use thalweg_engine::ledger::Fate;
use thalweg_engine::record::{Data, Origin, Record};
use thalweg_engine::state::KeyedState;
use thalweg_engine::telemetry::Counter;

use super::either::Either;
use crate::join::{Ageing, Interval, Pending, Stamp, Taken, Upkeep, Waiting};

/// Events of two streams meet. `pair` says what becomes of two partners, which is never nothing, and
/// of a left event without one.
pub(super) struct IntervalStep<K, U, F> {
    rule: Interval,
    upkeep: Upkeep<K>,
    pair: F,
    late_joined: Counter,
    out: PhantomData<U>,
}

impl<K: Key, U, F> IntervalStep<K, U, F> {
    pub(super) fn new(rule: Interval, pair: F, late_joined: Counter) -> Self {
        Self {
            rule,
            upkeep: Upkeep::new(rule.late),
            pair,
            late_joined,
            out: PhantomData,
        }
    }

    /// Takes in a left event; gives it up, and says false, when it can neither meet nor wait.
    fn left<A: Data, B: Data>(
        &mut self,
        pending: &mut Pending<A, B>,
        event: Record<A>,
        context: &mut Context<'_, U>,
    ) -> bool
    where
        F: FnMut(&A, Option<&B>) -> Option<U>,
    {
        let (rule, settled) = (&self.rule, self.upkeep.settled());
        let mut pairs = Pairs::of(&event, Completes::Left, context);
        let stamped = (Stamp::of(&event), event.value);
        let taken = pending.take_left(rule, settled, stamped, |a, b| {
            let made = guard(|| (self.pair)(a, Some(&b.value)));
            pairs.give(a, b.stamp, !b.met, made);
        });
        let event = pairs.event;
        match taken {
            Taken::Waits | Taken::Over { met: true, .. } => return true,
            Taken::Full(value) => context.reject(&event, Some(&value), full(rule)),
            Taken::Over { value, .. } => match guard(|| (self.pair)(&value, None)) {
                Ok(Some(made)) => {
                    context.emit(alone(rule, &event, made));
                    return true;
                }
                Ok(None) => context.late(&event.with(value), settled),
                Err(reason) => context.reject(&event, Some(&value), reason),
            },
        }
        false
    }

    /// As [`IntervalStep::left`], for a right event.
    fn right<A: Data, B: Data>(
        &mut self,
        pending: &mut Pending<A, B>,
        event: Record<B>,
        context: &mut Context<'_, U>,
    ) -> bool
    where
        F: FnMut(&A, Option<&B>) -> Option<U>,
    {
        let (rule, settled) = (&self.rule, self.upkeep.settled());
        let mut pairs = Pairs::of(&event, Completes::Right, context);
        let stamped = (Stamp::of(&event), event.value);
        let taken = pending.take_right(rule, settled, stamped, |b, a| {
            let made = guard(|| (self.pair)(&a.value, Some(b)));
            pairs.give(b, a.stamp, !a.met, made);
        });
        let event = pairs.event;
        match taken {
            Taken::Waits | Taken::Over { met: true, .. } => return true,
            Taken::Full(value) => context.reject(&event, Some(&value), full(rule)),
            Taken::Over { value, .. } => context.late(&event.with(value), settled),
        }
        false
    }
}

fn full(rule: &Interval) -> String {
    format!(
        "{} events of this key and stream wait for partners, which is the limit: raise \
         `max_per_key` or shorten the interval",
        rule.max_per_key
    )
}

/// What a left event without partners gives, at the time at which its last partner could have come.
fn alone<U>(rule: &Interval, event: &Record<()>, value: U) -> Record<U> {
    Record {
        time: event.time.saturating_add(rule.after),
        origin: event.origin.child(0),
        ..event.with(value)
    }
}

/// The side of the event that completes a pair: in a join of a stream with itself, one record
/// completes pairs on both.
#[derive(Clone, Copy)]
enum Completes {
    Left = 0,
    Right = 1,
}

/// The pairs that one event completes, on their way out.
struct Pairs<'a, 'c, U> {
    event: Record<()>,
    side: Completes,
    count: u32,
    context: &'a mut Context<'c, U>,
}

impl<'a, 'c, U> Pairs<'a, 'c, U> {
    fn of<T>(event: &Record<T>, side: Completes, context: &'a mut Context<'c, U>) -> Self {
        Self {
            event: event.with(()),
            side,
            count: 0,
            context,
        }
    }

    /// Gives the pair with `other`, whose first pair it may be. If it could not be made, the event
    /// is a dead letter for it.
    fn give<V: Data>(
        &mut self,
        event: &V,
        other: Stamp,
        first: bool,
        made: Result<Option<U>, String>,
    ) {
        if first {
            self.context.finish(other.origin, Fate::Processed);
        }
        let index = self.count.wrapping_mul(2).wrapping_add(self.side as u32);
        self.count = self.count.wrapping_add(1);
        match made {
            Ok(Some(value)) => self.context.emit(Record {
                time: self.event.time.max(other.time),
                origin: self.event.origin.child(index),
                ..self.event.with(value)
            }),
            Ok(None) => {}
            Err(reason) => self.context.reject(&self.event, Some(event), reason),
        }
    }
}

impl<K, A, B, U, F> KeyedStep<Either<A, B>> for IntervalStep<K, U, F>
where
    K: Key,
    A: Data,
    B: Data,
    U: Data,
    F: FnMut(&A, Option<&B>) -> Option<U> + 'static,
{
    type Key = K;
    type State = Pending<A, B>;
    type Out = U;

    const SIDE_STREAMS: bool = true;

    fn process(
        &mut self,
        key: &K,
        pending: &mut Pending<A, B>,
        record: Record<Either<A, B>>,
        context: &mut Context<'_, U>,
    ) {
        let late = self.upkeep.is_late(record.time);
        let (new, before) = (pending.is_empty(), pending.deadline(&self.rule));
        let blank = record.with(());
        let joined = if late && self.upkeep.diverts() {
            context.late(&blank.with(record.value.plain()), self.upkeep.settled());
            false
        } else {
            match record.value {
                Either::Left(value) => self.left(pending, blank.with(value), context),
                Either::Right(value) => self.right(pending, blank.with(value), context),
            }
        };
        if late && joined {
            self.late_joined.add(1);
        }
        if new || pending.deadline(&self.rule) < before {
            self.upkeep.schedule(key, pending, &self.rule);
        }
    }

    fn advance(&mut self, state: &mut KeyedState<K, Pending<A, B>>, context: &mut Context<'_, U>) {
        let (rule, watermark) = (self.rule, context.watermark());
        let mut left = Vec::new();
        self.upkeep.advance(state, &rule, watermark, |pending| {
            let mut right = |b: Waiting<B>| {
                if !b.met {
                    context.finish(b.stamp.origin, Fate::Filtered);
                }
            };
            pending.take_over(&rule, watermark, |a| left.push(a), &mut right);
        });
        left.retain(|a: &Waiting<A>| !a.met);
        left.sort_unstable_by_key(|a| a.stamp);
        for Waiting { stamp, value, .. } in left {
            let event = Record {
                time: stamp.time,
                origin: stamp.origin,
                ingested_ns: context.now_ns(),
                value: (),
            };
            match guard(|| (self.pair)(&value, None)) {
                Ok(Some(made)) => context.emit(alone(&rule, &event, made)),
                Ok(None) => context.finish(stamp.origin, Fate::Filtered),
                Err(reason) => context.reject(&event, Some(&value), reason),
            }
        }
    }

    fn rank(&self, record: &Either<A, B>) -> u8 {
        u8::from(matches!(record, Either::Right(_)))
    }

    /// Those that have met a partner have come out already.
    fn waiting(&self, pending: &Pending<A, B>, note: &mut dyn FnMut(Origin)) {
        pending.alone().for_each(|stamp| note(stamp.origin));
    }
}
