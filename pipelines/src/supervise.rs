//! Runs the program as a child, and starts it again when it breaks down.
//!
//! The child's standard input is a line to here. A word on it asks the child to finish what it has and
//! end. When it closes without one, the supervisor is gone, and the child ends at once, as if it had
//! broken down: there is never a child without its supervisor. The other way, the child says again and
//! again that it goes on: one that has been stopped, or hangs, is ended and started again, too.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thalweg_engine::clock::Clock;
use thalweg_engine::job::StopHandle;
use thalweg_engine::key::key_hash;
use thalweg_engine::telemetry::{Health, Telemetry};
use thalweg_engine::time::{millis, secs};
use tracing::{error, info, warn};

use crate::outcome::{INTERRUPTED, Outcome, print_errors};

/// Tells the child that it is one, and which start of its supervisor it belongs to.
const SUPERVISED: &str = "THALWEG_SUPERVISED";
/// Tells the child that one before it has taken a checkpoint.
const SEALED: &str = "THALWEG_SUPERVISED_SEALED";
/// The variables that are no settings.
pub(crate) const OWN_VARIABLES: [&str; 2] = [SUPERVISED, SEALED];
/// The word that asks a child to stop.
const STOP: &[u8; 4] = b"stop";
/// What a child says that goes on, and one that has taken a checkpoint as well.
const GOES_ON: u8 = b'.';
const HAS_SEALED: u8 = b'+';
/// How often it does.
const BEAT_EVERY: Duration = millis(500);
/// After how long without a word a child is given up: one that has spoken, and one that has not.
const SILENCE_MAX: Duration = secs(8);
const START_MAX: Duration = secs(60);
/// How long to wait before a restart: at first, and at most, after twice as long each time.
const PAUSE_MIN: Duration = millis(200);
const PAUSE_MAX: Duration = secs(10);
/// A child that has run for so long has not failed because of what made the one before it fail.
const LONG: Duration = secs(60);
/// How often to look after the child.
const GLANCE: Duration = millis(20);

/// Whether this is the child of a supervisor.
pub(crate) fn is_supervised() -> bool {
    std::env::var_os(SUPERVISED).is_some()
}

/// What all children of one start of a supervisor have in common.
pub(crate) fn start_token() -> Option<u64> {
    std::env::var(SUPERVISED).ok()?.parse().ok()
}

/// Whether one of them has taken a checkpoint.
pub(crate) fn has_sealed() -> bool {
    std::env::var_os(SEALED).is_some()
}

/// Has the job of a supervised program stop when its supervisor says so, and ends the program when
/// its supervisor is gone; tells the supervisor that the program goes on.
pub(crate) fn listen(stop: StopHandle, telemetry: &Arc<Telemetry>) {
    let wait = move || {
        let mut word = [0; STOP.len()];
        if io::stdin().read_exact(&mut word).is_ok() {
            return stop.stop();
        }
        print_errors(["the supervisor is gone: ending with it"]);
        std::process::exit(Outcome::Lost.code().into());
    };
    let telemetry = Arc::clone(telemetry);
    let line = io::stdin().as_fd().try_clone_to_owned();
    let spawned = std::thread::Builder::new()
        .name("supervisor".to_owned())
        .spawn(wait)
        .and(line)
        .and_then(|line| {
            std::thread::Builder::new()
                .name("beat".to_owned())
                .spawn(move || beat(UnixStream::from(line), &telemetry))
        });
    if let Err(error) = spawned {
        warn!(%error, "cannot talk to the supervisor");
    }
}

/// Says again and again that the program goes on, as long as it does.
fn beat(mut line: UnixStream, telemetry: &Telemetry) {
    loop {
        let word = match telemetry.gauge("checkpoint_epoch").get().is_nan() {
            true => GOES_ON,
            false => HAS_SEALED,
        };
        let is_stuck = matches!(telemetry.status().health, Health::Stuck(_));
        // Fails when the supervisor is gone, which the other thread notices.
        if !is_stuck && line.write_all(&[word]).is_err() {
            return;
        }
        std::thread::sleep(BEAT_EVERY);
    }
}

/// Runs this program with these arguments, and again whenever it breaks down, at most `restarts`
/// times in a row. Returns its exit code.
pub(crate) fn run(arguments: &[OsString], restarts: usize) -> u8 {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            error!(%error, "cannot find this program to start it again");
            return Outcome::Refused.code();
        }
    };
    let clock = Clock::system();
    let token = key_hash(&(std::process::id(), clock.wall().as_micros()));
    let mut command = Command::new(program);
    command.args(arguments).env(SUPERVISED, token.to_string());
    let ward = Arc::new(Mutex::new(Ward::default()));
    listen_for(&ward);
    let (mut in_a_row, mut pause, mut has_got_on) = (0, PAUSE_MIN, false);
    loop {
        let started_ns = clock.now_ns();
        let end = match attend(&ward, &mut command, &clock) {
            Ok(end) => end,
            Err(error) => {
                error!(%error, "cannot start the program");
                return Outcome::Refused.code();
            }
        };
        let (status, code) = (end.status, exit_code(end.status));
        if end.has_sealed || Duration::from_nanos(clock.now_ns() - started_ns) >= LONG {
            (in_a_row, pause, has_got_on) = (0, PAUSE_MIN, true);
        }
        if end.has_sealed {
            command.env(SEALED, "1");
        }
        if lock(&ward).asked > 0 || !is_worth_another_try(code, has_got_on) {
            return code;
        }
        if in_a_row == restarts {
            match code == Outcome::Refused.code() {
                true => error!(%status, "the program cannot start any more, as it says: giving up"),
                false => {
                    error!(%status, restarts, "the program has broken down too often in a row: giving up");
                }
            }
            return code;
        }
        in_a_row += 1;
        warn!(%status, attempt = in_a_row, pause_ms = pause.as_millis() as u64, "the program has broken down: starting it again");
        std::thread::sleep(pause);
        pause = (2 * pause).min(PAUSE_MAX);
        if lock(&ward).asked > 0 {
            return code;
        }
    }
}

