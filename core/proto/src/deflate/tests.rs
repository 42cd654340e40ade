use super::*;
use proptest::prelude::*;

const BASE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// What a request's header values lead to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    /// Accepted; the client's window in bits, as a hint.
    Plain(u8),
    /// Accepted with `server_max_window_bits`; the client's window.
    Window(u8, u8),
    Declined,
    Malformed(usize),
}
use Verdict::*;

fn verdict(values: &[&str]) -> Verdict {
    match negotiate(values.iter().map(|v| v.as_bytes())) {
        Err(MalformedExtensions { at }) => Malformed(at),
        Ok(None) => Declined,
        Ok(Some(agreement)) => {
            let response = agreement.to_string();
            assert_eq!(*agreement.response(), *response);
            assert!(response.len() <= RESPONSE_BYTES_MAX);
            if response == BASE {
                assert_eq!(agreement.server_window_bits, WINDOW_BITS_MAX);
                return Plain(agreement.client_window_bits);
            }
            assert_eq!(response, format!("{BASE}; server_max_window_bits={}", agreement.server_window_bits));
            Window(agreement.server_window_bits, agreement.client_window_bits)
        }
    }
}

#[rustfmt::skip]
const TABLE: &[(&[&str], Verdict)] = &[
    // Nothing offered.
    (&[], Declined),
    (&[""], Declined),
    (&[" \t "], Declined),
    (&[",, ,"], Declined),
    (&["permessage-bzip2"], Declined),
    (&["x-webkit-deflate-frame; no_context_takeover"], Declined),
    (&["permessage-deflate2"], Declined),
    (&["Permessage-Deflate"], Declined),
    // Plain offers.
    (&["permessage-deflate"], Plain(15)),
    (&["  permessage-deflate\t"], Plain(15)),
    (&["permessage-deflate,"], Plain(15)),
    (&[", ,permessage-deflate"], Plain(15)),
    // What browsers and libraries send.
    (&["permessage-deflate; client_max_window_bits"], Plain(15)),
    (&["permessage-deflate; client_max_window_bits, x-webkit-deflate-frame"], Plain(15)),
    (&["permessage-deflate; server_no_context_takeover; client_no_context_takeover"], Plain(15)),
    (&["permessage-deflate;client_no_context_takeover;server_no_context_takeover"], Plain(15)),
    (&["permessage-deflate ; server_max_window_bits = 10 ; client_max_window_bits = 11"], Window(10, 11)),
    // Flags take no value.
    (&["permessage-deflate; server_no_context_takeover=1"], Declined),
    (&["permessage-deflate; server_no_context_takeover=true"], Declined),
    (&["permessage-deflate; client_no_context_takeover=\"1\""], Declined),
    // The server's window: every size, and what is none.
    (&["permessage-deflate; server_max_window_bits"], Declined),
    (&["permessage-deflate; server_max_window_bits=7"], Declined),
    (&["permessage-deflate; server_max_window_bits=8"], Declined),
    (&["permessage-deflate; server_max_window_bits=9"], Window(9, 15)),
    (&["permessage-deflate; server_max_window_bits=10"], Window(10, 15)),
    (&["permessage-deflate; server_max_window_bits=11"], Window(11, 15)),
    (&["permessage-deflate; server_max_window_bits=12"], Window(12, 15)),
    (&["permessage-deflate; server_max_window_bits=13"], Window(13, 15)),
    (&["permessage-deflate; server_max_window_bits=14"], Window(14, 15)),
    (&["permessage-deflate; server_max_window_bits=15"], Window(15, 15)),
    (&["permessage-deflate; server_max_window_bits=16"], Declined),
    (&["permessage-deflate; server_max_window_bits=0"], Declined),
    (&["permessage-deflate; server_max_window_bits=1"], Declined),
    (&["permessage-deflate; server_max_window_bits=09"], Declined),
    (&["permessage-deflate; server_max_window_bits=010"], Declined),
    (&["permessage-deflate; server_max_window_bits=100"], Declined),
    (&["permessage-deflate; server_max_window_bits=+9"], Declined),
    (&["permessage-deflate; server_max_window_bits=-9"], Declined),
    (&["permessage-deflate; server_max_window_bits=9.0"], Declined),
    (&["permessage-deflate; server_max_window_bits=0xa"], Declined),
    (&["permessage-deflate; server_max_window_bits=ten"], Declined),
    (&["permessage-deflate; server_max_window_bits=18446744073709551625"], Declined),
    (&["permessage-deflate; server_max_window_bits=\"10\""], Window(10, 15)),
    (&["permessage-deflate; server_max_window_bits=\"1\\0\""], Window(10, 15)),
    // The client's window: a hint, with or without a value.
    (&["permessage-deflate; client_max_window_bits=7"], Declined),
    (&["permessage-deflate; client_max_window_bits=8"], Plain(8)),
    (&["permessage-deflate; client_max_window_bits=15"], Plain(15)),
    (&["permessage-deflate; client_max_window_bits=16"], Declined),
    (&["permessage-deflate; client_max_window_bits=08"], Declined),
    (&["permessage-deflate; client_max_window_bits=\"9\""], Plain(9)),
    // Unknown and repeated parameters.
    (&["permessage-deflate; unknown"], Declined),
    (&["permessage-deflate; unknown=1"], Declined),
    (&["permessage-deflate; Server_No_Context_Takeover"], Declined),
    (&["permessage-deflate; server_no_context_takeover; server_no_context_takeover"], Declined),
    (&["permessage-deflate; client_no_context_takeover; client_no_context_takeover"], Declined),
    (&["permessage-deflate; server_max_window_bits=10; server_max_window_bits=10"], Declined),
    (&["permessage-deflate; client_max_window_bits; client_max_window_bits=10"], Declined),
    // The first acceptable offer of a list, or of several headers.
    (&["permessage-deflate; server_max_window_bits=8, permessage-deflate"], Plain(15)),
    (&["permessage-deflate; unknown, permessage-deflate; server_max_window_bits=12"], Window(12, 15)),
    (&["permessage-deflate; server_max_window_bits=11, permessage-deflate; server_max_window_bits=12"], Window(11, 15)),
    (&["permessage-deflate; server_max_window_bits=8,permessage-deflate; unknown"], Declined),
    (&["foo; a=b; c=\"d\", permessage-deflate; client_max_window_bits=9, bar"], Plain(9)),
    (&["foo", "permessage-deflate; server_max_window_bits=10", "permessage-deflate"], Window(10, 15)),
    (&["foo; server_max_window_bits=8", "", "permessage-deflate"], Plain(15)),
    // Not the header's grammar, in front of or after a good offer.
    (&[";"], Malformed(0)),
    (&["="], Malformed(0)),
    (&["permessage-deflate;"], Malformed(19)),
    (&["permessage-deflate;;client_max_window_bits"], Malformed(19)),
    (&["permessage-deflate; =9"], Malformed(20)),
    (&["permessage-deflate; server_max_window_bits="], Malformed(43)),
    (&["permessage-deflate; server_max_window_bits=,"], Malformed(43)),
    (&["permessage-deflate; server_max_window_bits=\"10"], Malformed(46)),
    (&["permessage-deflate; server_max_window_bits=\"\""], Malformed(44)),
    (&["permessage-deflate; server_max_window_bits=\"1 0\""], Malformed(45)),
    (&["permessage-deflate; server_max_window_bits=\"10\\\""], Malformed(47)),
    (&["permessage-deflate; server_max_window_bits=10 11"], Malformed(46)),
    (&["permessage-deflate client_max_window_bits"], Malformed(19)),
    (&["permessage-deflate, foo bar"], Malformed(24)),
    (&["permessage-deflate/1"], Malformed(18)),
    (&["permessage-deflate; client_max_window_bits=9=9"], Malformed(44)),
    (&["\"permessage-deflate\""], Malformed(0)),
    (&["permessage-deflate\0"], Malformed(18)),
    (&["permessage-deflaté"], Malformed(17)),
    (&["permessage-deflate", ";"], Malformed(0)),
];

