//! Job: the settings anew, out of the same file, environment and options: all of them, or none.
//! Knows: in which order what can be wrong is looked at. Must never know: what a setting does.

use std::collections::BTreeSet;
use std::sync::mpsc::sync_channel;

use fanwire::{Config, Setting};
use fanwire_access as access;
use fanwire_access::{Door, DoorConfig, Opened, Order};
use serde::{Deserialize, Serialize};

use super::Server;
use super::own::Own;
use crate::config::{self, Loaded};
use crate::engine;
use crate::exit::{Exit, Failure};
use crate::notices;
use crate::systemd;

/// What a reload has come to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Settings that have another value now.
    pub changed: Vec<Change>,
    /// Certificates that were read anew.
    pub certificates: usize,
    /// What tokens are verified with from now on, if they are.
    pub keys: Option<String>,
    /// What the admin port's files hold now, if it has any.
    #[serde(default)]
    pub admin: Option<String>,
    /// Connections that are closed because the key of their token is gone.
    pub closed: usize,
    /// Settings that were to have another value, and have it only after a restart.
    pub needs_restart: Vec<Change>,
}

/// A setting, with the value that it was given.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub setting: String,
    pub value: String,
    /// Where that is said.
    pub place: String,
}

impl Change {
    fn of(loaded: &Loaded, name: &str) -> Self {
        Change { setting: name.to_owned(), value: loaded.value(name), place: loaded.told_by(name) }
    }
}

impl Server<'_> {
    /// Reads everything again. What cannot be changed while the server runs is named, and stands in nobody's way.
    ///
    /// # Errors
    /// 66 where a file cannot be read, 78 for what is wrong in it; everything is then as it was.
    pub fn reload(&self) -> Result<Reloaded, Failure> {
        systemd::tell_reloading();
        let reloaded = self.take_anew();
        systemd::tell_ready();
        reloaded
    }

    fn take_anew(&self) -> Result<Reloaded, Failure> {
        let mut own = self.own();
        let loaded = config::load_checked(self.args)?;
        let door = match &self.attendant {
            Some(attendant) if loaded.door().is_wanted() => {
                Some((attendant, open_anew(loaded.door(), &own, || self.stop.is_over())?))
            }
            _ => None,
        };
        let admin = self.keeper.as_ref().map(|keeper| keeper.read_anew().map(|anew| (keeper, anew))).transpose()?;
        let mut config = loaded.config.clone();
        if self.attendant.is_some() {
            access::configure(&mut config);
        }
        let told = self.engine.reconfigure(&config);
        let told = told.map_err(|errors| engine::refused(&errors, |name| loaded.place_of(name)))?;
        // From here on nothing can be wrong any more.
        let (keys, closed) = match door {
            Some((attendant, Opened { door, said, moved })) => {
                let (done, is_done) = sync_channel(1);
                // Where nobody decides any more, nobody comes in either: the server ends.
                let _ = attendant.orders.send(Order::Replace { door: Box::new(door), done });
                self.keys_moved(moved);
                let keys = said.unwrap_or_else(|problem| access::not_read(&problem, true));
                (Some(keys), is_done.recv().unwrap_or_default())
            }
            None => (None, 0),
        };
        let admin = admin.and_then(|(keeper, secrets)| Some(keeper.replace(secrets?)));
        let (own_changed, own_fixed) = own.take_over(&loaded);
        let named = |of_engine: &[&'static str], of_process: &[&'static str]| {
            let of_engine = of_engine.iter().filter(|name| Setting::find(name).is_ok_and(|s| !s.is_for_hosts));
            of_engine.chain(of_process).map(|name| Change::of(&loaded, name)).collect::<Vec<_>>()
        };
        let changed = named(&told.changed, &own_changed);
        let needs_restart = named(&told.needs_restart, &own_fixed);
        warn_of(&told.changed, &config);
        let certificates = told.certificates;
        Ok(Reloaded { changed, certificates, keys, admin, closed, needs_restart })
    }

    /// [`Server::reload`] for who hears of it by the log alone.
    pub fn reload_and_tell(&self) {
        match self.reload() {
            Ok(reloaded) => {
                reloaded.lines().iter().for_each(|line| tracing::info!(event = "config.reloaded", "{line}"))
            }
            Err(failure) => tracing::error!(
                event = "config.reload_failed",
                "nothing is reloaded, everything stays as it was: {:#}",
                failure.error
            ),
        }
    }
}

/// Keys as the settings say now. Where their URL is the one that it was and cannot be read, that stands in nobody's way: the keys that
/// are there stay.
fn open_anew(config: DoorConfig, own: &Own, is_over: impl Fn() -> bool) -> Result<Opened, Failure> {
    let is_new = config.source().is_some_and(|source| !own.has_jwks_url(&source.url.to_string()));
    let opened = Door::open(config, is_over)?;
    match &opened.said {
        Err(problem) if is_new => {
            let what = format!("keys cannot be read from {problem}");
            Err(Failure::message(Exit::Unavailable, what))
        }
        _ => Ok(opened),
    }
}

/// Warns of what an operator has to know, where it is new.
fn warn_of(changed: &[&'static str], config: &Config) {
    let changed: BTreeSet<_> = changed.iter().copied().collect();
    if changed.contains("access.publish") || changed.contains("access.allowed_origins") {
        notices::warn_of(config);
    }
}

impl Reloaded {
    /// All of it for a person.
    pub fn lines(&self) -> Vec<String> {
        let line = |what: &'static str| {
            move |Change { setting, value, place }: &Change| format!("{what}: {setting} = {value} ({place})")
        };
        let mut lines: Vec<String> = self.changed.iter().map(line("changed")).collect();
        if self.certificates > 0 {
            let s = if self.certificates == 1 { "" } else { "s" };
            lines.push(format!(
                "TLS: {} certificate{s} read anew, for connections that come from now on",
                self.certificates
            ));
        }
        let (closed, s) = (self.closed, if self.closed == 1 { "" } else { "s" });
        let keys = self.keys.iter();
        lines.extend(keys.map(|keys| format!("tokens: {keys}; {closed} connection{s} closed, whose key is gone")));
        lines.extend(self.admin.iter().map(|said| format!("admin: {said}")));
        lines.extend(self.needs_restart.iter().map(line("needs a restart")));
        if self.changed.is_empty() && self.needs_restart.is_empty() {
            lines.push("no setting has changed".into());
        }
        lines
    }
}
