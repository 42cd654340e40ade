//! What is around the claims: parts, base64, header, algorithm, signature.

use fanwire_token::{Refusal, TOKEN_BYTES_MAX};
use serde_json::json;

use super::making::*;
use super::{Row, SECRET, good, row};

pub fn parts(make: &Make) -> Vec<Row> {
    let [h, p, s] = make.parts();
    let json = json!({"payload": p, "protected": h, "signature": s}).to_string();
    let general = json!({"payload": p, "signatures": [{"protected": h, "signature": s}]}).to_string();
    let longest = |bytes: usize| {
        let padded = |pad: usize| make.claiming("pad", &format!("\"{}\"", "x".repeat(pad)));
        // A character more of claims is four thirds of one more of the token.
        let first = (bytes - padded(0).len()) * 3 / 4 - 8;
        (first..bytes).map(padded).find(|token| token.len() >= bytes).expect("longer with every byte")
    };
    vec![
        row("nothing", String::new(), Refusal::Shape),
        row("one part", h.clone(), Refusal::Shape),
        row("two parts", format!("{h}.{p}"), Refusal::Shape),
        row("four parts", format!("{h}.{p}.{s}.{s}"), Refusal::Shape),
        row("five parts, as an encrypted one", format!("{h}.{p}.{s}.{s}.{s}"), Refusal::Shape),
        row("a dot more", format!("{h}.{p}.{s}."), Refusal::Shape),
        row("dots alone", "..".into(), Refusal::Header),
        row("flattened JSON serialisation", json, Refusal::Shape),
        row("general JSON serialisation", general, Refusal::Shape),
        good("as long as may be", longest(TOKEN_BYTES_MAX - 2)),
        row("too long", longest(TOKEN_BYTES_MAX + 1), Refusal::TooLong),
        row("much too long", format!("{h}.{}.{s}", "A".repeat(1 << 20)), Refusal::TooLong),
        row("two tokens", format!("{h}.{p}.{s},{h}.{p}.{s}"), Refusal::Shape),
        row("a scheme before it", format!("Bearer {h}.{p}.{s}"), Refusal::Shape),
        row("parts changed about", format!("{p}.{h}.{s}"), Refusal::Header),
        row("an empty header", format!(".{p}.{s}"), Refusal::Header),
    ]
}

pub fn encodings(make: &Make) -> Vec<Row> {
    let [h, p, s] = make.parts();
    // With a last character that leaves bits over, and one of these set.
    let stray = |part: &str| {
        let last = part.chars().last().expect("not empty");
        let next = char::from(last as u8 + 1);
        format!("{}{next}", &part[..part.len() - 1])
    };
    // What `-` and `_` are in the other alphabet.
    let odd = make.claiming("pad", "\"~~~???~~~???\"");
    assert!(odd.contains('-') || odd.contains('_'), "nothing to write otherwise");
    let mut rows = vec![
        row("padding", format!("{h}.{p}.{s}="), Refusal::Shape),
        row("padding of the payload", format!("{h}.{p}=.{s}"), Refusal::Shape),
        row("padding of the header", format!("{h}==.{p}.{s}"), Refusal::Shape),
        row("the other alphabet", odd.replace('-', "+").replace('_', "/"), Refusal::Shape),
        row("stray bits of the signature", format!("{h}.{p}.{}", stray(&s)), Refusal::Shape),
        row("a length that none has", format!("{h}.{p}.{s}AA"), Refusal::Shape),
        row("a percent code", format!("{h}.{p}.{}%41", &s[..40]), Refusal::Shape),
        row("a zero byte", format!("{h}.{p}.{s}\0"), Refusal::Shape),
        row("a letter that is none", format!("{h}.{p}.{}é", &s[..40]), Refusal::Shape),
    ];
    for blank in [" ", "\n", "\t", "\r\n"] {
        rows.push(row(format!("{blank:?} before"), format!("{blank}{h}.{p}.{s}"), Refusal::Shape));
        rows.push(row(format!("{blank:?} within"), format!("{h}.{blank}{p}.{s}"), Refusal::Shape));
        rows.push(row(format!("{blank:?} after"), format!("{h}.{p}.{s}{blank}"), Refusal::Shape));
    }
    rows
}

