//! The admin endpoint: what monitors and orchestrators ask a running program over HTTP.
//!
//! Three fixed pages to GET need no web framework: `httparse` reads the requests, the standard
//! library does the rest, and the build gets no longer.

mod metrics;
mod request;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use thalweg_engine::telemetry::{Health, Telemetry};
use thalweg_engine::time::{millis, secs};

use crate::deployment::Secret;
use metrics::About;
use request::Request;

/// Requests that are answered at the same time; more are turned away.
const REQUESTS_MAX: usize = 16;
/// How long a request may take to come, and its answer to go.
const PATIENCE: Duration = secs(5);

/// Serves `/metrics`, `/livez` and `/readyz` from now on; returns where.
///
/// `/metrics` wants the token, where there is one, as a bearer token; the other two tell no more
/// than whether the program is well.
pub(crate) fn serve(
    address: SocketAddr,
    token: Option<Secret>,
    pipeline: &str,
    telemetry: &Arc<Telemetry>,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    let desk = Arc::new(Desk {
        token,
        about: About::new(pipeline),
        telemetry: Arc::clone(telemetry),
        open: AtomicUsize::new(0),
    });
    let serve = move || {
        loop {
            match listener.accept() {
                Ok((stream, _)) => attend(&desk, stream),
                // Whatever it was, it may pass.
                Err(_) => thread::sleep(millis(50)),
            }
        }
    };
    thread::Builder::new()
        .name("admin".to_owned())
        .spawn(serve)?;
    Ok(bound)
}

