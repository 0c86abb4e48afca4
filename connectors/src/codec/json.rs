//! Decodes JSON, one value a line.

use serde::de::DeserializeOwned;
use thalweg_engine::source::Undecodable;

use super::decode::{Decode, undecodable};

/// Decodes lines that are one JSON value each, nested at most 128 levels deep.
///
/// ```
/// use serde::Deserialize;
/// use thalweg_connectors::codec::{Decode, JsonDecoder};
///
/// #[derive(Debug, Deserialize, PartialEq)]
/// struct Payment {
///     card: u64,
///     amount: f64,
/// }
///
/// let payment = JsonDecoder.decode(br#"{"card": 7, "amount": 9.5}"#);
/// assert_eq!(payment, Ok(Payment { card: 7, amount: 9.5 }));
///
/// let bad = Decode::<Payment>::decode(&mut JsonDecoder, br#"{"card": "x"}"#).unwrap_err();
/// assert_eq!(
///     bad.reason,
///     "field `card`: invalid type: string \"x\", expected u64 at line 1 column 12",
/// );
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonDecoder;

impl<T: DeserializeOwned> Decode<T> for JsonDecoder {
    fn decode(&mut self, line: &[u8]) -> Result<T, Undecodable> {
        let text = std::str::from_utf8(line)
            .map_err(|error| undecodable(format!("not UTF-8: {error}"), line))?;
        serde_json::from_str(text).map_err(|error| undecodable(describe::<T>(text, &error), line))
    }
}

/// What is wrong, led by the path of the field. Finding the path takes a second, slower pass.
fn describe<T: DeserializeOwned>(text: &str, error: &serde_json::Error) -> String {
    let mut json = serde_json::Deserializer::from_str(text);
    let path = match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Err(at) => at.path().to_string(),
        Ok(_) => String::new(),
    };
    // A `?` stands where the text breaks off before a name, a `.` for the whole value.
    match path.trim_end_matches(['.', '?']) {
        "" => error.to_string(),
        field => format!("field `{field}`: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Trip {
        id: u32,
        legs: Vec<f64>,
    }

    fn check(line: &[u8], expected: Result<(u32, &[f64]), &str>) {
        let expected = expected.map(|(id, legs)| Trip {
            id,
            legs: legs.to_vec(),
        });
        match (JsonDecoder.decode(line), expected) {
            (Err::<Trip, _>(bad), Err(part)) => {
                assert!(bad.reason.contains(part), "{}", bad.reason);
                assert_eq!(bad.raw, line);
            }
            (outcome, expected) => {
                assert_eq!(
                    outcome.map_err(|bad| bad.reason),
                    expected.map_err(str::to_owned)
                );
            }
        }
    }

    #[test]
    fn a_value_a_line() {
        check(
            br#"{"id": 1, "legs": [2, 3.5], "more": null}"#,
            Ok((1, &[2.0, 3.5])),
        );
    }

    #[test]
    fn a_bad_field_is_named() {
        check(
            br#"{"id": 1, "legs": [2, "x"]}"#,
            Err("field `legs[1]`: invalid type: string"),
        );
        check(
            br#"{"id": -1, "legs": []}"#,
            Err("field `id`: invalid value: integer `-1`"),
        );
        check(br#"{"id": 1}"#, Err("missing field `legs`"));
    }

    #[test]
    fn what_is_not_one_json_value_is_refused() {
        check(br#"{"id": 1, "legs": ["#, Err("EOF while parsing"));
        check(br#"{"id": 1, "legs": []} {}"#, Err("trailing characters"));
        check(b"{\"id\": 1, \"legs\": [], \"\xff\": 0}", Err("not UTF-8"));
        check(&b"[".repeat(100_000), Err("invalid type: sequence"));
    }

    #[test]
    fn what_is_nested_too_deep_is_refused() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        Decode::<serde_json::Value>::decode(&mut JsonDecoder, &nested(127)).unwrap();
        for bytes in [nested(128), nested(1_000_000), vec![b'['; 1_000_000]] {
            let bad = Decode::<serde_json::Value>::decode(&mut JsonDecoder, &bytes).unwrap_err();
            assert!(bad.reason.contains("recursion limit"), "{}", bad.reason);
        }
        // What nobody asks for is passed over, however deep.
        #[derive(Debug, serde::Deserialize)]
        struct Empty {}
        let deep = [b"{\"a\":", &nested(1_000_000)[..], b"}"].concat();
        let outcome = Decode::<Empty>::decode(&mut JsonDecoder, &deep);
        assert!(outcome.is_ok(), "{:?}", outcome.map_err(|bad| bad.reason));
    }
}
