"""fanwire behind real proxies, with the configurations that its pages show.

    python3 server/tests/proxies/run.py FANWIRE

Job: takes the nginx and HAProxy configurations out of docs/how-to, changes ports and paths alone, and looks whether clients come through
with their own addresses, over TLS, and go on after the proxy was away. Ends with `N passed, N failed`. Needs nginx, haproxy, openssl.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from checks import PATIENCE_S, free_port, run_all, until  # noqa: E402

DOCS = Path(__file__).parents[3] / "docs/how-to"
FANWIRE = str(Path(sys.argv[1]).resolve())
LIMIT = 2
"""Connections of one address."""


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def snippet(page: str, language: str) -> str:
    """The one block of a language in a page."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)
    assert len(blocks) == 1, f"{page}: {len(blocks)} blocks of {language}"
    return str(blocks[0])


def changed(text: str, *changes: tuple[str, str]) -> str:
    """With these parts replaced, each of which must be there."""
    for before, after in changes:
        assert before in text, f"{before} is not in\n{text}"
        text = text.replace(before, after)
    return text


@contextlib.contextmanager
def running(command: list[str], folder: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    with open(folder / f"{name}.log", "ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@contextlib.contextmanager
def serving(folder: Path, *listeners: str, options: tuple[str, ...] = (), limit: int = LIMIT) -> Iterator[str]:
    """A server with these listeners, and one for publishers of this machine: that one's URL."""
    port = free_port()
    command = [FANWIRE, "serve", "--listen", f"127.0.0.1:{port}", "--admin-listen", "none", "--publish-access", "everyone"]
    for listener in listeners:
        command += ["--listen", listener]
    command += ["--connections-per-address-max", str(limit), *options]
    with running(command, folder, "fanwire") as process:
        until(lambda: process.poll() is not None or answers(port), "fanwire listens")
        assert process.poll() is None, (folder / "fanwire.log").read_text()
        yield f"ws://127.0.0.1:{port}"


@contextlib.contextmanager
def nginx(folder: Path, site: str, port: int) -> Iterator[None]:
    """nginx with this site."""
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log stderr; {'user root;' if os.getuid() == 0 else ''}\nevents {{}}\nhttp {{\n"
        f"access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;\n"
        f"uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n{site}\n}}\n"
    )
    with running(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], folder, "nginx") as process:
        until(lambda: process.poll() is not None or answers(port), "nginx listens")
        assert process.poll() is None, (folder / "nginx.log").read_text()
        yield


@contextlib.contextmanager
def haproxy(folder: Path, configuration: str, port: int) -> Iterator[None]:
    (folder / "haproxy.cfg").write_text(f"global\n    maxconn 200\n{configuration}")
    with running(["haproxy", "-db", "-f", str(folder / "haproxy.cfg")], folder, "haproxy") as process:
        until(lambda: process.poll() is not None or answers(port), "HAProxy listens")
        assert process.poll() is None, (folder / "haproxy.log").read_text()
        yield


def upgraded(port: int, source: str, header: str = "") -> tuple[socket.socket, str]:
    """A connection from an address of this machine, and the first line of the answer to its upgrade (empty: closed)."""
    client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S, source_address=(source, 0))
    client.sendall(
        f"GET /t/a HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{header}"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    heard = b""
    with contextlib.suppress(ConnectionError):
        while b"\r\n" not in heard and (part := client.recv(4096)):
            heard += part
    return client, heard.split(b"\r\n")[0].decode()


def each_has_its_own_limit(port: int, forged: str = "") -> None:
    """Connections of one client are counted together, and not with another's."""
    with contextlib.ExitStack() as open_:

        def tries(source: str, header: str = "") -> str:
            client, said = upgraded(port, source, header)
            open_.enter_context(contextlib.closing(client))
            return said

        def comes_in() -> bool:
            return tries("127.0.0.7").startswith("HTTP/1.1 101 ")

        # A server behind a proxy may be seen by it a little later.
        until(comes_in, "the first comes in")
        for _ in range(LIMIT - 1):
            said = tries("127.0.0.7")
            assert said.startswith("HTTP/1.1 101 "), said
        for header in ["", forged] if forged else [""]:
            said = tries("127.0.0.7", header)
            assert " 101 " not in said, f"one more than {LIMIT} of one address comes in, with {header!r}"
        said = tries("127.0.0.8")
        assert said.startswith("HTTP/1.1 101 "), f"another address is refused: {said!r}"


def publish(url: str, *lines: str) -> None:
    subprocess.run([FANWIRE, "pub", url, "a"], input="".join(f"{line}\n" for line in lines), text=True, check=True, timeout=PATIENCE_S)


def delivers(url: str, publisher: str, *options: str) -> None:
    """What is published comes to a subscriber at `url`."""
    publish(publisher, "hello")
    command = [FANWIRE, "sub", url, "a", "--count", "1", *options]
    found = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (found.returncode, found.stdout) == (0, "hello\n"), found


def goes_on(url: str, publisher: str, folder: Path, proxy: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
    """A subscriber gets everything once, although the proxy goes and comes back."""
    lines = [str(number) for number in range(1, 31)]
    output = folder / "lines"
    command = [FANWIRE, "sub", url, "a", "--reconnect", "--count", str(len(lines))]
    with open(output, "wb") as file:
        subscriber = None
        try:
            for part in range(3):
                with proxy():
                    if subscriber is None:
                        publish(publisher, lines[0])
                        subscriber = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
                        until(lambda: output.read_text() == "1\n", "the first message")
                    publish(publisher, *lines[1 + part * 9 : 5 + part * 9])
                    come = 5 + part * 9
                    until(lambda: len(output.read_text().splitlines()) == come, f"{come} messages")  # noqa: B023
                # Nobody can come through now.
                publish(publisher, *lines[5 + part * 9 : 10 + part * 9])
            with proxy():
                publish(publisher, *lines[28:])
                assert subscriber is not None and subscriber.wait(PATIENCE_S) == 0
        finally:
            if subscriber is not None:
                subscriber.kill()
                subscriber.wait()
    assert output.read_text().splitlines() == lines, output.read_text()


def certificate(folder: Path) -> Path:
    """One that signs itself: the folder has fullchain.pem and privkey.pem."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-batch"]
    command += ["-keyout", "privkey.pem", "-out", "fullchain.pem", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return folder / "fullchain.pem"


def of_nginx(port: int, upstream: str) -> str:
    return changed(
        snippet("proxy.md", "nginx"), ("listen 80;", f"listen 127.0.0.1:{port};"), ("unix:/run/fanwire-web/web.sock", upstream)
    )


def nginx_by_a_unix_socket(folder: Path) -> None:
    port, path = free_port(), folder / "web.sock"
    site = of_nginx(port, f"unix:{path}")
    with serving(folder, f"unix:{path}", options=("--trusted-proxies", "unix")) as publisher:
        with nginx(folder, site, port):
            each_has_its_own_limit(port, "X-Forwarded-For: 203.0.113.9\r\n")
            delivers(f"ws://127.0.0.1:{port}", publisher)
            publish(f"ws://127.0.0.1:{port}", "through the proxy")


def nginx_with_tls(folder: Path) -> None:
    port, path, trusted = free_port(), folder / "web.sock", certificate(folder)
    site = changed(
        snippet("internet.md", "nginx"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("/run/fanwire-web/web.sock", str(path)),
        ("/etc/ssl/fanwire/", f"{folder}/"),
    )
    with serving(folder, f"unix:{path}", options=("--trusted-proxies", "unix")) as publisher, nginx(folder, site, port):
        delivers(f"wss://localhost:{port}", publisher, "--ca", str(trusted))


def nginx_goes_and_comes(folder: Path) -> None:
    port, path = free_port(), folder / "web.sock"
    site = of_nginx(port, f"unix:{path}")
    # Old connections may be counted for a while beside new ones.
    with serving(folder, f"unix:{path}", options=("--trusted-proxies", "unix"), limit=100) as publisher:
        goes_on(f"ws://127.0.0.1:{port}", publisher, folder, lambda: nginx(folder, site, port))


def of_haproxy(port: int, behind: int) -> str:
    return changed(
        snippet("proxy.md", "haproxy"), ("bind :80", f"bind 127.0.0.1:{port}"), ("10.0.0.5:9001", f"127.0.0.1:{behind}")
    )


def haproxy_by_the_proxy_protocol(folder: Path) -> None:
    port, behind = free_port(), free_port()
    with serving(folder, f"127.0.0.1:{behind}?proxy", options=("--trusted-proxies", "127.0.0.1")) as publisher:
        with haproxy(folder, of_haproxy(port, behind), port):
            each_has_its_own_limit(port)
            delivers(f"ws://127.0.0.1:{port}", publisher)


def haproxy_passes_tls_on(folder: Path) -> None:
    port, behind, trusted = free_port(), free_port(), certificate(folder)
    options = ("--trusted-proxies", "127.0.0.1", "--tls-certificate-files", str(trusted), "--tls-key-files", str(folder / "privkey.pem"))
    with serving(folder, f"wss://127.0.0.1:{behind}?proxy", options=options) as publisher:
        with haproxy(folder, of_haproxy(port, behind), port):
            until(lambda: is_up(port, trusted), "HAProxy sees the server")
            delivers(f"wss://localhost:{port}", publisher, "--ca", str(trusted))


def is_up(port: int, trusted: Path) -> bool:
    """Whether TLS is spoken behind the port."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(trusted), "-verify_return_error"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S).returncode == 0


def haproxy_goes_and_comes(folder: Path) -> None:
    port, behind = free_port(), free_port()
    with serving(folder, f"127.0.0.1:{behind}?proxy", options=("--trusted-proxies", "127.0.0.1"), limit=100) as publisher:
        goes_on(f"ws://127.0.0.1:{port}", publisher, folder, lambda: haproxy(folder, of_haproxy(port, behind), port))


def nobody_is_believed_who_is_not_trusted(folder: Path) -> None:
    """The limit tests can fail: without trust, all clients of a proxy share its address."""
    port, behind = free_port(), free_port()
    site = of_nginx(port, f"127.0.0.1:{behind}")
    with serving(folder, f"127.0.0.1:{behind}"), nginx(folder, site, port), contextlib.ExitStack() as open_:
        heads = []
        for number in range(LIMIT + 1):
            client, said = upgraded(port, f"127.0.0.{10 + number}")
            open_.enter_context(contextlib.closing(client))
            heads.append(" 101 " in said)
        assert heads == [True] * LIMIT + [False], heads


def in_a_folder(test: Callable[[Path], None]) -> Callable[[], None]:
    """With a folder of its own, whose logs are shown where it fails."""

    @functools.wraps(test)
    def run() -> None:
        folder = Path(tempfile.mkdtemp(prefix="fanwire-proxies-"))
        try:
            test(folder)
        except Exception:
            for log in sorted(folder.glob("*.log")):
                print(f"-- {log.name}\n{log.read_text()[-3000:]}")
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return run


if __name__ == "__main__":
    tests = [
        nginx_by_a_unix_socket,
        nginx_with_tls,
        nginx_goes_and_comes,
        haproxy_by_the_proxy_protocol,
        haproxy_passes_tls_on,
        haproxy_goes_and_comes,
        nobody_is_believed_who_is_not_trusted,
    ]
    sys.exit(run_all([in_a_folder(test) for test in tests]))
