//! Why a token is refused: for the operator, never for who brought it.

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is longer than [`crate::TOKEN_BYTES_MAX`].
    #[error("the token is too long")]
    TooLong,
    /// It is not three parts in base64url (RFC 7515 section 3.1).
    #[error("the token is not three parts in base64url")]
    Shape,
    /// Its header is no JSON object, or has a member of the wrong type.
    #[error("the token's header is malformed")]
    Header,
    /// Its header asks for something that is not done here: `crit`, `b64`, `zip`, `enc`, a token within (`cty`), or a key that it brings
    /// itself.
    #[error("the token's header asks for what is not done here")]
    Extension,
    /// Its algorithm is not one of [`crate::Algorithm`], or not that of its key (RFC 8725 section 3.1).
    #[error("the token's algorithm is not that of a key")]
    Algorithm,
    /// No key has its `kid`, or it names none and more than one would do.
    #[error("no key for this token")]
    Key,
    /// The signature is not that of the key.
    #[error("the signature is wrong")]
    Signature,
    /// Its claims are no JSON object, or one has the wrong type.
    #[error("the claims are malformed")]
    Claims,
    /// It has no `exp`.
    #[error("the token never expires")]
    NoExpiry,
    /// `exp` is over (RFC 7519 section 4.1.4).
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` is in the future.
    #[error("the token is not valid yet")]
    NotYet,
    /// `iss` is another one.
    #[error("the token is of another issuer")]
    Issuer,
    /// `aud` is not [`crate::Rules::audience`], or there is one and nobody is configured.
    #[error("the token is for another audience")]
    Audience,
    /// A pattern needs `sub`, which is missing or cannot stand in a topic's name.
    #[error("the subject cannot stand in a pattern")]
    Subject,
    /// A pattern of its grants is malformed, or there are too many.
    #[error("the granted patterns are malformed")]
    Patterns,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 15] = [
        Refusal::TooLong,
        Refusal::Shape,
        Refusal::Header,
        Refusal::Extension,
        Refusal::Algorithm,
        Refusal::Key,
        Refusal::Signature,
        Refusal::Claims,
        Refusal::NoExpiry,
        Refusal::Expired,
        Refusal::NotYet,
        Refusal::Issuer,
        Refusal::Audience,
        Refusal::Subject,
        Refusal::Patterns,
    ];

    /// One word, for a counter.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::TooLong => "too_long",
            Refusal::Shape => "shape",
            Refusal::Header => "header",
            Refusal::Extension => "extension",
            Refusal::Algorithm => "algorithm",
            Refusal::Key => "key",
            Refusal::Signature => "signature",
            Refusal::Claims => "claims",
            Refusal::NoExpiry => "no_expiry",
            Refusal::Expired => "expired",
            Refusal::NotYet => "not_yet",
            Refusal::Issuer => "issuer",
            Refusal::Audience => "audience",
            Refusal::Subject => "subject",
            Refusal::Patterns => "patterns",
        }
    }
}
