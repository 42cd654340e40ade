use super::*;
use proptest::prelude::*;
use serde_json::Value;

/// Texts that are JSON, after JSONTestSuite's `y_` cases and with what telemetry has besides.
const VALID: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "10",
    "1.5",
    "-1.5",
    "0.0",
    "0e1",
    "0E+1",
    "1e0",
    "1E-2",
    "1.25e+3",
    "123456789012345678",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "123456789012345678901234567890",
    "0.1234567890123456789012345678901234567890",
    "1e308",
    "1e-400",
    "-1e-999999999",
    "1.7976931348623157e308",
    r#""""#,
    r#""a""#,
    r#""é日本😀""#,
    r#""\"\\\/\b\f\n\r\t""#,
    r#""\u0000""#,
    r#""\u00e9""#,
    r#""\uD83D\uDE00""#,
    r#""\ud83d\ude00""#,
    r#""\uFFFF""#,
    r#""\u2028\u2029""#,
    "\"\u{2028}\u{7f}\u{80}\u{10ffff}\"",
    "\"\u{feff}\"",
    "[]",
    "[ ]",
    "[1]",
    "[1,2,3]",
    "[[]]",
    "[[],[[]]]",
    "[null,true,false]",
    "{}",
    "{ }",
    r#"{"a":1}"#,
    r#"{"a":1,"a":2}"#,
    r#"{"":0}"#,
    r#"{"a":{"b":[{"c":null}]}}"#,
    " 1",
    "1 ",
    "\t\n\r 1\t\n\r ",
    "[\n1\t,\r2 ]",
    r#" { "a" : [ 1 , 2 ] } "#,
    r#"{"\u0061":1}"#,
    r#"{"a":"b","c":"d"}"#,
    r#"["\\","\""]"#,
    r#"[1.0e5,-2E-3]"#,
];

/// Byte strings that are not, or that must not be embedded in a message, after the `n_` and some `i_` cases.
const INVALID: &[&[u8]] = &[
    b"",
    b" ",
    b"\n",
    b"nul",
    b"nulls",
    b"nULL",
    b"True",
    b"truE",
    b"fals",
    b"undefined",
    b"NaN",
    b"-NaN",
    b"Infinity",
    b"-Infinity",
    b"inf",
    b"+1",
    b"-",
    b"--1",
    b"01",
    b"-01",
    b"00",
    b"1.",
    b".5",
    b"-.5",
    b"1.e1",
    b"1e",
    b"1e+",
    b"1E-",
    b"1ee1",
    b"1.2.3",
    b"0x10",
    b"1_000",
    b"1a",
    b"1 2",
    b"1,",
    b",1",
    b"0e",
    b"\xef\xbc\x91",
    // Beyond a double: an infinity to some parsers, an error to others.
    b"1e309",
    b"-1e309",
    b"1e999999999999999999999",
    b"[1e400]",
    // Strings.
    b"\"",
    b"\"a",
    b"a\"",
    b"'a'",
    b"\"\\\"",
    b"\"\\x41\"",
    b"\"\\u12\"",
    b"\"\\u12g4\"",
    b"\"\\u+123\"",
    b"\"\\U0041\"",
    b"\"\\a\"",
    b"\"\\",
    b"\"\\ \"",
    b"\"\t\"",
    b"\"\n\"",
    b"\"\0\"",
    b"\"\x1f\"",
    b"\"a\"b",
    b"\"a\"\"b\"",
    // Surrogate escapes without their other half.
    br#""\ud800""#,
    br#""\udc00""#,
    br#""\ud800x""#,
    br#""\ud800\n""#,
    br#""\ud800\ud800""#,
    br#""\udc00\ud800""#,
    br#""\ud800\u0041""#,
    br#""\uD800\uD800\uDC00""#,
    br#""\ud83d"#,
    br#""\ud83d\u""#,
    br#""\ud83d\ude0""#,
    br#"{"\ud800":1}"#,
    // Not UTF-8: overlong, surrogate, cut off, beyond the end, stray; a byte order mark is no white space.
    b"\"\xff\"",
    b"\"\xc0\xaf\"",
    b"\"\xed\xa0\x80\"",
    b"\"\xe2\x82\"",
    b"\"\xf4\x90\x80\x80\"",
    b"\"\x80\"",
    b"\xef\xbb\xbf1",
    b"\xef\xbb\xbf",
    b"\xff\xfe1\0",
    b"1\x80",
    b"[\xff]",
    // Arrays and objects.
    b"[",
    b"]",
    b"[1",
    b"[1,",
    b"[1,]",
    b"[,1]",
    b"[,]",
    b"[1 2]",
    b"[1,,2]",
    b"[1]]",
    b"[[1]",
    b"[1}",
    b"{",
    b"}",
    b"{]",
    b"{\"a\"}",
    b"{\"a\":}",
    b"{\"a\":1,}",
    b"{,}",
    b"{\"a\" 1}",
    b"{a:1}",
    b"{'a':1}",
    b"{1:1}",
    b"{null:1}",
    b"{\"a\":1 \"b\":2}",
    b"{\"a\":1,\"b\"}",
    b"{\"a\"::1}",
    b"{\"a\":1}}",
    b"{\"a\":1]",
    b"[{\"a\":1]",
    b"{\"a\":1,,\"b\":2}",
    b"{\"a\":1}{}",
    b"[][]",
    b"[\"a\":1]",
    b"{\"a\",1}",
    // What other dialects allow.
    b"[1] // x",
    b"/* x */ 1",
    b"[1]#",
    b"{\"a\":1};",
    b"1;",
    b"\x0c1",
    b"\x0b1",
    b"\xc2\xa01",
    b"1\0",
    b"\0",
    b"[1]\0",
    b"*",
    b"<x/>",
    b"\\u0031",
    b"[True]",
    b"[-]",
    b"[1.]",
    b"[NaN]",
    b"[\"a]",
    b"[\"\\\"]",
    b"(1)",
];

