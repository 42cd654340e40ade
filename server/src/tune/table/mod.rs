//! Job: the one table of knobs. The commands read it, the files in `tuning/` are generated from it.
//! Knows: every knob. Must never know: who turns them.

mod connections;
mod cpu;
mod memory;
mod network;

use super::knob::Knob;

/// Every knob, by group.
pub fn all() -> impl Iterator<Item = &'static Knob> {
    let tables: [&'static [Knob]; 4] = [&connections::KNOBS, &network::KNOBS, &cpu::KNOBS, &memory::KNOBS];
    tables.into_iter().flatten()
}

/// The knob of that name.
pub fn find(id: &str) -> Option<&'static Knob> {
    all().find(|knob| knob.id == id)
}

#[cfg(test)]
mod tests {
    use super::super::knob::{Group, Place, Standing, Verdict};
    use super::super::plan::Plan;
    use super::super::want::Want;
    use super::*;
    use crate::args::Driver;
    use crate::host::tree::Tree;

    #[test]
    fn every_row_is_complete_and_no_name_is_there_twice() {
        let mut ids: Vec<&str> = all().map(|knob| knob.id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
        for knob in all() {
            let id = knob.id;
            for text in [knob.rule, knob.why, knob.gain, knob.danger, knob.measure] {
                assert!(!text.is_empty() && !text.contains("  "), "{id}: {text:?}");
                assert!(!text.contains('\n'), "{id}: {text:?}");
            }
            assert!(knob.why.ends_with('.') && knob.gain.ends_with('.') && knob.danger.ends_with('.'), "{id}");
            assert!(!Group::ALL.iter().any(|group| group.name() == id), "{id} is a group's name");
        }
    }

    #[test]
    fn what_gains_nothing_is_never_written_and_what_is_told_is_not_usual_to_write() {
        let hosts = [Tree::good(), Tree::bad(), Tree::empty()];
        for tree in &hosts {
            let plan = Plan::new(&tree.host(), None, None, Driver::Auto, true);
            for knob in all().filter(|knob| knob.standing == Standing::Nothing) {
                let reading = knob.read(&tree.host(), &plan);
                assert!(reading.settings.iter().all(|s| matches!(s.want, Want::Leave(_))), "{}", knob.id);
            }
        }
    }

    #[test]
    fn a_good_host_has_nothing_to_change_and_a_bad_one_much() {
        let differing = |tree: &Tree| -> Vec<&str> {
            let plan = Plan::new(&tree.host(), None, None, Driver::Auto, false);
            let readings = all().map(|knob| knob.read(&tree.host(), &plan));
            readings.filter(|r| r.verdict() == Verdict::Differs).map(|r| r.knob.id).collect()
        };
        // Cores of their own are for those who want them.
        assert_eq!(differing(&Tree::good()), Vec::<&str>::new());
        for id in [
            "net.core.somaxconn",
            "net.ipv4.tcp_max_syn_backlog",
            "nofile",
            "fs.file-max",
            "net.netfilter.nf_conntrack_max",
            "net.ipv4.tcp_mem",
            "net.ipv4.tcp_slow_start_after_idle",
            "net.core.netdev_max_backlog",
            "kernel.io_uring_disabled",
            "governor",
            "clocksource",
            "thp",
        ] {
            assert!(differing(&Tree::bad()).contains(&id), "{id}");
        }
    }

    #[test]
    fn a_knob_owns_its_own_paths_and_no_others() {
        let tree = Tree::good();
        let plan = Plan::new(&tree.host(), None, None, Driver::Auto, false);
        for knob in all().filter(|knob| knob.is_live()) {
            for setting in knob.read(&tree.host(), &plan).settings {
                assert!(knob.owns(&setting.path), "{} {}", knob.id, setting.path);
                assert_eq!(all().filter(|other| other.owns(&setting.path)).count(), 1, "{}", setting.path);
            }
            for path in ["/etc/shadow", "/proc/sys/kernel/core_pattern", "", "/", "/proc/irq/../sys/smp_affinity_list"]
            {
                assert!(!knob.owns(path), "{} {path}", knob.id);
            }
        }
        let patterns = all().filter_map(|knob| match knob.place {
            Place::Files { pattern, .. } => Some((knob, pattern)),
            _ => None,
        });
        for (knob, pattern) in patterns.filter(|(_, pattern)| pattern.contains('*')) {
            assert!(!knob.owns(&pattern.replace('*', "a/b")), "{pattern}");
            assert!(!pattern.contains("/*/") || !knob.owns(&pattern.replace("/*/", "/../")), "{pattern}");
        }
    }
}
