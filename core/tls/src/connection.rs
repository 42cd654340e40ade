//! A connection after its handshake: records sealed, opened, and keys renewed.

use std::fmt;
use std::ops::Range;

use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ExtractedSecrets, ProtocolVersion};

use crate::alert::Alert;
use crate::protect::{ExpandedKey, Opening, Sealing, construction};
use crate::record::{Kind, PLAINTEXT_BYTES_MAX};

/// Records that one key may seal: 2^24 (AES-GCM, RFC 8446 section 5.5). Some are left for what must be said at the end.
const RECORDS_MAX: u64 = 1 << 24;
/// In TLS 1.3 the next key is taken so many records before that; in TLS 1.2 the connection has to end.
const RECORDS_LEFT: u64 = 1 << 10;
/// Changes of key, and records without content, that a peer may send more than it sends data: each costs us work.
const IDLE_RECORDS_MAX: u8 = 32;
/// Handshake message `KeyUpdate` (RFC 8446 section 4.6.3) and its length.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];

/// What a record was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Data: where in the record.
    Data(Range<usize>),
    /// Nothing for whoever reads.
    Nothing,
    /// The peer sends no more.
    CloseNotify,
    /// The peer has given the connection up, and says why.
    Fatal(Alert),
}

/// What [`Connection::seal`] has made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// Records.
    pub records: usize,
    /// Bytes of content.
    pub content: usize,
    /// Content of each record but the last one.
    pub record_content: usize,
}

/// See the module's head.
pub struct Connection {
    kernel: KernelConnection<ServerConnectionData>,
    sealing: Sealing,
    opening: Opening,
    overhead: usize,
    is_13: bool,
    idle_records: u8,
    owes_key_update: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("is_13", &self.is_13).finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn new(secrets: ExtractedSecrets, kernel: KernelConnection<ServerConnectionData>) -> Option<Self> {
        let is_13 = kernel.protocol_version() == ProtocolVersion::TLSv1_3;
        let ((tx_seq, tx), (rx_seq, rx)) = (secrets.tx, secrets.rx);
        let built = construction(&tx, is_13)?;
        Some(Self {
            kernel,
            sealing: Sealing::new(tx, tx_seq, built),
            opening: Opening::new(rx, rx_seq, built),
            overhead: built.overhead(),
            is_13,
            idle_records: 0,
            owes_key_update: false,
        })
    }

    /// TLS 1.3, not 1.2.
    pub fn is_13(&self) -> bool {
        self.is_13
    }

    /// Bytes that each record has besides its content.
    pub fn overhead(&self) -> usize {
        self.overhead
    }

    /// Of TLS 1.2: this key has sealed nearly as much as it may, and there is no next one. The connection has to end soon.
    pub fn is_worn(&self) -> bool {
        !self.is_13 && self.sealing.seq >= RECORDS_MAX - RECORDS_LEFT
    }

