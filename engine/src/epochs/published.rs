//! Whether a sink has published more than the checkpoints know of: then they are not those that it was
//! published from, or not all of them.

use super::Checkpointing;
use super::restored::lineage;
use crate::checkpoint::{Checkpoints, Epoch, StartFrom};
use crate::sink::{Sink, SinkError};

impl Checkpointing {
    /// Refuses a start that would publish anew what has been published already: its checkpoints are
    /// missing, perhaps as the volume that they are on is not mounted.
    pub(crate) fn check_published<T: 'static>(
        &self,
        sink: &str,
        config: &dyn Sink<T>,
    ) -> Result<(), SinkError> {
        // What comes from elsewhere is published in a row of its own.
        if !matches!(self.from, StartFrom::Newest | StartFrom::Epoch(_)) {
            return Ok(());
        }
        let Ok(checkpoints) = Checkpoints::open(&self.options, &self.pipeline) else {
            // The start will say what is wrong.
            return Ok(());
        };
        let Ok(known) = checkpoints.newest() else {
            return Ok(());
        };
        let lineage = known.as_ref().and_then(lineage);
        let published = config.published(&slot(&self.pipeline, sink, lineage))?;
        let Some(published) = published.filter(|published| published.0 > 0) else {
            return Ok(());
        };
        // What runs still may have sealed another one meanwhile.
        let Ok(newest) = checkpoints.newest() else {
            return Ok(());
        };
        let newest = newest.map(|newest| newest.epoch);
        if newest >= Some(published) {
            return Ok(());
        }
        let there_is = match newest {
            Some(Epoch(newest)) => format!("the newest checkpoint is epoch {newest}"),
            None => "there are no checkpoints".to_owned(),
        };
        Err(SinkError::Open {
            what: config.describe(),
            reason: format!(
                "it has been published up to epoch {published}, but {there_is} in `{}`",
                checkpoints.describe()
            ),
            remedy:
                "see that it is the right place, mounted and whole; or, to begin anew, take away \
                     what has been published: the topic, or the files with the note beside them"
                    .to_owned(),
        })
    }
}

/// Under which name a sink notes outside how far it has published, or what the names of all rows of
/// checkpoints begin with.
pub(super) fn slot(pipeline: &str, sink: &str, lineage: Option<u64>) -> String {
    let lineage = lineage.map_or_else(String::new, |lineage| format!("{lineage:016x}"));
    format!("{pipeline}/{sink}/{lineage}")
}
