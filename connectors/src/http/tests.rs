//! Against a server of the standard library's sockets.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use thalweg_engine::letters::DeadLetter;
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::sink::Sink;
use thalweg_engine::testing::Collect;
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

fn quick(sink: HttpSink<u64>) -> HttpSink<u64> {
    sink.retries(3, millis(1), millis(4)).timeout(secs(5))
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
    sink.open().unwrap().write(&records([7, 8])).unwrap();
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
    let error = sink
        .open()
        .unwrap()
        .write(&records([7, 8]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("status 500, after 4 tries"), "{error}");
    assert_eq!(server.bodies(), ["7"; 4]);
}

#[test]
fn what_is_refused_for_good_is_counted_and_told_and_the_next_is_sent() {
    let server = HttpServer::start([
        Answer::Status(204),
        Answer::Status(422),
        Answer::Body(400, "why not".to_owned()),
    ]);
    let (told, letters) = (
        Arc::new(Mutex::new(Vec::new())),
        Collect::<DeadLetter>::default(),
    );
    let tell = Arc::clone(&told);
    let sink = HttpSink::<u64>::webhook(server.url())
        .refused_to("hook", letters.clone())
        .on_refused(move |refused| {
            let told = (
                refused.record.value,
                refused.status,
                refused.answer.to_owned(),
            );
            tell.lock().unwrap().push(told);
        });
    let refused = sink.refused();
    sink.open().unwrap().write(&records([1, 2, 3, 4])).unwrap();
    assert_eq!(server.bodies(), ["1", "2", "3", "4"]);
    assert_eq!(refused.get(), 2);
    let expected = [
        (2, 422, "because".to_owned()),
        (3, 400, "why not".to_owned()),
    ];
    assert_eq!(*told.lock().unwrap(), expected);
    let letters = letters.values();
    assert_eq!(letters.len(), 2);
    assert_eq!((letters[0].step.as_str(), letters[0].offset), ("hook", 2));
    assert_eq!(letters[0].reason, "refused with status 422: because");
    assert_eq!(letters[0].raw, "2");
}

#[test]
fn an_answer_that_is_not_about_the_record_ends_the_run_at_once() {
    for status in [301, 401, 404] {
        let server = HttpServer::start([Answer::Status(status)]);
        let error = quick(HttpSink::webhook(server.url()))
            .open()
            .unwrap()
            .write(&records([7, 8]));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(&format!("status {status}")), "{error}");
        assert_eq!(server.bodies(), ["7"]);
    }
}

#[test]
fn events_arrive_as_such() {
    let server = HttpServer::start([]);
    let events =
        || HttpSink::<u64>::cloud_events(server.url(), "/numbers", "number").bearer("s3cret");
    events().open().unwrap().write(&records([7])).unwrap();
    let binary = events().mode(EventMode::Binary);
    binary.open().unwrap().write(&records([8])).unwrap();
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
    assert!(!binary.describe().contains("s3cret"));
}

#[test]
fn an_address_that_cannot_be_used_is_refused_before_the_start() {
    for (url, part) in [
        ("nowhere", "no address of the web"),
        ("ftp://localhost/", "no address of the web"),
        ("http://[", "an address that is none"),
    ] {
        check_missing_sink(&HttpSink::<u64>::webhook(url), &[part]);
    }
    if cfg!(not(feature = "http-tls")) {
        let sink = HttpSink::<u64>::webhook("https://localhost/");
        check_missing_sink(&sink, &["without TLS", "`http-tls`"]);
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    drop(listener);
    let sink = HttpSink::<u64>::webhook(format!("http://user:s3cret@{place}/hook?token=s3cret"));
    let error = sink.check().unwrap_err().to_string();
    assert!(error.contains(&format!("http://{place}/hook")), "{error}");
    assert!(
        error.contains("see to it that the server is up") && !error.contains("s3cret"),
        "{error}"
    );
}
