//! Job: where a request carries its token: the header `Authorization`, the query or the list of subprotocols.
//! Knows: RFC 6750, the target's query, how browsers can pass something on. Must never know: what a token says.

use std::borrow::Cow;

use fanwire::proto::target::values;

/// Headers that have to be told of a request.
pub const HEADERS: [&str; 2] = ["authorization", "sec-websocket-protocol"];
/// The parameter of the query.
const PARAMETER: &str = "token";
/// What an offered subprotocol begins with that is a token.
const SUBPROTOCOL: &str = "fanwire.token.";

/// What a request carries.
#[derive(Debug, PartialEq, Eq)]
pub enum Carried<'a> {
    /// No token.
    Nothing,
    /// One.
    Token(Cow<'a, str>),
    /// More than one, or something that is none.
    Unclear,
}

/// Finds the token of a request.
pub fn find<'a>(target: &'a str, headers: &'a [(String, Vec<u8>)]) -> Carried<'a> {
    let lines = |name: &'static str| headers.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_slice());
    let from_header = lines(HEADERS[0]).map(bearer);
    let offered = lines(HEADERS[1]).flat_map(|line| line.split(|b| *b == b','));
    let from_offer = offered.filter_map(|name| name.trim_ascii().strip_prefix(SUBPROTOCOL.as_bytes())).map(text);
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let from_query = values(query, PARAMETER).map(Result::ok);
    let mut found = from_header.chain(from_offer).chain(from_query);
    match (found.next(), found.next()) {
        (None, _) => Carried::Nothing,
        (Some(Some(token)), None) if !token.is_empty() => Carried::Token(token),
        _ => Carried::Unclear,
    }
}

fn text(bytes: &[u8]) -> Option<Cow<'_, str>> {
    std::str::from_utf8(bytes).ok().map(Cow::Borrowed)
}

/// `Bearer` and the token behind it (RFC 6750 section 2.1; the scheme in any case, RFC 9110 section 11.1).
fn bearer(value: &[u8]) -> Option<Cow<'_, str>> {
    let value = std::str::from_utf8(value).ok()?.trim();
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Cow::Borrowed(token.trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(target: &str, lines: &[(&str, &str)]) -> Option<String> {
        let headers: Vec<_> = lines.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        match find(target, &headers) {
            Carried::Nothing => None,
            Carried::Token(token) => Some(token.into_owned()),
            Carried::Unclear => Some("unclear".into()),
        }
    }

    #[test]
    fn a_token_is_found_in_each_of_its_places() {
        let (auth, offer) = ("authorization", "sec-websocket-protocol");
        for (target, lines, expected) in [
            ("/", &[][..], None),
            ("/?topic=token", &[], None),
            ("/?tokens=a&xtoken=b", &[], None),
            ("/", &[(offer, "fanwire.json.v1")], None),
            ("/", &[(auth, "Bearer a.b.c")], Some("a.b.c")),
            ("/", &[(auth, "bearer   a.b.c")], Some("a.b.c")),
            ("/?topic=a&token=a.b.c", &[], Some("a.b.c")),
            ("/?token=a%2Eb.c", &[], Some("a.b.c")),
            ("/", &[(offer, "fanwire.json.v1, fanwire.token.a.b.c")], Some("a.b.c")),
            ("/", &[(offer, "fanwire.json.v1"), (offer, "fanwire.token.a.b.c")], Some("a.b.c")),
        ] {
            assert_eq!(found(target, lines).as_deref(), expected, "{target} {lines:?}");
        }
    }

    #[test]
    fn two_tokens_and_what_is_none_are_refused() {
        let (auth, offer) = ("authorization", "sec-websocket-protocol");
        for (target, lines) in [
            ("/?token=a", &[(auth, "Bearer a")][..]),
            ("/?token=a&token=a", &[]),
            ("/?token=a", &[(offer, "fanwire.token.a")]),
            ("/", &[(auth, "Bearer a"), (auth, "Bearer a")]),
            ("/", &[(offer, "fanwire.token.a,fanwire.token.a")]),
            ("/", &[(auth, "Basic dTpw")]),
            ("/", &[(auth, "Bearer")]),
            ("/", &[(auth, "")]),
            ("/?token=", &[]),
            ("/?token", &[]),
            ("/?token=%", &[]),
            ("/?token=%+1", &[]),
            ("/?token=%ff", &[]),
            ("/", &[(offer, "fanwire.token.")]),
        ] {
            assert_eq!(found(target, lines).as_deref(), Some("unclear"), "{target} {lines:?}");
        }
    }
}
