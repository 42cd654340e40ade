//! Job: what stands in a certificate, for people and for one that is trusted by itself.
//! Knows: X.509's names and dates. Must never know: connections, whom anybody trusts.

use std::time::Duration;

use rustls::CertificateError;
use rustls::pki_types::UnixTime;
use x509_cert::Certificate;
use x509_cert::der::{DateTime, Decode};

/// Longest name that is shown of a certificate.
const NAME_CHARS_MAX: usize = 200;

/// Who is said to have issued a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// The one whom it is of.
    Itself,
    /// Somebody by this name.
    Named(String),
    /// It cannot be read.
    Unknown,
}

/// Who is said to have issued this one.
pub fn issuer(der: &[u8]) -> Issuer {
    let Ok(certificate) = Certificate::from_der(der) else { return Issuer::Unknown };
    let told = certificate.tbs_certificate();
    match told.issuer() == told.subject() {
        true => Issuer::Itself,
        false => Issuer::Named(told.issuer().to_string().chars().take(NAME_CHARS_MAX).collect()),
    }
}

/// Whether the dates in it are right at `now`.
///
/// # Errors
/// Where they are not, or cannot be read.
pub fn check_dates(der: &[u8], now: UnixTime) -> Result<(), CertificateError> {
    let certificate = Certificate::from_der(der).map_err(|_| CertificateError::BadEncoding)?;
    let validity = certificate.tbs_certificate().validity();
    let (first, last) = (validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration());
    if now.as_secs() < first.as_secs() {
        return Err(CertificateError::NotValidYetContext { time: now, not_before: UnixTime::since_unix_epoch(first) });
    }
    if now.as_secs() > last.as_secs() {
        return Err(CertificateError::ExpiredContext { time: now, not_after: UnixTime::since_unix_epoch(last) });
    }
    Ok(())
}

/// A moment as RFC 3339 writes it.
pub fn moment(time: UnixTime) -> String {
    let since = Duration::from_secs(time.as_secs());
    DateTime::from_unix_duration(since).map_or_else(|_| format!("{} s after 1970", since.as_secs()), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_that_people_read() {
        let shown = |s| moment(UnixTime::since_unix_epoch(Duration::from_secs(s)));
        assert_eq!(shown(1_796_000_000), "2026-11-30T00:53:20Z");
        assert_eq!(shown(u64::MAX), format!("{} s after 1970", u64::MAX));
    }

    #[test]
    fn what_is_no_certificate_has_no_issuer_and_no_dates() {
        assert_eq!(issuer(b"no certificate"), Issuer::Unknown);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1));
        assert_eq!(check_dates(b"", now), Err(CertificateError::BadEncoding));
    }
}
