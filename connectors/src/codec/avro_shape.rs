//! What a payload of Avro looks like by its schema, so that it can be gone through before it is decoded.
//!
//! The package decodes recursively, as deep as the payload says, makes room for as many items as that says, and
//! takes some of the values that are missing at the end for null. So a few bytes could end the process. Here
//! they are an error, and what comes through this is decoded within bounds.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{Name, Namespace};

/// Values that take no bytes, such as nulls, which a payload may hold beyond one for each of its bytes.
const EMPTY_VALUES_MAX: usize = 65_536;

/// The place of a form among those of a schema.
type Place = usize;

/// How a value stands in a payload.
#[derive(Debug)]
enum Form {
    /// In so many bytes.
    Bytes(usize),
    /// As a number of variable length.
    Number,
    /// As its length and so many bytes.
    Sized,
    Array(Place),
    Map(Place),
    Union(Vec<Place>),
    Record(Vec<Place>),
}

/// All forms of a schema, the whole first.
#[derive(Debug)]
pub(super) struct Shape(Vec<Form>);

impl Shape {
    /// # Errors
    /// When the schema refers to a type that it does not define.
    pub(super) fn of(schema: &Schema) -> Result<Self, String> {
        let mut forms = Forms {
            forms: Vec::new(),
            names: HashMap::new(),
        };
        let whole = forms.add(schema, &None)?;
        assert_eq!(whole, 0, "invariant: the whole comes first");
        Ok(Self(forms.forms))
    }

    /// Checks that a payload is whole, nested at most so deep, and holds no more than it has bytes for.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn check(&self, payload: &[u8], depth_max: usize) -> Result<(), String> {
        let mut walk = Walk {
            forms: &self.0,
            rest: payload,
            depth_max,
            empty_left: EMPTY_VALUES_MAX + payload.len(),
        };
        walk.pass(0, 0)?;
        match walk.rest.len() {
            0 => Ok(()),
            left => Err(format!("{left} bytes are left over behind the Avro datum")),
        }
    }
}

struct Forms {
    forms: Vec<Form>,
    names: HashMap<Name, Place>,
}

impl Forms {
    fn add(&mut self, schema: &Schema, namespace: &Namespace) -> Result<Place, String> {
        if let Schema::Ref { name } = schema {
            let name = name.fully_qualified_name(namespace);
            let known = self.names.get(&name).copied();
            return known.ok_or_else(|| format!("the Avro schema does not define `{name}`"));
        }
        let place = self.forms.len();
        self.forms.push(Form::Bytes(0));
        let mut inner = namespace.clone();
        if let Some(name) = schema.name() {
            let name = name.fully_qualified_name(namespace);
            inner.clone_from(&name.namespace);
            self.names.insert(name, place);
        }
        self.forms[place] = match schema {
            Schema::Null => Form::Bytes(0),
            Schema::Boolean => Form::Bytes(1),
            Schema::Float => Form::Bytes(4),
            Schema::Double => Form::Bytes(8),
            Schema::Duration => Form::Bytes(12),
            Schema::Fixed(fixed) => Form::Bytes(fixed.size),
            Schema::Int
            | Schema::Long
            | Schema::Enum(_)
            | Schema::Date
            | Schema::TimeMillis
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => Form::Number,
            Schema::Bytes | Schema::String | Schema::BigDecimal | Schema::Uuid => Form::Sized,
            // One form, as that of what it stands in.
            Schema::Decimal(decimal) => match &*decimal.inner {
                Schema::Fixed(fixed) => {
                    let name = fixed.name.fully_qualified_name(namespace);
                    self.names.insert(name, place);
                    Form::Bytes(fixed.size)
                }
                Schema::Ref { .. } => Form::Record(vec![self.add(&decimal.inner, namespace)?]),
                _ => Form::Sized,
            },
            Schema::Array(array) => Form::Array(self.add(&array.items, &inner)?),
            Schema::Map(map) => Form::Map(self.add(&map.types, &inner)?),
            Schema::Union(union) => {
                let variants = union.variants().iter();
                let places = variants.map(|variant| self.add(variant, &inner));
                Form::Union(places.collect::<Result<_, _>>()?)
            }
            Schema::Record(record) => {
                let fields = record.fields.iter();
                let places = fields.map(|field| self.add(&field.schema, &inner));
                Form::Record(places.collect::<Result<_, _>>()?)
            }
            Schema::Ref { .. } => unreachable!("invariant: references are looked up before"),
        };
        Ok(place)
    }
}

struct Walk<'a> {
    forms: &'a [Form],
    rest: &'a [u8],
    depth_max: usize,
    empty_left: usize,
}

