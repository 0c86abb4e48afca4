//! What a Pulsar can be asked for over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::running::Broker;

impl Broker {
    /// Asks the broker's admin interface, about a path under `persistent/public/default`.
    pub(crate) fn admin(&self, method: &str, path: &str, body: &str) -> String {
        let web = self.address("THALWEG_TEST_PULSAR_WEB");
        let host = web.strip_prefix("http://").unwrap();
        let mut last = String::new();
        for _ in 0..50 {
            let mut stream = TcpStream::connect(host).unwrap();
            let length = body.len();
            write!(
                stream,
                "{method} /admin/v2/persistent/public/default/{path} HTTP/1.1\r\nhost: {host}\r\n\
                 connection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
                 \r\n{body}"
            )
            .unwrap();
            last.clear();
            stream.read_to_string(&mut last).unwrap();
            if last.starts_with("HTTP/1.1 2") {
                return last.split_once("\r\n\r\n").unwrap().1.to_owned();
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("{method} {path}: {last}");
    }

    /// Makes a topic; with no partitions it is not divided.
    pub(crate) fn create_topic(&self, topic: &str, partitions: u32) {
        match partitions {
            0 => self.admin("PUT", topic, ""),
            partitions => {
                let path = format!("{topic}/partitions");
                self.admin("PUT", &path, &partitions.to_string())
            }
        };
    }
}
