//! Job: knobs of what interrupts or slows a shard's CPU.
//! Knows: that shards are pinned threads that spin for some microseconds before they sleep. Must never know: how a knob is turned.

use crate::host::Host;
use crate::tune::knob::{Group, Knob, Place, Standing};
use crate::tune::plan::Plan;
use crate::tune::want::{Want, list_of_cpus};

pub const KNOBS: [Knob; 7] = [
    Knob {
        id: "governor",
        group: Group::Cpu,
        standing: Standing::Pays,
        rule: "performance, on every CPU whose frequency the host decides",
        why: "A shard that wakes for each message at 200 Hz leaves its CPU mostly idle: the other governors keep it slow.",
        gain: "Latency of the first deliveries after a pause, on hardware; virtual machines do not decide their frequency. Not measured here.",
        danger: "More power and heat; on batteries a bad idea.",
        measure: "fanwire-perf run steady, with each governor; compare p50 and p99",
        place: Place::Files {
            pattern: "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
            settings: |host, _| {
                let at = |cpu: usize| format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq");
                let decided = host.cpus().into_iter().filter(|cpu| host.has(&format!("{}/scaling_governor", at(*cpu))));
                decided
                    .map(|cpu| {
                        let choice = host.text(&format!("{}/scaling_available_governors", at(cpu))).unwrap_or_default();
                        let want = match choice.split_whitespace().any(|word| word == "performance") {
                            true => Want::Is("performance".to_owned()),
                            false => Want::Leave("there is no such governor".to_owned()),
                        };
                        (format!("{}/scaling_governor", at(cpu)), want)
                    })
                    .collect()
            },
            without: "this host does not decide its CPUs' frequency",
        },
    },
    Knob {
        id: "irq",
        group: Group::Cpu,
        standing: Standing::Sometimes,
        rule: "where a NIC has several queues and irqbalance does not run: each queue's interrupt on one CPU, in turn; else left",
        why: "Interrupts that wander take the caches of connections with them; those that pile up on one CPU make its shard slow.",
        gain: "Even softirq time over the CPUs; not measured: no NIC had several queues.",
        danger: "Some drivers keep their interrupts to themselves and refuse; irqbalance would undo it.",
        measure: "mpstat -P ALL 1 (%soft); grep of the NIC in /proc/interrupts, twice",
        place: Place::Files {
            pattern: "/proc/irq/*/smp_affinity_list",
            settings: irq_affinity,
            without: "no NIC with interrupts of its own",
        },
    },
    Knob {
        id: "clocksource",
        group: Group::Cpu,
        standing: Standing::Sometimes,
        rule: "not hpet, acpi_pm or jiffies, where a clock is there that is read without a system call (tsc, arch_sys_counter, kvm-clock, \
               hyperv_clocksource_tsc_page)",
        why: "A shard reads the clock several times a turn: 20 to 30 ns from these, a microsecond and a system call from hpet or acpi_pm.",
        gain: "A microsecond or more a turn where it was wrong.",
        danger: "The kernel leaves tsc only when it found it unreliable (dmesg says so): time may then jump.",
        measure: "fanwire-perf run one-per-turn; dmesg | grep -i clocksource",
        place: Place::Files {
            pattern: "/sys/devices/system/clocksource/clocksource0/current_clocksource",
            settings: |host, _| {
                let at = "/sys/devices/system/clocksource/clocksource0";
                let available = host.text(&format!("{at}/available_clocksource")).unwrap_or_default();
                let fast = ["tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page"];
                let better = fast.into_iter().find(|name| available.split_whitespace().any(|word| word == *name));
                let want = match better {
                    Some(rather) => Want::Not { bad: &["hpet", "acpi_pm", "jiffies"], rather: rather.to_owned() },
                    None => Want::Leave("there is no better one here".to_owned()),
                };
                vec![(format!("{at}/current_clocksource"), want)]
            },
            without: "no clocksource",
        },
    },
    Knob {
        id: "kernel.numa_balancing",
        group: Group::Cpu,
        standing: Standing::Sometimes,
        rule: "0 where there are several memory nodes; else left",
        why: "The kernel takes pages away for a moment to see who uses them. Shards are pinned and stay where their memory is.",
        gain: "No such page faults in shards; not measured: no host had two nodes.",
        danger: "Other programs that move between nodes may want it.",
        measure: "perf stat -e page-faults -p PID, under load; fanwire-perf run steady",
        place: Place::Sysctl(|host, _| match host.memory_nodes() {
            0 | 1 => Want::Leave("one memory node".to_owned()),
            _ => Want::Is("0".to_owned()),
        }),
    },
    Knob {
        id: "isolcpus",
        group: Group::Cpu,
        standing: Standing::Sometimes,
        rule: "told, never written: the shards' CPUs, where at least one other CPU, and two in all four, remain",
        why: "Keeps other programs off the shards' CPUs. Shards must then be pinned there (--cpus), which they are by default only where \
              affinity allows it.",
        gain: "Fewer delays of a scheduler's period in p99.9 on hosts that do other work as well; not measured on two CPUs.",
        danger: "A CPU that nothing else may use. cpusets (systemd: AllowedCPUs=, for everything but fanwire.service) do much of it without a \
                 reboot.",
        measure: "fanwire-perf run steady: p99.9, with and without",
        place: Place::Boot(spare_cpus),
    },
    Knob {
        id: "nohz_full",
        group: Group::Cpu,
        standing: Standing::Sometimes,
        rule: "told, never written: as isolcpus",
        why: "No scheduler's tick on a CPU that runs one thread.",
        gain: "A few microseconds 100 to 1,000 times a second; lost again in every system call, which cost more. A shard makes many: expect little. Not \
               measured.",
        danger: "Every system call becomes slower (context tracking).",
        measure: "fanwire-perf run one-per-turn, which it may make worse",
        place: Place::Boot(|_, _| Want::Leave("it slows system calls, which a shard is full of".to_owned())),
    },
    Knob {
        id: "rcu_nocbs",
        group: Group::Cpu,
        standing: Standing::Sometimes,
        rule: "told, never written: as isolcpus",
        why: "The kernel's postponed freeing (of sockets, too) runs on other CPUs.",
        gain: "Fewer interruptions of a shard while many connect and leave; not measured.",
        danger: "The other CPUs do the work.",
        measure: "fanwire-perf run connect-storm, p99 of those who are connected",
        place: Place::Boot(spare_cpus),
    },
];

