//! Runs the program as a child, and starts it again when it breaks down.
//!
//! The child's standard input is a pipe from here. A word on it asks the child to finish what it has
//! and end. When it closes without one, the supervisor is gone, and the child ends at once, as if it
//! had broken down: there is never a child without its supervisor.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thalweg_engine::clock::Clock;
use thalweg_engine::job::StopHandle;
use thalweg_engine::time::{millis, secs};
use tracing::{error, info, warn};

use crate::outcome::{INTERRUPTED, Outcome, print_errors};

/// Tells the child that it is one.
const SUPERVISED: &str = "THALWEG_SUPERVISED";
/// The word that asks a child to stop.
const STOP: &[u8; 4] = b"stop";
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

/// Has the job of a supervised program stop when its supervisor says so, and ends the program when
/// its supervisor is gone.
pub(crate) fn listen(stop: StopHandle) {
    let wait = move || {
        let mut word = [0; STOP.len()];
        if io::stdin().read_exact(&mut word).is_ok() {
            return stop.stop();
        }
        print_errors(["the supervisor is gone: ending with it"]);
        std::process::exit(Outcome::Lost.code().into());
    };
    let spawned = std::thread::Builder::new()
        .name("supervisor".to_owned())
        .spawn(wait);
    if let Err(error) = spawned {
        warn!(%error, "cannot listen to the supervisor");
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
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env(SUPERVISED, "1")
        .stdin(Stdio::piped());
    let ward = Arc::new(Mutex::new(Ward::default()));
    listen_for(&ward);
    let clock = Clock::system();
    let (mut in_a_row, mut pause) = (0, PAUSE_MIN);
    loop {
        let started_ns = clock.now_ns();
        let status = match attend(&ward, &mut command) {
            Ok(status) => status,
            Err(error) => {
                error!(%error, "cannot start the program");
                return Outcome::Refused.code();
            }
        };
        let code = exit_code(status);
        if lock(&ward).asked > 0 || !is_worth_another_try(code) {
            return code;
        }
        if Duration::from_nanos(clock.now_ns() - started_ns) >= LONG {
            (in_a_row, pause) = (0, PAUSE_MIN);
        }
        if in_a_row == restarts {
            error!(%status, restarts, "the program has broken down too often in a row: giving up");
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
    lifeline: Option<ChildStdin>,
    /// How often the program was asked to stop.
    asked: u32,
}

impl Ward {
    fn say_stop(&mut self) {
        if let Some(lifeline) = &mut self.lifeline {
            // Fails only when the child has ended by itself.
            let _ = lifeline.write_all(STOP);
        }
    }
}

fn lock(ward: &Mutex<Ward>) -> MutexGuard<'_, Ward> {
    ward.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the child and waits for its end.
fn attend(ward: &Mutex<Ward>, command: &mut Command) -> io::Result<ExitStatus> {
    let mut child = command.spawn()?;
    info!(process_id = child.id(), "started the program");
    {
        let mut ward = lock(ward);
        ward.lifeline = child.stdin.take();
        ward.child = Some(child);
        if ward.asked > 0 {
            ward.say_stop();
        }
    }
    loop {
        {
            let mut ward = lock(ward);
            let status = ward
                .child
                .as_mut()
                .map(Child::try_wait)
                .transpose()?
                .flatten();
            if let Some(status) = status {
                (ward.child, ward.lifeline) = (None, None);
                return Ok(status);
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

/// Whether a program that has ended in this way may do better the next time.
fn is_worth_another_try(code: u8) -> bool {
    let ends = [Outcome::Done, Outcome::Refused, Outcome::Superseded];
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
            (101, true),
            (130, false),
        ] {
            assert_eq!(is_worth_another_try(code), expected, "{code}");
        }
    }
}
