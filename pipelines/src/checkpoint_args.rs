//! The command line of `checkpoint`.

use std::ffi::OsString;

use clap::{Args, Subcommand};

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
