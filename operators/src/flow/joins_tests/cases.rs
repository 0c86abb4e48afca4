//! What the property tests draw: two streams in some order, batches, watermarks, restarts.

use std::time::Duration;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use thalweg_engine::job::Order;
use thalweg_engine::keyed::KeyedStep;
use thalweg_engine::ledger::Fates;
use thalweg_engine::record::{Data, Origin, Record};
use thalweg_engine::state::KeyedState;
use thalweg_engine::testing::StepRun;
use thalweg_engine::time::EventTime;
use thalweg_engine::watermark::Watermark;

use super::super::either::Either;

/// An event or row of either stream. Its number is its place in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) number: u64,
    pub(super) right: bool,
    pub(super) key: u8,
    pub(super) time: EventTime,
    pub(super) partition: u32,
    /// Of a row: that it deletes.
    pub(super) deletes: bool,
}

impl Item {
    pub(super) fn origin(&self) -> Origin {
        Origin {
            source: self.right.into(),
            partition: self.partition,
            offset: self.number,
            index: 0,
        }
    }

    /// Its place in event-time order among items of its own stream.
    pub(super) fn place(&self) -> (EventTime, Origin) {
        (self.time, self.origin())
    }

    /// Microseconds, wide enough for every sum.
    pub(super) fn micros(&self) -> i128 {
        self.time.as_micros().into()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) items: Vec<Item>,
    /// Items per batch, how far the watermark stays behind what it could be, and whether the step is
    /// restarted before the batch; used in turn.
    batches: Vec<(usize, i64, bool)>,
    pub(super) order: Order,
    /// How long a row is met, and partners' distances.
    pub(super) spans: [u64; 2],
}

impl Case {
    pub(super) fn span(&self, which: usize) -> Duration {
        Duration::from_micros(self.spans[which])
    }

    /// Items in the order in which the step gets them; in event-time order one stream goes first.
    pub(super) fn processed(&self, mut items: Vec<Item>, right_first: bool) -> Vec<Item> {
        if self.order == Order::EventTime {
            items.sort_by_key(|item| (item.time, item.right != right_first, item.origin()));
        }
        items
    }
}

/// Where times lie: also at both limits of what there is.
fn starts() -> impl Strategy<Value = i64> {
    prop_oneof![8 => Just(0), 1 => Just(i64::MIN), 1 => Just(i64::MAX - 30)]
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let item = (any::<bool>(), 0_u8..3, 0_i64..31, 0_u32..3, 0_u8..4);
    let batch = (1_usize..9, 0_i64..6, prop::bool::weighted(0.1));
    (
        starts(),
        prop::collection::vec(item, 0..40),
        prop::collection::vec(batch, 1..6),
        any::<bool>(),
        prop_oneof![4 => [0_u64..12, 0_u64..12], 1 => [0..=u64::MAX, 0..=u64::MAX]],
    )
        .prop_map(|(start, items, batches, in_order, spans)| {
            let item = |(number, (right, key, after, partition, deletes))| Item {
                number,
                right,
                key,
                time: EventTime::from_micros(start + after),
                partition,
                deletes: deletes == 0,
            };
            Case {
                items: (0..).zip(items).map(item).collect(),
                batches,
                order: if in_order {
                    Order::EventTime
                } else {
                    Order::Arrival
                },
                spans,
            }
        })
}

/// What a step made of a case.
pub(super) struct Ran<U> {
    /// The records, as a sink of the job would write them.
    pub(super) records: Vec<Record<U>>,
    /// The numbers of the items in the late stream.
    pub(super) late: Vec<u64>,
    /// The numbers of the items in the dead letters.
    pub(super) dead: Vec<u64>,
    /// The numbers of the items that came behind the watermark.
    pub(super) behind: Vec<u64>,
    pub(super) fates: Fates,
}

/// How far watermarks go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Watermarks {
    /// As far as no item comes behind them.
    Kept,
    /// So far that items come behind them, as those of an idle partition do.
    Overtaking,
}

/// What an item of the right stream is there, and the key of that.
pub(super) type Right<B> = (fn(&Item) -> B, fn(&B) -> u8);

/// The items themselves.
pub(super) const ITEM: Right<Item> = (|item| *item, |item| item.key);

/// Runs a step on a case. After each batch `inspect` sees the state, the items that the step has
/// got and the watermark, if it has moved.
pub(super) fn run<B: Data, S: KeyedStep<Either<Item, B>, Key = u8>>(
    case: &Case,
    watermarks: Watermarks,
    make: impl Fn() -> S,
    (value, key): Right<B>,
    inspect: impl Fn(&KeyedState<u8, S::State>, &[Item], Watermark),
) -> Ran<S::Out> {
    let mut run = StepRun::new(case.order, make(), move |value| match value {
        Either::Left(item) => item.key,
        Either::Right(row) => key(row),
    });
    let (mut records, mut late, mut dead) = (Vec::new(), Vec::new(), Vec::new());
    let (mut behind, mut settled, mut done) = (Vec::new(), Watermark::START, 0);
    for (size, slack, restart) in case.batches.iter().cycle() {
        if *restart {
            run.restart(make()).unwrap();
        }
        let batch = &case.items[done..case.items.len().min(done + size)];
        done += batch.len();
        behind.extend(
            batch
                .iter()
                .filter(|i| settled.has_passed(i.time))
                .map(|i| i.number),
        );
        let ended = batch.is_empty();
        let watermark = if ended {
            Watermark::END
        } else {
            next(&case.items, done, *slack, watermarks, settled)
        };
        let packet = batch.iter().map(|item| Record {
            time: item.time,
            origin: item.origin(),
            ingested_ns: 0,
            value: if item.right {
                Either::Right(value(item))
            } else {
                Either::Left(*item)
            },
        });
        let output = run.feed(packet.collect(), watermark);
        if watermarks == Watermarks::Kept {
            let first = output.records.iter().map(|record| record.time).min();
            assert!(
                first.is_none_or(|time| !settled.has_passed(time)),
                "{first:?}"
            );
        }
        if watermark != settled {
            let mut got = case.items[..done].to_vec();
            got.retain(|item| case.order == Order::Arrival || watermark.has_passed(item.time));
            inspect(run.state(), &got, watermark);
        }
        settled = watermark;
        records.extend(output.records);
        late.extend(output.late.iter().map(|event| event.offset));
        dead.extend(output.dead.iter().map(|letter| letter.offset));
        if ended {
            break;
        }
    }
    if case.order == Order::EventTime {
        records.sort_by_key(|record| (record.time, record.origin));
    }
    let fates = run.finish();
    Ran {
        records,
        late,
        dead,
        behind,
        fates,
    }
}

/// The watermark after the first `done` items.
fn next(
    items: &[Item],
    done: usize,
    slack: i64,
    watermarks: Watermarks,
    settled: Watermark,
) -> Watermark {
    let limit = EventTime::from_micros(i64::MAX - 1);
    let time = match watermarks {
        Watermarks::Kept => items[done..].iter().map(|i| i.time).min().unwrap_or(limit),
        Watermarks::Overtaking => items[done - 1].time,
    };
    let time = time.saturating_sub(Duration::from_micros(slack.unsigned_abs()));
    Watermark::active(time.min(limit).max(settled.time))
}

/// Whether the watermark has not passed `micros`, which no longer fits where it is beyond the limit.
pub(super) fn open(watermark: Watermark, micros: i128) -> bool {
    let limit = micros.clamp(i64::MIN.into(), i64::MAX.into());
    let time = EventTime::from_micros(i64::try_from(limit).unwrap());
    !watermark.has_passed(time)
}
