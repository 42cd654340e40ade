//! The PROXY protocol, version 2: what a proxy says of a connection before the connection's first byte.
//!
//! Knows HAProxy's `proxy-protocol.txt`, section 2.2. Must never know who may be believed. Version 1, the text form, is
//! refused: it has no length in front, and every proxy that writes it can write version 2.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header that is taken, TLVs included. The protocol itself would allow 64 KiB.
pub const HEADER_BYTES_MAX: usize = 2 << 10;

/// Ends in what no other protocol begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const TEXT_SIGNATURE: &[u8] = b"PROXY ";
/// Signature, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;
/// Addresses and ports of both ends, by family.
const V4_BYTES: usize = 12;
const V6_BYTES: usize = 36;
const UNIX_BYTES: usize = 216;
/// Type and length of a TLV.
const TLV_HEAD_BYTES: usize = 3;
const TLV_CRC32C: u8 = 0x03;

/// Where a connection comes from, as its proxy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `LOCAL`: it is the proxy's own, such as a health check. The peer is who it seems to be.
    Proxy,
    /// A client with this address.
    Client(SocketAddr),
    /// A client whose address cannot be said: it came by a Unix socket, or by something that the protocol has no family for.
    Unknown,
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who connects.
    pub source: Source,
    /// Its bytes; what follows them is the connection's.
    pub len: usize,
}

/// Why what a connection begins with is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Something else: a client that came past the proxy, or a proxy that is not set up to write headers.
    #[error("no PROXY protocol header")]
    NoHeader,
    /// Version 1.
    #[error("the PROXY protocol's version 1: let the proxy send version 2 (HAProxy: send-proxy-v2)")]
    TextVersion,
    /// A later version.
    #[error("version {0} of the PROXY protocol: only 2 is known")]
    Version(u8),
    /// Neither `LOCAL` nor `PROXY`.
    #[error("unknown command {0} in the PROXY protocol header")]
    Command(u8),
    /// A family or a transport that the protocol does not have.
    #[error("unknown address family {0:#04x} in the PROXY protocol header")]
    Family(u8),
    /// Longer than [`HEADER_BYTES_MAX`].
    #[error("a PROXY protocol header of {0} bytes: more than 2 KiB")]
    TooLong(usize),
    /// Shorter than what its family needs.
    #[error("the PROXY protocol header is too short for its addresses")]
    Addresses,
    /// A TLV that is not whole.
    #[error("malformed TLV in the PROXY protocol header")]
    Tlv,
    /// The checksum is another one.
    #[error("wrong checksum in the PROXY protocol header")]
    Checksum,
}

/// What a connection that began with `bytes` comes to; `None`: its header is not whole yet. Looks at a few bytes until it is.
///
/// # Errors
/// See [`ProxyError`]: as soon as no more bytes can make a header of these.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes[..seen] != SIGNATURE[..seen] {
        let seen = bytes.len().min(TEXT_SIGNATURE.len());
        return match bytes[..seen] == TEXT_SIGNATURE[..seen] {
            true if seen == TEXT_SIGNATURE.len() => Err(ProxyError::TextVersion),
            true => Ok(None),
            false => Err(ProxyError::NoHeader),
        };
    }
    let command = match bytes.get(12) {
        None => return Ok(None),
        Some(byte) if byte >> 4 != 2 => return Err(ProxyError::Version(byte >> 4)),
        Some(byte) if byte & 15 > 1 => return Err(ProxyError::Command(byte & 15)),
        Some(byte) => byte & 15,
    };
    let Some(&[family, high, low]) = bytes.get(13..FIXED_BYTES) else { return Ok(None) };
    let len = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if len > HEADER_BYTES_MAX {
        return Err(ProxyError::TooLong(len));
    }
    let Some(header) = bytes.get(..len) else { return Ok(None) };
    // Whatever else is in a LOCAL header is to be passed over.
    let source = if command == 0 { Source::Proxy } else { client(header, family)? };
    Ok(Some(Header { source, len }))
}

/// The client that a whole `PROXY` header names.
fn client(header: &[u8], family: u8) -> Result<Source, ProxyError> {
    let block = &header[FIXED_BYTES..];
    // By stream or by datagrams: a proxy may speak HTTP/3 to its clients.
    let (source, addresses) = match family {
        0x00 => (Source::Unknown, 0),
        0x11 | 0x12 => (Source::Client(v4(block).ok_or(ProxyError::Addresses)?), V4_BYTES),
        0x21 | 0x22 => (Source::Client(v6(block).ok_or(ProxyError::Addresses)?), V6_BYTES),
        0x31 | 0x32 => (Source::Unknown, UNIX_BYTES),
        _ => return Err(ProxyError::Family(family)),
    };
    let tlvs = block.get(addresses..).ok_or(ProxyError::Addresses)?;
    check_tlvs(header, tlvs)?;
    Ok(source)
}

/// Source address, destination address, source port, destination port.
fn v4(block: &[u8]) -> Option<SocketAddr> {
    let block = block.first_chunk::<V4_BYTES>()?;
    Some((Ipv4Addr::from(*block.first_chunk::<4>()?), u16::from_be_bytes([block[8], block[9]])).into())
}

fn v6(block: &[u8]) -> Option<SocketAddr> {
    let block = block.first_chunk::<V6_BYTES>()?;
    Some((Ipv6Addr::from(*block.first_chunk::<16>()?), u16::from_be_bytes([block[32], block[33]])).into())
}

/// TLVs are passed over, but for a checksum: a receiver that sees one has to verify it (section 2.2.3).
fn check_tlvs(header: &[u8], mut tlvs: &[u8]) -> Result<(), ProxyError> {
    while !tlvs.is_empty() {
        let &[kind, high, low] = tlvs.first_chunk::<TLV_HEAD_BYTES>().ok_or(ProxyError::Tlv)?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = tlvs[TLV_HEAD_BYTES..].split_at_checked(len).ok_or(ProxyError::Tlv)?;
        if kind == TLV_CRC32C {
            let expected = value.first_chunk::<4>().filter(|_| len == 4).ok_or(ProxyError::Tlv)?;
            let at = header.len() - rest.len() - len;
            if crc32c(header, at..at + len) != u32::from_be_bytes(*expected) {
                return Err(ProxyError::Checksum);
            }
        }
        tlvs = rest;
    }
    Ok(())
}

/// The checksum of RFC 4960 appendix B, `zeroed` taken for zeros. Bit by bit: a header is short, and comes once a connection.
fn crc32c(bytes: &[u8], zeroed: core::ops::Range<usize>) -> u32 {
    let mut crc = u32::MAX;
    for (at, &byte) in bytes.iter().enumerate() {
        crc ^= u32::from(if zeroed.contains(&at) { 0 } else { byte });
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
