"""One WebSocket message as what it says, and requests as what is sent, for each subprotocol (PROTOCOL.md, sections 3 to
5).

Knows bytes. Must never know sockets, subscriptions or which messages are due.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import json
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional, Protocol, Union

from ._errors import WireError
from ._types import PRIORITIES, RANKS

JSON = "fanwire.json.v1"
MSGPACK = "fanwire.msgpack.v1"
BATCH = "fanwire.batch.v1"
BATCH_LZ4 = "fanwire.batch.v1+lz4"

Wire = Union[str, bytes]


class Incoming(NamedTuple):
    """A message as it came; `payload` is decoded once it is known to be due."""

    topic: Union[str, int]
    """A name, or in batches the connection's number for it."""
    priority: str
    seq: int
    time_ns: int
    kind: str
    """`value`: a JSON value that is decoded already; `json`: JSON text; `text`; `binary`; `base64`."""
    payload: Any
    size: int
    """Bytes of the payload, or of the message that holds it."""


Decoded = Union[Mapping[str, Any], list[Incoming], None]
"""A control object; messages; or nothing, for what is not of the protocol."""


class Codec(Protocol):
    def encode(self, request: Mapping[str, Any]) -> Wire: ...

    def payload(self, kind: str, data: Any) -> dict[str, Any]:
        """The fields `data` and `encoding` of a publish."""

    def decode(self, wire: Wire) -> Decoded: ...


def _parse(text: Union[str, bytes]) -> Any:
    """JSON, strictly; integers beyond what Python converts become floats, as they are for who counts in doubles."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)) or "digits" not in str(error):
            raise
        return json.loads(text, parse_constant=_no_constant, parse_int=_integer)


def _integer(digits: str) -> Any:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def to_json(value: Any) -> str:
    """A value as JSON text; ValueError or TypeError where it is none."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def kind_of(data: Any, kind: Optional[str]) -> str:
    """What data is published as: bytes are `binary`, str is `text`, all else is `json`, unless `kind` says otherwise.

    Raises TypeError or ValueError where the data cannot be of that kind."""
    is_binary = isinstance(data, (bytes, bytearray, memoryview))
    if kind is None:
        kind = "binary" if is_binary else "text" if isinstance(data, str) else "json"
    if kind not in ("binary", "text", "json"):
        raise ValueError(f"kind is one of json, text, binary, not {kind!r}")
    if kind == "json":
        to_json(data).encode()
    elif (kind == "binary" and not is_binary) or (kind == "text" and not isinstance(data, str)):
        raise TypeError(f"a {type(data).__name__} cannot be published as {kind}")
    elif kind == "text":
        data.encode()
    return kind


def finish(incoming: Incoming) -> tuple[str, Any]:
    """The kind and data of a message that is due. What was published as JSON and is none is text."""
    kind, payload = incoming.kind, incoming.payload
    if kind == "value":
        return "json", payload
    if kind == "base64":
        try:
            return "binary", base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise WireError(f"a payload is not base64: {error}") from None
    if kind == "json":
        try:
            return "json", _parse(payload)
        except (ValueError, RecursionError):
            kind = "text"
    if kind == "text" and isinstance(payload, bytes):
        return "text", payload.decode("utf-8", "replace")
    return kind, payload


class JsonCodec:
    def encode(self, request: Mapping[str, Any]) -> Wire:
        return to_json(request)

    def payload(self, kind: str, data: Any) -> dict[str, Any]:
        if kind == "binary":
            return {"data": base64.b64encode(data).decode(), "encoding": "base64"}
        return {"data": data, "encoding": "text"} if kind == "text" else {"data": data}

    def decode(self, wire: Wire) -> Decoded:
        if not isinstance(wire, str):
            return None
        try:
            said = _parse(wire)
        except (ValueError, RecursionError) as error:
            raise WireError(f"no JSON: {error}") from None
        if not isinstance(said, dict) or said.get("type") != "message":
            return said if isinstance(said, dict) else None
        encoding = said.get("encoding")
        if encoding not in (None, "text", "base64"):
            raise WireError(f"a message of no known encoding: {encoding!r}")
        return [_incoming(said, "value" if encoding is None else encoding, len(wire))]


class MsgpackCodec:
    def __init__(self) -> None:
        self._msgpack: Any = importlib.import_module("msgpack")

    def encode(self, request: Mapping[str, Any]) -> Wire:
        packed: bytes = self._msgpack.packb(request)
        return packed

    def payload(self, kind: str, data: Any) -> dict[str, Any]:
        if kind == "binary":
            return {"data": bytes(data)}
        return {"data": data, "encoding": "text"} if kind == "text" else {"data": to_json(data)}

    def decode(self, wire: Wire) -> Decoded:
        if isinstance(wire, str):
            return None
        try:
            said = self._msgpack.unpackb(wire, raw=False, strict_map_key=False)
        except Exception as error:
            raise WireError(f"no MessagePack: {error}") from None
        if not isinstance(said, dict):
            raise WireError("MessagePack that is no map")
        if said.get("type") != "message":
            return said
        data, encoding = said.get("data"), said.get("encoding")
        if isinstance(data, bytes) and encoding is None:
            return [_incoming(said, "binary", len(wire))]
        if isinstance(data, str) and encoding in (None, "text"):
            return [_incoming(said, encoding or "json", len(wire))]
        raise WireError(f"a message of no known encoding: {encoding!r}")


