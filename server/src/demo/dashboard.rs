//! Job: the dashboard beside the rovers: the admin port of `fanwire serve`, for this demo's engine.
//! Knows: with which arguments `serve` would have the same. Must never know: rovers, what the dashboard shows.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use clap::Parser as _;
use fanwire::settings::Span;
use fanwire::{Engine, InheritedSocket};

use crate::admin::{Admin, Closing};
use crate::args::{Args, Command, ServeArgs};
use crate::config::{self, Loaded};
use crate::engine::{self, Ending};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::operate::Server;
use crate::signals::StopRequests;

/// A dashboard that nobody is served yet.
pub struct Dashboard {
    args: ServeArgs,
    loaded: Loaded,
    admin: Admin,
    address: SocketAddr,
}

impl Dashboard {
    /// Listens.
    ///
    /// # Errors
    /// 71: the address cannot be had; 78: other machines reach it, and a demo asks nobody for a token.
    pub fn listen(address: SocketAddr, patience: Duration) -> Result<Self, Failure> {
        let args = as_serve(address, patience)?;
        let loaded = config::load_with(&args, std::iter::empty())?;
        let nowhere = || Failure::message(Exit::Software, "there is no dashboard");
        let admin = Admin::listen(loaded.admin(), false)?.ok_or_else(nowhere)?;
        let address = admin.local_addr().or_exit(Exit::Unavailable, || "cannot serve the dashboard".into())?;
        Ok(Dashboard { args, loaded, admin, address })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket by which it looks into topics, for the engine.
    pub fn socket(&mut self) -> Option<InheritedSocket> {
        self.admin.socket()
    }

    /// Serves it until the demo is to end: how it is to end, for the page may ask for that, too.
    ///
    /// # Errors
    /// 70 where its thread cannot be started.
    pub fn serve(self, engine: &Engine, stop: &StopRequests) -> Result<Ending, Failure> {
        let Dashboard { args, loaded, admin, .. } = self;
        let (running, desks, keeper) = admin.start(stop)?;
        let server = Server::new(engine, stop, &args, &loaded, (None, Some(keeper)));
        thread::scope(|scope| {
            let server = &server;
            let closing = desks.map(|desk| {
                let closing = desk.closing();
                scope.spawn(move || desk.attend(server));
                closing
            });
            engine::wait(engine, stop);
            closing.iter().for_each(Closing::end);
        });
        running.end();
        let patience = server.shutdown_timeout();
        let drained = |window: Duration| Ending { window, deadline: window.saturating_add(patience) };
        Ok(server.window().map_or_else(|| Ending::within(engine, patience), drained))
    }
}

/// What `fanwire serve` would be started with. Neither a file nor a variable of the environment says more: they are not the demo's.
fn as_serve(address: SocketAddr, patience: Duration) -> Result<ServeArgs, Failure> {
    let (address, patience) = (address.to_string(), Span(patience).to_string());
    let line = ["fanwire", "serve", "--admin-listen", &address, "--shutdown-timeout", &patience];
    match Args::try_parse_from(line).map(|args| args.command) {
        Ok(Command::Serve(args)) => Ok(ServeArgs { config: None, ..args }),
        _ => Err(Failure::message(Exit::Software, "the dashboard's arguments are none of fanwire serve")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_arguments_are_those_of_serve() {
        let args = as_serve("127.0.0.1:9002".parse().unwrap(), Duration::from_millis(2_500)).unwrap();
        let loaded = config::load_with(&args, std::iter::empty()).unwrap();
        assert_eq!(loaded.admin().listen, Some("127.0.0.1:9002".parse().unwrap()));
        assert_eq!(loaded.value("shutdown_timeout"), "2500ms");
    }
}
