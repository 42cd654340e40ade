//! Job: `fanwire serve`: an engine, from its first ready line to its last close frame.
//! Knows: signals, the engine, who decides, who operates, and from whom it takes over. Must never know: what is published.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use fanwire::settings::Span;
use fanwire::{Engine, Events, InheritedSocket};
use fanwire_access as access;
use fanwire_access::{Attendant, Door, Opened, Revocations};

use crate::admin::{Admin, Closing, Desk, Desks, Keeper, Running};
use crate::args::ServeArgs;
use crate::cluster::{self, Cluster};
use crate::config::Loaded;
use crate::control::{Control, Drained, Waiting};
use crate::engine::{self, Ending};
use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::operate::Server;
use crate::signals::StopRequests;
use crate::spans;
use crate::systemd;
use crate::takeover::{self, Bridge, Link, Successor, Taker};

/// What the other process is called in the log.
const BEFORE: &str = "the process before";
const AFTER: &str = "the process after";

/// Runs the command until the process is asked to stop.
///
/// # Errors
/// As [`engine::start`]; 69 where there is a server that does not hand over; 71 where the control socket cannot be had; 70 where the
/// engine has ended by itself.
pub fn run(args: &ServeArgs, loaded: &Loaded) -> Outcome {
    let mut sockets = systemd::sockets()?;
    let stop = StopRequests::listen().or_exit(Exit::Software, || "cannot wait for signals".into())?;
    loaded.check_tokens()?;
    let (mut control, predecessor) = control_and_predecessor(args, loaded, &mut sockets, &stop)?;
    let mut admin = Admin::listen(loaded.admin(), predecessor.is_some())?;
    sockets.extend(admin.as_mut().and_then(Admin::socket));
    let (mut config, door) = (loaded.config.clone(), loaded.door());
    let door = match door.is_wanted() {
        true => Some((Door::open(door, || stop.is_over())?, Revocations::open(loaded.revocations())?)),
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
    drop(sockets);
    if door.is_some() {
        tracing::info!("{}", access::memory(engine.config(), &loaded.revocations()));
    }
    let cluster = Cluster::open(&engine, loaded)?;
    let events = engine.events();
    let spans = loaded.spans().and_then(|config| spans::start(&engine, config));
    let admin = admin.map(|admin| admin.start(&stop)).transpose()?;
    // The last thing that may fail: until here the other one serves, whatever becomes of this one.
    let before =
        predecessor.map(|predecessor| settle(predecessor, &engine, &mut control, loaded, &stop)).transpose()?;
    engine::announce(&engine);
    systemd::tell_ready();
    let waiting = attend(&engine, &stop, (control, admin), (args, loaded), door.zip(events), (before, cluster));
    let ended = engine::finish(engine);
    if let Some(spans) = spans {
        spans.end();
    }
    let ended = ended?;
    waiting.tell(Drained { closed: ended.closed, cut_off: ended.cut_off });
    Ok(ExitCode::SUCCESS)
}

/// The control socket, and the server that this one takes over from, with its sockets.
fn control_and_predecessor(
    args: &ServeArgs,
    loaded: &Loaded,
    sockets: &mut Vec<InheritedSocket>,
    stop: &StopRequests,
) -> Result<(Control, Option<Successor>), Failure> {
    let own = loaded.control_socket();
    let Some(wanted) = &args.takeover else { return Ok((Control::listen(own)?, None)) };
    let nowhere = "--takeover: there is no control socket to take over by (--control-socket, or --takeover=PATH)";
    let path = wanted.clone().or_else(|| own.clone()).ok_or_else(|| Failure::message(Exit::Usage, nowhere))?;
    let Some((mut predecessor, handed)) = takeover::begin(&path, args.takeover_within.0, stop)? else {
        return Ok((Control::listen(own)?, None));
    };
    sockets.extend(handed);
    let is_same = own.as_ref() == Some(&path);
    if !is_same {
        drop(predecessor.take_control());
    }
    Ok((Control::listen(own.filter(|_| !is_same))?, Some(predecessor)))
}

/// This process serves: the sockets are its own from now on.
fn settle(
    mut predecessor: Successor,
    engine: &Engine,
    control: &mut Control,
    loaded: &Loaded,
    stop: &StopRequests,
) -> Result<Link, Failure> {
    let outlet = Successor::outlet(engine)?;
    let listener = predecessor.take_control();
    predecessor.settle(engine, outlet, listener.is_some(), stop, || match (listener, loaded.control_socket()) {
        (Some(listener), Some(path)) => control.adopt(listener, path),
        _ => Ok(()),
    })
}

/// Serves until it is to end, and until it has ended. Who waits for that comes back.
fn attend(
    engine: &Engine,
    stop: &StopRequests,
    (control, admin): (Control, Option<(Running, Desks, Keeper)>),
    (args, loaded): (&ServeArgs, &Loaded),
    door: Option<((Opened, Revocations), Events)>,
    (before, cluster): (Option<Link>, Option<Cluster>),
) -> Waiting {
    let ((orders, ordered), (moved, moves)) = (channel(), channel());
    let attendant = Attendant { orders: orders.clone(), moved };
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let carry = |link: Option<Link>, whom| {
            let (bridge, outlet) = Bridge::new(link?);
            let bridge = Arc::new(bridge);
            let runs = bridge.clone();
            scope.spawn(move || runs.run(engine, outlet, whom));
            Some(bridge)
        };
        let before = carry(before, BEFORE);
        let (admin, desks, keeper) = match admin {
            Some((running, desks, keeper)) => (Some(running), Some(desks), Some(keeper)),
            None => (None, None, None),
        };
        let mut server = Server::new(engine, stop, args, loaded, (door.is_some().then_some(attendant), keeper));
        server.set_cluster(cluster.as_ref().map(Cluster::counters));
        let cluster = cluster.map(|cluster| cluster.run(scope, engine));
        if let Some(((Opened { door, moved, .. }, revocations), events)) = door {
            server.keys_moved(moved);
            let is_over = &is_over;
            let most = engine.config().connections_max;
            scope.spawn(move || {
                let (decider, is_over) = (engine.decider(), || is_over.load(Relaxed));
                access::attend(&decider, events, (door, revocations), most, &is_over, &ordered, None);
            });
            let health = server.key_health();
            scope.spawn(move || access::keep(&moves, &orders, &health, &|| stop.is_over()));
        }
        let (waiting, ending, after) = operate(engine, stop, (control, desks), server);
        // Who goes on has the admin port, too. Where nobody does, the end is seen there.
        let admin = if after.is_some() { admin.and_then(Running::end) } else { admin };
        let after = carry(after, AFTER);
        engine::wait_for_end(engine, ending);
        admin.and_then(Running::end);
        is_over.store(true, Relaxed);
        cluster.iter().for_each(cluster::Stop::stop);
        before.into_iter().chain(after).for_each(|bridge| bridge.finish());
        waiting
    })
}

