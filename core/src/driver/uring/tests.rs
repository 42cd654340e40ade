//! The conformance suite on io_uring, and what only a ring can get wrong.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use super::{UringDriver, UringOptions};
use crate::driver::conformance::{Make, Rig, assert_closed, limits, prove};
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

/// Most calls fail, and are none the worse for it: what they were to do is done by a later one, once.
mod refused {
    use super::*;

    struct Refused;

    impl Make for Refused {
        type Driver = UringDriver;

        fn make(limits: &DriverLimits, listeners: Vec<OwnedFd>) -> io::Result<UringDriver> {
            // Small queues, so that refusals meet full ones.
            let options =
                UringOptions { sq_entries: 8, cq_entries: 16, refuses_most_calls: true, ..Default::default() };
            UringDriver::new(limits, listeners, &options)
        }
    }

    // Without those that count on a single turn.
    prove!(
        Refused,
        [
            accepts_and_echoes,
            a_batch_is_answered_in_order,
            short_sends_deliver_a_blob_byte_for_byte,
            gathered_short_sends_deliver_byte_for_byte,
            writable_is_reported_once_for_each_request,
            room_made_before_the_request_is_not_missed,
            a_thousand_connections_are_served,
            dropping_the_driver_closes_everything,
            the_limit_on_accepts_moves_both_ways,
            stop_listening_takes_the_backlog_and_no_more,
            stop_listening_with_a_full_table_still_closes,
            two_listeners_are_both_served,
            a_listener_that_is_left_goes_on_listening_for_another,
            few_buffers_starve_nobody,
            buffers_on_loan_outlive_the_connection,
            a_reused_slot_never_speaks_for_its_predecessor,
            a_wake_is_never_lost,
            a_wait_ends_at_its_deadline_and_not_before,
            pausing_loses_nothing,
            after_our_fin_we_still_receive,
            a_reset_is_reported_once,
            a_burst_ending_in_fin_is_read_to_its_end,
            a_busy_connection_leaves_room_for_others,
            a_turn_reports_no_more_than_its_limit,
        ]
    );

    #[test]
    fn every_close_gets_through_in_the_end() {
        let mut rig = Rig::new::<Refused>(&limits(16));
        for round in 0..20 {
            let mut clients: Vec<_> = (0..16).map(|_| rig.connect()).collect();
            for (_, slot) in &clients {
                if round % 2 == 0 {
                    rig.driver.want_writable(*slot);
                }
                if round % 3 == 0 {
                    rig.driver.shutdown_write(*slot);
                }
                rig.driver.close(*slot);
            }
            rig.turn_until("all free", |rig| rig.driver.free.in_use() == 0);
            for (client, _) in &mut clients {
                assert_closed(client);
            }
        }
    }
}

/// As on kernels before 6.10.
mod accept_by_syscall {
    use super::*;

    struct Old;

    impl Make for Old {
        type Driver = UringDriver;

        fn make(limits: &DriverLimits, listeners: Vec<OwnedFd>) -> io::Result<UringDriver> {
            let options = UringOptions { accept_by_syscall: true, is_old: true, ..Default::default() };
            UringDriver::new(limits, listeners, &options)
        }
    }

    prove!(Old);
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
