//! `flights`: will a flight from New York arrive more than 15 minutes late?
//!
//! Replays a year of real flights. One hour before each scheduled departure a small neural network
//! is asked, with features of what has landed by then and of the weather; hours later the landing
//! is the answer, and it feeds the features of the flights after it.

mod events;
mod features;
mod output;
mod watches;

use std::process::ExitCode;

use thalweg::prelude::*;

use events::{Event, Landed, Scheduled, Weather};
use output::Prediction;

/// The year 2013 in New York.
const FIRST: EventTime = EventTime::from_seconds(1_357_016_400);
const LAST: EventTime = EventTime::from_seconds(1_388_552_400);

/// Rows are allocated one by one, and freed in batches.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Pipeline::new("flights")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Predicts late arrivals over a year of real flights from New York (2013)")
        .data(concat!(env!("CARGO_MANIFEST_DIR"), "/data/flights"))
        .model(concat!(env!("CARGO_MANIFEST_DIR"), "/models/flights-delay"))
        .order(Order::EventTime)
        .run(build)
}

fn build(flow: &mut Flow<'_>, settings: &Settings) -> BuildResult {
    settings.progress_span(FIRST, LAST);
    let file = |name: &str| settings.data_file(name);
    let scheduled = flow
        .source(
            "scheduled",
            FileSource::csv(file("scheduled.csv.zst")).check_with(Scheduled::check),
        )
        .event_time(|s: &Scheduled| s.at, secs(0));
    let landed = flow
        .source(
            "landed",
            FileSource::csv(file("landed.csv.zst")).check_with(Landed::check),
        )
        .event_time(|l: &Landed| l.at, minutes(10));
    let weather = flow
        .source(
            "weather",
            FileSource::csv(file("weather.csv.zst")).check_with(Weather::check),
        )
        .event_time(|w: &Weather| w.at, secs(0));

    let labels = landed.clone().map("labels", |l| (l.flight, l.is_late()));
    let landings = landed.map("landings", Event::landed);
    let events = scheduled
        .map("departures", Event::scheduled)
        .merge("events", [landings])
        .key_by(|e| e.origin)
        .as_of(
            "weather_at",
            weather.key_by(|w| w.origin),
            hours(3),
            Event::with_weather,
        );
    let rows = features::declare(events).filter("questions", Event::is_scheduled);

    if settings.is_backfill() || settings.keeps_features() {
        let file = output::feature_file(settings.out_file("features.csv"), rows.names());
        rows.clone().into_stream().sink("features", file);
    }
    if settings.is_backfill() {
        return Ok(());
    }

    let baseline = rows.names().iter().position(|name| name == "late_share");
    let baseline = baseline.ok_or("the feature `late_share` is missing: it is the baseline")?;
    let model = Onnx::load(settings.model())?;
    let scored = rows.infer("model", &model);
    let reference = settings.model_file("reference.json");
    let weeks = scored.clone().drift("watch", watches::weekly(&reference));
    let days = scored
        .clone()
        .drift("day_watch", watches::daily(&reference));
    let predictions = scored
        .into_stream()
        .map("predict", move |row| Prediction::new(&row, baseline));
    let quality = predictions
        .clone()
        .map("predicted", |p| {
            (p.flight, Predicted::new(p.probability, p.baseline))
        })
        .evaluate("quality", labels, Evaluate::weekly());

    let out = |name: &str| settings.out_file(name);
    predictions.sink(
        "predictions",
        FileSink::json_lines(out("predictions.jsonl")),
    );
    weeks
        .alerts
        .merge("all_alerts", [days.alerts])
        .sink("alerts", FileSink::json_lines(out("alerts.jsonl")));
    weeks
        .reports
        .merge("all_drift", [days.reports])
        .sink("drift", FileSink::json_lines(out("drift.jsonl")));
    quality.sink(
        "quality_reports",
        FileSink::json_lines(out("quality.jsonl")),
    );
    Ok(())
}
