//! The conformance suite on epoll.

use std::io;
use std::os::fd::OwnedFd;

use super::{EpollDriver, EpollOptions};
use crate::driver::conformance::{Make, prove};
use crate::driver::{DriverLimits, SendCut};

struct Plain;

impl Make for Plain {
    type Driver = EpollDriver;

    fn make(limits: &DriverLimits, listeners: Vec<OwnedFd>) -> io::Result<EpollDriver> {
        EpollDriver::new(limits, listeners, &EpollOptions::default())
    }
}

prove!(Plain);

/// The same with sends cut to a few bytes.
mod cut {
    use super::*;

    struct Cut;

    impl Make for Cut {
        type Driver = EpollDriver;

        fn make(limits: &DriverLimits, listeners: Vec<OwnedFd>) -> io::Result<EpollDriver> {
            EpollDriver::new(limits, listeners, &EpollOptions { send_cut: SendCut::At(7) })
        }
    }

    #[test]
    fn after_the_peers_fin_we_can_still_send() {
        crate::driver::conformance::after_the_peers_fin_we_can_still_send::<Cut>();
    }
}
