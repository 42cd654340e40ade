//! Alerts (RFC 8446 section 6): why one side gives the connection up.

/// What we tell a peer, and what it may tell us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert(pub u8);

impl Alert {
    /// No more follows.
    pub const CLOSE_NOTIFY: Self = Self(0);
    /// A record of a kind that is not expected here.
    pub const UNEXPECTED_MESSAGE: Self = Self(10);
    /// A record that was not sealed with the key that is agreed.
    pub const BAD_RECORD_MAC: Self = Self(20);
    /// A record that is too long.
    pub const RECORD_OVERFLOW: Self = Self(22);
    /// Bytes that are no record.
    pub const DECODE_ERROR: Self = Self(50);
    /// It is our fault.
    pub const INTERNAL_ERROR: Self = Self(80);
    /// The peer's user has given up; `close_notify` follows.
    pub const USER_CANCELED: Self = Self(90);

    /// The alert's two bytes: `close_notify` and `user_canceled` are warnings, all others fatal.
    pub(crate) fn bytes(self) -> [u8; 2] {
        let is_warning = matches!(self, Self::CLOSE_NOTIFY | Self::USER_CANCELED);
        [if is_warning { 1 } else { 2 }, self.0]
    }
}
