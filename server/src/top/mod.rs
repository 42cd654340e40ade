//! Job: `fanwire top`: who is slow, in a terminal or as one snapshot.
//! Knows: connections that break and are made again. Must never know: how figures are drawn, what they mean.

mod detail;
mod figures;
mod lists;
mod once;
mod order;
mod said;
mod screen;
mod state;
mod view;

use std::hash::{BuildHasher, RandomState};
use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use self::order::Desk;
use self::screen::Screen;
use self::state::{Action, Link, Sort, State};
use crate::args::{TopArgs, TopSort};
use crate::bearer::{self, Bearer};
use crate::client::{Closed, Watched};
use crate::clock;
use crate::dial::{Interrupts, Waited};
use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::feed::{Feed, Form, Item, Taken, Wanted};
use crate::ledger::Ledger;
use crate::retry;
use crate::signals::StopRequests;
use crate::tls::Trust;
use crate::upgrade::Offer;

/// Drawn at least so often: a clock that stands looks like a server that does.
const DRAW_EVERY: Duration = Duration::from_millis(500);
/// News comes every second. After so much silence the server is pinged, and after as much again it counts as gone.
const PING_EVERY: Duration = Duration::from_secs(3);
/// Where the server does not let anybody see these topics.
const GRANT: &str =
    "it takes a grant of the $sys topics by name, `sys.public`, or the admin port (docs/how-to/watch.md)";

/// Where an admin port has the engine.
const ADMIN_TARGET: &str = "/ws";
/// What an admin port lets in.
const ADMIN_TOKEN: &str = "the admin port takes the tokens of admin.token_file, which it has to have where clients need tokens (docs/how-to/watch.md)";

/// Runs the command.
///
/// # Errors
/// 2 where there is no terminal, 69 where a snapshot cannot be had, 77 where the server shows nobody these topics.
pub fn run(args: &TopArgs) -> Outcome {
    let bearer = args.bearer.bearer()?;
    let trust = Trust::for_url(&args.url, &args.tls)?;
    let stop = StopRequests::listen_on_terminal().or_exit(Exit::Software, || "cannot wait for signals".into())?;
    let topics = said::TOPICS.map(str::to_owned);
    let link = Watch { args, bearer: bearer.as_ref(), trust: trust.as_ref(), stop: &stop, topics: &topics };
    if args.once {
        return once::run(&link);
    }
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::message(Exit::Usage, "top needs a terminal: --once prints one snapshot anywhere"));
    }
    let mut screen = Screen::enter().or_exit(Exit::Io, || "cannot set the terminal".into())?;
    let sort = if args.sort == TopSort::Work { Sort::Work } else { Sort::Lag };
    let mut live = Live { link: &link, screen: &mut screen, state: State::new(sort), shown: args.url.to_string() };
    let ended = live.follow_through();
    // Before anything is told.
    drop(screen);
    ended?;
    Ok(if stop.is_asked() { ExitCode::from(stop.exit_code()) } else { ExitCode::SUCCESS })
}

/// What is watched, and how.
struct Watch<'a> {
    args: &'a TopArgs,
    bearer: Option<&'a Bearer>,
    trust: Option<&'a Trust>,
    stop: &'a StopRequests,
    topics: &'a [String],
}

impl Watch<'_> {
    fn interrupts(&self) -> Interrupts<'_> {
        Interrupts { stop: self.stop, output: None }
    }

    /// Connects and asks. `None`: a signal came first.
    fn open(&self) -> Result<Option<Feed>, Failure> {
        let args = self.args;
        let token = self.bearer.map(Bearer::token).transpose()?;
        let wanted = Wanted {
            url: &args.url,
            topics: self.topics,
            form: Form::Json,
            max_hz: None,
            max_delay: None,
            offer: Offer {
                protocol: None,
                deflate: true,
                timeout: args.timeout.0,
                ping_every: PING_EVERY,
                token: token.as_ref(),
                trust: self.trust,
            },
            is_resumable: false,
        };
        Feed::open(&wanted, &Ledger::default(), &self.interrupts()).map_err(|failure| match failure.code {
            code if code == Exit::Permission as i32 && args.url.target.starts_with(ADMIN_TARGET) => {
                Failure::message(Exit::Permission, format!("{:#}; {ADMIN_TOKEN}", failure.error))
            }
            _ => failure,
        })
    }

    fn desk(&self) -> Desk<'_> {
        Desk { url: &self.args.url, trust: self.trust, bearer: self.bearer, interrupts: self.interrupts() }
    }
}

/// Why the messages of a connection end.
enum End {
    Closed(Closed),
    /// The server does not want to subscribe; whether it may in a minute.
    Refused(String, bool),
}

/// Hands over what has arrived, without waiting. `None`: nothing is left.
fn take(feed: &mut Feed, ledger: &mut Ledger, mut on: impl FnMut(&str, &[u8])) -> Option<End> {
    loop {
        let taken = feed.take(ledger, |item| match item {
            Item::Message(message) => {
                on(message.topic, message.payload);
                ControlFlow::Continue(())
            }
            Item::Refused(why) => ControlFlow::Break((why.text, why.is_passing)),
            // Gaps: what was passed over was older than what comes.
            _ => ControlFlow::Continue(()),
        });
        match taken {
            ControlFlow::Continue(Taken::Frame) => {}
            ControlFlow::Continue(Taken::Nothing) => return None,
            ControlFlow::Continue(Taken::Closed(closed)) => return Some(End::Closed(closed)),
            ControlFlow::Break((why, is_passing)) => return Some(End::Refused(why, is_passing)),
        }
    }
}

