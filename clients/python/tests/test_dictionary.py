"""Frames with dictionaries: those of clients/conformance/dictionary, and hostile ones."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fanwire_client._dictionary import TAIL_BYTES_MAX, Reader
from fanwire_client._errors import WireError

FOLDER = Path(__file__).parents[2] / "conformance" / "dictionary"
CODECS = ["lz4", "deflate"]


def reader(codec: str, bytes_max: int = 1 << 20, lanes_max: int = 3) -> Reader:
    return Reader(has_lz4=codec == "lz4", bytes_max=bytes_max, lanes_max=lanes_max)


def lines(codec: str) -> Iterator[tuple[str, str]]:
    for line in (FOLDER / f"{codec}.txt").read_text().splitlines():
        what, _, rest = line.partition(" ")
        yield what, rest


@pytest.mark.parametrize("codec", CODECS)
def test_every_frame_is_read_from_the_beginning_and_by_who_joins(codec: str) -> None:
    first, late = reader(codec), None
    got, got_late, expected, joined_at = [], [], [], 0
    for what, rest in lines(codec):
        if what == "frame":
            got += first.read(bytes.fromhex(rest))
            got_late += late.read(bytes.fromhex(rest)) if late else []
        elif what == "message":
            seq, time, payload = rest.split(" ", 2)
            expected.append((14, 2, int(seq), int(time), payload.encode()))
        else:
            late, joined_at = reader(codec), len(expected)
    assert len(expected) > 130 and joined_at > 0
    assert got == expected and got_late == expected[joined_at:]


@pytest.mark.parametrize("codec", CODECS)
def test_who_joins_without_the_history_is_told_what_is_missing(codec: str) -> None:
    frames = [bytes.fromhex(rest) for what, rest in lines(codec) if what == "frame"]
    with pytest.raises(WireError, match="dictionary 1 is not there"):
        reader(codec).read(frames[30])


ABC = struct.pack("<I", zlib.adler32(b"abc"))


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (b"", "cut short"),
        (b"\x0d\x0e\x01\x01", "head"),
        (b"\x10", "head"),
        (b"\x81\x0e", "head"),
        (b"\x12\x0e", "head"),
        (b"\x01" + b"\x80" * 8, "more than 8"),
        (b"\x01\x80\x80\x80\x80\x80\x80\x80\x10", "2\\^53"),
        (b"\x11\x0e\x09\x01\x00x", "dictionary 9"),
        (b"\x91\x0e\x09\x01\x01\x00\x41" + ABC, "cannot be"),
        (b"\x91\x0e\x09\x01\x02\x00\x01\x00\x01" + ABC, "cannot be"),
        (b"\x91\x0e\x09\x01\x00" + ABC, "another"),
        (b"\x91\x0e\x09\x01\x01\x00\x03" + ABC, "message 3"),
        (b"\x91\x0e\x09\x01\x01\x00\x01" + ABC, "another"),
        (b"\x91\x0e\x09\x01\x01\x00\x02" + ABC + b"\x01\x7f", "before 0"),
        (b"\x41\x0e\x03\x00\x02x", "cut short"),
        (b"\x21\x0e\x03\x00\xff\xff", "cut short|deflate"),
        (b"\x82\x0e\x09\x03\x00", "dictionary of"),
        (b"\x02\x0e\x03\x00" + b"x" * (TAIL_BYTES_MAX + 1), "more earlier"),
    ],
)
@pytest.mark.parametrize("codec", CODECS)
def test_hostile_frames_are_refused_for_what_is_wrong_with_them(codec: str, frame: bytes, error: str) -> None:
    reads = reader(codec)
    for told in (b"\x01\x0e\x01\x0aab", b"\x01\x0e\x02\x14c"):
        assert len(reads.read(told)) == 1
    with pytest.raises(WireError, match=error):
        reads.read(frame)


@pytest.mark.parametrize("codec", CODECS)
def test_lanes_and_blocks_are_read_up_to_their_maxima_and_not_beyond(codec: str) -> None:
    reads = reader(codec, bytes_max=100, lanes_max=3)
    for lane in (0, 1, 2, 0):
        reads.read(bytes([1, lane, 1, 1]) + b"x" * 100)
    with pytest.raises(WireError, match="lane 3"):
        reads.read(b"\x01\x03\x01\x01x")
    with pytest.raises(WireError, match="101 bytes"):
        reads.read(b"\x01\x02\x01\x01" + b"x" * 101)
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    # LZ4: one literal, a match of 94 bytes from one back, five literals.
    packed = {
        "deflate": packer.compress(b"x" * 100) + packer.flush(),
        "lz4": b"\x1fx\x01\x00\x4b\x50xxxxx",
    }[codec]
    assert reader(codec, bytes_max=100).read(b"\x21\x02\x01\x01" + packed)[0].payload == b"x" * 100
    with pytest.raises(WireError):
        reader(codec, bytes_max=99).read(b"\x21\x02\x01\x01" + packed)


@pytest.mark.parametrize("codec", CODECS)
def test_damaged_frames_give_messages_or_an_error_and_nothing_else(codec: str) -> None:
    chance = random.Random(7)
    frames = [bytes.fromhex(rest) for what, rest in lines(codec) if what == "frame"]
    refused = 0
    for _ in range(300):
        reads = reader(codec, bytes_max=4_096)
        for frame in frames[:40]:
            damaged = bytearray(frame)
            if chance.random() < 0.1:
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            try:
                told = reads.read(bytes(damaged))
            except WireError:
                refused += 1
                break
            assert sum(len(one.payload) for one in told) <= 4_096
    assert refused > 30
