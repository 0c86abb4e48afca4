//! The configuration of standard output as a sink.

use serde::Serialize;
use thalweg_engine::sink::{Sink, SinkError, Writer};

use super::writer::LinesWriter;

/// Writes records to standard output as JSON, one a line. JSON has no NaN and no infinities: they
/// become `null`.
///
/// When the reader of a pipe goes away, the run ends with an error.
///
/// ```
/// use thalweg_connectors::stdout::StdoutSink;
/// use thalweg_engine::record::{Origin, Record};
/// use thalweg_engine::sink::{Refused, Sink};
/// use thalweg_engine::time::EventTime;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let time = EventTime::from_seconds(0);
/// let record = Record { time, origin: Origin::default(), ingested_ns: 0, value: "to be seen" };
/// let mut writer = StdoutSink.open()?;
/// writer.write(&[record], &mut Refused::default())?;
/// writer.flush()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StdoutSink;

impl<T: Serialize> Sink<T> for StdoutSink {
    fn describe(&self) -> String {
        "standard output".to_owned()
    }

    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&self) -> Result<Box<dyn Writer<T>>, SinkError> {
        Ok(Box::new(LinesWriter::new(std::io::stdout())))
    }
}
