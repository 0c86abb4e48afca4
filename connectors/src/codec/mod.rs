//! Codecs: how a line, or the payload of a message, becomes a value, and how a value becomes bytes.
//!
//! A codec sees one line or payload at a time, so that a malformed one never takes those after it
//! with it. Where they come from and go to is left to the connectors.

#[cfg(feature = "avro")]
mod avro;
#[cfg(feature = "avro")]
mod avro_shape;
mod bytes;
#[cfg(any(
    feature = "file",
    feature = "kafka",
    feature = "log",
    feature = "parquet",
    feature = "pulsar"
))]
mod check;
#[cfg(feature = "registry")]
mod confluent;
mod csv;
mod decode;
mod encode;
mod fields;
mod json;
mod limits;
#[cfg(feature = "protobuf")]
mod protobuf;
#[cfg(feature = "registry")]
mod registry;
mod row;

#[cfg(feature = "avro")]
pub use avro::{AvroDecoder, AvroEncoder};
pub use bytes::BytesCodec;
#[cfg(any(
    feature = "file",
    feature = "kafka",
    feature = "log",
    feature = "parquet",
    feature = "pulsar"
))]
pub(crate) use check::{Check, checked};
#[cfg(feature = "registry")]
pub use confluent::{ConfluentDecoder, ConfluentEncoder, split_schema_id};
pub use csv::CsvDecoder;
pub use decode::Decode;
#[cfg(any(
    feature = "file",
    feature = "kafka",
    feature = "log",
    feature = "parquet",
    feature = "pulsar"
))]
pub(crate) use decode::undecodable;
pub use encode::{Encode, JsonEncoder};
pub use json::JsonDecoder;
pub use limits::Limited;
#[cfg(feature = "protobuf")]
pub use protobuf::ProtobufCodec;
#[cfg(feature = "registry")]
pub use registry::{Registry, SchemaKind};
pub use row::RowWriter;
