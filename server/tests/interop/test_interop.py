"""Every client decodes every form byte for byte, several messages in a row, with permessage-deflate and without; and what
it sends comes back. What was really agreed and compressed is read from the wire, so that no test passes by not testing."""

import base64
import itertools
import json
import zlib

import pytest
from websockets.sync.client import connect

from forms import FORMS, Delivered, Form
from payloads import COMPRESSED_FROM, IN_A_ROW, SIZES, payload
from peers import Driver
from relay import Relay, Way

CLIENTS = ["tungstenite", "ws", "undici", "websockets", "aiohttp", "chromium"]
CANNOT_DEFLATE = {"tungstenite"}
COMPRESSES_WHAT_IT_SENDS = {"ws", "websockets", "aiohttp", "chromium"}
EXTENSION = "permessage-deflate"

topics = map("interop/{}".format, itertools.count())


def modes(client: str) -> list[str]:
    return ["plain"] if client in CANNOT_DEFLATE else ["plain", "deflate"]


class Publisher:
    """Publishes over `fanwire.json.v1`, whatever the subscribers speak."""

    def __init__(self, address: tuple[str, int]) -> None:
        host, port = address
        self._socket = connect(
            f"ws://{host}:{port}/",
            subprotocols=["fanwire.json.v1"],
            compression=None,
            max_size=None,
            proxy=None,
            legacy=True,
        )
        assert json.loads(self._socket.recv())["type"] == "welcome"

    def publish(self, topic: str, kind: str, data: bytes) -> None:
        head = f'{{"type":"publish","topic":"{topic}","data":'
        if kind == "json":
            self._socket.send(f"{head}{data.decode()}}}")
        elif kind == "text":
            self._socket.send(f'{head}{json.dumps(data.decode(), ensure_ascii=False)},"encoding":"text"}}')
        else:
            encoded = base64.b64encode(data).decode()
            self._socket.send(f'{head}"{encoded}","encoding":"base64"}}')

    def check(self) -> None:
        """Nothing was refused."""
        self._socket.send('{"type":"ping","id":1}')
        answer = json.loads(self._socket.recv())
        assert answer["type"] == "pong", answer

    def close(self) -> None:
        self._socket.close()



@pytest.fixture(scope="module")
def publisher(fanwire):
    publisher = Publisher(fanwire)
    yield publisher
    publisher.close()


def sizes(kind: str) -> list[int]:
    return [size for size in SIZES if size > 0 or kind != "json"]


class Subscriber:
    """A client under test, subscribed through a relay."""

    def __init__(self, driver: Driver, address: tuple[str, int], form: Form, topic: str, mode: str, **more: int) -> None:
        self.relay = Relay(address, offer=mode != "plain")
        self._driver = driver
        self._form = form
        self._read: list[Delivered] = []
        path = f"/t/{topic}" if form.protocol is None else "/"
        command = {"do": "open", "url": f"ws://127.0.0.1:{self.relay.port}{path}", "protocol": form.protocol}
        driver.tell(command | {"deflate": mode != "plain"} | more)
        agreed, _ = driver.next_event()
        assert agreed["event"] == "open", agreed
        assert agreed["protocol"] == (form.protocol or "")
        check_agreement(self.relay, mode, agreed["extensions"])
        if form.protocol is not None:
            kind, request = form.ask({"type": "subscribe", "id": 7, "topics": [topic]})
            driver.send(kind, request)
            while not any(isinstance(o, dict) and o["type"] == "subscribed" for o in form.read(*driver.next_message())):
                pass

    def next(self) -> Delivered:
        """The next published message."""
        while not self._read:
            for each in self._form.read(*self._driver.next_message()):
                assert isinstance(each, Delivered), f"the engine says {each}"
                self._read.append(each)
        return self._read.pop(0)

    def close(self) -> None:
        assert not self._read
        assert self._driver.close() == 1000
        self.relay.close()


def check_agreement(relay: Relay, mode: str, extensions: str) -> None:
    """The client was offered what the test is about: by its own words and by the wire's."""
    offered = relay.to_server.header("Sec-WebSocket-Extensions") or ""
    answered = relay.to_client.header("Sec-WebSocket-Extensions") or ""
    assert (EXTENSION in offered) == (mode != "plain"), offered
    assert (EXTENSION in answered) == (mode != "plain"), answered
    assert (EXTENSION in extensions) == (mode != "plain"), extensions


