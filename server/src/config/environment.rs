//! Job: settings out of the environment: `FANWIRE__MEMORY__POOL_BYTES=64MiB`.
//! Knows: how a name is spelled there. Must never know: what else says something.

use std::ffi::OsString;

use super::key::{Key, all, is_section};
use super::{Layer, Origin};

/// What the names of such variables begin with.
const PREFIX: &str = "FANWIRE__";

/// With one underscore they are something else: FANWIRE_LOG, FANWIRE_TOKEN, and what a host's own tools set.
const NEARLY: &str = "FANWIRE_";

/// The variable that is meant by one whose underscores are wrong, which would set nothing.
fn meant(name: &str) -> Option<String> {
    let rest = name.strip_prefix(NEARLY)?.to_ascii_lowercase();
    let single = |name: &str| name.replace("__", "_").replace('.', "_");
    if let Some(key) = all().find(|key| single(key.name()) == single(&rest)) {
        return Some(variable(key.name()));
    }
    let (section, _) = rest.split_once("__")?;
    is_section(section).then(|| format!("{}__…", variable(section)))
}

/// The variable that sets a setting.
pub fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase().replace('.', "__"))
}

/// What the environment says. A name with our prefix that is none is a fault: what is misspelt would be what is not set.
pub fn read(variables: impl Iterator<Item = (OsString, OsString)>) -> Layer {
    let mut layer = Layer::default();
    let mut ours: Vec<_> =
        variables.filter(|(name, _)| name.as_encoded_bytes().starts_with(NEARLY.as_bytes())).collect();
    ours.sort();
    for (name, value) in ours {
        let shown = name.to_string_lossy().into_owned();
        if !shown.starts_with(PREFIX) {
            if let Some(meant) = meant(&shown) {
                layer.fault(shown, format!("is no setting; one is written {meant}"));
            }
            continue;
        }
        let spelled = shown[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
        match (Key::find(&spelled), value.into_string()) {
            (Err(problem), _) => layer.fault(shown, problem),
            (Ok(key), _) if variable(key.name()) != shown => {
                layer.fault(shown, format!("it is written {}", variable(key.name())));
            }
            (Ok(_), Err(_)) => layer.fault(shown, "its value is not UTF-8".into()),
            // A value that is empty by mistake must not mean "any".
            (Ok(key), Ok(text)) if text.is_empty() && key.separator().is_some() => {
                layer.fault(shown, format!("is empty; allowed: {}", key.values()));
            }
            (Ok(key), Ok(text)) => layer.give(key, text, Origin::Environment(shown)),
        }
    }
    layer
}