/// The CPUs for shards, where enough others remain: the last ones.
fn spare_cpus(host: &Host, plan: &Plan) -> Want {
    let cpus = host.cpus();
    if cpus.len() < 4 {
        return Want::Leave(format!("{} CPUs: none to spare", cpus.len()));
    }
    if plan.shards + 1 > cpus.len() {
        return Want::Leave("a shard on every CPU: none to spare".to_owned());
    }
    Want::Is(list_of_cpus(&cpus[cpus.len() - plan.shards..]))
}

fn irq_affinity(host: &Host, _: &Plan) -> Vec<(String, Want)> {
    let cpus = host.cpus();
    let balanced = host.runs("irqbalance");
    let mut settings = Vec::new();
    for nic in host.nics() {
        for (i, irq) in nic.irqs.iter().enumerate() {
            let want = match (nic.rx_queues.len(), balanced, cpus.is_empty()) {
                (0 | 1, _, _) => Want::Leave(format!("{} has one queue", nic.name)),
                (_, true, _) => Want::Leave("irqbalance runs, and places them".to_owned()),
                (_, _, true) => Want::Leave("the host's CPUs are not known".to_owned()),
                _ => Want::Is(cpus[i % cpus.len()].to_string()),
            };
            settings.push((format!("/proc/irq/{irq}/smp_affinity_list"), want));
        }
    }
    settings
}
