//! One direction's protection: records sealed (RFC 8446 section 5.2, RFC 5288, RFC 7905) and opened.

use std::ops::Range;

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

use crate::alert::Alert;
use crate::record::{HEADER_BYTES, Kind, PLAINTEXT_BYTES_MAX, header};

const TAG_BYTES: usize = 16;
const IV_BYTES: usize = 12;
/// The part of a nonce that TLS 1.2 sends with each record of AES-GCM (RFC 5288 section 3).
const EXPLICIT_BYTES: usize = 8;

/// Which construction records have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Construction {
    /// TLS 1.3: the kind is inside, the nonce is not sent.
    V13,
    /// TLS 1.2 with AES-GCM: part of the nonce is sent.
    V12Explicit,
    /// TLS 1.2 with ChaCha20-Poly1305: the nonce is not sent.
    V12,
}

impl Construction {
    fn explicit_bytes(self) -> usize {
        if self == Construction::V12Explicit { EXPLICIT_BYTES } else { 0 }
    }

    /// Bytes that a record has besides its content.
    pub fn overhead(self) -> usize {
        let inner_kind = usize::from(self == Construction::V13);
        HEADER_BYTES + self.explicit_bytes() + inner_kind + TAG_BYTES
    }
}

/// Which keys, and how they are used.
fn parts(secrets: &ConnectionTrafficSecrets) -> Option<(&'static Algorithm, &[u8], &[u8])> {
    Some(match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key.as_ref(), iv.as_ref()),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key.as_ref(), iv.as_ref()),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key.as_ref(), iv.as_ref()),
        _ => return None,
    })
}

/// How records of a connection with these secrets are built. `None`: a cipher that is not known here.
pub fn construction(secrets: &ConnectionTrafficSecrets, is_13: bool) -> Option<Construction> {
    let (algorithm, ..) = parts(secrets)?;
    Some(match is_13 {
        true => Construction::V13,
        false if *algorithm == CHACHA20_POLY1305 => Construction::V12,
        false => Construction::V12Explicit,
    })
}

/// A key ready for use: 544 bytes, where its secrets are 60. To make one costs as much as to seal some hundred bytes.
#[derive(Debug)]
pub struct ExpandedKey {
    key: LessSafeKey,
    iv: [u8; IV_BYTES],
}

impl ExpandedKey {
    /// `None`: a cipher that is not known here.
    fn new(secrets: &ConnectionTrafficSecrets) -> Option<Self> {
        let (algorithm, key, iv) = parts(secrets)?;
        Some(Self { key: LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?), iv: iv.try_into().ok()? })
    }
}

/// RFC 8446 section 5.3: the sequence number over the end of the IV.
fn nonce(iv: &[u8; IV_BYTES], seq: u64) -> [u8; IV_BYTES] {
    let mut nonce = *iv;
    nonce[4..].iter_mut().zip(seq.to_be_bytes()).for_each(|(byte, of_seq)| *byte ^= of_seq);
    nonce
}

/// What is authenticated besides the content: in TLS 1.3 the head, in TLS 1.2 (RFC 5246 section 6.2.3.3) number, kind,
/// version and length of the content.
fn associated(construction: Construction, seq: u64, head: &[u8; HEADER_BYTES], plain: usize) -> ([u8; 13], usize) {
    let mut bytes = [0; 13];
    if construction == Construction::V13 {
        bytes[..HEADER_BYTES].copy_from_slice(head);
        return (bytes, HEADER_BYTES);
    }
    bytes[..8].copy_from_slice(&seq.to_be_bytes());
    bytes[8..11].copy_from_slice(&head[..3]);
    bytes[11..].copy_from_slice(&(plain as u16).to_be_bytes());
    (bytes, 13)
}

/// Seals what we send. Its key stays expanded only while there is much to seal: most connections wait most of the time.
pub struct Sealing {
    secrets: ConnectionTrafficSecrets,
    kept: Option<Box<ExpandedKey>>,
    /// Of the next record.
    pub seq: u64,
    construction: Construction,
}

impl Sealing {
    pub fn new(secrets: ConnectionTrafficSecrets, seq: u64, construction: Construction) -> Self {
        Self { secrets, kept: None, seq, construction }
    }

    /// Keeps the expanded key from now on.
    pub fn keep_key(&mut self) {
        if self.kept.is_none() {
            self.kept = ExpandedKey::new(&self.secrets).map(Box::new);
        }
    }

