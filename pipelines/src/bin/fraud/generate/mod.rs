//! `fraud generate`: a made-up town of cards and merchants, with three kinds of fraud in it.
//!
//! The same seed gives the same payments and labels. Everybody is made up, and so is how they pay:
//! the stream is there to try the pipeline with, and says nothing of real cards.

mod actors;
mod drift;
mod frauds;
mod town;
mod write;

use std::error::Error;

use clap::Args;
use thalweg::Settings;

pub(crate) use drift::Drift;

/// The options of `fraud generate`.
#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// Payments to write, frauds included; their labels come with them
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) events: u64,
    /// What the stream depends on: the same seed gives the same stream
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// What is to become different in the course of the stream
    #[arg(long, value_name = "KIND", value_enum, value_delimiter = ',')]
    pub(crate) drift: Vec<Drift>,
    /// The share of the stream after which that begins
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    pub(crate) drift_after: f64,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("`{text}` is not a share: give a number from 0 to 1"))
}

/// Writes the stream to the topics `payments` and `labels`.
pub(crate) fn run(generate: Generate, settings: &Settings) -> Result<(), Box<dyn Error>> {
    let mut topics = write::Topics::open(settings)?;
    let mut town = town::Town::new(&generate);
    while let Some(happened) = town.next() {
        topics.write(happened)?;
    }
    topics.finish()?;
    println!("{}", topics.summary());
    Ok(())
}
