//! What strangers do to the admin port is refused or bounded, and who subscribes meanwhile gets everything.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use rustix::process::{Resource, getrlimit};

use super::http::{Answer, Site, TOKEN};
use crate::support::{Subscriber, publish};

/// Most connections that one attack holds open.
const FLOOD: usize = 10_000;

#[test]
fn who_has_no_token_sees_nothing_and_changes_nothing() {
    let site = Site::with_token(&[]);
    let wrong = [
        None,
        Some("Bearer".to_owned()),
        Some(format!("Bearer {}", &TOKEN[1..])),
        Some(format!("Bearer {TOKEN}0")),
        Some(format!("Bearer {}", TOKEN.to_uppercase())),
        Some("Basic ".to_owned()),
        Some("Basic YTpi".to_owned()),
        Some(format!("Digest {TOKEN}")),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for authorization in &wrong {
        let headers: Vec<(&str, &str)> = authorization.iter().map(|line| ("Authorization", line.as_str())).collect();
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/metrics"),
            ("GET", "/health"),
            ("GET", "/openapi.json"),
            ("GET", "/ws"),
            ("GET", "/no/such/path"),
            ("POST", "/api/drain"),
            ("POST", "/api/connections/0.0.1/close"),
            ("DELETE", "/metrics"),
        ] {
            let answer = site.ask(method, path, &headers, "");
            assert_eq!(answer.status, 401, "{method} {path} {authorization:?}: {answer:?}");
            assert!(answer.has("www-authenticate: basic realm=\"fanwire admin\", charset=\"utf-8\""), "{answer:?}");
            seen.insert(answer.body);
        }
    }
    assert_eq!(seen.len(), 1, "no answer tells more than another: {seen:?}");
    for path in ["/livez", "/readyz"] {
        assert_eq!(site.get(path).status, 200, "{path}");
    }
    let bearer = format!("Bearer {TOKEN}");
    for authorization in [&*bearer, "Basic bWU6MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="] {
        assert_eq!(site.ask("GET", "/health", &[("Authorization", authorization)], "").status, 200);
    }
    assert!(
        site.ask("GET", "/metrics", &[("Authorization", &bearer)], "")
            .body
            .contains("fanwire_admin_refused_requests_total 72\n")
    );
}

#[test]
fn a_page_under_a_name_that_it_has_made_stand_for_this_machine_reads_nothing() {
    let site = Site::start(&[]);
    for host in ["evil.example", "evil.example:9002", "localhost.evil.example", "127.0.0.1.nip.example", "", "*"] {
        for (method, path) in
            [("GET", "/health"), ("GET", "/"), ("GET", "/metrics"), ("POST", "/api/drain"), ("GET", "/ws")]
        {
            let answer = site.ask(method, path, &[("Host", host)], "");
            assert_eq!(answer.status, 421, "{host} {path}: {answer:?}");
        }
    }
    for request in [
        "GET /health HTTP/1.1\r\n\r\n",
        "GET /health HTTP/1.0\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        "GET http://evil.example/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ] {
        assert!(matches!(site.say(request).status, 400 | 421), "{request}");
    }
}

