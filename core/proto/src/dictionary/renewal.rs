//! When a lane gets a dictionary, a new one, or none because it does not pay.
//!
//! Counts messages and bytes only, so that the same messages give the same frames.

/// Messages that a dictionary is made of at most. (`benches/bytes` on two logs, blocks of one message: 16 take 2 to 7 % more
/// bytes, 64 take 1 to 5 % fewer, for more time that was not measured on a quiet machine.)
pub(super) const MESSAGES: usize = 32;
/// Messages that are enough for one.
pub(super) const READY: usize = 16;
/// Messages from one dictionary to the next. Readers in step build it, so that it costs some 15 bytes; where it lasts longer, log
/// lines take up to 40 % more (`benches/bytes`).
const APART: u32 = 64;
/// Messages after which it is asked whether compression pays.
const WINDOW: u32 = 32;
/// Longest rest of a lane for which compression does not pay, in messages.
const REST_MAX: u32 = 4_096;

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub(super) struct Renewal {
    /// Messages since the dictionary began.
    age: u32,
    window: Window,
    /// Messages that are still sent as they are.
    rest: u32,
    /// How long the last rest was.
    rested: u32,
    /// A rest has begun or is over: what comes after it gets a new dictionary.
    is_stale: bool,
}

/// Blocks of some messages, before and after compression.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    messages: u32,
    plain: u64,
    packed: u64,
}

impl Window {
    fn saves_nothing(&self) -> bool {
        self.packed * 10 >= self.plain * 9
    }
}

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Take a new dictionary.
    Begin,
    /// Take the one that is there, if there is one.
    Use,
    /// Do not compress.
    Rest,
}

impl Renewal {
    /// What to do with the next frame, of so many messages, where the tail is full enough for a dictionary or not.
    pub(super) fn advise(&mut self, messages: u32, is_ready: bool, has_dictionary: bool) -> Advice {
        if self.rest > 0 {
            self.rest = self.rest.saturating_sub(messages);
            return Advice::Rest;
        }
        let is_due = !has_dictionary || self.is_stale || self.age >= APART;
        if !is_due || !is_ready {
            return Advice::Use;
        }
        *self = Renewal { rested: self.rested, ..Renewal::default() };
        Advice::Begin
    }

    /// A frame of so many messages had `plain` bytes of block, and has `packed` on the wire.
    pub(super) fn record(&mut self, messages: u32, plain: usize, packed: usize) {
        self.age = self.age.saturating_add(messages);
        if self.window.messages >= WINDOW {
            self.window = Window::default();
        }
        self.window.messages += messages;
        self.window.plain += plain as u64;
        self.window.packed += packed as u64;
        if self.window.messages >= WINDOW {
            if self.window.saves_nothing() {
                let rest = (2 * self.rested).clamp(APART, REST_MAX);
                *self = Renewal { rest, rested: rest, is_stale: true, ..Renewal::default() };
            } else {
                self.rested = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_begins_once_there_are_messages_enough_for_it() {
        let mut renewal = Renewal::default();
        assert_eq!(renewal.advise(1, false, false), Advice::Use);
        assert_eq!(renewal.advise(1, true, false), Advice::Begin);
        assert_eq!(renewal.advise(1, true, true), Advice::Use);
    }

    #[test]
    fn it_is_renewed_after_64_messages_and_not_sooner() {
        let mut renewal = Renewal::default();
        let mut begun = Vec::new();
        for n in 0..200 {
            if renewal.advise(1, true, n > 0) == Advice::Begin {
                begun.push(n);
            }
            renewal.record(1, 100, 20);
        }
        assert_eq!(begun, [0, 64, 128, 192]);
    }

    #[test]
    fn what_does_not_pay_rests_longer_each_time_and_is_tried_again() {
        let mut renewal = Renewal::default();
        let mut tried = Vec::new();
        for n in 0..20_000 {
            if renewal.advise(1, true, true) != Advice::Rest {
                renewal.record(1, 100, 95);
                tried.push(n);
            }
        }
        assert!(tried.len() < 20_000 / 20, "{} of 20,000 tried", tried.len());
        assert!(tried.last().is_some_and(|&last| last > 10_000), "never tried again");
    }
}
