"""Frames of `fanwire.dict.v1+lz4` and `+deflate` (PROTOCOL.md, section 5.6): messages that were compressed against earlier
messages of their lane.

Knows bytes, and of each lane a dictionary and a tail. Must never know sockets, subscriptions or which messages are due.
No server offers the format yet: `Reader` is for who reads recordings of it, and for the day that one does.
"""

from __future__ import annotations

import zlib
from collections import deque
from typing import NamedTuple, Optional

from ._errors import WireError

TAIL_MESSAGES_MAX = 64
TAIL_BYTES_MAX = 16_384
NUMBER_MAX = 2**53 - 1

_WITH, _COMPRESSED, _SEVERAL, _BEGINS = 0x10, 0x20, 0x40, 0x80


class Told(NamedTuple):
    """A message of a lane: `kind` is 0 for text, 1 for binary, 2 for JSON; `lane` is topic_id · 4 + priority."""

    lane: int
    kind: int
    seq: int
    time_us: int
    payload: bytes


class _Kept(NamedTuple):
    seq: int
    time_us: int
    payload: bytes


class _Lane:
    """What is kept of a lane: at most two times 16 KiB of payloads."""

    def __init__(self) -> None:
        self.tail: deque[_Kept] = deque()
        self.tail_bytes = 0
        self.number = -1
        self.dictionary = b""
        self.base = (0, 0)

    def push(self, message: _Kept) -> None:
        while self.tail and self.tail[-1].seq >= message.seq:
            self.tail_bytes -= len(self.tail.pop().payload)
        self.tail.append(message)
        self.tail_bytes += len(message.payload)
        while len(self.tail) > TAIL_MESSAGES_MAX or self.tail_bytes > TAIL_BYTES_MAX:
            self.tail_bytes -= len(self.tail.popleft().payload)

    def begin(self, number: int, messages: list[_Kept]) -> None:
        self.dictionary = b"".join(message.payload for message in messages)
        if not self.dictionary or len(self.dictionary) > TAIL_BYTES_MAX or len(messages) > TAIL_MESSAGES_MAX:
            raise WireError(f"a dictionary of {len(messages)} messages and {len(self.dictionary)} bytes")
        self.number = number
        self.base = (messages[-1].seq, messages[-1].time_us)


class Reader:
    """Reads the frames of one connection. `bytes_max`: the largest block that is taken, decompressed; `lanes_max`: the most
    lanes, each of which takes some 40 KB. Raises `WireError` for what is no such frame: connect anew then."""

    def __init__(self, *, has_lz4: bool, bytes_max: int = 16 << 20, lanes_max: int = 1_024) -> None:
        self._has_lz4 = has_lz4
        self._bytes_max = bytes_max
        self._lanes_max = lanes_max
        self._lanes: dict[int, _Lane] = {}

    def read(self, frame: bytes) -> list[Told]:
        """The messages of a frame to deliver: none for control frames and earlier messages."""
        if not frame:
            raise WireError("a frame that is cut short")
        head = frame[0]
        is_data, kind = head & 3 == 1, head >> 2 & 3
        if head & 3 in (0, 3):
            if head & 3 == 0 and head:
                raise WireError(f"a frame with head {head}")
            return []
        has = bool(head & _WITH)
        if kind == 3 or (not is_data and has) or (is_data and head & _BEGINS and not has):
            raise WireError(f"a frame with head {head}")
        cut = _Cut(frame, 1)
        name = cut.number()
        if name >> 34 or (name not in self._lanes and len(self._lanes) >= self._lanes_max):
            raise WireError(f"the lane {name} of at most {self._lanes_max}")
        lane = self._lanes.setdefault(name, _Lane())
        number = cut.take(1)[0] if head & (_WITH | _BEGINS) else -1
        if is_data and head & _BEGINS:
            lane.begin(number, _defined(cut, lane))
        if has and lane.number != number:
            raise WireError(f"dictionary {number} is not there")
        seq, time = cut.number(), cut.number()
        if has:
            seq, time = lane.base[0] + seq, lane.base[1] + _unfolded(time)
        block = frame[cut.at :]
        if head & _COMPRESSED:
            dictionary = lane.dictionary if has else b""
            block = (_lz4 if self._has_lz4 else _inflated)(dictionary, block, self._bytes_max)
        if len(block) > self._bytes_max:
            raise WireError(f"a block of {len(block)} bytes, of at most {self._bytes_max}")
        messages = _messages(block, seq, time) if head & _SEVERAL else [_Kept(seq, time, block)]
        if any(not (0 <= one.seq <= NUMBER_MAX and 0 <= one.time_us <= NUMBER_MAX) for one in messages):
            raise WireError("a number above 2^53 - 1, or a time before 0")
        if is_data:
            for one in messages:
                lane.push(one)
            return [Told(name, kind, *one) for one in messages]
        if len(messages) > TAIL_MESSAGES_MAX or sum(len(one.payload) for one in messages) > TAIL_BYTES_MAX:
            raise WireError("more earlier messages than a tail has")
        if number >= 0:
            lane.begin(number, messages)
        lane.tail = deque(messages)
        lane.tail_bytes = sum(len(one.payload) for one in messages)
        return []


