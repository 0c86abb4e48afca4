//! Ctrl-C and its like: the first asks the job to stop, the second ends the program.

use thalweg_engine::job::StopHandle;
use tracing::warn;

use crate::outcome::INTERRUPTED;

/// Listens to SIGINT, SIGTERM and SIGHUP from now on.
pub(crate) fn listen(stop: StopHandle) {
    let listening = ctrlc::set_handler(move || {
        if stop.is_stopped() {
            std::process::exit(INTERRUPTED);
        }
        stop.stop();
        warn!("stopping: what has been read is finished; interrupt again to abort");
    });
    if let Err(error) = listening {
        warn!(%error, "cannot listen to signals: an interrupt will end the run at once");
    }
}
