//! Job: `fanwire demo`: an engine, three simulated rovers that publish to it, a page that shows them, the dashboard beside it.
//! Knows: which parts there are, and where each is. Must never know: mechanics ([`rover`]), HTTP ([`http`]).

mod dashboard;
mod fleet;
mod http;
mod random;
mod rover;
mod slow_link;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use fanwire::Engine;

use self::dashboard::Dashboard;
use self::http::Site;
use crate::args::DemoArgs;
use crate::engine;
use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::page::{File, SHARED, embedded};
use crate::settings::option_of;
use crate::signals::StopRequests;

/// Where the engine listens, if nobody says otherwise and the port is free.
const ENGINE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9001);
/// Where the page is, likewise.
const PAGE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Where the dashboard is, likewise.
const DASHBOARD: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9002);
/// Ports tried, the usual one included, before it gives up.
const PORTS_TRIED: u16 = 50;

/// The page itself, and its own files.
const INDEX: File = File::embedded("/", include_str!("page/index.html"));
pub const FILES: &[File] = &embedded!("/", "page/":
    "alarm-list.js" "alarms.js" "app.js" "batteries.js" "figures.js" "fleet.js" "history.js" "icon.svg" "link.js" "map.js"
    "others.js" "plots.js" "stream.js" "strips.js" "style.css" "tables.js" "tiles.js" "timeline.js");

/// For the slow link's sake: a critical message waits behind no more than this.
const UNSENT_BYTES_MAX: usize = 4 << 10;

/// Runs the command until the process is asked to stop.
///
/// # Errors
/// As [`engine::start`], or where no port is free.
pub fn run(args: &DemoArgs) -> Outcome {
    let stop = StopRequests::listen().or_exit(Exit::Software, || "cannot wait for signals".into())?;
    let (page, http) = match args.http {
        Some(address) => (TcpListener::bind(address), address),
        None => (bind_near(PAGE), PAGE),
    };
    let page = page.or_exit(Exit::Address, || format!("cannot serve the page on {http}"))?;
    let page_address = page.local_addr().or_exit(Exit::Unavailable, || "cannot serve the page".into())?;
    let patience = args.shutdown_timeout.0;
    let mut dashboard = match args.admin_listen {
        Some(address) => Dashboard::listen(address, patience)?,
        None => dashboard_near(DASHBOARD, patience)?,
    };
    let dashboard_address = dashboard.address();
    // Behind those that have their ports: this one is free for the moment alone.
    let listen = match args.listen {
        Some(address) => address,
        None => free_near(ENGINE).or_exit(Exit::Address, || format!("cannot listen on {ENGINE}"))?,
    };
    let mut config = engine::config(&args.engine, vec![listen.into()])?;
    config.topics.extend(fleet::topic_settings());
    config.limits.unsent_bytes_max = config.limits.unsent_bytes_max.min(UNSENT_BYTES_MAX);
    let sockets: Vec<_> = dashboard.socket().into_iter().collect();
    let engine = engine::start_with(config, &sockets, option_of)?;
    drop(sockets);
    let Some(address) = engine.local_addrs().first().copied() else {
        return Err(Failure::message(Exit::Software, "the engine listens nowhere"));
    };
    let slow = bind_near(after(address)).or_exit(Exit::Address, || "no port is free for the slow link".into())?;
    let slow_port = slow.local_addr().or_exit(Exit::Unavailable, || "cannot serve the slow link".into())?.port();
    slow_link::serve(slow, address).or_exit(Exit::Software, || "cannot start the slow link's thread".into())?;
    http::serve(page, site(&engine, address, slow_port, dashboard_address))
        .or_exit(Exit::Software, || "cannot start the page's thread".into())?;
    let fleet = fleet::start(&engine, args.seed)?;
    engine::announce(&engine);
    engine::say(&format!("page at http://{page_address}/"));
    engine::say(&format!("dashboard at http://{dashboard_address}/"));
    let ending = dashboard.serve(&engine, &stop)?;
    if stop.is_asked() {
        tracing::info!("{}: stopping", stop.name());
    }
    fleet.stop();
    engine::stop(engine, ending)?;
    Ok(ExitCode::SUCCESS)
}

/// A dashboard at `address`, or at the next free port after it.
fn dashboard_near(mut address: SocketAddr, patience: Duration) -> Result<Dashboard, Failure> {
    let last = address.port().saturating_add(PORTS_TRIED - 1);
    loop {
        match Dashboard::listen(address, patience) {
            Err(failure) if failure.code == Exit::Address as i32 && address.port() < last => {
                address.set_port(address.port() + 1);
            }
            other => return other,
        }
    }
}

/// A listener on `address`, or on the next free port after it.
fn bind_near(address: SocketAddr) -> io::Result<TcpListener> {
    let mut tried = address;
    loop {
        match TcpListener::bind(tried) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && address.port() != 0 => {
                match tried.port().checked_add(1) {
                    Some(next) if next - address.port() < PORTS_TRIED => tried.set_port(next),
                    _ => return Err(error),
                }
            }
            other => return other,
        }
    }
}

/// The address that the engine can have: tried with a listener that, unlike the engine's own, shares its port
/// with nobody.
fn free_near(address: SocketAddr) -> io::Result<SocketAddr> {
    if address.port() == 0 {
        return Ok(address);
    }
    bind_near(address)?.local_addr()
}

/// The address with the next port; with any free one after the last.
fn after(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(0))
}

/// The page, told where its data are.
fn site(engine: &Engine, address: SocketAddr, slow_port: u16, dashboard: SocketAddr) -> Site {
    // An address that stands for all of them is no place to connect to: the page then takes the host it came from.
    let host = match address.ip() {
        ip if ip.is_unspecified() => String::new(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let settings = serde_json::json!({
        "host": host,
        "port": address.port(),
        "slow_port": slow_port,
        "dashboard": format!("http://{dashboard}/"),
        "lane_bytes": fleet::LANE_BYTES,
        "driver": engine.driver(),
        "version": env!("CARGO_PKG_VERSION"),
        "rovers": fleet::ROVERS,
        "motor_amperes_max": rover::MOTOR_AMPERES_MAX,
        "charge_low": rover::CHARGE_LOW,
        "charge_critical": rover::CHARGE_CRITICAL,
    });
    let settings = File { path: "/settings.json", media: "application/json", content: settings.to_string().into() };
    Site {
        files: SHARED.iter().chain(FILES).cloned().chain([INDEX, settings]).collect(),
        // Nothing from elsewhere; the engine is another origin only by its port.
        policy: format!(
            "default-src 'self'; connect-src 'self' ws://*:{} ws://*:{slow_port}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            address.port()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_gives_the_next_free_one() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        if address.port() > u16::MAX - PORTS_TRIED {
            return;
        }
        let next = bind_near(address).unwrap().local_addr().unwrap();
        assert!(next.port() > address.port() && next.port() - address.port() < PORTS_TRIED);
        assert_eq!(next.ip(), address.ip());
        assert_eq!(free_near("127.0.0.1:0".parse().unwrap()).unwrap().port(), 0);
    }
}