def _incoming(said: Mapping[str, Any], kind: str, size: int) -> Incoming:
    topic, priority, seq, time_us = (said.get(key) for key in ("topic", "priority", "seq", "time_us"))
    if type(topic) is not str or type(priority) is not str or priority not in RANKS:
        raise WireError("a message without topic or priority")
    if type(seq) is not int or type(time_us) is not int:
        raise WireError("a message without seq or time_us")
    if "data" not in said or (kind in ("text", "base64") and type(said["data"]) is not str):
        raise WireError("a message without data")
    return Incoming(topic, priority, seq, time_us * 1000, kind, said["data"], size)


_HEAD = struct.Struct("<BBBBIQII")
_BLOCK = struct.Struct("<II")
_MESSAGE = struct.Struct("<QBI")
_KINDS = ("text", "binary", "json")
_LZ4_FLAG = 1


class BatchCodec(JsonCodec):
    """`bytes_max`: the largest block that is taken, decompressed."""

    def __init__(self, bytes_max: int, *, has_lz4: bool) -> None:
        self._bytes_max = bytes_max
        self._lz4: Any = importlib.import_module("lz4.block") if has_lz4 else None

    def decode(self, wire: Wire) -> Decoded:
        # The first byte of a frame is its version; other messages are the server's host's own.
        if isinstance(wire, str):
            return None
        if len(wire) < _HEAD.size:
            raise WireError("a frame that is cut short")
        version, kind, flags, rank, topic_id, first_seq, raw_size, _ = _HEAD.unpack_from(wire)
        if version != 1:
            raise WireError(f"a frame of version {version}")
        if kind not in (1, 2):
            return None
        if flags & ~7 or flags >> 1 == 3 or (flags & _LZ4_FLAG and self._lz4 is None):
            raise WireError(f"a frame with flags {flags}")
        if raw_size > self._bytes_max:
            raise WireError(f"a block of {raw_size} bytes, of at most {self._bytes_max}")
        block = self._inflate(wire, raw_size) if flags & _LZ4_FLAG else wire[_HEAD.size :]
        if len(block) != raw_size:
            raise WireError("a block of another size than its frame says")
        if kind == 2:
            return self._control(block)
        if rank >= len(PRIORITIES):
            raise WireError(f"a frame of priority {rank}")
        return _messages(block, topic_id, PRIORITIES[rank], first_seq, _KINDS[flags >> 1])

    def _inflate(self, wire: bytes, raw_size: int) -> bytes:
        packed = wire[_HEAD.size :]
        try:
            block: bytes = self._lz4.decompress(packed, uncompressed_size=raw_size)
        except Exception as error:
            raise WireError(f"a block is no LZ4: {error}") from None
        # The library takes a match of distance 0 as zeros.
        if b"\0\0" in packed and _has_zero_distance(packed):
            raise WireError("a block is no LZ4: a match of distance 0")
        return block

    def _control(self, block: bytes) -> Optional[Mapping[str, Any]]:
        try:
            said = _parse(block)
        except (ValueError, RecursionError) as error:
            raise WireError(f"a control frame without JSON: {error}") from None
        return said if isinstance(said, dict) and said.get("type") != "message" else None


def _has_zero_distance(packed: bytes) -> bool:
    """Whether a block, which the library could read, has such a match: LZ4 block format, sequences one after the
    other."""
    at = 0
    while True:
        token = packed[at]
        at += 1
        literals = token >> 4
        if literals == 15:
            while packed[at] == 255:
                literals += 255
                at += 1
            literals += packed[at]
            at += 1
        at += literals
        if at >= len(packed):
            return False
        if not packed[at] and not packed[at + 1]:
            return True
        at += 2
        if token & 15 == 15:
            while packed[at] == 255:
                at += 1
            at += 1


def _messages(block: bytes, topic_id: int, priority: str, first_seq: int, kind: str) -> list[Incoming]:
    if len(block) < _BLOCK.size:
        raise WireError("a block that is cut short")
    count, total = _BLOCK.unpack_from(block)
    if total != len(block) - _BLOCK.size or count < 1 or count * _MESSAGE.size > total:
        raise WireError("a block of another size than it says")
    found = []
    at = _BLOCK.size
    for number in range(count):
        if at + _MESSAGE.size > len(block):
            raise WireError("a message that is cut short")
        time_ns, _, size = _MESSAGE.unpack_from(block, at)
        at += _MESSAGE.size
        if at + size > len(block):
            raise WireError("a message that is cut short")
        found.append(Incoming(topic_id, priority, first_seq + number, time_ns, kind, block[at : at + size], size))
        at += size
    if at != len(block):
        raise WireError("a block with more than its messages")
    return found


def make(protocol: str, bytes_max: int) -> Codec:
    if protocol == JSON:
        return JsonCodec()
    if protocol == MSGPACK:
        return MsgpackCodec()
    return BatchCodec(bytes_max, has_lz4=protocol == BATCH_LZ4)


def offers(protocol: str) -> tuple[str, ...]:
    """The subprotocols that a choice stands for, the best first. `auto` takes what is installed; it is never a batch,
    for there messages come later at low rates, and `max_hz` counts frames."""
    if protocol == "auto":
        return (MSGPACK, JSON) if _has("msgpack") else (JSON,)
    if protocol == "batch":
        return (BATCH_LZ4, BATCH) if _has("lz4.block") else (BATCH,)
    named = {"json": JSON, "msgpack": MSGPACK, "batch+lz4": BATCH_LZ4}
    if protocol not in named:
        raise ValueError(f"protocol is one of auto, json, msgpack, batch, batch+lz4, not {protocol!r}")
    needed = {"msgpack": "msgpack", "batch+lz4": "lz4.block"}.get(protocol)
    if needed and not _has(needed):
        extra = needed.split(".")[0]
        raise ImportError(f"protocol={protocol!r} needs the package {extra}: pip install 'fanwire-client[{extra}]'")
    return (named[protocol],)


def _has(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True
