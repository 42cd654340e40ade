//! Lists and tokens in the values of HTTP headers: RFC 9110 section 5.6. Knows bytes, never which header they stand in.

/// The elements of a comma-separated list, trimmed, without the empty ones (RFC 9110 section 5.6.1).
pub fn tokens(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&b| b == b',').map(|element| element.trim_ascii()).filter(|element| !element.is_empty())
}

/// Whether this is a token of RFC 9110 section 5.6.2.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}
