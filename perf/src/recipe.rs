//! Scenarios by name: a kind with its parameters, in a file of perf/scenarios. They are part of this binary; other files are named by
//! their path.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::scenario::{ALL, Scenario};

macro_rules! recipes {
    ($($name:literal),* $(,)?) => {
        const RECIPES: &[(&str, &str)] = &[$(($name, include_str!(concat!("../scenarios/", $name, ".toml")))),*];
    };
}

recipes![
    "telemetry",
    "log-streaming",
    "fanout-10k",
    "fanout-ladder",
    "connections-19900",
    "connections-38k",
    "memory",
    "memory-tls",
    "connect-storm",
    "slow-crowd",
    "resume-storm",
    "restart",
    "kill",
    "reconnect-storm",
    "half-handshakes",
    "handover",
    "certificate-swap",
    "herd",
    "memory-cap",
    "partition",
    "thin-link",
    "churn",
    "bystander",
    "scrape",
    "px4",
    "compress-once",
    "floor",
    "one-per-turn",
    "coalescing",
    "steady",
    "clock",
    "clock-10",
    "subscribers-10k",
    "many-topics",
    "shards",
    "peers-saturated",
    "peers-coalescing",
    "peers-steady",
    "peers-10k",
    "peers-many-topics",
    "peers-tls",
    "peers-tls-steady",
    "tls-cost",
];

/// A scenario ready to run.
pub struct Recipe {
    /// What it is called.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// What runs it.
    pub kind: &'static Scenario,
    /// Parameters that differ from the kind's own, each `NAME=VALUE`.
    pub settings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    kind: String,
    about: Option<String>,
    #[serde(default)]
    parameters: toml::Table,
}

/// The names of all, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    RECIPES.iter().map(|(name, _)| *name)
}

impl Recipe {
    /// The one of this name, a bare kind, or the file there.
    ///
    /// # Errors
    /// When there is none, or it is not well-formed.
    pub fn find(name: &str) -> Result<Recipe> {
        if let Some((_, text)) = RECIPES.iter().find(|(known, _)| *known == name) {
            return Self::read(name, text);
        }
        if let Some(kind) = ALL.iter().find(|kind| kind.name == name) {
            return Ok(Recipe { name: name.into(), about: kind.about.into(), kind, settings: Vec::new() });
        }
        if name.ends_with(".toml") {
            let text = std::fs::read_to_string(name).with_context(|| name.to_string())?;
            let stem = Path::new(name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
            return Self::read(&stem, &text);
        }
        bail!("no scenario `{name}`; see `list`")
    }

    fn read(name: &str, text: &str) -> Result<Recipe> {
        let file: File = toml::from_str(text).with_context(|| format!("the scenario {name}"))?;
        let kind = ALL
            .iter()
            .find(|kind| kind.name == file.kind)
            .with_context(|| format!("the scenario {name} is of an unknown kind `{}`", file.kind))?;
        let settings = file
            .parameters
            .iter()
            .map(|(name, value)| match value {
                toml::Value::String(text) => Ok(format!("{name}={text}")),
                toml::Value::Integer(number) => Ok(format!("{name}={number}")),
                toml::Value::Float(number) => Ok(format!("{name}={number}")),
                toml::Value::Boolean(so) => Ok(format!("{name}={so}")),
                _ => bail!("{name} is neither a text nor a number"),
            })
            .collect::<Result<_>>()?;
        Ok(Recipe { name: name.into(), about: file.about.unwrap_or_else(|| kind.about.into()), kind, settings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::Parameters;

    #[test]
    fn every_recipe_can_be_run_and_every_file_is_a_recipe() {
        for name in names() {
            let recipe = Recipe::find(name).unwrap();
            Parameters::new(&recipe.kind.parameters(), &recipe.settings)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        for file in std::fs::read_dir(folder).unwrap() {
            let name = file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
            assert!(names().any(|known| known == name), "{name}.toml is not listed");
        }
    }

    #[test]
    fn a_recipe_with_an_unknown_word_is_refused() {
        assert!(Recipe::read("x", "kind = \"versus\"\nparametres = {}").is_err());
        assert!(Recipe::read("x", "kind = \"nothing\"").is_err());
        assert!(Recipe::find("nothing").is_err());
        assert_eq!(Recipe::read("x", "kind = \"versus\"\n[parameters]\nn = 3").unwrap().settings, ["n=3"]);
    }
}
