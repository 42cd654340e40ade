//! Negotiation of permessage-deflate (RFC 7692) for the server's side.
//!
//! Knows the grammar of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1), the extension's four parameters (RFC 7692
//! section 7.1) and our policy. Never compresses anything.
//!
//! The policy: compressed frames are shared by all subscribers, so the server never uses context takeover; inflaters are
//! shared by all connections of a shard, so neither may the client, which RFC 7692 section 7.1.1.2 lets a server demand
//! unasked. A window of 9 to 15 bits is accepted for what the server sends; 8 is declined, because zlib cannot make it. What the
//! client sends may use any window, because inflating with the largest one understands all. The first acceptable
//! offer is taken, none is no error.

use arrayvec::ArrayString;
use std::fmt;
use std::fmt::Write as _;
use thiserror::Error;

/// The extension's registered name.
pub const EXTENSION: &str = "permessage-deflate";
/// Window bits when nothing is said.
pub const WINDOW_BITS_MAX: u8 = 15;
/// Smallest window that the server agrees to send with.
pub const WINDOW_BITS_MIN: u8 = 9;

/// Longest response, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 101;

/// The header violates its grammar (RFC 6455 section 9.1): the handshake is to be refused with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed Sec-WebSocket-Extensions at byte {at}")]
pub struct MalformedExtensions {
    /// Byte offset in the header's value.
    pub at: usize,
}

/// What was agreed. Its `Display` is its [`Agreement::response`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// No match in what the server sends may reach back further than 2 to this power: 9 to 15.
    pub server_window_bits: u8,
    /// Whether the window was asked for, hence is repeated in the response (section 7.1.2.1).
    server_window_asked: bool,
    /// The client's own promise about its window, 8 to 15: a hint, since it is not repeated (section 7.1.2.2).
    pub client_window_bits: u8,
}

impl Agreement {
    /// The value of the response's `Sec-WebSocket-Extensions`. No allocation.
    pub fn response(&self) -> ArrayString<RESPONSE_BYTES_MAX> {
        let mut response = ArrayString::new();
        // Cannot fail: the longest response has exactly `RESPONSE_BYTES_MAX` bytes.
        let _ = write!(response, "{self}");
        response
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{EXTENSION}; server_no_context_takeover; client_no_context_takeover")?;
        if self.server_window_asked {
            write!(f, "; server_max_window_bits={}", self.server_window_bits)?;
        }
        Ok(())
    }
}

/// Chooses among the offers in the values of all `Sec-WebSocket-Extensions` headers of a request, in their order.
///
/// O(length), no allocation. `None`: no offer of permessage-deflate can be accepted, and the connection goes on without.
///
/// # Errors
/// [`MalformedExtensions`] if a value violates the grammar, wherever it does.
pub fn negotiate<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Agreement>, MalformedExtensions> {
    let mut chosen = None;
    for value in values {
        let mut list = List { bytes: value, at: 0 };
        while let Some(agreement) = list.next_extension()? {
            chosen = chosen.or(agreement);
        }
    }
    Ok(chosen)
}

/// One offer while its parameters are read. `None` in its place: declined.
#[derive(Clone, Copy, Default)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<u8>,
}

impl Offer {
    /// The offer with one parameter more; `None` if that makes it unacceptable (section 7.1): an unknown or repeated
    /// parameter, a value where none may be, none where one must be, or a wrong one.
    fn with(mut self, name: &[u8], value: Option<Value<'_>>) -> Option<Self> {
        match name {
            b"server_no_context_takeover" => set_flag(&mut self.server_no_context_takeover, value)?,
            b"client_no_context_takeover" => set_flag(&mut self.client_no_context_takeover, value)?,
            b"server_max_window_bits" => set_bits(&mut self.server_max_window_bits, value?.window_bits()?)?,
            b"client_max_window_bits" => {
                let bits = value.map_or(Some(WINDOW_BITS_MAX), |v| v.window_bits())?;
                set_bits(&mut self.client_max_window_bits, bits)?;
            }
            _ => return None,
        }
        Some(self)
    }

