//! Job: who decides on tokens for a program that has an engine inside itself: started beside the engine, told of new settings and of
//! revoked tokens, ended with it.
//! Knows: settings, the engine's configuration, threads. Must never know: what a token says, which language the host speaks.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use fanwire::binding::{self, Bell};
use fanwire::{AskHost, Config, Decider, Engine, Events};

use crate::attendant::{self, Beside, Order, Revoked, attend};
use crate::door::{Door, Opened};
use crate::error::{AccessError, ErrorKind};
use crate::key_health::KeyHealth;
use crate::key_url::{Moved, keep, not_read};
use crate::relay::{HostEvents, Left, Relay};
use crate::revocations::{Meant, NAME_BYTES_MAX, Revocations};
use crate::settings::{ANONYMOUS_PUBLISH, ANONYMOUS_SUBSCRIBE, SECTION, TokenSettings};
use crate::{clock, placement};

/// What the host had said itself of what the engine is to ask, before the tokens' part came to it.
#[derive(Clone, Debug, Default)]
struct OfHost {
    asks: Option<AskHost>,
    events: usize,
}

impl OfHost {
    /// Adds what tokens need to a configuration.
    fn take(config: &mut Config) -> Self {
        let host = OfHost { asks: config.access.ask_host.take(), events: config.events.capacity };
        if host.events == 0 && (host.asks.is_some() || config.events.messages) {
            // The engine refuses it, in its own words.
            config.access.ask_host = host.asks.clone();
            return host;
        }
        attendant::configure(config);
        config.events.capacity = config.events.capacity.max(host.events);
        if let (Some(asks), Some(all)) = (&host.asks, &mut config.access.ask_host) {
            all.within = asks.within;
            let own =
                asks.headers.iter().filter(|name| !placement::HEADERS.contains(&name.to_ascii_lowercase().as_str()));
            all.headers.extend(own.cloned());
        }
        host
    }
}

/// Settings, with everything read that they name, for an engine that is not there yet.
pub struct Prepared {
    settings: TokenSettings,
    opened: Opened,
    revocations: Revocations,
    host: OfHost,
}

impl Prepared {
    /// Reads keys and revocations, and has the engine of this configuration ask. Reading keys by URL takes up to ten seconds.
    /// `None`: the settings want nobody to decide.
    ///
    /// # Errors
    /// What is wrong with the settings, or with the files that they name.
    pub fn new(settings: &TokenSettings, config: &mut Config) -> Result<Option<Self>, AccessError> {
        check(settings, config)?;
        if !settings.door().is_wanted() {
            return Ok(None);
        }
        let opened = Door::open(settings.door(), || false)?;
        let revocations = Revocations::open(settings.revocations())?;
        match &opened.said {
            Ok(said) => tracing::info!("tokens: {said}"),
            Err(problem) => tracing::error!("tokens: {}", not_read(problem, false)),
        }
        let host = OfHost::take(config);
        Ok(Some(Prepared { settings: settings.clone(), opened, revocations, host }))
    }

    /// Decides for this engine from now on, on threads of its own. `events` are all of the engine's; what comes back is left of them
    /// for the host, if it wants any.
    ///
    /// # Errors
    /// What the system says: there is no thread, or no descriptor.
    pub fn start(self, engine: &Engine, events: Option<Events>) -> io::Result<(Verifier, Option<HostEvents>)> {
        let Prepared { settings, opened: Opened { door, moved, .. }, revocations, host } = self;
        let events = events.ok_or_else(|| io::Error::other("somebody has the events already"))?;
        let (decider, waker) = (engine.decider(), Bell::of(&events));
        let room = engine.plan().shards.saturating_mul(host.events);
        let relay = (room > 0).then(|| Relay::new(room)).transpose()?.map(Arc::new);
        let left =
            relay.clone().map(|relay| HostEvents::Left(Left { relay, decider: decider.clone(), waker: waker.clone() }));
        let beside = Beside::new(relay, host.asks.clone());
        let memory = attendant::memory(engine.config(), &settings.revocations());
        let connections_max = engine.config().connections_max;
        let (is_over, (orders, ordered)) = (Arc::new(AtomicBool::new(false)), channel());
        let (ends, asks) = (is_over.clone(), beside.clone());
        let run = move || {
            let door = (door, revocations);
            attend(&decider, events, door, connections_max, &|| ends.load(Relaxed), &ordered, Some(&asks));
        };
        let threads = vec![binding::spawn("fw-tokens", run)?];
        let verifier = Verifier {
            state: Mutex::new(State { settings, host, keeper: None, threads }),
            beside,
            orders,
            health: Arc::default(),
            is_over,
            waker,
            decider: engine.decider(),
            memory,
        };
        verifier.follow(moved)?;
        Ok((verifier, left))
    }
}

