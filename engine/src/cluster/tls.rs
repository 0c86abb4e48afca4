//! Mutual TLS between processes: each proves that it is the one that it says it is.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::options::TlsFiles;

/// With what this process proves who it is, and whom it believes.
pub(crate) struct Identity {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// A connection on which both sides have proved who they are.
pub(crate) struct Secure {
    pub(crate) tcp: TcpStream,
    pub(crate) tls: rustls::Connection,
}

impl Identity {
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, String> {
        let chain = certificates(&files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| unreadable("private key", &files.key, &error))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&files.authority)? {
            roots
                .add(certificate)
                .map_err(|error| unreadable("authority", &files.authority, &error))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(ring::default_provider());
        let wrong = |error: &dyn std::fmt::Display| {
            format!(
                "cannot use the certificate `{}` with the key `{}`: {error}; give a key and \
                 certificate that belong together, and the authority that signed it",
                files.certificate.display(),
                files.key.display()
            )
        };
        let client = client(&provider, &roots, chain.clone(), key.clone_key())
            .map_err(|error| wrong(&error))?;
        let server = server(&provider, roots, chain, key).map_err(|error| wrong(&*error))?;
        Ok(Self {
            client: Arc::new(client),
            server: Arc::new(server),
        })
    }

    pub(crate) fn of_dialed(&self, tcp: TcpStream, name: &str) -> io::Result<Box<Secure>> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let tls =
            ClientConnection::new(Arc::clone(&self.client), name).map_err(io::Error::other)?;
        Secure::shake_hands(tcp, tls.into())
    }

    pub(crate) fn of_accepted(&self, tcp: TcpStream) -> io::Result<Box<Secure>> {
        let tls = ServerConnection::new(Arc::clone(&self.server)).map_err(io::Error::other)?;
        Secure::shake_hands(tcp, tls.into())
    }
}

fn client(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(Arc::clone(roots))
        .with_client_auth_cert(chain, key)
}

fn server(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build()?;
    let config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unreadable("certificate", path, &error))?;
    if certificates.is_empty() {
        return Err(unreadable("certificate", path, &"there is none in it"));
    }
    Ok(certificates)
}

fn unreadable(what: &str, path: &Path, error: &dyn std::fmt::Display) -> String {
    format!(
        "cannot read the {what} `{}`: {error}; give a file in PEM format",
        path.display()
    )
}

impl Secure {
    fn shake_hands(tcp: TcpStream, tls: rustls::Connection) -> io::Result<Box<Self>> {
        let mut secure = Self { tcp, tls };
        while secure.tls.is_handshaking() {
            if let Err(error) = secure.tls.complete_io(&mut secure.tcp) {
                secure.close_after_error();
                return Err(error);
            }
        }
        Ok(Box::new(secure))
    }

    /// Lets the other side learn what was wrong: what it has sent meanwhile is read, since a close
    /// with unread bytes would wipe out the alert on its way.
    fn close_after_error(&mut self) {
        let _ = self.tls.write_tls(&mut self.tcp);
        let _ = self.tcp.shutdown(Shutdown::Write);
        let mut rest = [0; 1_024];
        for _ in 0..16 {
            match self.tcp.read(&mut rest) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Whether the other side's certificate bears the name.
    pub(crate) fn check_name(&self, name: &str) -> Result<(), String> {
        let certificate = self.tls.peer_certificates().and_then(<[_]>::first);
        let certificate = certificate.ok_or("it has no certificate")?;
        let wanted = ServerName::try_from(name).map_err(|error| error.to_string())?;
        let checked = ParsedCertificate::try_from(certificate)
            .and_then(|parsed| verify_server_name(&parsed, &wanted));
        checked.map_err(|error| format!("its certificate is not that of {name}: {error}"))
    }
}

impl Read for Secure {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.tls.read_tls(&mut self.tcp)? == 0 {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                    let processed = self.tls.process_new_packets();
                    processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
                }
                outcome => return outcome,
            }
        }
    }
}

impl Write for Secure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.tls.writer().write(bytes)?;
        self.flush()?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.tcp)?;
        }
        self.tcp.flush()
    }
}
