//! Against a server with a certificate that it has signed itself.

use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::sink::{Refused, Sink, SinkError};
use thalweg_engine::time::{EventTime, secs};

use super::HttpSink;
use crate::testing;

/// A server that answers everything with 204, and its certificate.
struct Server {
    url: String,
    bodies: Receiver<String>,
    folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, bodies) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = BufReader::new(StreamOwned::new(connection, stream.unwrap()));
                // Who does not trust the server hangs up.
                while let Some(request) = testing::request(&mut stream) {
                    if request.head.starts_with("post") && sender.send(request.body).is_err() {
                        return;
                    }
                    let answer = b"HTTP/1.1 204 so\r\ncontent-length: 0\r\n\r\n";
                    stream.get_mut().write_all(answer).unwrap();
                }
            }
        });
        Self {
            url: format!("https://localhost:{port}/hook"),
            bodies,
            folder,
        }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn sink(&self) -> HttpSink {
        // Tries that would take minutes.
        HttpSink::webhook(&self.url).retries(100, secs(10), secs(10))
    }
}

fn write(sink: &HttpSink) -> Result<(), SinkError> {
    let record = Record {
        time: EventTime::default(),
        origin: Origin::default(),
        ingested_ns: 0,
        value: 7_u64,
    };
    sink.open()?.write(&[record], &mut Refused::default())
}

fn check(outcome: Result<(), SinkError>, parts: &[&str]) {
    let error = outcome.unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn only_a_server_whose_authority_is_trusted_is_written_to() {
    let (server, other) = (Server::start(), Server::start());
    let trusting = server.sink().ca(server.ca());
    Sink::<u64>::check(&trusting).unwrap();
    write(&trusting).unwrap();
    assert_eq!(server.bodies.try_iter().collect::<Vec<_>>(), ["7"]);
    // Neither the public authorities nor those of another vouch for it.
    for doubting in [server.sink(), server.sink().ca(other.ca())] {
        let parts = ["certificate", "with `ca`", "https://localhost:"];
        check(Sink::<u64>::check(&doubting), &parts);
        check(write(&doubting), &parts);
    }
    assert_eq!(server.bodies.try_iter().count(), 0);
}

#[test]
fn a_file_without_certificates_is_named() {
    let server = Server::start();
    let empty = server.folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for (ca, part) in [
        (empty, "holds no certificate"),
        ("/no/such.pem".into(), "/no/such.pem"),
    ] {
        let sink = server.sink().ca(ca);
        check(Sink::<u64>::check(&sink), &[part, "with `ca`"]);
        check(write(&sink), &[part]);
    }
}

#[test]
#[cfg(feature = "registry")]
fn a_schema_registry_has_an_authority_of_its_own_too() {
    use crate::codec::Registry;

    let (server, other) = (Server::start(), Server::start());
    let registry = || {
        let quick = std::time::Duration::from_millis(1);
        Registry::new(&server.url).retries(0, quick, quick)
    };
    // It is asked, and answers with nothing.
    let asked = registry().ca(server.ca()).unwrap().newest_of("a-value");
    assert!(asked.unwrap_err().contains("answer to /subjects/a-value"));
    for doubting in [registry(), registry().ca(other.ca()).unwrap()] {
        let refused = doubting.newest_of("a-value").unwrap_err();
        assert!(refused.to_lowercase().contains("certificate"), "{refused}");
    }
    let missing = registry().ca("/no/such.pem").err().unwrap();
    assert!(missing.contains("/no/such.pem"), "{missing}");
}