/// What is wrong with settings, all of it.
fn check(settings: &TokenSettings, config: &Config) -> Result<(), AccessError> {
    let mut faults = settings.faults();
    if config.access.ask_host.is_some() {
        let text = "the host is asked about those who have no token (access.ask_host_within): one of the two";
        let names = [ANONYMOUS_SUBSCRIBE, ANONYMOUS_PUBLISH].into_iter();
        faults.extend(names.filter(|name| !settings.text(name).is_empty()).map(|name| (name, text.to_owned())));
    }
    match faults.is_empty() {
        true => Ok(()),
        false => {
            let lines: Vec<String> = faults.iter().map(|(name, problem)| format!("{name}: {problem}")).collect();
            Err(AccessError::new(ErrorKind::NotUsable, lines.join("\n")))
        }
    }
}

struct State {
    settings: TokenSettings,
    host: OfHost,
    /// Where keys come from, for the thread that reads them now and then, once there is one.
    keeper: Option<Sender<Moved>>,
    threads: Vec<JoinHandle<()>>,
}

/// Decides on tokens beside a running engine. Dropping it ends that: nobody comes in any more.
pub struct Verifier {
    state: Mutex<State>,
    beside: Beside,
    orders: Sender<Order>,
    health: Arc<KeyHealth>,
    is_over: Arc<AtomicBool>,
    /// Wakes the thread that decides.
    waker: Bell,
    decider: Decider,
    memory: String,
}

/// Settings anew, with everything read that they name.
pub struct Anew {
    settings: TokenSettings,
    host: OfHost,
    opened: Option<Opened>,
}

/// What new settings have come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Settings that have another value now.
    pub changed: Vec<&'static str>,
    /// Settings that were to have another value, and have it only in another engine.
    pub needs_restart: Vec<&'static str>,
    /// What tokens are verified with, and who was closed because the key of its token is gone, for a person.
    pub said: Option<String>,
}

impl Changed {
    /// These settings were given to an engine that was started without anybody who decides on tokens.
    pub fn none_here(settings: &TokenSettings) -> Self {
        let needs_restart = TokenSettings::default().differing(settings).map(|setting| setting.name).collect();
        Changed { needs_restart, ..Changed::default() }
    }
}

impl Verifier {
    /// The settings that hold.
    pub fn settings(&self) -> TokenSettings {
        self.state().settings.clone()
    }

    /// What it takes beside the engine's memory, for a person.
    pub fn memory(&self) -> &str {
        &self.memory
    }

    /// Takes back from a configuration of the engine's what tokens have added: what the host has said of it remains.
    pub fn without_tokens(&self, config: &mut Config) {
        let state = self.state();
        config.access.ask_host = state.host.asks.clone();
        config.events.capacity = state.host.events;
    }

    /// Reads keys anew, and has a configuration for the same engine ask as before. Nothing is changed yet: [`Verifier::take_over`].
    ///
    /// # Errors
    /// What is wrong with the settings, or with the files that they name. Where keys come from the URL that they came from before and
    /// cannot be read, those that are there stay, and that is no error.
    pub fn prepare_anew(&self, settings: &TokenSettings, config: &mut Config) -> Result<Anew, AccessError> {
        check(settings, config)?;
        let opened = match settings.door() {
            door if !door.is_wanted() => None,
            door => {
                let is_new = door.source().map(|source| source.url.clone())
                    != self.settings().door().source().map(|source| source.url.clone());
                let opened = Door::open(door, || self.is_over.load(Relaxed))?;
                match &opened.said {
                    Err(problem) if is_new => {
                        let text = format!("keys cannot be read from {problem}");
                        return Err(AccessError::new(ErrorKind::NotReadable, text));
                    }
                    _ => Some(opened),
                }
            }
        };
        let host = OfHost::take(config);
        // Room for events is made at the start.
        let host = OfHost { events: self.state().host.events, ..host };
        Ok(Anew { settings: settings.clone(), host, opened })
    }

