//! `fraud`: is this card payment somebody else's?
//!
//! Reads payments and, hours later, what became of them from two topics; scores each payment with
//! features of its card, its merchant and the two together; writes predictions and alerts to topics.
//! `fraud generate` makes such topics, with three kinds of fraud in them.

mod event;
mod features;
mod generate;
mod output;
mod watches;

use std::process::ExitCode;

use thalweg::prelude::*;

use event::{Event, Label, Payment};
use output::Prediction;

/// Rows are allocated one by one, and freed in batches.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Pipeline::new("fraud")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Scores card payments, with topics in an embedded log or wherever the settings say")
        .topics("./log/fraud")
        .model(concat!(env!("CARGO_MANIFEST_DIR"), "/models/fraud"))
        .order(Order::EventTime)
        .command(
            "generate",
            "Write made-up payments and their labels to the topics",
            generate::run,
        )
        .run(build)
}

fn build(flow: &mut Flow<'_>, settings: &Settings) -> BuildResult {
    // Payments come up to two seconds after they were made.
    let payments = flow
        .source(
            "payments",
            settings.topic_source("payments", Payment::check),
        )
        .event_time(|p: &Payment| p.at, secs(5));
    let labels = flow
        .source(
            "labels",
            settings.topic_source("labels", |_: &Label| Ok(())),
        )
        .event_time(|l: &Label| l.at, secs(5));

    let known = labels.clone().map("known", |l| (l.payment, l.fraud));
    let labelled = labels.clone().map("labelled", Event::label);
    let events = payments.map("paid", Event::payment);
    let rows = features::declare(events.merge("events", [labelled]))
        .filter("questions", Event::is_payment);

    if settings.is_backfill() || settings.keeps_features() {
        let file = output::feature_file(settings.out_file("features.csv"), rows.names());
        rows.clone().into_stream().sink("features", file);
    }
    if settings.is_backfill() {
        labels.sink(
            "labels_file",
            FileSink::csv(settings.out_file("labels.csv")),
        );
        return Ok(());
    }

    let baseline = rows.names().iter().position(|name| name == "fraud_share");
    let baseline = baseline.ok_or("the feature `fraud_share` is missing: it is the baseline")?;
    let model = Onnx::load(settings.model())?;
    let scored = rows.infer("model", &model);
    let reference = settings.model_file("reference.json");
    let drift = scored.clone().drift("watch", watches::daily(&reference));
    let predictions = scored
        .into_stream()
        .map("predict", move |row| Prediction::new(&row, baseline));
    let quality = predictions
        .clone()
        .map("predicted", |p| {
            (p.payment, Predicted::new(p.probability, p.baseline))
        })
        .evaluate("quality", known, Evaluate::every(days(1)).horizon(days(7)));

    let card = |p: &Prediction| p.card.to_string();
    predictions.sink("predictions", settings.topic_sink("predictions", card));
    drift.alerts.sink(
        "alerts",
        settings.topic_sink("alerts", |alert: &Alert| alert.subject.clone()),
    );
    let out = |name: &str| FileSink::json_lines(settings.out_file(name));
    drift.reports.sink("drift", out("drift.jsonl"));
    quality.sink(
        "quality_reports",
        FileSink::json_lines(settings.out_file("quality.jsonl")),
    );
    Ok(())
}
