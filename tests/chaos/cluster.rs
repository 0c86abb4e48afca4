//! The processes that run the job together.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::broker::Broker;
use crate::process::{Process, free_addresses, wait_until};
use crate::proxy::Proxy;

/// How many processes and workers there are, and who starts them again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) processes: usize,
    pub(crate) workers: usize,
    pub(crate) is_supervised: bool,
}

/// Where the job lives.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) program: PathBuf,
}

impl Place {
    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Takes the folder of checkpoints away for a while.
    pub(crate) fn lose_checkpoints(&self, time: Duration) {
        let (here, away) = (self.folder.join("checkpoints"), self.folder.join("away"));
        if fs::rename(&here, &away).is_ok() {
            thread::sleep(time);
            assert!(
                !here.exists(),
                "a folder of checkpoints was made in place of the lost one"
            );
            fs::rename(&away, &here).expect("it was there before");
        }
    }

    /// The newest epoch that has been sealed.
    pub(crate) fn epoch(&self) -> Option<u64> {
        let output = Command::new(&self.program)
            .args(["checkpoint", "list", "--json"])
            .args(["--checkpoint", &self.path("checkpoints")])
            .stderr(Stdio::null())
            .output()
            .expect("the program is there");
        let listed: Value = serde_json::from_slice(&output.stdout).ok()?;
        let epochs = listed["checkpoints"].as_array()?.iter();
        epochs.filter_map(|listed| listed["epoch"].as_u64()).max()
    }

    /// What the program says of the whole of its checkpoints, if that is not that all is well.
    pub(crate) fn damage(&self) -> Option<String> {
        let output = Command::new(&self.program)
            .args(["checkpoint", "verify"])
            .args(["--checkpoint", &self.path("checkpoints")])
            .output()
            .expect("the program is there");
        let is_well = output.status.success();
        (!is_well).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// A running cluster; its processes do not outlive it.
pub(crate) struct Cluster {
    pub(crate) shape: Shape,
    pub(crate) all: Vec<Process>,
    /// One between every two processes.
    pub(crate) network: Vec<Proxy>,
}

impl Cluster {
    /// Starts one, whose processes tell what they do in files named after `life`.
    pub(crate) fn start(
        place: &Place,
        broker: &dyn Broker,
        shape: Shape,
        life: &str,
        more: &[&str],
    ) -> Self {
        let addresses = free_addresses(shape.processes);
        let mut network = Vec::new();
        // A process comes to those before it, through the network.
        let mut hosts_of = |index: usize| {
            let host = |(other, address): (usize, &SocketAddr)| {
                if other >= index {
                    return address.to_string();
                }
                network.push(Proxy::start(*address));
                network[network.len() - 1].address.to_string()
            };
            let hosts: Vec<_> = addresses.iter().enumerate().map(host).collect();
            hosts.join(",")
        };
        let mut process = |index: usize| {
            let mut arguments: Vec<String> = ["run", "--out"].map(str::to_owned).into();
            arguments.push(place.path("out"));
            arguments.extend(["--checkpoint".to_owned(), place.path("checkpoints")]);
            arguments.extend(["--checkpoint-interval", "200ms"].map(str::to_owned));
            arguments.extend(["--workers".to_owned(), shape.workers.to_string()]);
            arguments.extend(broker.arguments());
            if shape.processes > 1 {
                arguments.extend(["--hosts".to_owned(), hosts_of(index)]);
                arguments.extend(["--process".to_owned(), index.to_string()]);
                arguments.extend(["--peer-timeout", "2s"].map(str::to_owned));
                arguments.extend(["--connect-timeout", "20s"].map(str::to_owned));
            }
            if shape.is_supervised {
                arguments.extend(["--supervise", "--restarts", "1000"].map(str::to_owned));
            }
            arguments.extend(more.iter().map(|word| (*word).to_owned()));
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let name = format!("{life}-{index}");
            let program = place.program.to_str().expect("its path is UTF-8");
            Process::start(program, &place.folder, &name, &arguments)
        };
        let all = (0..shape.processes).map(&mut process).collect();
        Self {
            shape,
            all,
            network,
        }
    }

    /// The process that does the work of one, if it is there.
    pub(crate) fn worker(&self, index: usize) -> Option<u32> {
        let process = &self.all[index];
        if !self.shape.is_supervised {
            return Some(process.id());
        }
        children(&process.said()).last().copied()
    }

    /// Waits until all have ended; gives their exit codes and what they have said.
    pub(crate) fn end(self) -> Vec<(Option<i32>, String)> {
        self.all.into_iter().map(Process::end).collect()
    }

    /// Kills all at once, and sees that nothing is left.
    pub(crate) fn kill(self) {
        for process in &self.all {
            process.signal("KILL");
        }
        let children: Vec<_> = match self.shape.is_supervised {
            true => self
                .all
                .iter()
                .flat_map(|process| children(&process.said()))
                .collect(),
            false => Vec::new(),
        };
        drop(self);
        wait_until("the children of killed supervisors have ended", || {
            children.iter().all(|child| !is_running(*child))
        });
    }
}

/// The numbers of the children that a supervisor says it has started.
fn children(said: &str) -> Vec<u32> {
    let digits = |text: &str| {
        text.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    said.split("process_id=")
        .skip(1)
        .filter_map(digits)
        .collect()
}

fn is_running(process: u32) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat"));
    status.is_ok_and(|status| !status.contains(") Z "))
}
