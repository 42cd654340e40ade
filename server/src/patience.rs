//! Job: how long another process is waited for: until a time, in all, and not beyond this process's own end.
//! Knows: poll(2), the request to stop. Must never know: what is said.
//!
//! The time is for all that is read or written, not for each part of it: who sends a byte a second, or takes one, holds nobody longer
//! than who says nothing.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::clock;
use crate::signals::StopRequests;

/// See the module's head.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    /// `None`: for ever.
    until: Option<Instant>,
    stop: Option<&'a StopRequests>,
}

impl<'a> Patience<'a> {
    /// However long it takes.
    pub const ENDLESS: Self = Patience { until: None, stop: None };

    /// So long, from now on.
    pub fn of(time: Duration) -> Self {
        Patience { until: Some(clock::after(clock::now(), time)), stop: None }
    }

    /// The same, but not after the request to stop.
    pub fn unless(self, stop: &'a StopRequests) -> Self {
        Patience { stop: Some(stop), ..self }
    }

    /// Reads what there is, or waits for it. 0: the other side has ended.
    ///
    /// # Errors
    /// It does not come in time, or this process is to stop.
    pub fn read(&self, stream: impl AsFd, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            self.wait(&stream, PollFlags::IN)?;
            match recv(&stream, &mut *bytes, RecvFlags::DONTWAIT) {
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                other => return other.map(|(_, count)| count).map_err(io::Error::from),
            }
        }
    }

    /// Sends all of it.
    ///
    /// # Errors
    /// It is not taken in time, or this process is to stop.
    pub fn write(&self, stream: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match send(&stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => bytes = &bytes[count..],
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => self.wait(&stream, PollFlags::OUT)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until something can be read, or written, or the other side has ended.
    ///
    /// # Errors
    /// It is not so in time, or this process is to stop.
    pub fn wait(&self, stream: impl AsFd, wanted: PollFlags) -> io::Result<()> {
        loop {
            let left = self.until.map(|until| until.saturating_duration_since(clock::now()));
            let timeout = left.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
            let mut fds = vec![PollFd::new(&stream, wanted)];
            fds.extend(self.stop.map(|stop| PollFd::new(stop, PollFlags::IN)));
            match poll(&mut fds, timeout.as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
            if fds.get(1).is_some_and(|stop| !stop.revents().is_empty()) {
                return Err(io::Error::other("this process is to stop"));
            }
            // Who always has a little more has no more time than others.
            if left == Some(Duration::ZERO) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if !fds[0].revents().is_empty() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_comes_in_time_is_read_and_taken() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let bytes: Vec<u8> = (0..1 << 20).map(|n| n as u8).collect();
        let sent = bytes.clone();
        let sender = std::thread::spawn(move || Patience::of(LONG).write(&theirs, &sent));
        let (mut read, mut chunk) = (Vec::new(), [0; 4_096]);
        loop {
            match Patience::of(LONG).read(&ours, &mut chunk).unwrap() {
                0 => break,
                count => read.extend_from_slice(&chunk[..count]),
            }
        }
        assert!(read == bytes);
        sender.join().unwrap().unwrap();
    }

    #[test]
    fn who_says_nothing_takes_nothing_or_drips_is_not_waited_for() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let kind = |result: io::Result<()>| result.unwrap_err().kind();
        let over = Patience::of(Duration::ZERO);
        assert_eq!(kind(over.read(&ours, &mut [0]).map(drop)), io::ErrorKind::TimedOut);
        assert_eq!(
            kind(Patience::of(Duration::from_millis(1)).write(&ours, &vec![0; 8 << 20])),
            io::ErrorKind::TimedOut
        );
        theirs.write_all(b"drop by drop").unwrap();
        assert_eq!(kind(over.read(&ours, &mut [0]).map(drop)), io::ErrorKind::TimedOut, "in all, not for each byte");
        drop(ours);
        assert!(Patience::ENDLESS.write(&theirs, b"x").is_err(), "who has gone takes nothing");
    }

    #[test]
    fn nobody_is_waited_for_when_this_process_is_to_stop() {
        let stop = StopRequests::listen_for_tests();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"a").unwrap();
        assert_eq!(Patience::of(LONG).unless(&stop).read(&ours, &mut [0; 9]).unwrap(), 1);
        stop.ask_for_drain();
        let refused = |result: io::Result<()>| result.unwrap_err().to_string();
        theirs.write_all(b"b").unwrap();
        for patience in [Patience::ENDLESS, Patience::of(LONG)] {
            let patience = patience.unless(&stop);
            assert_eq!(refused(patience.read(&ours, &mut [0; 9]).map(drop)), "this process is to stop");
            assert_eq!(refused(patience.write(&ours, &vec![0; 8 << 20])), "this process is to stop");
        }
    }
}