class _Cut:
    """A place in bytes."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def take(self, count: int) -> bytes:
        taken = self.data[self.at : self.at + count]
        self.at += count
        if len(taken) < count:
            raise WireError("a frame that is cut short")
        return taken

    def number(self) -> int:
        number = 0
        for shift in range(0, 56, 7):
            byte = self.take(1)[0]
            number |= (byte & 127) << shift
            if byte < 128:
                break
        else:
            raise WireError("a number of more than 8 bytes")
        if number > NUMBER_MAX:
            raise WireError("a number above 2^53 - 1")
        return number


def _unfolded(number: int) -> int:
    return -(number >> 1) - 1 if number & 1 else number >> 1


def _messages(block: bytes, seq: int, time: int) -> list[_Kept]:
    cut = _Cut(block)
    messages = [_Kept(seq, time, cut.take(cut.number()))]
    while cut.at < len(block):
        seq += 1 + cut.number()
        time += _unfolded(cut.number())
        messages.append(_Kept(seq, time, cut.take(cut.number())))
    return messages


def _defined(cut: _Cut, lane: _Lane) -> list[_Kept]:
    """The messages of which a data frame makes a dictionary."""
    end, ranges = cut.number(), cut.number()
    wanted: list[int] = []
    for n in range(ranges):
        skip, count = cut.number(), cut.number()
        if (n == 0) != (skip == 0) or count == 0 or len(wanted) + count > TAIL_MESSAGES_MAX:
            raise WireError("ranges of a dictionary that cannot be")
        wanted += range(end + skip, end + skip + count)
        end += skip + count
    check = int.from_bytes(cut.take(4), "little")
    kept = {one.seq: one for one in lane.tail}
    missing: Optional[int] = next((seq for seq in wanted if seq not in kept), None)
    if missing is not None:
        raise WireError(f"message {missing} of the dictionary is missing")
    made = [kept[seq] for seq in wanted]
    if zlib.adler32(b"".join(one.payload for one in made)) != check:
        raise WireError("the dictionary is another than the server's")
    return made


def _inflated(dictionary: bytes, block: bytes, most: int) -> bytes:
    stream = zlib.decompressobj(-15, zdict=dictionary) if dictionary else zlib.decompressobj(-15)
    try:
        # One byte more than may come, so that too much can be told from just enough.
        plain = stream.decompress(block, most + 1)
    except zlib.error as error:
        raise WireError(f"a block is no deflate: {error}") from None
    if len(plain) > most or not stream.eof or stream.unused_data:
        raise WireError(f"a block of above {most} bytes, or no whole stream")
    return plain


def _lz4(dictionary: bytes, block: bytes, most: int) -> bytes:
    """A bare LZ4 block, in Python: the dictionary stands before the output."""
    out = bytearray(dictionary)
    most += len(dictionary)
    cut = _Cut(block)
    while True:
        token = cut.take(1)[0]
        literals = _long(cut, token >> 4)
        if len(out) + literals > most:
            raise WireError("a block that is too large")
        out += cut.take(literals)
        if cut.at == len(block):
            return bytes(out[len(dictionary) :])
        back = int.from_bytes(cut.take(2), "little")
        match = 4 + _long(cut, token & 15)
        if not 0 < back <= len(out) or len(out) + match > most:
            raise WireError("a block is no LZ4, or too large")
        piece = out[len(out) - back : len(out) - back + match]
        out += (piece * (match // len(piece) + 1))[:match]


def _long(cut: _Cut, length: int) -> int:
    if length == 15:
        while True:
            more = cut.take(1)[0]
            length += more
            if more < 255:
                break
    return length
