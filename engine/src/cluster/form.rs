//! Forms a cluster: every process comes to those of lower numbers and waits for those of higher
//! ones, until all have come to each other.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::connection::{Connection, Security};
use super::hello::{self, Answer, Hello, Purpose, Refusal};
use super::opening::{FormError, Opening, open};
use super::options::ClusterOptions;
use super::roster::{Pair, Roster};
use crate::clock::Clock;
use crate::job::StopHandle;
use crate::time::{millis, secs};

/// How long one who has come may take for its greeting, and the other for its answer.
const GREETING: Duration = secs(5);
/// Strangers that may be waiting to greet.
const GREETING_MAX: usize = 64;
/// How soon to try again to come to a process: at first, and at most, after twice as long each time.
const RETRY_MIN: Duration = millis(50);
const RETRY_MAX: Duration = secs(1);
/// After how long to say who is missing, the first time; each time after twice as long, and at most this.
const TELL_AFTER: Duration = secs(5);
const TELL_AFTER_MAX: Duration = secs(60);
/// How often to look whether everybody is there.
pub(super) const GLANCE: Duration = millis(10);

/// A cluster that is complete.
pub(crate) struct Formed {
    /// The connections to each process; none to this one.
    pub(crate) pairs: Vec<Option<Pair>>,
    /// Keeps telling latecomers that they are.
    pub(crate) door: Door,
}

/// The listener, which answers those who come, until it is dropped.
pub(crate) struct Door(Arc<AtomicBool>);

impl Drop for Door {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits until all processes have come to each other, goes through the opening with them, and puts
/// `clock` in step with theirs.
pub(crate) fn form(
    options: &ClusterOptions,
    own: Hello,
    clock: &Clock,
    stop: &StopHandle,
    opening: &mut impl Opening,
) -> Result<Formed, FormError> {
    let security = Arc::new(Security::load(options).map_err(FormError::Refused)?);
    let roster = Arc::new(Roster::new(own));
    let deadline_ns = clock.now_ns() + nanos(options.connect_timeout);
    let door = listen(options, &roster, &security)?;
    let wait = Wait {
        options: options.clone(),
        clock: clock.clone(),
        stop: stop.clone(),
        deadline_ns,
    };
    for process in 0..options.process {
        let dialer = Dialer {
            process,
            wait: wait.clone(),
            roster: Arc::clone(&roster),
            security: Arc::clone(&security),
        };
        spawn(&format!("dial-{process}"), move || dialer.run())?;
    }
    let gathered = gather(&roster, &wait);
    let mut pairs = gathered.inspect_err(|_| roster.give_up())?;
    open(&mut pairs, &wait, opening)?;
    Ok(Formed { pairs, door })
}

/// For how long to go on.
#[derive(Clone)]
pub(super) struct Wait {
    pub(super) options: ClusterOptions,
    pub(super) clock: Clock,
    stop: StopHandle,
    deadline_ns: u64,
}

impl Wait {
    fn is_over(&self) -> bool {
        self.clock.now_ns() >= self.deadline_ns
    }

    /// That a process has gone, in words.
    pub(super) fn missed(&self, process: usize, error: &io::Error) -> FormError {
        FormError::Missing(format!(
            "process {process} at {} went away while the cluster formed ({error}): start it again",
            self.options.hosts[process]
        ))
    }

    /// How long one may be silent that has been heard.
    pub(super) fn patience(&self) -> Duration {
        self.options.peer_timeout.max(GREETING)
    }

