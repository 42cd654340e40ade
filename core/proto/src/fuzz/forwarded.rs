//! `X-Forwarded-For` and the blocks of addresses that are trusted: a plain second reading of both.

use core::net::IpAddr;

use crate::cidr::Cidr;
use crate::forwarded::{PROXIES_MAX, client};

/// Lines. In the first, the trusted blocks with commas; the others are the header's.
pub fn forwarded(data: &[u8]) {
    let mut lines = data.split(|&b| b == b'\n');
    let blocks = lines.next().unwrap_or_default();
    let lines: Vec<&[u8]> = lines.collect();

    let trusted: Vec<(Cidr, Bits)> = blocks.split(|&b| b == b',').filter_map(block).collect();
    for (cidr, bits) in &trusted {
        assert_eq!(cidr.to_string().parse(), Ok(*cidr), "a block that is not read as it was written");
        assert!(cidr.contains(bits.first), "{cidr}");
    }
    let ours = client(lines.iter().copied(), |address| trusted.iter().any(|(cidr, _)| cidr.contains(address)));

    let list = lines.join(&b","[..]);
    let mut entries: Vec<&[u8]> = list.split(|&b| b == b',').map(<[u8]>::trim_ascii).collect();
    entries.retain(|entry| !entry.is_empty());
    let mut plain = None;
    for _ in 0..PROXIES_MAX {
        let Some(address) = entries.pop().and_then(read) else { break };
        plain = Some(address);
        if !trusted.iter().any(|(_, bits)| bits.has(address)) {
            break;
        }
    }
    assert_eq!(ours, plain, "left: ours, right: the plain reading of {:?}", String::from_utf8_lossy(data));
}

/// A block as its leading bits.
struct Bits {
    first: IpAddr,
    prefix: usize,
}

impl Bits {
    fn has(&self, address: IpAddr) -> bool {
        let (own, other) = (bits(self.first), bits(address));
        own.len() == other.len() && own[..self.prefix] == other[..self.prefix]
    }
}

fn bits(address: IpAddr) -> Vec<u8> {
    let bytes = match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect()
}

/// A block by both readings, which have to agree on whether it is one.
fn block(text: &[u8]) -> Option<(Cidr, Bits)> {
    let text = str::from_utf8(text).ok()?;
    let ours = text.parse::<Cidr>().ok();
    let mut parts = text.splitn(2, '/');
    let first = parts.next().and_then(|part| part.parse::<IpAddr>().ok()).filter(|ip| ip.to_canonical() == *ip);
    let plain = first.and_then(|first| {
        let most = bits(first).len();
        let prefix = match parts.next() {
            Some(digits) if (0..=most).any(|n| is_number(digits, n)) => digits.trim_start_matches('0'),
            Some(_) => return None,
            None => return Some(Bits { first, prefix: most }),
        };
        let prefix = if prefix.is_empty() { 0 } else { prefix.parse().ok()? };
        bits(first)[prefix..].iter().all(|&bit| bit == 0).then_some(Bits { first, prefix })
    });
    assert_eq!(ours.is_some(), plain.is_some(), "{text:?} is a block, or is not");
    ours.zip(plain)
}

/// Whether these digits mean `number`.
fn is_number(digits: &str, number: usize) -> bool {
    let short = digits.trim_start_matches('0');
    !digits.is_empty() && (short == number.to_string() || short.is_empty() && number == 0)
}

/// An entry, by what stands around its address.
fn read(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?;
    let (address, port, is_v6) = if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        if rest.is_empty() { (address, None, Some(true)) } else { (address, Some(rest.strip_prefix(':')?), Some(true)) }
    } else if text.matches(':').count() == 1 {
        let (address, port) = text.split_once(':')?;
        (address, Some(port), Some(false))
    } else {
        (text, None, None)
    };
    if let Some(port) = port
        && (port.is_empty()
            || !port.bytes().all(|b| b.is_ascii_digit())
            || port.trim_start_matches('0').len() > 5
            || (port.trim_start_matches('0').parse::<u32>().unwrap_or(0) > 65_535))
    {
        return None;
    }
    let address: IpAddr = address.parse().ok()?;
    if is_v6.is_some_and(|is_v6| is_v6 != address.is_ipv6()) {
        return None;
    }
    Some(match address {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    })
}
