//! Who a client's certificate says it is.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::handshake::HandshakeError;

/// Longest subject, in bytes of its text: a client with a longer one is not let in.
pub const SUBJECT_BYTES_MAX: usize = 1_024;

/// The subject of a certificate that was verified, as RFC 4514 writes it.
///
/// # Errors
/// It cannot be read, is too long, or would be another line in a log.
pub fn subject_of(certificate: &CertificateDer<'_>) -> Result<Box<str>, HandshakeError> {
    let read = Certificate::from_der(certificate)
        .map_err(|_| HandshakeError::Subject("the client's certificate cannot be read"))?;
    checked(read.tbs_certificate().subject().to_string())
}

fn checked(subject: String) -> Result<Box<str>, HandshakeError> {
    if subject.len() > SUBJECT_BYTES_MAX {
        return Err(HandshakeError::Subject("the subject of the client's certificate is too long"));
    }
    if subject.chars().any(char::is_control) {
        return Err(HandshakeError::Subject("the subject of the client's certificate has control characters"));
    }
    Ok(subject.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_line_and_not_longer_than_it_may_be() {
        assert!(checked("CN=".to_owned() + &"a".repeat(SUBJECT_BYTES_MAX - 3)).is_ok());
        for wrong in ["CN=".to_owned() + &"a".repeat(SUBJECT_BYTES_MAX - 2), "CN=a\nb".into(), "CN=a\0".into()] {
            assert!(matches!(checked(wrong), Err(HandshakeError::Subject(_))));
        }
        assert_eq!(&*checked(String::new()).unwrap(), "");
        assert!(subject_of(&CertificateDer::from(vec![0x30, 0])).is_err());
    }
}
