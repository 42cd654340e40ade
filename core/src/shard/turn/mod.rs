//! The turn: the parts of a shard, one after another, each with a bounded share. Only files of this folder see more than three parts.

mod addresses;
mod announce;
mod authorize;
mod close;
mod deadlines;
mod describe;
mod digest;
mod drain;
mod effects;
mod ends;
mod forwarded;
mod gaps;
mod handover;
mod intake;
mod join;
mod lifetimes;
mod lives;
mod long;
mod losses;
mod pauses;
mod pick;
mod plan;
mod publish;
mod rank;
mod readmit;
mod receive;
mod reload;
mod renew;
mod requests;
mod send;
mod serve;
mod subjects;
mod subscribe;
mod survey;
mod tell;
mod traces;
mod upgrade;
mod visit;
mod waiting;
mod watch;

use std::cmp::Reverse;
use std::io;

use super::budget::{INPUT_SHARE, INPUT_UNTIL_NS, RECORDS_LEAST, limit};
use super::waiters::Cause;
use super::{Command, Ending, IoEvent, Shard, Shared, Turned, Work};
use crate::driver::{Driver, Wait};
use crate::usdt;

/// Host commands taken in one turn at most.
const COMMANDS_PER_TURN: usize = 256;
/// Cursors brought back by their time in one turn at most.
const PACED_PER_TURN: usize = 4_096;
/// How soon to try again what waits for another thread.
const RETRY_NS: u64 = 500_000;
/// How long after a reading of the thread's CPU clock the next one is worth its while.
const CPU_EVERY_NS: u64 = 100_000;

impl<D: Driver> Shard<D> {
    /// One pass: hear the kernel and the host, read the ring, send, look at deadlines. Every part is bounded; what is left
    /// over is taken up by the next turn. `may_wait`: sleep when there is nothing to do.
    ///
    /// # Errors
    /// Only when the driver itself has failed.
    pub fn turn(&mut self, may_wait: bool) -> io::Result<Turned> {
        self.hear(may_wait)?;
        // After what was heard: who connects once the host has changed a setting finds it changed.
        self.look_at_rules();
        self.pace.work = Work::new();
        self.read_cpu_clock(self.pace.now_ns, false);
        self.serve_waiting();
        self.on_events();
        self.take_commands();
        self.read_ring();
        self.spread();
        self.derive();
        self.resume_paced();
        self.close_marked();
        self.send_news();
        self.end_held();
        self.close_marked();
        self.take_down();
        self.leave_ended_topics();
        self.give_back_topics();
        self.tell_interest();
        self.expire_deadlines();
        self.expire_grants();
        self.end_lifetimes();
        self.look_over_watched();
        self.survey();
        self.flush_host_events();
        self.admit();
        self.tell_of_ends();
        self.end_if_drained();
        self.close_marked();
        self.publish_counters();
        if let Some(reader) = &mut self.ears.reader {
            reader.release();
        }
        self.note_turn();
        Ok(if self.pace.ending == Ending::Ended { Turned::Ended } else { Turned::Going })
    }

    fn hear(&mut self, may_wait: bool) -> io::Result<()> {
        let wait = if may_wait && self.has_no_work() { self.prepare_sleep() } else { Wait::No };
        let expected_ns = match wait {
            Wait::No => self.pace.now_ns,
            Wait::Until(ns) => ns.max(self.pace.now_ns),
        };
        let turned = self.ears.driver.turn(wait, &mut self.ears.fresh);
        if wait != Wait::No {
            self.stats.sleeps += 1;
            if let Some(reader) = &mut self.ears.reader {
                reader.cancel_sleep();
            }
        }
        self.pace.now_ns = self.ears.driver.now_ns();
        self.stats.turns += 1;
        self.note_lateness(expected_ns);
        self.ears.events.extend(self.ears.fresh.drain(..));
        turned
    }

    pub(super) fn has_no_work(&self) -> bool {
        self.clients.dirty.is_empty()
            && self.ears.events.is_empty()
            && self.closes.is_empty()
            && self.subscriptions.spread.is_empty()
            && self.topics.leaving().is_empty()
            && self.waiters.is_empty(Cause::Turn)
            && !self.waiters.goes_on(Cause::Ring)
            && !self.lanes.is_behind()
            && self.lanes.active.iter().all(Vec::is_empty)
            && self.ears.held_end.is_none()
            && !self.readmission.holds_reader()
            && !self.census.is_busy()
            && self.pace.ending != Ending::Ended
    }

