//! The connection on which records travel to and from another process, as timely wants it.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use timely::communication::allocator::zero_copy::stream::Stream;

use crate::cluster::connection::Wire;
use crate::cluster::peers::RecordsLink;
use crate::job::JobContext;
use crate::time::{millis, secs};

/// How many zeros end timely's last message.
const LAST_ZEROS: usize = 48;
/// How long one who breaks down may take to say why.
const LAST_WORDS: Duration = millis(200);

/// A connection that fails the job, with a reason, where timely's threads would panic: a read or a
/// write that cannot succeed any more never returns.
pub(super) struct PeerStream {
    job: Arc<JobContext>,
    process: usize,
    wire: Wire,
    /// How many zeros were read last: with timely's last message, the end is a good one.
    zeros: usize,
}

impl PeerStream {
    pub(super) fn new(job: &Arc<JobContext>, link: RecordsLink) -> Self {
        Self {
            job: Arc::clone(job),
            process: link.process,
            wire: link.wire,
            zeros: 0,
        }
    }

    fn note_read(&mut self, bytes: &[u8]) {
        let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
        let before = if zeros == bytes.len() { self.zeros } else { 0 };
        self.zeros = (before + zeros).min(LAST_ZEROS);
    }

    fn never_return(&self, reason: &str) -> ! {
        thread::sleep(LAST_WORDS);
        self.job.note_broken(self.process, reason);
        loop {
            thread::sleep(secs(3_600));
        }
    }
}

impl Read for PeerStream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.wire.read(bytes) {
            Ok(0) if self.zeros < LAST_ZEROS => self.never_return("its connection was closed"),
            Ok(read) => {
                self.note_read(&bytes[..read]);
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            // One that was reset after its good end.
            Err(_) if self.zeros == LAST_ZEROS => Ok(0),
            Err(error) => self.never_return(&error.to_string()),
        }
    }
}

impl Write for PeerStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.wire.write(bytes) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                self.never_return(&error.to_string())
            }
            outcome => outcome,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wire.flush()
    }
}

impl Stream for PeerStream {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            job: Arc::clone(&self.job),
            process: self.process,
            wire: self.wire.try_clone()?,
            zeros: self.zeros,
        })
    }

    fn set_nonblocking(&self, is_nonblocking: bool) -> io::Result<()> {
        self.wire.set_nonblocking(is_nonblocking)
    }

    /// One that the other side has closed already is as good.
    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let _ = self.wire.shutdown(how);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::job::{JobOptions, StopHandle};

    fn check(written: &[&[u8]], is_good: bool) {
        let job = JobContext::new(JobOptions::default(), Arc::default(), StopHandle::default());
        let job = Arc::new(job);
        let (near, mut far) = UnixStream::pair().expect("a pair");
        let wire = Wire::Unix(near);
        let mut stream = PeerStream::new(&job, RecordsLink { process: 1, wire });
        let reader = thread::spawn(move || {
            let mut bytes = [0; 64];
            while stream.read(&mut bytes).expect("it does not fail") > 0 {}
        });
        for bytes in written {
            far.write_all(bytes).expect("it can be written");
            thread::sleep(millis(5));
        }
        drop(far);
        let mut waits = 0;
        while !reader.is_finished() && job.failure().is_none() {
            waits += 1;
            assert!(waits < 2_000, "it neither ends nor fails");
            thread::sleep(millis(5));
        }
        assert_eq!(job.failure().is_none(), is_good, "{written:?}");
    }

    #[test]
    fn only_the_last_message_makes_an_end_a_good_one() {
        check(&[&[1; 100], &[0; 48]], true);
        check(&[&[1, 0], &[0; 40], &[0; 7]], true);
        check(&[&[1; 100], &[0; 47]], false);
        check(&[&[0; 48], &[1]], false);
        check(&[], false);
    }
}
