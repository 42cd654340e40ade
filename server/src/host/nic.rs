//! Job: network interfaces that have a device: their queues and interrupts.
//! Knows: `/sys/class/net`, `/proc/interrupts`. Must never know: what they should be set to.

use super::Host;

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its name.
    pub name: String,
    /// Receive queues, by directory name: `rx-0`.
    pub rx_queues: Vec<String>,
    /// Transmit queues, by directory name: `tx-0`.
    pub tx_queues: Vec<String>,
    /// Interrupts of its queues, in the order of their numbers.
    pub irqs: Vec<u32>,
}

/// Words in the names of interrupts that serve no queue.
const NO_QUEUE: [&str; 7] = ["config", "control", "ctrl", "async", "event", "mgmt", "mgnt"];

/// All of them, by name. Virtual ones (`lo`, `veth`, bridges) have no device and no queue of hardware.
pub fn all(host: &Host) -> Vec<Nic> {
    let interrupts = host.text("/proc/interrupts").unwrap_or_default();
    let names = host.names("/sys/class/net").into_iter();
    names
        .filter(|name| host.has(&format!("/sys/class/net/{name}/device")))
        .map(|name| {
            let queues = host.names(&format!("/sys/class/net/{name}/queues"));
            let those = |prefix: &str| queues.iter().filter(|queue| queue.starts_with(prefix)).cloned().collect();
            let irqs = irqs_of(host, &name, &interrupts);
            Nic { rx_queues: those("rx-"), tx_queues: those("tx-"), irqs, name }
        })
        .collect()
}

fn irqs_of(host: &Host, name: &str, interrupts: &str) -> Vec<u32> {
    // A virtio interface is a device of a device: the interrupts belong to the PCI function above it.
    let directories =
        [format!("/sys/class/net/{name}/device/msi_irqs"), format!("/sys/class/net/{name}/device/../msi_irqs")];
    let numbers = directories.iter().map(|dir| host.names(dir)).find(|names| !names.is_empty()).unwrap_or_default();
    let mut irqs: Vec<u32> =
        numbers.iter().filter_map(|n| n.parse().ok()).filter(|irq| is_queue(*irq, interrupts)).collect();
    irqs.sort_unstable();
    irqs
}

fn is_queue(irq: u32, interrupts: &str) -> bool {
    let prefix = format!("{irq}:");
    let line = interrupts.lines().find_map(|line| line.trim_start().strip_prefix(&prefix));
    line.and_then(|line| line.split_whitespace().last())
        .is_some_and(|action| !NO_QUEUE.iter().any(|word| action.contains(word)))
}

#[cfg(test)]
mod tests {
    use crate::host::tree::Tree;

    #[test]
    fn queues_and_their_interrupts_are_found_and_virtual_interfaces_left_out() {
        let tree = Tree::good();
        let nics = tree.host().nics();
        assert_eq!(nics.len(), 1);
        assert_eq!(nics[0].name, "eth0");
        assert_eq!(nics[0].rx_queues.len(), 8);
        assert_eq!(nics[0].irqs, (40..48).collect::<Vec<u32>>());
    }
}
