//! The figures of a job in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;

use thalweg_engine::ledger::Fates;
use thalweg_engine::telemetry::{Health, Latency, StepKind, Telemetry, Waiting};

/// What the program is.
pub(super) struct About {
    pipeline: String,
    version: &'static str,
}

impl About {
    pub(super) fn new(pipeline: &str) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// What is known of the counts, numbers and times that have been named; the others get a plain line.
const NAMED: [(&str, &str); 9] = [
    (
        "epoch_sealed",
        "Time from the end of an epoch, when nothing more is read in it, to its seal.",
    ),
    (
        "epoch_visible",
        "Time from the end of an epoch to when a sink that delivers exactly once has published it.",
    ),
    ("predictions", "Predictions made."),
    ("alerts_fired", "Alerts that have fired."),
    ("quality_labels", "Predictions whose label has come."),
    (
        "quality_coverage",
        "Share of predictions whose label has come.",
    ),
    (
        "quality_auc",
        "Area under the ROC curve of the predictions whose label has come.",
    ),
    (
        "quality_log_loss",
        "Mean log loss of the predictions whose label has come.",
    ),
    (
        "quality_baseline_log_loss",
        "Mean log loss of the running share of positive labels.",
    ),
];

/// All figures as they are now.
pub(super) fn text(telemetry: &Telemetry, about: &About) -> String {
    let mut page = Page::default();
    let labels = [
        ("pipeline", about.pipeline.as_str()),
        ("version", about.version),
    ];
    page.family("info", "gauge", "What this program is.")
        .sample("", &labels, 1.0);
    let status = telemetry.status();
    let is_ready = f64::from(u8::from(status.health == Health::Running));
    page.family(
        "ready",
        "gauge",
        "Whether the job runs: 1, or 0 while it starts, stops or is stuck.",
    )
    .sample("", &[], is_ready);
    let peers = "Time since something was heard of each other process of the cluster.";
    let mut family = page.family("cluster_peer_silence_seconds", "gauge", peers);
    for (process, silence) in &status.silences {
        let process = process.to_string();
        family = family.sample("", &[("process", &process)], silence.as_secs_f64());
    }
    records(&mut page, telemetry);
    steps(&mut page, telemetry);
    if let Some(time) = telemetry.event_time() {
        let help = "Event time that every open source partition here has reached, in seconds of \
                    the Unix epoch.";
        page.family("event_time_seconds", "gauge", help).sample(
            "",
            &[],
            time.as_micros() as f64 / 1e6,
        );
    }
    named(&mut page, telemetry);
    timings(&mut page, telemetry);
    waiting(&mut page, telemetry);
    page.0
}

fn records(page: &mut Page, telemetry: &Telemetry) {
    let Fates {
        records_in,
        processed,
        late,
        dead_letters,
        filtered,
        held,
    } = telemetry.fates();
    page.family(
        "records_read_total",
        "counter",
        "Records that the sources here have read.",
    )
    .sample("", &[], records_in as f64);
    let help =
        "Records read here by what has become of them; those on their way are not among them.";
    let mut family = page.family("records", "gauge", help);
    for (fate, count) in [
        ("processed", processed),
        ("late", late),
        ("dead_letter", dead_letters),
        ("filtered", filtered),
        ("held", held),
    ] {
        family = family.sample("", &[("fate", fate)], count as f64);
    }
}

fn steps(page: &mut Page, telemetry: &Telemetry) {
    let steps = telemetry.steps();
    let labels = |step: &thalweg_engine::telemetry::StepMetrics| (step.id.clone(), kind(step.kind));
    let mut family = page.family(
        "step_records_in_total",
        "counter",
        "Records that each step has taken in.",
    );
    for step in &steps {
        let (id, kind) = labels(step);
        family = family.sample(
            "",
            &[("step", &id), ("kind", kind)],
            step.records_in() as f64,
        );
    }
    let mut family = page.family(
        "step_records_out_total",
        "counter",
        "Records that each step has given on.",
    );
    for step in &steps {
        let (id, kind) = labels(step);
        family = family.sample(
            "",
            &[("step", &id), ("kind", kind)],
            step.records_out() as f64,
        );
    }
    let help = "Time from the reading of a record to the end of each step.";
    let mut family = page.family("step_latency_seconds", "summary", help);
    for step in &steps {
        let (id, kind) = labels(step);
        let (count, sum_s) = step.latency_totals();
        let latency = step.latency();
        for (quantile, us) in quantiles(latency) {
            let labels = [
                ("step", id.as_str()),
                ("kind", kind),
                ("quantile", quantile),
            ];
            let value = if count > 0 { us / 1e6 } else { f64::NAN };
            family = family.sample("", &labels, value);
        }
        let labels = [("step", id.as_str()), ("kind", kind)];
        family = family.sample("_sum", &labels, sum_s);
        family = family.sample("_count", &labels, count as f64);
    }
}

/// Counts and numbers by the names that steps have given them.
fn named(page: &mut Page, telemetry: &Telemetry) {
    let mut families = BTreeMap::new();
    for (name, value) in telemetry.gauges() {
        families.insert(plain(&name), (name, "gauge", value));
    }
    for (name, count) in telemetry.counters() {
        families.insert(
            format!("{}_total", plain(&name)),
            (name, "counter", count as f64),
        );
    }
    for (plain, (name, kind, value)) in families {
        page.family(&plain, kind, &help(&name))
            .sample("", &[], value);
    }
}

/// Timings by their names.
fn timings(page: &mut Page, telemetry: &Telemetry) {
    for (name, timing) in telemetry.timings() {
        let (count, sum_s) = timing.totals();
        let latency = timing.latency();
        let mut family = page.family(
            &format!("{}_seconds", plain(&name)),
            "summary",
            &help(&name),
        );
        for (quantile, us) in quantiles(latency) {
            family = family.sample("", &[("quantile", quantile)], us / 1e6);
        }
        family = family.sample("_sum", &[], sum_s);
        family.sample("_count", &[], count as f64);
    }
}

fn quantiles(latency: Latency) -> [(&'static str, f64); 3] {
    [
        ("0.5", latency.p50),
        ("0.99", latency.p99),
        ("0.999", latency.p999),
    ]
}

/// What cannot go on for now.
fn waiting(page: &mut Page, telemetry: &Telemetry) {
    let help = "1 for all that cannot go on for now: a checkpoint, or the publishing of an epoch.";
    let mut family = page.family("waiting", "gauge", help);
    for Waiting {
        what,
        whose,
        reason,
    } in telemetry.waiting()
    {
        let labels = [
            ("what", what.as_str()),
            ("whose", &whose),
            ("reason", &reason),
        ];
        family = family.sample("", &labels, 1.0);
    }
}

/// What is to be said of something that steps have named.
fn help(name: &str) -> String {
    let known = NAMED.iter().find(|(known, _)| *known == name);
    known.map_or_else(
        || format!("What the pipeline's steps call {name}."),
        |(_, help)| (*help).to_owned(),
    )
}

/// A name with nothing in it that a metric's name must not have.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(plain).collect()
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

/// The page as far as it is written.
#[derive(Default)]
struct Page(String);

/// The family that is being written.
struct Family<'a> {
    page: &'a mut String,
    name: String,
}

/// Writing to a string does not fail.
const WRITES: &str = "invariant: a string can be written";

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) -> Family<'_> {
        let name = format!("thalweg_{name}");
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n").expect(WRITES);
        let page = &mut self.0;
        Family { page, name }
    }
}

