#!/usr/bin/env python3
"""A client of fanwire.json.v1 and fanwire.batch.v1 written from PROTOCOL.md alone, with nothing but Python's standard library.

Job: to show that the document is enough, and that the server does what it says. Knows: RFC 6455 and PROTOCOL.md.
Must never know: the engine, or any library that was written with it.

    python3 core/tests/protocol_client.py ws://127.0.0.1:9001

checks a server that was just started with OPTIONS below, prints a line for each check and ends with `N passed, N failed`.
"""

import base64
import hashlib
import json
import os
import select
import socket
import struct
import sys
import time
import traceback
import urllib.parse
from typing import NamedTuple

# What the checks need of the server beyond its defaults (`python3 protocol_client.py --options` prints it).
OPTIONS = [
    "--max-message-bytes", "1MiB",
    "--topic", "short/**=keep-messages=3",
    "--topic", "nothing/**=keep-nothing",
    "--topic", "burst/**=batch-window=10s",
    "--topic", "lag/**=lane-bytes=256KiB",
    "--topic", "strict/**=disconnect,lane-bytes=256KiB",
]

JSON, BATCH = "fanwire.json.v1", "fanwire.batch.v1"
PRIORITIES = ["critical", "high", "normal", "low"]
KINDS = ["text", "binary", "json"]
PATIENCE = 60.0
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Closed(Exception):
    """The server sent a close frame (code None: without one), or ended TCP (code "EOF")."""

    def __init__(self, code):
        super().__init__(f"closed with {code}")
        self.code = code


class Refused(Exception):
    """The upgrade was answered with another status than 101."""

    def __init__(self, status, headers, body):
        super().__init__(f"HTTP {status}: {body!r}")
        self.status, self.headers, self.body = status, headers, body


class Message(NamedTuple):
    """A message of either subprotocol."""

    topic: str
    priority: str
    seq: int
    kind: str
    payload: bytes
    time_us: int


def require(truth, *what):
    if not truth:
        raise AssertionError(" ".join(str(w) for w in what))


def same(found, expected, what=""):
    require(found == expected, what, f"expected {expected!r}, found {found!r}")


