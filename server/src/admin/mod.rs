//! Job: the admin port: an operator's questions and orders by HTTP, metrics, and the page that shows them.
//! Knows: which threads there are, and how long each lives. Must never know: what is answered.
//!
//! Two threads of their own, apart from the shards. `admin` has the sockets (tokio, one thread) and lives until the engine has
//! ended, so that who asks during a drain is told so. The `desk` does what takes an engine, one question after another.

mod access;
mod answer;
mod benchmark;
mod config;
mod connections;
mod desk;
mod guard;
mod hosts;
mod listen;
mod metrics;
mod observers;
mod pace;
mod page;
mod process;
mod routes;
mod secrets;
mod state;
mod tls;
mod token;
mod tunnel;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::sync::watch;

pub use self::config::{AdminConfig, Wanted};
use self::connections::Door;
pub use self::desk::{Closing, Desk};
use self::listen::Bound;
use self::observers::Observers;
pub use self::secrets::Keeper;
use self::state::State;
use crate::exit::{Exit, Failure, OrExit};
use crate::signals::StopRequests;

/// An admin port that is listened at, and not served yet.
pub struct Admin {
    config: AdminConfig,
    bound: Bound,
    observers: Option<Observers>,
}

impl Admin {
    /// Listens, if anybody wants an admin port. One that nobody has asked for by name and that is taken is done without. Behind a
    /// predecessor it listens when that one has left its place.
    ///
    /// # Errors
    /// 78: it is for other machines, and nobody is kept out, or what keeps them out cannot be read; 71: its address is taken.
    pub fn listen(config: AdminConfig, has_predecessor: bool) -> Result<Option<Self>, Failure> {
        let Some(bound) = Bound::listen(&config, has_predecessor)? else { return Ok(None) };
        let observers = Observers::listen();
        let observers = observers
            .inspect_err(|error| {
                tracing::warn!("admin: topics cannot be looked into here, for want of a socket: {error}")
            })
            .ok();
        Ok(Some(Admin { config, bound, observers }))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.bound.listener.as_ref().map_or(Ok(self.bound.address), TcpListener::local_addr)
    }

    /// The socket by which those come that look into topics, for the engine.
    pub fn socket(&mut self) -> Option<fanwire::InheritedSocket> {
        self.observers.as_mut().and_then(Observers::socket)
    }

    /// Serves from now on. What takes an engine goes to the desk.
    ///
    /// # Errors
    /// 70 where the thread cannot be started.
    pub fn start(self, stop: &StopRequests) -> Result<(Running, Desks, Keeper), Failure> {
        let cannot = || "cannot start the admin port".to_owned();
        let runtime = Builder::new_current_thread().enable_all().build().or_exit(Exit::Software, cannot)?;
        let (end, mut ended) = watch::channel(false);
        let (desk, questions) = Desk::new(desk::QUESTIONS_MAX);
        let (measuring, measurements) = Desk::new(1);
        let Admin { config, bound, observers } = self;
        let scheme = bound.scheme();
        let Bound { listener, address, secrets } = bound;
        let keeper = Keeper::new(config.clone(), secrets);
        let state = State::new(&config, &keeper, observers, (desk, measuring), stop.clone());
        let secrets = keeper.subscribe();
        let (every, wanted) = (config.benchmark_every, config.wanted);
        tracing::info!("{}", connections::memory());
        let thread = std::thread::Builder::new().name("admin".into());
        let served = thread.spawn(move || {
            let served = runtime.block_on(async {
                let listener = match listener {
                    Some(listener) => listener,
                    // Whoever has the place may have it for ever, and be no predecessor.
                    None => tokio::select! {
                        free = listen::when_free(address) => free?,
                        _ = ended.wait_for(|ended| *ended) => return Ok(()),
                    },
                };
                let address = listener.local_addr()?;
                tracing::info!(event = "admin.listening", "admin: {scheme}://{address}");
                let listener = tokio::net::TcpListener::from_std(listener)?;
                if let Some(every) = every {
                    let state = state.clone();
                    tokio::spawn(async move { state.benchmark.run_every(every).await });
                }
                let app = routes::router(state);
                Door { listener, secrets, app }.attend(ended).await;
                io::Result::Ok(())
            });
            match served {
                Err(error) if wanted == Wanted::ByDefault && error.kind() == io::ErrorKind::AddrInUse => {
                    tracing::info!(event = "admin.taken", "admin: its place is taken, so there is no admin port");
                }
                Err(error) => {
                    tracing::error!(event = "admin.failed", "admin: there is no admin port: {error}");
                }
                Ok(()) => {}
            }
            // Who still reads an answer is cut off.
            runtime.shutdown_background();
        });
        let thread = served.or_exit(Exit::Software, cannot)?;
        Ok((Running { end, thread }, [questions, measurements], keeper))
    }
}

/// What has to be attended beside the engine: what is answered at once, and what takes its time.
pub type Desks = [Desk; 2];

/// An admin port that is served.
pub struct Running {
    end: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Ends it: nothing is left of it.
    pub fn end(self) -> Option<Self> {
        let _ = self.end.send(true);
        // A panic there has been told.
        let _ = self.thread.join();
        None
    }
}
