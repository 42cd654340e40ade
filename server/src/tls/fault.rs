//! Job: what went wrong with TLS, in words that say what to do, and how the process then ends.
//! Knows: rustls's errors. Must never know: sockets.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::certificate::moment;
use crate::exit::{Exit, Failure};
use crate::plain;
use crate::url::Url;

/// Names shown of a certificate that is of others.
const NAMES_SHOWN: usize = 5;

/// There is no TLS at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTls {
    /// It answers with something else.
    Other,
    /// It ends the connection.
    Ended,
}

impl fmt::Display for NoTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoTls::Other => "it does not speak TLS: write ws:// for a connection without",
            NoTls::Ended => {
                "the server ended the connection in the middle of the TLS handshake (a port without TLS does so, too)"
            }
        })
    }
}

impl std::error::Error for NoTls {}

/// How the process ends for this error, if it is one of TLS.
pub fn failure(url: &Url, error: &io::Error) -> Option<Failure> {
    let inner = error.get_ref()?;
    let (exit, what) = match (inner.downcast_ref::<NoTls>(), inner.downcast_ref::<Error>()) {
        (Some(NoTls::Other), _) => (Exit::Protocol, NoTls::Other.to_string()),
        (Some(NoTls::Ended), _) => (Exit::Unavailable, NoTls::Ended.to_string()),
        (None, Some(error)) => words(error),
        (None, None) => return None,
    };
    Some(Failure::message(exit, format!("cannot connect to {url}: {}", plain::text(&what))))
}

/// Bytes of a TLS record where HTTP was awaited: the port speaks TLS.
pub fn is_record(bytes: &[u8]) -> bool {
    matches!(bytes, [0x14..=0x17, 0x03, ..] | [0x14..=0x17])
}

