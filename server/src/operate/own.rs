//! Job: the process's own settings as they hold now.
//! Knows: their values as texts. Must never know: the engine's settings.

use std::collections::BTreeMap;
use std::time::Duration;

use fanwire::settings::Span;

use crate::config::{JWKS_URL, Loaded, SHUTDOWN_TIMEOUT, own_settings};

/// See the module's head.
pub struct Own {
    texts: BTreeMap<&'static str, String>,
    /// Somebody decides who comes in: since the start, or not at all.
    has_door: bool,
}

impl Own {
    pub fn of(loaded: &Loaded) -> Self {
        let texts = own_settings().map(|setting| (setting.name, loaded.value(setting.name))).collect();
        Own { texts, has_door: loaded.door().is_wanted() }
    }

    pub fn shutdown_timeout(&self) -> Duration {
        self.texts.get(SHUTDOWN_TIMEOUT).and_then(|text| text.parse().ok()).map_or(Duration::ZERO, |Span(time)| time)
    }

    /// Whether keys come from this URL now.
    pub fn has_jwks_url(&self, url: &str) -> bool {
        self.texts.get(JWKS_URL).is_some_and(|text| text == url)
    }

    /// Takes over what can be changed while the process runs: the names of that, and of what needs a restart.
    pub fn take_over(&mut self, loaded: &Loaded) -> (Vec<&'static str>, Vec<&'static str>) {
        // Whether anybody decides is settled at the start: with it, all that it would decide by.
        let keeps_door = loaded.door().is_wanted() != self.has_door;
        let (mut changed, mut needs_restart) = (Vec::new(), Vec::new());
        for setting in own_settings() {
            let new = loaded.value(setting.name);
            let Some(old) = self.texts.get_mut(setting.name).filter(|old| **old != new) else { continue };
            if !setting.is_reloadable() || keeps_door && setting.name.starts_with("token.") {
                needs_restart.push(setting.name);
            } else {
                *old = new;
                changed.push(setting.name);
            }
        }
        (changed, needs_restart)
    }
}