impl Family<'_> {
    fn sample(self, suffix: &str, labels: &[(&str, &str)], value: f64) -> Self {
        write!(self.page, "{}{suffix}", self.name).expect(WRITES);
        for (place, (label, text)) in labels.iter().enumerate() {
            let open = if place == 0 { '{' } else { ',' };
            let text = text
                .replace('\\', r"\\")
                .replace('"', r#"\""#)
                .replace('\n', r"\n");
            write!(self.page, r#"{open}{label}="{text}""#).expect(WRITES);
        }
        let close = if labels.is_empty() { "" } else { "}" };
        writeln!(self.page, "{close} {value}").expect(WRITES);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_its_help_and_type_and_labels_are_escaped() {
        let telemetry = Telemetry::default();
        telemetry.counter("card_late\"joined").add(3);
        telemetry.gauge("quality_auc").set(0.75);
        telemetry.step("a\"b\\c\nd", StepKind::Sink);
        telemetry.timing("epoch_sealed").record_ns(1 << 30);
        let page = text(&telemetry, &About::new("fraud"));
        for line in [
            "# HELP thalweg_records_read_total Records that the sources here have read.",
            "# TYPE thalweg_records_read_total counter",
            "thalweg_records_read_total 0",
            "thalweg_records{fate=\"held\"} 0",
            "thalweg_ready 0",
            "thalweg_step_records_in_total{step=\"a\\\"b\\\\c\\nd\",kind=\"sink\"} 0",
            "thalweg_step_latency_seconds{step=\"a\\\"b\\\\c\\nd\",kind=\"sink\",quantile=\"0.5\"} NaN",
            "thalweg_step_latency_seconds_count{step=\"a\\\"b\\\\c\\nd\",kind=\"sink\"} 0",
            "thalweg_quality_auc 0.75",
            "thalweg_card_late_joined_total 3",
            "# TYPE thalweg_epoch_sealed_seconds summary",
            "thalweg_epoch_sealed_seconds_count 1",
            "# TYPE thalweg_waiting gauge",
        ] {
            assert!(
                page.lines().any(|found| found == line),
                "{line} is missing:\n{page}"
            );
        }
    }
}
