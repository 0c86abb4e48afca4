//! A pipeline as a whole program.

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

use thalweg_engine::BuildResult;
use thalweg_engine::flow::Flow;
use thalweg_engine::job::Order;

use crate::checkpoint::checkpoint;
use crate::cli::{Cli, Task};
use crate::job::{self, Build};
use crate::layer::misspelt;
use crate::outcome::{Outcome, print_errors};
use crate::own_command::OwnCommand;
use crate::settings::Settings;
use crate::supervise;

/// Runs a pipeline as a whole program: reads the command line, the environment and the settings
/// file, does what they ask for, and returns the exit code.
///
/// The closure builds the graph. It runs once to check the graph and once per worker, so it must
/// build the same graph each time. For defaults of the pipeline's own, see [`Pipeline`].
pub fn run(
    name: &'static str,
    about: &'static str,
    build: impl Fn(&mut Flow<'_>, &Settings) -> BuildResult + Send + Sync + 'static,
) -> ExitCode {
    Pipeline::new(name).about(about).run(build)
}

/// A pipeline's name and defaults, for its command line.
///
/// ```no_run
/// use std::process::ExitCode;
/// use thalweg::prelude::*;
///
/// fn build(flow: &mut Flow<'_>, settings: &Settings) -> BuildResult {
///     Ok(())
/// }
///
/// fn main() -> ExitCode {
///     Pipeline::new("flights")
///         .about("Predicts which flights will arrive late.")
///         .version(env!("CARGO_PKG_VERSION"))
///         .data("data/flights")
///         .model("models/flights")
///         .order(Order::EventTime)
///         .run(build)
/// }
/// ```
#[derive(Clone)]
pub struct Pipeline {
    name: &'static str,
    about: &'static str,
    version: Option<&'static str>,
    data: Option<&'static str>,
    model: Option<&'static str>,
    order: Option<Order>,
    log: Option<&'static str>,
    commands: Vec<OwnCommand>,
}

impl Pipeline {
    /// A pipeline of this name, which is also that of its program and of its folders.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            about: "",
            version: None,
            data: None,
            model: None,
            order: None,
            log: None,
            commands: Vec::new(),
        }
    }

    /// What the pipeline does, in a sentence, for its help.
    pub fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    /// The version that `--version` prints.
    pub fn version(self, version: &'static str) -> Self {
        Self {
            version: Some(version),
            ..self
        }
    }

    /// The folder that data is read from unless another is named; it must be there.
    pub fn data(self, folder: &'static str) -> Self {
        Self {
            data: Some(folder),
            ..self
        }
    }

    /// The folder of the model unless another is named; it must be there but for a backfill.
    pub fn model(self, folder: &'static str) -> Self {
        Self {
            model: Some(folder),
            ..self
        }
    }

    /// The order in which keyed steps process their records unless another is named.
    pub fn order(self, order: Order) -> Self {
        Self {
            order: Some(order),
            ..self
        }
    }

    /// Reads and writes topics ([`Settings::topic_source`], [`Settings::topic_sink`]): in the embedded
    /// log of this folder unless the settings say otherwise. Gives the program the options of topics.
    pub fn topics(self, log: &'static str) -> Self {
        Self {
            log: Some(log),
            ..self
        }
    }

    /// Gives the program a command of its own, beside those that every pipeline has, with options
    /// `A`. Its errors are printed, and end the program with exit code 1.
    pub fn command<A: clap::Args + 'static>(
        mut self,
        name: &'static str,
        about: &'static str,
        run: impl Fn(A, &Settings) -> Result<(), Box<dyn Error>> + Send + Sync + 'static,
    ) -> Self {
        self.commands.push(OwnCommand::new(name, about, run));
        self
    }

    /// Runs the pipeline as a whole program, as [`run`] does.
    pub fn run(
        self,
        build: impl Fn(&mut Flow<'_>, &Settings) -> BuildResult + Send + Sync + 'static,
    ) -> ExitCode {
        let environment = |name: &str| std::env::var_os(name);
        let misspelt = misspelt(std::env::vars_os().map(|(name, _)| name));
        let arguments = std::env::args_os();
        ExitCode::from(self.run_with(arguments, &environment, misspelt, Box::new(build)))
    }

    /// The pipeline's settings before anybody has said anything else.
    pub fn settings(&self, is_backfill: bool) -> Settings {
        let new = if is_backfill {
            Settings::for_backfill
        } else {
            Settings::new
        };
        let mut settings = new(self.name);
        if let Some(data) = self.data {
            settings = settings.with_data(data);
        }
        if let Some(model) = self.model {
            settings = settings.with_model(model);
        }
        if let Some(order) = self.order {
            settings = settings.with_order(order);
        }
        if let Some(log) = self.log {
            settings = settings.with_log(log);
        }
        settings
    }

    /// Does what the arguments ask for, unless variables are misspelt, and returns the exit code.
    fn run_with(
        &self,
        arguments: impl IntoIterator<Item = OsString>,
        environment: &dyn Fn(&str) -> Option<OsString>,
        misspelt: Vec<String>,
        build: Build,
    ) -> u8 {
        let arguments: Vec<_> = arguments.into_iter().collect();
        let cli = match Cli::parse_from(self, arguments.clone()) {
            Ok(cli) => cli,
            Err(error) => {
                // Help and version come this way too; nobody may be left to read any of them.
                let _ = error.print();
                let outcome = if error.use_stderr() {
                    Outcome::Refused
                } else {
                    Outcome::Done
                };
                return outcome.code();
            }
        };
        let resolved = cli.resolve(self, environment);
        let request = match resolved {
            Ok(request) if misspelt.is_empty() => request,
            resolved => {
                let errors = misspelt
                    .into_iter()
                    .chain(resolved.err().into_iter().flatten());
                let errors: Vec<_> = errors.collect();
                print_errors(errors.iter().map(String::as_str));
                return Outcome::Refused.code();
            }
        };
        let outcome = match request.task {
            Task::Run => match request.layer.deployment.restarts() {
                Some(restarts) if !supervise::is_supervised() => {
                    job::start_logging(&request.layer);
                    return supervise::run(arguments.get(1..).unwrap_or_default(), restarts);
                }
                _ => job::run(&request.settings, &request.layer, build),
            },
            Task::Graph(format) => job::graph(&request.settings, format, build),
            Task::Check => job::check(&request.settings, build),
            Task::Own(own) => own.run(&request.settings),
            Task::Checkpoint(task, is_json) => checkpoint(&request.settings, &task, is_json),
        };
        outcome.code()
    }

    /// Whether it reads or writes topics.
    pub(crate) fn has_topics(&self) -> bool {
        self.log.is_some()
    }

    pub(crate) fn commands(&self) -> &[OwnCommand] {
        &self.commands
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn about_text(&self) -> &'static str {
        self.about
    }

    pub(crate) fn version_text(&self) -> Option<&'static str> {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use thalweg_engine::telemetry::StepKind;
    use thalweg_engine::testing::Events;
    use thalweg_engine::time::{EventTime, secs};

    use super::*;

    fn check(arguments: &[&str], build: Build, expected: Outcome) {
        let arguments = ["doubling"].iter().chain(arguments).map(OsString::from);
        let code = Pipeline::new("doubling").run_with(arguments, &|_| None, Vec::new(), build);
        assert_eq!(code, expected.code());
    }

    fn good() -> Build {
        Box::new(|flow, _| {
            flow.source("numbers", Events::new([1_i64, 2]))
                .event_time(|n| EventTime::from_seconds(*n), secs(5))
                .map("double", |n| n * 2);
            Ok(())
        })
    }

    #[derive(clap::Args)]
    struct Twice {
        #[arg(long)]
        text: String,
    }

    #[test]
    fn a_command_of_its_own_gets_its_options_and_the_settings() {
        let run = |twice: Twice, settings: &Settings| {
            let text = format!("{0}{0} {1}", twice.text, settings.log().display());
            if text == "abab l" {
                Ok(())
            } else {
                Err(text.into())
            }
        };
        let pipeline =
            Pipeline::new("doubling")
                .topics("log")
                .command("twice", "Says it twice", run);
        for (arguments, expected) in [
            (&["twice", "--text", "ab", "--log", "l"][..], Outcome::Done),
            (&["twice", "--text", "cd", "--log", "l"], Outcome::Failed),
            (&["twice", "--text", "ab"], Outcome::Failed),
            (&["twice", "--txt", "ab"], Outcome::Refused),
            (
                &["twice", "--text", "ab", "--sink", "fax"],
                Outcome::Refused,
            ),
            (&["twice", "--help"], Outcome::Done),
        ] {
            let arguments = ["doubling"].iter().chain(arguments).map(OsString::from);
            let code = pipeline.run_with(arguments, &|_| None, Vec::new(), good());
            assert_eq!(code, expected.code());
        }
    }

    #[test]
    fn the_outcome_becomes_the_exit_code() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let out = folder.path().to_str().expect("a path in UTF-8");
        check(&["check", "--out", out], good(), Outcome::Done);
        check(&["--help"], good(), Outcome::Done);
        check(&["--nonsense"], good(), Outcome::Refused);
        check(&["check", "--workers", "0"], good(), Outcome::Refused);
        check(&["graph", "--data", "no/such"], good(), Outcome::Refused);
        check(&["check", "--log", "no/topics"], good(), Outcome::Refused);
        let list = ["checkpoint", "list", "--checkpoint"];
        check(&[&list[..], &[out]].concat(), good(), Outcome::Done);
        check(
            &[&list[..], &["ftp://x"]].concat(),
            good(),
            Outcome::Refused,
        );
        check(&list[..2], good(), Outcome::Refused);
        check(&["checkpoint"], good(), Outcome::Refused);
        let missing = ["checkpoint", "inspect", "7", "--checkpoint", out];
        check(&missing, good(), Outcome::Failed);
        let broken: Build = Box::new(|_, _| Err("the model cannot be read".into()));
        check(&["check", "--out", out], broken, Outcome::Refused);
        let panics: Build = Box::new(|_, _| panic!("no such model"));
        check(&["check", "--out", out], panics, Outcome::Refused);
        let breaks: Build = Box::new(|flow, _| {
            let numbers = flow
                .source("numbers", Events::new([1_i64, 2]))
                .event_time(|n| EventTime::from_seconds(*n), secs(5));
            numbers.try_map_batch::<i64>("batch", StepKind::Transform, "batch", |_| panic!("odd"));
            Ok(())
        });
        check(&["--quiet", "--out", out], breaks, Outcome::Failed);
    }
}