    /// Says that this shard sleeps, then looks once more: who publishes after that look sees the flag and wakes us.
    fn prepare_sleep(&mut self) -> Wait {
        let Some(reader) = &mut self.ears.reader else { return Wait::No };
        if reader.is_finished() {
            // Only draining is left, and only this shard's own sockets matter.
            return Wait::Until(self.pace.now_ns + RETRY_NS);
        }
        let Shared { rules, mailboxes, .. } = &*self.shared;
        if !reader.prepare_sleep() || !mailboxes[self.number as usize].commands.is_empty() || !rules.are(&self.rules) {
            reader.cancel_sleep();
            return Wait::No;
        }
        let mut until = self.clients.wheel.next_deadline_ns().unwrap_or(u64::MAX);
        until = until.min(self.lanes.next_batch_due_ns().unwrap_or(u64::MAX));
        until = until.min(self.subscriptions.clock.due_ns().unwrap_or(u64::MAX));
        until = until.min(self.host.watch.due_ns().unwrap_or(u64::MAX));
        until = until.min(self.survey_due_ns());
        until = until.min(self.admission.granted.due_ns().unwrap_or(u64::MAX));
        until = until.min(self.admission.lifetimes.due_ns().unwrap_or(u64::MAX));
        until = until.min(self.readmission.due_ns().unwrap_or(u64::MAX));
        until = until.min(self.subscriptions.paced.peek().map_or(u64::MAX, |Reverse((due, ..))| *due));
        if let Ending::Draining { deadline_ns, look_ns, handover, .. } = self.pace.ending {
            let next_ns = if handover.is_some() { look_ns } else { deadline_ns };
            until = until.min(if self.has_to_tell_of_ends() { self.pace.now_ns } else { next_ns });
        }
        let waits = [Cause::Ring, Cause::Names, Cause::Host].iter().any(|&cause| !self.waiters.is_empty(cause));
        if waits || self.host.waiting() > 0 || self.has_topics_to_give_back() {
            // What they wait for (a slower shard, the host) does not wake this shard.
            until = until.min(self.pace.now_ns + RETRY_NS);
        }
        // A bound on how stale the counters may be.
        Wait::Until(until.min(self.pace.now_ns + 1_000_000_000))
    }

    /// Looks at what sockets said, as far as the budget goes.
    fn on_events(&mut self) {
        self.begin_input_share();
        let mut seen = 0;
        while !self.has_had_its_share()
            && (seen < RECORDS_LEAST || self.has_time_until(INPUT_UNTIL_NS))
            && let Some(event) = self.ears.events.pop_front()
        {
            seen += 1;
            self.pace.work.input.spend(1);
            match event {
                IoEvent::Accepted { listener, slot, peer } => self.on_accepted(slot.0, listener, peer),
                IoEvent::Received { slot, mut buf } => {
                    let steps = self.steps_to_here();
                    self.on_received(slot.0, &mut buf);
                    self.ears.driver.give_back(buf);
                    self.note_cost(slot.0, steps);
                }
                IoEvent::End { slot, error } => self.on_end(slot.0, error),
                IoEvent::Writable { slot } => {
                    self.clients.on_writable(slot.0, self.pace.now_ns);
                }
                IoEvent::Worn { slot } => self.on_worn(slot.0),
                IoEvent::Woken => {}
            }
        }
    }

    /// Whether this turn has taken less than this.
    pub(super) fn has_time_until(&self, until_ns: u64) -> bool {
        self.ears.driver.fresh_ns() < self.pace.now_ns + until_ns
    }

    /// A queue of waiters, or what is new, is looked at: it has what is left of the budget, and its share where others have spent that.
    pub(super) fn begin_input_share(&mut self) {
        self.pace.input_until = limit::INPUT.max(self.pace.work.input.spent() + INPUT_SHARE);
    }

    /// True where the next in line is for another turn.
    pub(super) fn has_had_its_share(&self) -> bool {
        self.pace.work.input.spent() >= self.pace.input_until
    }

    fn take_commands(&mut self) {
        for _ in 0..COMMANDS_PER_TURN {
            let Some(command) = self.mailbox().commands.pop() else { return };
            match command {
                Command::Send { connection, kind, payload } => self.on_send(connection, kind, payload),
                Command::Close { connection, code, reason } => {
                    if let Some(slot) = self.clients.find(connection) {
                        self.close_after_messages(slot, code, reason);
                    }
                }
                Command::Decide { connection, decision } => self.on_decision(connection, *decision),
                Command::Outlet(wanted) => self.host.add_outlet(*wanted),
                Command::Interest(is_heard) => self.subscriptions.asked.tell_patterns(is_heard),
                Command::Trace(flow) => self.begin_tracing(flow),
                Command::LetIn { shard } => self.on_let_in(shard),
                Command::Notes(notes) => self.on_notes(*notes),
                Command::Watch { topic, gauges } => self.watch(topic, gauges),
                Command::Drain { within_ns, window_ns } => self.begin_drain(within_ns, window_ns),
                Command::HandOver { within_ns, window_ns, left } => self.begin_handover(within_ns, window_ns, &left),
                Command::Stop => self.stop(),
            }
        }
    }

    /// Derived logs follow their sources.
    fn derive(&mut self) {
        let clock = self.clock();
        self.lanes.derive_grown(&self.topics, clock, &mut self.pace.work.rendering);
        self.lanes.close_due_batches(clock, &mut self.pace.work.rendering);
        self.apply_effects();
    }

