//! Where the processes of a cluster are.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// The port of process 0 where no hosts are named; the others follow it.
const FIRST_PORT: u16 = 2101;

/// The address of one process: a host's name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    name: String,
    port: u16,
}

impl Host {
    /// Whether the address is one of this machine alone, whatever its names are said to mean.
    pub fn is_loopback(&self) -> bool {
        let address = IpAddr::from_str(&self.name);
        self.name == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// The addresses that the name stands for now.
    ///
    /// # Errors
    /// When the name is not known.
    pub(crate) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        Ok((self.name.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = |what: &str| {
            format!("`{text}` is not the address of a process: {what}; give host:port")
        };
        let (name, port) = text
            .rsplit_once(':')
            .ok_or_else(|| error("it has no port"))?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| error("the port is no number from 1 to 65535"))?;
        let bare = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        let name = bare.unwrap_or(name);
        if bare.is_none() && name.contains(':') {
            return Err(error("an address of IPv6 stands in brackets"));
        }
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || "[]{}/".contains(c)) {
            return Err(error("the host's name is none"));
        }
        let name = name.to_owned();
        Ok(Self { name, port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// Reads the addresses of all processes, in their order: separated by commas or line breaks, with
/// comments from `#` to the end of the line. A single one with `{}` in it stands for all, with each
/// process's number in the place of `{}`, as the pods of a StatefulSet are called. Where nothing is
/// said of how many there are, it is as many as are named.
///
/// ```
/// use thalweg_engine::cluster::hosts;
///
/// let hosts = hosts::read("fraud-{}.fraud.prod.svc:2101", Some(3))?;
/// assert_eq!(hosts[2].to_string(), "fraud-2.fraud.prod.svc:2101");
/// assert!(hosts::read("one:2101, two:2101", Some(3)).is_err());
/// # Ok::<(), String>(())
/// ```
///
/// # Errors
/// When they are not as many as there are processes, or one of them is none or comes twice.
pub fn read(text: &str, processes: Option<usize>) -> Result<Vec<Host>, String> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""));
    let entries: Vec<_> = lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .collect();
    let hosts: Vec<Host> = match entries[..] {
        [pattern] if pattern.contains("{}") => (0..processes.unwrap_or(0))
            .map(|process| pattern.replace("{}", &process.to_string()).parse())
            .collect::<Result<_, _>>()?,
        _ => entries
            .iter()
            .map(|entry| entry.parse())
            .collect::<Result<_, _>>()?,
    };
    if let Some(processes) = processes
        && hosts.len() != processes
    {
        return Err(format!(
            "{} addresses for {processes} processes: give one for each, in their order",
            hosts.len()
        ));
    }
    if hosts.is_empty() {
        return Err(
            "it names no process: give host:port for each, or say how many there are".to_owned(),
        );
    }
    for (place, host) in hosts.iter().enumerate() {
        if hosts[..place].contains(host) {
            return Err(format!(
                "{host} comes twice: give each process an address of its own"
            ));
        }
    }
    Ok(hosts)
}

/// The addresses of processes that all run on this machine, where nothing is said of them.
pub fn local(processes: usize) -> Vec<Host> {
    let ports = (FIRST_PORT..).take(processes);
    let host = |port| Host {
        name: "127.0.0.1".to_owned(),
        port,
    };
    ports.map(host).collect()
}

/// The number at the end of a host's name such as `fraud-2`, as the pods of a StatefulSet are called.
pub fn ordinal(host_name: &str) -> Option<usize> {
    let first = host_name.split('.').next()?;
    let (name, number) = first.rsplit_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !name.is_empty()).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_files_are_read_alike() {
        let check = |text: &str, processes, expected: &[&str]| {
            let hosts = read(text, Some(processes)).expect("they are addresses");
            let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
            assert_eq!(hosts, expected, "{text}");
        };
        check("a:1,b:2", 2, &["a:1", "b:2"]);
        check("# ours\na:1 # first\n\n  [::1]:2\n", 2, &["a:1", "[::1]:2"]);
        check("pod-{}.svc:7", 2, &["pod-0.svc:7", "pod-1.svc:7"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_the_remedy() {
        let check = |text: &str, processes, expected: &str| {
            assert_eq!(read(text, Some(processes)).expect_err(text), expected);
        };
        check(
            "a:1",
            2,
            "1 addresses for 2 processes: give one for each, in their order",
        );
        check(
            "a:1,a:1",
            2,
            "a:1 comes twice: give each process an address of its own",
        );
        for (text, what) in [
            ("a", "it has no port"),
            ("a:0", "the port is no number from 1 to 65535"),
            ("a:b", "the port is no number from 1 to 65535"),
            ("::1:7", "an address of IPv6 stands in brackets"),
            (":7", "the host's name is none"),
            ("a b:7", "the host's name is none"),
        ] {
            let expected =
                format!("`{text}` is not the address of a process: {what}; give host:port");
            check(text, 1, &expected);
        }
    }

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        for (text, expected) in [
            ("localhost:1", true),
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("0.0.0.0:1", false),
            ("10.0.0.1:1", false),
            ("localhost.example:1", false),
        ] {
            let host: Host = text.parse().expect("an address");
            assert_eq!(host.is_loopback(), expected, "{text}");
        }
        assert!(local(3).iter().all(Host::is_loopback));
        assert_eq!(local(3)[2].to_string(), "127.0.0.1:2103");
    }

    #[test]
    fn the_ordinal_of_a_pod_stands_at_the_end_of_its_name() {
        assert_eq!(ordinal("fraud-2"), Some(2));
        assert_eq!(ordinal("fraud-eu-11.fraud.svc"), Some(11));
        for name in ["fraud", "fraud-", "-1", "fraud-x1", "fraud-+1", ""] {
            assert_eq!(ordinal(name), None, "{name}");
        }
    }
}
