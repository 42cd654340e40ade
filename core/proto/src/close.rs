//! Close codes: their names, and which of them may travel in a close frame.
//!
//! Knows RFC 6455 section 7.4 and the IANA registry. Must never know why the engine closes: that is the shard's
//! business.

use std::fmt;

/// A WebSocket close code (RFC 6455 section 7.4). Any number fits; [`CloseCode::is_legal`] says which may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server goes down, or the browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the framing rules.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of data that this endpoint cannot accept.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1005: the close frame carried no code. Never on the wire.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: the connection ended without a close frame. Never on the wire.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: a payload that contradicts its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: the peer broke a rule of ours.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message beyond the maximum.
    pub const TOO_BIG: Self = Self(1009);
    /// 1010: the client needs an extension that was not agreed.
    pub const EXTENSION_NEEDED: Self = Self(1010);
    /// 1011: a fault of the server.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts; connect again.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: overloaded, or the peer too slow; connect again later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got an invalid answer from behind.
    pub const BAD_GATEWAY: Self = Self(1014);
    /// 1015: the TLS handshake failed. Never on the wire.
    pub const TLS_FAILED: Self = Self(1015);
    /// 4401, of our own: the permission that a client came in with has ended.
    pub const EXPIRED: Self = Self(4401);

    /// The code with this number, legal or not.
    pub const fn new(code: u16) -> Self {
        Self(code)
    }

    /// The number.
    pub const fn to_u16(self) -> u16 {
        self.0
    }

    /// Whether the code may stand in a close frame: 1000–1003, 1007–1014 (IANA) and 3000–4999 (RFC 6455 section 7.4.2).
    pub const fn is_legal(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// A short name for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self.0 {
            1000 => "normal",
            1001 => "going_away",
            1002 => "protocol_error",
            1003 => "unsupported",
            1005 => "no_status",
            1006 => "abnormal",
            1007 => "invalid_payload",
            1008 => "policy",
            1009 => "too_big",
            1010 => "extension_needed",
            1011 => "internal_error",
            1012 => "service_restart",
            1013 => "try_again_later",
            1014 => "bad_gateway",
            1015 => "tls_failed",
            3000..=3999 => "registered",
            4000..=4999 => "private",
            _ => "reserved",
        }
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> u16 {
        code.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.name())
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A peer's fault: the connection is to be closed with this code and reason, and read no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What the close frame says.
    pub code: CloseCode,
    /// One line for the close frame and the log, at most 123 bytes.
    pub reason: &'static str,
}

impl Violation {
    /// A violation of the framing rules: 1002.
    pub(crate) const fn protocol(reason: &'static str) -> Self {
        Self { code: CloseCode::PROTOCOL_ERROR, reason }
    }

    /// Text that is not UTF-8: 1007.
    pub(crate) const fn payload(reason: &'static str) -> Self {
        Self { code: CloseCode::INVALID_PAYLOAD, reason }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.reason)
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_codes_are_those_of_the_rfc_and_the_registry() {
        for code in 0..=u16::MAX {
            let legal = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014].contains(&code)
                || (3000..5000).contains(&code);
            assert_eq!(CloseCode::new(code).is_legal(), legal, "{code}");
        }
    }

    #[test]
    fn every_code_of_the_registry_has_its_number_and_its_name() {
        let named = [
            (CloseCode::NORMAL, 1000, "normal"),
            (CloseCode::GOING_AWAY, 1001, "going_away"),
            (CloseCode::PROTOCOL_ERROR, 1002, "protocol_error"),
            (CloseCode::UNSUPPORTED, 1003, "unsupported"),
            (CloseCode::NO_STATUS, 1005, "no_status"),
            (CloseCode::ABNORMAL, 1006, "abnormal"),
            (CloseCode::INVALID_PAYLOAD, 1007, "invalid_payload"),
            (CloseCode::POLICY, 1008, "policy"),
            (CloseCode::TOO_BIG, 1009, "too_big"),
            (CloseCode::EXTENSION_NEEDED, 1010, "extension_needed"),
            (CloseCode::INTERNAL_ERROR, 1011, "internal_error"),
            (CloseCode::SERVICE_RESTART, 1012, "service_restart"),
            (CloseCode::TRY_AGAIN_LATER, 1013, "try_again_later"),
            (CloseCode::BAD_GATEWAY, 1014, "bad_gateway"),
            (CloseCode::TLS_FAILED, 1015, "tls_failed"),
        ];
        for (code, number, name) in named {
            assert_eq!((code, code.to_u16(), code.name()), (CloseCode::new(number), number, name));
        }
        for (number, name) in [
            (0, "reserved"),
            (999, "reserved"),
            (1004, "reserved"),
            (1016, "reserved"),
            (2999, "reserved"),
            (3000, "registered"),
            (3999, "registered"),
            (4000, "private"),
            (4999, "private"),
            (5000, "reserved"),
        ] {
            assert_eq!(CloseCode::new(number).name(), name, "{number}");
        }
    }

    #[test]
    fn codes_print_with_number_and_name() {
        assert_eq!(CloseCode::TOO_BIG.to_string(), "1009 (too_big)");
        assert_eq!(CloseCode::new(4401).to_string(), "4401 (private)");
        assert_eq!(u16::from(CloseCode::GOING_AWAY), 1001);
    }
}