    /// Serves the cursors whose time has come.
    fn resume_paced(&mut self) {
        for _ in 0..PACED_PER_TURN {
            let Some(&Reverse((due, slot, generation))) = self.subscriptions.paced.peek() else { return };
            if due > self.pace.now_ns {
                return;
            }
            self.subscriptions.paced.pop();
            let conn = &mut self.clients[slot];
            if conn.generation == generation && conn.is_live() {
                self.sender.look_at_all(conn, slot);
                self.clients.mark_dirty(slot);
            }
        }
    }

    fn admit(&mut self) {
        let admits = self.host.keeps_up(self.rules.events.capacity);
        if admits != self.ears.admits && self.pace.ending == Ending::No {
            self.ears.admits = admits;
            self.ears.driver.accept_while_below(if admits { self.ears.slots } else { 0 });
        }
    }

    fn flush_host_events(&mut self) {
        if self.host.listens() {
            if self.host.has_unsent() && self.is_all_sent() {
                self.trace_sent();
            }
            self.host.flush_listeners();
        }
        if self.host.flush(&self.shared.mailboxes[self.number as usize]) {
            (self.shared.bell)();
        }
    }

    /// Whatever can be sent now is sent.
    fn is_all_sent(&self) -> bool {
        self.clients.dirty.is_empty() && !self.lanes.is_behind() && self.lanes.active.iter().all(Vec::is_empty)
    }

    /// The turn is over: how long it took, and how old its messages are, if all of them are sent.
    fn note_turn(&mut self) {
        let now_ns = self.ears.driver.fresh_ns();
        self.read_cpu_clock(now_ns, true);
        let turn_ns = now_ns.saturating_sub(self.pace.now_ns);
        self.stats.busy_ns += turn_ns;
        let age_ns = self.pace.stopwatch.end(now_ns, self.is_all_sent());
        let instruments = self.instruments();
        instruments.turn_us.note_ns(turn_ns);
        if let Some(age_ns) = age_ns {
            instruments.last_send_us.note_ns(age_ns);
        }
    }

    /// Keeps the longest turn by the thread's CPU clock, which is read at most every [`CPU_EVERY_NS`]: a turn is taken for longer by
    /// that much at most.
    fn read_cpu_clock(&mut self, now_ns: u64, is_end: bool) {
        let (read_ns, cpu_ns) = self.pace.cpu_read;
        if now_ns.saturating_sub(read_ns) < CPU_EVERY_NS {
            return;
        }
        let now_cpu_ns = self.ears.driver.cpu_ns();
        self.pace.cpu_read = (now_ns, now_cpu_ns);
        if is_end {
            self.stats.turn_ns_max = self.stats.turn_ns_max.max(now_cpu_ns.saturating_sub(cpu_ns));
        }
    }

    fn publish_counters(&mut self) {
        let io = self.ears.driver.counters();
        let lanes = self.lanes.counts;
        if io.sends > self.stats.sends {
            self.instruments().turn_sends.note(io.sends - self.stats.sends);
        }
        let stats = &mut self.stats;
        stats.connections = u64::from(self.clients.open_count());
        stats.topics = self.topics.names().len() as u64;
        stats.cursors = self.subscriptions.cursors() as u64;
        stats.log_bytes = self.lanes.pool_bytes() as u64;
        stats.remainder_bytes = self.lanes.rests.copied_bytes() as u64;
        stats.client_bytes = (self.clients.held_bytes() + self.subscriptions.asked.bytes()) as u64;
        stats.events_waiting = self.host.waiting() as u64;
        stats.senders_paused = self.admission.senders.paused().into();
        stats.encoded = lanes.encoded;
        stats.compressed = lanes.compressed;
        stats.rebuilt = lanes.rebuilt;
        stats.compressed_from_bytes = lanes.compressed_from;
        stats.compressed_to_bytes = lanes.compressed_to;
        stats.compression_saved_bytes = lanes.compression_saved;
        stats.unlogged = lanes.unlogged;
        stats.sends = io.sends;
        stats.sends_short = io.sends_short;
        stats.syscalls = io.syscalls;
        stats.recv_buffers_exhausted = io.recv_buffers_exhausted;
        stats.cq_overflows = io.cq_overflows;
        stats.accept_exhausted = io.accept_exhausted;
        stats.proxy_refused = io.proxy_refused;
        stats.tls_handshakes = io.tls_handshakes;
        stats.tls_failed = io.tls_failed;
        stats.tls_bytes = io.tls_bytes;
        stats.tls_bytes_max = io.tls_bytes_max;
        stats.turn_steps_max = stats.turn_steps_max.max(self.pace.work.steps());
        self.shared.mailboxes[self.number as usize].counters.store(stats);
        usdt::turn(self.number.into(), stats.messages, stats.deliveries, stats.sends);
    }
}
