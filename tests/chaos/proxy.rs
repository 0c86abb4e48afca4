//! A network that fails on demand: a proxy between one who connects and one who listens.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Everything comes a little later.
    Delay,
    /// Nothing comes through, and nobody is told.
    HalfOpen,
    /// Connections are closed.
    Cut,
    /// Connections are reset.
    Reset,
    /// The proxy is no longer needed.
    Over,
}

const DELAY: Duration = Duration::from_millis(60);
const GLANCE: Duration = Duration::from_millis(10);
/// How long a target may take to answer that is there.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A proxy on a port of its own.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    weather: Arc<Mutex<Weather>>,
}

impl Proxy {
    /// Passes connections on to `target`.
    pub(crate) fn start(target: SocketAddr) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), target)
    }

    /// Passes connections to `front` on to `target`.
    pub(crate) fn start_at(front: SocketAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind(front).expect("the port is free");
        listener.set_nonblocking(true).expect("it is a socket");
        let address = listener.local_addr().expect("it is bound");
        let weather = Arc::new(Mutex::new(Weather::Fair));
        let seen = Arc::clone(&weather);
        thread::spawn(move || {
            while now(&seen) != Weather::Over {
                match listener.accept() {
                    Ok((near, _)) => {
                        let seen = Arc::clone(&seen);
                        // Whoever is not passed on is closed, and may try again.
                        let _ = thread::Builder::new().spawn(move || pass_on(near, target, &seen));
                    }
                    Err(_) => thread::sleep(GLANCE),
                }
            }
        });
        Self { address, weather }
    }

    pub(crate) fn set(&self, weather: Weather) {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Weather::Over);
    }
}

fn now(weather: &Mutex<Weather>) -> Weather {
    *weather.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes on in both directions. Where something is missing for that, such as the target, or a descriptor,
/// the connection is closed.
fn pass_on(near: TcpStream, target: SocketAddr, weather: &Mutex<Weather>) -> io::Result<()> {
    let far = TcpStream::connect_timeout(&target, CONNECT_MAX)?;
    for stream in [&near, &far] {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(GLANCE))?;
    }
    let (near_again, far_again) = (near.try_clone()?, far.try_clone()?);
    let is_broken = AtomicBool::new(false);
    let pass = |from, to| {
        if !pump(from, to, weather, &is_broken) {
            is_broken.store(true, Ordering::SeqCst);
        }
    };
    thread::scope(|scope| {
        let back = thread::Builder::new().spawn_scoped(scope, || pass(far_again, near_again))?;
        pass(near, far);
        back.join().expect("it does not panic");
        Ok(())
    })
}

/// Passes on in one direction; whether that has come to its end in good order.
fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    weather: &Mutex<Weather>,
    is_broken: &AtomicBool,
) -> bool {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // What is lost in one direction is lost in both.
        if is_broken.load(Ordering::SeqCst) {
            return false;
        }
        match now(weather) {
            Weather::Over | Weather::Cut => {
                // Fails only when it is closed already.
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                return false;
            }
            Weather::Reset => {
                // What closes with something unread is reset.
                let _ = from.peek(&mut buffer);
                return false;
            }
            Weather::HalfOpen => thread::sleep(GLANCE),
            fair => match from.read(&mut buffer) {
                Ok(0) => {
                    let _ = to.shutdown(Shutdown::Write);
                    return true;
                }
                Ok(bytes) => {
                    if fair == Weather::Delay {
                        thread::sleep(DELAY);
                    }
                    // It may have come while the weather changed.
                    while now(weather) == Weather::HalfOpen {
                        thread::sleep(GLANCE);
                    }
                    if to.write_all(&buffer[..bytes]).is_err() {
                        return false;
                    }
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return false,
            },
        }
    }
}
