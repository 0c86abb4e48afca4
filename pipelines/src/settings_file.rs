//! Reads a settings file: TOML, with the keys of the command line under `[run]`.

use std::ffi::OsStr;
use std::path::Path;

use toml::{Table, Value};

use crate::layer::{KEYS, Layer};

const SECTION: &str = "run";

/// Reads the file, adding all that is wrong with it to `errors`.
pub(crate) fn read(path: &Path, errors: &mut Vec<String>) -> Layer {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(
            &text,
            &format!("settings file `{}`", path.display()),
            errors,
        ),
        Err(error) => {
            errors.push(format!(
                "cannot read settings file `{}`: {error}; name a readable file with --settings",
                path.display()
            ));
            Layer::default()
        }
    }
}

fn parse(text: &str, file: &str, errors: &mut Vec<String>) -> Layer {
    match text.parse::<Table>() {
        Ok(table) => from_table(&table, file, errors),
        Err(error) => {
            let before = error
                .span()
                .and_then(|span| text.get(..span.start))
                .unwrap_or("");
            let line = before.matches('\n').count() + 1;
            errors.push(format!(
                "{file}, line {line}: not valid TOML: {}",
                error.message()
            ));
            Layer::default()
        }
    }
}

fn from_table(table: &Table, file: &str, errors: &mut Vec<String>) -> Layer {
    let mut layer = Layer::default();
    for (name, value) in table {
        match value {
            Value::Table(run) if name == SECTION => {
                for (key, value) in run {
                    set(&mut layer, key, value, file, errors);
                }
            }
            _ if name == SECTION => {
                errors.push(format!(
                    "{file}: `{SECTION}` is not a section: write [{SECTION}]"
                ));
            }
            Value::Table(_) => errors.push(format!(
                "{file}: unknown section [{name}]: the only section is [{SECTION}]"
            )),
            _ => errors.push(format!(
                "{file}: `{name}` stands outside a section: move it below [{SECTION}]"
            )),
        }
    }
    layer
}

fn set(layer: &mut Layer, key: &str, value: &Value, file: &str, errors: &mut Vec<String>) {
    let place = format!("{file}, `{key}`");
    if !KEYS.contains(&key) {
        errors.push(format!(
            "{file}: unknown key `{key}` under [{SECTION}]: the nearest known key is `{}`",
            nearest_key(key)
        ));
        return;
    }
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(switch) => switch.to_string(),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            let kind = value.type_str();
            errors.push(format!(
                "{place}: {kind} is no single value: give a text or a number"
            ));
            return;
        }
    };
    layer.set(key, OsStr::new(&text), &place, errors);
}

fn nearest_key(key: &str) -> &'static str {
    let key = key.replace('_', "-").to_lowercase();
    let distance = |known: &&&str| strsim::damerau_levenshtein(&key, known);
    KEYS.iter()
        .min_by_key(distance)
        .expect("invariant: there are keys")
}

#[cfg(test)]
mod tests {
    use thalweg_engine::job::{Order, Pace};

    use super::*;

    fn check(text: &str, expected: Layer, expected_errors: &[&str]) {
        let mut errors = Vec::new();
        assert_eq!(parse(text, "f", &mut errors), expected);
        assert_eq!(errors, expected_errors);
    }

    #[test]
    fn the_keys_stand_under_run() {
        let expected = Layer {
            workers: Some(2),
            rate: Some(Pace::Times(1_000.0)),
            order: Some(Order::EventTime),
            quiet: Some(true),
            out: Some("results".into()),
            ..Layer::default()
        };
        let text = "[run]\nworkers = 2\nrate = \"1000x\"\norder = \"event-time\"\nquiet = true\n\
                    out = \"results\"";
        check(text, expected, &[]);
        check("", Layer::default(), &[]);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let unknown = |key: &str, nearest: &str| {
            let expected =
                format!("f: unknown key `{key}` under [run]: the nearest known key is `{nearest}`");
            check(&format!("[run]\n{key} = 1"), Layer::default(), &[&expected]);
        };
        unknown("wokers", "workers");
        unknown("worker", "workers");
        unknown("log_level", "log-level");
        unknown("models", "model");
        unknown("Order", "order");
    }

    #[test]
    fn all_errors_are_reported_together() {
        let text = "workers = 2\n[runs]\n[run]\nworkers = 0\nrate = [1]";
        check(
            text,
            Layer::default(),
            &[
                "f, `rate`: array is no single value: give a text or a number",
                "f, `workers`: `0` is not a number of workers: give a whole number from 1 to 256",
                "f: unknown section [runs]: the only section is [run]",
                "f: `workers` stands outside a section: move it below [run]",
            ],
        );
    }

    #[test]
    fn broken_toml_is_named_with_its_line() {
        let mut errors = Vec::new();
        assert_eq!(
            parse("[run]\nworkers = = 2\n", "f", &mut errors),
            Layer::default()
        );
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].starts_with("f, line 2: not valid TOML: "),
            "{}",
            errors[0]
        );
    }

    #[test]
    fn a_missing_file_is_named_with_the_remedy() {
        let mut errors = Vec::new();
        read(Path::new("no/such.toml"), &mut errors);
        assert!(
            errors[0].starts_with("cannot read settings file `no/such.toml`: "),
            "{errors:?}"
        );
        assert!(
            errors[0].ends_with("name a readable file with --settings"),
            "{errors:?}"
        );
    }
}