class WebSocket:
    """RFC 6455: one connection."""

    def __init__(self, url, target="/", protocols=(JSON,), headers=(), early=b"", method="GET", version="13", receive=None):
        address = urllib.parse.urlsplit(url)
        self.socket = socket.socket(socket.AF_INET)
        if receive:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((address.hostname, address.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.pongs = []
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"{method} {target} HTTP/1.1", f"Host: {address.netloc}", "Upgrade: websocket", "Connection: Upgrade",
                 f"Sec-WebSocket-Version: {version}", f"Sec-WebSocket-Key: {key}"]
        if protocols:
            lines.append("Sec-WebSocket-Protocol: " + ", ".join(protocols))
        self.socket.sendall("\r\n".join([*lines, *headers, "", ""]).encode() + early)
        while b"\r\n\r\n" not in self.buffer:
            self.receive()
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        first, *others = head.decode().split("\r\n")
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in others)}
        self.buffer = bytearray(rest)
        status = int(first.split(" ")[1])
        if status != 101:
            try:
                while True:
                    self.receive()
            except Closed:
                raise Refused(status, self.headers, bytes(self.buffer)) from None
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        same(self.headers["sec-websocket-accept"], base64.b64encode(digest).decode(), "Sec-WebSocket-Accept")
        same(self.headers["upgrade"].lower(), "websocket", "Upgrade")
        same(self.headers["connection"].lower(), "upgrade", "Connection")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def receive(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise Closed("EOF")
        self.buffer += data

    def exactly(self, count):
        while len(self.buffer) < count:
            self.receive()
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    @staticmethod
    def frame(opcode, payload=b"", fin=True, masked=True, reserved=0):
        head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
        mask_bit = 0x80 if masked else 0
        if len(payload) < 126:
            head += bytes([mask_bit | len(payload)])
        elif len(payload) < 1 << 16:
            head += struct.pack(">BH", mask_bit | 126, len(payload))
        else:
            head += struct.pack(">BQ", mask_bit | 127, len(payload))
        if not masked:
            return head + payload
        mask = os.urandom(4)
        stream = (mask * (len(payload) // 4 + 1))[: len(payload)]
        return head + mask + (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(payload), "big")

    def send(self, opcode, payload=b"", **how):
        self.socket.sendall(self.frame(opcode, payload, **how))

    def text(self, *texts):
        """Sends text messages, all in one write."""
        self.socket.sendall(b"".join(self.frame(TEXT, t.encode()) for t in texts))

    def next_frame(self):
        """The next frame. The server never masks, fragments, sets a reserved bit or writes a length longer than needed."""
        first, second = self.exactly(2)
        opcode, length = first & 15, second
        require(first & 0x70 == 0 and first & 0x80, f"first byte {first:#x}")
        require(second < 128, "a masked frame from the server")
        if length == 126:
            (length,) = struct.unpack(">H", self.exactly(2))
            require(length > 125, "a length in too many bytes")
        elif length == 127:
            (length,) = struct.unpack(">Q", self.exactly(8))
            require(length > 0xFFFF, "a length in too many bytes")
        require(opcode in (TEXT, BINARY, CLOSE, PING, PONG), "opcode", opcode)
        return opcode, self.exactly(length)

    def next_data(self):
        """The next data message. Pings are answered, pongs kept, a close frame is answered and raised."""
        while True:
            opcode, payload = self.next_frame()
            if opcode == PING:
                self.send(PONG, payload)
            elif opcode == PONG:
                self.pongs.append(payload)
            elif opcode == CLOSE:
                try:
                    self.send(CLOSE, payload[:2])
                except OSError:
                    pass
                raise Closed(struct.unpack(">H", payload[:2])[0] if payload else None)
            else:
                return opcode, payload

    def close_code(self):
        """Reads until the server closes: its code."""
        try:
            while True:
                self.next_data()
        except Closed as closed:
            return closed.code


class Positions:
    """What a client keeps over its connections (PROTOCOL.md 5.3, 7.5, 12): per topic the epoch, and per lane two numbers."""

    def __init__(self):
        self.epoch = {}
        self.seen = {}  # (topic, priority): discard what is not higher
        self.held = {}  # (topic, priority): go on behind this

    def subscribed(self, answer):
        topic = answer["topic"]
        known = self.epoch.get(topic)
        if known != answer["epoch"]:
            for lane in [lane for lane in self.seen | self.held if lane[0] == topic]:
                self.seen.pop(lane, None)
                self.held.pop(lane, None)
        self.epoch[topic] = answer["epoch"]
        for priority in PRIORITIES:
            number = answer["seq"].get(priority, 0)
            self.seen[topic, priority] = number
            # A first subscription is due nothing older. On a resume, a gap may still have to say what is missing.
            self.held.setdefault((topic, priority), number if known is None else 0)

    def moved(self, topic, priority, number):
        self.seen[topic, priority] = self.held[topic, priority] = number

    def since(self, *topics):
        return {t: {"epoch": self.epoch[t], "seq": {p: self.held[t, p] for p in PRIORITIES if self.held[t, p]}} for t in topics}


class Frame(NamedTuple):
    """A binary frame of fanwire.batch.v1, read by its offsets."""

    kind: int
    payload_kind: str
    priority: int
    topic_id: int
    first_seq: int
    messages: list  # of (nanoseconds, payload)
    block: bytes

    @classmethod
    def read(cls, data):
        require(len(data) >= 24, "a frame of", len(data), "bytes")
        version, kind, flags, priority, topic_id, first_seq, raw_size, reserved = struct.unpack_from("<BBBBIQII", data)
        block = data[24:]
        same((version, reserved, raw_size), (1, 0, len(block)), "version, reserved, raw_size")
        same(flags & ~0b110, 0, "flags that are not agreed")
        require(flags >> 1 < 3, "payload kind 3")
        messages = []
        if kind == 1:
            count, total = struct.unpack_from("<II", block)
            same(total, raw_size - 8, "total_size")
            require(count >= 1 and priority < 4, f"message_count {count}, priority {priority}")
            at = 8
            for _ in range(count):
                nanoseconds, again, size = struct.unpack_from("<QBI", block, at)
                same(again, priority, "priority of a message")
                at += 13
                require(at + size <= len(block), "a message beyond its block")
                messages.append((nanoseconds, block[at : at + size]))
                at += size
            same(at, len(block), "end of the last message")
        return cls(kind, KINDS[flags >> 1], priority, topic_id, first_seq, messages, block)


def members(text):
    """The members of a JSON object with their source text: `data` is passed on byte for byte."""
    decoder, found, at = json.JSONDecoder(), {}, 1
    same((text[0], text[-1]), ("{", "}"), "an object")
    while at < len(text) - 1:
        key, at = decoder.raw_decode(text, at)
        same(text[at], ":")
        start = at + 1
        _, at = decoder.raw_decode(text, start)
        found[key] = text[start:at]
        require(text[at] in ",}", "after a member:", text[at:])
        at += 1
    return found


class Client:
    """A subscriber and publisher: the same events, whichever subprotocol."""

    def __init__(self, url, protocol=JSON, positions=None, control=TEXT, **how):
        self.ws = WebSocket(url, protocols=(protocol,), **how)
        same(self.ws.headers.get("sec-websocket-protocol"), protocol, "the subprotocol in the response")
        self.protocol, self.control = protocol, control
        self.positions = positions or Positions()
        self.topics, self.frames, self.queue, self.discarded = {}, [], [], []
        self.raw = ""
        self.welcome = self.object()
        same(self.welcome["type"], "welcome", "the first message")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ws.socket.close()

    def texts(self, *texts):
        """Sends requests as they are written, all in one write."""
        if self.control == TEXT:
            self.ws.text(*texts)
        else:
            heads = ((struct.pack("<BBBBIQII", 1, 2, 4, 0, 0, 0, len(t.encode()), 0), t.encode()) for t in texts)
            self.ws.socket.sendall(b"".join(WebSocket.frame(BINARY, head + body) for head, body in heads))

    def request(self, kind, **fields):
        self.texts(json.dumps({"type": kind, **fields}, ensure_ascii=False))

    def publish(self, topic, *payloads, **fields):
        """Publishes bytes as binary, strings as text and what else as JSON, all in one write."""
        texts = []
        for payload in payloads:
            item = {"type": "publish", "topic": topic, **fields, "data": payload}
            if isinstance(payload, bytes):
                item |= {"data": base64.b64encode(payload).decode(), "encoding": "base64"}
            elif isinstance(payload, str):
                item["encoding"] = "text"
            texts.append(json.dumps(item))
        self.texts(*texts)

    def event(self):
        """The next object, or message, due or not."""
        while True:
            if self.queue:
                return self.queue.pop(0)
            opcode, data = self.ws.next_data()
            if self.protocol == BATCH:
                same(opcode, BINARY, "opcode")
                self.read_frame(Frame.read(data))
                continue
            same(opcode, TEXT, "opcode")
            self.raw = data.decode()
            found = json.loads(self.raw)
            if found["type"] != "message":
                return found
            encoding, source = found.get("encoding"), members(self.raw)["data"]
            require(encoding in (None, "text", "base64"), "encoding", encoding)
            if encoding == "base64":
                kind, payload = "binary", base64.b64decode(found["data"], validate=True)
            else:
                kind, payload = ("text", found["data"].encode()) if encoding else ("json", source.encode())
            return Message(found["topic"], found["priority"], found["seq"], kind, payload, found["time_us"])

    def read_frame(self, frame):
        if frame.kind == 2:
            same((frame.payload_kind, frame.priority, frame.topic_id, frame.first_seq), ("json", 0, 0, 0), "a control frame")
            found = json.loads(frame.block)
            require(found["type"] != "message", "a message in a control frame")
            self.queue.append(found)
            # Later data frames of this connection use its number.
            if found["type"] == "subscribed":
                self.topics[found["topic_id"]] = found["topic"]
        elif frame.kind == 1:
            self.frames.append(frame)
            require(frame.topic_id in self.topics, "topic_id", frame.topic_id, "before `subscribed`")
            for number, (nanoseconds, payload) in enumerate(frame.messages, frame.first_seq):
                self.queue.append(Message(self.topics[frame.topic_id], PRIORITIES[frame.priority], number, frame.payload_kind, payload,
                                          nanoseconds // 1000))

    def next(self):
        """The next event that is due; keeps the positions."""
        while True:
            event = self.event()
            if isinstance(event, Message):
                if event.seq <= self.positions.seen[event.topic, event.priority]:
                    self.discarded.append(event)
                    continue
                self.positions.moved(event.topic, event.priority, event.seq)
            elif event["type"] == "subscribed":
                self.positions.subscribed(event)
            elif event["type"] == "gap":
                self.positions.moved(event["topic"], event["priority"], event["to"])
            return event

    def object(self, kind=None):
        """The next event, which is an object (of this type)."""
        event = self.next()
        require(isinstance(event, dict), "expected", kind or "an object", "found", event)
        if kind:
            same(event["type"], kind, event)
        return event

    def message(self):
        """The next event, which is a message."""
        event = self.next()
        require(isinstance(event, Message), "expected a message, found", event)
        return event

    def subscribe(self, *topics, **fields):
        """Subscribes to names: the last `subscribed`."""
        self.request("subscribe", topics=topics, **fields)
        answers = [self.object("subscribed") for _ in topics]
        same(sorted(a["topic"] for a in answers), sorted(topics), "topics of `subscribed`")
        return answers[-1]

    def pong(self, number="pong?"):
        """Sends `ping`; what comes before its `pong`."""
        self.request("ping", id=number)
        before = []
        while True:
            event = self.next()
            if isinstance(event, dict) and event["type"] == "pong" and event.get("id") == number:
                return before
            before.append(event)


CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def published(url, topic, *payloads, priority="normal"):
    """Publishes from a connection of its own, and comes back when a subscriber has got the last."""
    with Client(url) as watcher, Client(url) as publisher:
        watcher.subscribe(topic)
        publisher.publish(topic, *payloads, priority=priority)
        publisher.pong()
        for _ in payloads:
            watcher.message()


def joined(url, *arguments):
    """A connection whose thread of the server has taken all that was published so far."""
    client, topic = Client(url, *arguments), f"mark/{os.urandom(8).hex()}"
    client.subscribe(topic)
    with Client(url) as publisher:
        publisher.publish(topic, "mark")
        client.message()
    client.frames.clear()
    return client


def refusal(url, *arguments, **how):
    try:
        WebSocket(url, *arguments, **how)
    except Refused as refused:
        same(refused.headers["content-type"].split(";")[0], "text/plain", "content type")
        require(refused.body.strip(), "a line that says why")
        return refused
    raise AssertionError("accepted")


def error_of(client, text):
    client.texts(text)
    answer = client.object("error")
    require(isinstance(answer["message"], str) and answer["message"], "message for people")
    return answer


# --- Connecting (2) ---


@check
def upgrade_takes_the_first_subprotocol_it_knows(url):
    with WebSocket(url, protocols=("unknown.v9", BATCH, JSON)) as ws:
        same(ws.headers["sec-websocket-protocol"], BATCH)
    with WebSocket(url, "/t/up", protocols=("unknown.v9",)) as ws:
        require("sec-websocket-protocol" not in ws.headers, "a raw connection names a subprotocol")


@check
def refused_upgrades_have_their_status(url):
    same(refusal(url, "/other").status, 404)
    same(refusal(url, protocols=()).status, 404, "neither subprotocol nor topic")
    post = refusal(url, method="POST")
    same((post.status, post.headers["allow"]), (405, "GET"))
    same(refusal(url, version="12").status, 426)
    same(refusal(url, "/t/a*b").status, 400, "a bad topic name")
    same(refusal(url, headers=["Host: twice"]).status, 400, "two Host")
    same(refusal(url, headers=["X: " + "x" * 17000]).status, 431)
    same(refusal(url, headers=[f"X-{n}: 1" for n in range(70)]).status, 431)


@check
def compression_is_agreed_without_context_takeover(url):
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    with WebSocket(url, headers=[offer]) as ws:
        words = {w.strip() for w in ws.headers["sec-websocket-extensions"].split(";")}
        same(words, {"permessage-deflate", "server_no_context_takeover", "client_no_context_takeover"})
    with WebSocket(url) as ws:
        require("sec-websocket-extensions" not in ws.headers, "an extension that was not offered")


@check
def welcome_has_its_fields(url):
    for protocol in (JSON, BATCH):
        with Client(url, protocol) as client:
            welcome, limits = client.welcome, client.welcome["limits"]
            require(isinstance(welcome["session"], str) and isinstance(welcome["server"], str), welcome)
            same(welcome["protocol"], protocol)
            require(abs(welcome["time_us"] / 1e6 - time.time()) < 3600, "time_us", welcome["time_us"])
            same((limits["message_bytes_max"], limits["topics_max"], limits["subscriptions_max"]), (1 << 20, 1024, 1024))


@check
def topics_of_the_target_are_subscribed(url):
    with Client(url, target="/t/target/%C3%A4%20b?topic=target/c+d&unknown=1") as client:
        answers = [client.object("subscribed") for _ in range(2)]
        same({a["topic"] for a in answers}, {"target/ä b", "target/c d"})
        require(all("id" not in a for a in answers), "an id that nobody sent")


@check
def frames_may_follow_the_request_at_once(url):
    with Client(url, early=WebSocket.frame(TEXT, b'{"type":"ping","id":"early"}')) as client:
        same(client.object("pong")["id"], "early")


@check
def raw_connections_carry_bare_payloads(url):
    with WebSocket(url, "/t/raw/a", protocols=()) as raw, WebSocket(url, "/t/raw/a?echo=0", protocols=()) as mute, Client(url) as other:
        other.subscribe("raw/a")
        raw.text("täxt")
        same(raw.next_data(), (TEXT, "täxt".encode()))
        first = other.message()
        same((first.kind, first.priority, first.payload), ("text", "normal", "täxt".encode()))
        mute.send(BINARY, b"\0\xff")
        same(raw.next_data(), (BINARY, b"\0\xff"))
        same(other.message().kind, "binary")
        other.publish("raw/a", {"j": 1})
        same(json.loads(raw.next_data()[1]), {"j": 1})
        same(mute.next_data(), (TEXT, "täxt".encode()))
        same(json.loads(mute.next_data()[1]), {"j": 1}, "echo=0")


# --- Requests and answers (3) ---


@check
def subscribe_is_answered_with_subscribed(url):
    with Client(url) as client:
        answer = client.subscribe("plain/a", id=7)
        same((answer["id"], answer["topic"]), (7, "plain/a"))
        require(0 <= answer["topic_id"] < 1 << 32 and 0 <= answer["epoch"] < 1 << 53, answer)
        same({p: n for p, n in answer["seq"].items() if n}, {}, "a new topic")
        require("id" not in client.subscribe("plain/b"), "an id that nobody sent")


@check
def json_payloads_are_passed_on_byte_for_byte(url):
    sources = ['{"b" : 1.50,"a":[ 1e300, -0.0 ,{}],"b":"\\u00e4ä\\/"}', "null", "12345678901234567890123", '"s"', "[" * 126 + "]" * 126]
    with Client(url) as client:
        client.subscribe("verbatim")
        for source in sources:
            client.texts('{"data":%s,"topic":"verbatim","type":"publish"}' % source)
            message = client.message()
            same((message.kind, message.payload), ("json", source.encode()))
            require(abs(message.time_us / 1e6 - time.time()) < 3600, "time_us", message.time_us)
        answer = error_of(client, '{"type":"publish","topic":"verbatim","data":%s}' % ("[" * 127 + "]" * 127))
        require(answer["code"] in ("bad_json", "bad_data", "bad_message"), answer)


@check
def text_payloads_come_as_text(url):
    with Client(url) as client:
        client.subscribe("text")
        for text in ["", 'quote " backslash \\ line\n tab\t', "\0\x1f\x7f", "ä€😀\u2028", "x" * 100_000]:
            client.publish("text", text)
            message = client.message()
            same((message.kind, message.payload), ("text", text.encode()))


@check
def binary_payloads_come_as_padded_base64(url):
    with Client(url) as client:
        client.subscribe("binary")
        for payload in [b"", b"\0", b"\xff\xfe", bytes(range(256)), os.urandom(70_000)]:
            client.publish("binary", payload)
            message = client.message()
            same((message.kind, message.payload), ("binary", payload))
        client.texts('{"type":"publish","topic":"binary","data":"AAECAwQ","encoding":"base64"}')
        same(client.message().payload, b"\0\1\2\3\4", "without padding")
        same(json.loads(client.raw)["data"], "AAECAwQ=", "padded")


@check
def every_priority_counts_from_1(url):
    with Client(url) as client:
        client.subscribe("lanes")
        for round_ in range(3):
            for priority in PRIORITIES:
                client.publish("lanes", [round_], priority=priority)
                message = client.message()
                same((message.priority, message.seq), (priority, round_ + 1))
        client.texts('{"type":"publish","topic":"lanes","data":1,"priority":null,"encoding":null,"key":null,"ttl_ms":null}')
        message = client.message()
        same((message.priority, message.seq, message.kind), ("normal", 4, "json"), "null counts as absent")


@check
def wildcards_bring_topics_that_come_later(url):
    with Client(url) as stars, Client(url) as rest, Client(url) as publisher:
        stars.request("subscribe", id="s", topics=["wild/*/imu"])
        rest.request("subscribe", id="r", topics=["wild/**"])
        same((stars.pong(), rest.pong()), ([], []), "before there is such a topic")
        for topic in ["wild", "wild/a", "wild/b/gps", "wild/b/imu", "wild/b/c/imu"]:
            publisher.publish(topic, topic)
            publisher.pong()
        answer, message = stars.object("subscribed"), stars.message()
        same((answer["id"], answer["topic"], message.topic, message.seq), ("s", "wild/b/imu", "wild/b/imu", 1))
        seen, found = set(), []
        while len(found) < 4:
            event = rest.next()
            if isinstance(event, Message):
                require(event.topic in seen, "a message before its `subscribed`")
                found.append(event.topic)
            else:
                same((event["type"], event["id"]), ("subscribed", "r"))
                seen.add(event["topic"])
        same(sorted(found), ["wild/a", "wild/b/c/imu", "wild/b/gps", "wild/b/imu"])
        publisher.publish("wild/z/imu", "z")
        stars.object("subscribed")
        same(stars.message().topic, "wild/z/imu", "nothing in between")


@check
def the_last_value_comes_on_subscribe(url):
    published(url, "last/a", 1, 2, 3)
    published(url, "last/a", "low", priority="low")
    with joined(url) as client:
        answer = client.subscribe("last/a")
        same(({p: n for p, n in answer["seq"].items() if n}), {"normal": 2}, "seq")
        found = {m.priority: (m.seq, m.payload) for m in (client.message(), client.message())}
        same(found, {"normal": (3, b"3"), "low": (1, b"low")})
    published(url, "nothing/a", 1, 2)
    with joined(url) as client, Client(url) as publisher:
        same(client.subscribe("nothing/a")["seq"].get("normal"), 2, "a topic that keeps nothing")
        publisher.publish("nothing/a", 3)
        same(client.message().seq, 3)


@check
def after_unsubscribed_nothing_more_comes(url):
    with Client(url) as client, Client(url) as publisher:
        client.subscribe("un/a", "un/b")
        client.request("unsubscribe", id=5, topics=["un/a"])
        same(client.object("unsubscribed"), {"type": "unsubscribed", "id": 5, "topic": "un/a"})
        publisher.publish("un/a", "no")
        publisher.pong()
        publisher.publish("un/b", "yes")
        same(client.message().payload, b"yes")
        answer = error_of(client, '{"type":"unsubscribe","id":6,"topics":["un/a"]}')
        same((answer["code"], answer["id"]), ("not_subscribed", 6))
        client.subscribe("un/a", id=7)
        same(client.message().payload, b"no", "the last value of a new subscription")


@check
def a_topic_comes_once_however_often_it_matches(url):
    with Client(url) as client, Client(url) as publisher:
        first = client.subscribe("over/a", id=1)
        client.request("subscribe", id=2, topics=["over/*", "over/**"])
        client.request("subscribe", id=3, topics=["over/a"])
        again, ids = first, []
        while again["id"] != 3:
            again = client.object("subscribed")
            ids.append(again["id"])
            same((again["topic"], again["topic_id"], again["epoch"]), ("over/a", first["topic_id"], first["epoch"]))
        require(ids in ([3], [2, 3], [2, 2, 3]), "ids", ids)
        publisher.publish("over/a", 1, 2)
        same([client.message().seq, client.message().seq], [1, 2])
        client.request("unsubscribe", topics=["over/a"])
        client.object("unsubscribed")
        publisher.publish("over/a", 3)
        same(client.message().seq, 3, "another subscription still matches")


@check
def requests_that_cannot_be_taken_are_answered_with_error(url):
    cases = {
        "bad_json": ["{", "", "[1,2", '{"type":"ping"} x', "[" * 200 + "]" * 200],
        "bad_message": ['{"type":"subscribe","id":9}', '{"type":"subscribe","id":9,"topics":[]}', '{"type":"subscribe","id":9,"topics":"a"}',
                        '{"type":"publish","id":9,"topic":"err"}', '{"type":"subscribe","id":9,"topics":["a"],"max_hz":0}',
                        '{"type":"publish","id":9,"topic":"err","data":1,"ttl_ms":-1}', '{"type":"publish","id":9,"topic":"err","data":1,"key":""}',
                        '{"type":"publish","id":9,"topic":"err","data":1,"encoding":"text"}'],
        "bad_topic": ['{"type":"subscribe","id":9,"topics":["%s"]}' % t for t in ("", "a*", "/a", "a//b", "a/", "**/a", "a\\u0007", "x" * 256)]
        + ['{"type":"publish","id":9,"topic":"a/*","data":1}'],
        "bad_priority": ['{"type":"publish","id":9,"topic":"err","data":1,"priority":"urgent"}'],
        "bad_encoding": ['{"type":"publish","id":9,"topic":"err","data":"","encoding":"hex"}'],
        "bad_data": ['{"type":"publish","id":9,"topic":"err","data":"?","encoding":"base64"}'],
        "not_allowed": ['{"type":"publish","id":9,"topic":"$sys","data":1}'],
        "too_many_topics": [json.dumps({"type": "subscribe", "id": 9, "topics": ["t"] * 1025})],
    }
    with Client(url) as client:
        for code, texts in cases.items():
            for text in texts:
                answer = error_of(client, text)
                same(answer["code"], code, text[:80])
                if code != "bad_json":
                    same(answer.get("id"), 9, text[:80])
        answer = error_of(client, '{"type":"subscribe","id":9,"topics":["err/1","a*"]}')
        same(answer["code"], "bad_topic")
        answer = error_of(client, '{"type":"unsubscribe","id":9,"topics":["err/1"]}')
        same(answer["code"], "not_subscribed", "one bad name refuses the whole request")
        same(error_of(client, '{"type":"ping","id":"%s"}' % ("x" * 63)).get("id"), None, "an id of 65 bytes is not repeated")
        same(error_of(client, '{"type":"publish","topic":"err","data":1e400}')["code"], "bad_json", "beyond a double")
        same(error_of(client, '{"type":"publish","topic":"err","data":"\\ud800"}')["code"], "bad_json", "half a surrogate pair")
        same(error_of(client, '{"type":"publish","topic":"err","data":1,"ttl_ms":1e3}')["code"], "bad_message", "no plain integer")
        same(error_of(client, '{"type":"subscribe","topics":["$a/*"]}')["code"], "bad_topic", "a wildcard under `$`")
        client.ws.send(BINARY, b'{"type":"ping"}')
        same(client.object("error")["code"], "bad_message", "a binary message")
        same(client.pong(), [], "the connection goes on")


@check
def ids_are_repeated_as_they_were_written(url):
    with Client(url) as client:
        for written in ["4", "-1.50e+2", "12345678901234567890123", '"a\\u0062 \\"x\\""', '"ä"', '"' + "x" * 62 + '"']:
            client.texts('{"id":%s,"type":"ping"}' % written)
            client.object("pong")
            same(members(client.raw)["id"], written)
        client.request("ping")
        same(client.object("pong"), {"type": "pong"})
        client.texts('{"type":"ping","id":null}')
        same(client.object("pong"), {"type": "pong"}, "null counts as absent")


@check
def what_is_unknown_is_ignored(url):
    with Client(url) as client:
        client.texts('{"type":"tomorrow","id":1,"data":{}}', '{"type":"ping","new":[{}],"id":1,"id":2}')
        same(client.object("pong")["id"], 2, "the last of two keys")
        client.texts('{"new":1,"topics":["unknown"],"later":{"a":null},"type":"subscribe"}')
        same(client.object("subscribed")["topic"], "unknown")


@check
def utf8_names_are_topics(url):
    topic = "räume/東京/😀 \u2028"
    with Client(url) as client, Client(url) as publisher:
        client.request("subscribe", topics=["räume/*/*"])
        client.pong()
        publisher.publish(topic, "ü")
        same(client.object("subscribed")["topic"], topic)
        same(client.message()[:3], (topic, "normal", 1))
        longest = "ä" * 127 + "x"
        same(client.subscribe(longest)["topic"], longest, "255 bytes")


@check
def echo_false_passes_over_own_messages_without_a_gap(url):
    with Client(url) as own, Client(url) as other:
        own.subscribe("echo", echo=False)
        other.subscribe("echo")
        own.publish("echo", "mine")
        own.pong()
        same(other.message().seq, 1)
        other.publish("echo", "theirs")
        same(own.message().seq, 2, "a jump without a gap")


@check
def max_hz_passes_over_without_a_gap(url):
    with Client(url) as slow, Client(url) as publisher:
        slow.subscribe("hz", max_hz=2)
        publisher.publish("hz", *range(300))
        seen = [slow.message().seq]
        while seen[-1] < 300:
            seen.append(slow.message().seq)
        require(len(seen) < 300, "everything came")


# --- Going on (7) ---


@check
def resume_goes_on_behind_the_last_number(url):
    for protocol in (JSON, BATCH):
        topic, positions = "resume/" + protocol, Positions()
        with Client(url) as publisher:
            with Client(url, protocol, positions) as client:
                client.subscribe(topic)
                publisher.publish(topic, *range(1, 6))
                same([client.message().seq for _ in range(5)], [1, 2, 3, 4, 5])
            publisher.publish(topic, *range(6, 10))
            publisher.publish(topic, "c", priority="critical")
            publisher.pong()
            same(positions.since(topic)[topic]["seq"], {"normal": 5})
            with joined(url, protocol, positions) as client:
                client.request("subscribe", topics=["resume/*"], since=positions.since(topic))
                found = []
                while len(found) < 5:
                    event = client.next()
                    if isinstance(event, Message) and event.topic == topic:
                        found.append((event.priority, event.seq, event.payload))
                    else:
                        require(isinstance(event, Message) or event["type"] == "subscribed", event)
                same(sorted(found), [("critical", 1, b"c")] + [("normal", n, b"%d" % n) for n in range(6, 10)])


@check
def resume_beyond_what_is_kept_is_told_as_retention(url):
    for protocol in (JSON, BATCH):
        topic = "short/" + protocol
        published(url, topic, *range(1, 9))
        with joined(url, protocol) as client:
            epoch = client.subscribe(topic)["epoch"]
        with joined(url, protocol) as client:
            client.subscribe(topic, since={topic: {"epoch": epoch, "seq": {"normal": 2}}})
            gap = client.object("gap")
            same((gap["topic"], gap["priority"], gap["from"], gap["reason"]), (topic, "normal", 3, "retention"))
            later = [client.message().seq for _ in range(8 - gap["to"])]
            same(later, list(range(gap["to"] + 1, 9)))
            if protocol == JSON:
                same(gap["to"], 5, "the last three are kept")


@check
def another_epoch_is_told_and_brings_all_that_is_kept(url):
    published(url, "short/epoch", *range(1, 6))
    with joined(url) as client:
        answer = client.subscribe("short/epoch", since={"short/epoch": {"epoch": 1, "seq": {"normal": 4}}})
        require(answer["epoch"] != 1, "the epoch")
        gap = client.object("gap")
        same((gap["priority"], gap["from"], gap["to"], gap["reason"]), ("normal", 1, 2, "epoch"))
        same([client.message().seq for _ in range(3)], [3, 4, 5])
    published(url, "long/epoch", 1, 2, 3)
    with joined(url) as client:
        client.subscribe("long/epoch", since={"long/epoch": {"epoch": 1, "seq": {"normal": 2}}})
        same([client.message().seq for _ in range(3)], [1, 2, 3], "no gap where all are kept")


@check
def a_lane_that_since_does_not_name_comes_whole(url):
    published(url, "unnamed", 1, 2)
    published(url, "unnamed", 1, 2, priority="high")
    with joined(url) as client:
        epoch = client.subscribe("unnamed")["epoch"]
    with joined(url) as client:
        client.subscribe("unnamed", since={"unnamed": {"epoch": epoch, "seq": {"normal": 2}}})
        same([client.message()[1:3] for _ in range(2)], [("high", 1), ("high", 2)])
    with joined(url) as client:
        client.subscribe("unnamed", since={"unnamed": {"epoch": epoch}})
        same(sorted(client.message()[1:3] for _ in range(4)), [("high", 1), ("high", 2), ("normal", 1), ("normal", 2)], "without `seq`")


@check
def a_future_number_brings_the_next_message(url):
    published(url, "future", 1, 2)
    with joined(url) as client:
        epoch = client.subscribe("future")["epoch"]
    with joined(url) as client, Client(url) as publisher:
        answer = client.subscribe("future", since={"future": {"epoch": epoch, "seq": {"normal": 1000}}})
        same(answer["seq"], {"normal": 2})
        publisher.publish("future", 3)
        same(client.message().seq, 3)


@check
def since_of_a_topic_that_does_not_exist_begins_anew(url):
    with Client(url) as client:
        answer = client.subscribe("gone", since={"gone": {"epoch": 1, "seq": {"normal": 9}}})
        require(answer["epoch"] != 1, "epoch")
        same({p: n for p, n in answer["seq"].items() if n}, {})
        client.publish("gone", 1)
        same(client.message().seq, 1)


@check
def a_slow_reader_is_told_exactly_what_it_lost(url):
    count, payload = 1500, "x" * 16_000
    for protocol in (JSON, BATCH):
        topic = "lag/" + protocol
        with Client(url, protocol, receive=16_384) as slow, Client(url) as publisher:
            slow.subscribe(topic)
            for _ in range(0, count, 50):
                publisher.publish(topic, *[payload] * 50)
            publisher.pong()
            at, gaps = 0, 0
            while at < count:
                event = slow.next()
                if isinstance(event, Message):
                    same(event.seq, at + 1, "a message")
                    at = event.seq
                else:
                    same((event["type"], event["from"], event["reason"]), ("gap", at + 1, "lag"))
                    at, gaps = event["to"], gaps + 1
            require(gaps, "no gap")


@check
def who_may_not_lag_is_closed_with_1013(url):
    for topic, priority in (("strict/a", "normal"), ("lag/critical", "critical")):
        with Client(url, receive=16_384) as slow, Client(url) as publisher:
            slow.subscribe(topic)
            for _ in range(30):
                publisher.publish(topic, *["x" * 16_000] * 50, priority=priority)
            publisher.pong()
            same(slow.ws.close_code(), 1013, topic)


# --- Batches (5) ---


@check
def batch_takes_requests_as_text_and_as_kind_2(url):
    for control in (TEXT, BINARY):
        with Client(url, BATCH, control=control) as client:
            same(client.subscribe("control", id="c")["id"], "c")
            same(client.pong(), [])
            same(error_of(client, "{")["code"], "bad_json")
            data = struct.pack("<BBBBIQIIIIQBI", 1, 1, 0, 2, 0, 1, 21, 0, 1, 13, 0, 2, 0)
            client.ws.send(BINARY, data)
            same(client.object("error")["code"], "bad_message", "a data frame")
            client.ws.send(BINARY, struct.pack("<BBBBIQII", 1, 77, 0, 0, 0, 0, 0, 0))
            same(client.pong(), [], "frames of another kind are ignored")


@check
def batch_frames_carry_every_kind_and_priority(url):
    with Client(url, BATCH) as client:
        number = client.subscribe("kinds")["topic_id"]
        for at, priority in enumerate(PRIORITIES):
            for seq, (kind, payload, bare) in enumerate([("text", "ä", "ä".encode()), ("binary", b"\0\xff", b"\0\xff"), ("json", [1], b"[1]")], 1):
                client.publish("kinds", payload, priority=priority)
                same(client.message()[:5], ("kinds", priority, seq, kind, bare))
                frame = client.frames[-1]
                same((frame.priority, frame.topic_id, len(frame.messages)), (at, number, 1))
                require(abs(frame.messages[0][0] / 1e9 - time.time()) < 3600, "timestamp")


@check
def batch_and_json_tell_the_same_time(url):
    with Client(url, BATCH) as batch, Client(url) as plain:
        batch.subscribe("times")
        plain.subscribe("times")
        plain.publish("times", 1)
        same(batch.message(), plain.message())


@check
def a_burst_comes_in_batches_of_50(url):
    with Client(url, BATCH) as client, Client(url) as publisher:
        client.subscribe("burst/a")
        publisher.publish("burst/a", *range(120))
        publisher.publish("burst/a", "end", key="k")
        same([client.message()[2:5] for _ in range(120)], [(n + 1, "json", b"%d" % n) for n in range(120)])
        same([(f.first_seq, len(f.messages)) for f in client.frames[:3]], [(1, 50), (51, 50), (101, 20)])


@check
def another_kind_and_64_kib_close_a_batch(url):
    with Client(url, BATCH) as client, Client(url) as publisher:
        client.subscribe("burst/b")
        payloads = ["a", "b", b"c", 1, 2, 3, *["x" * 30_000] * 3, "y" * 70_000, "z"]
        publisher.publish("burst/b", *payloads)
        publisher.publish("burst/b", "2", key="k")
        publisher.publish("burst/b", "3", ttl_ms=600_000)
        publisher.publish("burst/b", "4", "5")
        publisher.publish("burst/b", "6", key="k")
        for _ in range(len(payloads) + 5):
            client.message()
        same([len(f.messages) for f in client.frames[:7]], [2, 1, 3, 2, 1, 1, 1])
        same([len(f.messages) for f in client.frames[7:]], [1, 1, 2, 1], "a key or a time to live travels alone")


@check
def critical_messages_do_not_wait_for_a_batch(url):
    with Client(url, BATCH) as client, Client(url) as publisher:
        client.subscribe("burst/c")
        publisher.publish("burst/c", "waits")
        publisher.publish("burst/c", "now", priority="critical")
        same(client.message()[1], "critical")
        publisher.publish("burst/c", "ends it", key="k")
        same([client.message()[2:5] for _ in range(2)], [(1, "text", b"waits"), (2, "text", b"ends it")])
        same([len(f.messages) for f in client.frames], [1, 1, 1])


@check
def a_batch_client_discards_what_it_is_not_due(url):
    with Client(url, BATCH) as first, Client(url) as publisher:
        epoch = first.subscribe("burst/d")["epoch"]
        publisher.publish("burst/d", *range(1, 101))
        same([first.message().seq for _ in range(100)], list(range(1, 101)))
    for number in (0, 20, 50, 77, 99):
        with joined(url, BATCH) as client, joined(url) as plain:
            since = {"burst/d": {"epoch": epoch, "seq": {"normal": number}}}
            for each in (client, plain):
                same(each.subscribe("burst/d", since=since)["seq"].get("normal", 0), number)
                same([each.message().seq for _ in range(100 - number)], list(range(number + 1, 101)), each.protocol)
            same(plain.discarded, [], "JSON begins exactly behind the number")
            require(client.frames[0].first_seq <= number + 1, "the first frame holds the next message")
    with joined(url, BATCH) as client:
        same(client.subscribe("burst/d")["seq"], {"normal": 99})
        same(client.message().seq, 100, "last value")


# --- Framing and closing (9) ---


@check
def websocket_pings_are_answered(url):
    with Client(url) as client:
        client.ws.send(PING, b"x" * 125)
        same(client.ws.next_frame(), (PONG, b"x" * 125))
        client.ws.socket.sendall(b"".join(WebSocket.frame(PING, b"%d" % n) for n in range(5)))
        answers = []
        while b"4" not in answers:
            opcode, payload = client.ws.next_frame()
            same(opcode, PONG)
            answers.append(payload)
        client.ws.send(PONG, b"unasked")
        same(client.pong(), [])


@check
def fragments_and_control_frames_between_them_are_taken(url):
    for protocol in (JSON, BATCH):
        with Client(url, protocol) as client:
            text = '{"type":"ping","id":"ä"}'.encode()
            cut = text.index("ä".encode()) + 1
            for opcode, part, fin in [(TEXT, text[:cut], False), (PING, b"between", True), (CONTINUATION, b"", False), (CONTINUATION, text[cut:], True)]:
                client.ws.send(opcode, part, fin=fin)
            same(client.object("pong")["id"], "ä", "cut in the middle of a character")
            same(client.ws.pongs, [b"between"])


@check
def the_client_s_close_code_is_returned(url):
    for code in (1000, 1001, 3000, 4321):
        with Client(url) as client:
            client.ws.send(CLOSE, struct.pack(">H", code) + "wörd".encode())
            same(client.ws.next_frame(), (CLOSE, struct.pack(">H", code)), "the code without the reason")
            try:
                client.ws.receive()
                raise AssertionError(f"after the close frame: {bytes(client.ws.buffer)!r}")
            except Closed as closed:
                same(closed.code, "EOF", "the end of TCP")
    with Client(url) as client:
        client.ws.send(CLOSE)
        same(client.ws.close_code(), None, "no code for none")


@check
def what_breaks_rfc_6455_is_closed_with_1002(url):
    broken = {
        "not masked": WebSocket.frame(TEXT, b'{"type":"ping"}', masked=False),
        "a reserved bit": WebSocket.frame(TEXT, b"{}", reserved=4),
        "opcode 3": WebSocket.frame(3, b"{}"),
        "opcode 11": WebSocket.frame(11),
        "continuation of nothing": WebSocket.frame(CONTINUATION, b"{}"),
        "a message in a message": WebSocket.frame(TEXT, b"{", fin=False) + WebSocket.frame(TEXT, b"}"),
        "a fragmented ping": WebSocket.frame(PING, b"", fin=False),
        "a ping of 126 bytes": WebSocket.frame(PING, b"x" * 126),
        "a length in too many bytes": b"\x81\xfe\x00\x02" + b"\0\0\0\0{}",
        "a length of 2^63": b"\x82\xff" + b"\x80" + b"\0" * 7 + b"\0\0\0\0",
        "a close frame of one byte": WebSocket.frame(CLOSE, b"\3"),
        "close code 1005": WebSocket.frame(CLOSE, struct.pack(">H", 1005)),
        "close code 999": WebSocket.frame(CLOSE, struct.pack(">H", 999)),
    }
    for what, data in broken.items():
        with Client(url) as client:
            client.ws.socket.sendall(data)
            same(client.ws.close_code(), 1002, what)


@check
def text_that_is_not_utf8_is_closed_with_1007(url):
    with Client(url) as client:
        client.ws.send(TEXT, b'{"type":"\xff"}')
        same(client.ws.close_code(), 1007)


@check
def a_message_that_is_too_large_is_closed_with_1009(url):
    for parts in (1, 2):
        with Client(url) as client:
            size = client.welcome["limits"]["message_bytes_max"] // parts + 1
            frames = [WebSocket.frame(CONTINUATION if n else TEXT, b" " * size, fin=n == parts - 1) for n in range(parts)]
            out = memoryview(b"".join(frames))
            client.ws.socket.setblocking(False)
            while out and not select.select([client.ws.socket], [], [], 0)[0]:
                if select.select([client.ws.socket], [client.ws.socket], [], PATIENCE)[1]:
                    out = out[client.ws.socket.send(out[:65_536]) :]
            client.ws.socket.settimeout(PATIENCE)
            same(client.ws.close_code(), 1009)


@check
def the_largest_message_is_taken(url):
    with Client(url) as client:
        client.subscribe("largest")
        head, tail = '{"type":"publish","topic":"largest","data":"', '","encoding":"text"}'
        room = client.welcome["limits"]["message_bytes_max"] - len(head + tail)
        client.texts(head + "x" * room + tail)
        same(len(client.message().payload), room)


def main(arguments):
    if arguments == ["--options"]:
        print("\n".join(OPTIONS))
        return 0
    if len(arguments) < 1 or not arguments[0].startswith("ws://"):
        print(__doc__, file=sys.stderr)
        return 2
    chosen = [c for c in CHECKS if not arguments[1:] or c.__name__ in arguments[1:]]
    failed = 0
    for each in chosen:
        try:
            each(arguments[0])
            print("ok", each.__name__, flush=True)
        except Exception as error:
            failed += 1
            lines = [str(f.lineno) for f in traceback.extract_tb(error.__traceback__) if f.filename == __file__]
            print(f"FAILED {each.__name__}: {type(error).__name__}: {str(error)[:600]} (lines {', '.join(lines)})", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