/// Serves operators until the end begins: who waits for it, how it is to be, and the way to who goes on.
fn operate(
    engine: &Engine,
    stop: &StopRequests,
    (control, desks): (Control, Option<Desks>),
    server: Server<'_>,
) -> (Waiting, Ending, Option<Link>) {
    let (waiting, ending) = thread::scope(|scope| {
        let server = &server;
        let control = scope.spawn(move || control.attend(server, stop, || engine.failure().is_some()));
        let attend = |desk: Desk| {
            let closing = desk.closing();
            scope.spawn(move || desk.attend(server));
            closing
        };
        let closing: Vec<Closing> = desks.into_iter().flatten().map(attend).collect();
        engine::wait(engine, stop);
        stop.wake();
        // Whoever is asked for something may be slow, or stuck in a file that does not come: the end begins without them.
        let begun = (!stop.is_handover()).then(|| begin_end(engine, stop, server));
        // To whom, is known there.
        let waiting = control.join().unwrap_or_default();
        let ending = begun.unwrap_or_else(|| begin_end(engine, stop, server));
        closing.iter().for_each(Closing::end);
        (waiting, ending)
    });
    (waiting, ending, server.into_taker().map(|taker| taker.link))
}

/// The end begins, before anything else is waited for.
fn begin_end(engine: &Engine, stop: &StopRequests, server: &Server<'_>) -> Ending {
    let patience = server.shutdown_timeout();
    let within = |window: Duration| Ending { window, deadline: window.saturating_add(patience) };
    if let Some(Taker { sockets, window, .. }) = server.taker() {
        tell_of_end(stop, within(*window));
        engine::begin_hand_over(engine, within(*window), sockets.clone());
        return within(*window);
    }
    systemd::tell_stopping();
    let ending = server.window().map_or_else(|| Ending::within(engine, patience), within);
    tell_of_end(stop, ending);
    engine::begin_end(engine, ending);
    ending
}

fn tell_of_end(stop: &StopRequests, Ending { window, deadline }: Ending) {
    if stop.is_asked() {
        let spread = if window.is_zero() { String::new() } else { format!(", closes spread over {}", Span(window)) };
        let most = Span(deadline);
        tracing::info!(
            event = "server.stopping",
            "{}: sending what is queued, {most} at most{spread}; a second signal ends at once",
            stop.name()
        );
    }
}
