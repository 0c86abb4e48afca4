//! Does what the command line asks for: runs the pipeline, or looks at its graph.

use std::sync::{Arc, OnceLock};

use indicatif::ProgressBar;
use thalweg_engine::clock::Clock;
use thalweg_engine::flow::{Flow, Graph};
use thalweg_engine::job::{JobOptions, StopHandle};
use thalweg_engine::key::key_hash;
use thalweg_engine::sink::Delivery;
use thalweg_engine::telemetry::Telemetry;
use thalweg_engine::{BuildResult, Comparison, PlanError, RunError};
use tracing::info;
use tracing::level_filters::LevelFilter;

use crate::admin;
use crate::cli::GraphFormat;
use crate::layer::Layer;
use crate::outcome::{Outcome, print, print_errors, with_causes};
use crate::progress::{self, Progress};
use crate::report;
use crate::settings::Settings;
use crate::signals;
use crate::summary::{self, Summary};
use crate::supervise;
use crate::{format, logging, value};

/// The closure that builds the pipeline's graph.
pub(crate) type Build = Box<dyn Fn(&mut Flow<'_>, &Settings) -> BuildResult + Send + Sync>;

/// Runs the pipeline to its end.
pub(crate) fn run(settings: &Settings, layer: &Layer, build: Build) -> Outcome {
    if let Err(error) = settings.prepare_out() {
        print_errors([error.as_str()]);
        return Outcome::Refused;
    }
    let is_quiet = layer.quiet.unwrap_or(false);
    let bar = start_logging(layer);
    let options = job_options(settings);
    let (telemetry, stop) = (Arc::new(Telemetry::default()), StopHandle::default());
    if let Err(error) = open_admin(layer, settings, &telemetry) {
        print_errors([error.as_str()]);
        return Outcome::Refused;
    }
    signals::listen(stop.clone());
    if supervise::is_supervised() {
        supervise::listen(stop.clone(), &telemetry);
    }
    let begun = Arc::new(Begun::default());
    let progress = Progress::start(&telemetry, &options.clock, settings, bar);
    let ended = execute(options.clone(), &telemetry, &stop, settings, &begun, build);
    let ended_ns = options.clock.now_ns();
    progress.finish();

    if let Err(error) = ended {
        return report_failure(&error, settings);
    }
    let seconds = ended_ns.saturating_sub(begun.at_ns(ended_ns)) as f64 / 1e9;
    let summary = Summary::of(&telemetry, settings, seconds, stop.is_stopped());
    conclude(&summary, settings, is_quiet)
}

/// Shows a bar, where there is a terminal and nobody has asked for quiet, and logs around it.
pub(crate) fn start_logging(layer: &Layer) -> ProgressBar {
    let is_quiet = layer.quiet.unwrap_or(false);
    let bar = if is_quiet {
        ProgressBar::hidden()
    } else {
        progress::bar()
    };
    // Where the bar shows how far the run has got, the logs need not say it.
    let quiet_logs = is_quiet || !bar.is_hidden();
    let level = if quiet_logs {
        LevelFilter::WARN
    } else {
        LevelFilter::INFO
    };
    logging::start(layer.log_level.unwrap_or(level), bar.clone());
    bar
}

/// The engine's options; in a cluster with a fingerprint of all that makes the outputs what they
/// are: the program, its settings, the model.
fn job_options(settings: &Settings) -> JobOptions {
    let mut options = settings.job_options();
    if let Some(checkpoints) = &mut options.checkpoints {
        checkpoints.start_token = supervise::start_token();
        checkpoints.has_sealed = supervise::has_sealed();
    }
    if let Some(cluster) = &mut options.cluster {
        // Where it cannot be read, another process on such a machine cannot read it either.
        let program = std::env::current_exe().and_then(std::fs::read);
        let model = std::fs::read(settings.model_file("model.toml"));
        cluster.fingerprint = key_hash(&(
            program.unwrap_or_default(),
            model.unwrap_or_default(),
            value::rate_text(settings.pace()),
            (settings.is_backfill(), settings.keeps_features()),
            options.deliveries.clone(),
        ));
    }
    options
}

/// Opens the admin endpoint, where one is wanted.
fn open_admin(
    layer: &Layer,
    settings: &Settings,
    telemetry: &Arc<Telemetry>,
) -> Result<(), String> {
    let Some((address, token)) = layer.deployment.admin()? else {
        return Ok(());
    };
    match admin::serve(address, token, settings.name(), telemetry) {
        Ok(address) => {
            info!(%address, "the admin endpoint serves /metrics, /livez and /readyz");
            Ok(())
        }
        Err(error) => Err(format!(
            "cannot listen at {address} for the admin endpoint: {error}; end what else listens \
             there, or give another address with --admin"
        )),
    }
}

/// Runs the graph; when it leaves the planning behind, the start is noted and the summary of an
/// earlier run taken away: it must not be taken for that of this one, however this one ends.
fn execute(
    options: JobOptions,
    telemetry: &Arc<Telemetry>,
    stop: &StopHandle,
    settings: &Settings,
    begun: &Arc<Begun>,
    build: Build,
) -> Result<(), RunError> {
    let (clock, own) = (options.clock.clone(), Arc::clone(telemetry));
    let (settings, begun) = (settings.clone(), Arc::clone(begun));
    let build = move |flow: &mut Flow<'_>| {
        if Arc::ptr_eq(flow.telemetry(), &own) {
            begun.begin(&clock, &settings);
        }
        build(flow, &settings).map_err(|error| with_causes(&*error).into())
    };
    thalweg_engine::run(options, Arc::clone(telemetry), stop.clone(), build)
}

