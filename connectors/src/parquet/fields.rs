//! Makes values of rows, through serde.

use std::fmt;

use parquet::record::{Field, Row};
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};

/// Makes a value of a row, its columns going by their names.
pub(crate) fn from_row<T: DeserializeOwned>(row: &Row) -> Result<T, String> {
    T::deserialize(of_row(row)).map_err(|Mismatch(reason)| reason)
}

/// What does not fit.
#[derive(Debug)]
pub(crate) struct Mismatch(String);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

fn of_row<'de, 'a>(
    row: &'a Row,
) -> MapDeserializer<'de, impl Iterator<Item = (&'a str, Cell<'a>)>, Mismatch> {
    let columns = row.get_column_iter();
    MapDeserializer::new(columns.map(|(name, field)| (name.as_str(), Cell { name, field })))
}

/// A field, and the name of the column it stands in.
#[derive(Clone, Copy)]
struct Cell<'a> {
    name: &'a str,
    field: &'a Field,
}

impl<'de> IntoDeserializer<'de, Mismatch> for Cell<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Cell<'_> {
    fn visit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let name = self.name;
        let inner = |field| Cell { name, field };
        match self.field {
            Field::Null => visitor.visit_unit(),
            Field::Bool(value) => visitor.visit_bool(*value),
            Field::Byte(value) => visitor.visit_i8(*value),
            Field::Short(value) => visitor.visit_i16(*value),
            Field::Int(value) | Field::Date(value) | Field::TimeMillis(value) => {
                visitor.visit_i32(*value)
            }
            Field::Long(value)
            | Field::TimeMicros(value)
            | Field::TimestampMillis(value)
            | Field::TimestampMicros(value) => visitor.visit_i64(*value),
            Field::UByte(value) => visitor.visit_u8(*value),
            Field::UShort(value) => visitor.visit_u16(*value),
            Field::UInt(value) => visitor.visit_u32(*value),
            Field::ULong(value) => visitor.visit_u64(*value),
            Field::Float16(value) => visitor.visit_f32(f32::from(*value)),
            Field::Float(value) => visitor.visit_f32(*value),
            Field::Double(value) => visitor.visit_f64(*value),
            Field::Str(value) => visitor.visit_str(value),
            Field::Bytes(value) => visitor.visit_bytes(value.data()),
            Field::Group(row) => visitor.visit_map(of_row(row)),
            Field::ListInternal(list) => {
                let elements = list.elements().iter().map(inner);
                visitor.visit_seq(SeqDeserializer::new(elements))
            }
            Field::MapInternal(map) => {
                let entries = map.entries().iter();
                let entries = entries.map(|(key, value)| (inner(key), inner(value)));
                visitor.visit_map(MapDeserializer::new(entries))
            }
            // Decimals are read as the text that they are shown as.
            other => visitor.visit_string(other.to_string()),
        }
    }
}

impl<'de> Deserializer<'de> for Cell<'_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let named = |Mismatch(reason)| Mismatch(format!("column `{}`: {reason}", self.name));
        self.visit(visitor).map_err(named)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.field {
            Field::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.field {
            Field::Str(value) => visitor.visit_enum(value.as_str().into_deserializer()),
            _ => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
