//! The pipeline that is simulated: events by key, counted and summed up, to three sinks, of which one leaves
//! rows out; late events and the letters of what is left out to two more.

use thalweg_engine::BuildResult;
use thalweg_engine::flow::Flow;
use thalweg_engine::keyed::{Context, KeyedStep};
use thalweg_engine::record::Record;
use thalweg_engine::time::{EventTime, secs};

use crate::broker::Broker;
use crate::input::{DISORDER_S, Input};
use crate::output::{Kind, Output};
use crate::row::{Event, Row};

/// The topics that are written.
pub(crate) const TRANSACTIONAL: &str = "rows";
pub(crate) const EXCLUSIVE: &str = "rows-exclusive";
pub(crate) const LATE: &str = "late";
pub(crate) const PICKY: &str = "rows-picky";
pub(crate) const LETTERS: &str = "letters";

/// Counts the events of a key, and sums up their ids.
struct Total;

impl KeyedStep<Event> for Total {
    type Key = u64;
    type State = (u64, u64);
    type Out = Row;

    fn process(
        &mut self,
        key: &u64,
        (count, sum): &mut (u64, u64),
        record: Record<Event>,
        context: &mut Context<'_, Row>,
    ) {
        *count += 1;
        *sum += record.value.id;
        let (count, sum) = (*count, *sum);
        context.emit(record.map(|event| Row {
            id: event.id,
            key: *key,
            count,
            sum,
        }));
    }
}

/// Builds it.
pub(crate) fn build(
    input: &Input,
    broker: &Broker,
) -> impl Fn(&mut Flow<'_>) -> BuildResult + Send + Sync + use<> {
    let (input, broker) = (input.clone(), broker.clone());
    move |flow| {
        let to = |topic, kind| Output {
            broker: broker.clone(),
            topic,
            kind,
        };
        let events = flow.source("events", input.clone()).event_time(
            |event| EventTime::from_seconds(event.second),
            secs(DISORDER_S as u64),
        );
        let rows = events
            .key_by(|event| event.key)
            .step("total", "total", Total);
        rows.clone()
            .sink("rows.out", to(TRANSACTIONAL, Kind::Transactional));
        rows.clone().sink("picky.out", to(PICKY, Kind::Picky));
        rows.sink("exclusive.out", to(EXCLUSIVE, Kind::Exclusive));
        let only = |id| Row {
            id,
            key: 0,
            count: 0,
            sum: 0,
        };
        flow.late("events")
            .map("late", move |late| {
                only(u64::from(late.partition) * 10_000 + late.offset)
            })
            .sink("late.out", to(LATE, Kind::Transactional));
        flow.dead_letters()
            .map("letter", move |letter| {
                only(letter.raw.parse().unwrap_or(u64::MAX))
            })
            .sink("letters.out", to(LETTERS, Kind::Transactional));
        Ok(())
    }
}
