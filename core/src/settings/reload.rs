//! What of a new configuration a running engine takes over: settings that are looked up each time that they matter.
//!
//! Knows settings by their rows. Must never know what one does.

use super::{Setting, settings};
use crate::config::Config;
use crate::rules::Reconfigured;

/// `before` with every setting of `wanted` that can be changed while an engine runs, and what became of the others. Both are legal; a
/// setting that is not, together with one that needs a restart, keeps its value: so none of those ever stands in the way of another.
pub fn taken_over(before: &Config, wanted: &Config, shards: usize) -> (Config, Reconfigured) {
    let mut told = Reconfigured::default();
    let mut taken: Vec<&'static Setting> = Vec::new();
    for setting in settings().filter(|setting| setting.kind.show(before) != setting.kind.show(wanted)) {
        // What it needs is not there, or would be there for nothing.
        let is_switched = setting.is_sized && [before, wanted].iter().any(|config| setting.kind.show(config) == "0");
        if setting.is_reloadable && !is_switched { taken.push(setting) } else { told.needs_restart.push(setting.name) }
    }
    loop {
        let mut after = before.clone();
        // What one configuration shows, another one takes.
        taken.retain(|setting| setting.kind.set(&mut after, &setting.kind.show(wanted)).is_ok());
        let Err(errors) = after.validate_for(shards) else {
            told.changed = taken.iter().map(|setting| setting.name).collect();
            return (after, told);
        };
        let is_at_fault = |setting: &Setting| errors.iter().any(|error| belongs(error.field, setting.name));
        let (wrong, right): (Vec<&'static Setting>, Vec<_>) =
            taken.into_iter().partition(|setting| is_at_fault(setting));
        // Where none of them is named, none can be told from the others.
        let (wrong, right) = if wrong.is_empty() { (right, wrong) } else { (wrong, right) };
        told.needs_restart.extend(wrong.iter().map(|setting| setting.name));
        taken = right;
    }
}

/// `topics.lane_bytes` is a part of `topics`.
fn belongs(field: &str, name: &str) -> bool {
    field.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::TopicConfig;

    #[test]
    fn what_cannot_be_changed_keeps_its_value_and_stands_in_nobody_s_way() {
        let before = Config::default();
        let mut wanted = Config { topics_max: 7, ..Config::default() };
        wanted.limits.ping_every = Duration::from_secs(7);
        wanted.access.allowed_origins = vec!["https://a.example".into()];
        wanted.topics = vec![TopicConfig { pattern: "a/*".into(), ..TopicConfig::default() }];
        let (after, told) = taken_over(&before, &wanted, 1);
        assert_eq!(told.changed, ["limits.ping_every", "topics", "access.allowed_origins"]);
        assert_eq!(told.needs_restart, ["topics_max"]);
        assert_eq!((after.topics_max, after.limits.ping_every), (before.topics_max, wanted.limits.ping_every));
        assert_eq!((after.topics, after.access.allowed_origins), (wanted.topics, wanted.access.allowed_origins));
    }

    #[test]
    fn what_is_right_only_together_with_a_fixed_setting_waits_for_the_restart_with_it() {
        let mut before = Config::default();
        before.memory.pool_bytes = 16 << 20;
        let mut wanted = Config::default();
        wanted.memory.pool_bytes = 1 << 30;
        wanted.topics = vec![TopicConfig { lane_bytes: Some(512 << 20), ..TopicConfig::default() }];
        wanted.limits.ping_every = Duration::from_secs(7);
        let (after, told) = taken_over(&before, &wanted, 1);
        assert_eq!(
            (&told.changed[..], &told.needs_restart[..]),
            (&["limits.ping_every"][..], &["memory.pool_bytes", "topics"][..])
        );
        assert!(after.topics.is_empty() && after.validate_for(1).is_ok());
    }

    #[test]
    fn limits_change_where_they_are_on_and_are_turned_neither_on_nor_off() {
        let with = |addresses, bytes, lifetime_s| {
            let mut config = Config::default();
            config.limits.connections_per_address_max = addresses;
            config.limits.inbound_bytes_per_second_max = bytes;
            config.limits.connection_lifetime = Duration::from_secs(lifetime_s);
            config
        };
        let names =
            ["limits.connections_per_address_max", "limits.inbound_bytes_per_second_max", "limits.connection_lifetime"];
        let (after, told) = taken_over(&with(1, 1_000, 60), &with(2, 2_000, 30), 1);
        assert_eq!((&told.changed[..], &told.needs_restart[..]), (&names[..], &[][..]));
        assert_eq!(after.limits, with(2, 2_000, 30).limits);
        for (before, wanted) in [(with(0, 0, 0), with(2, 2_000, 30)), (with(2, 2_000, 30), with(0, 0, 0))] {
            let (after, told) = taken_over(&before, &wanted, 1);
            assert_eq!((&told.changed[..], &told.needs_restart[..]), (&[][..], &names[..]));
            assert_eq!(after.limits, before.limits);
        }
    }

    #[test]
    fn the_same_again_changes_nothing() {
        let config = Config::default();
        assert_eq!(taken_over(&config, &config, 2).1, Reconfigured::default());
    }
}
