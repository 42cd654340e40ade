//! Job: text without what would let its reader in: tokens, passwords, keys.
//! Knows: how these look. Must never know: where the text comes from.

use std::sync::LazyLock;

use regex_lite::Regex;

/// What is looked for, and what stands there instead.
static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let rules = [
        // A private key in PEM; one without an end goes to the end.
        (r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", "(hidden)"),
        // A JSON Web Token.
        (r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", "(hidden)"),
        (r"(?i)\b(bearer|basic)\s+[^\s(][^\s\x22',;]*", "$1 (hidden)"),
        // Who has a password in a URL.
        (r"://[^/\s\x22'@]+@", "://(hidden)@"),
        // A value that its name says to be a secret.
        (
            r"(?i)((?:token|passw(?:or)?d|secret|authorization|cookie|api_?key)\\?\x22?\s*[=:]\s*\\?\x22?)[^\s\x22&,;})(]+",
            "$1(hidden)",
        ),
    ];
    // These are right: a test takes each.
    rules.into_iter().filter_map(|(rule, instead)| Some((Regex::new(rule).ok()?, instead))).collect()
});

/// The same text without secrets.
pub fn redacted(text: &str) -> String {
    RULES.iter().fold(text.to_owned(), |text, (rule, instead)| rule.replace_all(&text, *instead).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        assert_eq!(RULES.len(), 5);
        for (text, expected) in [
            ("GET /?token=abc.def&x=1 HTTP/1.1", "GET /?token=(hidden)&x=1 HTTP/1.1"),
            ("Authorization: Bearer abc", "Authorization: (hidden) (hidden)"),
            ("a bearer abcdef comes", "a bearer (hidden) comes"),
            ("nats://me:abc@host/x", "nats://(hidden)@host/x"),
            ("password = \"abc\"", "password = \"(hidden)\""),
            ("{\"token\":\"abc\",\"a\":1}", "{\"token\":\"(hidden)\",\"a\":1}"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln is one", "(hidden) is one"),
            ("a -----BEGIN EC PRIVATE KEY-----\nMII\n-----END EC PRIVATE KEY----- b", "a (hidden) b"),
            ("-----BEGIN PRIVATE KEY-----\nMII", "(hidden)"),
        ] {
            assert_eq!(redacted(text), expected);
        }
        // In a JSON object that is a text itself.
        assert!(!redacted(r#""{\"secret\":\"abc\"}""#).contains("abc"));
    }

    #[test]
    fn what_is_none_stays() {
        for text in [
            "tokens: /etc/fanwire/keys: 1 key (HS256)",
            "keys_file = \"/etc/fanwire/keys\"  # fanwire.toml:2:13",
            "admin.token_file = /etc/tokens",
            "listening on ws://127.0.0.1:9001",
            "-----BEGIN CERTIFICATE-----",
            "fanwire_refusals_total{limit=\"subject\"} 3",
            "a basic (hidden) thing",
        ] {
            assert_eq!(redacted(text), text);
        }
    }
}