impl Walk<'_> {
    fn pass(&mut self, place: Place, depth: usize) -> Result<(), String> {
        let forms = self.forms;
        match &forms[place] {
            Form::Bytes(0) => self.pass_empty(),
            Form::Bytes(bytes) => self.skip(*bytes),
            Form::Number => self.number().map(drop),
            Form::Sized => self.pass_sized(),
            Form::Union(variants) => {
                let number = self.number()?;
                let variant = usize::try_from(number).ok();
                let variant = variant.and_then(|number| variants.get(number));
                let variant = variant.ok_or_else(|| {
                    format!("a union has no variant {number}: it has {}", variants.len())
                })?;
                self.pass(*variant, depth)
            }
            Form::Record(fields) => {
                let depth = self.deeper(depth)?;
                self.pass_empty()?;
                fields.iter().try_for_each(|field| self.pass(*field, depth))
            }
            Form::Array(items) => {
                let depth = self.deeper(depth)?;
                self.pass_blocks(|walk| walk.pass(*items, depth))
            }
            Form::Map(values) => {
                let depth = self.deeper(depth)?;
                self.pass_blocks(|walk| {
                    walk.pass_sized()?;
                    walk.pass(*values, depth)
                })
            }
        }
    }

    fn deeper(&self, depth: usize) -> Result<usize, String> {
        match depth < self.depth_max {
            true => Ok(depth + 1),
            false => Err(format!(
                "the Avro datum is nested more than {} deep; raise it with `depth_max`",
                self.depth_max
            )),
        }
    }

    /// Passes blocks of items, up to the empty one.
    fn pass_blocks(
        &mut self,
        mut pass: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        loop {
            let count = self.number()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // The bytes of the block, for those who pass over it.
                self.number()?;
            }
            for _ in 0..count.unsigned_abs() {
                pass(self)?;
            }
        }
    }

    fn pass_empty(&mut self) -> Result<(), String> {
        let left = self.empty_left.checked_sub(1);
        self.empty_left =
            left.ok_or("the Avro datum holds far more values than it has bytes".to_owned())?;
        Ok(())
    }

    fn pass_sized(&mut self) -> Result<(), String> {
        let bytes = self.number()?;
        match usize::try_from(bytes) {
            Ok(bytes) => self.skip(bytes),
            Err(_) => Err(format!("a length is {bytes}")),
        }
    }

    fn skip(&mut self, bytes: usize) -> Result<(), String> {
        match self.rest.split_at_checked(bytes) {
            Some((_, rest)) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(format!(
                "the Avro datum breaks off: a value has {bytes} bytes, and {} are left",
                self.rest.len()
            )),
        }
    }

    /// A number in zigzag form, seven bits a byte.
    fn number(&mut self) -> Result<i64, String> {
        let mut bits = 0_u64;
        for shift in (0..64).step_by(7) {
            let Some((byte, rest)) = self.rest.split_first() else {
                return Err("the Avro datum breaks off in a number".to_owned());
            };
            self.rest = rest;
            bits |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
        }
        Err("a number has more than 64 bits".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str, payload: &[u8], depth_max: usize) -> Result<(), String> {
        let schema = Schema::parse_str(schema).expect("it is a schema");
        Shape::of(&schema)?.check(payload, depth_max)
    }

    #[test]
    fn everything_is_gone_through_as_it_stands() {
        let schema = r#"{"type": "record", "name": "a.All", "fields": [
            {"name": "fixed", "type": {"type": "fixed", "name": "b.Two", "size": 2}},
            {"name": "again", "type": "b.Two"},
            {"name": "enum", "type": {"type": "enum", "name": "E", "symbols": ["x", "y"]}},
            {"name": "other", "type": "E"},
            {"name": "map", "type": {"type": "map", "values": "double"}},
            {"name": "items", "type": {"type": "array", "items": ["null", "boolean"]}},
            {"name": "nothing", "type": "null"}
        ]}"#;
        let mut payload = b"abcd\x02\x00".to_vec();
        // A block with its size, of one pair, then the end.
        payload.extend_from_slice(b"\x01\x14\x02k12345678\x00");
        payload.extend_from_slice(b"\x04\x00\x02\x01\x02\x00\x00");
        assert_eq!(check(schema, &payload, 2), Ok(()));
        assert!(check(schema, &payload, 1).is_err_and(|error| error.contains("more than 1 deep")));
        for end in 0..payload.len() {
            assert!(check(schema, &payload[..end], 2).is_err(), "{end}");
        }
        payload.push(0);
        assert!(check(schema, &payload, 2).is_err_and(|error| error.contains("1 bytes are left")));
    }

    #[test]
    fn what_claims_more_than_there_is_is_refused() {
        let array = |items: &str| format!(r#"{{"type": "array", "items": {items}}}"#);
        let many = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        for items in [
            r#""string""#,
            r#""boolean""#,
            r#""null""#,
            r#"["null", "int"]"#,
        ] {
            assert!(check(&array(items), many, 9).is_err(), "{items}");
        }
        assert!(check(r#""string""#, many, 9).is_err());
        assert!(check(r#""bytes""#, b"\x01", 9).is_err_and(|error| error.contains("-1")));
        // A type that holds itself, and one that holds two of the next, 30 times.
        let own = r#"{"type": "record", "name": "A", "fields": [{"name": "a", "type": "A"}]}"#;
        assert!(check(own, b"", 128).is_err_and(|error| error.contains("more than 128 deep")));
        let twice = (1..30).fold(
            r#"{"type": "record", "name": "R0", "fields": []}"#.to_owned(),
            |inner, n| {
                let before = n - 1;
                format!(
                    r#"{{"type": "record", "name": "R{n}", "fields": [{{"name": "a", "type": {inner}}},
                    {{"name": "b", "type": "R{before}"}}]}}"#
                )
            },
        );
        assert!(check(&twice, b"", 128).is_err_and(|error| error.contains("more values")));
    }
}