/// When the workers began, after the planning.
#[derive(Default)]
struct Begun(OnceLock<u64>);

impl Begun {
    fn begin(&self, clock: &Clock, settings: &Settings) {
        self.0.get_or_init(|| {
            log_start(settings);
            if settings.process() == 0 {
                // There mostly is none.
                let _ = std::fs::remove_file(settings.out().join(summary::FILE));
            }
            clock.now_ns()
        });
    }

    fn at_ns(&self, otherwise_ns: u64) -> u64 {
        self.0.get().copied().unwrap_or(otherwise_ns)
    }
}

fn log_start(settings: &Settings) {
    info!(
        pipeline = settings.name(),
        backfill = settings.is_backfill(),
        workers = settings.workers(),
        process = settings.process(),
        processes = settings.processes(),
        order = value::order_text(settings.order()),
        rate = value::rate_text(settings.pace()),
        out = %settings.out().display(),
        "starting"
    );
}

fn report_failure(error: &RunError, settings: &Settings) -> Outcome {
    match error {
        RunError::Plan(error) => not_started(error, settings, Outcome::Refused),
        RunError::Away(error, _) => not_started(error, settings, Outcome::Away),
        other => {
            print_errors([other.to_string().as_str()]);
            match other {
                RunError::Lost(_) => Outcome::Lost,
                RunError::Superseded(_) => Outcome::Superseded,
                _ => Outcome::Failed,
            }
        }
    }
}

fn not_started(error: &PlanError, settings: &Settings, outcome: Outcome) -> Outcome {
    print_errors(error.errors.iter().map(String::as_str));
    // A folder that was made for nothing goes again; one with files in it stays.
    let _ = std::fs::remove_dir(settings.out());
    outcome
}

/// Writes the summary and shows it, in a cluster for all processes in the first of them; a run that
/// has lost records has failed.
fn conclude(summary: &Summary, settings: &Settings, is_quiet: bool) -> Outcome {
    let mut outcome = Outcome::Done;
    let is_first = settings.process() == 0;
    if is_first && let Err(error) = summary.write(settings.out()) {
        print_errors([error.as_str()]);
        outcome = Outcome::Failed;
    }
    if is_first && !is_quiet {
        let mut files = settings.files();
        files.push(settings.out().join(summary::FILE));
        files.sort();
        print(&report::report(summary, &report::written(files)));
    }
    if !summary.fates.balance() {
        let error = format!(
            "records were lost or counted twice: {}; this is a bug, please report it",
            summary.equation()
        );
        print_errors([error.as_str()]);
        outcome = Outcome::Failed;
    }
    outcome
}

