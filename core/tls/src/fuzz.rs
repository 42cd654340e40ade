//! What a fuzzer does with its bytes: a hostile peer's greetings and records. No input panics, and what a record comes to is what a
//! plain second reading of it says.
//!
//! Takes any bytes at all and panics where a promise is broken. `core/fuzz` hands them to libFuzzer. Never knows libFuzzer. Keys are
//! random, which decides nothing.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, ConnectionTrafficSecrets, RootCertStore};

use crate::*;

const CERTIFICATE: &[u8] = include_bytes!("../testdata/localhost.pem");
const KEY: &[u8] = include_bytes!("../testdata/localhost.key.pem");
/// When the certificate is looked at, in seconds since 1970: it is good then.
const NOW: u64 = 1_800_000_000;
/// As in `connection.rs`: records without content that may follow each other.
const IDLE_RECORDS_MAX: usize = 32;

/// The first byte says what the others are: a greeting (the next byte: cut how), records that somebody made who has no key, records
/// of one who has, in TLS 1.3 or 1.2.
///
/// # Panics
/// Where a promise is broken.
pub fn records(data: &[u8]) {
    let Some((what, rest)) = data.split_first() else { return };
    let is_13 = what & 4 == 0;
    match what % 4 {
        0 => greeting(rest),
        1 => strangers_records(rest, is_13),
        _ => peers_records(rest, is_13),
    }
}

/// Nobody gets through a handshake by chance, and nothing but records is answered.
fn greeting(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let mut handshake = Handshake::new(acceptor()).expect("a handshake");
    let mut out = Vec::new();
    for piece in bytes.chunks(usize::from(*cut).max(1)) {
        if handshake.receive(piece).is_err() {
            return;
        }
        assert!(handshake.input_bytes() <= 2 * INPUT_BYTES_MAX);
        match handshake.advance(&mut out) {
            Progress::Waits(waits) => handshake = waits,
            Progress::Done(_) => panic!("done, by nobody"),
            Progress::Failed(_) => break,
        }
    }
    let mut left = &out[..];
    while let Some((&[kind, 3, _, high, low], rest)) = left.split_first_chunk::<HEADER_BYTES>() {
        assert!((20..=23).contains(&kind));
        left = rest.get(usize::from(u16::from_be_bytes([high, low]))..).expect("a whole record");
    }
    assert!(left.is_empty());
}

/// What is not sealed with the key is never taken for anything.
fn strangers_records(bytes: &[u8], is_13: bool) {
    let (mut connection, _) = established(is_13);
    let mut reader = connection.reader().expect("a key");
    let Some(&head) = bytes.first_chunk::<HEADER_BYTES>() else { return };
    let Ok(length) = record_bytes(head, is_13) else { return };
    assert!((HEADER_BYTES..=RECORD_BYTES_MAX).contains(&length));
    let mut record = bytes[..length.min(bytes.len())].to_vec();
    assert!(reader.open(&mut record).is_err());
}

