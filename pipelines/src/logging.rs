//! Structured logs on standard error, written around the progress bar.

use std::io::{self, Write};

use indicatif::ProgressBar;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Sends the program's logs to standard error, without colours.
///
/// A subscriber that is there already stays: the program around this library has chosen it.
pub(crate) fn start(level: LevelFilter, bar: ProgressBar) {
    let logs = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false);
    let _ = logs.with_writer(AroundBar(bar)).try_init();
}

/// Writes to standard error while the bar is out of the way.
struct AroundBar(ProgressBar);

impl<'a> MakeWriter<'a> for AroundBar {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &AroundBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
