"""Job: what is published: every size at which a frame header or a buffer changes, in every texture that a compressor treats
differently. Knows bytes. Must never know sockets or clients."""

import random
from functools import lru_cache

KIB = 1024
SIZES = [0, 1, 125, 126, 127, 1023, 1024, 4 * KIB, 65535, 65536, 65537, 1 << 20]
"""In bytes of payload. 125 to 127 and 65,535 to 65,537: where the frame's length field grows. 1,024: the threshold of
compression. 4 KiB: one block of deflate. 1 MiB: the longest that is compressed."""

IN_A_ROW = 3
"""A client that goes wrong after a final block shows it in the second message."""

COMPRESSED_FROM = 1024


@lru_cache(maxsize=None)
def text(texture: str, size: int, number: int) -> bytes:
    """`size` bytes of UTF-8. `repetitive`: lines of readings with characters of two and three bytes; `noise`: the printable
    ASCII characters and the control characters, drawn evenly."""
    source = random.Random(f"text {texture} {size} {number}")
    if texture == "repetitive":
        lines = []
        have = 0
        while have < size:
            line = f"{number:03} t={have:08} pose 12.{source.randrange(10)} m, 21.5 °C, cost 3 €, state ok\n".encode()
            lines.append(line)
            have += len(line)
        cut = b"".join(lines)[:size]
        # Not in the middle of a character.
        whole = cut.decode(errors="ignore").encode()
        return whole + b"." * (size - len(whole))
    assert texture == "noise"
    return bytes(source.choices(range(128), k=size))


@lru_cache(maxsize=None)
def binary(texture: str, size: int, number: int) -> bytes:
    """`repetitive`: samples of slowly changing numbers; `noise`: does not compress; `mixed`: ends in noise, so that a compressor
    ends in a stored block."""
    source = random.Random(f"binary {texture} {size} {number}")
    if texture == "noise":
        return source.randbytes(size)
    if texture == "mixed":
        tail = size // 3
        return binary("repetitive", size - tail, number) + source.randbytes(tail)
    assert texture == "repetitive"
    samples = bytearray()
    value = number
    while len(samples) < size:
        value += source.randrange(3)
        samples += value.to_bytes(4, "little") + b"\0\0\x80\x3f" * 3
    return bytes(samples[:size])


@lru_cache(maxsize=None)
def json(texture: str, size: int, number: int) -> bytes:
    """A JSON text of `size` bytes, at least one; a string where there is room for one."""
    if size < 3:
        return str(10 ** (size - 1) * (number % 9 + 1)).encode()
    characters = text(texture, size - 2, number).decode()
    for forbidden in [*map(chr, range(32)), '"', "\\"]:
        characters = characters.replace(forbidden, ".")
    return b'"' + characters.encode() + b'"'


def payload(kind: str, texture: str, size: int, number: int) -> bytes:
    """The payload of this kind (text, binary, json), texture, size and number: always the same."""
    return {"text": text, "binary": binary, "json": json}[kind](texture, size, number)
