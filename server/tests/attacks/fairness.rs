//! Nobody takes another's turn: floods share the ring, clients that never read freeze no one, and bulk leaves critical messages room.

use std::io::{ErrorKind, Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use fanwire::{Config, Engine, Kind, Priority};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::json;

use crate::access::answer;
use crate::support::PATIENCE;

use super::served::{Client, NAMES, Served, Wish, frame, frame_of, topics};

#[test]
fn publishers_that_flood_share_the_ring_evenly() {
    const PUBLISHERS: usize = 8;
    const ALL_BYTES: u64 = 64 << 20;
    let server = Served::start("--ring-bytes 64KiB --max-message-bytes 16KiB");
    // Small buffers, so that what was written is nearly what was taken.
    let wish = Wish { buffers: Some(16 << 10), ..Wish::default() };
    let targets: Vec<String> = (0..PUBLISHERS).map(|i| format!("/t/p/{i}?echo=0")).collect();
    let clients: Vec<Client> = targets
        .iter()
        .map(|target| {
            Client::connect(server.address, &Wish { raw: Some(target), ..wish }).expect("a publisher is let in")
        })
        .collect();
    let mut streams: Vec<&TcpStream> = clients.iter().map(|client| client.socket.get_ref()).collect();
    let frames = frame_of(0x82, &[b'x'; 1_000]).repeat(32);
    let mut written = [0u64; PUBLISHERS];
    for stream in &streams {
        stream.set_nonblocking(true).expect("a socket");
    }
    while written.iter().sum::<u64>() < ALL_BYTES {
        let mut ready: Vec<PollFd<'_>> = streams.iter().map(|s| PollFd::new(*s, PollFlags::OUT)).collect();
        poll(&mut ready, None).expect("sockets can be waited for");
        for (stream, written) in streams.iter_mut().zip(&mut written) {
            let from = (*written % frames.len() as u64) as usize;
            match stream.write(&frames[from..]) {
                Ok(more) => *written += more as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("a publisher is cut off: {error}"),
            }
        }
    }
    let least = written.iter().min().copied().unwrap_or(0);
    assert!(least >= ALL_BYTES / PUBLISHERS as u64 / 4, "bytes taken of each: {written:?}");
}

#[test]
fn who_never_reads_freezes_nobody() {
    let server = Served::start("");
    let small = Wish { buffers: Some(4_096), ..Wish::default() };
    let mut witness = server.client();
    let names = frame(&topics("unsubscribe", (0..NAMES).map(|i| format!("n{i:04}{}", "x".repeat(200)))).to_string());
    let never_reads = || {
        let mut client = Client::connect(server.address, &Wish { is_stranger: true, ..small }).expect("it is let in");
        // The server takes what it likes of it: nobody waits for that.
        client.socket.get_ref().set_nonblocking(true).expect("a socket");
        let _ = client.try_raw(&[names.clone(), frame(r#"{"type":"ping"}"#).repeat(3)].concat());
        client
    };
    let first = never_reads();
    witness.settle();
    // Their links are slow for a moment: they ask several things before they read.
    let mut honest: Vec<Client> = (0..5)
        .map(|_| {
            let mut client = Client::connect(server.address, &Wish { buffers: None, ..small }).expect("it is let in");
            for third in 0..3 {
                let names = (0..400).map(|i| format!("no/{third}/{i}{}", "x".repeat(200)));
                client.raw(&frame(&topics("unsubscribe", names).to_string()));
            }
            client.ask(json!({"type": "publish", "topic": "ok/1", "data": "mine"}));
            client
        })
        .collect();
    witness.settle();
    let second = never_reads();
    witness.settle();
    for client in &mut honest {
        client.settle();
    }
    drop((first, second));
}

#[test]
fn bulk_refuses_no_critical_message() {
    const CRITICAL: usize = 200;
    let engine = Engine::start(Config {
        listen: vec!["127.0.0.1:0".parse().expect("an address")],
        shards: Some(1),
        cpus: None,
        ..Config::default()
    })
    .expect("an engine");
    let bulk = engine.topic("bulk").expect("a topic").publisher(Priority::Low, Kind::Binary);
    let critical = engine.topic("critical").expect("a topic").publisher(Priority::Critical, Kind::Text);
    let address = engine.local_addrs()[0];
    let wish = Wish { raw: Some("/t/critical"), ..Wish::default() };
    let mut subscriber = Client::connect(address, &wish).expect("it is let in");
    let is_over = AtomicBool::new(false);
    let refused = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                // Refused or taken: it goes on.
                let _ = bulk.publish(&[0; 64]);
            }
        });
        let mut refused = 0;
        for number in 0..CRITICAL {
            let text = number.to_string();
            if critical.publish(text.as_bytes()).is_err() {
                refused += 1;
                continue;
            }
            // The next one when this one has arrived.
            while subscriber.socket.read().expect("a message").into_text().expect("text").as_str() != text {}
        }
        is_over.store(true, Relaxed);
        refused
    });
    engine.shutdown_now();
    assert_eq!(refused, 0, "of {CRITICAL} critical messages");
}

/// The status that a page's image or script gets: any page can have any browser ask for one.
fn image(address: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nReferer: http://evil.example/\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer[9..12].to_owned()
}

#[test]
fn no_page_of_another_site_has_its_reader_s_address_refused() {
    let server = Served::start("--failures-per-address-per-minute-max 2 --allowed-origins https://ours.example");
    let status = |target: &str, headers: &str| answer(server.address, target, headers)[9..12].to_owned();
    // WebSockets of another origin; images and scripts, which are none.
    for _ in 0..6 {
        assert_eq!(status("/t/a", "Origin: https://evil.example\r\n"), "403");
        assert_eq!(status("/nowhere", "Origin: https://evil.example\r\n"), "404");
        for (target, expected) in [("/favicon.ico", "404"), ("/t/a?topic=%", "400"), ("/t/a", "426")] {
            assert_eq!(image(server.address, target), expected, "{target}");
        }
    }
    assert_eq!(status("/t/a", "Origin: https://ours.example\r\n"), "101");
    // What is the client's own doing counts, whatever it says of itself.
    for expected in ["400", "404", "404", "429"] {
        let (target, headers) = match expected {
            "400" => ("/t/a?topic=%", "Sec-Fetch-Site: cross-site\r\n"),
            _ => ("/nowhere", ""),
        };
        assert_eq!(status(target, headers), expected);
    }
}

#[test]
fn without_a_list_of_origins_pages_have_pages_refused_and_nobody_else() {
    let server = Served::start("--failures-per-address-per-minute-max 2");
    let status = |target: &str, headers: &str| answer(server.address, target, headers)[9..12].to_owned();
    let evil = "Origin: https://evil.example\r\n";
    for expected in ["404", "404", "404", "429", "429", "429"] {
        assert_eq!(status("/nowhere", evil), expected);
    }
    assert_eq!(status("/t/a", evil), "429", "whoever the page is");
    // Its reader's own programs, and pages of the server's own host.
    assert_eq!(status("/t/a", ""), "101");
    assert_eq!(status("/t/a", "Origin: http://x\r\n"), "101");
    // And the other way round: what counts for the address shuts out all.
    for expected in ["404", "404", "404", "429"] {
        assert_eq!(status("/nowhere", "Origin: http://x\r\n"), expected);
    }
    assert_eq!(status("/t/a", ""), "429");
}
