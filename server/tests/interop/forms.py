"""Job: the forms in which a subscriber can have its messages, read with libraries that are not ours.
Knows the layouts of the subprotocols. Must never know sockets."""

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass

import lz4.block
import msgpack


@dataclass(frozen=True)
class Delivered:
    """One published message as a client got it."""

    kind: str
    payload: bytes
    seq: int | None = None


@dataclass(frozen=True)
class Form:
    """How a subscriber asks, and how it reads what comes."""

    name: str
    protocol: str | None
    kinds: tuple[tuple[str, str], ...]
    """The (kind, texture) pairs that are published, each on a topic and connection of its own."""
    read: Callable[[str, bytes], list[Delivered | dict]]
    """A WebSocket message's kind and bytes to published messages, and control objects."""
    packs: bool = True
    """Whether permessage-deflate is used on what is published where it was agreed."""
    ask: Callable[[dict], tuple[str, bytes]] = lambda request: ("text", json.dumps(request).encode())
    """A request as a WebSocket message."""

    def __str__(self) -> str:
        return self.name


def read_raw(kind: str, data: bytes) -> list[Delivered | dict]:
    return [Delivered(kind, data)]


def read_json(kind: str, data: bytes) -> list[Delivered | dict]:
    assert kind == "text", "fanwire.json.v1 is text"
    message = json.loads(data)
    if message["type"] != "message":
        return [message]
    encoding = message.get("encoding")
    if encoding == "text":
        return [Delivered("text", message["data"].encode(), message["seq"])]
    if encoding == "base64":
        return [Delivered("binary", base64.b64decode(message["data"], validate=True), message["seq"])]
    assert encoding is None
    # What was published as JSON stands there verbatim, at the end.
    _, _, rest = data.partition(b',"data":')
    assert rest.endswith(b"}") and json.loads(rest[:-1]) == message["data"]
    return [Delivered("json", rest[:-1], message["seq"])]


def read_msgpack(kind: str, data: bytes) -> list[Delivered | dict]:
    assert kind == "binary", "fanwire.msgpack.v1 is binary"
    message = msgpack.unpackb(data, raw=False, strict_map_key=True)
    if message["type"] != "message":
        return [message]
    payload = message["data"]
    if isinstance(payload, bytes):
        assert "encoding" not in message
        return [Delivered("binary", payload, message["seq"])]
    return [Delivered({"text": "text", None: "json"}[message.get("encoding")], payload.encode(), message["seq"])]


def read_batch(kind: str, data: bytes) -> list[Delivered | dict]:
    assert kind == "binary", "fanwire.batch.v1 is binary"
    version, frame_kind, flags, priority, _, first_seq, raw_size, _ = struct.unpack_from("<BBBBIQII", data)
    block = data[24:]
    assert version == 1 and frame_kind in (1, 2)
    if flags & 1:
        block = lz4.block.decompress(block, uncompressed_size=raw_size)
    assert len(block) == raw_size
    if frame_kind == 2:
        return [json.loads(block)]
    count, total = struct.unpack_from("<II", block)
    assert total == len(block) - 8
    messages: list[Delivered | dict] = []
    at = 8
    for number in range(count):
        _, own_priority, size = struct.unpack_from("<QBI", block, at)
        assert own_priority == priority
        at += 13
        payload = block[at : at + size]
        assert len(payload) == size
        at += size
        messages.append(Delivered(("text", "binary", "json")[flags >> 1 & 3], payload, first_seq + number))
    assert at == len(block)
    return messages


STRUCTURED = (("json", "repetitive"), ("text", "noise"), ("binary", "mixed"))

FORMS = [
    Form("raw-text", None, (("text", "repetitive"), ("text", "noise")), read_raw),
    Form("raw-binary", None, (("binary", "repetitive"), ("binary", "noise"), ("binary", "mixed")), read_raw),
    Form("json", "fanwire.json.v1", STRUCTURED, read_json),
    Form(
        "msgpack",
        "fanwire.msgpack.v1",
        STRUCTURED,
        read_msgpack,
        ask=lambda request: ("binary", msgpack.packb(request)),
    ),
    Form("batch", "fanwire.batch.v1", STRUCTURED, read_batch),
    # Packed once is enough: no deflate around LZ4.
    Form("batch-lz4", "fanwire.batch.v1+lz4", STRUCTURED, read_batch, packs=False),
]
