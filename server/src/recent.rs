//! Job: the last lines of the log, kept for a report.
//! Knows: how many and how long. Must never know: what they say.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lines that are kept.
const LINES_MAX: usize = 200;
/// Bytes that are kept of each.
const LINE_BYTES_MAX: usize = 1_024;

static RECENT: Mutex<Recent> = Mutex::new(Recent(VecDeque::new()));

struct Recent(VecDeque<String>);

impl Recent {
    fn keep(&mut self, line: &[u8]) {
        if self.0.len() == LINES_MAX {
            self.0.pop_front();
        }
        let line = line.trim_ascii_end();
        let is_long = line.len() > LINE_BYTES_MAX;
        let text = String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES_MAX)]);
        self.0.push_back(format!("{text}{}", if is_long { "…" } else { "" }));
    }
}

fn recent() -> MutexGuard<'static, Recent> {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a line.
pub fn keep(line: &[u8]) {
    recent().keep(line);
}

/// The lines, the oldest first.
pub fn lines() -> Vec<String> {
    recent().0.iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_no_more_of_one_than_its_beginning() {
        let mut recent = Recent(VecDeque::new());
        for number in 0..=LINES_MAX {
            recent.keep(format!("line {number}\n").as_bytes());
        }
        assert_eq!((recent.0.len(), &*recent.0[0], &*recent.0[LINES_MAX - 1]), (LINES_MAX, "line 1", "line 200"));
        recent.keep(&[b'x'; LINE_BYTES_MAX]);
        recent.keep(&[b'x'; LINE_BYTES_MAX + 1]);
        let lengths: Vec<usize> = recent.0.iter().rev().take(2).map(|line| line.chars().count()).collect();
        assert_eq!(lengths, [LINE_BYTES_MAX + 1, LINE_BYTES_MAX]);
        assert!(recent.0.back().unwrap().ends_with('…'));
        recent.keep("é".repeat(LINE_BYTES_MAX).as_bytes());
        recent.keep(b"\xff\n");
    }
}
