"""The pages in Chromium: the dashboard and the demo. Nothing inline, nothing from elsewhere, no fault that axe-core calls
serious, in light and dark, wide and on a phone; the slow client stands first, with what it lost, and a button closes it."""

import contextlib
import json
import os
import re
import shutil
import socket
import threading

import pytest
from playwright.sync_api import expect, sync_playwright
from websockets.sync.client import connect

from conftest import DRIVER, HERE, built
from peers import Server

PATIENCE_MS = 60_000
# As root there is no sandbox, and a browser that calls home has nobody to call in a test.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage"]
AXE = HERE / "node_modules" / "axe-core" / "axe.min.js"
SCREENS = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 375)]


@pytest.fixture(scope="module")
def browser():
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no Chromium, and CI skips nothing")
        pytest.skip("there is no Chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield running
        running.close()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def server():
    """A server with an admin port, and lanes so small that a slow client loses something soon."""
    admin = free_port()
    running = Server(
        built("fanwire"), "serve", "--listen", "127.0.0.1:0", "--cpus", "none", "--driver", DRIVER, "--publish", "loopback",
        "--lane-bytes", "64KiB", "--admin-listen", f"127.0.0.1:{admin}",
    )
    running.admin = f"http://127.0.0.1:{admin}/"
    yield running
    running.stop()


@pytest.fixture(scope="module")
def demo():
    port = free_port()
    running = Server(
        built("fanwire"), "demo", "--listen", "127.0.0.1:0", "--http", f"127.0.0.1:{port}", "--admin-listen", "127.0.0.1:0",
        "--driver", DRIVER,
    )
    running.page = f"http://127.0.0.1:{port}/"
    yield running
    running.stop()


ADMIN_TOKEN = "0123456789abcdef0123456789abcdef"


@contextlib.contextmanager
def server_with(*more: str):
    """A server of its own, whose admin port says where it is."""
    admin = free_port()
    running = Server(
        built("fanwire"), "serve", "--listen", "127.0.0.1:0", "--cpus", "none", "--driver", DRIVER,
        "--admin-listen", f"127.0.0.1:{admin}", *more,
    )
    running.admin = f"http://127.0.0.1:{admin}/"
    try:
        yield running
    finally:
        running.stop()


class Slow:
    """A client that subscribes and then reads nothing."""

    def __init__(self, address: tuple[str, int], topic: str) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.sendall(
            f"GET /t/{topic} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert self.socket.recv(12) == b"HTTP/1.1 101"


class Publisher:
    """Publishes until it is told to stop."""

    def __init__(self, address: tuple[str, int], topic: str) -> None:
        host, port = address
        self._socket = connect(
            f"ws://{host}:{port}/", subprotocols=["fanwire.json.v1"], compression=None, proxy=None, legacy=True
        )
        self._done = threading.Event()
        self._object = json.dumps({"type": "publish", "topic": topic, "data": {"text": "x" * 2000}})
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self._thread.start()

    def _publish(self) -> None:
        while not self._done.wait(0.005):
            self._socket.send(self._object)

    def stop(self) -> None:
        self._done.set()
        self._thread.join()
        self._socket.close()


def opened(browser, url: str, ready: str, **more):
    """A page that has got figures, and the faults that it had meanwhile."""
    page = browser.new_context(**more).new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: message.type == "error" and faults.append(message.text))
    page.on("request", lambda request: request.url.startswith(url) or faults.append(f"asks for {request.url}"))
    page.goto(url)
    page.wait_for_selector(ready, state="attached", timeout=PATIENCE_MS)
    return page, faults


def told(page, text: str) -> None:
    expect(page.locator("#banner-what")).to_contain_text(text, timeout=PATIENCE_MS)


def serious(page) -> list[str]:
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run(document)")["violations"]
    return [f"{v['id']}: {v['nodes'][0]['target']}" for v in found if v["impact"] in ("serious", "critical")]


@pytest.mark.parametrize(("scheme", "width"), SCREENS)
def test_pages_can_be_read_by_everybody(browser, server, demo, scheme, width):
    size = {"width": width, "height": 900}
    for url, ready in ((server.admin, "#shards li"), (demo.page, "#rovers tr")):
        page, _ = opened(browser, url, ready, color_scheme=scheme, viewport=size, bypass_csp=True)
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out at the side"
        page.context.close()


def test_pages_keep_to_their_policy(browser, server, demo):
    for url, ready in ((server.admin, "#shards li"), (demo.page, "#rovers tr")):
        page, faults = opened(browser, url, ready)
        assert page.request.get(url).headers["content-security-policy"].startswith("default-src")
        assert faults == []
        page.context.close()


def test_the_slow_client_is_first_with_what_it_lost_and_a_button_closes_it(browser, server):
    topic = "pages/slow"
    slow, publisher = Slow(server.address, topic), Publisher(server.address, topic)
    try:
        page, faults = opened(browser, server.admin, "#clients tr")
        row = page.locator("#clients tr").first
        expect(row.locator(".lost b")).not_to_have_text("0", timeout=PATIENCE_MS)
        assert re.fullmatch(r"\d+–\d+", row.locator(".lost small").inner_text())
        row.click()
        name = row.locator(".who b").inner_text()
        expect(page.locator("#detail-lost li").first).to_contain_text(topic)
        assert f"client={name}" in page.url
        row.get_by_role("button").click()
        page.get_by_role("button", name="Close it").click()
        expect(page.locator("#told")).to_contain_text("is being closed")
        expect(page.locator("#clients").get_by_text(name, exact=True)).to_have_count(0, timeout=PATIENCE_MS)
        assert faults == []
        page.context.close()
    finally:
        publisher.stop()
        slow.socket.close()


def test_who_has_an_admin_token_sees_figures_and_drains_the_server(browser, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{ADMIN_TOKEN}\n")
    with server_with("--admin-token-file", str(tokens)) as server:
        for credentials in (None, {"username": "me", "password": ADMIN_TOKEN[1:] + "0"}):
            context = browser.new_context(http_credentials=credentials)
            assert context.request.get(server.admin).status == 401
            context.close()
        # Who does not answer closes keeps the server for a while.
        stay = [Slow(server.address, "a") for _ in range(20)]
        page, faults = opened(
            browser, server.admin, "#shards li", http_credentials={"username": "me", "password": ADMIN_TOKEN}
        )
        expect(page.locator("#link-state")).to_have_text("live")
        page.locator("#drain").click()
        page.get_by_role("button", name="Leave it").click()
        assert page.request.get(f"{server.admin}readyz").status == 200, "it was asked first"
        assert faults == []
        page.locator("#drain").click()
        page.get_by_role("button", name="Drain and end").click()
        expect(page.locator("#told")).to_contain_text("The server drains")
        # No figures come any more, and then no connection: it is no live server that the page shows.
        expect(page.locator("#link-state")).to_have_text("draining", timeout=PATIENCE_MS)
        told(page, "The server drains")
        for client in stay:
            client.socket.close()
    # The page itself is a client that may take its time: a second request has ended the server at once.
    told(page, "has been drained, and has ended")
    page.context.close()


def test_where_clients_need_tokens_and_the_admin_port_has_none_the_page_says_so(browser, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("a-secret-of-the-tests,-long-enough\n")
    with server_with("--token-keys-file", str(secret)) as server:
        page = browser.new_page()
        page.goto(server.admin)
        told(page, "set admin.token_file")
        expect(page.locator("#tile-clients b")).to_have_text("–")
        page.context.close()
