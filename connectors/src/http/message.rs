//! What a request says: a webhook's, or a CloudEvent's.

use serde::Serialize;
use serde_json::value::RawValue;
use thalweg_engine::record::{Origin, Record};

/// How a CloudEvent goes over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventMode {
    /// Attributes and data together in a JSON body.
    #[default]
    Structured,
    /// Attributes as headers, the data as the body.
    Binary,
}

/// What is made of a record.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    Webhook,
    /// A CloudEvent 1.0 (JSON format and HTTP binding), with its `source` and `type`.
    Event {
        mode: EventMode,
        source: String,
        kind: String,
    },
}

/// One request, but for where it goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    time: &'a str,
    datacontenttype: &'static str,
    data: &'a RawValue,
}

impl Form {
    /// The request for a record, whose value as JSON is `data`.
    pub(crate) fn message<T>(&self, record: &Record<T>, data: String) -> Result<Message, String> {
        let id = id(record.origin);
        let time = record.time.to_string();
        let json = || ("content-type", "application/json".to_owned());
        let Self::Event { mode, source, kind } = self else {
            let headers = vec![json(), ("idempotency-key", id)];
            let body = data.into_bytes();
            return Ok(Message { headers, body });
        };
        match mode {
            EventMode::Binary => {
                let headers = vec![
                    json(),
                    ("ce-specversion", "1.0".to_owned()),
                    ("ce-id", id),
                    ("ce-source", encoded(source)),
                    ("ce-type", encoded(kind)),
                    ("ce-time", time),
                ];
                let body = data.into_bytes();
                Ok(Message { headers, body })
            }
            EventMode::Structured => {
                let data = RawValue::from_string(data).map_err(|error| error.to_string())?;
                let envelope = Envelope {
                    specversion: "1.0",
                    id: &id,
                    source,
                    kind,
                    time: &time,
                    datacontenttype: "application/json",
                    data: &data,
                };
                let body = serde_json::to_vec(&envelope).map_err(|error| error.to_string())?;
                let kind = "application/cloudevents+json; charset=utf-8".to_owned();
                let headers = vec![("content-type", kind)];
                Ok(Message { headers, body })
            }
        }
    }
}

/// The same id each time the record is sent.
fn id(origin: Origin) -> String {
    let Origin {
        source,
        partition,
        offset,
        index,
    } = origin;
    format!("{source}-{partition}-{offset}-{index}")
}

/// Percent-encodes what may not stand in a header, as the HTTP binding of CloudEvents has it.
fn encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_graphic() && byte != b'"' && byte != b'%' {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("invariant: writing to a string does not fail");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use thalweg_engine::time::EventTime;

    use super::*;

    fn message(form: &Form) -> Message {
        let record = Record {
            time: EventTime::from_millis(1_500),
            origin: Origin {
                source: 1,
                partition: 2,
                offset: 3,
                index: 4,
            },
            ingested_ns: 0,
            value: (),
        };
        form.message(&record, "{\"score\":0.5}".to_owned()).unwrap()
    }

    fn event(mode: EventMode) -> Form {
        Form::Event {
            mode,
            source: "/fraud \u{20ac}".to_owned(),
            kind: "org.thalweg.alert".to_owned(),
        }
    }

    fn check(form: &Form, headers: &[(&str, &str)], body: &str) {
        let message = message(form);
        let got: Vec<_> = message
            .headers
            .iter()
            .map(|(n, v)| (*n, v.as_str()))
            .collect();
        assert_eq!(got, headers);
        assert_eq!(String::from_utf8(message.body).unwrap(), body);
    }

    #[test]
    fn a_webhook_is_the_value_and_its_key() {
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", "1-2-3-4"),
        ];
        check(&Form::Webhook, &headers, "{\"score\":0.5}");
    }

    #[test]
    fn a_structured_event_is_all_in_the_body() {
        check(
            &event(EventMode::Structured),
            &[(
                "content-type",
                "application/cloudevents+json; charset=utf-8",
            )],
            "{\"specversion\":\"1.0\",\"id\":\"1-2-3-4\",\"source\":\"/fraud \u{20ac}\",\
             \"type\":\"org.thalweg.alert\",\"time\":\"1970-01-01T00:00:01.5Z\",\
             \"datacontenttype\":\"application/json\",\"data\":{\"score\":0.5}}",
        );
    }

    #[test]
    fn a_binary_event_has_its_attributes_as_headers() {
        let headers = [
            ("content-type", "application/json"),
            ("ce-specversion", "1.0"),
            ("ce-id", "1-2-3-4"),
            ("ce-source", "/fraud%20%E2%82%AC"),
            ("ce-type", "org.thalweg.alert"),
            ("ce-time", "1970-01-01T00:00:01.5Z"),
        ];
        check(&event(EventMode::Binary), &headers, "{\"score\":0.5}");
    }
}
