//! Whom connections are counted for.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An IPv4 address, or the 64 bits of an IPv6 address that a network hands to one site. IPv4 through a socket for both
/// kinds is IPv4. `None`: the address is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site(Option<IpAddr>);

impl Site {
    /// A peer's.
    pub fn of(peer: Option<SocketAddr>) -> Self {
        Self(peer.map(|peer| match peer.ip().to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
            v4 => v4,
        }))
    }

    /// True if the peer's address is known.
    pub fn is_known(&self) -> bool {
        self.0.is_some()
    }
}
