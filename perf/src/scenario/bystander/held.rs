//! Attacks by holding on to what the server has: answers that nobody reads, messages that do not end, sockets that say nothing.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use super::attacks::Assault;
use super::client::{Client, Field, Wish, framed, request};

/// A receive buffer that is soon full.
const SMALL: Wish = Wish { is_stranger: true, deflate: false, receive_buffer: Some(2_048) };
/// How long the held connections are left alone between two looks.
const PAUSE: Duration = Duration::from_millis(20);

fn hold(field: &Field) {
    while !field.is_over() {
        std::thread::sleep(PAUSE);
    }
}

/// More requests than there is room for answers, and nothing is ever read.
pub fn non_readers(field: &Arc<Field>) -> Result<Assault> {
    /// Requests of each.
    const MOST: u64 = 1_000;
    let mut clients: Vec<Client> = (0..2).map(|_| field.connect(&SMALL)).collect::<Result<_>>()?;
    let names = framed(&request("unsubscribe", (0..1_024).map(|i| format!("n{i:04}{}", "x".repeat(200)))));
    let field = field.clone();
    Ok(Box::new(move || {
        let mut sent = 0;
        for round in 0..MOST {
            let client = &mut clients[(round % 2) as usize];
            if field.is_over() || !client.write(&names, &field).unwrap_or(false) {
                break;
            }
            sent += 1;
        }
        hold(&field);
        Ok(sent)
    }))
}

/// Clients whose one request has the longest answer that there is.
pub fn unread(field: &Arc<Field>) -> Result<Assault> {
    const CLIENTS: u64 = 100;
    // Quotes are escaped twice: once for people, once for JSON.
    let names = framed(&request("unsubscribe", (0..1_024).map(|i| format!("{}{i:04}", "\"".repeat(240)))));
    let field = field.clone();
    Ok(Box::new(move || {
        let mut clients = Vec::new();
        while (clients.len() as u64) < CLIENTS && !field.is_over() {
            let mut client = field.connect(&SMALL)?;
            // A server that takes no more of it is in its right, and so is one that ends it.
            client.write(&names, &field).unwrap_or(false);
            clients.push(client);
        }
        hold(&field);
        Ok(clients.len() as u64)
    }))
}

/// Messages that are begun: as large as the server takes them, then smaller and smaller ones.
pub fn half_messages(field: &Arc<Field>) -> Result<Assault> {
    const BYTES_MAX: u64 = 256 << 20;
    const LARGEST: u64 = 15 << 20;
    let field = field.clone();
    Ok(Box::new(move || {
        let filling = vec![b'x'; 1 << 20];
        let (mut held, mut sent, mut size) = (Vec::new(), 0, LARGEST);
        while size >= 20_000 && sent < BYTES_MAX && !field.is_over() {
            let mut client = field.stranger()?;
            // The head of a frame that is longer than what follows.
            let mut head = vec![0x81, 0xff];
            head.extend_from_slice(&(LARGEST + 1).to_be_bytes());
            head.extend_from_slice(&[0; 4]);
            let mut is_taken = client.write(&head, &field).unwrap_or(false);
            let mut left = size;
            while is_taken && left > 0 {
                let now = left.min(filling.len() as u64);
                is_taken = client.write(&filling[..now as usize], &field).unwrap_or(false);
                left -= now;
            }
            sent += size - left;
            // Whoever is refused hears it soon.
            if is_taken && client.read(|_| ()).unwrap_or(false) {
                held.push(client);
            } else {
                size /= 2;
            }
        }
        hold(&field);
        Ok(sent)
    }))
}

/// Sockets from one address that say nothing; whichever the server ends comes again.
pub fn silent(field: &Arc<Field>) -> Result<Assault> {
    const SOCKETS: usize = 500;
    const MOST: u64 = 20_000;
    let field = field.clone();
    Ok(Box::new(move || {
        let mut sockets: Vec<OwnedFd> = (0..SOCKETS).map(|_| come(field.server)).collect::<Result<_>>()?;
        let mut came = SOCKETS as u64;
        while !field.is_over() {
            for socket in &mut sockets {
                if came < MOST && has_ended(socket) {
                    *socket = come(field.server)?;
                    came += 1;
                }
            }
            std::thread::sleep(PAUSE);
        }
        Ok(came)
    }))
}

/// A socket on its way, from an address that nobody else has.
fn come(server: SocketAddrV4) -> Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 252, 0, 1), 0))?;
    match rustix::net::connect(&socket, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

fn has_ended(socket: &OwnedFd) -> bool {
    match rustix::net::recv(socket, &mut [0u8; 512], RecvFlags::DONTWAIT) {
        Ok((got, _)) => got == 0,
        Err(error) => !matches!(error, Errno::AGAIN | Errno::NOTCONN),
    }
}
