//! The same job in Python, in an environment of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::bare::Topic;
use super::cpu::Measured;

#[derive(Deserialize)]
struct Report {
    events: usize,
    seconds: f64,
    core_seconds: f64,
}

/// Runs `peer.py`, or says why it cannot.
pub(crate) fn run(from: &Topic, to: &Topic, records: usize) -> Result<Measured, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/kafka");
    let python = environment(&here)?;
    let mut command = Command::new(python);
    command.arg(here.join("peer.py"));
    command.args([&from.brokers, &from.name, &to.name, &records.to_string()]);
    // One thread, as one worker has.
    command.env("OMP_NUM_THREADS", "1");
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let said = output(&mut command)?;
    let last = said.lines().last().unwrap_or_default();
    let report: Report = serde_json::from_str(last).map_err(|error| error.to_string())?;
    Ok(Measured {
        events: report.events,
        seconds: report.seconds,
        core_seconds: report.core_seconds,
    })
}

/// Makes the environment, unless it stands; gives its interpreter.
fn environment(here: &Path) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka-peer");
    let requirements = here.join("requirements.txt");
    let (wanted, installed) = (std::fs::read(&requirements), folder.join("installed.txt"));
    let wanted = wanted.map_err(|error| error.to_string())?;
    let python = folder.join("bin/python");
    if std::fs::read(&installed).is_ok_and(|there| there == wanted) {
        return Ok(python);
    }
    let mut venv = Command::new("python3");
    output(venv.args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
    ]);
    output(pip.arg(&requirements))?;
    std::fs::write(installed, wanted).map_err(|error| error.to_string())?;
    Ok(python)
}

/// What a command says; the last line of its complaints where it fails.
fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().display().to_string();
    let ended = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if !ended.status.success() {
        let complaints = String::from_utf8_lossy(&ended.stderr).into_owned();
        let last = complaints
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty());
        return Err(format!("{name}: {}", last.unwrap_or("it failed")));
    }
    String::from_utf8(ended.stdout).map_err(|error| error.to_string())
}
