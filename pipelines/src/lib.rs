//! Thalweg: a streaming dataflow engine for online machine learning.
//!
//! A pipeline is a closure that builds a [`Flow`](engine::flow::Flow) of typed streams. [`run`] and
//! [`Pipeline`] turn it into a whole program: command line, settings, progress, summary, exit codes.
//!
//! ```no_run
//! use std::process::ExitCode;
//! use thalweg::engine::testing::Events;
//! use thalweg::prelude::*;
//!
//! fn main() -> ExitCode {
//!     thalweg::run("doubling", "Doubles numbers.", |flow, settings| {
//!         flow.source("numbers", Events::new([1_i64, 2, 3]))
//!             .event_time(|n| EventTime::from_seconds(*n), secs(5))
//!             .map("double", |n| n * 2)
//!             .sink("doubled", FileSink::json_lines(settings.out_file("doubled.jsonl")));
//!         Ok(())
//!     })
//! }
//! ```
//!
//! This crate brings the others with it, as [`engine`], [`operators`] and [`connectors`]: a
//! pipeline's own crate needs nothing else of Thalweg.
#![deny(missing_docs)]

mod admin;
mod checkpoint;
mod checkpoint_args;
mod checkpoint_settings;
mod checkpoint_text;
mod cli;
mod deployment;
mod format;
mod help;
mod job;
mod layer;
mod logging;
mod outcome;
mod own_command;
mod pipeline;
pub mod prelude;
mod progress;
mod report;
mod settings;
mod settings_file;
mod signals;
mod summary;
mod supervise;
mod topic_args;
mod topic_sink;
mod topic_source;
mod topic_words;
mod topics;
mod value;

pub use pipeline::{Pipeline, run};
pub use settings::Settings;
pub use summary::{ModelName, Stage, Summary};
pub use thalweg_connectors as connectors;
pub use thalweg_engine as engine;
pub use thalweg_engine::BuildResult;
pub use thalweg_operators as operators;
pub use topic_sink::TopicSink;
pub use topic_source::TopicSource;
