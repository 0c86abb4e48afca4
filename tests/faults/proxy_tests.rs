//! The proxy does to connections what it says.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::proxy::{Proxy, Weather};

/// A proxy to one who says everything back, and a connection through it.
fn echo() -> (Proxy, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
    let stream = TcpStream::connect(proxy.address).unwrap();
    (proxy, stream)
}

fn say(stream: &mut TcpStream) -> std::io::Result<u8> {
    let mut byte = [7];
    stream.write_all(&byte)?;
    byte[0] = 0;
    stream.read_exact(&mut byte).map(|()| byte[0])
}

#[test]
fn fair_and_slow_weather_pass_everything_on() {
    let (proxy, mut stream) = echo();
    assert_eq!(say(&mut stream).unwrap(), 7);
    proxy.set(Weather::Delay);
    assert_eq!(say(&mut stream).unwrap(), 7);
}

#[test]
fn a_half_open_connection_says_nothing_until_it_is_whole_again() {
    let (proxy, mut stream) = echo();
    assert_eq!(say(&mut stream).unwrap(), 7);
    proxy.set(Weather::HalfOpen);
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let error = say(&mut stream).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    proxy.set(Weather::Fair);
    stream.set_read_timeout(None).unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    assert_eq!(byte, [7]);
}

#[test]
fn connections_are_cut_and_reset_and_made_again() {
    for weather in [Weather::Cut, Weather::Reset] {
        let (proxy, mut stream) = echo();
        assert_eq!(say(&mut stream).unwrap(), 7);
        proxy.set(weather);
        let broken = (0..1_000).any(|_| say(&mut stream).is_err());
        assert!(broken, "{weather:?}");
        proxy.set(Weather::Fair);
        let again = || TcpStream::connect(proxy.address).and_then(|mut stream| say(&mut stream));
        assert!((0..1_000).any(|_| again().is_ok()), "{weather:?}");
    }
}
