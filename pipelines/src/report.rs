//! What is left to say at the end of a run, for people: the summary as text.

use std::path::{Path, PathBuf};

use thalweg_engine::telemetry::{Latency, StepKind};

use crate::format;
use crate::summary::{Stage, Summary};
use crate::value;

/// A file written, and its size in bytes.
pub(crate) type Written = (PathBuf, u64);

/// The files among `paths` that are there, with their sizes.
pub(crate) fn written(paths: impl IntoIterator<Item = PathBuf>) -> Vec<Written> {
    let sized = |path: PathBuf| Some((path.metadata().ok()?.len(), path));
    paths
        .into_iter()
        .filter_map(sized)
        .map(|(bytes, path)| (path, bytes))
        .collect()
}

/// The whole report.
pub(crate) fn report(summary: &Summary, files: &[Written]) -> String {
    let mut parts = vec![headline(summary), summary.equation()];
    if summary.predictions > 0 || summary.labels > 0 || summary.alerts > 0 {
        parts.push(quality(summary));
    }
    if let Some(sealed) = &summary.checkpoint {
        parts.push(format!(
            "checkpoint: epoch {}, {} of state, {} sealed in this run with {} written",
            sealed.epoch,
            format::size(sealed.state_bytes),
            format::things(
                usize::try_from(sealed.epochs).unwrap_or(usize::MAX),
                "epoch"
            ),
            format::size(sealed.bytes),
        ));
    }
    parts.push(table(&stage_rows(summary)));
    if !files.is_empty() {
        parts.push(table(&file_rows(files)));
    }
    parts.join("\n\n") + "\n"
}

fn headline(summary: &Summary) -> String {
    let order = value::order_text(summary.order);
    format!(
        "{}{}: {} records in {:.1} s, {} a second, {} in {order} order{}",
        summary.pipeline,
        if summary.backfill { " backfill" } else { "" },
        format::count(summary.fates.records_in),
        summary.seconds,
        format::per_second(summary.events_per_second),
        workers(summary),
        if summary.stopped {
            ", stopped early"
        } else {
            ""
        },
    )
}

fn quality(summary: &Summary) -> String {
    let figure = |value| format::figure(value);
    let model = match (&summary.model.name, &summary.model.version) {
        (Some(name), Some(version)) => format!("{name} {version}"),
        (Some(name), None) => name.clone(),
        _ => "model".to_owned(),
    };
    let share = summary
        .label_coverage
        .map(|share| format!(" ({:.1} %)", share * 100.0));
    let rows = [
        ["quality".to_owned(), model, "baseline".to_owned()],
        ["  AUC".to_owned(), figure(summary.auc), "0.5000".to_owned()],
        [
            "  log loss".to_owned(),
            figure(summary.log_loss),
            figure(summary.baseline_log_loss),
        ],
    ];
    format!(
        "{}\n  labels have come for {} of {} predictions{}; {} fired",
        table(&rows),
        format::count(summary.labels),
        format::count(summary.predictions),
        share.unwrap_or_default(),
        alerts(summary.alerts),
    )
}

fn alerts(n: u64) -> String {
    if n == 1 {
        "1 alert has".to_owned()
    } else {
        format!("{} alerts have", format::count(n))
    }
}

fn stage_rows(summary: &Summary) -> Vec<[String; 7]> {
    let head = ["step", "kind", "records in", "out", "p50", "p99", "p99.9"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(summary.stages.iter().map(stage_row));
    let [p50, p99, p999] = latencies(summary.latency_us);
    let blank = String::new;
    rows.push([
        "source to sink".to_owned(),
        blank(),
        blank(),
        blank(),
        p50,
        p99,
        p999,
    ]);
    rows
}

fn stage_row(stage: &Stage) -> [String; 7] {
    let count = |kind, n| {
        if stage.kind == kind {
            String::new()
        } else {
            format::count(n)
        }
    };
    let [p50, p99, p999] = latencies(stage.latency_us);
    [
        format!("  {}", stage.id),
        kind(stage.kind).to_owned(),
        format::count(stage.records_in),
        count(StepKind::Sink, stage.records_out),
        p50,
        p99,
        p999,
    ]
}

fn kind(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Source => "source",
        StepKind::Transform => "transform",
        StepKind::Filter => "filter",
        StepKind::Merge => "merge",
        StepKind::Keyed => "keyed",
        StepKind::Infer => "infer",
        StepKind::Sink => "sink",
    }
}

/// The percentiles; dashes where nothing was measured.
fn latencies(latency: Latency) -> [String; 3] {
    let measured = latency.p999 > 0.0;
    [latency.p50, latency.p99, latency.p999].map(|us| {
        if measured {
            format::latency(us)
        } else {
            "-".to_owned()
        }
    })
}

fn file_rows(files: &[Written]) -> Vec<[String; 2]> {
    let mut rows = vec![["files written".to_owned(), String::new()]];
    let row = |(path, bytes): &Written| [format!("  {}", shown(path)), format::size(*bytes)];
    rows.extend(files.iter().map(row));
    rows
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The columns of words, but for the first, by their heads.
const WORDS: [&str; 7] = [
    "kind",
    "type",
    "content",
    "partition",
    "sealed",
    "watermark",
    "savepoint",
];

/// Rows under one another: words to the left, figures to the right.
pub(crate) fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let lines = rows.iter().map(|row| {
        let cells = row
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                let is_words = column == 0 || WORDS.contains(&&*rows[0][column]);
                if is_words {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// How many workers there were, in words.
fn workers(summary: &Summary) -> String {
    let workers = format::things(summary.workers, "worker");
    match summary.processes {
        1 => workers,
        processes => format!("{workers} in each of {processes} processes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::example;

    #[test]
    fn the_report_reads_as_a_whole() {
        let files = [
            (PathBuf::from("out/predictions.jsonl"), 1_234_567),
            (PathBuf::from("out/late.jsonl"), 0),
        ];
        let expected = "\
flights: 2,000 records in 0.5 s, 4,000 a second, 2 workers in event-time order

records in 2,000 = processed 1,990 + late 3 + dead letters 5 + filtered 0 + held 2

quality     delays 3  baseline
  AUC         0.7124    0.5000
  log loss    0.4411    0.5034
  labels have come for 970 of 1,000 predictions (97.0 %); 4 alerts have fired

step            kind    records in    out     p50      p99  p99.9
  scheduled     source       2,000  1,992       -        -      -
  predictions   sink         1,000         120 us  4.90 ms  25 ms
source to sink                             120 us  4.90 ms  25 ms

files written
  out/predictions.jsonl  1.2 MB
  out/late.jsonl            0 B
";
        assert_eq!(report(&example(), &files), expected);
    }

    #[test]
    fn a_run_without_predictions_says_nothing_of_quality() {
        let summary = Summary {
            predictions: 0,
            labels: 0,
            alerts: 0,
            backfill: true,
            ..example()
        };
        let report = report(&summary, &[]);
        assert!(
            report.starts_with("flights backfill: 2,000 records in"),
            "{report}"
        );
        assert!(!report.contains("AUC"), "{report}");
        assert!(!report.contains("files written"), "{report}");
    }
}
