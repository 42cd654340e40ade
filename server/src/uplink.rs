//! Job: a client connection that publishes: it waits where the server is busy, reports what the server refuses,
//! and ends with the certainty that everything was taken.
//! Knows: `publish`, `error`, the close handshake. Must never know: where the messages come from.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use fanwire::proto::close::CloseCode;
use fanwire::proto::json::{self, server};
use fanwire::proto::server_message::ServerMessage;

use crate::client::{Client, Incoming, Offer, Ready};
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::requests::{self, Outgoing};
use crate::signals::StopRequests;
use crate::url::Url;

/// Bytes queued here before it waits for the kernel to take them: large enough to fill a socket in one call.
const QUEUE_BYTES: usize = 256 << 10;
/// Refusals shown one by one; the rest is only counted.
const ERRORS_SHOWN: u64 = 10;
/// How often signals are looked for while nothing else happens.
const LOOK_UP: Duration = Duration::from_millis(200);

/// The connection and what has become of the messages.
#[derive(Debug)]
pub struct Uplink {
    client: Client,
    url: Url,
    stop: StopRequests,
    message: Vec<u8>,
    published: u64,
    payload_bytes: u64,
    errors: u64,
}

/// What was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Messages handed to the server.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Messages that the server refused.
    pub refused: u64,
}

impl Uplink {
    /// Connects.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect(url: &Url, timeout: Duration, stop: StopRequests) -> Result<Self, Failure> {
        let client = Client::connect(url, &Offer::protocol(json::PROTOCOL), timeout)?;
        Ok(Uplink { client, url: url.clone(), stop, message: Vec::new(), published: 0, payload_bytes: 0, errors: 0 })
    }

    /// True once the process was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_asked()
    }

    /// Publishes, waiting while too much is under way. False: the process was asked to stop, and the message
    /// was not sent.
    ///
    /// # Errors
    /// Where the server ended the connection.
    pub fn publish(&mut self, message: &Outgoing<'_>) -> Result<bool, Failure> {
        if self.client.queued_bytes() >= QUEUE_BYTES {
            self.client.send_queued();
        }
        while self.client.queued_bytes() >= QUEUE_BYTES {
            if self.is_stopped() {
                return Ok(false);
            }
            self.step(None, None)?;
        }
        requests::write_publish(&mut self.message, message);
        self.client.send_text(&self.message);
        self.published += 1;
        self.payload_bytes += message.payload.len() as u64;
        Ok(true)
    }

    /// Goes on sending until `due`. False: the process was asked to stop.
    ///
    /// # Errors
    /// Where the server ended the connection.
    pub fn wait_until(&mut self, due: Instant) -> Result<bool, Failure> {
        loop {
            if self.is_stopped() {
                return Ok(false);
            }
            if clock::now() >= due {
                return Ok(true);
            }
            self.step(Some(due), None)?;
        }
    }

    /// Goes on sending until `other` can be read. False: the process was asked to stop.
    ///
    /// # Errors
    /// Where the server ended the connection.
    pub fn wait_readable(&mut self, other: BorrowedFd<'_>) -> Result<bool, Failure> {
        loop {
            if self.is_stopped() {
                return Ok(false);
            }
            if self.step(None, Some(other))?.other {
                return Ok(true);
            }
        }
    }

    /// Sends what is queued and closes. The server answers a close after everything that came before it: then
    /// all was taken. It may take `timeout` for each further step.
    ///
    /// # Errors
    /// Where the server did not answer the close, or refused messages.
    pub fn finish(mut self, timeout: Duration) -> Result<Published, Failure> {
        self.client.close(CloseCode::NORMAL, "");
        let mut queued = self.client.queued_bytes();
        let mut deadline = clock::now() + timeout;
        let closed = loop {
            self.client.step(Some(deadline.min(clock::now() + LOOK_UP)), None)?;
            if let Some(closed) = self.drain() {
                break closed;
            }
            if self.client.queued_bytes() < queued {
                queued = self.client.queued_bytes();
                deadline = clock::now() + timeout;
            }
            if clock::now() >= deadline {
                return Err(Failure::message(
                    Exit::Failed,
                    format!(
                        "{} did not confirm the end: some of the {} messages may be lost",
                        self.url, self.published
                    ),
                ));
            }
        };
        if closed.code != CloseCode::NORMAL.to_u16() {
            return Err(Failure::message(
                Exit::Failed,
                format!("{}: {closed}: some of the {} messages may be lost", self.url, self.published),
            ));
        }
        Ok(Published { messages: self.published, bytes: self.payload_bytes, refused: self.errors })
    }

    fn step(&mut self, until: Option<Instant>, other: Option<BorrowedFd<'_>>) -> Result<Ready, Failure> {
        let look_up = clock::now() + LOOK_UP;
        let ready = self.client.step(Some(until.map_or(look_up, |until| until.min(look_up))), other)?;
        match self.drain() {
            None => Ok(ready),
            Some(closed) => Err(Failure::message(
                Exit::Io,
                format!("{}: {closed}, after {} messages, of which some may be lost", self.url, self.published),
            )),
        }
    }

    /// Reads what the server says; its end, if it has come.
    fn drain(&mut self) -> Option<crate::client::Closed> {
        while let Some(incoming) = self.client.next() {
            let text = match incoming {
                Incoming::Closed(closed) => return Some(closed),
                Incoming::Binary(_) => continue,
                Incoming::Text(text) => text,
            };
            if let Ok(ServerMessage::Error(error)) = server::parse(text) {
                self.errors += 1;
                if self.errors <= ERRORS_SHOWN {
                    tracing::error!("the server refused a message: {} ({})", error.message, error.code);
                } else if self.errors == ERRORS_SHOWN + 1 {
                    tracing::error!("further refusals are only counted");
                }
            }
        }
        None
    }
}
