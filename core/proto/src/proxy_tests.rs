use proptest::prelude::*;
use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader, Tlv};

use super::*;

/// A header of this version and command, family, and block.
fn header(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let len = (block.len() as u16).to_be_bytes();
    [&SIGNATURE[..], &[command, family], &len, block].concat()
}

const V4: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0xC8, 0x22, 0x23, 0x29];

fn v6_block() -> Vec<u8> {
    let (from, to) = ("2001:db8::7".parse::<Ipv6Addr>().unwrap(), Ipv6Addr::LOCALHOST);
    [&from.octets()[..], &to.octets(), &[0x01, 0xBB, 0x23, 0x29]].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &(value.len() as u16).to_be_bytes(), value].concat()
}

/// With a checksum of the whole as its last TLV.
fn with_checksum(family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = header(0x21, family, &[block, &tlv(TLV_CRC32C, &[0; 4])].concat());
    let at = bytes.len() - 4;
    let crc = crc32c(&bytes, at..bytes.len());
    bytes[at..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn address(text: &str) -> Source {
    Source::Client(text.parse().unwrap())
}

/// Headers that are good, and whom they name.
fn good() -> Vec<(&'static str, Vec<u8>, Source)> {
    let client = || address("203.0.113.7:51234");
    let unix = [b"/run/proxy.sock".as_slice(), &[0; 201]].concat();
    let most = HEADER_BYTES_MAX - FIXED_BYTES - V4.len() - TLV_HEAD_BYTES;
    vec![
        ("TCP4", header(0x21, 0x11, &V4), client()),
        ("UDP4", header(0x21, 0x12, &V4), client()),
        ("TCP6", header(0x21, 0x21, &v6_block()), address("[2001:db8::7]:443")),
        ("UDP6", header(0x21, 0x22, &v6_block()), address("[2001:db8::7]:443")),
        ("UNIX", header(0x21, 0x31, &unix), Source::Unknown),
        ("UNIX datagrams", header(0x21, 0x32, &unix), Source::Unknown),
        ("UNSPEC", header(0x21, 0x00, &[]), Source::Unknown),
        ("UNSPEC with a TLV", header(0x21, 0x00, &tlv(0x04, &[0; 9])), Source::Unknown),
        ("LOCAL", header(0x20, 0x00, &[]), Source::Proxy),
        ("LOCAL with addresses", header(0x20, 0x11, &V4), Source::Proxy),
        ("LOCAL with anything", header(0x20, 0xFF, &[1, 2, 3, 4, 5]), Source::Proxy),
        (
            "TLVs",
            header(0x21, 0x11, &[&V4[..], &tlv(0x01, b"h2"), &tlv(0xE0, &[]), &tlv(0x02, b"a.b")].concat()),
            client(),
        ),
        ("a checksum", with_checksum(0x11, &V4), client()),
        ("a checksum of IPv6", with_checksum(0x21, &v6_block()), address("[2001:db8::7]:443")),
        ("the longest", header(0x21, 0x11, &[&V4[..], &tlv(0x04, &vec![0; most])].concat()), client()),
    ]
}

#[test]
fn good_headers_are_read_wherever_they_are_cut() {
    for (name, bytes, source) in good() {
        let expected = Header { source, len: bytes.len() };
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "{name}, {cut} bytes of {}", bytes.len());
        }
        assert_eq!(parse(&bytes), Ok(Some(expected)), "{name}");
        // What follows is not looked at.
        for more in [&b"GET / HTTP/1.1\r\n"[..], &bytes.clone(), &[0xFF; 3000]] {
            assert_eq!(parse(&[&bytes, more].concat()), Ok(Some(expected)), "{name}");
        }
    }
}

#[test]
fn bad_headers_are_refused_at_the_byte_that_is_wrong() {
    let short = |family, block: &[u8]| header(0x21, family, &block[..block.len() - 1]);
    let mut checksum = with_checksum(0x11, &V4);
    checksum[20] ^= 1;
    let too_long =
        [&SIGNATURE[..], &[0x21, 0x11], &((HEADER_BYTES_MAX - FIXED_BYTES + 1) as u16).to_be_bytes()].concat();
    for (name, bytes, error, at) in [
        ("a request", b"GET / HTTP/1.1\r\n".to_vec(), ProxyError::NoHeader, 1),
        ("a request of another kind", b"PUT / HTTP/1.1\r\n".to_vec(), ProxyError::NoHeader, 2),
        ("a TLS ClientHello", vec![0x16, 0x03, 0x01], ProxyError::NoHeader, 1),
        ("version 1", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(), ProxyError::TextVersion, 6),
        ("version 1, UNKNOWN", b"PROXY UNKNOWN\r\n".to_vec(), ProxyError::TextVersion, 6),
        ("nearly version 1", b"PROXYTCP4 1.2.3.4".to_vec(), ProxyError::NoHeader, 6),
        ("a wrong signature", b"\r\n\r\n\0\r\nQUIT\r".to_vec(), ProxyError::NoHeader, 12),
        ("version 1 in binary", header(0x11, 0x11, &V4), ProxyError::Version(1), 13),
        ("version 3", header(0x31, 0x11, &V4), ProxyError::Version(3), 13),
        ("command 2", header(0x22, 0x11, &V4), ProxyError::Command(2), 13),
        ("command 15", header(0x2F, 0x11, &V4), ProxyError::Command(15), 13),
        ("one byte too long", too_long, ProxyError::TooLong(HEADER_BYTES_MAX + 1), 16),
        ("64 KiB", [&SIGNATURE[..], &[0x20, 0, 0xFF, 0xFF]].concat(), ProxyError::TooLong(65_551), 16),
        ("IPv4 too short", short(0x11, &V4), ProxyError::Addresses, 27),
        ("IPv6 too short", short(0x21, &v6_block()), ProxyError::Addresses, 51),
        ("UNIX too short", header(0x21, 0x31, &[0; 215]), ProxyError::Addresses, 231),
        ("no addresses", header(0x21, 0x11, &[]), ProxyError::Addresses, 16),
        ("family 4", header(0x21, 0x41, &V4), ProxyError::Family(0x41), 28),
        ("transport 3", header(0x21, 0x13, &V4), ProxyError::Family(0x13), 28),
        ("no transport", header(0x21, 0x10, &V4), ProxyError::Family(0x10), 28),
        ("no family", header(0x21, 0x01, &V4), ProxyError::Family(0x01), 28),
        ("half a TLV", header(0x21, 0x11, &[&V4[..], &[4, 0]].concat()), ProxyError::Tlv, 30),
        ("a TLV too long", header(0x21, 0x11, &[&V4[..], &[4, 0, 2, 9]].concat()), ProxyError::Tlv, 32),
        ("a checksum of 3 bytes", header(0x21, 0x00, &tlv(3, &[0; 3])), ProxyError::Tlv, 22),
        ("a checksum of 5 bytes", header(0x21, 0x00, &tlv(3, &[0; 5])), ProxyError::Tlv, 24),
        ("a wrong checksum", checksum, ProxyError::Checksum, 35),
    ] {
        for cut in 0..at {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "{name}, {cut} bytes");
        }
        for cut in at..=bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Err(error), "{name}, {cut} bytes");
        }
    }
}

