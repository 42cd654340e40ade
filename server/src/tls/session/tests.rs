//! A session against rustls's server, over loopback: what is held back on the way is never forgotten.
#![allow(clippy::disallowed_methods)]

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, poll};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, Stream};

use super::*;
use crate::clock;
use crate::signals::StopRequests;
use crate::tls::{TlsArgs, Trust};

const SENT: usize = 300 << 10;

fn server_config() -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(vec![made.cert.der().clone()], key).unwrap())
}

/// A client's session, and the server's end, both past the handshake.
fn pair() -> (Session, Wire, ServerConnection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream.set_nonblocking(true).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut tls = ServerConnection::new(server_config()).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).unwrap();
        }
        (tls, stream)
    });
    let url = "wss://localhost".parse().unwrap();
    let trust = Trust::for_url(&url, &TlsArgs { insecure: true, ..TlsArgs::default() }).unwrap().unwrap();
    let stop = StopRequests::listen().unwrap();
    let interrupts = Interrupts { stop: &stop, output: None };
    let mut wire = Wire::new(stream);
    let mut session = Session::new(&trust, "localhost").unwrap();
    let deadline = clock::after(clock::now(), Duration::from_secs(120));
    session.shake_hands(&mut wire, deadline, &interrupts).unwrap();
    let (tls, stream) = server.join().unwrap();
    (session, wire, tls, stream)
}

fn wait(wire: &Wire, wanted: PollFlags) {
    poll(&mut [PollFd::new(wire, wanted)], None).unwrap();
}

#[test]
fn what_has_arrived_is_read_to_the_end_whatever_poll_says() {
    let (mut session, mut wire, mut tls, mut stream) = pair();
    let server = std::thread::spawn(move || {
        Stream::new(&mut tls, &mut stream).write_all(&[7; SENT]).unwrap();
        tls.send_close_notify();
        tls.complete_io(&mut stream).unwrap();
        (tls, stream)
    });
    let (mut read, mut room) = (0, [0; 1_000]);
    loop {
        // As the client does: poll is asked only where the session has nothing.
        if !session.has_input() {
            wait(&wire, PollFlags::IN);
        }
        match session.read(&mut wire, &mut room) {
            // The server's end is still open: only its notice says that nothing follows.
            Ok(0) => break,
            Ok(n) => {
                assert!(room[..n].iter().all(|byte| *byte == 7));
                read += n;
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    assert_eq!(read, SENT);
    server.join().unwrap();
}

#[test]
fn what_the_kernel_does_not_take_is_held_back_and_bounded() {
    let (mut session, mut wire, mut tls, mut stream) = pair();
    let bytes = vec![9; 32 << 20];
    let mut taken = 0;
    let full = loop {
        match session.write(&mut wire, &bytes[taken..]) {
            Ok(n) => taken += n,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    assert!((1..=80 << 10).contains(&session.held_back()), "{}", session.held_back());
    let server = std::thread::spawn(move || {
        let mut read = 0;
        let mut room = vec![0; 64 << 10];
        while let Ok(n @ 1..) = Stream::new(&mut tls, &mut stream).read(&mut room) {
            read += n;
        }
        read
    });
    while taken < bytes.len() || session.held_back() > 0 {
        match session.write(&mut wire, &bytes[taken..]) {
            Ok(n) => taken += n,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                wait(&wire, PollFlags::OUT);
            }
        }
    }
    session.say_goodbye(&mut wire);
    assert_eq!(server.join().unwrap(), bytes.len());
}

#[test]
fn a_record_that_was_changed_ends_it_after_what_came_before() {
    let (mut session, mut wire, mut tls, mut stream) = pair();
    let mut records = Vec::new();
    tls.writer().write_all(b"before").unwrap();
    tls.write_tls(&mut records).unwrap();
    tls.writer().write_all(b"changed").unwrap();
    let mut changed = Vec::new();
    tls.write_tls(&mut changed).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    stream.write_all(&[records, changed].concat()).unwrap();
    let (mut read, mut room) = (Vec::new(), [0; 100]);
    let fault = loop {
        if !session.has_input() {
            wait(&wire, PollFlags::IN);
        }
        match session.read(&mut wire, &mut room) {
            Ok(n) => read.extend_from_slice(&room[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => break error,
        }
    };
    assert_eq!((&read[..], fault.kind()), (&b"before"[..], io::ErrorKind::InvalidData));
    let again = session.read(&mut wire, &mut room).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::InvalidData);
}
