"""nats-server with its WebSocket listener; the publisher is this process, over TCP, on the other CPUs."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

import publisher


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def websocket(port: int) -> str:
    """The listener: over TLS where PEER_CERTIFICATE and PEER_KEY name files."""
    certificate, key = os.environ.get("PEER_CERTIFICATE"), os.environ.get("PEER_KEY")
    tls = f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}' if certificate else "no_tls: true"
    return f'websocket {{ listen: "127.0.0.1:{port}", {tls} }}'


def main() -> None:
    tcp, web = free_port(), free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        config.write(f'listen: "127.0.0.1:{tcp}"\nmax_connections: 100000\n{websocket(web)}\n')
        config.flush()
        binary = os.path.join(os.path.dirname(sys.executable), "nats-server")
        server = subprocess.Popen(
            [binary, "-c", config.name, "-l", os.devnull], preexec_fn=die_with_parent, stdin=subprocess.DEVNULL
        )
        others = set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0)
        if others:
            os.sched_setaffinity(0, others)
        deadline = time.monotonic() + 10
        while True:
            try:
                tube = socket.create_connection(("127.0.0.1", tcp))
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        tube.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tube.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\n')
        scheme = "wss" if "PEER_CERTIFICATE" in os.environ else "ws"
        print(f"listening on {scheme}://127.0.0.1:{web} server={server.pid}", flush=True)
        waiting: list[bytes] = []

        def publish(topic: str | None, payload: bytes | None) -> None:
            if topic is None or payload is None:
                tube.sendall(b"".join(waiting))
                waiting.clear()
            else:
                waiting.append(b"PUB %s %d\r\n%s\r\n" % (topic.encode(), len(payload), payload))

        publisher.run(publish)
        server.kill()


main()
