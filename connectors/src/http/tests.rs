//! Against a server of the standard library's sockets.

use std::net::TcpListener;
use std::sync::Mutex;

use serde_json::Value;
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::sink::{Refused, Sink, SinkError, Writer};
use thalweg_engine::testing::conformance::{Reopening, check_missing_sink, check_sink};
use thalweg_engine::time::{EventTime, millis, secs};

use super::{EventMode, HttpSink};
use crate::testing::{Answer, HttpServer};

fn records(values: impl IntoIterator<Item = u64>) -> Vec<Record<u64>> {
    let record = |value| Record {
        time: EventTime::from_seconds(1),
        origin: Origin {
            offset: value,
            ..Origin::default()
        },
        ingested_ns: 0,
        value,
    };
    values.into_iter().map(record).collect()
}

fn quick(sink: HttpSink) -> HttpSink {
    sink.retries(3, millis(1), millis(4)).timeout(secs(5))
}

fn open(sink: &HttpSink) -> Box<dyn Writer<u64>> {
    sink.open().unwrap()
}

/// Writes values, none of which is refused.
fn write<const N: usize>(sink: &HttpSink, values: [u64; N]) -> Result<(), SinkError> {
    let mut refused = Refused::default();
    let written = open(sink).write(&records(values), &mut refused);
    assert!(refused.is_empty(), "{refused:?}");
    written
}

#[test]
fn a_webhook_conforms() {
    let server = HttpServer::start([]);
    let got = Mutex::new(Vec::new());
    let held = || {
        let mut got = got.lock().unwrap();
        got.extend(
            server
                .bodies()
                .iter()
                .map(|body| body.parse::<u64>().unwrap()),
        );
        got.clone()
    };
    check_sink(
        &HttpSink::webhook(server.url()),
        &records(0..20),
        held,
        Reopening::GoesOn,
    );
}

#[test]
fn what_may_pass_is_tried_again_in_order() {
    let server = HttpServer::start([
        Answer::Status(503),
        Answer::HangUp,
        Answer::Status(200),
        Answer::RetryAfter(429, 0),
        Answer::Status(201),
    ]);
    let sink = quick(HttpSink::webhook(server.url()));
    write(&sink, [7, 8]).unwrap();
    let got = server.requests();
    let got: Vec<_> = got
        .iter()
        .map(|request| {
            let key = request.head.split("idempotency-key: ").nth(1).unwrap();
            (request.body.as_str(), key.split("\r\n").next().unwrap())
        })
        .collect();
    let expected = [("7", "0-0-7-0"); 3]
        .into_iter()
        .chain([("8", "0-0-8-0"); 2]);
    assert_eq!(got, expected.collect::<Vec<_>>());
}

#[test]
fn a_server_that_does_not_recover_ends_the_run_after_the_last_try() {
    let server = HttpServer::start(std::iter::repeat_with(|| Answer::Status(500)).take(9));
    let sink = quick(HttpSink::webhook(server.url()));
    let error = write(&sink, [7, 8]).unwrap_err().to_string();
    assert!(error.contains("status 500, after 4 tries"), "{error}");
    assert_eq!(server.bodies(), ["7"; 4]);
}

#[test]
fn what_is_refused_for_good_is_told_and_the_next_is_sent() {
    let server = HttpServer::start([
        Answer::Status(204),
        Answer::Status(422),
        Answer::Body(400, "why not".to_owned()),
    ]);
    let sink = HttpSink::webhook(server.url());
    let mut refused = Refused::default();
    let written = open(&sink).write(&records([1, 2, 3, 4]), &mut refused);
    written.unwrap();
    assert_eq!(server.bodies(), ["1", "2", "3", "4"]);
    let expected = [
        (1, "refused with status 422: because"),
        (2, "refused with status 400: why not"),
    ];
    let expected = expected.map(|(place, reason)| (place, reason.to_owned()));
    assert_eq!(refused.take(), expected);
}

#[test]
fn an_answer_that_is_not_about_the_record_ends_the_run_at_once() {
    for status in [301, 401, 404] {
        let server = HttpServer::start([Answer::Status(status)]);
        let sink = quick(HttpSink::webhook(server.url()));
        let error = write(&sink, [7, 8]).unwrap_err().to_string();
        assert!(error.contains(&format!("status {status}")), "{error}");
        assert_eq!(server.bodies(), ["7"]);
    }
}

#[test]
fn events_arrive_as_such() {
    let server = HttpServer::start([]);
    let events = || HttpSink::cloud_events(server.url(), "/numbers", "number").bearer("s3cret");
    write(&events(), [7]).unwrap();
    let binary = events().mode(EventMode::Binary);
    write(&binary, [8]).unwrap();
    let got = server.requests();
    let event: Value = serde_json::from_str(&got[0].body).unwrap();
    assert_eq!(
        (&event["id"], &event["data"]),
        (&"0-0-7-0".into(), &7.into())
    );
    assert!(got[0].head.contains("application/cloudevents+json"));
    assert!(got[1].head.contains("ce-id: 0-0-8-0") && got[1].body == "8");
    assert!(
        got.iter()
            .all(|request| request.head.contains("authorization: bearer s3cret"))
    );
    assert!(!Sink::<u64>::describe(&binary).contains("s3cret"));
}

#[test]
fn an_address_that_cannot_be_used_is_refused_before_the_start() {
    for (url, part) in [
        ("nowhere", "no address of the web"),
        ("ftp://localhost/", "no address of the web"),
        ("http://[", "an address that is none"),
    ] {
        check_missing_sink::<u64>(&HttpSink::webhook(url), &[part]);
    }
    if cfg!(not(feature = "http-tls")) {
        let sink = HttpSink::webhook("https://localhost/");
        check_missing_sink::<u64>(&sink, &["without TLS", "`http-tls`"]);
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    drop(listener);
    let sink = HttpSink::webhook(format!("http://user:s3cret@{place}/hook?token=s3cret"));
    let error = Sink::<u64>::check(&sink).unwrap_err().to_string();
    assert!(error.contains(&format!("http://{place}/hook")), "{error}");
    assert!(
        error.contains("see to it that the server is up") && !error.contains("s3cret"),
        "{error}"
    );
}
