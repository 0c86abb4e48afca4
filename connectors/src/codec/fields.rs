//! Splits one line of CSV into its fields.
//!
//! The rules are those of RFC 4180 but for line breaks in quoted fields, which cannot occur in one
//! line. A quote inside an unquoted field is taken as it is.

use csv::ByteRecord;
use memchr::{memchr, memchr_iter};

/// Splits `line` into `fields`, which is cleared first. `cell` is room to work in.
///
/// # Errors
/// When a quoted field is not closed, or is followed by something other than a comma.
pub(crate) fn split(
    line: &[u8],
    fields: &mut ByteRecord,
    cell: &mut Vec<u8>,
) -> Result<(), String> {
    fields.clear();
    if memchr(b'"', line).is_some() {
        return split_quoted(line, fields, cell);
    }
    let mut start = 0;
    for end in memchr_iter(b',', line) {
        fields.push_field(&line[start..end]);
        start = end + 1;
    }
    fields.push_field(&line[start..]);
    Ok(())
}

fn split_quoted(line: &[u8], fields: &mut ByteRecord, cell: &mut Vec<u8>) -> Result<(), String> {
    let mut rest = line;
    loop {
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            rest = take_quoted(quoted, cell)
                .map_err(|problem| format!("the quoted field {} {problem}", fields.len() + 1))?;
            fields.push_field(cell);
        } else {
            let end = memchr(b',', rest).unwrap_or(rest.len());
            fields.push_field(&rest[..end]);
            rest = &rest[end..];
        }
        match rest.split_first() {
            Some((_comma, after)) => rest = after,
            None => return Ok(()),
        }
    }
}

/// Puts what stands before the closing quote into `cell`; returns what follows the quote: nothing,
/// or a comma and the fields after it.
fn take_quoted<'a>(quoted: &'a [u8], cell: &mut Vec<u8>) -> Result<&'a [u8], &'static str> {
    cell.clear();
    let mut rest = quoted;
    loop {
        let Some(quote) = memchr(b'"', rest) else {
            return Err("is not closed on its line; fields of several lines are not supported");
        };
        cell.extend_from_slice(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.first() {
            Some(b'"') => {
                cell.push(b'"');
                rest = &rest[1..];
            }
            Some(b',') | None => return Ok(rest),
            Some(_) => return Err("goes on after its closing quote"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<&[&str], &str>) {
        let mut fields = ByteRecord::new();
        let outcome = split(line.as_bytes(), &mut fields, &mut Vec::new());
        match expected {
            Ok(expected) => {
                outcome.unwrap();
                assert_eq!(fields, ByteRecord::from(expected), "{line}");
            }
            Err(part) => {
                let problem = outcome.unwrap_err();
                assert!(problem.contains(part), "{problem}");
            }
        }
    }

    #[test]
    fn plain_fields_are_split_at_commas() {
        check("a,b,c", Ok(&["a", "b", "c"]));
        check("", Ok(&[""]));
        check(",", Ok(&["", ""]));
        check("a, b ,", Ok(&["a", " b ", ""]));
    }

    #[test]
    fn quoted_fields_lose_their_quotes() {
        check(r#""a,b",c"#, Ok(&["a,b", "c"]));
        check(r#"1,"say ""hi""","x""#, Ok(&["1", r#"say "hi""#, "x"]));
        check(r#"",",x"#, Ok(&[",", "x"]));
        check(r#","","#, Ok(&["", "", ""]));
        check(&"\"".repeat(4), Ok(&["\""]));
        check(&"\"".repeat(5), Err("field 1 is not closed"));
        check(&"\"".repeat(6), Ok(&["\"\""]));
    }

    #[test]
    fn a_stray_quote_is_named_or_taken_as_it_is() {
        check(r#"1,"abc"#, Err("field 2 is not closed"));
        check(
            r#"1,"abc"d,2"#,
            Err("field 2 goes on after its closing quote"),
        );
        check(r#"5" pipe,2"#, Ok(&[r#"5" pipe"#, "2"]));
    }
}
