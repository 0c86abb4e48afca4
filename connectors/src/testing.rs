//! A small HTTP server of the standard library's sockets, for tests.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

/// A request as the server got it, with its head in lower case.
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: String,
}

/// What the server does with a request.
pub(crate) enum Answer {
    Status(u16),
    Body(u16, String),
    RetryAfter(u16, u32),
    HangUp,
}

/// Answers as it was told, and then with 204 for ever.
pub(crate) struct HttpServer {
    url: String,
    requests: Receiver<Request>,
}

impl HttpServer {
    pub(crate) fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = channel();
        let answers: Vec<_> = answers.into_iter().collect();
        std::thread::spawn(move || {
            let mut answers = answers.into_iter();
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                while let Some(request) = request(&mut stream) {
                    if sender.send(request).is_err() {
                        return;
                    }
                    let Some(answer) = text(answers.next().unwrap_or(Answer::Status(204))) else {
                        break;
                    };
                    stream.get_mut().write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        Self { url, requests }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }

    /// Their bodies.
    pub(crate) fn bodies(&self) -> Vec<String> {
        let requests = self.requests.try_iter();
        requests.map(|request| request.body).collect()
    }
}

/// An answer as it is sent; none to hang up.
fn text(answer: Answer) -> Option<String> {
    let (status, more, body) = match answer {
        Answer::Status(204) => (204, String::new(), String::new()),
        Answer::Status(status) => (status, String::new(), "because".to_owned()),
        Answer::Body(status, body) => (status, String::new(), body),
        Answer::RetryAfter(status, seconds) => {
            (status, format!("retry-after: {seconds}\r\n"), String::new())
        }
        Answer::HangUp => return None,
    };
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status} so\r\ncontent-length: {length}\r\n{more}\r\n{body}"
    ))
}

/// The next request on a connection; none when there is no more.
pub(crate) fn request(stream: &mut impl BufRead) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    Some(Request { head, body })
}