#[test]
fn offers_are_judged_by_the_table() {
    assert!(TABLE.len() >= 40);
    for (values, expected) in TABLE {
        assert_eq!(verdict(values), *expected, "{values:?}");
    }
}

proptest! {
    #[test]
    fn no_header_makes_negotiation_panic(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..3)) {
        let _ = negotiate(values.iter().map(Vec::as_slice));
    }

    #[test]
    fn what_is_agreed_was_offered(parts in prop::collection::vec(prop::sample::select(vec![
        "permessage-deflate", "; ", ", ", "=", "\"", "\\", "8", "9", "10", "server_max_window_bits=9", "client_max_window_bits", "unknown",
        "server_no_context_takeover", "client_no_context_takeover", " ", "client_max_window_bits=\"12\"",
    ]), 0..12)) {
        let value = parts.concat();
        if let Ok(Some(agreement)) = negotiate([value.as_bytes()]) {
            prop_assert!((WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(&agreement.server_window_bits));
            prop_assert!((8..=WINDOW_BITS_MAX).contains(&agreement.client_window_bits));
            prop_assert!(value.contains(EXTENSION));
            let asked = agreement.to_string().contains("server_max_window_bits");
            prop_assert!(!asked || value.contains("server_max_window_bits"));
            prop_assert!(asked || agreement.server_window_bits == WINDOW_BITS_MAX);
        }
    }
}
