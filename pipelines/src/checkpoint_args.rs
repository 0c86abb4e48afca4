//! The command line of `checkpoint`, and the options of runs that take checkpoints.

use std::ffi::{OsStr, OsString};

use clap::{Args, Subcommand};

/// The options of runs.
#[derive(Debug, Default, Args)]
pub(crate) struct CheckpointingArgs {
    /// Take checkpoints, and go on from the newest: a folder, or a URL such as s3://bucket/prefix
    #[arg(long, value_name = "PLACE")]
    checkpoint: Option<OsString>,
    /// The length of an epoch, such as 500ms or 2s [default: 1s]
    #[arg(long, value_name = "TIME")]
    checkpoint_interval: Option<OsString>,
    /// How many checkpoints to keep [default: 10]
    #[arg(long, value_name = "N")]
    checkpoint_retain: Option<OsString>,
    /// Go on from an older epoch, from a savepoint, or from another place of checkpoints, instead of
    /// the newest epoch; with --supervise not again, once a checkpoint has been taken
    #[arg(long, value_name = "EPOCH|NAME|PLACE")]
    from: Option<OsString>,
    /// Leave the state of steps behind that the pipeline no longer has
    #[arg(long, value_name = "SWITCH", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    allow_dropped_state: Option<OsString>,
    /// When outputs are seen, with checkpoints: exactly_once (when their epoch is sealed) or immediate
    /// (at once, some of them again after a restart); for one sink by its step id, as in
    /// immediate,predictions=exactly_once [default: exactly once where a sink can]
    #[arg(long, value_name = "DELIVERY")]
    delivery: Option<OsString>,
}

impl CheckpointingArgs {
    /// Those that name a place, or none, and nothing else.
    pub(crate) fn at(checkpoint: Option<OsString>) -> Self {
        Self {
            checkpoint,
            ..Self::default()
        }
    }

    /// What is given, by key.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        let given = [
            ("checkpoint", &self.checkpoint),
            ("checkpoint-interval", &self.checkpoint_interval),
            ("checkpoint-retain", &self.checkpoint_retain),
            ("from", &self.from),
            ("allow-dropped-state", &self.allow_dropped_state),
            ("delivery", &self.delivery),
        ];
        let given = given.into_iter();
        given.filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }
}

/// The options of `checkpoint`.
#[derive(Debug, Args)]
pub(crate) struct CheckpointArgs {
    #[command(subcommand)]
    pub(crate) task: CheckpointTask,
    /// Where the checkpoints are: a folder, or a URL such as s3://bucket/prefix
    #[arg(long, value_name = "PLACE", global = true)]
    pub(crate) checkpoint: Option<OsString>,
    /// TOML file with these options under [run]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) settings: Option<OsString>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// The commands of `checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum CheckpointTask {
    /// List the checkpoints that are kept, and the savepoints
    List,
    /// Show what a checkpoint consists of
    Inspect {
        /// An epoch, `newest`, or the name of a savepoint
        #[arg(value_name = "EPOCH", default_value = NEWEST)]
        which: String,
    },
    /// Read every file that is kept, and say what is wrong
    Verify,
    /// Copy a checkpoint to another place, from which a run can start
    Export {
        /// An epoch, `newest`, or the name of a savepoint
        #[arg(value_name = "EPOCH")]
        which: String,
        /// A folder, or a URL such as s3://bucket/prefix
        #[arg(value_name = "PLACE")]
        to: String,
    },
    /// Keep a checkpoint under a name until it is deleted
    Savepoint {
        /// Its name
        name: String,
        /// An epoch, or `newest`
        #[arg(value_name = "EPOCH", default_value = NEWEST)]
        which: String,
        /// Delete the savepoint of this name instead
        #[arg(long, conflicts_with = "which")]
        delete: bool,
    },
}

/// The word for the newest checkpoint.
pub(crate) const NEWEST: &str = "newest";
