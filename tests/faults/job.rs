//! The ready pipelines, run over one folder after the other.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{FLIGHTS, FRAUD, Process, generate, wait_until};

/// What the pipelines write.
const FILES: [&str; 6] = [
    "predictions.jsonl",
    "alerts.jsonl",
    "drift.jsonl",
    "quality.jsonl",
    "late.jsonl",
    "dead_letters.jsonl",
];

/// A pipeline with its input.
pub(crate) struct Job {
    program: &'static str,
    arguments: Vec<String>,
    folder: PathBuf,
}

impl Job {
    /// Payments from a log in the folder, to files.
    pub(crate) fn fraud(folder: &Path, events: u64) -> Self {
        let log = generate(folder, events);
        let mut arguments = ["--until-end", "--sink", "file", "--log"]
            .map(str::to_owned)
            .to_vec();
        arguments.push(log.display().to_string());
        Self {
            program: FRAUD,
            arguments,
            folder: folder.to_owned(),
        }
    }

    /// The year of flights.
    pub(crate) fn flights(folder: &Path) -> Self {
        Self {
            program: FLIGHTS,
            arguments: Vec::new(),
            folder: folder.to_owned(),
        }
    }

    /// Starts it with its files in a place.
    pub(crate) fn start(&self, place: &Place, more: &[&str]) -> Process {
        let out = place.out.display().to_string();
        let arguments = self.arguments.iter().map(String::as_str);
        let arguments: Vec<_> = ["run", "--out", &out]
            .into_iter()
            .chain(arguments)
            .collect();
        let name = place.name.as_str();
        Process::start(
            self.program,
            &self.folder,
            name,
            &[&arguments[..], more].concat(),
        )
    }

    /// Starts it with checkpoints.
    pub(crate) fn start_with_checkpoints(&self, place: &Place, more: &[&str]) -> Process {
        let checkpoints = place.checkpoints.display().to_string();
        let with = [
            "--checkpoint",
            &checkpoints,
            "--checkpoint-interval",
            "50ms",
        ];
        self.start(place, &[&with[..], more].concat())
    }

    pub(crate) fn place(&self, name: &str) -> Place {
        Place {
            name: name.to_owned(),
            out: self.folder.join(name).join("out"),
            checkpoints: self.folder.join(name).join("checkpoints"),
        }
    }

    /// What it writes when nothing happens.
    pub(crate) fn whole(&self) -> Place {
        let place = self.place("whole");
        self.start(&place, &["--workers", "2"]).ends_with(0, "");
        place
    }

    /// Compares all that it writes.
    pub(crate) fn assert_same(one: &Place, other: &Place) {
        for file in FILES {
            let (one, other) = (one.read(file), other.read(file));
            let lines = |text: &str| text.lines().count();
            assert_eq!(lines(&one), lines(&other), "lines of {file}");
            assert!(one == other, "{file} differs");
        }
    }
}

/// Where a job writes.
pub(crate) struct Place {
    name: String,
    pub(crate) out: PathBuf,
    pub(crate) checkpoints: PathBuf,
}

impl Place {
    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.out.join(file)).unwrap_or_default()
    }

    /// How many fences and checkpoints there are.
    fn entries(&self) -> usize {
        fs::read_dir(self.checkpoints.join("log")).map_or(0, Iterator::count)
    }

    pub(crate) fn wait_for_checkpoints(&self) {
        wait_until("there are some checkpoints", || self.entries() > 4);
    }

    /// Copies everything to another place.
    pub(crate) fn copy_to(&self, other: &Self) {
        copy(&self.out, &other.out);
        copy(&self.checkpoints, &other.checkpoints);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy(&from, &to),
            false => drop(fs::copy(&from, &to).unwrap()),
        }
    }
}
