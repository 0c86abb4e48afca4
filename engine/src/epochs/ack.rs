//! What sources, steps and sinks say about an epoch that is over for them.

use serde::{Deserialize, Serialize};

use crate::checkpoint::{PartRef, SourcePartition};
use crate::watermark::WatermarkMerge;

/// On its way to the committer, at a tick of the epoch that it is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ack {
    /// Something has happened in the epoch.
    Begun,
    /// How far a source has been read, in the partitions of one worker.
    Source {
        step: String,
        number: u16,
        kind: String,
        partitions: Vec<SourcePartition>,
    },
    /// What of a step's state is durable now, on one worker.
    Step {
        step: String,
        kind: String,
        worker: usize,
        parts: Vec<PartRef>,
        watermarks: WatermarkMerge,
        /// How far a sink has published, in its own words.
        published: Option<String>,
    },
    /// What a sink has to publish.
    Outbox { sink: String, parts: Vec<PartRef> },
}
