//! The conformance suite on io_uring, and what only a ring can get wrong.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use super::{UringDriver, UringOptions};
use crate::driver::conformance::{Make, Rig, limits, prove};
use crate::driver::{Driver, DriverLimits, SendCut};

struct Plain;

impl Make for Plain {
    type Driver = UringDriver;

    fn make(limits: &DriverLimits, listeners: Vec<OwnedFd>) -> io::Result<UringDriver> {
        UringDriver::new(limits, listeners, &UringOptions::default())
    }
}

prove!(Plain);

/// Queues so small that both overflow all the time.
mod tiny {
    use super::*;

    pub struct Tiny;

    impl Make for Tiny {
        type Driver = UringDriver;

        fn make(limits: &DriverLimits, listeners: Vec<OwnedFd>) -> io::Result<UringDriver> {
            let options = UringOptions { sq_entries: 8, cq_entries: 16, ..Default::default() };
            UringDriver::new(limits, listeners, &options)
        }
    }

    prove!(Tiny);
}

/// As on kernels before 6.10.
mod accept_by_syscall {
    use super::*;

    struct Old;

    impl Make for Old {
        type Driver = UringDriver;

        fn make(limits: &DriverLimits, listeners: Vec<OwnedFd>) -> io::Result<UringDriver> {
            let options = UringOptions { accept_by_syscall: true, ..Default::default() };
            UringDriver::new(limits, listeners, &options)
        }
    }

    prove!(
        Old,
        [
            accepts_and_echoes,
            every_close_is_seen_by_the_peer,
            a_full_table_leaves_the_rest_in_the_backlog,
            the_limit_on_accepts_moves_both_ways,
            stop_listening_takes_the_backlog_and_no_more,
            stop_listening_with_a_full_table_still_closes,
            two_listeners_are_both_served,
            ipv6_peers_are_named,
            a_reused_slot_never_speaks_for_its_predecessor,
        ]
    );
}

/// Sends cut to a few bytes.
mod cut {
    use super::*;

    struct Cut;

    impl Make for Cut {
        type Driver = UringDriver;

        fn make(limits: &DriverLimits, listeners: Vec<OwnedFd>) -> io::Result<UringDriver> {
            UringDriver::new(limits, listeners, &UringOptions { send_cut: SendCut::At(7), ..Default::default() })
        }
    }

    #[test]
    fn after_the_peers_fin_we_can_still_send() {
        crate::driver::conformance::after_the_peers_fin_we_can_still_send::<Cut>();
    }
}

#[test]
fn nobody_falls_silent_when_completions_overflow() {
    let mut rig = Rig::new::<tiny::Tiny>(&limits(300));
    let mut clients: Vec<_> = (0..300).map(|_| rig.connect()).collect();
    // 34 x 300 > 10^4 messages, in bursts that overflow 16 completions many times over.
    for round in 0..34u8 {
        for (client, _) in &mut clients {
            client.write_all(&[round]).unwrap();
        }
        rig.turn_until("everybody's message", |rig| rig.received.iter().all(|r| r.len() == usize::from(round) + 1));
    }
    assert!(rig.driver.counters().cq_overflows > 0, "this test is about overflows");
    for (client, slot) in &mut clients {
        let mut byte = [0];
        rig.send_all(*slot, b"!");
        client.read_exact(&mut byte).unwrap();
    }
}

#[test]
fn a_turn_with_nothing_to_do_makes_no_system_call() {
    let mut rig = Rig::new::<Plain>(&limits(4));
    let (_client, slot) = rig.connect();
    rig.settle();
    let before = rig.driver.counters().syscalls;
    for _ in 0..100 {
        rig.turn_for(crate::driver::Wait::No);
    }
    assert_eq!(rig.driver.counters().syscalls, before);
    rig.send(slot, b"x");
    assert_eq!(rig.driver.counters().syscalls, before + 1, "a batch is one call");
}

#[test]
fn nothing_stays_in_the_kernel_for_a_closed_connection() {
    let mut rig = Rig::new::<Plain>(&limits(8));
    rig.settle();
    let idle = rig.driver.in_kernel;
    for round in 0..50 {
        let (client, slot) = rig.connect();
        if round % 2 == 0 {
            rig.driver.want_writable(slot);
        }
        if round % 3 == 0 {
            rig.driver.shutdown_write(slot);
        }
        if round % 5 == 0 {
            rig.settle();
        }
        rig.driver.close(slot);
        drop(client);
    }
    rig.turn_until("all free", |rig| rig.driver.free.in_use() == 0);
    assert_eq!(rig.driver.in_kernel, idle);
    assert!(rig.driver.connections.iter().all(|c| c.in_kernel == 0 && !c.watched && !c.room_armed));
}
