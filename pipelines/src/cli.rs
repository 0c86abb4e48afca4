//! The command line that every pipeline has, and its help.

use std::ffi::{OsStr, OsString};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::checkpoint_args::{CheckpointArgs, CheckpointTask, CheckpointingArgs};
use crate::deployment::DeploymentArgs;
use crate::help::{EXIT_CODES, SETTINGS, examples};
use crate::layer::{Layer, variable};
use crate::own_command::OwnTask;
use crate::pipeline::Pipeline;
use crate::settings::Settings;
use crate::topic_args::{TOPIC_OPTIONS, TopicArgs};
use crate::{settings_file, value};

/// What a program was asked to do.
pub(crate) enum Cli {
    Shared(Box<SharedCli>),
    Own(OwnTask),
}

/// The command line that all pipelines share.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(crate) struct SharedCli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    job: JobArgs,
}

/// The commands of every pipeline.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the pipeline (what happens without a command)
    Run(JobArgs),
    /// Write the features of the data to files, for training a model
    Backfill(JobArgs),
    /// Print the graph of the pipeline
    Graph(GraphArgs),
    /// Build everything and report all errors, without running
    Check(JobArgs),
    /// Look at the checkpoints, check them, copy them
    Checkpoint(CheckpointArgs),
}

/// The options of everything that builds the pipeline. Their values are read by [`Layer`], as
/// those of the environment and the settings file are, so that all errors come together.
#[derive(Debug, Default, Args)]
pub(crate) struct BuildArgs {
    /// Folder to read data from
    #[arg(long, value_name = "DIR")]
    data: Option<OsString>,
    /// Folder of the model
    #[arg(long, value_name = "DIR")]
    model: Option<OsString>,
    /// TOML file with these options under [run]
    #[arg(long, value_name = "FILE")]
    settings: Option<OsString>,
    #[command(flatten)]
    topics: TopicArgs,
}

/// Where a command of a pipeline's own writes to.
#[derive(Debug, Default, Args)]
pub(crate) struct OutArgs {
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<OsString>,
}

/// The options of a run.
#[derive(Debug, Default, Args)]
pub(crate) struct JobArgs {
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    out: Option<OsString>,
    #[command(flatten)]
    build: BuildArgs,
    /// Worker threads, 1 to 256 [default: 1]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    workers: Option<OsString>,
    /// Replay at a multiple of event time (1000x, 0.5x), or flat out (max) [default: max]
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    rate: Option<OsString>,
    /// Process records as they arrive, or by event time: arrival, event-time
    #[arg(long, value_name = "ORDER")]
    order: Option<OsString>,
    /// Records that a reader hands over at once, at most
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    batch: Option<OsString>,
    /// Write the feature rows that are served to features.csv too
    #[arg(long, value_name = "SWITCH", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    keep_features: Option<OsString>,
    /// Show nothing but warnings and errors; --quiet=false where the environment says otherwise
    #[arg(long, value_name = "SWITCH", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    quiet: Option<OsString>,
    /// What to log: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<OsString>,
    #[command(flatten)]
    deployment: DeploymentArgs,
    #[command(flatten)]
    checkpoints: CheckpointingArgs,
}

/// The options of `graph`.
#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    /// Language to print it in
    #[arg(long, value_enum, default_value_t = GraphFormat::Mermaid)]
    format: GraphFormat,
    #[command(flatten)]
    build: BuildArgs,
}

/// The languages of `graph`: Mermaid's flowcharts and Graphviz' DOT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    Mermaid,
    Dot,
}

/// What to do, once the settings are known.
pub(crate) enum Task {
    /// Run the pipeline or its backfill.
    Run,
    /// Print the graph.
    Graph(GraphFormat),
    /// Build only.
    Check,
    /// Look at the checkpoints; whether the answer is for programs.
    Checkpoint(CheckpointTask, bool),
    /// A command of the pipeline's own.
    Own(OwnTask),
}

/// What to do and how.
pub(crate) struct Request {
    pub(crate) task: Task,
    pub(crate) settings: Settings,
    pub(crate) layer: Layer,
}

