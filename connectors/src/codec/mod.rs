//! Codecs: how one line becomes a value, and how a row of cells becomes a line.
//!
//! A codec sees one line at a time, without its line break, so that a malformed line never takes
//! the lines after it with it. Where lines come from and go to is left to the connectors.

mod csv;
mod decode;
mod encode;
mod fields;
mod json;
mod row;

pub use csv::CsvDecoder;
pub use decode::Decode;
pub(crate) use decode::{Check, checked, undecodable};
pub use encode::{Encode, JsonEncoder};
pub use json::JsonDecoder;
pub use row::RowWriter;
