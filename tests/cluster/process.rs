//! Starts processes, and looks after them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

pub(crate) const FRAUD: &str = env!("CARGO_BIN_EXE_fraud");
pub(crate) const FLIGHTS: &str = env!("CARGO_BIN_EXE_flights");

/// How often to look, and how often before a test gives up: a minute and a half.
const GLANCE: Duration = Duration::from_millis(20);
const GLANCES_MAX: u32 = 15_000;

/// The ports that are given out to the tests: not those that the system gives to connections.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 12_000;

/// Addresses on ports that nobody else has.
pub(crate) fn free_addresses(count: usize) -> Vec<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Other runs at the same time begin elsewhere.
    let start = std::process::id().wrapping_mul(97) % u32::from(PORTS);
    let start = u16::try_from(start).expect("it is below the number of ports");
    let addresses = std::iter::repeat_with(|| {
        let turn = NEXT.fetch_add(1, Ordering::SeqCst);
        let port = FIRST_PORT + (start + turn) % PORTS;
        SocketAddr::from(([127, 0, 0, 1], port))
    });
    let free = addresses.filter(|address| TcpListener::bind(address).is_ok());
    free.take(count).collect()
}

/// Places for so many processes, as `--hosts` takes them.
pub(crate) fn free_hosts(processes: usize) -> String {
    let addresses = free_addresses(processes);
    let hosts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    hosts.join(",")
}

/// A log in the folder with so many payments.
pub(crate) fn generate(folder: &Path, events: u64) -> PathBuf {
    let log = folder.join("log");
    let output = Command::new(FRAUD)
        .args(["generate", "--seed", "4", "--drift", "amounts,tactics"])
        .args(["--events", &events.to_string(), "--log"])
        .arg(&log)
        .output()
        .expect("the program was built");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    log
}

/// Waits until it is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..GLANCES_MAX {
        if is_so() {
            return;
        }
        thread::sleep(GLANCE);
    }
    panic!("waited in vain until {what}");
}

/// A running program, which does not outlive the test.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program with what it says going to a file in the folder.
    pub(crate) fn start(program: &str, folder: &Path, name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        Self::spawn(command.args(arguments).env_remove("HOSTNAME"), folder, name)
    }

    /// Likewise of a command.
    pub(crate) fn spawn(command: &mut Command, folder: &Path, name: &str) -> Self {
        let log = folder.join(format!("{name}.stderr"));
        let file = File::create(&log).expect("the folder is writable");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("the program was built");
        Self { child, log }
    }

    /// Process `index` of a cluster of fraud over the log.
    pub(crate) fn fraud(
        folder: &Path,
        log: &Path,
        hosts: &str,
        index: usize,
        more: &[&str],
    ) -> Self {
        let (out, process) = (folder.join("out"), index.to_string());
        let arguments = [
            "run",
            "--sink",
            "file",
            "--log",
            log.to_str().expect("a path of the test is UTF-8"),
            "--out",
            out.to_str().expect("a path of the test is UTF-8"),
            "--hosts",
            hosts,
            "--process",
            &process,
        ];
        Self::start(
            FRAUD,
            folder,
            &format!("process-{index}"),
            &[&arguments[..], more].concat(),
        )
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        send(signal, self.id());
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).expect("it is UTF-8")
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is a child").is_some()
    }

    /// Waits for its end; gives the exit code and what it has said.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut status = None;
        wait_until(
            &format!("a process ended that says {}", self.said()),
            || {
                status = self.child.try_wait().expect("it is a child");
                status.is_some()
            },
        );
        (status.and_then(|status| status.code()), self.said())
    }

    /// Waits for its end, which is to be one of this exit code with these words.
    pub(crate) fn ends_with(self, code: i32, words: &str) {
        let (ended, said) = self.end();
        assert_eq!(ended, Some(code), "{said}");
        assert!(said.contains(words), "`{words}` is missing:\n{said}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A stopped one does not mind being killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process.
pub(crate) fn send(signal: &str, process: u32) {
    let status = Command::new("kill")
        .args([format!("-{signal}"), process.to_string()])
        .status();
    assert!(status.expect("there is a kill").success());
}

/// Asks an admin endpoint; the status and the body, if it answers.
pub(crate) fn get(address: SocketAddr, path: &str, header: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n{header}\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// Waits until the process, which serves its state there, is ready.
pub(crate) fn wait_until_ready(process: &Process, address: SocketAddr) {
    let is_ready = || get(address, "/readyz", "").is_some_and(|(status, _)| status == 200);
    for _ in 0..GLANCES_MAX {
        if is_ready() {
            return;
        }
        thread::sleep(GLANCE);
    }
    panic!("a process does not get ready, and says {}", process.said());
}
