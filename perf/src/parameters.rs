//! Parameters of a scenario: its defaults, changed by `--set NAME=VALUE`. Unknown names are refused.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// Name, default and meaning of one parameter.
pub type Parameter = (&'static str, &'static str, &'static str);

/// The values of one run.
#[derive(Clone, Debug)]
pub struct Parameters(BTreeMap<&'static str, String>);

impl Parameters {
    /// The defaults with `settings` (each `NAME=VALUE`) put over them.
    ///
    /// # Errors
    /// When a setting names nothing, or is none.
    pub fn new(known: &[Parameter], settings: &[String]) -> Result<Self> {
        let mut values: BTreeMap<&'static str, String> =
            known.iter().map(|(name, value, _)| (*name, value.to_string())).collect();
        for setting in settings {
            let Some((name, value)) = setting.split_once('=') else { bail!("`{setting}` is not NAME=VALUE") };
            match known.iter().find(|(known, _, _)| *known == name) {
                Some((known, _, _)) => values.insert(known, value.to_string()),
                None => {
                    let names: Vec<&str> = known.iter().map(|(name, _, _)| *name).collect();
                    bail!("no parameter `{name}` here; there are: {}", names.join(", "))
                }
            };
        }
        Ok(Parameters(values))
    }

    /// One value as text.
    ///
    /// # Panics
    /// If the scenario asks for a parameter that it does not list.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("the scenario does not list its parameter {name}"))
    }

    /// One value as text, where the scenario has such a parameter.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// One value as a number or whatever parses.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn parse<T: std::str::FromStr>(&self, name: &str) -> Result<T> {
        self.text(name).parse().map_err(|_| anyhow::anyhow!("`{}` is no value for {name}", self.text(name)))
    }

    /// One value that may be empty for none.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn optional<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        if self.text(name).is_empty() { Ok(None) } else { self.parse(name).map(Some) }
    }

    /// A list with commas.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.text(name).split(',').filter(|part| !part.is_empty()).map(str::to_string).collect()
    }

    /// Words separated by blanks.
    pub fn words(&self, name: &str) -> Vec<String> {
        self.text(name).split_whitespace().map(str::to_string).collect()
    }

    /// All, for the record.
    pub fn to_json(&self) -> serde_json::Value {
        self.0
            .iter()
            .map(|(name, value)| (name.to_string(), serde_json::Value::from(value.as_str())))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_replace_defaults_and_unknown_ones_are_refused() {
        let known: &[Parameter] = &[("n", "10", ""), ("cpu", "", "")];
        let parameters = Parameters::new(known, &["n=20".into()]).unwrap();
        assert_eq!(parameters.parse::<usize>("n").unwrap(), 20);
        assert_eq!(parameters.optional::<usize>("cpu").unwrap(), None);
        assert!(Parameters::new(known, &["m=20".into()]).is_err());
        assert!(Parameters::new(known, &["n".into()]).is_err());
    }
}