fn words(error: &Error) -> (Exit, String) {
    match error {
        Error::InvalidCertificate(error) => (Exit::Protocol, of_certificate(error)),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::PeerIncompatible(_) => (Exit::Protocol, format!("it speaks no TLS that is safe: {error}")),
        other => (Exit::Protocol, format!("the TLS handshake failed: {other}")),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::NotValidForNameContext { expected, presented } => {
            let wanted = expected.to_str();
            match names(presented) {
                None => format!("its certificate names no host (subjectAltName), so not {wanted}"),
                Some(names) => format!("its certificate is for {names}, not for {wanted}"),
            }
        }
        CertificateError::ExpiredContext { time, not_after } => {
            format!("its certificate expired at {} (now it is {} here)", moment(*not_after), moment(*time))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("its certificate holds from {} on (now it is {} here)", moment(*not_before), moment(*time))
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<super::verifier::UnknownIssuer>() {
            Some(unknown) => format!("{unknown}: --ca FILE names others"),
            None => format!("its certificate is wrong: {other}"),
        },
        CertificateError::Revoked => "its certificate is revoked".into(),
        other => format!("its certificate is wrong: {other}"),
    }
}

/// What rustls calls `DnsName("a")` and `IpAddress(::1)`.
fn names(presented: &[String]) -> Option<String> {
    let name = |text: &String| {
        let name = text.strip_prefix("DnsName(").or_else(|| text.strip_prefix("IpAddress("))?.strip_suffix(')')?;
        Some(name.trim_matches('"').to_owned())
    };
    let mut names: Vec<String> = presented.iter().filter_map(name).collect();
    let left = names.len().saturating_sub(NAMES_SHOWN);
    names.truncate(NAMES_SHOWN);
    if left > 0 {
        names.push(format!("{left} more"));
    }
    let last = names.pop()?;
    Some(if names.is_empty() { last } else { format!("{} and {last}", names.join(", ")) })
}

fn of_alert(alert: AlertDescription) -> (Exit, String) {
    use AlertDescription as A;
    let refused = "the server does not take the client certificate";
    match alert {
        A::CertificateRequired => {
            let hint = "--client-cert FILE --client-key FILE";
            (Exit::Permission, format!("the server wants a client certificate: {hint}"))
        }
        A::BadCertificate | A::UnsupportedCertificate | A::CertificateRevoked | A::CertificateExpired => {
            (Exit::Permission, format!("{refused}: {alert:?}"))
        }
        A::CertificateUnknown | A::UnknownCA | A::AccessDenied | A::DecryptError => {
            (Exit::Permission, format!("{refused}: {alert:?}"))
        }
        A::UnrecognisedName => (Exit::Protocol, "the server has no certificate for this name".into()),
        A::ProtocolVersion => (Exit::Protocol, "the server speaks neither TLS 1.3 nor TLS 1.2".into()),
        A::NoApplicationProtocol => (Exit::Protocol, "the server does not speak HTTP/1.1 behind TLS".into()),
        A::InternalError => (Exit::Unavailable, "the server has failed in the TLS handshake".into()),
        other => (Exit::Protocol, format!("the server refused the TLS handshake: {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    fn shown(error: Error) -> (i32, String) {
        let url: Url = "wss://rover.example:9443".parse().unwrap();
        let failure = failure(&url, &io::Error::new(io::ErrorKind::InvalidData, error)).unwrap();
        (failure.code, failure.error.to_string())
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn a_wrong_name_is_told_with_those_that_there_are() {
        let wrong_name = |presented: &[&str]| {
            let presented = presented.iter().map(|name| (*name).to_owned()).collect();
            let expected = ServerName::try_from("rover.example").unwrap();
            shown(CertificateError::NotValidForNameContext { expected, presented }.into())
        };
        let begin = "cannot connect to wss://rover.example:9443: its certificate";
        let told = |end: &str| (76, format!("{begin} {end}"));
        assert_eq!(wrong_name(&[]), told("names no host (subjectAltName), so not rover.example"));
        assert_eq!(wrong_name(&[r#"DnsName("a")"#]), told("is for a, not for rover.example"));
        let two = [r#"DnsName("*.a")"#, "Unsupported(0x81)", "IpAddress(::1)"];
        assert_eq!(wrong_name(&two), told("is for *.a and ::1, not for rover.example"));
        let many = [r#"DnsName("a")"#; 7];
        assert_eq!(wrong_name(&many), told("is for a, a, a, a, a and 2 more, not for rover.example"));
        let hostile = [r#"DnsName("a\u{1b}[2J")"#.replace(r"\u{1b}", "\u{1b}")];
        assert!(!wrong_name(&[&hostile[0]]).1.contains('\u{1b}'));
    }

    #[test]
    fn dates_and_alerts_are_told() {
        let expired = CertificateError::ExpiredContext { time: at(1_796_000_000), not_after: at(1_795_000_000) };
        let (code, what) = shown(expired.into());
        assert_eq!(code, 76);
        assert!(what.ends_with("expired at 2026-11-18T11:06:40Z (now it is 2026-11-30T00:53:20Z here)"), "{what}");
        let early = CertificateError::NotValidYetContext { time: at(0), not_before: at(1_795_000_000) };
        assert!(shown(early.into()).1.contains("holds from 2026-11-18T11:06:40Z on"));
        assert_eq!(shown(Error::AlertReceived(AlertDescription::CertificateRequired)).0, 77);
        assert_eq!(shown(Error::AlertReceived(AlertDescription::UnknownCA)).0, 77);
        assert_eq!(shown(Error::AlertReceived(AlertDescription::ProtocolVersion)).0, 76);
        assert_eq!(shown(Error::AlertReceived(AlertDescription::InternalError)).0, 69);
        assert_eq!(shown(Error::DecryptError).0, 76);
    }

    #[test]
    fn what_is_not_of_tls_is_left_alone() {
        let url: Url = "wss://rover.example".parse().unwrap();
        assert!(failure(&url, &io::ErrorKind::ConnectionRefused.into()).is_none());
        assert!(failure(&url, &io::Error::other("something")).is_none());
        assert!(is_record(&[0x15, 3, 1]) && is_record(&[0x16]));
        assert!(!is_record(b"HTTP/1.1 101") && !is_record(&[0x15, 4]) && !is_record(b""));
    }
}
