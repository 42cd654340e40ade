//! Job: messages that were sent and that nobody has confirmed yet, so that another connection can send them again.
//! Knows: numbers of messages and pings, bytes. Must never know: connections.

use std::collections::VecDeque;

/// Bytes unconfirmed before more is sent: enough for a fast link of a second.
const BYTES_MAX: usize = 16 << 20;
/// Bytes sent between two pings.
const PING_BYTES: usize = 256 << 10;

/// The messages, in the order sent.
#[derive(Debug, Default)]
pub struct Window {
    /// Each one's line, and its bytes; none of what was refused.
    messages: VecDeque<(u64, Box<[u8]>)>,
    bytes: usize,
    /// Messages that have left at the front, since the start.
    gone: u64,
    /// Pings without a pong, each with the number of messages sent before it.
    pings: VecDeque<(u64, u64)>,
    ping_count: u64,
    bytes_since_ping: usize,
}

impl Window {
    /// Messages unconfirmed.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// True while no more should be sent.
    pub fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX
    }

    /// Notes a message that is sent. Lines ascend.
    pub fn push(&mut self, line: u64, message: &[u8]) {
        self.bytes += message.len();
        self.bytes_since_ping += message.len();
        self.messages.push_back((line, message.into()));
    }

    /// The number of a ping that is to be sent now, if one is. `at_once`: also behind a few bytes, if there is none on its way.
    pub fn ping(&mut self, at_once: bool) -> Option<u64> {
        let is_idle = at_once && self.pings.is_empty() && !self.messages.is_empty();
        if self.bytes_since_ping < PING_BYTES && !is_idle {
            return None;
        }
        self.bytes_since_ping = 0;
        self.ping_count += 1;
        self.pings.push_back((self.ping_count, self.gone + self.messages.len() as u64));
        Some(self.ping_count)
    }

    /// Everything sent before this ping was taken.
    pub fn on_pong(&mut self, ping: u64) {
        while let Some((number, sent)) = self.pings.front().copied()
            && number <= ping
        {
            self.pings.pop_front();
            while self.gone < sent
                && let Some((_, message)) = self.messages.pop_front()
            {
                self.gone += 1;
                self.bytes -= message.len();
            }
        }
    }

    /// The message of this line was refused: it is not to be sent again.
    pub fn on_refused(&mut self, line: u64) {
        if let Ok(at) = self.messages.binary_search_by_key(&line, |(line, _)| *line)
            && let Some((_, message)) = self.messages.get_mut(at)
        {
            self.bytes -= message.len();
            *message = Box::default();
        }
    }

    /// What is to be sent on a new connection. Pings of the old one are forgotten.
    pub fn again(&mut self) -> impl Iterator<Item = &[u8]> {
        self.pings.clear();
        self.bytes_since_ping = 0;
        self.messages.iter().map(|(_, message)| &**message).filter(|message| !message.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(window: &mut Window) -> Vec<Vec<u8>> {
        window.again().map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn what_was_sent_before_an_answered_ping_is_taken() {
        let mut window = Window::default();
        assert_eq!(window.ping(true), None, "nothing to ask for");
        window.push(1, b"one");
        window.push(2, b"two");
        assert_eq!((window.ping(false), window.ping(true), window.ping(true)), (None, Some(1), None));
        window.push(4, b"four");
        window.push(5, b"five");
        window.on_refused(4);
        window.on_pong(1);
        assert_eq!((window.len(), window.bytes), (2, 4));
        window.on_pong(9);
        assert_eq!(left(&mut window), [b"five"]);
        assert_eq!(window.ping(true), Some(2));
        window.on_pong(2);
        assert_eq!((window.len(), window.bytes, window.gone), (0, 0, 4));
    }

    #[test]
    fn a_window_is_bounded_and_asks_now_and_then() {
        let mut window = Window::default();
        let (mut pings, mut line) = (0, 0);
        while !window.is_full() {
            line += 1;
            window.push(line, &[7; 1_000]);
            pings += u64::from(window.ping(false).is_some());
        }
        assert!(window.bytes >= BYTES_MAX && window.bytes < BYTES_MAX + 1_000);
        assert_eq!(pings as usize, BYTES_MAX.div_ceil(1_000) / PING_BYTES.div_ceil(1_000));
        window.on_pong(pings);
        assert!(!window.is_full());
    }
}
