//! A crowd that goes away and comes back, all of it at once.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail};

use super::Event;
use super::member::Member;
use super::run::{CrowdLoop, say};
use crate::{clock, frames};

/// Who was refused tries again after so long.
const RETRY_NS: u64 = 200_000_000;
/// How long all may take.
const PATIENCE_NS: u64 = 120_000_000_000;

/// Members coming back.
pub struct Resumption {
    target: u64,
    /// When each began to connect; 0 once it has everything.
    began_ns: Vec<u64>,
    missing: usize,
    /// Who was refused, and when it tries again. Nobody does unless the crowd is to.
    again: Option<VecDeque<(u64, usize)>>,
}

impl Resumption {
    /// A member that is in has so many messages. How long it took, if these are all.
    pub fn on_progress(&mut self, index: usize, messages: u64, now_ns: u64) -> Option<u64> {
        let began_ns = self.began_ns[index];
        if began_ns == 0 || messages < self.target {
            return None;
        }
        self.began_ns[index] = 0;
        self.missing -= 1;
        Some(now_ns.saturating_sub(began_ns))
    }

    /// A member was not let in. Whether it will try again.
    pub fn tries_again(&mut self, index: usize) -> bool {
        match &mut self.again {
            None => false,
            Some(again) => {
                again.push_back((clock::now_ns() + RETRY_NS, index));
                true
            }
        }
    }

    fn next_again(&mut self, now_ns: u64) -> Option<usize> {
        self.again.as_mut()?.pop_front_if(|(due_ns, _)| *due_ns <= now_ns).map(|(_, index)| index)
    }
}

impl CrowdLoop {
    /// All go away, in order: a close frame and the end of the stream; a member without unread input leaves no reset behind.
    pub(super) fn leave(&mut self) -> Result<()> {
        let mut goodbye = Vec::new();
        frames::write_masked(&mut goodbye, frames::CLOSE, &1001u16.to_be_bytes());
        for member in &mut self.members {
            member.send(&goodbye);
            member.leave();
        }
        say(&Event::Left)
    }

    /// All come back at once.
    pub(super) fn resume(&mut self, target: u64) -> Result<()> {
        let began = clock::now_ns();
        let members = self.members.len();
        let again = self.spec.is_herd.then(VecDeque::new);
        let at_once = if self.spec.is_herd { members } else { self.spec.connecting_max };
        self.resumption = Some(Resumption { target, began_ns: vec![0; members], missing: members, again });
        self.ledger.is_live = false;
        self.dead = None;
        // Those that were lost rather than told to leave begin anew as well.
        self.members.iter_mut().for_each(Member::leave);
        let mut next = 0;
        while let Some(resumption) = &mut self.resumption
            && resumption.missing > 0
        {
            let now_ns = clock::now_ns();
            if let Some(index) = resumption.next_again(now_ns) {
                self.retries += 1;
                self.members[index].leave();
                self.connect_one(index).with_context(|| format!("member {index}"))?;
                continue;
            }
            if next < members && self.pending < at_once {
                resumption.began_ns[next] = now_ns;
                self.connect_one(next).with_context(|| format!("member {next}"))?;
                next += 1;
                // Each of a herd is a host of its own, which does not wait for the others.
                if next < members && self.pending < at_once && !self.spec.is_herd {
                    continue;
                }
            }
            let wait_ms = if next < members { 0 } else { RETRY_NS as i64 / 1_000_000 };
            self.turn(wait_ms)?;
            if now_ns - began > PATIENCE_NS {
                let missing = self.resumption.take().map_or(0, |resumption| resumption.missing);
                bail!("{missing} members are not up to date after 120 s; {:?}", self.ledger.trouble);
            }
            self.all_are_alive()?;
        }
        self.resumption = None;
        say(&Event::CaughtUp { ns: clock::now_ns() - began })
    }
}