/// A record as the fuzzer wants it: kind, length of the content (255: two bytes more than there may be), padding or a changed bit.
fn peers_records(mut data: &[u8], is_13: bool) {
    let (mut connection, mut peer) = established(is_13);
    let mut idle = 0;
    while let Some((&[kind, length, how], rest)) = data.split_first_chunk::<3>() {
        let (content, rest) = match length {
            255 => (vec![how; PLAINTEXT_BYTES_MAX - 1 + usize::from(how % 4)], rest),
            _ => {
                let (content, rest) = rest.split_at(rest.len().min(length.into()));
                (content.to_vec(), rest)
            }
        };
        data = rest;
        let (padding, is_changed) = (usize::from(how & 0x7f), how & 0x80 != 0);
        let mut record = peer.seal(kind, &content, padding);
        let head = *record.first_chunk().expect("a head");
        let mut expected = plainly(kind, &content, is_13, &mut idle);
        if is_changed {
            let at = HEADER_BYTES + usize::from(how) % (record.len() - HEADER_BYTES);
            record[at] ^= 1;
            expected = Err(Alert::BAD_RECORD_MAC);
        }
        match record_bytes(head, is_13) {
            Err(alert) => return assert!(!is_13 && alert == Alert::UNEXPECTED_MESSAGE && !(21..=23).contains(&kind)),
            Ok(length) => assert_eq!(length, record.len()),
        }
        let mut reader = connection.reader().expect("a key");
        let opened = reader.open(&mut record);
        let opened = opened.map(|opened| match opened {
            Opened::Data(range) => Plain::Data(record[range].to_vec()),
            Opened::Nothing => Plain::Nothing,
            Opened::CloseNotify | Opened::Fatal(_) => Plain::End,
        });
        assert_eq!(opened, expected, "kind {kind}, {} bytes, {how}", content.len());
        match opened {
            Ok(Plain::Data(_)) => {}
            // Its old key is worth nothing any more.
            Ok(Plain::Nothing) if is_13 && kind_of(kind, &content).is_some_and(|(kind, _)| kind == 22) => {
                let mut late = peer.seal(23, b"late", 0);
                return assert_eq!(reader.open(&mut late), Err(Alert::BAD_RECORD_MAC));
            }
            Ok(Plain::Nothing) => {}
            Ok(Plain::End) | Err(_) => return,
        }
    }
    // It may be answered, whatever it said.
    let mut out = Vec::new();
    connection.renew(&mut out).expect("a next key");
    assert!(out.is_empty(), "nobody has asked for one");
}

/// What a record is, without its bytes' places.
#[derive(Debug, PartialEq, Eq)]
enum Plain {
    Data(Vec<u8>),
    Nothing,
    End,
}

/// In TLS 1.3 the last byte that is not zero is the kind, whatever was meant.
fn kind_of(kind: u8, content: &[u8]) -> Option<(u8, &[u8])> {
    match kind {
        0 => {
            let (zeros, &kind) = content.iter().rev().enumerate().find(|(_, byte)| **byte != 0)?;
            Some((kind, &content[..content.len() - zeros - 1]))
        }
        kind => Some((kind, content)),
    }
}

/// RFC 8446, sections 5 and 6, read once more.
fn plainly(kind: u8, content: &[u8], is_13: bool, idle: &mut usize) -> Result<Plain, Alert> {
    let (kind, content) =
        if is_13 { kind_of(kind, content).ok_or(Alert::UNEXPECTED_MESSAGE)? } else { (kind, content) };
    if content.len() > PLAINTEXT_BYTES_MAX {
        return Err(Alert::RECORD_OVERFLOW);
    }
    if !(21..=23).contains(&kind) {
        return Err(Alert::UNEXPECTED_MESSAGE);
    }
    if kind == 23 && !content.is_empty() {
        *idle = idle.saturating_sub(1);
        return Ok(Plain::Data(content.to_vec()));
    }
    *idle += 1;
    if *idle > IDLE_RECORDS_MAX {
        return Err(Alert::UNEXPECTED_MESSAGE);
    }
    match (kind, content) {
        (21, [_, 90]) | (23, _) => Ok(Plain::Nothing),
        (21, [_, _]) => Ok(Plain::End),
        (21, _) => Err(Alert::DECODE_ERROR),
        (_, [24, 0, 0, 1, 0 | 1]) if is_13 => Ok(Plain::Nothing),
        _ => Err(Alert::UNEXPECTED_MESSAGE),
    }
}

/// Seals what no library would: one direction's bare key.
struct Peer {
    key: LessSafeKey,
    iv: [u8; 12],
    seq: u64,
    is_13: bool,
}

