//! Job: knobs of how packets travel between the engine and the wire.
//! Knows: what the engine sets on its sockets. Must never know: how a knob is turned.

use crate::host::{Host, Nic};
use crate::tune::knob::{Group, Knob, Place, Standing};
use crate::tune::plan::Plan;
use crate::tune::want::Want;

/// Flows that receive flow steering remembers, where it is switched on.
const FLOWS: u64 = 32_768;

pub const KNOBS: [Knob; 14] = [
    Knob {
        id: "net.core.netdev_max_backlog",
        group: Group::Network,
        standing: Standing::Pays,
        rule: "where packets were dropped for it since the host was started, at least 16,384; else left",
        why: "Packets that wait for a CPU between a device without queues of its own (loopback, veth; with RPS any) and TCP. What does not fit \
              is dropped, and comes again after a retransmission time-out of 200 ms or more.",
        gain: "No such drops where clients are on the same host or behind a veth (containers); nothing where packets come straight from a NIC, and \
               nothing where none is dropped: 10,000 subscribers of one message a second on loopback lose none with the default of 1,000.",
        danger: "A longer queue is a longer delay before an overload shows.",
        measure: "fanwire-perf run fanout-10k; second column of /proc/net/softnet_stat (hexadecimal), before and after",
        place: Place::Sysctl(|host, _| match host.softnet() {
            Some(softnet) if softnet.dropped > 0 => Want::AtLeast(vec![16_384]),
            Some(_) => Want::Leave("nothing was dropped for it".to_owned()),
            None => Want::Leave("/proc/net/softnet_stat cannot be read".to_owned()),
        }),
    },
    Knob {
        id: "net.core.netdev_budget",
        group: Group::Network,
        standing: Standing::Sometimes,
        rule: "where CPUs were squeezed more than once in 1,000 packets since the host was started, at least 600; else left",
        why: "Packets that a CPU takes in one round before it lets others run.",
        gain: "Fewer rounds under a flood of small packets, such as acknowledgements; not measurable on loopback.",
        danger: "A shard on the same CPU waits longer for each round.",
        measure: "third column of /proc/net/softnet_stat (hexadecimal), before and after a run with clients on other hosts",
        place: Place::Sysctl(|host, _| match host.softnet() {
            Some(softnet) if softnet.squeezed.saturating_mul(1_000) > softnet.processed => Want::AtLeast(vec![600]),
            Some(_) => Want::Leave("CPUs were hardly ever squeezed".to_owned()),
            None => Want::Leave("/proc/net/softnet_stat cannot be read".to_owned()),
        }),
    },
    Knob {
        id: "net.ipv4.tcp_slow_start_after_idle",
        group: Group::Network,
        standing: Standing::Pays,
        rule: "0; left where congestion control is bbr, which does without it",
        why: "After a pause of a retransmission time-out (200 ms or more) TCP begins again with 10 segments. Telemetry is pauses and bursts.",
        gain: "A burst of more than about 14 KB after a pause arrives one or more round trips earlier at distant clients; nothing on loopback.",
        danger: "A burst may meet a path that has become narrower meanwhile.",
        measure: "fanwire pub … --rate 1 with 64 KiB lines to a distant `fanwire sub --json`, or through tc netem; compare arrival times",
        place: Place::Sysctl(|host, _| match host.sysctl("net.ipv4.tcp_congestion_control").as_deref() {
            Some("bbr") => Want::Leave("bbr restarts by its own rules".to_owned()),
            _ => Want::Is("0".to_owned()),
        }),
    },
    Knob {
        id: "net.ipv4.tcp_wmem",
        group: Group::Network,
        standing: Standing::Sometimes,
        rule: "third number at least 4,194,304, the default",
        why: "Bounds what is under way to one client, and with it a distant client's throughput: 4 MiB are 335 Mbit/s at 100 ms. What is not yet \
              sent is bounded by the engine.",
        gain: "Nothing from more than the default for fan-out: the size of send buffers made no difference of CPU within 3 %.",
        danger: "Each stalled subscriber may hold as much as is under way to it.",
        measure: "fanwire-perf run slow-crowd",
        place: Place::Sysctl(|_, _| Want::AtLeast(vec![4_096, 16_384, 4_194_304])),
    },
    Knob {
        id: "net.ipv4.tcp_rmem",
        group: Group::Network,
        standing: Standing::Sometimes,
        rule: "third number at least 6,291,456, the default",
        why: "Bounds what a publisher can have under way to the engine, and subscribers on this host what they can have waiting.",
        gain: "Nothing from more than the default, except for fast publishers far away.",
        danger: "Each client that is not read from may hold so much.",
        measure: "fanwire pub from the distant host, with a large file",
        place: Place::Sysctl(|_, _| Want::AtLeast(vec![4_096, 87_380, 6_291_456])),
    },
    Knob {
        id: "net.core.wmem_max",
        group: Group::Network,
        standing: Standing::Nothing,
        rule: "left",
        why: "Bounds SO_SNDBUF. The engine sets none: the kernel sizes its buffers within net.ipv4.tcp_wmem.",
        gain: "Nothing for fanwire.",
        danger: "Other programs may take more.",
        measure: "nothing to be seen",
        place: Place::Sysctl(|_, _| Want::Leave("the engine sets no SO_SNDBUF".to_owned())),
    },
    Knob {
        id: "net.core.rmem_max",
        group: Group::Network,
        standing: Standing::Nothing,
        rule: "left",
        why: "Bounds SO_RCVBUF. The engine sets none: the kernel sizes its buffers within net.ipv4.tcp_rmem.",
        gain: "Nothing for fanwire.",
        danger: "Other programs may take more.",
        measure: "nothing to be seen",
        place: Place::Sysctl(|_, _| Want::Leave("the engine sets no SO_RCVBUF".to_owned())),
    },
    Knob {
        id: "net.ipv4.tcp_congestion_control",
        group: Group::Network,
        standing: Standing::Nothing,
        rule: "left: choose it for the network, not for CPU",
        why: "reno spent 4 % less CPU for a send on loopback than bbr and cubic, which were equal; what it does to distant clients matters more.",
        gain: "Nothing that is worth a worse fit to the network.",
        danger: "Every connection of the host follows it.",
        measure: "fanwire-perf run one-per-turn",
        place: Place::Sysctl(|_, _| Want::Leave("a matter of the network".to_owned())),
    },
    Knob {
        id: "net.core.busy_poll",
        group: Group::Network,
        standing: Standing::Nothing,
        rule: "left",
        why: "Lets poll and epoll_wait ask the NIC instead of waiting for its interrupt. Loopback has no NIC to ask, and io_uring does not go by it.",
        gain: "Nothing with io_uring, and nothing on loopback. With --driver epoll and a NIC that can do it, some latency for a whole CPU: not \
               measured.",
        danger: "Burns a CPU for each thread that waits, of every program on the host.",
        measure: "fanwire-perf run steady --set driver=epoll, with clients on another host",
        place: Place::Sysctl(|_, _| Want::Leave("no gain with io_uring or on loopback".to_owned())),
    },
    Knob {
        id: "net.core.busy_read",
        group: Group::Network,
        standing: Standing::Nothing,
        rule: "left",
        why: "The same for receives that wait. The engine's receives never wait.",
        gain: "Nothing for fanwire.",
        danger: "Burns CPU in other programs.",
        measure: "nothing to be seen",
        place: Place::Sysctl(|_, _| Want::Leave("the engine's receives never wait".to_owned())),
    },
    Knob {
        id: "rps",
        group: Group::Network,
        standing: Standing::Sometimes,
        rule: "where a NIC has fewer receive queues than there are shards: all CPUs; else left",
        why: "Received packets (acknowledgements above all) are handled by the CPU that the NIC interrupts. With few queues that CPU can be the \
              limit; RPS spreads them over others.",
        gain: "Relief where one CPU's softirq time is near 100 %; not measured: no NIC had traffic.",
        danger: "Each packet wakes another CPU: 12 µs of the interrupted one where that sleeps in a virtual machine. More queues (ethtool -L) are \
                 better.",
        measure: "mpstat -P ALL 1 (%soft), and p99 of a run with clients on another host",
        place: Place::Files {
            pattern: "/sys/class/net/*/queues/rx-*/rps_cpus",
            settings: |host, plan| each_rx_queue(host, plan, "rps_cpus", |host, _| Want::Cpus(host.cpus())),
            without: "no NIC",
        },
    },
    Knob {
        id: "rfs.queues",
        group: Group::Network,
        standing: Standing::Sometimes,
        rule: "where RPS is wanted: 32,768 over the queues; else left",
        why: "Receive flow steering sends a packet to the CPU whose shard reads that connection, so that its state is in that CPU's cache. Needs \
              net.core.rps_sock_flow_entries.",
        gain: "What RPS gains with fewer cache misses; not measured.",
        danger: "As rps.",
        measure: "as rps",
        place: Place::Files {
            pattern: "/sys/class/net/*/queues/rx-*/rps_flow_cnt",
            settings: |host, plan| {
                each_rx_queue(host, plan, "rps_flow_cnt", |_, nic| {
                    Want::AtLeast(vec![FLOWS / nic.rx_queues.len().max(1) as u64])
                })
            },
            without: "no NIC",
        },
    },
    Knob {
        id: "net.core.rps_sock_flow_entries",
        group: Group::Network,
        standing: Standing::Sometimes,
        rule: "where RPS is wanted, at least 32,768; else left",
        why: "The table of which CPU reads which connection, for rfs.queues.",
        gain: "As rfs.queues.",
        danger: "As rps.",
        measure: "as rps",
        place: Place::Sysctl(|host, plan| match host.nics().iter().any(|nic| is_short_of_queues(nic, plan)) {
            true => Want::AtLeast(vec![FLOWS]),
            false => Want::Leave("RPS is not wanted here".to_owned()),
        }),
    },
    Knob {
        id: "xps",
        group: Group::Network,
        standing: Standing::Sometimes,
        rule: "where a NIC has several transmit queues, each is for its own CPUs, in turn; else left",
        why: "Shards that send through queues of their own do not wait for each other's locks.",
        gain: "Nothing where the driver has done it, as most do at start; else less contention in the NIC's queues. Not measured.",
        danger: "Undoes what the driver or the distribution has laid out.",
        measure: "fanwire-perf run shards, with clients on another host",
        place: Place::Files {
            pattern: "/sys/class/net/*/queues/tx-*/xps_cpus",
            settings: |host, _| {
                let cpus = host.cpus();
                let mut settings = Vec::new();
                for nic in host.nics().iter().filter(|nic| nic.tx_queues.len() > 1 && !cpus.is_empty()) {
                    let queues = nic.tx_queues.len();
                    for (i, queue) in nic.tx_queues.iter().enumerate() {
                        let path = format!("/sys/class/net/{}/queues/{queue}/xps_cpus", nic.name);
                        // More queues than CPUs: those in excess are nobody's own.
                        let own: Vec<usize> = cpus.iter().skip(i).step_by(queues).copied().collect();
                        let want = if own.is_empty() {
                            Want::Leave("more queues than CPUs".to_owned())
                        } else {
                            Want::Cpus(own)
                        };
                        settings.push((path, want));
                    }
                }
                settings
            },
            without: "no NIC with several transmit queues",
        },
    },
];

fn is_short_of_queues(nic: &Nic, plan: &Plan) -> bool {
    !nic.rx_queues.is_empty() && nic.rx_queues.len() < plan.shards
}

fn each_rx_queue(host: &Host, plan: &Plan, file: &str, want: fn(&Host, &Nic) -> Want) -> Vec<(String, Want)> {
    let mut settings = Vec::new();
    for nic in host.nics() {
        for queue in &nic.rx_queues {
            let want = match is_short_of_queues(&nic, plan) && !host.cpus().is_empty() {
                true => want(host, &nic),
                false => Want::Leave(format!("{} has a receive queue for each shard", nic.name)),
            };
            settings.push((format!("/sys/class/net/{}/queues/{queue}/{file}", nic.name), want));
        }
    }
    settings
}