pub fn headers(make: &Make) -> Vec<Row> {
    let with = |name: &str, value: &str| make.headed(&header().with(name, value));
    let raw = |text: &[u8]| signed_with(SECRET, text, make.claims().text());
    let mut rows = vec![
        good("no typ", make.headed(&header().without("typ"))),
        good("typ in lower case", with("typ", "\"jwt\"")),
        good("an access token", with("typ", "\"at+jwt\"")),
        good("typ with all of its name", with("typ", "\"application/at+JWT\"")),
        good("members that nobody knows", with("x5t#S256", "\"abc\"")),
        good("no kid, one key", make.headed(&header().without("kid"))),
        good("cty of something else", with("cty", "\"json\"")),
        row("another typ", with("typ", "\"secevent+jwt\""), Refusal::Header),
        row("typ of an encrypted one", with("typ", "\"JWE\""), Refusal::Header),
        row("typ of a number", with("typ", "1"), Refusal::Header),
        row("a token within", with("cty", "\"JWT\""), Refusal::Extension),
        row("a token within, in lower case", with("cty", "\"jwt\""), Refusal::Extension),
        row("a token within, with all of its name", with("cty", "\"application/jwt\""), Refusal::Extension),
        row("cty of a number", with("cty", "1"), Refusal::Header),
        row("kid of a number", with("kid", "1"), Refusal::Header),
        row("kid null", with("kid", "null"), Refusal::Header),
        row("kid a list", with("kid", "[\"k1\"]"), Refusal::Header),
        row("kid twice", make.headed(&header().and("kid", "\"k1\"")), Refusal::Header),
        row("alg twice", make.headed(&header().and("alg", "\"HS256\"")), Refusal::Header),
        row("alg twice, once none", make.headed(&header().and("alg", "\"none\"")), Refusal::Header),
        row("alg twice, once escaped", make.headed(&header().and("\\u0061lg", "\"none\"")), Refusal::Header),
        row("nested deeply", with("x", &format!("{}{}", "[".repeat(2_000), "]".repeat(2_000))), Refusal::Header),
        row("a number past all", with("x", "1e400"), Refusal::Header),
        row("a byte order mark", raw(format!("\u{feff}{}", header().text()).as_bytes()), Refusal::Header),
        row("two objects", raw(header().text().repeat(2).as_bytes()), Refusal::Header),
        row("no object", raw(b"[]"), Refusal::Header),
        row("a text", raw(b"\"HS256\""), Refusal::Header),
        row("no JSON", raw(b"alg=HS256"), Refusal::Header),
        row("no UTF-8", raw(b"{\"alg\":\"\xff\"}"), Refusal::Header),
    ];
    for (name, value) in [
        ("crit", "[\"exp\"]"),
        ("crit", "[]"),
        ("crit", "[\"http://example.com/x\"]"),
        ("b64", "false"),
        ("b64", "true"),
        ("zip", "\"DEF\""),
        ("enc", "\"A256GCM\""),
        ("epk", "{}"),
        ("jwk", "{\"kty\":\"oct\",\"k\":\"AA\"}"),
        ("jku", "\"https://evil.example/keys\""),
        ("x5u", "\"https://evil.example/cert\""),
        ("x5c", "[\"AA\"]"),
        ("jku", "null"),
    ] {
        rows.push(row(format!("{name} {value}"), with(name, value), Refusal::Extension));
    }
    for kid in [
        "k2",
        "",
        "K1",
        "k1 ",
        "k1\\u0000",
        "../../../../dev/null",
        "/etc/passwd",
        "x' UNION SELECT 'hush';--",
        "https://evil.example/k1",
        "k1|id",
    ] {
        rows.push(row(format!("kid {kid}"), with("kid", &format!("\"{kid}\"")), Refusal::Key));
    }
    rows
}

pub fn algorithms(make: &Make) -> Vec<Row> {
    let [_, p, s] = make.parts();
    let with = |value: &str| make.headed(&header().with("alg", value));
    let unsigned = |value: &str| format!("{}.{p}.", base64(header().with("alg", value).text()));
    let mut rows = Vec::new();
    for none in ["none", "None", "NONE", "nOnE", "none ", ""] {
        let value = format!("\"{none}\"");
        rows.push(row(format!("alg {none:?}, unsigned"), unsigned(&value), Refusal::Algorithm));
        rows.push(row(format!("alg {none:?}, signed"), with(&value), Refusal::Algorithm));
    }
    for other in [
        "HS384", "HS512", "RS256", "RS384", "PS256", "ES256", "ES384", "ES512", "EdDSA", "hs256", "HS256 ", "SHA256",
        "dir",
    ] {
        rows.push(row(format!("alg {other}"), with(&format!("\"{other}\"")), Refusal::Algorithm));
    }
    for value in ["[\"HS256\"]", "256", "null", "true", "{\"HS256\":1}"] {
        rows.push(row(format!("alg {value}"), with(value), Refusal::Header));
    }
    rows.push(row("no alg", make.headed(&header().without("alg")), Refusal::Header));
    let unsigned = format!("{}.{p}.{s}", base64(header().with("alg", "\"none\"").text()));
    rows.push(row("alg none with the right one's signature", unsigned, Refusal::Algorithm));
    rows
}

pub fn signatures(make: &Make) -> Vec<Row> {
    let [h, p, s] = make.parts();
    let other = base64(make.claims().with("sub", "\"root\"").text());
    let longer = base64(make.claims().with("exp", &(make.now + 1_000_000).to_string()).text());
    let tag = |bytes: &[u8]| format!("{h}.{p}.{}", base64(bytes));
    let by = |secret: &[u8]| signed_with(secret, header().text(), make.claims().text());
    vec![
        row("no signature", format!("{h}.{p}."), Refusal::Signature),
        row("half of it", format!("{h}.{p}.{}", &s[..21]), Refusal::Shape),
        row("half of it, in whole bytes", format!("{h}.{p}.{}", &s[..20]), Refusal::Signature),
        row("more of it", format!("{h}.{p}.{}AAAA", &s[..40]), Refusal::Signature),
        row("twice", format!("{h}.{p}.{}", base64([unbase64(&s), unbase64(&s)].concat())), Refusal::Signature),
        row("zeros", tag(&[0; 32]), Refusal::Signature),
        row("one zero", tag(&[0]), Refusal::Signature),
        row("another's payload", format!("{h}.{other}.{s}"), Refusal::Signature),
        row("a later end", format!("{h}.{longer}.{s}"), Refusal::Signature),
        row("another's secret", by(b"another secret of thirty-two bytes!"), Refusal::Signature),
        row("no secret", by(b""), Refusal::Signature),
    ]
}
