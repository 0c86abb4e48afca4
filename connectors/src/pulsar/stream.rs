//! The bytes between a client and a broker, plain or encrypted.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::security::Tls;

/// A connection's bytes, which are waited for no longer than one says.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Connects to `host:port`.
    pub(super) fn connect(
        address: &str,
        tls: Option<&Tls>,
        patience: Duration,
    ) -> Result<Self, String> {
        let socket = reach(address, patience).map_err(|error| format!("{address}: {error}"))?;
        let set = socket
            .set_nodelay(true)
            .and_then(|()| socket.set_write_timeout(Some(patience)))
            .and_then(|()| socket.set_read_timeout(Some(patience)));
        set.map_err(|error| format!("{address}: {error}"))?;
        let Some(tls) = tls else {
            return Ok(Self::Plain(socket));
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host)
            .map_err(|_| format!("{address}: this is no name that a certificate can bear"))?;
        let client = ClientConnection::new(config(tls)?, name)
            .map_err(|error| format!("{address}: {error}"))?;
        let mut stream = StreamOwned::new(client, socket);
        while stream.conn.is_handshaking() {
            stream
                .conn
                .complete_io(&mut stream.sock)
                .map_err(|error| format!("{address}: {error}"))?;
        }
        Ok(Self::Tls(Box::new(stream)))
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Appends what has come; nothing when nothing comes within `patience`.
    pub(super) fn read_some(
        &mut self,
        bytes: &mut Vec<u8>,
        patience: Duration,
    ) -> io::Result<usize> {
        if patience.is_zero() {
            self.socket().set_nonblocking(true)?;
        } else {
            self.socket().set_read_timeout(Some(patience))?;
        }
        let read = self.read_into(bytes);
        if patience.is_zero() {
            self.socket().set_nonblocking(false)?;
        }
        match read {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                Ok(0)
            }
            read => read,
        }
    }

    fn read_into(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        /// Bytes asked for at once.
        const AT_ONCE: usize = 128 * 1024;
        let before = bytes.len();
        bytes.resize(before + AT_ONCE, 0);
        let room = &mut bytes[before..];
        let read = match self {
            Self::Plain(socket) => socket.read(room),
            Self::Tls(stream) => stream.read(room),
        };
        bytes.truncate(before + read.as_ref().copied().unwrap_or(0));
        read
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}

fn reach(address: &str, patience: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn config(tls: &Tls) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            let unusable =
                |reason: String| format!("the certificates {}: {reason}", file.display());
            let certificates =
                CertificateDer::pem_file_iter(file).map_err(|error| unusable(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
                let added = roots.add(certificate);
                added.map_err(|error| unusable(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(unusable("the file holds none".to_owned()));
            }
        }
    }
    // Named, since a program may have several providers of cryptography in it.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}