fn simd_alone(payload: &[u8]) -> bool {
    JsonCheck::new().simd_takes(payload)
}

/// The verdict of an independent parser, on the payload as it would stand in a message.
fn serde_takes(payload: &[u8]) -> bool {
    let inside = [b"[", payload, b"]"].concat();
    matches!(serde_json::from_slice::<Value>(&inside), Ok(Value::Array(items)) if items.len() == 1)
}

#[test]
fn the_verdict_is_that_of_the_table() {
    assert!(VALID.len() + INVALID.len() >= 60);
    let mut check = JsonCheck::new();
    for text in VALID {
        assert!(check.is_valid(text.as_bytes()), "{text:?}");
        assert!(reader_takes(text), "{text:?}");
        assert!(serde_takes(text.as_bytes()), "serde_json: {text:?}");
        assert_eq!(check.text(text.as_bytes()).expect(text).as_str(), *text, "kept byte for byte");
    }
    for bytes in INVALID {
        let shown = String::from_utf8_lossy(bytes);
        assert!(!check.is_valid(bytes), "{shown:?}");
        assert!(!simd_alone(bytes), "simd-json: {shown:?}");
        if let Ok(text) = std::str::from_utf8(bytes) {
            assert!(!reader_takes(text), "reader: {shown:?}");
        }
        // Two rows become an array of two items, or close the array early; the oracle counts items.
        assert!(!serde_takes(bytes), "serde_json: {shown:?}");
    }
}

#[test]
fn simd_json_refuses_only_what_the_reader_settles() {
    let refused: Vec<_> = VALID.iter().filter(|text| !simd_alone(text.as_bytes())).collect();
    // A change here is a change of simd-json, not a fault: the reader has the last word.
    assert_eq!(
        refused,
        [&"18446744073709551616", &"-9223372036854775809", &"123456789012345678901234567890"],
        "integers beyond 64 bits"
    );
}

