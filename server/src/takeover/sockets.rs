//! Job: descriptors from process to process (`SCM_RIGHTS`, unix(7)).
//! Knows: how many the kernel carries at once. Must never know: what they are.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::cmsg_space;
use rustix::event::PollFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use crate::patience::Patience;

/// Descriptors in one message; the kernel takes 253 (`SCM_MAX_FD`).
const AT_ONCE: usize = 64;

/// Sends descriptors, each message with a byte to carry it.
///
/// # Errors
/// The other side does not take them, or has gone.
pub fn send(stream: &UnixStream, sockets: &[BorrowedFd<'_>], patience: Patience<'_>) -> io::Result<()> {
    for some in sockets.chunks(AT_ONCE) {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(AT_ONCE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(some)) {
            return Err(io::Error::other("there is no room for so many descriptors"));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        while let Err(error) = sendmsg(stream, &[IoSlice::new(b"+")], &mut control, flags) {
            match error {
                rustix::io::Errno::AGAIN | rustix::io::Errno::INTR => patience.wait(stream, PollFlags::OUT)?,
                _ => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Receives so many.
///
/// # Errors
/// They do not come, or this process may have no more (`EMFILE`: the kernel has closed the rest).
pub fn receive(stream: &UnixStream, count: usize, patience: Patience<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(AT_ONCE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let before = all.len();
        patience.wait(stream, PollFlags::IN)?;
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        match recvmsg(stream.as_fd(), &mut [IoSliceMut::new(&mut byte)], &mut control, flags) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(message) if message.bytes == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                all.extend(some);
            }
        }
        if all.len() == before {
            return Err(io::Error::other("no descriptor came: is the limit on open files reached (ulimit -n)?"));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use rustix::net::sockopt::socket_cookie;

    use super::*;

    fn patience() -> Patience<'static> {
        Patience::of(Duration::from_secs(60))
    }

    #[test]
    fn descriptors_arrive_in_order_however_many() {
        let folder = tempfile::tempdir().unwrap();
        for count in [1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE - 1] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let made: Vec<_> =
                (0..count).map(|n| UnixListener::bind(folder.path().join(format!("{count}-{n}"))).unwrap()).collect();
            let lent: Vec<_> = made.iter().map(AsFd::as_fd).collect();
            send(&theirs, &lent, patience()).unwrap();
            let received = receive(&ours, count, patience()).unwrap();
            let ids = |all: &[BorrowedFd<'_>]| all.iter().map(|fd| socket_cookie(fd).unwrap()).collect::<Vec<_>>();
            assert_eq!(ids(&lent), ids(&received.iter().map(AsFd::as_fd).collect::<Vec<_>>()));
        }
    }

    #[test]
    fn who_goes_before_the_last_is_noticed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        send(&theirs, &[ours.as_fd()], patience()).unwrap();
        drop(theirs);
        assert!(receive(&ours, 2, patience()).is_err());
        let (ours, theirs) = UnixStream::pair().unwrap();
        rustix::io::write(&theirs, b"+").unwrap();
        assert!(receive(&ours, 1, patience()).unwrap_err().to_string().contains("no descriptor"));
    }
}
