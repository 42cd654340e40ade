//! Blocks of addresses, as `10.0.0.0/8` and `2001:db8::/32` write them (RFC 4632, RFC 4291 section 2.3).
//!
//! Knows addresses and prefixes. Must never know what a block is for.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// A block of addresses. An IPv4 address mapped into IPv6 is an IPv4 address here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// Its first address.
    network: IpAddr,
    /// How many leading bits all its addresses have in common.
    prefix: u8,
}

/// Why a text is no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// No address in front.
    #[error("not an address or a block of addresses: write 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1")]
    Address,
    /// No number behind the slash, or too large a one.
    #[error("the prefix length is a number from 0 to {0}")]
    Prefix(u8),
    /// The address has bits behind the prefix: perhaps one host was meant, perhaps its network.
    #[error("the address has bits behind its prefix: write {0} for the block, or leave the prefix out for one address")]
    HostBits(Cidr),
    /// IPv4 written as IPv6.
    #[error("an IPv4 block is written as IPv4: 10.0.0.0/8, not ::ffff:10.0.0.0/104")]
    Mapped,
}

impl Cidr {
    /// The block of all addresses that have the first `prefix` bits in common with `address`.
    fn around(address: IpAddr, prefix: u8) -> Self {
        let network = match address {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
        };
        Self { network, prefix }
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.network.is_ipv4() && Self::around(address, self.prefix) == *self
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| CidrError::Address)?;
        if address.to_canonical() != address {
            return Err(CidrError::Mapped);
        }
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            // `parse` would take a plus sign.
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().unwrap_or(u8::MAX),
            Some(_) => u8::MAX,
            None => bits,
        };
        if prefix > bits {
            return Err(CidrError::Prefix(bits));
        }
        let block = Self::around(address, prefix);
        if block.network == address { Ok(block) } else { Err(CidrError::HostBits(block)) }
    }
}

/// One address alone is written without its prefix.
impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.network.is_ipv4() { 32 } else { 128 };
        match self.prefix == bits {
            true => write!(f, "{}", self.network),
            false => write!(f, "{}/{}", self.network, self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_their_addresses_and_no_others() {
        for (block, inside, outside) in [
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..], &["9.255.255.255", "11.0.0.0"][..]),
            ("192.0.2.1", &["192.0.2.1", "::ffff:192.0.2.1"], &["192.0.2.0", "192.0.2.2", "::192.0.2.1"]),
            ("192.0.2.1/32", &["192.0.2.1"], &["192.0.2.3"]),
            ("192.0.2.2/31", &["192.0.2.2", "192.0.2.3"], &["192.0.2.1", "192.0.2.4"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"], &["::", "2001:db8::1"]),
            ("::/0", &["::", "::1", "ffff::"], &["127.0.0.1", "::ffff:1.2.3.4"]),
            ("2001:db8::/32", &["2001:db8::", "2001:db8:ffff::1"], &["2001:db9::", "2001:db7:ffff::", "1.2.3.4"]),
            ("2001:db8::1", &["2001:db8::1"], &["2001:db8::", "2001:db8::2"]),
            ("::1", &["::1"], &["127.0.0.1", "::"]),
        ] {
            let block: Cidr = block.parse().unwrap();
            for address in inside {
                assert!(block.contains(address.parse().unwrap()), "{address} in {block}");
            }
            for address in outside {
                assert!(!block.contains(address.parse().unwrap()), "{address} in {block}");
            }
            assert_eq!(block.to_string().parse(), Ok(block));
        }
    }

    #[test]
    fn every_prefix_has_its_edges() {
        for prefix in 0..=32u8 {
            let block = Cidr::around(IpAddr::V4(Ipv4Addr::from_bits(0xAAAA_AAAA)), prefix);
            for bit in 0..32u8 {
                let other = IpAddr::V4(Ipv4Addr::from_bits(0xAAAA_AAAA ^ (1 << (31 - bit))));
                assert_eq!(block.contains(other), bit >= prefix, "bit {bit} of {block}");
            }
        }
        for prefix in 0..=128u8 {
            let address = u128::MAX / 3;
            let block = Cidr::around(IpAddr::V6(Ipv6Addr::from_bits(address)), prefix);
            for bit in 0..128u8 {
                let other = IpAddr::V6(Ipv6Addr::from_bits(address ^ (1 << (127 - bit))));
                assert_eq!(block.contains(other), bit >= prefix, "bit {bit} of {block}");
            }
        }
    }

    #[test]
    fn what_is_no_block_is_refused_and_told_why() {
        let block = |text: &str| text.parse::<Cidr>().unwrap();
        for (text, error) in [
            ("", CidrError::Address),
            ("10", CidrError::Address),
            ("10.0.0/8", CidrError::Address),
            ("010.0.0.0/8", CidrError::Address),
            ("10.0.0.0:80", CidrError::Address),
            ("[::1]", CidrError::Address),
            ("fe80::1%eth0", CidrError::Address),
            (" 10.0.0.0/8", CidrError::Address),
            ("example.org", CidrError::Address),
            ("10.0.0.0/33", CidrError::Prefix(32)),
            ("10.0.0.0/-1", CidrError::Prefix(32)),
            ("10.0.0.0/+8", CidrError::Prefix(32)),
            ("10.0.0.0/", CidrError::Prefix(32)),
            ("10.0.0.0/8/8", CidrError::Prefix(32)),
            ("10.0.0.0/999", CidrError::Prefix(32)),
            ("10.0.0.0/255.0.0.0", CidrError::Prefix(32)),
            ("::/129", CidrError::Prefix(128)),
            ("10.0.0.1/8", CidrError::HostBits(block("10.0.0.0/8"))),
            ("2001:db8::1/32", CidrError::HostBits(block("2001:db8::/32"))),
            ("1.2.3.4/0", CidrError::HostBits(block("0.0.0.0/0"))),
            ("::ffff:10.0.0.0/104", CidrError::Mapped),
            ("::ffff:10.0.0.1", CidrError::Mapped),
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(error), "{text}");
        }
        let told = "10.0.0.1/8".parse::<Cidr>().unwrap_err().to_string();
        assert!(told.contains("write 10.0.0.0/8"), "{told}");
    }
}
