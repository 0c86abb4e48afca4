//! The features that are measured.

use std::time::Duration;

use thalweg::prelude::*;
use thalweg_operators::features::FeaturePlan;

/// What an event carries: a value and an id.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    pub(crate) value: f64,
    pub(crate) id: u32,
}

impl Event {
    /// The nth event of a stream in which nothing repeats soon.
    pub(crate) fn nth(n: u64) -> Self {
        let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            value: (mixed >> 40) as f64 / 1_000.0,
            id: (mixed >> 50) as u32,
        }
    }
}

/// Aggregates over each window.
pub(crate) const AGGREGATES: usize = 8;

/// The last of the aggregates over each window.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Last {
    /// The share of great values.
    Share,
    /// The exact number of different ids, for which the log holds an id per event.
    Distinct,
}

impl Last {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Share => "--memory-of-share",
            Self::Distinct => "--memory-of-distinct",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        let all = [Self::Share, Self::Distinct];
        all.into_iter().find(|last| last.name() == name)
    }
}

/// Count, sum, mean, standard deviation, least, greatest, a conditional count and one more over each
/// window.
pub(crate) fn plan(windows: impl Iterator<Item = Duration>, last: Last) -> FeaturePlan<Event> {
    let mut f = Features::new();
    let value = f.column(|event: &Event| event.value);
    for (number, window) in windows.enumerate() {
        let name = |what: &str| format!("{what}_{number}");
        let over = f
            .over(window)
            .count(&name("count"))
            .sum(&name("sum"), value)
            .mean(&name("mean"), value)
            .std(&name("std"), value)
            .min(&name("min"), value)
            .max(&name("max"), value)
            .count_if(&name("great"), |event| event.value > 10_000.0);
        match last {
            Last::Share => over.share(&name("share"), |event| event.value > 10_000.0),
            Last::Distinct => over.distinct(&name("ids"), |event| event.id),
        };
    }
    f.build().unwrap()
}
