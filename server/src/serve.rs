//! Job: `fanwire serve`: an engine, from its first ready line to its last close frame.
//! Knows: signals, the engine, who decides and who operates. Must never know: what is published.

use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::thread;

use fanwire::Engine;
use fanwire::settings::Span;

use crate::access::{self, Attendant, Door, Opened, Revocations};
use crate::args::ServeArgs;
use crate::config::Loaded;
use crate::control::{Control, Drained, Waiting};
use crate::engine::{self, Ending};
use crate::exit::{Exit, OrExit, Outcome};
use crate::operate::Server;
use crate::signals::StopRequests;
use crate::systemd;

/// Runs the command until the process is asked to stop.
///
/// # Errors
/// As [`engine::start`]; 71 where the control socket cannot be had; 70 where the engine has ended by itself.
pub fn run(args: &ServeArgs, loaded: &Loaded) -> Outcome {
    let sockets = systemd::sockets()?;
    let stop = StopRequests::listen().or_exit(Exit::Software, || "cannot wait for signals".into())?;
    loaded.check_tokens()?;
    let control = Control::listen(loaded.control_socket())?;
    let (mut config, door) = (loaded.config.clone(), loaded.door());
    let door = match door.is_wanted() {
        true => Some((Door::open(door)?, Revocations::open(loaded.revocations())?)),
        false => None,
    };
    if let Some((Opened { said, .. }, _)) = &door {
        match said {
            Ok(said) => tracing::info!("tokens: {said}"),
            Err(problem) => tracing::error!("tokens: {}", access::not_read(problem, false)),
        }
    }
    if door.is_some() {
        access::configure(&mut config);
        if loaded.says("access.publish") {
            tracing::warn!("{}: means nothing here, for tokens say who may publish", loaded.place_of("access.publish"));
        }
    }
    let mut engine = engine::start_with(config, &sockets, |name| loaded.place_of(name))?;
    if door.is_some() {
        tracing::info!("{}", access::memory(engine.config(), &loaded.revocations()));
    }
    let events = engine.events();
    engine::announce(&engine);
    systemd::tell_ready();
    let (ending, waiting) = attend(&engine, &stop, control, args, loaded, door.zip(events));
    systemd::tell_stopping();
    if stop.is_asked() {
        let Ending { window, deadline } = ending;
        let spread = if window.is_zero() { String::new() } else { format!(", closes spread over {}", Span(window)) };
        let most = Span(deadline);
        tracing::info!("{}: sending what is queued, {most} at most{spread}; a second signal ends at once", stop.name());
    }
    let ended = engine::stop(engine, ending)?;
    waiting.tell(Drained { closed: ended.closed, cut_off: ended.cut_off });
    Ok(ExitCode::SUCCESS)
}

/// Serves until it is to end: how, and who waits for that.
fn attend(
    engine: &Engine,
    stop: &StopRequests,
    control: Control,
    args: &ServeArgs,
    loaded: &Loaded,
    door: Option<((Opened, Revocations), fanwire::Events)>,
) -> (Ending, Waiting) {
    let ((orders, ordered), (moved, moves)) = (channel(), channel());
    let attendant = Attendant { orders: orders.clone(), moved };
    let server = Server::new(engine, stop, args, loaded, door.is_some().then_some(attendant));
    let waiting = thread::scope(|scope| {
        if let Some(((Opened { door, moved, .. }, revocations), events)) = door {
            server.keys_moved(moved);
            scope.spawn(move || access::attend(engine, events, (door, revocations), stop, &ordered));
            scope.spawn(move || access::keep(&moves, &orders, stop));
        }
        let server = &server;
        let control = scope.spawn(move || control.attend(server, stop, || engine.failure().is_some()));
        engine::wait(engine, stop);
        stop.wake();
        control.join().unwrap_or_default()
    });
    let patience = server.shutdown_timeout();
    let ending = match server.window() {
        Some(window) => Ending { window, deadline: window.saturating_add(patience) },
        None => Ending::within(engine, patience),
    };
    (ending, waiting)
}
