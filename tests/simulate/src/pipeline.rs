//! The pipeline that is simulated: the events of two sources by key, counted and summed up, to three sinks, of
//! which one leaves rows out; late events and the letters of what is left out to two more.

use thalweg_engine::BuildResult;
use thalweg_engine::flow::Flow;
use thalweg_engine::keyed::{Context, KeyedStep};
use thalweg_engine::record::Record;
use thalweg_engine::source::WatermarkPolicy;
use thalweg_engine::time::{EventTime, millis, secs};

use crate::broker::Broker;
use crate::input::{DISORDER_S, Input, id_of, is_end};
use crate::output::{Kind, Output};
use crate::row::{Event, Row};

const SOURCES: [&str; 2] = ["events", "others"];
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
    inputs: &[Input; 2],
    broker: &Broker,
) -> impl Fn(&mut Flow<'_>) -> BuildResult + Send + Sync + use<> {
    let (inputs, broker) = (inputs.clone(), broker.clone());
    // More than there is between two events: only what has come to its end is idle.
    let policy = WatermarkPolicy::disorder(secs(DISORDER_S as u64)).idle_after(millis(1));
    move |flow| {
        let to = |topic, kind| Output {
            broker: broker.clone(),
            topic,
            kind,
        };
        let [events, others] = std::array::from_fn(|number| {
            flow.source(SOURCES[number], inputs[number].clone())
                .event_time(|event| EventTime::from_seconds(event.second), policy)
        });
        // The source that a worker runs first is the last one here, so that the merge may see them in
        // another order than they have given in.
        let rows = others
            .merge("all", [events])
            .filter("inner", |event| !is_end(event))
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
        let [late, later] = SOURCES.map(|id| flow.late(id));
        late.merge("all-late", [later])
            .map("late", move |late| {
                only(id_of(late.source, late.partition, late.offset))
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
