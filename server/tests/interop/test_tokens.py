"""Every client connects over TLS with a token, in each place where it can put one: the header, the query, the list of
subprotocols. What it may do is what the token says."""

import json
import os
import shutil
import subprocess

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from peers import Driver

PROTOCOL = "fanwire.json.v1"
CLIENTS = ["tungstenite", "ws", "undici", "websockets", "aiohttp", "chromium"]
PLACES = ["header", "query", "subprotocol"]
# A page cannot set a header of its WebSocket.
CANNOT = {("chromium", "header")}


def placed(place: str, url: str, token: str) -> dict:
    """The part of a driver's command that brings the token there."""
    match place:
        case "header":
            return {"url": url, "headers": {"Authorization": f"Bearer {token}"}}
        case "query":
            return {"url": f"{url}?token={token}"}
        case _:
            return {"url": url, "offers": [f"fanwire.token.{token}"]}


def object_of(driver: Driver) -> dict:
    kind, data = driver.next_message()
    assert kind == "text"
    return json.loads(data)


@pytest.mark.parametrize(
    ("client", "place"),
    [
        pytest.param(client, place, id=f"{client}-{place}")
        for client in CLIENTS
        for place in PLACES
        if (client, place) not in CANNOT
    ],
)
def test_a_client_comes_over_tls_with_a_token(drivers, guarded, client, place):
    driver = drivers(client)
    driver.tell({"do": "open", "protocol": PROTOCOL, "deflate": False, **placed(place, guarded.url, guarded.token)})
    agreed, _ = driver.next_event()
    # The token is not repeated.
    assert (agreed["event"], agreed["protocol"]) == ("open", PROTOCOL)
    assert object_of(driver)["type"] == "welcome"

    def ask(request: dict) -> dict:
        driver.send("text", json.dumps(request).encode())
        return object_of(driver)

    topic = f"mine/{client}/{place}"
    assert ask({"type": "subscribe", "id": 1, "topics": [topic]})["type"] == "subscribed"
    assert ask({"type": "publish", "topic": topic, "data": {"client": client}})["data"] == {"client": client}
    refused = ask({"type": "subscribe", "id": 2, "topics": ["others/1"]})
    assert (refused["code"], refused["id"]) == ("not_allowed", 2)
    assert driver.close() == 1000


@pytest.mark.parametrize("place", PLACES)
def test_curl_is_let_in_over_tls_with_a_token(guarded, place):
    curl = shutil.which("curl")
    if curl is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no curl, and CI skips nothing")
        pytest.skip("there is no curl")
    command = placed(place, guarded.url.replace("wss://", "https://"), guarded.token)
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": ", ".join([PROTOCOL, *command.get("offers", [])]),
        **command.get("headers", {}),
    }
    lines = [part for name, value in headers.items() for part in ("--header", f"{name}: {value}")]
    running = subprocess.Popen(
        [curl, "--silent", "--include", "--no-buffer", "--http1.1", "--cacert", str(guarded.authority.ca), *lines,
         command["url"]],
        stdout=subprocess.PIPE,
    )
    try:
        head = b""
        while not head.endswith(b"\r\n\r\n") and (byte := running.stdout.read(1)):
            head += byte
    finally:
        running.kill()
        running.wait()
    assert head.startswith(b"HTTP/1.1 101 "), head
    assert f"Sec-WebSocket-Protocol: {PROTOCOL}\r\n".encode() in head and guarded.token.encode() not in head


def test_without_a_token_nobody_is_let_in(guarded):
    for url in (guarded.url, f"{guarded.url}?token=x", f"{guarded.url}?token={guarded.token}x"):
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(url, ssl=guarded.trust, subprotocols=[PROTOCOL], proxy=None),
        ):
            pass
        assert refused.value.response.status_code == 401
