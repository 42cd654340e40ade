//! Settings that are lists, as one text with separators.

use std::path::PathBuf;

use super::topics;
use super::units::CpuList;
use crate::config::Config;
use crate::listen::{ListenerError, TrustedProxyError};

/// A list, as one text.
pub struct List {
    pub separator: char,
    pub show: fn(&Config) -> String,
    /// Replaces the list; the error is what is wrong with the text.
    pub set: fn(&mut Config, &str) -> Result<(), String>,
    /// What a value is, for the documentation.
    pub values: &'static str,
}

/// The parts of a list that is written with commas.
pub fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

pub fn set_listen(config: &mut Config, text: &str) -> Result<(), String> {
    let parse = |part: &str| part.parse().map_err(|error: ListenerError| error.to_string());
    let listeners: Vec<_> = parts(text).map(parse).collect::<Result<_, _>>()?;
    if listeners.is_empty() {
        return Err("at least one address is needed".into());
    }
    config.listen = listeners;
    Ok(())
}

/// Paths, several with commas.
pub fn show_paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>().join(",")
}

pub fn parse_paths(text: &str) -> Vec<PathBuf> {
    parts(text).map(PathBuf::from).collect()
}

pub fn show_cpus(config: &Config) -> String {
    config.cpus.as_ref().map_or_else(|| "auto".into(), |cpus| CpuList(cpus.clone()).to_string())
}

pub fn set_cpus(config: &mut Config, text: &str) -> Result<(), String> {
    config.cpus = match text {
        "auto" => None,
        _ => Some(text.parse::<CpuList>()?.0),
    };
    Ok(())
}

pub fn show_trusted_proxies(config: &Config) -> String {
    config.access.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

pub fn set_trusted_proxies(config: &mut Config, text: &str) -> Result<(), String> {
    let parse = |part: &str| part.parse().map_err(|error: TrustedProxyError| error.to_string());
    config.access.trusted_proxies = parts(text).map(parse).collect::<Result<_, _>>()?;
    Ok(())
}

pub fn show_topics(config: &Config) -> String {
    config.topics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

pub fn set_topics(config: &mut Config, text: &str) -> Result<(), String> {
    config.topics = topics::parse_lines(text).map_err(|(_, problem)| problem)?;
    Ok(())
}
