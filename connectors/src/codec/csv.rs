//! Decodes CSV rows by the names in the header.

use std::borrow::Cow;

use csv::{ByteRecord, DeserializeError, DeserializeErrorKind, ErrorKind};
use serde::de::DeserializeOwned;
use thalweg_engine::source::Undecodable;

use super::decode::{Decode, excerpt, undecodable};
use super::fields::split;

/// Decodes comma-separated rows, each field into the struct field that has its column's name.
///
/// Columns that the struct does not have are passed over; an empty field is `None` where the
/// struct has an `Option`. Fields may be quoted as RFC 4180 has it, but not span several lines.
///
/// ```
/// use serde::Deserialize;
/// use thalweg_connectors::codec::{CsvDecoder, Decode};
///
/// #[derive(Debug, Deserialize, PartialEq)]
/// struct Payment {
///     card: u64,
///     amount: Option<f64>,
/// }
///
/// let mut rows = CsvDecoder::new(b"amount,shop,card").unwrap();
/// assert_eq!(rows.decode(b"9.5,\"Baker, Ltd\",7"), Ok(Payment { card: 7, amount: Some(9.5) }));
/// assert_eq!(rows.decode(b",,8"), Ok(Payment { card: 8, amount: None }));
///
/// let bad = Decode::<Payment>::decode(&mut rows, b"9.5,,seven").unwrap_err();
/// assert_eq!(bad.reason, "column `card`: invalid digit found in string (found `seven`)");
/// ```
#[derive(Clone, Debug)]
pub struct CsvDecoder {
    header: ByteRecord,
    fields: ByteRecord,
    cell: Vec<u8>,
}

impl CsvDecoder {
    /// A decoder of the rows under `header`, a line of column names.
    ///
    /// # Errors
    /// When the header is malformed or not UTF-8.
    pub fn new(header: &[u8]) -> Result<Self, Undecodable> {
        let (mut names, mut cell) = (ByteRecord::new(), Vec::new());
        split(header, &mut names, &mut cell).map_err(|problem| undecodable(problem, header))?;
        if let Err(error) = std::str::from_utf8(header) {
            return Err(undecodable(
                format!("the header is not UTF-8: {error}"),
                header,
            ));
        }
        Ok(Self {
            header: names,
            fields: ByteRecord::new(),
            cell,
        })
    }

    /// The names of the columns, in the header's order.
    pub fn columns(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.header.iter().map(String::from_utf8_lossy)
    }

    /// Why the fields at hand, split from `line`, cannot be a row; nothing when they can.
    fn problem(&self, line: &[u8]) -> Option<String> {
        let (found, expected) = (self.fields.len(), self.header.len());
        if found != expected {
            return Some(format!(
                "the row has {found} fields, the header {expected} columns"
            ));
        }
        let error = std::str::from_utf8(line).err()?;
        let bad = self
            .fields
            .iter()
            .position(|field| std::str::from_utf8(field).is_err());
        Some(format!("{}: {error}", self.column(bad.unwrap_or_default())))
    }

    fn column(&self, index: usize) -> String {
        let name = self.header.get(index).unwrap_or_default();
        format!("column `{}`", excerpt(name))
    }

    fn describe(&self, error: &csv::Error) -> String {
        match error.kind() {
            ErrorKind::Deserialize { err, .. } => self.describe_mismatch(err),
            _ => error.to_string(),
        }
    }

    fn describe_mismatch(&self, error: &DeserializeError) -> String {
        let index = error.field().and_then(|field| usize::try_from(field).ok());
        match (error.kind(), index) {
            // The text is serde's own and names the field, or the value, itself.
            (DeserializeErrorKind::Message(text), None) => text.clone(),
            (kind, Some(index)) => {
                let found = excerpt(self.fields.get(index).unwrap_or_default());
                format!("{}: {kind} (found `{found}`)", self.column(index))
            }
            (kind, None) => kind.to_string(),
        }
    }
}

impl<T: DeserializeOwned> Decode<T> for CsvDecoder {
    fn decode(&mut self, line: &[u8]) -> Result<T, Undecodable> {
        split(line, &mut self.fields, &mut self.cell)
            .map_err(|problem| undecodable(problem, line))?;
        if let Some(problem) = self.problem(line) {
            return Err(undecodable(problem, line));
        }
        self.fields
            .deserialize(Some(&self.header))
            .map_err(|error| undecodable(self.describe(&error), line))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Flight {
        id: u32,
        delay: Option<f64>,
        from: String,
    }

    /// Decodes `line` under `header`, then a good line, which must not suffer from the first.
    fn check(header: &str, line: &[u8], expected: Result<Flight, &str>) {
        let mut rows = CsvDecoder::new(header.as_bytes()).unwrap();
        match (Decode::<Flight>::decode(&mut rows, line), expected) {
            (Err(bad), Err(reason)) => {
                assert_eq!((bad.reason.as_str(), bad.raw.as_slice()), (reason, line));
            }
            (outcome, expected) => {
                assert_eq!(
                    outcome.map_err(|bad| bad.reason),
                    expected.map_err(str::to_owned)
                );
            }
        }
        if header == HEADER {
            assert_eq!(rows.decode(b"3,-2.5,JFK"), Ok(flight(3, Some(-2.5), "JFK")));
        }
    }

    const HEADER: &str = "id,delay,from";

    fn flight(id: u32, delay: Option<f64>, from: &str) -> Flight {
        Flight {
            id,
            delay,
            from: from.to_owned(),
        }
    }

    #[test]
    fn fields_go_by_their_names() {
        check(
            "from,x,delay,id",
            b"EWR,?,1e3,4",
            Ok(flight(4, Some(1000.0), "EWR")),
        );
        check(
            HEADER,
            b"4,,\"a \"\"b\"\", c\"",
            Ok(flight(4, None, "a \"b\", c")),
        );
    }

    #[test]
    fn a_bad_field_is_named() {
        check(
            HEADER,
            b"4,soon,x",
            Err("column `delay`: invalid float literal (found `soon`)"),
        );
        check(
            HEADER,
            b"-4,1,x",
            Err("column `id`: invalid digit found in string (found `-4`)"),
        );
        check("id,delay", b"4,1", Err("missing field `from`"));
        check(
            HEADER,
            b"4,1",
            Err("the row has 2 fields, the header 3 columns"),
        );
        check(
            HEADER,
            b"4,1,x,y",
            Err("the row has 4 fields, the header 3 columns"),
        );
        check(
            HEADER,
            b"4,1,\xff",
            Err("column `from`: invalid utf-8 sequence of 1 bytes from index 4"),
        );
        check(
            HEADER,
            b"4,\"1,x",
            Err("the quoted field 2 is not closed on its line; \
                 fields of several lines are not supported"),
        );
    }

    #[test]
    fn a_bad_header_is_refused() {
        assert!(CsvDecoder::new(b"a,\"b").is_err());
        assert!(CsvDecoder::new(b"a,\xff").is_err());
    }
}