/// RFC 3720 appendix B.4.
#[test]
fn checksums_are_those_of_the_rfc() {
    let counting: Vec<u8> = (0..32).collect();
    for (bytes, expected) in
        [(&[0; 32][..], 0x8A91_36AA), (&[0xFF; 32], 0x62A8_AB43), (&counting, 0x46DD_794E), (b"123456789", 0xE306_9283)]
    {
        assert_eq!(crc32c(bytes, 0..0), expected);
    }
}

#[test]
fn what_the_oracle_writes_is_read() {
    for (from, to) in [("203.0.113.7:1", "10.0.0.1:2"), ("[2001:db8::7]:65535", "[::1]:0")] {
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let mut oracle = ProxyHeader::with_address(ProxiedAddress::stream(from, to));
        oracle.append_tlv(Tlv::Authority("example.org".into()));
        oracle.append_tlv(Tlv::UniqueId(b"abc".as_slice().into()));
        let mut bytes = Vec::new();
        oracle.encode_v2(&mut bytes).unwrap();
        assert_eq!(parse(&bytes), Ok(Some(Header { source: Source::Client(from), len: bytes.len() })));
    }
    let mut bytes = Vec::new();
    ProxyHeader::with_local().encode_v2(&mut bytes).unwrap();
    assert_eq!(parse(&bytes), Ok(Some(Header { source: Source::Proxy, len: bytes.len() })));
}

/// The same by the oracle, as far as it goes: it knows no maximum and no checksum, and wants the addresses of a LOCAL header.
fn check_against_oracle(bytes: &[u8]) {
    let config = ParseConfig { include_tlvs: true, allow_v1: false, allow_v2: true };
    let oracle = ProxyHeader::parse(bytes, config);
    match (parse(bytes), oracle) {
        (Ok(Some(Header { source, len })), Ok((header, oracle_len))) => {
            assert_eq!(len, oracle_len);
            match source {
                Source::Client(address) => assert_eq!(header.proxied_address().map(|a| a.source), Some(address)),
                Source::Proxy | Source::Unknown => assert_eq!(header.proxied_address(), None),
            }
        }
        (Ok(Some(Header { source, .. })), Err(error)) => {
            assert_eq!(source, Source::Proxy, "taken, but not by the oracle: {error}");
        }
        (Ok(None), Ok(_)) => panic!("the oracle has a whole header"),
        // It says the same of what is too short and of what is wrong.
        (Ok(None), Err(_)) => {}
        (Err(ProxyError::TooLong(_) | ProxyError::Checksum), _) => {}
        (Err(ProxyError::Tlv), Ok((header, _))) => {
            assert!(header.tlvs().any(|tlv| tlv.is_err()), "{bytes:?}");
        }
        (Err(error), Ok(_)) => panic!("the oracle takes it: {error}: {bytes:?}"),
        (Err(_), Err(_)) => {}
    }
}

#[test]
fn the_oracle_says_the_same_of_the_tables() {
    for (_, bytes, _) in good() {
        check_against_oracle(&bytes);
    }
}

proptest! {
    #[test]
    fn the_oracle_says_the_same_of_any_header(
        command in prop_oneof![4 => Just(0x21u8), 1 => Just(0x20), 1 => any::<u8>()],
        family in prop_oneof![6 => prop::sample::select(vec![0u8, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32]), 1 => any::<u8>()],
        block in prop::collection::vec(any::<u8>(), 0..300),
        tlvs in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..9)), 0..4),
        cut in 0usize..400,
    ) {
        let tlvs: Vec<u8> = tlvs.iter().flat_map(|(kind, value)| tlv(*kind, value)).collect();
        let sized = |len: usize| block.iter().copied().chain(std::iter::repeat(0)).take(len).collect::<Vec<u8>>();
        for addresses in [block.clone(), sized(0), sized(12), sized(36), sized(216)] {
            let bytes = header(command, family, &[&addresses[..], &tlvs].concat());
            check_against_oracle(&bytes);
            check_against_oracle(&bytes[..cut.min(bytes.len())]);
        }
    }

    #[test]
    fn the_oracle_says_the_same_of_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        check_against_oracle(&bytes);
    }
}