    /// What is left of it, and at least as long as a greeting may take.
    pub(super) fn rest(&self) -> Duration {
        let rest = self.deadline_ns.saturating_sub(self.clock.now_ns());
        Duration::from_nanos(rest).max(GREETING)
    }
}

fn gather(roster: &Roster, wait: &Wait) -> Result<Vec<Option<Pair>>, FormError> {
    let options = &wait.options;
    let began_ns = wait.clock.now_ns();
    let (mut tell_after, mut told_ns) = (TELL_AFTER, began_ns);
    let incomplete = |waited: Duration| {
        format!(
            "the cluster of {} processes is not complete after {waited:.0?}: {}; start what is \
             missing (its own log says why it has ended), or mend --hosts",
            options.processes(),
            roster.missing(&options.hosts)
        )
    };
    loop {
        let now_ns = wait.clock.now_ns();
        if let Some(pairs) = roster.close() {
            return Ok(pairs);
        }
        if let Some(reason) = roster.fatal() {
            return Err(FormError::Refused(reason));
        }
        if wait.stop.is_stopped() {
            return Err(FormError::Stopped);
        }
        if wait.is_over() {
            return Err(FormError::Missing(incomplete(options.connect_timeout)));
        }
        if now_ns - told_ns >= nanos(tell_after) {
            tracing::warn!("{}", incomplete(Duration::from_nanos(now_ns - began_ns)));
            (tell_after, told_ns) = ((2 * tell_after).min(TELL_AFTER_MAX), now_ns);
        }
        thread::sleep(GLANCE);
    }
}

/// Listens at this process's own place, and answers those who come.
fn listen(
    options: &ClusterOptions,
    roster: &Arc<Roster>,
    security: &Arc<Security>,
) -> Result<Door, FormError> {
    let place = options
        .listen
        .as_ref()
        .unwrap_or(&options.hosts[options.process]);
    let bound = place
        .resolve()
        .and_then(|addresses| TcpListener::bind(&*addresses));
    let listener = bound
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| {
            FormError::Missing(format!(
                "cannot listen at {place} for the other processes: {error}; end what else listens \
                 there, or give another address with --hosts or --listen"
            ))
        })?;
    let is_shut = Arc::new(AtomicBool::new(false));
    let porter = Porter {
        is_shut: Arc::clone(&is_shut),
        greeting: Arc::new(AtomicUsize::new(0)),
        options: options.clone(),
        roster: Arc::clone(roster),
        security: Arc::clone(security),
    };
    spawn("cluster-door", move || porter.run(&listener))?;
    Ok(Door(is_shut))
}

/// Sees to those who come to this process.
#[derive(Clone)]
struct Porter {
    is_shut: Arc<AtomicBool>,
    /// How many are being seen to.
    greeting: Arc<AtomicUsize>,
    options: ClusterOptions,
    roster: Arc<Roster>,
    security: Arc<Security>,
}

impl Porter {
    fn run(self, listener: &TcpListener) {
        while !self.is_shut.load(Ordering::SeqCst) {
            match listener.accept() {
                Ok((tcp, from)) => self.see_to(tcp, from),
                // Nobody is there; or somebody has gone again.
                Err(_) if self.roster.is_closed() => thread::sleep(10 * GLANCE),
                Err(_) => thread::sleep(GLANCE),
            }
        }
    }