/// The child, as signals find it.
#[derive(Default)]
struct Ward {
    child: Option<Child>,
    line: Option<UnixStream>,
    /// How often the program was asked to stop.
    asked: u32,
}

impl Ward {
    fn say_stop(&mut self) {
        if let Some(line) = &mut self.line {
            // Fails only when the child has ended by itself.
            let _ = line.write_all(STOP);
        }
    }

    /// What the child has said since the last time.
    fn heard(&mut self) -> Vec<u8> {
        let mut words = [0; 64];
        let read = self.line.as_mut().map(|line| line.read(&mut words));
        let read = read.and_then(Result::ok).unwrap_or(0);
        words[..read].to_vec()
    }
}

fn lock(ward: &Mutex<Ward>) -> MutexGuard<'_, Ward> {
    ward.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a child has ended.
struct End {
    status: ExitStatus,
    /// Whether it had taken a checkpoint: it has got on then.
    has_sealed: bool,
}

/// Starts the child and waits for its end.
fn attend(ward: &Mutex<Ward>, command: &mut Command, clock: &Clock) -> io::Result<End> {
    let (line, far) = UnixStream::pair()?;
    line.set_nonblocking(true)?;
    let child = command.stdin(OwnedFd::from(far)).spawn()?;
    // Only the child has the other end.
    command.stdin(Stdio::null());
    info!(process_id = child.id(), "started the program");
    {
        let mut ward = lock(ward);
        ward.line = Some(line);
        ward.child = Some(child);
        if ward.asked > 0 {
            ward.say_stop();
        }
    }
    let mut looked_ns = clock.now_ns();
    let (mut heard_ns, mut silence_max, mut has_sealed) = (looked_ns, START_MAX, false);
    loop {
        let now_ns = clock.now_ns();
        // Where it was not this one that was there, the child may have been, too.
        let was_away = Duration::from_nanos(now_ns - looked_ns) > SILENCE_MAX / 4;
        looked_ns = now_ns;
        {
            let mut ward = lock(ward);
            let heard = ward.heard();
            if !heard.is_empty() {
                silence_max = SILENCE_MAX;
                has_sealed |= heard.contains(&HAS_SEALED);
            }
            if was_away || !heard.is_empty() {
                heard_ns = now_ns;
            }
            let status = ward
                .child
                .as_mut()
                .map(Child::try_wait)
                .transpose()?
                .flatten();
            if let Some(status) = status {
                (ward.child, ward.line) = (None, None);
                return Ok(End { status, has_sealed });
            }
            if let Some(child) = &mut ward.child
                && Duration::from_nanos(now_ns - heard_ns) > silence_max
            {
                warn!("the program is stopped or hangs: ending it");
                child.kill()?;
                heard_ns = now_ns;
            }
        }
        std::thread::sleep(GLANCE);
    }
}

/// Passes signals on: the first asks the child to finish, the second ends it.
fn listen_for(ward: &Arc<Mutex<Ward>>) {
    let ward = Arc::clone(ward);
    let listening = ctrlc::set_handler(move || {
        let mut ward = lock(&ward);
        ward.asked += 1;
        ward.say_stop();
        if ward.asked > 1 {
            if let Some(child) = &mut ward.child {
                let _ = child.kill();
            }
            std::process::exit(INTERRUPTED);
        }
    });
    if let Err(error) = listening {
        warn!(%error, "cannot listen to signals: an interrupt will end the supervisor alone");
    }
}

/// The exit code to hand on; that of a broken-down program for one that a signal has ended.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(Outcome::Failed.code())
}

/// Whether a program that has ended in this way may do better the next time. What has got on before and
/// cannot start now may miss a broker, or the volume of its checkpoints, which comes back.
fn is_worth_another_try(code: u8, has_got_on: bool) -> bool {
    if code == Outcome::Refused.code() {
        return has_got_on;
    }
    let ends = [Outcome::Done, Outcome::Superseded];
    !ends.map(Outcome::code).contains(&code) && i32::from(code) != INTERRUPTED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_do_better_is_started_again() {
        for (code, expected) in [
            (0, false),
            (1, true),
            (2, false),
            (3, true),
            (4, false),
            (5, true),
            (101, true),
            (130, false),
        ] {
            assert_eq!(is_worth_another_try(code, false), expected, "{code}");
            let expected = expected || code == 2;
            assert_eq!(is_worth_another_try(code, true), expected, "{code}");
        }
    }
}
