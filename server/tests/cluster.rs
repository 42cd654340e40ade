//! `fanwire serve --nats`: nodes share their topics.

use crate::support::run;

#[test]
fn settings_of_a_cluster_without_a_server_are_refused() {
    let (code, _, said) = run(&["serve", "--listen", "127.0.0.1:0", "--cluster-keep", "a/**"], b"");
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("--cluster-keep") && said.contains("means nothing without cluster.nats"), "{said}");
    for (option, value) in [("--nats", "http://a:1"), ("--cluster-name", "a.b"), ("--cluster-foreign", "a.*")] {
        let (code, _, said) = run(&["serve", option, value], b"");
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(option), "{said}");
    }
}

#[cfg(not(feature = "nats"))]
#[test]
fn a_binary_without_nats_says_so() {
    let (code, _, said) = run(&["serve", "--listen", "127.0.0.1:0", "--nats", "nats://127.0.0.1:1"], b"");
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("built without NATS") && said.contains("--features nats"), "{said}");
}

#[cfg(feature = "nats")]
mod with_nats {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use rustix::process::Signal;

    use crate::support::{Fanwire, publish, run, skip, sub};

    /// A NATS server of the test's own.
    struct Server {
        child: Child,
        url: String,
    }

    impl Server {
        /// `None`: there is none here, and the test is skipped.
        fn start() -> Option<Self> {
            let named = std::env::var("FANWIRE_NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut command = Command::new(named);
            command.args(["-a", "127.0.0.1", "-p", &port.to_string()]);
            let Ok(child) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
                skip("there is no nats-server (FANWIRE_NATS_SERVER, or ./test nats)");
                return None;
            };
            Some(Server { child, url: format!("nats://127.0.0.1:{port}") })
        }

        fn node(&self, more: &str) -> (Fanwire, SocketAddr, SocketAddr) {
            let serve = "serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --shards 1 --publish loopback";
            let mut node = Fanwire::start(&format!("{serve} --nats {} {more}", self.url));
            let line = node.stderr_line("admin: http://");
            let from = line.find("http://").map(|at| &line[at + 7..]).unwrap_or_else(|| panic!("{line}"));
            let admin = from.split(|c: char| c != '.' && c != ':' && !c.is_ascii_digit()).next().unwrap();
            let admin = admin.parse().unwrap_or_else(|_| panic!("{line}"));
            let address = node.address();
            (node, address, admin)
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn metric(admin: SocketAddr, name: &str) -> u64 {
        let mut stream = TcpStream::connect(admin).unwrap();
        stream
            .write_all(format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    #[test]
    fn what_is_published_on_one_node_is_read_on_the_other() {
        let Some(server) = Server::start() else { return };
        let (one, at_one, _) = server.node("--cluster-name lab");
        let (other, at_other, admin) = server.node("--cluster-name lab --cluster-keep kept/**");
        let reads = sub(&format!("ws://{at_other}/"), &["rover/*/imu", "--count", "3"]);
        // Nobody tells the publisher when the interest has got around: it goes on until somebody has heard enough.
        let mut reads = reads;
        let mut tries = 0;
        while reads.is_running() {
            tries += 1;
            assert!(tries < 2_000, "nothing is heard");
            publish(&format!("ws://{at_one}/"), &["rover/1/imu"], "moved\n");
            std::thread::sleep(Duration::from_millis(30));
        }
        let (code, out, said) = reads.finish();
        assert_eq!((code, String::from_utf8(out).unwrap().matches("moved").count()), (0, 3), "{said}");
        assert!(metric(admin, "fanwire_bridge_messages_total{direction=\"in\"}") >= 3);
        assert_eq!(metric(admin, "fanwire_bridge_lost_total{cause=\"peer\"}"), 0);
        assert_eq!(metric(admin, "fanwire_bridge_connections"), 2);
        for node in [one, other] {
            node.signal(Signal::TERM);
            let (code, _, said) = node.finish();
            assert_eq!(code, 0, "{said}");
        }
    }

    #[test]
    fn a_node_serves_where_there_is_no_server_and_a_wrong_file_is_named() {
        let (code, _, said) = run(
            &["serve", "--listen", "127.0.0.1:0", "--nats", "nats://127.0.0.1:1", "--cluster-ca-file", "/no/such.pem"],
            b"",
        );
        assert_eq!(code, 78, "{said}");
        assert!(said.contains("/no/such.pem"), "{said}");
        let (node, _) = Fanwire::listening("serve --listen 127.0.0.1:0 --shards 1 --nats nats://127.0.0.1:1");
        node.signal(Signal::TERM);
        let (code, _, said) = node.finish();
        assert_eq!(code, 0, "{said}");
    }
}
