//! Per-event features of a keyed stream: declared with [`Features`], compiled to a [`FeaturePlan`],
//! remembered per key in [`KeyFeatures`].
//!
//! This module is the user's side: names, closures, mistakes. The closures' values go to
//! [`crate::window`] as numbers; what each aggregate means stands in [`crate::aggregate`].

mod builder;
mod corrections;
#[cfg(test)]
mod edges;
mod error;
mod extract;
mod input;
mod made;
#[cfg(test)]
mod oracle;
mod over;
mod over_aggregates;
mod plan;
#[cfg(test)]
pub(crate) mod testing;
mod upkeep;

pub use crate::window::KeyFeatures;
pub use builder::Features;
pub use corrections::{CorrectableFeatures, Correction};
pub use error::FeatureError;
pub use extract::Extracted;
pub use input::AggregateInput;
pub use over::WindowFeatures;
pub use plan::FeaturePlan;
pub use upkeep::HotKey;
pub(crate) use upkeep::Outcome;