/// Answers one request on a thread of its own, so that a slow client keeps nobody else waiting.
fn attend(desk: &Arc<Desk>, stream: TcpStream) {
    let own = Arc::clone(desk);
    let answer = move || {
        // A client that goes away has only itself to blame.
        let _ = own.attend(stream);
        own.open.fetch_sub(1, Ordering::SeqCst);
    };
    let is_busy = desk.open.fetch_add(1, Ordering::SeqCst) >= REQUESTS_MAX;
    if is_busy
        || thread::Builder::new()
            .name("admin-answer".to_owned())
            .spawn(answer)
            .is_err()
    {
        desk.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Reads on for a moment, since a close with unread bytes would wipe out the answer on its way.
fn drain(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(millis(200)))?;
    let mut rest = [0; 4_096];
    for _ in 0..16 {
        if stream.read(&mut rest)? == 0 {
            break;
        }
    }
    Ok(())
}

/// Answers requests.
struct Desk {
    token: Option<Secret>,
    about: About,
    telemetry: Arc<Telemetry>,
    open: AtomicUsize,
}

/// What is answered: status, media type, body.
type Answer = (&'static str, &'static str, String);

const TEXT: &str = "text/plain; charset=utf-8";

impl Desk {
    fn attend(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let request = Request::read(&mut stream)?;
        let (status, media_type, body) = match &request {
            Ok(request) => self.answer(request),
            Err(status) => (*status, TEXT, format!("{status}\n")),
        };
        let more = match status {
            "401 Unauthorized" => "WWW-Authenticate: Bearer\r\n",
            "405 Method Not Allowed" => "Allow: GET, HEAD\r\n",
            _ => "",
        };
        let is_bad = request.is_err();
        let is_head = request.is_ok_and(|request| request.method == "HEAD");
        let length = body.len();
        let body = if is_head { "" } else { &body };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n{more}\r\n{body}"
        )?;
        stream.flush()?;
        if is_bad { drain(stream) } else { Ok(()) }
    }

    fn answer(&self, request: &Request) -> Answer {
        if !["GET", "HEAD"].contains(&request.method.as_str()) {
            return (
                "405 Method Not Allowed",
                TEXT,
                "only GET and HEAD are answered\n".to_owned(),
            );
        }
        match request.path.as_str() {
            "/metrics" if !self.may_see(request) => (
                "401 Unauthorized",
                TEXT,
                "a bearer token is wanted\n".to_owned(),
            ),
            "/metrics" => {
                let text = metrics::text(&self.telemetry, &self.about);
                ("200 OK", "text/plain; version=0.0.4; charset=utf-8", text)
            }
            "/livez" => match self.telemetry.status().health {
                Health::Stuck(reason) => ("503 Service Unavailable", TEXT, format!("{reason}\n")),
                _ => ("200 OK", TEXT, "ok\n".to_owned()),
            },
            "/readyz" => {
                let reason = match self.telemetry.status().health {
                    Health::Running => return ("200 OK", TEXT, "ok\n".to_owned()),
                    Health::Starting => "starting".to_owned(),
                    Health::Stopping => "stopping".to_owned(),
                    Health::Stuck(reason) => reason,
                };
                ("503 Service Unavailable", TEXT, format!("{reason}\n"))
            }
            _ => (
                "404 Not Found",
                TEXT,
                "there are /metrics, /livez and /readyz\n".to_owned(),
            ),
        }
    }

    /// Whether the request bears the token; tells nothing by the time it takes.
    fn may_see(&self, request: &Request) -> bool {
        let Some(Secret(token)) = &self.token else {
            return true;
        };
        let given = request.bearer.as_deref().unwrap_or("").as_bytes();
        let pairs = token.bytes().zip(given.iter().chain(std::iter::repeat(&0)));
        let difference = pairs.fold(0, |difference, (own, given)| difference | (own ^ given));
        difference == 0 && given.len() == token.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn ask(token: Option<&str>, request: &str) -> String {
        let token = token.map(|token| Secret(token.to_owned()));
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = serve(local, token, "fraud", &Arc::default()).expect("a free port");
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    fn check(token: Option<&str>, request: &str, status: &str, body: &str) {
        let answer = ask(token, request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {answer}"
        );
        assert!(answer.contains(body), "{request}: {answer}");
    }

    #[test]
    fn the_three_pages_are_answered_and_nothing_else() {
        check(None, "GET /livez HTTP/1.1\r\n\r\n", "200 OK", "ok\n");
        check(
            None,
            "GET /readyz?verbose HTTP/1.1\r\n\r\n",
            "503 ",
            "starting",
        );
        check(
            None,
            "GET /metrics HTTP/1.0\r\n\r\n",
            "200 OK",
            "# HELP thalweg_records_read_total",
        );
        check(None, "GET / HTTP/1.1\r\n\r\n", "404 ", "/metrics");
        check(
            None,
            "POST /metrics HTTP/1.1\r\n\r\n",
            "405 ",
            "Allow: GET, HEAD",
        );
        check(None, "nonsense\r\n\r\n", "400 ", "400 Bad Request");
        let long = format!("GET /livez HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(10_000));
        check(None, &long, "431 ", "431");
        let head = ask(None, "HEAD /livez HTTP/1.1\r\n\r\n");
        assert!(
            head.contains("Content-Length: 3\r\n") && head.ends_with("\r\n\r\n"),
            "{head}"
        );
    }

    #[test]
    fn metrics_want_the_token_where_there_is_one() {
        let with = |header: &str| format!("GET /metrics HTTP/1.1\r\n{header}\r\n");
        let good = with(&format!("Authorization: Bearer {TOKEN}\r\n"));
        check(Some(TOKEN), &good, "200 OK", "thalweg_");
        for header in [
            String::new(),
            "Authorization: Bearer\r\n".to_owned(),
            format!("Authorization: Basic {TOKEN}\r\n"),
            format!("Authorization: Bearer {TOKEN}0\r\n"),
            format!("Authorization: Bearer {}\r\n", &TOKEN[1..]),
        ] {
            check(
                Some(TOKEN),
                &with(&header),
                "401 ",
                "WWW-Authenticate: Bearer",
            );
        }
        check(Some(TOKEN), "GET /livez HTTP/1.1\r\n\r\n", "200 OK", "ok");
    }
}
