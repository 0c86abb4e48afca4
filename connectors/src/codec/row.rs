//! Rows whose columns are known only when the job is built.

use std::fmt::{Display, Write};

use csv::ByteRecord;

/// Takes in the cells of one CSV row, from left to right.
///
/// Made by the sink, and handed to the closure that lays out the rows.
///
/// ```
/// use thalweg_connectors::codec::RowWriter;
///
/// let mut row = RowWriter::default();
/// row.text("EWR").integer(-3).number(0.1).number(f64::NAN);
/// assert_eq!(row.cells().collect::<Vec<_>>(), ["EWR", "-3", "0.1", ""]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct RowWriter {
    record: ByteRecord,
    cell: String,
}

impl RowWriter {
    /// Adds a text. It is quoted where it has to be.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.record.push_field(text.as_bytes());
        self
    }

    /// Adds a whole number.
    pub fn integer(&mut self, number: i64) -> &mut Self {
        self.display(number)
    }

    /// Adds a number with as few digits as it takes to read the same number back; NaN becomes an
    /// empty cell, the infinities `inf` and `-inf`. Very large and very small numbers get an
    /// exponent.
    pub fn number(&mut self, number: f64) -> &mut Self {
        if number.is_nan() {
            self.empty()
        } else if number == 0.0 || (1e-5..1e16).contains(&number.abs()) {
            self.display(number)
        } else {
            self.display(format_args!("{number:e}"))
        }
    }

    /// Adds an empty cell.
    pub fn empty(&mut self) -> &mut Self {
        self.record.push_field(b"");
        self
    }

    /// The cells so far, unquoted.
    pub fn cells(&self) -> impl Iterator<Item = &str> {
        self.record.iter().map(|cell| {
            std::str::from_utf8(cell).expect("invariant: cells are made of texts and numbers")
        })
    }

    fn display(&mut self, value: impl Display) -> &mut Self {
        self.cell.clear();
        write!(self.cell, "{value}").expect("invariant: writing to a string does not fail");
        self.record.push_field(self.cell.as_bytes());
        self
    }

    /// Starts a new row.
    #[cfg(feature = "file")]
    pub(crate) fn clear(&mut self) {
        self.record.clear();
    }

    /// The row as the CSV writer takes it.
    #[cfg(feature = "file")]
    pub(crate) fn record(&self) -> &ByteRecord {
        &self.record
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(number: f64, expected: &str) {
        assert_eq!(
            RowWriter::default()
                .number(number)
                .cells()
                .collect::<Vec<_>>(),
            [expected]
        );
    }

    #[test]
    fn numbers_are_short() {
        check(1.0, "1");
        check(-0.0, "-0");
        check(0.1 + 0.2, "0.30000000000000004");
        check(1e300, "1e300");
        check(-2.5e-9, "-2.5e-9");
        check(f64::NAN, "");
        check(f64::NEG_INFINITY, "-inf");
    }

    proptest! {
        #[test]
        fn numbers_read_back_the_same(bits: u64) {
            let number = f64::from_bits(bits);
            let mut row = RowWriter::default();
            row.number(number);
            let text = row.cells().next().unwrap();
            if number.is_nan() {
                prop_assert_eq!(text, "");
            } else {
                prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
            }
        }
    }
}
