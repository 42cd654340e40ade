//! Job: the terminal: taken over, and given back however this ends.
//! Knows: raw mode, the alternate screen. Must never know: what is drawn.

use std::io::{self, Stdout, Write as _};
use std::mem::ManuallyDrop;
use std::panic;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The terminal while it is ours.
pub struct Screen {
    /// Not dropped: it would complain on a stderr that may be gone with the terminal, and panic.
    pub terminal: ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>,
}

impl Screen {
    /// Takes it over.
    ///
    /// # Errors
    /// Where stdout is no terminal, or cannot be set.
    pub fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        // From here on it is given back whatever happens.
        let screen = execute!(io::stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())))
            .map(|terminal| Screen { terminal: ManuallyDrop::new(terminal) })
            .inspect_err(|_| restore())?;
        // What a panic says is to be read where it stays, not on the screen that goes away.
        let say = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            restore();
            say(info);
        }));
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Twice is no harm.
fn restore() {
    let mut out = io::stdout();
    // A terminal that is gone needs nothing any more.
    let _ = execute!(out, LeaveAlternateScreen, Show);
    let _ = out.flush();
    let _ = disable_raw_mode();
}

/// Keys that were pressed, without waiting. A changed size is nothing: the next drawing asks for it.
///
/// # Errors
/// Where the terminal cannot be read, or is gone.
pub fn pressed() -> io::Result<Vec<KeyEvent>> {
    let mut keys = Vec::new();
    while is_there()? && event::poll(Duration::ZERO)? {
        if let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
        {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// `event::poll` would read a terminal that is gone for ever: to it, an end is nothing.
fn is_there() -> io::Result<bool> {
    let stdin = io::stdin();
    let mut asked = [PollFd::new(&stdin, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut asked, Some(&Timespec::default())))?;
    match asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
        true => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is gone")),
        false => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_panic_gives_the_terminal_back_and_is_to_be_read() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/terminal.py");
        let own = std::env::current_exe().unwrap();
        let mut command = Command::new("python3");
        command.args([script, "[]"]).arg(own).args([
            "--exact",
            "top::screen::tests::planted",
            "--ignored",
            "--nocapture",
        ]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let ended: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&ended["restored"], &ended["left"]), (&true.into(), &true.into()), "{ended}");
        let said = ended["output"].as_str().unwrap();
        let (drawn, after) = said.rsplit_once("\x1b[?1049l").unwrap();
        assert!(drawn.contains("figures") && after.contains("a planted fault"), "{said:?}");
    }

    #[test]
    #[ignore = "panics, in the terminal that the test above gives it"]
    fn planted() {
        let mut screen = Screen::enter().unwrap();
        screen.terminal.draw(|frame| frame.render_widget("figures", frame.area())).unwrap();
        // As where a panic ends the process at once: nothing is dropped.
        std::mem::forget(screen);
        panic!("a planted fault");
    }
}
