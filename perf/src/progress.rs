//! A progress bar on stderr, where that is a terminal; nothing elsewhere.

use std::io::{IsTerminal, Write};

const WIDTH: usize = 30;

/// Shows that `done` of `total` parts of `what` are done; at the end the line is wiped.
pub fn show(what: &str, done: usize, total: usize) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // A bar that cannot be drawn is no reason to stop.
        let _ = write!(stderr, "{}", line(what, done, total)).and_then(|()| stderr.flush());
    }
}

fn line(what: &str, done: usize, total: usize) -> String {
    if done >= total {
        return "\r\x1b[K".into();
    }
    let full = WIDTH * done / total.max(1);
    format!("\r\x1b[K[{}{}] {done}/{total} {what}", "#".repeat(full), "-".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_bar_grows_and_goes() {
        assert!(super::line("x", 0, 4).contains(&"-".repeat(30)));
        assert!(super::line("x", 2, 4).contains(&format!("{}{}] 2/4 x", "#".repeat(15), "-".repeat(15))));
        assert_eq!(super::line("x", 4, 4), "\r\x1b[K");
    }
}