impl Cli {
    /// Reads a command line.
    pub(crate) fn parse_from(
        pipeline: &Pipeline,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        let matches = command(pipeline).try_get_matches_from(arguments)?;
        if let Some((name, matches)) = matches.subcommand()
            && let Some(own) = pipeline.commands().iter().find(|own| own.name == name)
        {
            return Ok(Self::Own(OwnTask::new(own.clone(), matches.clone())));
        }
        let shared = SharedCli::from_arg_matches(&matches)?;
        Ok(Self::Shared(Box::new(shared)))
    }

    fn task(self) -> (Task, bool, JobArgs) {
        let SharedCli { command, job } = match self {
            Self::Shared(shared) => *shared,
            Self::Own(own) => {
                let (out, build) = own.arguments();
                let job = JobArgs {
                    out,
                    build,
                    ..JobArgs::default()
                };
                return (Task::Own(own), false, job);
            }
        };
        match command {
            None => (Task::Run, false, job),
            Some(Command::Run(job)) => (Task::Run, false, job),
            Some(Command::Backfill(job)) => (Task::Run, true, job),
            Some(Command::Check(job)) => (Task::Check, false, job),
            Some(Command::Graph(GraphArgs { format, build })) => {
                let job = JobArgs {
                    build,
                    ..JobArgs::default()
                };
                (Task::Graph(format), false, job)
            }
            Some(Command::Checkpoint(checkpoint)) => {
                let job = JobArgs {
                    build: BuildArgs {
                        settings: checkpoint.settings,
                        ..BuildArgs::default()
                    },
                    checkpoints: CheckpointingArgs::at(checkpoint.checkpoint),
                    ..JobArgs::default()
                };
                let task = Task::Checkpoint(checkpoint.task, checkpoint.json);
                (task, false, job)
            }
        }
    }