#[test]
fn nesting_is_bounded_and_bombs_cost_nothing() {
    let mut check = JsonCheck::new();
    let depth = PAYLOAD_DEPTH_MAX as usize;
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let middle = if open == "[" { "" } else { "1" };
        let nested = |n: usize| open.repeat(n) + middle + &close.repeat(n);
        for n in [depth - 1, depth] {
            assert!(check.is_valid(nested(n).as_bytes()), "{n} levels");
            assert!(reader_takes(&nested(n)), "{n} levels");
            assert!(serde_takes(nested(n).as_bytes()), "{n} levels fit the usual parser, message and all");
        }
        for n in [depth + 1, depth + 2, 1000] {
            assert!(!check.is_valid(nested(n).as_bytes()), "{n} levels");
            assert!(!simd_alone(nested(n).as_bytes()), "{n} levels");
            assert!(!reader_takes(&nested(n)), "{n} levels");
        }
        assert!(!check.is_valid(open.repeat(SIMD_BYTES_MAX).as_bytes()));
        assert!(!check.is_valid(open.repeat(1 << 20).as_bytes()));
    }
    // Wide is not deep.
    assert!(check.is_valid(("[".to_owned() + &"[],".repeat(5000) + "{}]").as_bytes()));
}

#[test]
fn large_payloads_are_judged_without_the_scratch_buffers() {
    let mut check = JsonCheck::new();
    let at_limit = format!("\"{}\"", "x".repeat(SIMD_BYTES_MAX - 2));
    let past_limit = format!("\"{}\"", "x".repeat(SIMD_BYTES_MAX - 1));
    assert!(check.is_valid(past_limit.as_bytes()));
    assert_eq!(check.scratch.capacity(), 0);
    assert!(check.is_valid(at_limit.as_bytes()));
    assert!(check.scratch.capacity() >= SIMD_BYTES_MAX);
    assert!(!check.is_valid(&past_limit.as_bytes()[..SIMD_BYTES_MAX]));
    let mut big = vec![b' '; 3 << 20];
    big[1 << 20] = b'7';
    assert!(check.is_valid(&big));
    big[2 << 20] = b'x';
    assert!(!check.is_valid(&big));
}

#[test]
fn buffers_are_kept_from_one_payload_to_the_next() {
    let mut check = JsonCheck::new();
    let dense = "[".to_owned() + &"1,".repeat(SIMD_BYTES_MAX / 2 - 2) + "1]";
    assert!(check.is_valid(dense.as_bytes()));
    let kept = (check.scratch.capacity(), check.tape.0.capacity());
    for text in VALID {
        check.is_valid(text.as_bytes());
    }
    for bytes in INVALID {
        check.is_valid(bytes);
    }
    assert_eq!((check.scratch.capacity(), check.tape.0.capacity()), kept);
}

/// Valid JSON of any shape, as text.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| format!("{f:e}")),
        any::<String>().prop_map(|s| Value::String(s).to_string()),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(" , "))),
            prop::collection::vec((any::<String>(), inner), 0..6).prop_map(|members| {
                let members: Vec<_> = members.into_iter().map(|(k, v)| format!("{}:{v}", Value::String(k))).collect();
                format!("{{{}}}", members.join(",\n"))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_serializers_write_is_valid(text in json_text()) {
        prop_assert!(JsonCheck::new().is_valid(text.as_bytes()));
        prop_assert!(reader_takes(&text));
    }

    #[test]
    fn all_judges_agree_on_damaged_json(text in json_text(), at in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0..3) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => bytes.truncate(at),
        }
        let verdict = JsonCheck::new().is_valid(&bytes);
        prop_assert_eq!(verdict, serde_takes(&bytes), "serde_json");
        prop_assert_eq!(verdict, std::str::from_utf8(&bytes).is_ok_and(reader_takes), "reader");
        prop_assert!(verdict || !simd_alone(&bytes), "simd-json takes what must not be taken");
    }

    #[test]
    fn all_judges_agree_on_token_salad(tokens in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\"a\"", "\\u", "d83d", "\\ude00", "0", "1", "-", "+", ".", "e", "E5", " ", "\n", "null", "true", "é",
    ]), 0..12)) {
        let text = tokens.concat();
        let verdict = JsonCheck::new().is_valid(text.as_bytes());
        prop_assert_eq!(verdict, serde_takes(text.as_bytes()), "serde_json");
        prop_assert_eq!(verdict, reader_takes(&text), "reader");
        prop_assert!(verdict || !simd_alone(text.as_bytes()), "simd-json takes what must not be taken");
    }
}
