//! What claims can be wrong in.

use fanwire_token::Refusal;
use serde_json::json;

use super::making::*;
use super::{Row, SECRET, good, row};

pub fn objects(make: &Make) -> Vec<Row> {
    let of = |payload: &str| signed_with(SECRET, header().text(), payload);
    let and = |name: &str, value: &str| signed(&header(), &make.claims().and(name, value));
    let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    vec![
        row("no claims", of(""), Refusal::Claims),
        row("claims of a list", of("[]"), Refusal::Claims),
        row("claims of text", of("\"exp\""), Refusal::Claims),
        row("claims of nothing", of("{}"), Refusal::NoExpiry),
        row("claims cut off", of("{\"exp\":1800000600"), Refusal::Claims),
        row("claims and more", of(&format!("{} x", make.claims().text())), Refusal::Claims),
        row("claims twice", of(&make.claims().text().repeat(2)), Refusal::Claims),
        row("a token as claims", of(&make.headed(&header())), Refusal::Claims),
        row("exp twice", and("exp", "19000000000"), Refusal::Claims),
        row("sub twice", and("sub", "\"root\""), Refusal::Claims),
        row("sub twice, once escaped", and("s\\u0075b", "\"root\""), Refusal::Claims),
        row("grants twice", make.claiming("fanwire", r#"{"publish":["a"],"publish":["**"]}"#), Refusal::Claims),
        row("duplicates far within", make.claiming("x", r#"[{"a":1,"a":1}]"#), Refusal::Claims),
        good("nested a little", make.claiming("x", &nested(100))),
        row("nested deeply", make.claiming("x", &nested(500)), Refusal::Claims),
        row(
            "lists nested deeply",
            make.claiming("x", &format!("{}{}", "[".repeat(2_500), "]".repeat(2_500))),
            Refusal::Claims,
        ),
        row("a lone surrogate", make.claiming("sub", "\"\\ud800\""), Refusal::Claims),
        row("exp past all floats", make.claiming("exp", "1e400"), Refusal::Claims),
        row("jti of a number", make.claiming("jti", "7"), Refusal::Claims),
        row("jti an object", make.claiming("jti", "{}"), Refusal::Claims),
        good("no jti", make.lacking("jti")),
    ]
}

pub fn times(make: &Make) -> Vec<Row> {
    let at = |name: &str, moment: u64| make.claiming(name, &moment.to_string());
    let now = make.now;
    let mut rows = vec![
        row("no exp", make.lacking("exp"), Refusal::NoExpiry),
        good("exp as late as can be", at("exp", u64::MAX)),
        row("exp later", make.claiming("exp", "18446744073709551616"), Refusal::Claims),
        row("exp is now, less the skew", at("exp", now - 5), Refusal::Expired),
        good("exp within the skew", at("exp", now - 4)).now_only(),
        row("exp an hour ago", at("exp", now - 3_600), Refusal::Expired),
        row("exp long ago", at("exp", 1), Refusal::Expired),
        row("exp 0", at("exp", 0), Refusal::Expired),
        good("nbf within the skew", at("nbf", now + 5)),
        row("nbf in the future", at("nbf", now + 6), Refusal::NotYet).now_only(),
        row("nbf in an hour", at("nbf", now + 3_600), Refusal::NotYet),
        row("nbf at the end of time", at("nbf", u64::MAX), Refusal::NotYet),
        good("iat within the skew", at("iat", now + 5)),
        row("iat in the future", at("iat", now + 6), Refusal::NotYet).now_only(),
        row("iat in an hour", at("iat", now + 3_600), Refusal::NotYet),
        row("iat in milliseconds", at("iat", now * 1_000), Refusal::NotYet),
        good("neither nbf nor iat", signed(&header(), &make.claims().without("nbf").without("iat"))),
    ];
    for name in ["exp", "nbf", "iat"] {
        for value in [
            "\"1800000600\"",
            "1800000600.0",
            "1800000600.5",
            "1.8e9",
            "1e3",
            "-1",
            "-0",
            "null",
            "true",
            "[1800000600]",
            "{}",
            "1e308",
        ] {
            rows.push(row(format!("{name} {value}"), make.claiming(name, value), Refusal::Claims));
        }
    }
    rows
}

pub fn parties(make: &Make) -> Vec<Row> {
    let with = |name: &str, value: &str| make.claiming(name, value);
    vec![
        row("no iss", make.lacking("iss"), Refusal::Issuer),
        row("another iss", with("iss", "\"https://evil.example\""), Refusal::Issuer),
        row("iss with a slash more", with("iss", "\"https://id.example/\""), Refusal::Issuer),
        row("iss in capitals", with("iss", "\"HTTPS://ID.EXAMPLE\""), Refusal::Issuer),
        row("iss in a list", with("iss", "[\"https://id.example\"]"), Refusal::Claims),
        row("iss null", with("iss", "null"), Refusal::Claims),
        row("iss of a number", with("iss", "1"), Refusal::Claims),
        row("no aud", make.lacking("aud"), Refusal::Audience),
        row("another aud", with("aud", "\"fanwire2\""), Refusal::Audience),
        row("others in aud", with("aud", "[\"a\",\"b\"]"), Refusal::Audience),
        row("nobody in aud", with("aud", "[]"), Refusal::Audience),
        row("aud empty", with("aud", "\"\""), Refusal::Audience),
        row("aud with a number", with("aud", "[\"fanwire\",1]"), Refusal::Claims),
        row("aud in an object", with("aud", "{\"fanwire\":1}"), Refusal::Claims),
        row("aud null", with("aud", "null"), Refusal::Claims),
        row("aud in a list in a list", with("aud", "[[\"fanwire\"]]"), Refusal::Claims),
        good("aud of several", with("aud", "[\"a\",\"fanwire\"]")),
        row("sub of a number", with("sub", "1"), Refusal::Claims),
        row("sub null", with("sub", "null"), Refusal::Claims),
        row("sub in a list", with("sub", "[\"u1\"]"), Refusal::Claims),
    ]
}

pub fn grants(make: &Make) -> Vec<Row> {
    let with = |grants: &str| make.claiming("fanwire", grants);
    let many = |patterns: usize| format!("{{\"publish\":[{}]}}", vec!["\"a\""; patterns].join(","));
    let of = |pattern: &str| with(&json!({"publish": [pattern]}).to_string());
    let sub = |subject: &str| make.claiming("sub", &json!(subject).to_string());
    let long = "x".repeat(255);
    let mut rows = vec![
        good("nothing granted", with("{}")),
        good("empty lists", with(r#"{"subscribe":[],"publish":[]}"#)),
        good("no grants at all", make.lacking("fanwire")),
        good("as many as may be", with(&many(256))),
        row("one more", with(&many(257)), Refusal::Patterns),
        row("a thousand", with(&many(1_000)), Refusal::Patterns),
        row("a hundred thousand", with(&many(100_000)), Refusal::TooLong),
        good("a long pattern", of(&long)),
        row("a longer one", of(&format!("{long}x")), Refusal::Patterns),
        row("grants null", with("null"), Refusal::Claims),
        row("grants of a list", with("[\"**\"]"), Refusal::Claims),
        row("grants of text", with("\"**\""), Refusal::Claims),
        row("grants of a number", with("1"), Refusal::Claims),
        row("a list of text", with(r#"{"publish":"**"}"#), Refusal::Claims),
        row("a list null", with(r#"{"publish":null}"#), Refusal::Claims),
        row("a list of numbers", with(r#"{"publish":[1]}"#), Refusal::Claims),
        row("a list in a list", with(r#"{"publish":[["a"]]}"#), Refusal::Claims),
        row("one that is none among good ones", with(r#"{"subscribe":["a","b//c"]}"#), Refusal::Patterns),
        row("sub too long", sub(&long), Refusal::Patterns),
        row("no sub", make.lacking("sub"), Refusal::Subject),
        good(
            "a sub that is no level, and no place for it",
            signed(&header(), &make.claims().with("sub", "\"a/*\"").with("fanwire", r#"{"publish":["a"]}"#)),
        ),
        row(
            "the engine's name",
            signed(&header(), &make.claims().with("sub", "\"$sys\"").with("fanwire", r#"{"publish":["{sub}/a"]}"#)),
            Refusal::Subject,
        ),
    ];
    for pattern in ["", "/", "a//b", "a*", "*a", "a/**/b", "a/", "/a", "https://example.com/books/1", "a\0", "a\nb"] {
        rows.push(row(format!("pattern {pattern:?}"), of(pattern), Refusal::Patterns));
    }
    for subject in ["", "*", "**", "a/b", "a/**", "../x", "b*", "{sub}", "$sys", "a$b", "{", "a}"] {
        rows.push(row(format!("sub {subject:?}"), sub(subject), Refusal::Subject));
    }
    rows.push(row("sub with a zero byte", sub("b\0"), Refusal::Patterns));
    rows.push(row("sub with a line feed", sub("b\n"), Refusal::Patterns));
    rows
}