    /// Decides by these settings from now on, and closes those whose key is gone.
    ///
    /// # Errors
    /// What the system says where keys come from a URL for the first time, and there is no thread for that.
    pub fn take_over(&self, anew: Anew) -> io::Result<Changed> {
        let Anew { settings, host, opened } = anew;
        let keeps_door = opened.is_none();
        self.beside.ask(host.asks.clone());
        let mut told = Changed::default();
        {
            let mut state = self.state();
            let mut held = state.settings.clone();
            for setting in state.settings.differing(&settings) {
                if keeps_door || !setting.is_reloadable {
                    told.needs_restart.push(setting.name);
                } else {
                    told.changed.push(setting.name);
                    held.take(setting.name, &settings);
                }
            }
            state.settings = held;
            state.host = host;
        }
        if let Some(Opened { door, said, moved }) = opened {
            let (done, is_done) = sync_channel(1);
            // Where nobody decides any more, nobody comes in either: the engine has ended.
            let _ = self.orders.send(Order::Replace { door: Box::new(door), done });
            self.waker.ring();
            self.follow(moved)?;
            let keys = said.unwrap_or_else(|problem| not_read(&problem, true));
            let closed = is_done.recv().unwrap_or_default();
            let s = if closed == 1 { "" } else { "s" };
            told.said = Some(format!("tokens: {keys}; {closed} connection{s} closed, whose key is gone"));
        }
        Ok(told)
    }

    /// Refuses these tokens from now on, and closes with 4401 who came in by them.
    ///
    /// # Errors
    /// [`ErrorKind::NotMeant`]: no token is meant, or a name is too long. [`ErrorKind::Ended`]: the engine has ended. Else as
    /// [`Revocations::revoke`].
    pub fn revoke(&self, meant: Meant) -> Result<Revoked, AccessError> {
        meant.check()?;
        let (done, is_done) = sync_channel(1);
        let ended = || AccessError::new(ErrorKind::Ended, "the engine has ended");
        if self.decider.has_ended() {
            return Err(ended());
        }
        self.orders.send(Order::Revoke { meant, done }).map_err(|_| ended())?;
        self.waker.ring();
        is_done.recv().map_err(|_| ended())?
    }

    /// The engine's metrics, with how keys by URL fare.
    pub fn metrics(&self, of_engine: String) -> String {
        self.health.add_to(of_engine, clock::now())
    }

    /// Keys come from there from now on.
    fn follow(&self, moved: Moved) -> io::Result<()> {
        let mut state = self.state();
        if state.keeper.is_none() {
            if moved.source.is_none() {
                return Ok(());
            }
            let (to, moves) = channel();
            let (orders, health, is_over) = (self.orders.clone(), self.health.clone(), self.is_over.clone());
            let run = move || keep(&moves, &orders, &health, &|| is_over.load(Relaxed));
            state.threads.push(binding::spawn("fw-keys", run)?);
            state.keeper = Some(to);
        }
        // Where nobody reads them any more the engine has ended.
        let _ = state.keeper.as_ref().map(|keeper| keeper.send(moved));
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        self.waker.ring();
        for thread in std::mem::take(&mut self.state().threads) {
            // What it has failed by is told by its panic.
            let _ = thread.join();
        }
    }
}

impl Meant {
    /// Whether it can be revoked.
    ///
    /// # Errors
    /// [`ErrorKind::NotMeant`]: every token is meant, or a name is too long.
    pub fn check(&self) -> Result<(), AccessError> {
        let wrong = |text: String| Err(AccessError::new(ErrorKind::NotMeant, text));
        if *self == Meant::default() {
            return wrong("every token is meant: say of whom, which, or made before when".into());
        }
        match [&self.sub, &self.jti].into_iter().flatten().any(|name| name.len() > NAME_BYTES_MAX) {
            true => wrong(format!("a name has at most {NAME_BYTES_MAX} bytes here")),
            false => Ok(()),
        }
    }
}

/// What settings below `token` begin with.
pub fn is_token_setting(name: &str) -> bool {
    name.starts_with(SECTION)
}