impl Peer {
    fn seal(&mut self, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let (mut inside, seq) = (content.to_vec(), self.seq.to_be_bytes());
        self.seq += 1;
        let mut nonce = self.iv;
        if self.is_13 {
            inside.push(kind);
            inside.resize(inside.len() + padding, 0);
            nonce[4..].iter_mut().zip(seq).for_each(|(a, b)| *a ^= b);
            let [high, low] = ((inside.len() + 16) as u16).to_be_bytes();
            let head = [23, 3, 3, high, low];
            let nonce = Nonce::assume_unique_for_key(nonce);
            self.key.seal_in_place_append_tag(nonce, Aad::from(head), &mut inside).expect("sealed");
            return [&head[..], &inside].concat();
        }
        nonce[4..].copy_from_slice(&seq);
        let [high, low] = (content.len() as u16).to_be_bytes();
        let aad = [&seq[..], &[kind, 3, 3, high, low]].concat();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut inside)
            .expect("sealed");
        let [high, low] = ((8 + inside.len()) as u16).to_be_bytes();
        [&[kind, 3, 3, high, low], &seq[..], &inside].concat()
    }
}

fn acceptor() -> &'static Acceptor {
    static ACCEPTOR: OnceLock<Acceptor> = OnceLock::new();
    ACCEPTOR.get_or_init(|| {
        let identity = Identity { chain_pem: CERTIFICATE.to_vec(), key_pem: KEY.to_vec() };
        Acceptor::new(&AcceptorConfig { identities: vec![identity], ..AcceptorConfig::default() }).expect("good files")
    })
}

#[derive(Debug)]
struct Fixed;

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
    }
}

fn client_config(is_13: bool) -> Arc<ClientConfig> {
    static CONFIGS: OnceLock<[Arc<ClientConfig>; 2]> = OnceLock::new();
    let configs = CONFIGS.get_or_init(|| {
        [&TLS12, &TLS13].map(|version| {
            let mut provider = default_provider();
            provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains("AES_256_GCM"));
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate")).expect("a root");
            let builder = ClientConfig::builder_with_details(Arc::new(provider), Arc::new(Fixed));
            let builder = builder.with_protocol_versions(&[version]).expect("versions");
            let mut config = builder.with_root_certificates(roots).with_no_client_auth();
            config.enable_secret_extraction = true;
            Arc::new(config)
        })
    });
    configs[usize::from(is_13)].clone()
}

/// A connection after its handshake, and the keys of its peer.
fn established(is_13: bool) -> (Connection, Peer) {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(client_config(is_13), name).expect("a client");
    let mut handshake = Handshake::new(acceptor()).expect("a handshake");
    loop {
        let mut said = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut said).expect("memory takes all");
        }
        handshake.receive(&said).expect("little");
        let mut out = Vec::new();
        let progress = handshake.advance(&mut out);
        let mut heard = &out[..];
        while !heard.is_empty() {
            client.read_tls(&mut heard).expect("it has room");
            client.process_new_packets().expect("good records");
        }
        match progress {
            Progress::Waits(waits) => handshake = waits,
            Progress::Failed(error) => panic!("{error}"),
            Progress::Done(established) => return (established.connection, keys_of(client, is_13)),
        }
    }
}

fn keys_of(client: ClientConnection, is_13: bool) -> Peer {
    #[allow(deprecated, reason = "a peer that seals what no library would needs the bare keys, once")]
    let (seq, secrets) = client.dangerous_extract_secrets().expect("the handshake is done").tx;
    let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("another cipher") };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("a key"));
    Peer { key, iv: iv.as_ref().try_into().expect("an IV"), seq, is_13 }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn no_seed_and_nothing_of_the_corpus_breaks_a_promise() {
        let mut files = 0;
        for folder in ["seeds", "corpus"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder).join("records");
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let path = entry.expect("a readable folder").path();
                println!("{}", path.display());
                super::records(&fs::read(&path).expect("a readable file"));
                files += 1;
            }
        }
        assert!(files >= 25, "only {files} files: this would prove nothing");
    }

    #[test]
    fn short_inputs_break_nothing() {
        for what in 0..=7 {
            for kind in 0..=255 {
                super::records(&[what, kind, 0, 0]);
                super::records(&[what, kind, 255, 255]);
            }
            super::records(&[what]);
        }
        super::records(&[]);
    }
}
