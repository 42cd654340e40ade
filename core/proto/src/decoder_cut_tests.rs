//! The decoder cut anywhere: the same bytes give the same messages, control frames and violation.

use proptest::prelude::*;

use super::tests::{BAD_FRAMES, Item, MAX, cut, feed, frame, server, whole};
use super::*;
use crate::client::encode_frame;

#[test]
fn bad_frames_cut_at_any_two_places_are_refused_the_same() {
    for &(what, bytes, ..) in BAD_FRAMES {
        let expected = whole(bytes).comparable();
        for a in 0..=bytes.len() {
            for b in a..=bytes.len() {
                let outcome = feed(server(), MAX, cut(bytes, &[a, b]));
                assert_eq!(outcome.comparable(), expected, "{what} cut at {a} and {b}");
            }
        }
    }
}

/// Fragments, controls between them, empties, text with characters cut by frames: all in one stream.
fn eventful_stream() -> (Vec<u8>, Vec<Item>) {
    let bytes = [
        frame(Opcode::Text, false, b"a\xE2"),
        frame(Opcode::Ping, true, b"p"),
        frame(Opcode::Continuation, false, b""),
        frame(Opcode::Continuation, false, b"\x82"),
        frame(Opcode::Pong, true, b""),
        frame(Opcode::Continuation, true, b"\xAC"),
        frame(Opcode::Binary, true, b""),
        frame(Opcode::Binary, false, b""),
        frame(Opcode::Continuation, true, b"\xFF"),
        frame(Opcode::Close, true, b"\x03\xE8ok"),
        frame(Opcode::Text, true, b"never reported"),
    ]
    .concat();
    let data =
        |text, first, last, bytes: &[u8]| Item::Data { text, compressed: false, first, last, bytes: bytes.to_vec() };
    let items = vec![
        data(true, true, false, b"a\xE2"),
        Item::Ping(b"p".to_vec()),
        data(true, false, false, b"\x82"),
        Item::Pong(Vec::new()),
        data(true, false, true, b"\xAC"),
        data(false, true, true, b""),
        data(false, true, true, b"\xFF"),
        Item::Close(Some(CloseCode::NORMAL), "ok".into()),
    ];
    (bytes, items)
}

#[test]
fn an_eventful_stream_cut_at_any_three_places_gives_the_same() {
    let (bytes, items) = eventful_stream();
    assert_eq!(whole(&bytes).items, items);
    for a in 0..=bytes.len() {
        for b in a..=bytes.len() {
            let c = b + (bytes.len() - b) / 2;
            let outcome = feed(server(), MAX, cut(&bytes, &[a, b, c]));
            assert_eq!((outcome.items, outcome.violation), (items.clone(), None), "cut at {a}, {b} and {c}");
        }
    }
    assert_eq!(feed(server(), MAX, bytes.chunks(1)).items, items);
}

#[test]
fn small_streams_cut_in_every_possible_way_give_the_same() {
    for bytes in [
        [frame(Opcode::Text, false, "é".as_bytes()), frame(Opcode::Continuation, true, b"!")].concat(),
        [frame(Opcode::Ping, true, b"p"), frame(Opcode::Binary, true, b"x")].concat(),
        [frame(Opcode::Binary, false, b""), frame(Opcode::Continuation, true, b"")].concat(),
        frame(Opcode::Close, true, b"\x0F\xA0ok"),
        frame(Opcode::Text, true, b"ab\xFFcde"),
    ] {
        let expected = whole(&bytes).comparable();
        for mask in 0..1u32 << (bytes.len() - 1) {
            let cuts: Vec<usize> = (1..bytes.len()).filter(|i| mask >> (i - 1) & 1 == 1).collect();
            let outcome = feed(server(), MAX, cut(&bytes, &cuts));
            assert_eq!(outcome.comparable(), expected, "{bytes:02x?} cut at {cuts:?}");
        }
    }
}

/// One frame, mostly legal, sometimes not.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        6 => proptest::collection::vec(any::<u8>(), 0..12),
        6 => "\\PC{0,8}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 120..130),
        1 => Just(Vec::new()),
    ];
    let opcode = prop_oneof![
        4 => Just(Opcode::Text),
        4 => Just(Opcode::Binary),
        6 => Just(Opcode::Continuation),
        2 => Just(Opcode::Ping),
        1 => Just(Opcode::Pong),
        1 => Just(Opcode::Close),
    ];
    (opcode, any::<bool>(), any::<[u8; 4]>(), payload).prop_map(|(opcode, fin, key, payload)| {
        let mut out = Vec::new();
        let fin = fin || opcode.is_control();
        encode_frame(&mut out, opcode, fin, false, key, &payload);
        out
    })
}

/// A stream of frames in which, now and then, a byte is changed.
pub(super) fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let change = proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    (proptest::collection::vec(any_frame(), 1..8), change).prop_map(|(frames, change)| {
        let mut bytes = frames.concat();
        if let Some((at, byte)) = change {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_stream_cut_anywhere_gives_the_same(
        bytes in any_stream(),
        places in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        max in prop_oneof![Just(MAX), 0u64..40],
        deflate: bool,
    ) {
        let mut cuts: Vec<usize> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let expected = feed(Decoder::new(Role::Server, deflate), max, [&bytes[..]]).comparable();
        let pieces = feed(Decoder::new(Role::Server, deflate), max, cut(&bytes, &cuts)).comparable();
        prop_assert_eq!(&pieces, &expected);
        let bytewise = feed(Decoder::new(Role::Server, deflate), max, bytes.chunks(1)).comparable();
        prop_assert_eq!(&bytewise, &expected);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), chunk in 1usize..50) {
        for role in [Role::Server, Role::Client] {
            for deflate in [false, true] {
                feed(Decoder::new(role, deflate), MAX, bytes.chunks(chunk));
            }
        }
    }
}
