//! Reads a settings file: TOML, with the keys of the command line under `[run]`, and those of topics
//! also under `[source]`, `[sink]`, `[kafka]` and `[pulsar]`, those of checkpoints under
//! `[checkpoint]`, those of the deployment under `[cluster]` and `[admin]`.

use std::ffi::OsStr;
use std::path::Path;

use toml::{Table, Value};

use crate::layer::{Layer, Section, keys};

const SECTION: &str = "run";
/// The section that says where Kafka is and how to get in.
const KAFKA: &str = "kafka";
/// The section that says where Pulsar is and how to get in.
const PULSAR: &str = "pulsar";

/// The key whose value may be a list.
const LIST: &str = "hosts";

/// Further sections, and the settings that their keys stand for.
const SECTIONS: [(&str, &[(&str, &str)]); 5] = [
    (
        "checkpoint",
        &[
            ("location", "checkpoint"),
            ("interval", "checkpoint-interval"),
            ("retain", "checkpoint-retain"),
            ("allow-dropped-state", "allow-dropped-state"),
        ],
    ),
    (
        "source",
        &[
            ("kind", "source"),
            ("folder", "log"),
            ("until-end", "until-end"),
            ("start", "start"),
            ("subscription", "subscription"),
            ("value-bytes-max", "value-bytes-max"),
            ("json-depth-max", "json-depth-max"),
            ("decompressed-bytes-max", "decompressed-bytes-max"),
        ],
    ),
    ("sink", &[("kind", "sink"), ("delivery", "delivery")]),
    (
        "cluster",
        &[
            ("processes", "processes"),
            ("process", "process"),
            ("hosts", "hosts"),
            ("listen", "listen"),
            ("name", "cluster"),
            ("generation", "generation"),
            ("insecure", "insecure-cluster"),
            ("certificate", "certificate"),
            ("key", "certificate-key"),
            ("authority", "authority"),
            ("connect-timeout", "connect-timeout"),
            ("peer-timeout", "peer-timeout"),
            ("stall-timeout", "stall-timeout"),
        ],
    ),
    ("admin", &[("address", "admin"), ("token", "admin-token")]),
];

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
        let further = SECTIONS.iter().find(|(section, _)| section == name);
        match (value, further) {
            (Value::Table(run), _) if name == SECTION => {
                for (key, value) in run {
                    if keys().any(|known| known == key) {
                        set(&mut layer, key, value, &format!("{file}, `{key}`"), errors);
                    } else {
                        errors.push(unknown(file, SECTION, key, keys()));
                    }
                }
            }
            (Value::Table(section), Some((_, keys))) => {
                for (key, value) in section {
                    let place = format!("{file}, `{key}` under [{name}]");
                    match keys.iter().find(|(known, _)| known == key) {
                        Some((_, setting)) => set(&mut layer, setting, value, &place, errors),
                        None => {
                            let known = keys.iter().map(|(known, _)| *known);
                            errors.push(unknown(file, name, key, known));
                        }
                    }
                }
            }
            (Value::Table(kafka), _) if name == KAFKA => {
                layer.kafka_section = Some(Section(kafka.clone()));
            }
            (Value::Table(pulsar), _) if name == PULSAR => {
                layer.pulsar_section = Some(Section(pulsar.clone()));
            }
            (_, further)
                if [SECTION, KAFKA, PULSAR].contains(&name.as_str()) || further.is_some() =>
            {
                errors.push(format!("{file}: `{name}` is not a section: write [{name}]"));
            }
            (Value::Table(_), _) => errors.push(format!(
                "{file}: unknown section [{name}]: there are [run], [checkpoint], [source], [sink], [kafka], \
                 [pulsar], [cluster] and [admin]"
            )),
            _ => errors.push(format!(
                "{file}: `{name}` stands outside a section: move it below [{SECTION}]"
            )),
        }
    }
    layer
}

fn unknown(
    file: &str,
    section: &str,
    key: &str,
    known: impl Iterator<Item = &'static str>,
) -> String {
    format!(
        "{file}: unknown key `{key}` under [{section}]: the nearest known key is `{}`",
        nearest(key, known).unwrap_or_default()
    )
}

/// The known key that is most like another one.
pub(crate) fn nearest<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let plain = |key: &str| key.replace('_', "-").to_lowercase();
    let key = plain(key);
    known.min_by_key(|known| strsim::damerau_levenshtein(&key, &plain(known)))
}

fn set(layer: &mut Layer, key: &str, value: &Value, place: &str, errors: &mut Vec<String>) {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(switch) => switch.to_string(),
        Value::Array(entries) if key == LIST => {
            let entries = entries.iter().map(|entry| entry.as_str().unwrap_or("?"));
            entries.collect::<Vec<_>>().join(",")
        }
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            let kind = value.type_str();
            errors.push(format!(
                "{place}: {kind} is no single value: give a text or a number"
            ));
            return;
        }
    };
    layer.set(key, OsStr::new(&text), place, errors);
}

#[cfg(test)]
mod tests {
    use thalweg_engine::job::{Order, Pace};

    use super::*;
    use crate::topic_words::{SinkKind, SourceKind};

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
    fn topics_have_sections_of_their_own() {
        let expected = Layer {
            source: Some(SourceKind::Log),
            sink: Some(SinkKind::File),
            log: Some("topics".into()),
            until_end: Some(true),
            ..Layer::default()
        };
        let text = "[source]\nkind = \"log\"\nfolder = \"topics\"\nuntil-end = true\n\
                    [sink]\nkind = \"file\"";
        check(text, expected, &[]);
        let errors = [
            "f: unknown key `type` under [sink]: the nearest known key is `kind`",
            "f, `kind` under [source]: `fax` is not a source of topics: give `log`, `kafka` or \
             `pulsar`",
        ];
        let text = "[source]\nkind = \"fax\"\n[sink]\ntype = \"file\"";
        check(text, Layer::default(), &errors);
    }

    #[test]
    fn the_deployment_has_sections_of_its_own() {
        let mut expected = Layer::default();
        for (key, value) in [
            ("process", "1"),
            ("hosts", "a:1,b:1"),
            ("insecure-cluster", "true"),
            ("peer-timeout", "2s"),
            ("supervise", "true"),
            ("admin", "127.0.0.1:9090"),
        ] {
            expected
                .deployment
                .set(key, value)
                .expect("the setting is good");
        }
        let text = "[run]\nsupervise = true\n\
                    [cluster]\nprocess = 1\nhosts = [\"a:1\", \"b:1\"]\ninsecure = true\n\
                    peer-timeout = \"2s\"\n[admin]\naddress = \"127.0.0.1:9090\"";
        check(text, expected, &[]);
        let errors = [
            "f, `token` under [admin]: a token has at least 16 characters of ASCII, and no spaces",
            "f: unknown key `host` under [cluster]: the nearest known key is `hosts`",
        ];
        check(
            "[admin]\ntoken = \"x\"\n[cluster]\nhost = \"a\"",
            Layer::default(),
            &errors,
        );
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
                "f: unknown section [runs]: there are [run], [checkpoint], [source], [sink], [kafka], [pulsar], \
                 [cluster] and [admin]",
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
