//! Commands that only one pipeline has.

use std::error::Error;
use std::ffi::OsString;
use std::sync::Arc;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::cli::{BuildArgs, OutArgs};
use crate::outcome::{Outcome, print_errors, with_causes};
use crate::settings::Settings;

type Run = dyn Fn(&ArgMatches, &Settings) -> Result<(), Box<dyn Error>> + Send + Sync;

/// A command with its options, and what it does.
#[derive(Clone)]
pub(crate) struct OwnCommand {
    pub(crate) name: &'static str,
    about: &'static str,
    augment: fn(Command) -> Command,
    run: Arc<Run>,
}

impl OwnCommand {
    pub(crate) fn new<A: Args + 'static>(
        name: &'static str,
        about: &'static str,
        run: impl Fn(A, &Settings) -> Result<(), Box<dyn Error>> + Send + Sync + 'static,
    ) -> Self {
        let run = move |matches: &ArgMatches, settings: &Settings| {
            run(A::from_arg_matches(matches)?, settings)
        };
        Self {
            name,
            about,
            augment: A::augment_args,
            run: Arc::new(run),
        }
    }

    /// The command for the command line: its own options, and those of topics and of output.
    pub(crate) fn command(&self) -> Command {
        let command = (self.augment)(Command::new(self.name));
        BuildArgs::augment_args(OutArgs::augment_args(command))
            // Options bring descriptions of their own with them.
            .about(self.about)
            .long_about(None)
            .mut_arg("data", |arg| arg.hide(true))
            .mut_arg("model", |arg| arg.hide(true))
    }
}

/// A command of the pipeline's own with the options it was given.
#[derive(Clone)]
pub(crate) struct OwnTask {
    command: OwnCommand,
    matches: ArgMatches,
}

impl OwnTask {
    pub(crate) fn new(command: OwnCommand, matches: ArgMatches) -> Self {
        Self { command, matches }
    }

    /// The folder to write to, and the options of everything that builds the pipeline.
    pub(crate) fn arguments(&self) -> (Option<OsString>, BuildArgs) {
        let out = OutArgs::from_arg_matches(&self.matches).map(|args| args.out);
        let build = BuildArgs::from_arg_matches(&self.matches);
        let known = "invariant: the command has these options";
        (out.expect(known), build.expect(known))
    }

    pub(crate) fn run(&self, settings: &Settings) -> Outcome {
        match (self.command.run)(&self.matches, settings) {
            Ok(()) => Outcome::Done,
            Err(error) => {
                print_errors([with_causes(&*error).as_str()]);
                Outcome::Failed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Args)]
    struct Nothing {}

    #[test]
    fn the_help_says_what_the_command_does() {
        let own = OwnCommand::new("wait", "Wait a little", |_: Nothing, _| Ok(()));
        let help = own.command().render_long_help().to_string();
        assert!(help.starts_with("Wait a little\n"), "{help}");
        assert!(
            help.contains("--log") && !help.contains("--model"),
            "{help}"
        );
    }
}