    fn accept(self) -> Option<Agreement> {
        let server_window_bits = self.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX);
        (server_window_bits >= WINDOW_BITS_MIN).then_some(Agreement {
            server_window_bits,
            server_window_asked: self.server_max_window_bits.is_some(),
            client_window_bits: self.client_max_window_bits.unwrap_or(WINDOW_BITS_MAX),
        })
    }
}

fn set_flag(flag: &mut bool, value: Option<Value<'_>>) -> Option<()> {
    (value.is_none() && !std::mem::replace(flag, true)).then_some(())
}

fn set_bits(place: &mut Option<u8>, bits: u8) -> Option<()> {
    place.replace(bits).is_none().then_some(())
}

/// A parameter's value as it is written, without the quotes.
#[derive(Clone, Copy)]
struct Value<'a>(&'a [u8]);

impl Value<'_> {
    /// A window size: 8 to 15 in decimal, without leading zeros. Backslashes of a quoted value do not count.
    fn window_bits(self) -> Option<u8> {
        let mut digits = self.0.iter().filter(|b| **b != b'\\');
        match (digits.next()?, digits.next(), digits.next()) {
            (b'8', None, None) => Some(8),
            (b'9', None, None) => Some(9),
            (b'1', Some(unit @ b'0'..=b'5'), None) => Some(10 + unit - b'0'),
            _ => None,
        }
    }
}

/// One header value being read:
/// `1#(token *(";" token ["=" (token / quoted-string)]))`, with optional white space between all parts.
struct List<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> List<'a> {
    /// The next extension of the list: `Some(None)` if it is another one or declined, `None` at the end.
    fn next_extension(&mut self) -> Result<Option<Option<Agreement>>, MalformedExtensions> {
        // Empty elements count for nothing (RFC 9110 section 5.6.1.2).
        while self.next_byte() == Some(b',') {
            self.at += 1;
        }
        if self.next_byte().is_none() {
            return Ok(None);
        }
        let name = self.token()?;
        let mut offer = (name == EXTENSION.as_bytes()).then(Offer::default);
        while self.next_byte() == Some(b';') {
            self.at += 1;
            let (parameter, value) = self.parameter()?;
            offer = offer.and_then(|offer| offer.with(parameter, value));
        }
        match self.next_byte() {
            None | Some(b',') => Ok(Some(offer.and_then(Offer::accept))),
            Some(_) => Err(self.malformed()),
        }
    }

    fn parameter(&mut self) -> Result<(&'a [u8], Option<Value<'a>>), MalformedExtensions> {
        self.next_byte();
        let name = self.token()?;
        if self.next_byte() != Some(b'=') {
            return Ok((name, None));
        }
        self.at += 1;
        let value = if self.next_byte() == Some(b'"') { self.quoted()? } else { self.token()? };
        Ok((name, Some(Value(value))))
    }

    /// One or more `tchar` (RFC 9110 section 5.6.2).
    fn token(&mut self) -> Result<&'a [u8], MalformedExtensions> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().take_while(|b| is_token_byte(**b)).count();
        if length == 0 {
            return Err(self.malformed());
        }
        self.at += length;
        Ok(&rest[..length])
    }

    /// A quoted string whose text must be a token (RFC 6455 section 9.1).
    fn quoted(&mut self) -> Result<&'a [u8], MalformedExtensions> {
        self.at += 1;
        let start = self.at;
        let mut characters = 0;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') if characters > 0 => break,
                Some(b'\\') => self.at += 1,
                _ => {}
            }
            match self.bytes.get(self.at) {
                Some(byte) if is_token_byte(*byte) => self.at += 1,
                _ => return Err(self.malformed()),
            }
            characters += 1;
        }
        let text = &self.bytes[start..self.at];
        self.at += 1;
        Ok(text)
    }

    /// The next byte that is not white space, not taken.
    fn next_byte(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn malformed(&self) -> MalformedExtensions {
        MalformedExtensions { at: self.at }
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