def check_compressed(way: Way) -> tuple[int, int]:
    """That another inflater reads what was compressed, and meets no final block. How many data frames were compressed, and how
    many were not although they were long enough."""
    compressed = passed_over = 0
    for frame in way.frames():
        if frame.opcode not in (1, 2):
            assert not frame.is_compressed
        elif frame.is_compressed:
            compressed += 1
            inflater = zlib.decompressobj(-15)
            inflated = inflater.decompress(frame.payload + b"\x00\x00\xff\xff")
            assert not inflater.eof, "a final block, after which Node's own WebSocket is silent"
            assert not inflater.unconsumed_tail and len(inflated) > len(frame.payload)
        elif len(frame.payload) >= COMPRESSED_FROM:
            passed_over += 1
    return compressed, passed_over


@pytest.mark.parametrize(
    ("client", "form", "mode"),
    [
        pytest.param(client, form, mode, id=f"{client}-{form}-{mode}")
        for client in CLIENTS
        for form in FORMS
        for mode in modes(client)
    ],
)
def test_every_message_arrives_byte_for_byte(drivers, fanwire, publisher, client, form, mode):
    driver = drivers(client)
    for kind, texture in form.kinds:
        topic = next(topics)
        subscriber = Subscriber(driver, fanwire, form, topic, mode)
        sent = received = 0
        for size in sizes(kind):
            payloads = [payload(kind, texture, size, number) for number in range(IN_A_ROW)]
            for each in payloads:
                publisher.publish(topic, kind, each)
            for each in payloads:
                got = subscriber.next()
                sent += 1
                assert got.kind == kind
                assert got.payload == each, f"message {sent}, of {size} bytes, came with {len(got.payload)}"
                assert got.seq in (None, sent)
        # All sizes again without waiting, so that they share batches and sends.
        burst = [payload(kind, texture, size, 7) for size in sizes(kind) if size < 1 << 20]
        for each in burst:
            publisher.publish(topic, kind, each)
        for each in burst:
            received += 1
            assert subscriber.next().payload == each, f"message {received} of the burst, of {len(each)} bytes"
        publisher.check()
        subscriber.close()
        compressed, passed_over = check_compressed(subscriber.relay.to_client)
        if mode == "plain" or not form.packs:
            assert compressed == 0
        elif texture == "repetitive":
            # What is longer than a MiB with its envelope is sent as it is, and nothing else.
            assert compressed > len(SIZES) and passed_over <= IN_A_ROW


@pytest.mark.parametrize("window", [9, 12, 14])
@pytest.mark.parametrize("client", ["ws", "websockets"])
def test_a_client_with_a_narrower_window_reads_everything(drivers, fanwire, publisher, client, window):
    form = FORMS[1]
    topic = next(topics)
    subscriber = Subscriber(drivers(client), fanwire, form, topic, "deflate", window=window)
    answer = subscriber.relay.to_client.header("Sec-WebSocket-Extensions")
    assert f"server_max_window_bits={window}" in answer
    for size in SIZES:
        for number in range(IN_A_ROW):
            publisher.publish(topic, "binary", payload("binary", "repetitive", size, number))
        for number in range(IN_A_ROW):
            assert subscriber.next().payload == payload("binary", "repetitive", size, number)
    subscriber.close()


@pytest.mark.parametrize(
    ("client", "mode"), [pytest.param(client, mode, id=f"{client}-{mode}") for client in CLIENTS for mode in modes(client)]
)
def test_what_a_client_sends_comes_back(drivers, echo, client, mode):
    driver = drivers(client)
    relay = Relay(echo, offer=mode != "plain")
    agreed = driver.open(f"ws://127.0.0.1:{relay.port}/", None, mode != "plain")
    check_agreement(relay, mode, agreed["extensions"])
    for kind, texture in (("text", "repetitive"), ("text", "noise"), ("binary", "repetitive"), ("binary", "mixed")):
        for size in SIZES:
            payloads = [payload(kind, texture, size, number) for number in range(IN_A_ROW)]
            for each in payloads:
                driver.send(kind, each)
            for number, each in enumerate(payloads):
                got_kind, got = driver.next_message()
                assert got_kind == kind
                assert got == each, f"echo {number} of {size} bytes came with {len(got)}"
    assert driver.close() == 1000
    relay.close()
    compressed = sum(frame.is_compressed for frame in relay.to_server.frames())
    if mode != "plain" and client in COMPRESSES_WHAT_IT_SENDS:
        assert compressed > 0, "the client was to send something compressed"
    else:
        assert compressed == 0
    check_compressed(relay.to_client)
