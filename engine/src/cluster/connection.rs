//! One connection to another process: while it is made, and as it is used afterwards.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::options::ClusterOptions;
#[cfg(feature = "cluster-tls")]
use super::tls::{Identity, Secure};

/// Called with the reason when a connection breaks.
pub(crate) type OnBroken = Arc<dyn Fn(String) + Send + Sync>;

/// How connections are protected.
pub(crate) enum Security {
    /// Not at all.
    None,
    #[cfg(feature = "cluster-tls")]
    Tls(Identity),
}

/// A connection that is being made: nothing reads from it or writes to it by itself.
pub(crate) enum Connection {
    Plain(TcpStream),
    #[cfg(feature = "cluster-tls")]
    Secure(Box<Secure>),
}

impl Security {
    /// Reads the certificates, if there are any.
    #[cfg(feature = "cluster-tls")]
    pub(crate) fn load(options: &ClusterOptions) -> Result<Self, String> {
        match &options.tls {
            Some(files) => Identity::load(files).map(Self::Tls),
            None => Ok(Self::None),
        }
    }

    /// There are no certificates: options that name any have been refused.
    #[cfg(not(feature = "cluster-tls"))]
    pub(crate) fn load(_: &ClusterOptions) -> Result<Self, String> {
        Ok(Self::None)
    }

    /// Protects a connection that this process has made to one whose certificate bears `name`.
    pub(crate) fn of_dialed(&self, tcp: TcpStream, name: &str) -> io::Result<Connection> {
        match self {
            Self::None => {
                let _ = name;
                Ok(Connection::Plain(tcp))
            }
            #[cfg(feature = "cluster-tls")]
            Self::Tls(identity) => identity.of_dialed(tcp, name).map(Connection::Secure),
        }
    }

    /// Protects a connection that another process has made to this one.
    pub(crate) fn of_accepted(&self, tcp: TcpStream) -> io::Result<Connection> {
        match self {
            Self::None => Ok(Connection::Plain(tcp)),
            #[cfg(feature = "cluster-tls")]
            Self::Tls(identity) => identity.of_accepted(tcp).map(Connection::Secure),
        }
    }
}

impl Connection {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            #[cfg(feature = "cluster-tls")]
            Self::Secure(secure) => &secure.tcp,
        }
    }

    /// How long to wait for the other side, in reading and in writing.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.tcp().set_read_timeout(timeout)?;
        self.tcp().set_write_timeout(timeout)
    }

    /// Whether the other side is known to have gone away.
    pub(crate) fn is_dead(&self) -> bool {
        let tcp = self.tcp();
        let peeked = tcp.set_nonblocking(true).and_then(|()| tcp.peek(&mut [0]));
        let is_dead = match peeked {
            Ok(waiting) => waiting == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        is_dead || tcp.set_nonblocking(false).is_err()
    }

    /// Whether the other side has proved to be the one that its certificate calls `name`.
    pub(crate) fn check_name(&self, name: &str) -> Result<(), String> {
        match self {
            Self::Plain(_) => {
                let _ = name;
                Ok(())
            }
            #[cfg(feature = "cluster-tls")]
            Self::Secure(secure) => secure.check_name(name),
        }
    }

    /// The connection for use: what is written and read is plain, whatever goes over the network.
    pub(crate) fn into_wire(self, on_broken: OnBroken) -> io::Result<Wire> {
        self.set_timeout(None)?;
        match self {
            Self::Plain(tcp) => {
                drop(on_broken);
                Ok(Wire::Tcp(tcp))
            }
            #[cfg(feature = "cluster-tls")]
            Self::Secure(secure) => super::pump::start(*secure, on_broken).map(Wire::Unix),
        }
    }
}

impl Read for Connection {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(bytes),
            #[cfg(feature = "cluster-tls")]
            Self::Secure(secure) => secure.read(bytes),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            #[cfg(feature = "cluster-tls")]
            Self::Secure(secure) => secure.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            #[cfg(feature = "cluster-tls")]
            Self::Secure(secure) => secure.flush(),
        }
    }
}

/// A connection in use.
pub(crate) enum Wire {
    Tcp(TcpStream),
    /// The near end of one whose far end is encrypted on its way to the network.
    Unix(UnixStream),
}

impl Wire {
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(tcp) => tcp.try_clone().map(Self::Tcp),
            Self::Unix(unix) => unix.try_clone().map(Self::Unix),
        }
    }

    pub(crate) fn set_nonblocking(&self, is_nonblocking: bool) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.set_nonblocking(is_nonblocking),
            Self::Unix(unix) => unix.set_nonblocking(is_nonblocking),
        }
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.shutdown(how),
            Self::Unix(unix) => unix.shutdown(how),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(bytes),
            Self::Unix(unix) => unix.read(bytes),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.write(bytes),
            Self::Unix(unix) => unix.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.flush(),
            Self::Unix(unix) => unix.flush(),
        }
    }
}
