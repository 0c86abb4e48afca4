//! How a run takes checkpoints, and what it goes on from, in its settings.

use std::time::Duration;

use thalweg_engine::Checkpointing;
use thalweg_engine::checkpoint::{CheckpointOptions, Epoch, Location, StartFrom};

use crate::checkpoint_args::NEWEST;
use crate::layer::Layer;

/// What is said of checkpoints.
#[derive(Clone, Debug, Default)]
pub(crate) struct CheckpointSettings {
    /// Where they are kept; none are taken unless it is set.
    pub(crate) location: Option<Location>,
    interval: Option<Duration>,
    retain: Option<usize>,
    from: Option<String>,
    allow_dropped_state: bool,
}

impl CheckpointSettings {
    /// These settings, where a layer says nothing else.
    pub(crate) fn under(self, layer: &Layer) -> Self {
        // A text that is no location has been reported where it was read.
        let location = layer.checkpoint.as_ref().and_then(|text| text.parse().ok());
        Self {
            location: location.or(self.location),
            interval: layer.checkpoint_interval,
            retain: layer.checkpoint_retain,
            from: layer.from.clone(),
            allow_dropped_state: layer.allow_dropped_state.unwrap_or(false),
        }
    }

    /// How a run of this pipeline takes checkpoints.
    pub(crate) fn checkpointing(&self, pipeline: &str) -> Option<Checkpointing> {
        let mut options = CheckpointOptions::new(self.location.clone()?);
        options.interval = self.interval.unwrap_or(options.interval);
        options.retain = self.retain.unwrap_or(options.retain);
        let mut checkpointing = Checkpointing::new(pipeline, options);
        checkpointing.allow_dropped_state = self.allow_dropped_state;
        checkpointing.from = self.from.as_deref().map_or(StartFrom::Newest, start_from);
        Some(checkpointing)
    }
}

/// What to go on from: a number is an epoch's, what has slashes is a place, and else it is a savepoint.
fn start_from(text: &str) -> StartFrom {
    if text == NEWEST {
        StartFrom::Newest
    } else if let Ok(epoch) = text.parse() {
        StartFrom::Epoch(Epoch(epoch))
    } else if let (true, Ok(place)) = (text.contains('/'), text.parse()) {
        StartFrom::Elsewhere(place)
    } else {
        StartFrom::Savepoint(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_an_epoch_a_savepoint_or_a_place() {
        assert!(matches!(start_from("newest"), StartFrom::Newest));
        assert!(matches!(start_from("7"), StartFrom::Epoch(Epoch(7))));
        assert!(matches!(start_from("friday"), StartFrom::Savepoint(name) if name == "friday"));
        for place in ["./copy", "/var/copy", "file:///var/copy"] {
            assert!(
                matches!(start_from(place), StartFrom::Elsewhere(_)),
                "{place}"
            );
        }
    }
}
