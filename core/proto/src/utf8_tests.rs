//! The standard library is the oracle: after any bytes, a text is complete, cut, or beyond repair.

use super::*;

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Complete,
    Cut,
    Invalid,
}

fn oracle(bytes: &[u8]) -> Verdict {
    match std::str::from_utf8(bytes) {
        Ok(_) => Verdict::Complete,
        Err(error) if error.error_len().is_none() => Verdict::Cut,
        Err(_) => Verdict::Invalid,
    }
}

fn verdict<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Verdict {
    let mut utf8 = Utf8::new();
    for piece in pieces {
        if utf8.push(piece).is_err() {
            return Verdict::Invalid;
        }
    }
    if utf8.is_complete() { Verdict::Complete } else { Verdict::Cut }
}

/// `bytes` cut at every set of places that `mask` can name (bit `i`: a cut before byte `i + 1`).
fn pieces(bytes: &[u8], mask: u32) -> Vec<&[u8]> {
    let mut out = Vec::new();
    let mut start = 0;
    for i in 1..bytes.len() {
        if mask >> (i - 1) & 1 == 1 {
            out.push(&bytes[start..i]);
            start = i;
        }
    }
    out.push(&bytes[start..]);
    out
}

fn agrees_at_every_cut(bytes: &[u8]) {
    let expected = oracle(bytes);
    for mask in 0..1u32 << (bytes.len() - 1) {
        assert_eq!(verdict(pieces(bytes, mask)), expected, "{bytes:02x?} cut by {mask:b}");
    }
}

#[test]
fn all_sequences_of_one_and_two_bytes_at_every_cut() {
    for a in 0..=255 {
        agrees_at_every_cut(&[a]);
        for b in 0..=255 {
            agrees_at_every_cut(&[a, b]);
        }
    }
}

#[test]
fn all_sequences_of_three_bytes_at_every_cut() {
    // The state is a value, so each prefix is pushed once.
    for a in 0..=255u8 {
        let mut after_a = Utf8::new();
        let a_result = after_a.push(&[a]);
        for b in 0..=255u8 {
            let mut by_bytes = after_a;
            let by_bytes_result = a_result.and_then(|()| by_bytes.push(&[b]));
            let mut at_once = Utf8::new();
            let at_once_result = at_once.push(&[a, b]);
            assert_eq!(by_bytes_result, at_once_result);
            for c in 0..=255u8 {
                let expected = oracle(&[a, b, c]);
                let end = |state: Result<Utf8, InvalidUtf8>, rest: &[u8]| match state
                    .and_then(|mut utf8| utf8.push(rest).map(|()| utf8.is_complete()))
                {
                    Ok(true) => Verdict::Complete,
                    Ok(false) => Verdict::Cut,
                    Err(InvalidUtf8) => Verdict::Invalid,
                };
                let whole = end(Ok(Utf8::new()), &[a, b, c]);
                let cut_1 = end(a_result.map(|()| after_a), &[b, c]);
                let cut_2 = end(at_once_result.map(|()| at_once), &[c]);
                let cut_1_2 = end(by_bytes_result.map(|()| by_bytes), &[c]);
                assert!(
                    whole == expected && cut_1 == expected && cut_2 == expected && cut_1_2 == expected,
                    "{:02x?}: {expected:?}, but {whole:?} {cut_1:?} {cut_2:?} {cut_1_2:?}",
                    [a, b, c]
                );
            }
        }
    }
}

#[test]
fn four_byte_sequences_at_their_edges_at_every_cut() {
    let edges = [0x00, 0x41, 0x7F, 0x80, 0x81, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xED, 0xF0, 0xF4, 0xFF];
    for a in 0xC0..=0xFF {
        for b in 0..=255 {
            for c in edges {
                for d in edges {
                    agrees_at_every_cut(&[a, b, c, d]);
                }
            }
        }
    }
}

#[test]
fn fails_at_the_byte_that_nothing_can_mend() {
    for (bytes, bad_at) in [
        (&b"\xC0\x80"[..], 0),
        (b"\xC1\xBF", 0),
        (b"\xF5\x80\x80\x80", 0),
        (b"\xFF", 0),
        (b"\x80", 0),
        (b"\xED\xA0\x80", 1),         // a surrogate
        (b"\xF4\x90\x80\x80", 1),     // beyond U+10FFFF
        (b"\xF0\x80\x80\x80", 1),     // overlong
        (b"\xE0\x9F\xBF", 1),         // overlong
        (b"\xE2\x82A", 2),            // a character broken off
        (b"\xF0\x9F\x98\xC3\xA9", 3), // the next one begins too early
    ] {
        let mut utf8 = Utf8::new();
        assert_eq!(utf8.push(&bytes[..bad_at]), Ok(()), "{bytes:02x?}");
        assert_eq!(utf8.push(&bytes[bad_at..=bad_at]), Err(InvalidUtf8), "{bytes:02x?}");
        assert_eq!(Utf8::new().push(&bytes[..=bad_at]), Err(InvalidUtf8), "{bytes:02x?} at once");
    }
}

#[test]
fn long_texts_cut_anywhere_and_broken_anywhere() {
    let text =
        "plain ASCII that fills more than one vector register, then Ελληνικά, 日本語, 😀🚀 and e\u{301}; ".repeat(3);
    let text = text.as_bytes();
    for cut in 0..=text.len() {
        assert_eq!(verdict([&text[..cut], &text[cut..]]), Verdict::Complete, "cut at {cut}");
        assert_eq!(verdict([&text[..cut]]), oracle(&text[..cut]), "ends at {cut}");
    }
    for broken in 0..text.len() {
        for bad in [0x80, 0xBF, 0xC3, 0xED, 0xF4, 0xFF] {
            let mut text = text.to_vec();
            text[broken] = bad;
            for cut in [broken.saturating_sub(2), broken, broken + 1, (broken + 3).min(text.len()), text.len()] {
                assert_eq!(verdict([&text[..cut], &text[cut..]]), oracle(&text), "{bad:02x} at {broken}, cut at {cut}");
            }
        }
    }
}

#[test]
fn empty_pieces_change_nothing() {
    assert_eq!(verdict([&b""[..], b"\xE2", b"", b"\x82", b"", b"\xAC", b""]), Verdict::Complete);
    assert!(Utf8::new().is_complete());
}

/// [`Utf8::push`] leaves most of a text to simdutf8; the automaton knows all of it by itself.
#[test]
fn the_automaton_alone_agrees_byte_by_byte() {
    let verdict = |bytes: &[u8]| {
        let mut utf8 = Utf8::new();
        match bytes.iter().try_for_each(|&byte| utf8.step(byte)) {
            Ok(()) if utf8.is_complete() => Verdict::Complete,
            Ok(()) => Verdict::Cut,
            Err(InvalidUtf8) => Verdict::Invalid,
        }
    };
    for character in ('\0'..=char::MAX).step_by(7).chain(['\u{7F}', '\u{80}', '\u{7FF}', '\u{800}', '\u{FFFF}']) {
        let mut bytes = [0; 5];
        let len = character.encode_utf8(&mut bytes).len();
        bytes[len] = b'a';
        for end in 0..=len + 1 {
            assert_eq!(verdict(&bytes[..end]), oracle(&bytes[..end]), "{:02x?}", &bytes[..end]);
        }
    }
    for a in 0..=255 {
        for b in 0..=255 {
            assert_eq!(verdict(&[a, b]), oracle(&[a, b]), "{a:02x} {b:02x}");
        }
    }
}
