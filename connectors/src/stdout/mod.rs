//! Standard output as a sink: one JSON value a line, for pipes and for looking at.

mod sink;
mod writer;

pub use sink::StdoutSink;
