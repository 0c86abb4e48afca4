//! Writes lines of JSON.

use std::io::Write;

use serde::Serialize;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{Refused, SinkError, Writer};

/// Bytes gathered before they are handed on.
const GATHERED_BYTES: usize = 64 * 1024;

pub(crate) struct LinesWriter<W> {
    output: W,
    gathered: Vec<u8>,
}

impl<W: Write> LinesWriter<W> {
    pub(crate) fn new(output: W) -> Self {
        Self {
            output,
            gathered: Vec::new(),
        }
    }

    fn write_out(&mut self) -> std::io::Result<()> {
        let written = self.output.write_all(&self.gathered);
        self.gathered.clear();
        written
    }
}

impl<T: Serialize, W: Write + Send> Writer<T> for LinesWriter<W> {
    fn write(&mut self, records: &[Record<T>], refused: &mut Refused) -> Result<(), SinkError> {
        for (index, record) in records.iter().enumerate() {
            let before = self.gathered.len();
            if let Err(error) = serde_json::to_writer(&mut self.gathered, &record.value) {
                self.gathered.truncate(before);
                refused.add(index, error.to_string());
                continue;
            }
            self.gathered.push(b'\n');
            if self.gathered.len() >= GATHERED_BYTES {
                self.write_out().map_err(broken)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.write_out()
            .and_then(|()| self.output.flush())
            .map_err(broken)
    }
}

fn broken(reason: impl std::fmt::Display) -> SinkError {
    SinkError::Write {
        what: "standard output".to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use thalweg_engine::record::Origin;
    use thalweg_engine::time::EventTime;

    use super::*;

    fn record(value: f64) -> Record<f64> {
        Record {
            time: EventTime::default(),
            origin: Origin::default(),
            ingested_ns: 0,
            value,
        }
    }

    #[test]
    fn a_value_a_line() {
        let mut output = Vec::new();
        let mut writer = LinesWriter::new(&mut output);
        let mut refused = Refused::default();
        let written = writer.write(&[record(1.5), record(f64::NAN)], &mut refused);
        written.unwrap();
        Writer::<f64>::flush(&mut writer).unwrap();
        writer.write(&[record(2.0)], &mut refused).unwrap();
        assert!(refused.is_empty(), "{refused:?}");
        Writer::<f64>::flush(&mut writer).unwrap();
        assert_eq!(output, b"1.5\nnull\n2.0\n");
    }

    #[test]
    fn a_reader_that_has_gone_is_an_error() {
        let mut full = [0_u8; 2];
        let mut writer = LinesWriter::new(&mut full[..]);
        let written = writer.write(&[record(1.5)], &mut Refused::default());
        written.unwrap();
        let error = Writer::<f64>::flush(&mut writer).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot write on to standard output"),
            "{error}"
        );
    }
}
