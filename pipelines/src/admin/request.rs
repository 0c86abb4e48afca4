//! The part of an HTTP request that matters here.

use std::io::{self, Read};

/// The longest head of a request, and the most headers.
const BYTES_MAX: usize = 8_192;
const HEADERS_MAX: usize = 64;

/// A request without its body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    /// Without the query.
    pub(super) path: String,
    /// The bearer token, if one is given.
    pub(super) bearer: Option<String>,
}

impl Request {
    /// Reads the head of a request; the status to answer with where it is none.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Result<Self, &'static str>> {
        let mut head = Vec::new();
        let mut chunk = [0; 1_024];
        loop {
            match Self::parse(&head) {
                Ok(Some(request)) => return Ok(Ok(request)),
                Err(status) => return Ok(Err(status)),
                Ok(None) if head.len() >= BYTES_MAX => {
                    return Ok(Err("431 Request Header Fields Too Large"));
                }
                Ok(None) => {}
            }
            let read = from.read(&mut chunk)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            head.extend_from_slice(&chunk[..read]);
        }
    }

    /// The request, if its head is all there.
    fn parse(head: &[u8]) -> Result<Option<Self>, &'static str> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(head) {
            Ok(status) if status.is_partial() => return Ok(None),
            Ok(_) => {}
            Err(httparse::Error::TooManyHeaders) => {
                return Err("431 Request Header Fields Too Large");
            }
            Err(_) => return Err("400 Bad Request"),
        }
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let path = request.path.and_then(|path| path.split('?').next());
        let bearer = request.headers.iter().find_map(|header| {
            let is_it = header.name.eq_ignore_ascii_case("authorization");
            let value = is_it.then(|| std::str::from_utf8(header.value).ok())??;
            let (scheme, token) = value.split_once(' ')?;
            let is_bearer = scheme.eq_ignore_ascii_case("bearer");
            is_bearer.then(|| token.trim().to_owned())
        });
        Ok(Some(Self {
            method: text(request.method),
            path: text(path),
            bearer,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_may_come_byte_by_byte() {
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
                self.0.read(&mut bytes[..1])
            }
        }
        let text = b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nauthorization: bearer  abc \r\n\r\n";
        let request = Request::read(&mut Slow(text)).expect("it can be read");
        let expected = Request {
            method: "GET".to_owned(),
            path: "/metrics".to_owned(),
            bearer: Some("abc".to_owned()),
        };
        assert_eq!(request, Ok(expected));
        assert!(
            Request::read(&mut Slow(&text[..20])).is_err(),
            "it is cut off"
        );
    }
}
