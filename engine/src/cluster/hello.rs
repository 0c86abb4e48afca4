//! The first words on a connection: who one is, and whether one is welcome.

use std::io::{self, ErrorKind, Read, Write};

use serde::{Deserialize, Serialize};

use super::frame;

/// What both sides begin with; the last byte is the version of all that follows.
const PREAMBLE: [u8; 8] = *b"thalweg\x01";
/// Names are short, and so is this.
const BYTES_MAX: u32 = 4_096;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    Messages,
    Records,
}

/// Who a process says that it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) cluster: String,
    pub(crate) pipeline: String,
    pub(crate) process: usize,
    pub(crate) processes: usize,
    pub(crate) workers: usize,
    /// A hash of all that must be the same in all processes.
    pub(crate) configuration: u64,
    pub(crate) generation: u64,
    /// Tells one start of a process from another.
    pub(crate) incarnation: u64,
    pub(crate) purpose: Purpose,
}

/// Why somebody is not welcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// It does not belong here, and never will.
    Wrong(String),
    /// Its place is taken, for now.
    Taken(String),
}

/// What a process answers to a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Welcome(Hello),
    Refused(Refusal),
}

impl Hello {
    /// Whether the other one belongs to the same cluster; says how it differs, and what to do.
    pub(crate) fn check(&self, other: &Self) -> Result<(), String> {
        let differs = |what: &str, others: &dyn std::fmt::Display, own: &dyn std::fmt::Display| {
            Err(format!(
                "process {} {what} {others}, process {} {own}",
                other.process, self.process
            ))
        };
        if self.cluster != other.cluster {
            return differs(
                "belongs to cluster",
                &other.cluster,
                &format!("to {}", self.cluster),
            );
        }
        if self.pipeline != other.pipeline {
            return differs("runs pipeline", &other.pipeline, &self.pipeline);
        }
        if self.processes != other.processes {
            return differs(
                "knows of",
                &format!("{} processes", other.processes),
                &format!("of {}", self.processes),
            );
        }
        if self.workers != other.workers {
            return differs("has", &format!("{} workers", other.workers), &self.workers);
        }
        if self.generation != other.generation {
            return differs(
                "is of generation",
                &other.generation,
                &format!("of {}", self.generation),
            );
        }
        if self.configuration != other.configuration {
            return Err(format!(
                "process {} has another configuration than process {}: start all of them from the \
                 same program with the same settings",
                other.process, self.process
            ));
        }
        if other.process >= other.processes {
            return Err(format!(
                "there is no process {} of {}",
                other.process, other.processes
            ));
        }
        if other.process == self.process {
            return Err(format!(
                "this is process {} itself: give each another --process",
                self.process
            ));
        }
        Ok(())
    }
}

/// Says who one is.
pub(crate) fn greet(to: &mut impl Write, hello: &Hello) -> io::Result<()> {
    to.write_all(&PREAMBLE)?;
    frame::write(to, hello)
}

/// Reads who the other one is.
pub(crate) fn hear(from: &mut impl Read) -> io::Result<Hello> {
    read_preamble(from)?;
    frame::read(from, BYTES_MAX)
}

/// Answers a greeting.
pub(crate) fn answer(to: &mut impl Write, answer: &Answer) -> io::Result<()> {
    to.write_all(&PREAMBLE)?;
    frame::write(to, answer)
}

/// Reads the answer to one's greeting.
pub(crate) fn hear_answer(from: &mut impl Read) -> io::Result<Answer> {
    read_preamble(from)?;
    frame::read(from, BYTES_MAX)
}

fn read_preamble(from: &mut impl Read) -> io::Result<()> {
    let mut preamble = PREAMBLE;
    from.read_exact(&mut preamble[..1])?;
    let mut has_begun_well = preamble[0] == PREAMBLE[0];
    if has_begun_well {
        from.read_exact(&mut preamble[1..])?;
        has_begun_well = preamble == PREAMBLE;
    }
    let error = if has_begun_well {
        return Ok(());
    } else if preamble[..7] == PREAMBLE[..7] {
        format!(
            "it speaks version {} of the protocol, this one {}",
            preamble[7], PREAMBLE[7]
        )
    } else {
        "it speaks another protocol: is it a process of this cluster, and has each of them \
         certificates, or none?"
            .to_owned()
    };
    Err(io::Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn hello(process: usize) -> Hello {
        Hello {
            cluster: "prod".to_owned(),
            pipeline: "fraud".to_owned(),
            process,
            processes: 3,
            workers: 2,
            configuration: 7,
            generation: 4,
            incarnation: 99,
            purpose: Purpose::Messages,
        }
    }

    fn check(change: impl FnOnce(&mut Hello), expected: &str) {
        let mut other = hello(1);
        change(&mut other);
        assert_eq!(hello(0).check(&other).err().unwrap_or_default(), expected);
    }

    #[test]
    fn who_does_not_belong_here_is_told_why() {
        check(|_| {}, "");
        check(|h| h.purpose = Purpose::Records, "");
        check(|h| h.incarnation = 1, "");
        check(
            |h| h.cluster = "test".to_owned(),
            "process 1 belongs to cluster test, process 0 to prod",
        );
        check(
            |h| h.pipeline = "flights".to_owned(),
            "process 1 runs pipeline flights, process 0 fraud",
        );
        check(
            |h| h.processes = 2,
            "process 1 knows of 2 processes, process 0 of 3",
        );
        check(|h| h.workers = 4, "process 1 has 4 workers, process 0 2");
        check(
            |h| h.generation = 3,
            "process 1 is of generation 3, process 0 of 4",
        );
        check(
            |h| h.configuration = 8,
            "process 1 has another configuration than process 0: start all of them from the same \
             program with the same settings",
        );
        check(|h| h.process = 3, "there is no process 3 of 3");
        check(
            |h| h.process = 0,
            "this is process 0 itself: give each another --process",
        );
    }

    #[test]
    fn greetings_and_answers_are_read_as_they_are_written() {
        let mut bytes = Vec::new();
        greet(&mut bytes, &hello(1)).expect("memory can be written");
        assert_eq!(hear(&mut bytes.as_slice()).expect("a greeting"), hello(1));
        for given in [
            Answer::Welcome(hello(0)),
            Answer::Refused(Refusal::Wrong("no".to_owned())),
            Answer::Refused(Refusal::Taken("later".to_owned())),
        ] {
            let mut bytes = Vec::new();
            answer(&mut bytes, &given).expect("memory can be written");
            assert_eq!(
                hear_answer(&mut bytes.as_slice()).expect("an answer"),
                given
            );
        }
    }

    #[test]
    fn other_protocols_and_versions_are_told_apart() {
        let error = hear(&mut b"thalweg\x09".as_slice()).expect_err("another version");
        assert_eq!(
            error.to_string(),
            "it speaks version 9 of the protocol, this one 1"
        );
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".as_slice(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01",
        ] {
            let error = hear(&mut &*bytes).expect_err("no greeting").to_string();
            assert!(error.starts_with("it speaks another protocol"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let whole = [&PREAMBLE[..], &bytes].concat();
            let _ = (hear(&mut whole.as_slice()), hear_answer(&mut whole.as_slice()));
        }
    }
}