/// What such an end comes to: why there is no connection, where another one may be made.
fn after(end: End) -> Result<String, Failure> {
    match end {
        End::Refused(why, true) => Ok(why),
        End::Refused(why, false) => {
            Err(Failure::message(Exit::Permission, format!("the server refused: {why}; {GRANT}")))
        }
        End::Closed(closed) if retry::is_passing(&closed) => Ok(closed.to_string()),
        End::Closed(closed) if closed.is_unauthorized() => {
            Err(Failure::message(Exit::Permission, format!("{closed}; {}", bearer::IS_OVER)))
        }
        End::Closed(closed) => Err(Failure::message(Exit::Failed, closed.to_string())),
    }
}

/// Whether it goes on.
type Goes = ControlFlow<()>;

struct Live<'a> {
    link: &'a Watch<'a>,
    screen: &'a mut Screen,
    state: State,
    shown: String,
}

impl Live<'_> {
    fn follow_through(&mut self) -> Result<(), Failure> {
        let chance = RandomState::new();
        let mut attempt = 0;
        loop {
            self.state.link = Link::Connecting;
            self.draw()?;
            let broken = match self.link.open() {
                Ok(None) => return Ok(()),
                Ok(Some(feed)) => match self.follow(feed, &mut attempt)? {
                    Some(broken) => broken,
                    None => return Ok(()),
                },
                Err(failure) if failure.code == Exit::Unavailable as i32 => format!("{:#}", failure.error),
                Err(failure) => return Err(failure),
            };
            let pause = retry::pause_before(attempt, chance.hash_one(attempt));
            attempt += 1;
            self.state.link = Link::Broken(broken);
            if self.pause(clock::after(clock::now(), pause))?.is_break() {
                return Ok(());
            }
        }
    }

    /// Follows one connection: why it is no more; `None` where somebody wants to quit.
    fn follow(&mut self, mut feed: Feed, attempt: &mut u32) -> Result<Option<String>, Failure> {
        let mut ledger = Ledger::default();
        let stdin = io::stdin();
        let mut drawn = clock::now();
        loop {
            let mut is_news = false;
            let state = &mut self.state;
            let end = take(&mut feed, &mut ledger, |topic, payload| {
                (state.link, *attempt, is_news) = (Link::Live, 0, true);
                state.take(topic, payload);
            });
            if let Some(end) = end {
                return match end {
                    End::Closed(closed) if retry::is_renewed(&closed, self.link.bearer) => Ok(Some(closed.to_string())),
                    end => after(end).map(Some),
                };
            }
            let mut is_pressed = false;
            for key in self.keys()? {
                is_pressed = true;
                if self.on_action(key)?.is_break() {
                    feed.close();
                    return Ok(None);
                }
            }
            let now = clock::now();
            if is_news || is_pressed || now >= clock::after(drawn, DRAW_EVERY) {
                self.draw()?;
                drawn = now;
            }
            let watched = [stdin.as_fd(), self.link.stop.as_fd()];
            let mut watched = watched.map(|fd| Watched::new(fd, PollFlags::IN));
            feed.step(clock::after(drawn, DRAW_EVERY), true, &mut watched)?;
            if self.link.stop.is_asked() {
                return Ok(None);
            }
        }
    }

    /// Waits before it connects again; keys are heard meanwhile.
    fn pause(&mut self, until: Instant) -> Result<Goes, Failure> {
        let stdin = io::stdin();
        loop {
            for key in self.keys()? {
                if self.on_action(key)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            self.draw()?;
            let now = clock::now();
            if now >= until {
                return Ok(ControlFlow::Continue(()));
            }
            let next = clock::after(now, DRAW_EVERY).min(until);
            let waited = self.link.interrupts().wait(stdin.as_fd(), PollFlags::IN, next);
            if waited.or_exit(Exit::Io, || "cannot wait for the terminal".into())? == Waited::Interrupted {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    fn keys(&self) -> Result<Vec<ratatui::crossterm::event::KeyEvent>, Failure> {
        screen::pressed().or_exit(Exit::Io, || "cannot read the terminal".into())
    }

    fn on_action(&mut self, key: ratatui::crossterm::event::KeyEvent) -> Result<Goes, Failure> {
        match self.state.on_key(key) {
            Action::None => {}
            Action::Quit => return Ok(ControlFlow::Break(())),
            Action::Close(id) => {
                self.state.notice = Some((format!("closing {id} …"), false));
                self.draw()?;
                self.state.notice = Some(match self.link.desk().close(&id) {
                    Ok(()) => (format!("{id} is being closed"), false),
                    Err(why) => (format!("{id} is not closed: {why}"), true),
                });
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn draw(&mut self) -> Result<(), Failure> {
        let Live { screen, state, shown, .. } = self;
        let drawn = screen.terminal.draw(|frame| view::draw(frame, state, shown));
        drawn.map(|_| ()).or_exit(Exit::Io, || "cannot draw".into())
    }
}