    /// Seals the first `most` bytes of `parts`, which follow each other, in records of at most `record_content` bytes, and
    /// appends them to `out`. A key that is used up seals nothing any more.
    pub fn seal<'p>(
        &mut self,
        parts: impl Iterator<Item = &'p [u8]> + Clone,
        most: usize,
        record_content: usize,
        out: &mut Vec<u8>,
    ) -> Sealed {
        debug_assert!((1..=PLAINTEXT_BYTES_MAX).contains(&record_content));
        let mut sealed = Sealed { record_content, ..Sealed::default() };
        let mut left = parts.clone().map(<[u8]>::len).sum::<usize>().min(most);
        let mut parts = parts.filter(|part| !part.is_empty());
        let mut part: &[u8] = &[];
        self.sealing.with_key(|sealing, key| {
            while left > 0 && sealing.seq < RECORDS_MAX {
                let length = left.min(record_content);
                let gather = |out: &mut Vec<u8>| {
                    let mut wanted = length;
                    while wanted > 0 {
                        if part.is_empty() {
                            part = parts.next().unwrap_or(&[]);
                        }
                        let (now, later) = part.split_at(wanted.min(part.len()));
                        out.extend_from_slice(now);
                        (part, wanted) = (later, wanted - now.len());
                    }
                };
                sealing.seal(key, Kind::Data, length, gather, out);
                sealed.records += 1;
                sealed.content += length;
                left -= length;
            }
        });
        sealed
    }

    /// Takes the last `records` back, of which not one byte has left this process: their numbers are used again. (A
    /// nonce used twice is a leak to whoever sees both records; nobody has seen these.)
    pub fn take_back(&mut self, records: usize) {
        self.sealing.seq -= records as u64;
    }

    /// What has to be sent before the next data, if anything: a change of key that is due. Never to be taken back.
    pub fn renew(&mut self, out: &mut Vec<u8>) -> Result<(), Alert> {
        if !self.is_13 || !(self.owes_key_update || self.sealing.seq >= RECORDS_MAX - RECORDS_LEFT) {
            return Ok(());
        }
        self.owes_key_update = false;
        let [a, b, c, d] = KEY_UPDATE;
        self.seal_own(Kind::Handshake, &[a, b, c, d, 0], out);
        let (seq, secrets) = self.kernel.update_tx_secret().map_err(|_| Alert::INTERNAL_ERROR)?;
        let built = construction(&secrets, true).ok_or(Alert::INTERNAL_ERROR)?;
        let keeps_key = self.sealing.keeps_key();
        self.sealing = Sealing::new(secrets, seq, built);
        if keeps_key {
            self.sealing.keep_key();
        }
        Ok(())
    }

    /// Appends an alert. Not to be taken back.
    pub fn seal_alert(&mut self, alert: Alert, out: &mut Vec<u8>) {
        self.seal_own(Kind::Alert, &alert.bytes(), out);
    }

    /// One record of what this layer itself has to say.
    fn seal_own(&mut self, kind: Kind, content: &[u8], out: &mut Vec<u8>) {
        self.sealing
            .with_key(|sealing, key| sealing.seal(key, kind, content.len(), |out| out.extend_from_slice(content), out));
    }

    /// Keeps the expanded sealing key (544 bytes) until [`Connection::forget_key`]: for connections that send often. Without it
    /// each [`Connection::seal`] expands it, for about 0.15 µs.
    pub fn keep_key(&mut self) {
        self.sealing.keep_key();
    }

    /// Gives the memory of the expanded key back.
    pub fn forget_key(&mut self) {
        self.sealing.forget_key();
    }

    /// Whether the expanded key is kept.
    pub fn keeps_key(&self) -> bool {
        self.sealing.keeps_key()
    }

    /// Expands the key that opens the peer's records, for as many as are there.
    ///
    /// # Errors
    /// Never with the ciphers that are offered.
    pub fn reader(&mut self) -> Result<Reader<'_>, Alert> {
        let key = self.opening.key().ok_or(Alert::INTERNAL_ERROR)?;
        Ok(Reader { connection: self, key })
    }

    fn on_alert(content: &[u8]) -> Result<Opened, Alert> {
        let &[_, what] = content else { return Err(Alert::DECODE_ERROR) };
        Ok(match Alert(what) {
            Alert::CLOSE_NOTIFY => Opened::CloseNotify,
            Alert::USER_CANCELED => Opened::Nothing,
            fatal => Opened::Fatal(fatal),
        })
    }

    /// Of all handshake messages only `KeyUpdate` may come, alone in its record (RFC 8446 section 5.1).
    fn on_key_update(&mut self, content: &[u8]) -> Result<(), Alert> {
        let (Some((head, [asks])), true) = (content.split_first_chunk::<4>(), self.is_13) else {
            return Err(Alert::UNEXPECTED_MESSAGE);
        };
        if *head != KEY_UPDATE || *asks > 1 {
            return Err(Alert::UNEXPECTED_MESSAGE);
        }
        self.owes_key_update |= *asks == 1;
        let (seq, secrets) = self.kernel.update_rx_secret().map_err(|_| Alert::INTERNAL_ERROR)?;
        let built = construction(&secrets, true).ok_or(Alert::INTERNAL_ERROR)?;
        self.opening = Opening::new(secrets, seq, built);
        Ok(())
    }

    fn spend_idle_record(&mut self) -> Result<(), Alert> {
        self.idle_records += 1;
        if self.idle_records > IDLE_RECORDS_MAX { Err(Alert::UNEXPECTED_MESSAGE) } else { Ok(()) }
    }
}

/// A connection whose peer's records are being opened.
#[derive(Debug)]
pub struct Reader<'a> {
    connection: &'a mut Connection,
    key: ExpandedKey,
}

impl Reader<'_> {
    /// Opens one whole record in place.
    ///
    /// # Errors
    /// The alert that the peer is to be sent; nothing can be opened any more.
    pub fn open(&mut self, record: &mut [u8]) -> Result<Opened, Alert> {
        let connection = &mut *self.connection;
        let (kind, content) = connection.opening.open(&self.key, record)?;
        match kind {
            Kind::Data if content.is_empty() => {
                connection.spend_idle_record()?;
                Ok(Opened::Nothing)
            }
            Kind::Data => {
                connection.idle_records = connection.idle_records.saturating_sub(1);
                Ok(Opened::Data(content))
            }
            Kind::Alert => {
                connection.spend_idle_record()?;
                Connection::on_alert(&record[content])
            }
            Kind::Handshake => {
                connection.spend_idle_record()?;
                connection.on_key_update(&record[content])?;
                self.key = connection.opening.key().ok_or(Alert::INTERNAL_ERROR)?;
                Ok(Opened::Nothing)
            }
        }
    }
}