    /// On a thread of its own, so that one who says nothing keeps nobody waiting.
    fn see_to(&self, tcp: TcpStream, from: SocketAddr) {
        if self.greeting.fetch_add(1, Ordering::SeqCst) >= GREETING_MAX {
            self.greeting.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        let porter = self.clone();
        let spawned = spawn("cluster-greet", move || {
            if let Err(reason) = porter.greet(tcp) {
                tracing::warn!(%from, "refused a connection to the cluster: {reason}");
            }
            porter.greeting.fetch_sub(1, Ordering::SeqCst);
        });
        if spawned.is_err() {
            self.greeting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn greet(&self, tcp: TcpStream) -> Result<(), String> {
        let secured = prepare(&tcp).and_then(|()| self.security.of_accepted(tcp));
        let mut connection = secured.map_err(|error| error.to_string())?;
        let hello = match hello::hear(&mut connection) {
            Ok(hello) => hello,
            Err(error) => {
                if error.kind() == ErrorKind::InvalidData {
                    let refusal = Refusal::Wrong(error.to_string());
                    let _ = hello::answer(&mut connection, &Answer::Refused(refusal));
                }
                return Err(error.to_string());
            }
        };
        let own = self.roster.own();
        let name = self.options.certificate_name(hello.process);
        let checked = own
            .check(&hello)
            .and_then(|()| connection.check_name(&name));
        let checked = checked.and_then(|()| match hello.process > own.process {
            true => Ok(()),
            false => Err(format!(
                "process {} has to wait for this one to come",
                hello.process
            )),
        });
        if let Err(reason) = checked {
            let refusal = Answer::Refused(Refusal::Wrong(reason.clone()));
            let _ = hello::answer(&mut connection, &refusal);
            let trouble = format!("one that came was refused: {reason}");
            if hello.process != own.process {
                self.roster.note_trouble(hello.process, trouble);
            }
            return Err(reason);
        }
        let welcome = |connection: &mut Connection| {
            let purpose = hello.purpose;
            let own = Hello {
                purpose,
                ..own.clone()
            };
            hello::answer(connection, &Answer::Welcome(own))
        };
        let admitted = self.roster.admit(&hello, connection, welcome);
        admitted.map_err(|(mut connection, refusal)| {
            let _ = hello::answer(&mut connection, &Answer::Refused(refusal.clone()));
            let (Refusal::Taken(reason) | Refusal::Wrong(reason)) = refusal;
            reason
        })
    }
}

/// Comes to one process of a lower number, again and again until it is there.
struct Dialer {
    process: usize,
    wait: Wait,
    roster: Arc<Roster>,
    security: Arc<Security>,
}

impl Dialer {
    fn run(self) {
        let mut retry = RETRY_MIN;
        while !self.roster.is_closed() && !self.wait.stop.is_stopped() && !self.wait.is_over() {
            let Some(purpose) = self.roster.wanted(self.process) else {
                // It might go away before the others have come.
                thread::sleep(10 * GLANCE);
                continue;
            };
            match self.dial(purpose) {
                Ok((hello, connection)) => {
                    self.roster.enter(&hello, connection);
                    retry = RETRY_MIN;
                }
                Err(Refusal::Wrong(reason)) => {
                    let (process, host) = (self.process, &self.wait.options.hosts[self.process]);
                    let fatal = format!(
                        "process {process} at {host} and this one do not go together: {reason}"
                    );
                    return self.roster.note_fatal(fatal);
                }
                Err(Refusal::Taken(reason)) => {
                    self.roster.note_trouble(self.process, reason);
                    thread::sleep(retry);
                    retry = (2 * retry).min(RETRY_MAX);
                }
            }
        }
    }

    fn dial(&self, purpose: Purpose) -> Result<(Hello, Connection), Refusal> {
        let options = &self.wait.options;
        let tcp = connect(options.hosts[self.process].resolve())
            .map_err(|error| Refusal::Taken(format!("it cannot be reached ({error})")))?;
        let broken = |error: io::Error| {
            let reason = error.to_string();
            if error.kind() == ErrorKind::InvalidData {
                Refusal::Wrong(reason)
            } else {
                Refusal::Taken(format!("it broke off while greeting ({reason})"))
            }
        };
        let own = Hello {
            purpose,
            ..self.roster.own().clone()
        };
        let greet = || {
            prepare(&tcp)?;
            let name = options.certificate_name(self.process);
            let mut connection = self.security.of_dialed(tcp, &name)?;
            hello::greet(&mut connection, &own)?;
            let answer = hello::hear_answer(&mut connection)?;
            Ok((connection, answer))
        };
        let (connection, answer) = greet().map_err(broken)?;
        let hello = match answer {
            Answer::Welcome(hello) => hello,
            Answer::Refused(refusal) => return Err(refusal),
        };
        own.check(&hello).map_err(Refusal::Wrong)?;
        if hello.process != self.process {
            return Err(Refusal::Wrong(format!(
                "there is process {}: give all processes the same --hosts",
                hello.process
            )));
        }
        Ok((hello, connection))
    }
}

fn connect(addresses: io::Result<Vec<SocketAddr>>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "its name stands for no address");
    for address in addresses? {
        match TcpStream::connect_timeout(&address, GREETING) {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nonblocking(false)?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(GREETING))?;
    tcp.set_write_timeout(Some(GREETING))
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), FormError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned
        .map(drop)
        .map_err(|error| FormError::Missing(format!("cannot start thread `{name}`: {error}")))
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