/// Prints the graph.
pub(crate) fn graph(settings: &Settings, format: GraphFormat, build: Build) -> Outcome {
    planned(settings, build, |graph| {
        Ok(match format {
            GraphFormat::Mermaid => graph.to_mermaid(),
            GraphFormat::Dot => graph.to_dot(),
        })
    })
}

/// Says whether the pipeline could run, and how it differs from the checkpoint that it would go on
/// from.
pub(crate) fn check(settings: &Settings, build: Build) -> Outcome {
    planned(settings, build, |graph| {
        let mut text = String::new();
        if let Some(checkpoints) = settings.job_options().checkpoints {
            let compared = checkpoints.compare(graph);
            let compared = compared.map_err(|error| vec![error.to_string()])?;
            if let Some(compared) = compared {
                text = differences(&compared);
                let errors = compared.errors(checkpoints.allow_dropped_state);
                if !errors.is_empty() {
                    print(&text);
                    return Err(errors);
                }
            }
        }
        let steps = format::things(graph.nodes().len(), "step");
        let sinks = graph.nodes().iter();
        let sinks = sinks.filter_map(|node| Some((&node.id, &node.label, node.delivery?)));
        let sinks = sinks.map(|(id, label, delivery)| {
            let when = match delivery {
                Delivery::Immediate => "immediate",
                Delivery::ExactlyOnce => "exactly once",
            };
            format!("  {id}: {when}, {label}\n")
        });
        Ok(format!(
            "{text}ok: {steps}; sinks:\n{}",
            sinks.collect::<String>()
        ))
    })
}

/// How the pipeline differs from a checkpoint, a line each.
fn differences(compared: &Comparison) -> String {
    let epoch = compared.epoch;
    let added = compared.added.iter();
    let added = added.map(|id| format!("+ {id}: not in epoch {epoch}, begins anew\n"));
    let dropped = compared.dropped.iter();
    let dropped = dropped.map(|id| format!("- {id}: in epoch {epoch}, and not in the pipeline\n"));
    added.chain(dropped).collect()
}

/// Builds the graph without running it and prints what `text` makes of it.
fn planned(
    settings: &Settings,
    build: Build,
    text: impl FnOnce(&Graph) -> Result<String, Vec<String>>,
) -> Outcome {
    let own = settings.clone();
    let planned = thalweg_engine::plan(&settings.job_options(), move |flow| {
        build(flow, &own).map_err(|error| with_causes(&*error).into())
    });
    match planned
        .map_err(|error| error.errors)
        .and_then(|graph| text(&graph))
    {
        Ok(text) => {
            print(&text);
            Outcome::Done
        }
        Err(errors) => {
            print_errors(errors.iter().map(String::as_str));
            Outcome::Refused
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::example;

    #[test]
    fn a_run_that_lost_records_has_failed_and_still_leaves_its_summary() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = Settings::new("flights").with_out(folder.path());
        assert_eq!(conclude(&example(), &settings, true), Outcome::Done);
        let mut lossy = example();
        lossy.fates.processed -= 1;
        assert_eq!(conclude(&lossy, &settings, true), Outcome::Failed);
        let text = std::fs::read(folder.path().join(summary::FILE)).expect("a summary");
        assert_eq!(
            serde_json::from_slice::<Summary>(&text).expect("JSON"),
            lossy
        );
    }

    #[test]
    fn a_summary_that_cannot_be_written_fails_the_run() {
        let settings = Settings::new("flights").with_out("no/such/folder");
        assert_eq!(conclude(&example(), &settings, true), Outcome::Failed);
    }
}
