//! The job that is disturbed: aggregates by key, each of which can be computed otherwise.

use std::process::ExitCode;
use std::time::Duration;

use thalweg::engine::keyed::{Context, KeyedStep};
use thalweg::engine::record::Record;
use thalweg::operators::aggregate::{Count, Sum};
use thalweg::prelude::*;

use crate::feeder::DISORDER;
use crate::records::{EVENTS, Event, RECENT_MICROS, ROWS, Row, TOTALS, Total, WINDOW_MICROS};

/// Runs the job, as the command line says.
pub(crate) fn main() -> ExitCode {
    Pipeline::new("chaos")
        .about("Counts events by key; made to be killed")
        .topics("./log/chaos")
        .order(Order::EventTime)
        .run(build)
}

fn build(flow: &mut Flow<'_>, settings: &Settings) -> BuildResult {
    // Nobody is late, however long a partition has been silent.
    let policy = WatermarkPolicy::disorder(DISORDER)
        .idle_after(days(1))
        .wall_clock_when_idle(false);
    let events = flow
        .source(EVENTS, settings.topic_source(EVENTS, |_: &Event| Ok(())))
        .event_time(|event: &Event| event.at, policy);

    let rows = events
        .clone()
        .key_by(|event| event.key)
        .features("recent", |f| {
            f.over(Duration::from_micros(RECENT_MICROS.unsigned_abs()))
                .count("recent_count")
                .sum("recent_sum", |event: &Event| event.amount as f64);
        })
        .into_stream()
        .key_by(|row| row.event.key)
        .step("all", "running totals", RunningTotals);
    rows.sink(
        ROWS,
        settings.topic_sink(ROWS, |row: &Row| row.key.to_string()),
    );

    let totals = events
        .key_by(|event| event.key)
        .windows(
            "windows",
            Window::tumbling(Duration::from_micros(WINDOW_MICROS.unsigned_abs())),
            |w| {
                w.aggregate("count", Count, |_| ())
                    .aggregate("sum", Sum, |event: &Event| event.amount as f64)
            },
        )
        .into_stream();
    totals.sink(
        TOTALS,
        settings.topic_sink(TOTALS, |total: &Total| total.key.to_string()),
    );
    Ok(())
}

struct RunningTotals;

impl KeyedStep<Featured<Event>> for RunningTotals {
    type Key = u32;
    type State = (u64, i64);
    type Out = Row;

    fn process(
        &mut self,
        key: &u32,
        (count, sum): &mut (u64, i64),
        record: Record<Featured<Event>>,
        context: &mut Context<'_, Row>,
    ) {
        *count += 1;
        *sum += record.value.event.amount;
        let row = Row {
            id: record.value.event.id,
            key: *key,
            count: *count,
            sum: *sum,
            recent_count: record.value.features[0] as u64,
            recent_sum: record.value.features[1] as i64,
        };
        context.emit(record.with(row));
    }
}