    /// The expanded key is made anew for each use.
    pub fn forget_key(&mut self) {
        self.kept = None;
    }

    pub fn keeps_key(&self) -> bool {
        self.kept.is_some()
    }

    /// Does `work` with the expanded key. `None`: a cipher that is not known here; nothing is done.
    pub fn with_key<R>(&mut self, work: impl FnOnce(&mut Self, &ExpandedKey) -> R) -> Option<R> {
        if let Some(kept) = self.kept.take() {
            let done = work(self, &kept);
            self.kept = Some(kept);
            return Some(done);
        }
        let key = ExpandedKey::new(&self.secrets)?;
        Some(work(self, &key))
    }

    /// Appends one record. `content` gives `length` bytes, at most [`PLAINTEXT_BYTES_MAX`].
    pub fn seal(
        &mut self,
        by: &ExpandedKey,
        kind: Kind,
        length: usize,
        content: impl FnOnce(&mut Vec<u8>),
        out: &mut Vec<u8>,
    ) {
        debug_assert!(length <= PLAINTEXT_BYTES_MAX);
        let is_13 = self.construction == Construction::V13;
        let outside = if is_13 { Kind::Data } else { kind };
        let head = header(outside, length + self.construction.overhead() - HEADER_BYTES);
        let nonce = nonce(&by.iv, self.seq);
        let (aad, aad_bytes) = associated(self.construction, self.seq, &head, length);
        out.extend_from_slice(&head);
        if self.construction == Construction::V12Explicit {
            out.extend_from_slice(&nonce[IV_BYTES - EXPLICIT_BYTES..]);
        }
        let begin = out.len();
        content(out);
        debug_assert_eq!(out.len() - begin, length);
        if is_13 {
            out.push(kind.byte());
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let aad = Aad::from(&aad[..aad_bytes]);
        match by.key.seal_in_place_separate_tag(nonce, aad, &mut out[begin..]) {
            Ok(tag) => out.extend_from_slice(tag.as_ref()),
            // Only of more than 2^36 bytes.
            Err(_) => unreachable!("a record of {length} bytes cannot be sealed"),
        }
        self.seq += 1;
    }
}

/// Opens what the peer sends. Its key is expanded only while there is something to open: clients seldom speak.
pub struct Opening {
    secrets: ConnectionTrafficSecrets,
    seq: u64,
    construction: Construction,
}

impl Opening {
    pub fn new(secrets: ConnectionTrafficSecrets, seq: u64, construction: Construction) -> Self {
        Self { secrets, seq, construction }
    }

    /// `None`: a cipher that is not known here.
    pub fn key(&self) -> Option<ExpandedKey> {
        ExpandedKey::new(&self.secrets)
    }

    /// Opens one whole record in place. Returns what it is, and where in it its content is.
    pub fn open(&mut self, by: &ExpandedKey, record: &mut [u8]) -> Result<(Kind, Range<usize>), Alert> {
        let explicit = self.construction.explicit_bytes();
        let Some((&head, body)) = record.split_first_chunk::<HEADER_BYTES>() else { return Err(Alert::DECODE_ERROR) };
        let Some(plain) = body.len().checked_sub(explicit + TAG_BYTES) else { return Err(Alert::BAD_RECORD_MAC) };
        let mut nonce = nonce(&by.iv, self.seq);
        if explicit > 0 {
            nonce[..4].copy_from_slice(&by.iv[..4]);
            nonce[4..].copy_from_slice(&body[..EXPLICIT_BYTES]);
        }
        let (aad, aad_bytes) = associated(self.construction, self.seq, &head, plain);
        let begin = HEADER_BYTES + explicit;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = by.key.open_in_place(nonce, Aad::from(&aad[..aad_bytes]), &mut record[begin..]);
        let content = opened.map_err(|_| Alert::BAD_RECORD_MAC)?;
        self.seq += 1;
        let (kind, length) = match self.construction {
            // The last byte that is not zero is the kind; zeros behind it are padding (RFC 8446 section 5.4).
            Construction::V13 => {
                let last = content.iter().rposition(|&byte| byte != 0).ok_or(Alert::UNEXPECTED_MESSAGE)?;
                (content[last], last)
            }
            _ => (head[0], content.len()),
        };
        if length > PLAINTEXT_BYTES_MAX {
            return Err(Alert::RECORD_OVERFLOW);
        }
        Ok((Kind::of(kind).ok_or(Alert::UNEXPECTED_MESSAGE)?, begin..begin + length))
    }
}