#[test]
fn a_page_of_another_site_gives_no_orders() {
    let site = Site::start(&[]);
    let own = format!("http://{}", site.admin);
    for headers in [
        &[("Origin", "http://evil.example")][..],
        &[("Origin", "null")],
        &[("Origin", "http://localhost")],
        &[("Origin", &own), ("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Origin", "http://evil.example"), ("Content-Type", "text/plain")],
    ] {
        for path in ["/api/drain", "/api/connections/0.0.1/close", "/"] {
            let answer = site.ask("POST", path, headers, "{}");
            assert_eq!(answer.status, 403, "{headers:?} {path}: {answer:?}");
        }
    }
    assert_eq!(site.get("/readyz").status, 200, "nothing has come of it");
    let answer = site.ask("OPTIONS", "/api/drain", &[("Origin", "http://evil.example")], "");
    assert!(answer.status == 403 && !answer.head.contains("access-control-"), "{answer:?}");
    // The page itself may.
    let headers = [("Origin", &*own), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(site.ask("POST", "/api/connections/0.0.1/close", &headers, "").status, 202);
}

#[test]
fn paths_lead_to_nothing_but_what_is_in_the_binary() {
    let site = Site::start(&[]);
    for path in [
        "/../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/etc/passwd",
        "/index.html/",
        "/./",
        "/\\..\\..",
        "/page/index.html",
        "/openapi.json/",
        "/api",
        "/%00",
        "/metrics%00",
        "/METRICS",
        &format!("/{}", "a".repeat(8_000)),
    ] {
        let answer = site.get(path);
        assert!(matches!(answer.status, 400 | 404) && !answer.body.contains("root:"), "{path}: {answer:?}");
    }
    for request in [
        "GET metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
        "\r\n\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "POST /api/drain HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    ] {
        let status = site.say(request).status;
        assert!(status != 200 && status != 202, "{request:?}: {status}");
    }
    assert_eq!(site.get("/readyz").status, 200);
}

#[test]
fn every_answer_has_the_headers_that_a_browser_is_kept_safe_by() {
    let site = Site::start(&[]);
    for (path, status) in [("/", 200), ("/health", 200), ("/livez", 200), ("/no/such", 404), ("/api/drain", 405)] {
        let answer = site.get(path);
        assert_eq!(answer.status, status, "{answer:?}");
        for header in ["x-content-type-options: nosniff", "x-frame-options: deny", "referrer-policy: no-referrer"] {
            assert!(answer.has(header), "{header}: {answer:?}");
        }
        let policy = answer.head.lines().find(|line| line.starts_with("content-security-policy: ")).expect("a policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
}

#[test]
fn requests_have_sizes() {
    let site = Site::start(&[]);
    let order = |bytes: usize| {
        let mut body = "{\"code\":4000}".to_owned();
        body.push_str(&" ".repeat(bytes - body.len()));
        site.ask("POST", "/api/connections/0.0.1/close", &[], &body).status
    };
    assert_eq!((order(16 << 10), order((16 << 10) + 1)), (202, 413));
    let headers = |count: usize| {
        let lines: String = (0..count).map(|number| format!("X-{number}: y\r\n")).collect();
        site.say(&format!("GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n")).status
    };
    assert_eq!((headers(62), headers(63)), (200, 431));
    let head = |bytes: usize| {
        site.say(&format!("GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {}\r\n\r\n", "y".repeat(bytes)))
            .status
    };
    assert_eq!(head(12 << 10), 200);
    assert!(matches!(head(64 << 10), 0 | 400 | 431));
}

/// Those who begin and do not go on. All of them at once: each takes as long as its time-out.
#[test]
fn who_is_slow_is_not_waited_for() {
    let site = Site::start(&[]);
    let host = "Host: 127.0.0.1\r\n";
    let begun = [
        String::new(),
        "GET /livez HT".to_owned(),
        format!("GET /livez HTTP/1.1\r\n{host}"),
        format!("POST /api/drain HTTP/1.1\r\n{host}Content-Length: 10\r\n\r\n"),
        format!("POST /api/drain HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n2\r\n{{"),
        // It has had its answer, and says no more.
        format!("GET /livez HTTP/1.1\r\n{host}\r\n"),
    ];
    let mut streams: Vec<TcpStream> = begun.iter().map(|_| site.connect()).collect();
    for (stream, bytes) in streams.iter_mut().zip(&begun) {
        stream.write_all(bytes.as_bytes()).unwrap();
    }
    let statuses: Vec<u16> = streams.iter_mut().map(|stream| Answer::read(stream).status).collect();
    assert!(statuses[..3].iter().all(|status| matches!(status, 0 | 408)), "{statuses:?}");
    // What has no length is not waited for at all.
    assert_eq!(statuses[3..5], [408, 411], "{statuses:?}");
    assert_eq!(statuses[5], 200);
    assert_eq!(site.get("/readyz").status, 200, "nobody has ordered anything");
}

#[test]
fn ten_thousand_connections_are_no_more_than_a_few_and_subscribers_get_everything() {
    let site = Site::start(&["--publish", "loopback"]);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20) as usize;
    let count = FLOOD.min(files.saturating_sub(200));
    let mut subscriber = Subscriber::connect(site.clients, "ticks", None);
    let lines: String = (0..1_000).map(|number| format!("{number}\n")).collect();
    let url = format!("ws://{}", site.clients);
    let publisher = std::thread::spawn(move || publish(&url, &["ticks", "--rate", "500"], &lines));
    let mut held = Vec::with_capacity(count);
    for number in 0..count {
        let mut stream = site.connect();
        // Some say something, some nothing, some only half of it.
        let said =
            ["", "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "POST /api/drain HTTP/1.1\r\nHo"][number % 3];
        let _ = stream.write_all(said.as_bytes());
        held.push(stream);
        if number % 1_000 == 0 {
            assert_eq!(site.get("/livez").status, 200, "the newest is heard, whoever is there");
        }
    }
    assert_eq!(site.get("/readyz").status, 200);
    for expected in 0..1_000 {
        let mut heard = subscriber.next_object().expect("it is connected");
        if heard["type"] == "subscribed" {
            heard = subscriber.next_object().expect("it is connected");
        }
        assert_eq!((heard["type"].as_str(), heard["seq"].as_u64()), (Some("message"), Some(expected + 1)), "{heard}");
    }
    publisher.join().unwrap();
    let open = held.iter_mut().filter_map(|stream| is_open(stream).then_some(())).count();
    assert!(open <= 128, "{open} of {count}");
    // Those who have asked so often have used up what is answered in the next seconds.
    let figures = loop {
        let answer = site.get("/metrics");
        match answer.status {
            200 => break answer.body,
            status => assert_eq!(status, 429, "{answer:?}"),
        }
    };
    let files = figures.lines().find_map(|line| line.strip_prefix("process_open_fds ")).unwrap();
    assert!(files.parse::<usize>().unwrap() < 400, "{files}");
}

/// Whether the other side still holds it; what it has said is thrown away.
fn is_open(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut bytes = [0; 4_096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}
