//! Job: knobs of pages.
//! Knows: what the engine does about huge pages and swapping by itself. Must never know: how a knob is turned.

use crate::tune::knob::{Group, Knob, Place, Standing};
use crate::tune::want::Want;

pub const KNOBS: [Knob; 3] = [
    Knob {
        id: "thp",
        group: Group::Memory,
        standing: Standing::Sometimes,
        rule: "madvise (or never), not always; for programs that embed the library",
        why: "With `always` each arena of an allocator takes huge pages: 20 MiB that nobody uses. The binary switches them off for itself, so that \
              this is for programs that embed the engine.",
        gain: "20 MiB in those, nothing in the binary. Huge pages under the logs would save 8 to 12 % of a send to subscribers far behind, and \
               nothing for those at the head.",
        danger: "Programs that profit from `always` lose it.",
        measure: "fanwire-perf run memory",
        place: Place::Files {
            pattern: "/sys/kernel/mm/transparent_hugepage/enabled",
            settings: |host, _| {
                let path = "/sys/kernel/mm/transparent_hugepage/enabled".to_owned();
                match host.has(&path) {
                    true => vec![(path, Want::Not { bad: &["always"], rather: "madvise".to_owned() })],
                    false => Vec::new(),
                }
            },
            without: "this kernel has none",
        },
    },
    Knob {
        id: "vm.nr_hugepages",
        group: Group::Memory,
        standing: Standing::Nothing,
        rule: "left",
        why: "Pages set apart for programs that ask for them. The engine does not ask.",
        gain: "Nothing for fanwire.",
        danger: "Memory that nothing else can use.",
        measure: "grep Huge /proc/meminfo",
        place: Place::Sysctl(|_, _| Want::Leave("the engine asks for none".to_owned())),
    },
    Knob {
        id: "vm.swappiness",
        group: Group::Memory,
        standing: Standing::Sometimes,
        rule: "at most 10 where there is swap; else left",
        why: "A log that was paged out stops its shard for milliseconds when a subscriber comes back for it. --lock-memory prevents it wholly.",
        gain: "Fewer such stops where memory is short; nothing without swap, or with --lock-memory.",
        danger: "The page cache is given up earlier instead.",
        measure: "VmSwap in /proc/PID/status",
        place: Place::Sysctl(|host, plan| match host.has_swap() && !plan.lock_memory {
            true => Want::AtMost(10),
            false => Want::Leave("nothing of the engine can be swapped out".to_owned()),
        }),
    },
];
