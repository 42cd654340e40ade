//! Job: the terminal: taken over, and given back however this ends.
//! Knows: raw mode, the alternate screen. Must never know: what is drawn.

use std::io::{self, Stdout, Write as _};
use std::panic;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};

/// The terminal while it is ours.
pub struct Screen {
    pub terminal: Terminal<CrosstermBackend<Stdout>>,
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
            .map(|terminal| Screen { terminal })
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
/// Where the terminal cannot be read.
pub fn pressed() -> io::Result<Vec<KeyEvent>> {
    let mut keys = Vec::new();
    while event::poll(Duration::ZERO)? {
        if let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
        {
            keys.push(key);
        }
    }
    Ok(keys)
}
