//! The PROXY protocol's header: the same wherever it is cut, and the same by a plain reading of its specification.

use core::net::SocketAddr;

use super::input::{Cuts, Input};
use crate::proxy::{HEADER_BYTES_MAX, Header, ProxyError, Source, parse};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// One byte each: what is put in front (bit 0: the signature; bit 1: a length that is right), the cuts. Then a connection's bytes.
pub fn proxy(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.byte();
    let cuts = input.byte();
    let mut wire = input.rest().to_vec();
    if flags & 1 != 0 {
        wire.splice(..0, SIGNATURE.iter().copied());
    }
    if flags & 2 != 0 && wire.len() >= 16 {
        let len = (wire.len() - 16).min(usize::from(u16::MAX)) as u16;
        wire[14..16].copy_from_slice(&len.to_be_bytes());
    }

    let whole = parse(&wire);
    let mut end = 0;
    let mut cut = Ok(None);
    for piece in Cuts::new(cuts).of(&wire) {
        end += piece.len();
        cut = parse(&wire[..end]);
        if cut != Ok(None) {
            break;
        }
    }
    assert_eq!(cut, whole, "the cuts matter");
    if let Ok(Some(Header { len, .. })) = whole {
        assert!(len <= HEADER_BYTES_MAX && end >= len, "a header that is not there yet");
        assert_eq!(parse(&wire[..len - 1]), Ok(None), "one byte less is a header as well");
    }
    if let Err(ProxyError::TextVersion) = whole {
        assert!(wire.starts_with(b"PROXY "));
    }
    assert_eq!(whole.map_err(|_| ()), read_plainly(&wire), "left: ours, right: the plain reading of {wire:?}");
}

/// Section 2.2 in its own order, over bytes that are all there or not.
fn read_plainly(wire: &[u8]) -> Result<Option<Header>, ()> {
    let is_text = wire.starts_with(b"PROXY ");
    let may_be_text = b"PROXY ".starts_with(wire);
    let fits = |at: usize, good: &dyn Fn(u8) -> bool| wire.get(at).is_none_or(|&byte| good(byte));
    let begins_well = (0..12).all(|at| fits(at, &|byte| byte == SIGNATURE[at]));
    if is_text || (!begins_well && !may_be_text) {
        return Err(());
    }
    if !fits(12, &|byte| byte == 0x20 || byte == 0x21) {
        return Err(());
    }
    if wire.len() < 16 {
        return Ok(None);
    }
    let len = 16 + 256 * usize::from(wire[14]) + usize::from(wire[15]);
    if len > 2048 {
        return Err(());
    }
    if wire.len() < len {
        return Ok(None);
    }
    if wire[12] == 0x20 {
        return Ok(Some(Header { source: Source::Proxy, len }));
    }
    let addresses = match wire[13] {
        0x00 => 0,
        0x11 | 0x12 => 4 + 4 + 2 + 2,
        0x21 | 0x22 => 16 + 16 + 2 + 2,
        0x31 | 0x32 => 108 + 108,
        _ => return Err(()),
    };
    if 16 + addresses > len {
        return Err(());
    }
    let source = match wire[13] >> 4 {
        1 => {
            Source::Client(text(&format!("{}.{}.{}.{}:{}", wire[16], wire[17], wire[18], wire[19], port(&wire[24..]))))
        }
        2 => {
            let groups: Vec<String> = wire[16..32].chunks(2).map(|pair| format!("{:x}", port(pair))).collect();
            Source::Client(text(&format!("[{}]:{}", groups.join(":"), port(&wire[48..]))))
        }
        _ => Source::Unknown,
    };
    let mut at = 16 + addresses;
    while at < len {
        if at + 3 > len || at + 3 + usize::from(port(&wire[at + 1..])) > len {
            return Err(());
        }
        let value = at + 3..at + 3 + usize::from(port(&wire[at + 1..]));
        if wire[at] == 3 && (value.len() != 4 || !has_checksum(&wire[..len], value.start)) {
            return Err(());
        }
        at = value.end;
    }
    Ok(Some(Header { source, len }))
}

fn port(bytes: &[u8]) -> u16 {
    256 * u16::from(bytes[0]) + u16::from(bytes[1])
}

fn text(address: &str) -> SocketAddr {
    address.parse().unwrap_or_else(|_| panic!("no address: {address}"))
}

/// By long division of polynomials: the header, its checksum zeroed, is divided most significant coefficient first.
fn has_checksum(header: &[u8], at: usize) -> bool {
    let mut zeroed = header.to_vec();
    zeroed[at..at + 4].fill(0);
    let bits = zeroed.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
    // The first 32 bits are inverted, and so is the remainder.
    let inverted = bits.enumerate().map(|(n, bit)| if n < 32 { bit ^ 1 } else { bit });
    let mut remainder = 0u64;
    for bit in inverted.chain([0; 32]) {
        remainder = remainder << 1 | u64::from(bit);
        if remainder >> 32 == 1 {
            remainder ^= 0x1_1EDC_6F41;
        }
    }
    !(remainder as u32).reverse_bits()
        == u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}
