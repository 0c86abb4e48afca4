//! What a run begins with, as one process decides it for all.

use serde::{Deserialize, Serialize};

use super::Checkpointing;
use super::comparison::Comparison;
use super::restored::lineage;
use super::sealer::START;
use crate::checkpoint::{
    CheckpointError, Checkpoints, Epoch, Generation, GenerationId, Manifest, StartFrom,
};
use crate::cluster::opening::FormError;
use crate::flow::Graph;

/// Which generation this is, and what it goes on from.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Decision {
    pub(crate) generation: GenerationId,
    /// The epoch that the graph calls 0.
    pub(super) first: Epoch,
    pub(super) lineage: u64,
    pub(super) restored: Option<Manifest>,
}

impl Decision {
    /// Begins a generation, which fences all earlier ones off, if the graph can go on from what there
    /// is. Where the store has no room for it, `wait` is asked to wait a while, with the reason; false
    /// when the job has been asked to stop meanwhile.
    pub(crate) fn make(
        config: &Checkpointing,
        graph: &Graph,
        wait: &mut dyn FnMut(&CheckpointError) -> bool,
    ) -> Result<(Generation, Self), FormError> {
        let checkpoints = Checkpoints::open(&config.options, &config.pipeline);
        let checkpoints = checkpoints.map_err(cannot_begin)?;
        let newest = checkpoints.newest().map_err(cannot_begin)?;
        if config.has_sealed && newest.is_none() {
            return Err(FormError::Refused(format!(
                "epochs have been sealed since this job was started, but there are no checkpoints in `{}` \
                 any more: see that it is the right place, mounted and whole",
                checkpoints.describe()
            )));
        }
        let from = match newest.and_then(|newest| newest.notes.get(START)?.as_u64()) {
            Some(token) if config.start_token == Some(token) => &StartFrom::Newest,
            _ => &config.from,
        };
        let candidate = checkpoints.candidate(from).map_err(cannot_begin)?;
        let errors = candidate.map_or_else(Vec::new, |manifest| {
            Comparison::of(&manifest, graph).errors(config.allow_dropped_state)
        });
        if !errors.is_empty() {
            return Err(FormError::Refused(errors.join("\n")));
        }
        let generation = loop {
            match checkpoints.begin(from) {
                Err(error) if error.is_full() => {
                    if !wait(&error) {
                        return Err(FormError::Stopped);
                    }
                }
                begun => break begun.map_err(cannot_begin)?,
            }
        };
        // Elsewhere, epochs have other numbers.
        let is_elsewhere = matches!(from, StartFrom::Elsewhere(_));
        let continued = generation.restored().filter(|_| !is_elsewhere);
        let decision = Self {
            generation: generation.id(),
            first: generation.next_epoch(),
            lineage: continued.and_then(lineage).unwrap_or(generation.id().token),
            restored: generation.restored().cloned(),
        };
        Ok((generation, decision))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("invariant: a decision is JSON")
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, FormError> {
        serde_json::from_slice(bytes).map_err(|error| {
            FormError::Refused(format!(
                "what process 0 has decided cannot be read: {error}; start all processes from \
                 the same program"
            ))
        })
    }
}

/// Why a run does not begin.
pub(crate) fn cannot_begin(error: CheckpointError) -> FormError {
    let reason = error.to_string();
    match error {
        CheckpointError::Superseded { .. } => FormError::Superseded(reason),
        error if error.is_transient() => FormError::Away(reason),
        _ => FormError::Refused(reason),
    }
}