    /// Puts the command line on top of the environment, and both on top of the settings file.
    ///
    /// # Errors
    /// With everything that is wrong in any of them.
    pub(crate) fn resolve(
        self,
        pipeline: &Pipeline,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Request, Vec<String>> {
        let (task, is_backfill, job) = self.task();
        let mut errors = Vec::new();
        let upper = Layer::from_environment(environment, &mut errors);
        let upper = job.layer(&mut errors).over(upper);
        let file = job
            .build
            .settings
            .or_else(|| environment(&variable("settings")));
        let file = file.filter(|file| !file.is_empty());
        let lower = file.map(|file| settings_file::read(file.as_ref(), &mut errors));
        let layer = upper.over(lower.unwrap_or_default());
        let mut settings = pipeline.settings(is_backfill).under(&layer);
        if matches!(task, Task::Run | Task::Check) {
            let host_name = environment("HOSTNAME").and_then(|name| name.into_string().ok());
            let deployment = &layer.deployment;
            match deployment.cluster(pipeline.name(), host_name.as_deref()) {
                Ok(cluster) => settings = settings.in_cluster(cluster),
                Err(error) => errors.push(error),
            }
            errors.extend(deployment.admin().err());
            if layer.from.is_some() && settings.checkpoint().is_none() && !is_backfill {
                errors.push(
                    "`from` says which checkpoint to go on from, and there is no place for them: \
                     name it with --checkpoint, or leave out --from"
                        .to_owned(),
                );
            }
        }
        if !matches!(task, Task::Own(_) | Task::Checkpoint(..)) {
            settings.check_folders(&mut errors);
        }
        errors.extend(settings.topics().check().err());
        if !pipeline.has_topics() {
            errors.extend(layer.topic_keys().map(|key| {
                format!("`{key}` is about topics, and this pipeline has none: leave it out")
            }));
        }
        if errors.is_empty() {
            Ok(Request {
                task,
                settings,
                layer,
            })
        } else {
            Err(errors)
        }
    }
}

impl JobArgs {
    fn layer(&self, errors: &mut Vec<String>) -> Layer {
        let given: [(&str, Option<&OsStr>); 10] = [
            ("out", self.out.as_deref()),
            ("data", self.build.data.as_deref()),
            ("model", self.build.model.as_deref()),
            ("workers", self.workers.as_deref()),
            ("rate", self.rate.as_deref()),
            ("order", self.order.as_deref()),
            ("batch", self.batch.as_deref()),
            ("keep-features", self.keep_features.as_deref()),
            ("quiet", self.quiet.as_deref()),
            ("log-level", self.log_level.as_deref()),
        ];
        let mut layer = Layer::default();
        let given = given
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        let given = given
            .chain(self.build.topics.given())
            .chain(self.checkpoints.given())
            .chain(self.deployment.given());
        for (key, value) in given {
            layer.set(key, value, &format!("--{key}"), errors);
        }
        layer
    }
}

/// The command line of a pipeline, with its name, its defaults and its examples.
fn command(pipeline: &Pipeline) -> clap::Command {
    let name = pipeline.name();
    let mut command = with_defaults(SharedCli::command(), pipeline, false)
        .name(name)
        .bin_name(name)
        .about(pipeline.about_text())
        .after_help(format!("{}\n\n{SETTINGS}\n\n{EXIT_CODES}", examples(name)));
    if let Some(version) = pipeline.version_text() {
        command = command.version(version);
    }
    for (name, is_backfill) in [("run", false), ("backfill", true), ("check", false)] {
        command = command.mut_subcommand(name, |command| {
            with_defaults(command, pipeline, is_backfill)
                .after_help(format!("{SETTINGS}\n\n{EXIT_CODES}"))
        });
    }
    for own in pipeline.commands() {
        command = command.subcommand(with_build_defaults(own.command(), pipeline));
    }
    command.mut_subcommand("graph", |command| with_build_defaults(command, pipeline))
}

fn with_defaults(command: clap::Command, pipeline: &Pipeline, is_backfill: bool) -> clap::Command {
    let settings = pipeline.settings(is_backfill);
    let out = format!("Folder to write to [default: {}]", settings.out().display());
    let order = format!(
        "Process records as they arrive, or by event time: arrival, event-time [default: {}]",
        value::order_text(settings.order())
    );
    let batch = format!(
        "Records that a reader hands over at once, at most [default: {}]",
        settings.batch_records()
    );
    with_build_defaults(command, pipeline)
        .mut_arg("out", |arg| arg.help(out))
        .mut_arg("order", |arg| arg.help(order))
        .mut_arg("batch", |arg| arg.help(batch))
}

fn with_build_defaults(command: clap::Command, pipeline: &Pipeline) -> clap::Command {
    let settings = pipeline.settings(false);
    let data = format!(
        "Folder to read data from [default: {}]",
        settings.data().display()
    );
    let model = format!(
        "Folder of the model [default: {}]",
        settings.model().display()
    );
    let log = format!(
        "Folder of the embedded log [default: {}]",
        settings.log().display()
    );
    let mut command = command
        .mut_arg("data", |arg| arg.help(data))
        .mut_arg("model", |arg| arg.help(model))
        .mut_arg("log", |arg| arg.help(log));
    if pipeline.has_topics() {
        command = command.mut_arg("data", |arg| arg.hide(true));
    } else {
        for name in TOPIC_OPTIONS {
            command = command.mut_arg(name, |arg| arg.hide(true));
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use thalweg_engine::job::{Order, Pace};

    use super::*;

    fn resolve(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Request, Vec<String>> {
        let pipeline = Pipeline::new("flights").order(Order::EventTime);
        let arguments = ["flights"].iter().chain(arguments).map(OsString::from);
        let cli = Cli::parse_from(&pipeline, arguments).expect("a command line");
        cli.resolve(&pipeline, &|name| {
            let found = environment.iter().find(|(variable, _)| *variable == name)?;
            Some(OsString::from(found.1))
        })
    }

    fn settings(arguments: &[&str], environment: &[(&str, &str)]) -> Settings {
        resolve(arguments, environment)
            .map(|request| request.settings)
            .expect("settings")
    }

    #[test]
    fn the_command_line_is_consistent() {
        let pipeline = Pipeline::new("flights")
            .about("Predicts delays.")
            .version("1.2.3");
        command(&pipeline).debug_assert();
    }

    #[test]
    fn no_command_is_run() {
        for arguments in [&["--workers", "3"][..], &["run", "--workers", "3"]] {
            let request = resolve(arguments, &[]).map_err(|errors| errors.join("\n"));
            let request = request.expect("a request");
            assert!(matches!(request.task, Task::Run));
            assert_eq!(request.settings.workers(), 3);
            assert_eq!(request.settings.order(), Order::EventTime);
            assert_eq!(request.settings.out(), Path::new("./out/flights"));
            assert!(!request.settings.is_backfill());
        }
        let backfill = settings(&["backfill"], &[]);
        assert_eq!(backfill.out(), Path::new("./out/flights-backfill"));
        assert!(backfill.is_backfill());
    }

    #[test]
    fn the_command_line_overrides_the_environment_and_both_the_file() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(b"[run]\nworkers = 2\nrate = \"10x\"\nbatch = 64\norder = \"arrival\"\n")
            .expect("a settings file");
        let path = file.path().to_str().expect("a path in UTF-8");
        let environment = [
            ("THALWEG_WORKERS", "3"),
            ("THALWEG_RATE", "20x"),
            ("THALWEG_SETTINGS", path),
        ];
        let all = settings(&["--workers", "4"], &environment);
        assert_eq!(all.workers(), 4);
        assert_eq!(all.pace(), Pace::Times(20.0));
        assert_eq!((all.batch_records(), all.order()), (64, Order::Arrival));
        assert_eq!(settings(&["--settings", path], &[]).workers(), 2);
        assert_eq!(settings(&[], &[]).workers(), 1);
    }

    #[test]
    fn a_switch_is_turned_on_and_off_again_by_the_place_above() {
        let switches = |arguments: &[&str], environment: &[(&str, &str)]| {
            let request = resolve(arguments, environment).map_err(|errors| errors.join("\n"));
            let layer = request.expect("a request").layer;
            (layer.quiet, layer.keep_features)
        };
        let on = [("THALWEG_QUIET", "1"), ("THALWEG_KEEP_FEATURES", "true")];
        assert_eq!(switches(&[], &[]), (None, None));
        assert_eq!(switches(&["--quiet"], &[]), (Some(true), None));
        assert_eq!(switches(&[], &on), (Some(true), Some(true)));
        let off = ["run", "--quiet=false", "--keep-features=0"];
        assert_eq!(switches(&off, &on), (Some(false), Some(false)));
        let Err(errors) = resolve(&["--quiet=maybe"], &[]) else {
            panic!("`maybe` is no switch");
        };
        assert!(
            errors[0].starts_with("--quiet: `maybe` is neither on nor off"),
            "{errors:?}"
        );
    }

    #[test]
    fn all_errors_are_reported_together_with_their_place() {
        let arguments = [
            "--workers",
            "0",
            "--rate",
            "fast",
            "--data",
            "no/such",
            "--settings",
            "x",
        ];
        let Err(errors) = resolve(&arguments, &[("THALWEG_BATCH", "lots")]) else {
            panic!("these arguments are wrong");
        };
        let starts = [
            "THALWEG_BATCH: ",
            "--workers: `0`",
            "--rate: `fast`",
            "cannot read settings",
        ];
        assert_eq!(errors.len(), starts.len() + 1, "{errors:?}");
        for (error, start) in errors.iter().zip(starts) {
            assert!(error.starts_with(start), "{error}");
        }
        assert!(
            errors[4].starts_with("cannot read data folder `no/such`"),
            "{errors:?}"
        );
    }

    #[test]
    fn what_to_go_on_from_wants_a_place_of_checkpoints() {
        let Err(errors) = resolve(&["--from", "7"], &[]) else {
            panic!("there are no checkpoints");
        };
        assert!(errors[0].contains("--checkpoint"), "{errors:?}");
        settings(&["--from", "7", "--checkpoint", "./checkpoints"], &[]);
        settings(&["backfill"], &[("THALWEG_FROM", "7")]);
    }

    #[test]
    fn the_help_tells_defaults_examples_and_exit_codes() {
        let pipeline = Pipeline::new("flights")
            .about("Predicts delays.")
            .model("models/flights");
        let help = command(&pipeline).render_help().to_string();
        for part in [
            "Predicts delays.",
            "[default: ./out/flights]",
            "[default: models/flights]",
            "flights graph --format dot | dot -Tsvg > flights.svg",
            "Exit codes:",
        ] {
            assert!(help.contains(part), "{part} is missing:\n{help}");
        }
    }
}
