//! One subscriber of a crowd: what it waits for and what it has seen. Never knows epoll.

use std::os::fd::OwnedFd;

use super::lane::{LaneNames, LaneState, Step};
use crate::envelope::{Envelope, unquoted};
use crate::frames::{self, Frame};
use crate::latency::Latency;
use crate::payload::Checker;

/// How far a member has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The upgrade's answer is awaited.
    Upgrading,
    /// So many answers are awaited: `subscribed` of each plain topic, and a `pong`.
    Subscribing(usize),
    /// At work.
    Open,
    /// Over.
    Closed,
}

/// One subscriber.
pub struct Member {
    /// Its socket, until it is closed.
    pub socket: Option<OwnedFd>,
    /// How far it is.
    pub stage: Stage,
    /// The beginning of a frame whose rest has not arrived: from the pool, only while needed.
    pub tail: Vec<u8>,
    /// The beginning of a fragmented message.
    pub fragments: Vec<u8>,
    /// Its lanes: one for a raw member.
    pub lanes: Vec<LaneState>,
    /// Messages delivered.
    pub deliveries: u64,
    /// Messages announced as lost.
    pub announced: u64,
    /// Number in the last stamped payload.
    pub last_stamp: u64,
    /// The close code, once there is one.
    pub close: Option<u16>,
}

impl Default for Member {
    fn default() -> Self {
        Member {
            socket: None,
            stage: Stage::Upgrading,
            tail: Vec::new(),
            fragments: Vec::new(),
            lanes: Vec::new(),
            deliveries: 0,
            announced: 0,
            last_stamp: 0,
            close: None,
        }
    }
}

/// What all members of a crowd share while they check.
pub struct Ledger {
    /// Whether members speak JSON.
    pub json: bool,
    /// Whether payloads are this tool's own.
    pub stamped: bool,
    /// Checks payloads.
    pub checker: Checker,
    /// Numbers of lanes.
    pub names: LaneNames,
    /// Latencies of the window.
    pub latency: Latency,
    /// Messages of the window.
    pub window_deliveries: u64,
    /// Counts of the group whose member is being served (0 healthy, 1 apart).
    pub counts: [Counts; 2],
    /// First words of trouble.
    pub trouble: Vec<String>,
    /// What has to be sent to the server for the current member.
    pub reply: Vec<u8>,
}

/// Running counts of a group.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// See [`super::Group::gap_notices`].
    pub gap_notices: u64,
    /// See [`super::Group::holes`].
    pub holes: u64,
    /// See [`super::Group::misordered`].
    pub misordered: u64,
    /// See [`super::Group::corrupt`].
    pub corrupt: u64,
}

impl Ledger {
    /// Notes the first few troubles in words.
    pub fn trouble(&mut self, words: impl FnOnce() -> String) {
        if self.trouble.len() < 8 {
            self.trouble.push(words());
        }
    }

    fn corrupt(&mut self, group: usize, words: impl FnOnce() -> String) {
        self.counts[group].corrupt += 1;
        self.trouble(words);
    }

    fn step(&mut self, group: usize, step: Step, words: impl FnOnce() -> String) {
        match step {
            Step::Next => {}
            Step::Hole(missing) => {
                self.counts[group].holes += missing;
                self.trouble(|| format!("{missing} missing before {}", words()));
            }
            Step::Misordered => {
                self.counts[group].misordered += 1;
                self.trouble(|| format!("out of order: {}", words()));
            }
        }
    }
}

impl Member {
    /// Takes one frame. `group` is 0 for healthy members, 1 for those apart.
    #[inline]
    pub fn on_frame(&mut self, frame: Frame<'_>, now_ns: u64, group: usize, ledger: &mut Ledger) {
        match frame.opcode {
            frames::TEXT | frames::BINARY if frame.is_final => self.on_message(frame.payload, now_ns, group, ledger),
            0..=2 => {
                self.fragments.extend_from_slice(frame.payload);
                if frame.is_final {
                    let whole = std::mem::take(&mut self.fragments);
                    self.on_message(&whole, now_ns, group, ledger);
                }
            }
            frames::PING => frames::write_masked(&mut ledger.reply, frames::PONG, frame.payload),
            frames::CLOSE => {
                let code = frame.payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                self.close = Some(code);
                frames::write_masked(&mut ledger.reply, frames::CLOSE, frame.payload.get(..2).unwrap_or_default());
            }
            _ => {}
        }
    }

    fn on_message(&mut self, message: &[u8], now_ns: u64, group: usize, ledger: &mut Ledger) {
        if ledger.json {
            return self.on_object(message, now_ns, group, ledger);
        }
        self.deliveries += 1;
        ledger.window_deliveries += 1;
        if ledger.stamped {
            let Some(seq) = self.on_payload(message, now_ns, group, ledger) else { return };
            if self.lanes.is_empty() {
                self.lanes.push(LaneState::default());
            }
            let step = self.lanes[0].on_message(seq);
            ledger.step(group, step, || format!("message {seq} of a raw member"));
        }
    }

    fn on_object(&mut self, message: &[u8], now_ns: u64, group: usize, ledger: &mut Ledger) {
        let Some(object) = Envelope::read(message) else {
            return ledger.corrupt(group, || format!("no JSON object: {}", shown(message)));
        };
        match object.kind {
            b"message" => {
                self.deliveries += 1;
                ledger.window_deliveries += 1;
                let step = self.lane(object.topic, object.priority, ledger).on_message(object.seq);
                ledger.step(group, step, || format!("message {} of {}", object.seq, shown(object.topic)));
                if ledger.stamped {
                    match unquoted(object.data) {
                        Some(payload) => {
                            self.on_payload(payload, now_ns, group, ledger);
                        }
                        None => ledger.corrupt(group, || format!("data is no string: {}", shown(object.data))),
                    }
                }
            }
            b"gap" => {
                ledger.counts[group].gap_notices += 1;
                self.announced += (object.to + 1).saturating_sub(object.from);
                let step = self.lane(object.topic, object.priority, ledger).on_gap(object.from, object.to);
                ledger.step(group, step, || format!("gap {} to {}", object.from, object.to));
            }
            b"subscribed" | b"pong" => {
                if let Stage::Subscribing(awaited) = self.stage {
                    self.stage = if awaited <= 1 { Stage::Open } else { Stage::Subscribing(awaited - 1) };
                }
            }
            b"error" => ledger.trouble(|| format!("the server says {}: {}", shown(object.code), shown(object.message))),
            _ => {}
        }
    }

    fn on_payload(&mut self, payload: &[u8], now_ns: u64, group: usize, ledger: &mut Ledger) -> Option<u64> {
        let Some(stamp) = ledger.checker.check(payload) else {
            ledger.corrupt(group, || format!("a payload that was never sent: {}", shown(payload)));
            return None;
        };
        self.last_stamp = stamp.seq;
        if group == 0 {
            ledger.latency.record(now_ns.saturating_sub(stamp.intended_ns));
        }
        Some(stamp.seq)
    }

    fn lane(&mut self, topic: &[u8], priority: &[u8], ledger: &mut Ledger) -> &mut LaneState {
        let lane = ledger.names.number(topic, priority);
        let at = match self.lanes.iter().position(|state| state.lane == lane) {
            Some(at) => at,
            None => {
                self.lanes.push(LaneState { lane, last: 0 });
                self.lanes.len() - 1
            }
        };
        &mut self.lanes[at]
    }
}

/// The beginning of some bytes, for people.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned();
    if bytes.len() > 120 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}
