//! Ctrl-C and its like: the first asks the job to stop, the second ends the program.

use std::sync::atomic::{AtomicBool, Ordering};

use thalweg_engine::job::StopHandle;
use tracing::warn;

use crate::outcome::INTERRUPTED;

/// Listens to SIGINT, SIGTERM and SIGHUP from now on.
pub(crate) fn listen(stop: StopHandle) {
    // The job may have been asked to stop by another process of its cluster.
    let is_asked = AtomicBool::new(false);
    let listening = ctrlc::set_handler(move || {
        if is_asked.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        stop.stop();
        warn!("stopping: what has been read is finished; interrupt again to abort");
    });
    if let Err(error) = listening {
        warn!(%error, "cannot listen to signals: an interrupt will end the run at once");
    }
}
