//! Carries bytes between an encrypted connection and a plain one that stays on this machine, whose
//! near end can be cloned, read and written by several threads.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::connection::OnBroken;
use super::tls::Secure;

/// Bytes taken at once.
const CHUNK: usize = 64 * 1_024;

type Tls = Arc<Mutex<rustls::Connection>>;

/// Starts the two threads of a connection and returns its near end. They end when both sides have
/// closed; a connection that breaks, or ends without a proper close, is reported.
pub(crate) fn start(secure: Secure, on_broken: OnBroken) -> io::Result<UnixStream> {
    let Secure { tcp, mut tls } = secure;
    tls.set_buffer_limit(None);
    let (near, far) = UnixStream::pair()?;
    let tls = Arc::new(Mutex::new(tls));
    let inward = Inward {
        tls: Arc::clone(&tls),
        tcp: tcp.try_clone()?,
        far: far.try_clone()?,
    };
    let outward = Outward { tls, tcp, far };
    let report = Arc::clone(&on_broken);
    spawn("tls-in", move || {
        if let Err(error) = inward.run() {
            report(format!("its connection broke: {error}"));
        }
    })?;
    spawn("tls-out", move || {
        if let Err(error) = outward.run() {
            on_broken(format!("its connection broke: {error}"));
        }
    })?;
    Ok(near)
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
}

fn lock(tls: &Tls) -> MutexGuard<'_, rustls::Connection> {
    tls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From the network to the near end. What TLS itself has to answer goes out with the next bytes of
/// the other direction, so that this one never waits for a network that takes nothing.
struct Inward {
    tls: Tls,
    tcp: TcpStream,
    far: UnixStream,
}

impl Inward {
    fn run(mut self) -> io::Result<()> {
        let (mut sealed, mut plain) = (vec![0; CHUNK], Vec::with_capacity(CHUNK));
        // What came with the handshake is waiting already.
        let mut has_ended = self.open(&[], &mut plain)?;
        while !has_ended {
            self.hand_on(&plain)?;
            plain.clear();
            let read = self.tcp.read(&mut sealed)?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            has_ended = self.open(&sealed[..read], &mut plain)?;
        }
        self.hand_on(&plain)?;
        // Fails only when the near end is gone, and nobody is left to be told.
        let _ = self.far.shutdown(Shutdown::Write);
        Ok(())
    }

    /// Decrypts; tells whether the other side has closed properly.
    fn open(&self, mut sealed: &[u8], plain: &mut Vec<u8>) -> io::Result<bool> {
        let mut tls = lock(&self.tls);
        loop {
            if !sealed.is_empty() {
                tls.read_tls(&mut sealed)?;
            }
            let state = tls
                .process_new_packets()
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            let waiting = state.plaintext_bytes_to_read() as u64;
            tls.reader().take(waiting).read_to_end(plain)?;
            if sealed.is_empty() {
                return Ok(state.peer_has_closed());
            }
        }
    }

    fn hand_on(&mut self, plain: &[u8]) -> io::Result<()> {
        self.far.write_all(plain)
    }
}

/// From the near end to the network.
struct Outward {
    tls: Tls,
    tcp: TcpStream,
    far: UnixStream,
}

impl Outward {
    fn run(mut self) -> io::Result<()> {
        let (mut plain, mut sealed) = (vec![0; CHUNK], Vec::with_capacity(2 * CHUNK));
        loop {
            let read = self.far.read(&mut plain)?;
            {
                let mut tls = lock(&self.tls);
                if read == 0 {
                    tls.send_close_notify();
                } else {
                    tls.writer().write_all(&plain[..read])?;
                }
                while tls.wants_write() {
                    tls.write_tls(&mut sealed)?;
                }
            }
            self.tcp.write_all(&sealed)?;
            sealed.clear();
            if read == 0 {
                return self.tcp.shutdown(Shutdown::Write);
            }
        }
    }
}
