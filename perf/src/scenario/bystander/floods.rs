//! Attacks by quantity: publishers without a pause, and messages that become a thousand times as long.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::attacks::Assault;
use super::client::{Client, Field, Wish, framed};
use crate::frames;
use crate::payload::Look;
use crate::publisher;

/// Bytes that one flooding publisher sends at most.
const FLOOD_BYTES_MAX: usize = 512 << 20;
/// Messages that are inflated, at most.
const INFLATED_MAX: u64 = 1_000;

/// As fast as the server takes them.
pub fn floods(field: &Arc<Field>) -> Result<Assault> {
    flood(field, "normal")
}

/// The same, less important than anything else.
pub fn bulk(field: &Arc<Field>) -> Result<Assault> {
    flood(field, "low")
}

fn flood(field: &Arc<Field>, priority: &'static str) -> Result<Assault> {
    let clients: Vec<Client> = (0..8).map(|_| field.publisher()).collect::<Result<_>>()?;
    let field = field.clone();
    Ok(Box::new(move || {
        let threads: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(i, client)| {
                let field = field.clone();
                std::thread::spawn(move || pour(client, &format!("flood/{i}"), priority, &field))
            })
            .collect();
        let sent = threads.into_iter().map(|thread| thread.join().ok().context("a flooding publisher panicked")?);
        sent.sum()
    }))
}

/// One publisher's flood: messages sent.
fn pour(mut client: Client, topic: &str, priority: &str, field: &Field) -> Result<u64> {
    const AT_ONCE: usize = 500;
    super::be_nice();
    let mut object = Vec::new();
    publisher::write_publish(&mut object, topic, priority, Look::Text, &[b'x'; 64]);
    let frames = framed(std::str::from_utf8(&object)?).repeat(AT_ONCE);
    let (mut sent, mut bytes) = (0, 0);
    // A server that ends such a client is in its right.
    while bytes < FLOOD_BYTES_MAX && client.write(&frames, field).unwrap_or(false) {
        sent += AT_ONCE as u64;
        bytes += frames.len();
    }
    Ok(sent)
}

/// A message of zeros that is short on the wire; a server that ends its sender is asked by the next one.
pub fn inflate(field: &Arc<Field>) -> Result<Assault> {
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::best());
    deflated.write_all(br#"{"type":"x","a":["#)?;
    let zeros = b"0,".repeat(1 << 19);
    // A little less than the 64 MiB that a message may have.
    for _ in 0..63 {
        deflated.write_all(&zeros)?;
    }
    deflated.write_all(b"0]}")?;
    deflated.flush()?;
    let deflated = deflated.get_ref();
    // RFC 7692 section 7.2.1: without the last four bytes of the empty block.
    let mut frame = Vec::new();
    frames::write_masked(&mut frame, frames::TEXT, &deflated[..deflated.len() - 4]);
    frame[0] |= 0x40;
    let field = field.clone();
    Ok(Box::new(move || {
        let wish = Wish { is_stranger: true, deflate: true, ..Wish::default() };
        let mut sent = 0;
        while sent < INFLATED_MAX && !field.is_over() {
            let mut client = field.connect(&wish)?;
            while sent < INFLATED_MAX && client.write(&frame, &field).unwrap_or(false) {
                sent += 1;
                if !client.settle(&field).unwrap_or(false) {
                    break;
                }
            }
        }
        Ok(sent)
    }))
}
