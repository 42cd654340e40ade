//! A handshake: rustls's, until both sides have their keys.

use std::fmt;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeTlsData, UnbufferedStatus};

use crate::acceptor::Acceptor;
use crate::connection::Connection;
use crate::subject::subject_of;

/// Bytes of a handshake that are kept while they make no whole message: a chain of client certificates must fit.
pub const INPUT_BYTES_MAX: usize = 32 << 10;

/// Why a handshake has failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// What rustls says of it.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The peer has ended the connection in the middle.
    #[error("the peer closed the connection during the handshake")]
    Closed,
    /// More than [`INPUT_BYTES_MAX`] bytes, and no whole message.
    #[error("a handshake message is longer than {INPUT_BYTES_MAX} bytes")]
    TooLong,
    /// A cipher that records cannot be sealed with here: none is offered.
    #[error("no cipher that is known here was agreed")]
    Cipher,
    /// The client's certificate is a good one, but nobody could be told whose.
    #[error("{0}")]
    Subject(&'static str),
}

/// How far a handshake has come.
#[derive(Debug)]
pub enum Progress {
    /// More has to come.
    Waits(Box<Handshake>),
    /// It is done.
    Done(Box<Established>),
    /// It has failed; the alert that says so is in the output.
    Failed(HandshakeError),
}

/// A connection, and what has come with the end of the handshake.
#[derive(Debug)]
pub struct Established {
    /// Seals and opens from here on.
    pub connection: Connection,
    /// Content that has come already.
    pub received: Vec<u8>,
    /// The peer sends no more.
    pub has_ended: bool,
    /// The beginning of a record that is not whole.
    pub rest: Vec<u8>,
    /// Who the client is, by its certificate: its subject, as RFC 4514 writes it. `None`: it has shown none.
    pub subject: Option<Box<str>>,
}

/// See the module's head.
pub struct Handshake {
    rustls: UnbufferedServerConnection,
    input: Vec<u8>,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("input", &self.input.len()).finish_non_exhaustive()
    }
}

impl Handshake {
    /// Nothing has come yet.
    ///
    /// # Errors
    /// What rustls says: the configuration cannot be used.
    pub fn new(acceptor: &Acceptor) -> Result<Box<Self>, HandshakeError> {
        Ok(Box::new(Self { rustls: UnbufferedServerConnection::new(acceptor.config())?, input: Vec::new() }))
    }

    /// Keeps what has come; [`Handshake::advance`] looks at it.
    ///
    /// # Errors
    /// It is more than may wait.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), HandshakeError> {
        if self.input.len() + bytes.len() > INPUT_BYTES_MAX {
            return Err(HandshakeError::TooLong);
        }
        self.input.extend_from_slice(bytes);
        Ok(())
    }

    /// Bytes that are kept.
    pub fn input_bytes(&self) -> usize {
        self.input.capacity()
    }

    /// Goes as far as the input goes and appends to `out` what is to be sent. The greetings of both sides cost about 200 µs
    /// (a key is made, and a signature), all else little.
    pub fn advance(mut self: Box<Self>, out: &mut Vec<u8>) -> Progress {
        let (mut received, mut has_ended) = (Vec::new(), false);
        loop {
            let UnbufferedStatus { discard, state, .. } = self.rustls.process_tls_records(&mut self.input);
            let mut is_done = false;
            let step = match state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut data, out);
                    Step::On
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Step::On
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        received.extend_from_slice(record.payload);
                    }
                    Step::On
                }
                Ok(ConnectionState::PeerClosed) => {
                    has_ended = true;
                    Step::On
                }
                Ok(ConnectionState::BlockedHandshake) => Step::Wait,
                Ok(ConnectionState::WriteTraffic(_)) => {
                    is_done = true;
                    Step::Wait
                }
                // Also early data, which is not offered.
                Ok(_) => Step::Fail(HandshakeError::Closed),
                Err(error) => Step::Fail(error.into()),
            };
            self.input.drain(..discard);
            match step {
                Step::On => {}
                Step::Wait if is_done => return self.finish(received, has_ended),
                Step::Wait if has_ended => return Progress::Failed(HandshakeError::Closed),
                Step::Wait => return Progress::Waits(self),
                Step::Fail(error) => {
                    self.encode_alert(out);
                    return Progress::Failed(error);
                }
            }
        }
    }

    /// What rustls wants to say of a failure. It is asked only while there is something: it panics where it looks at the
    /// same bad input again, or is not given the input that it counts from.
    fn encode_alert(&mut self, out: &mut Vec<u8>) {
        while self.rustls.wants_write() {
            let UnbufferedStatus { state, .. } = self.rustls.process_tls_records(&mut self.input);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
            encode(&mut data, out);
        }
    }

    fn finish(self: Box<Self>, received: Vec<u8>, has_ended: bool) -> Progress {
        let Self { rustls, input: rest } = *self;
        let subject = match rustls.peer_certificates().and_then(<[_]>::first).map(subject_of).transpose() {
            Ok(subject) => subject,
            Err(error) => return Progress::Failed(error),
        };
        match rustls.dangerous_into_kernel_connection() {
            Err(error) => Progress::Failed(error.into()),
            Ok((secrets, kernel)) => match Connection::new(secrets, kernel) {
                None => Progress::Failed(HandshakeError::Cipher),
                Some(connection) => {
                    Progress::Done(Box::new(Established { connection, received, has_ended, rest, subject }))
                }
            },
        }
    }
}

enum Step {
    On,
    Wait,
    Fail(HandshakeError),
}

fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    let at = out.len();
    // It says how much it needs where there is too little.
    let needed = match data.encode(&mut []) {
        Ok(_) => return,
        Err(rustls::unbuffered::EncodeError::InsufficientSize(size)) => size.required_size,
        Err(rustls::unbuffered::EncodeError::AlreadyEncoded) => return,
    };
    out.resize(at + needed, 0);
    let written = data.encode(&mut out[at..]).unwrap_or(0);
    out.truncate(at + written);
}
