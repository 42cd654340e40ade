"""Job: whether the server takes a request head that another parser refuses, or reads its end elsewhere.
Knows: llhttp (Node's parser) in its strict mode, one good request, and what to do to it. Must never know how the server reads.

differential.py FANWIRE HEADS: the server's binary, and a file of hand-made heads as the unit tests of `fanwire_proto::request` write it
(`FANWIRE_HEADS=FILE cargo test …`): lines of a status, whether llhttp takes it, the head in hexadecimal digits, what it is.

A head is smuggled if we answer 101 and llhttp refuses it, wants more of it, or sees no upgrade where we do. Behind every head stands
a ping: who is answered 101 must get its pong, so that both have seen the head end in the same place."""

import random
import socket
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import llhttp

GOOD = (
    b"GET /t/a?b HTTP/1.1\r\nHost: example.com:80\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\nX-Any: v\r\n\r\n"
)
PING, PONG = b"\x89\x80\0\0\0\0", b"\x8a\0"
# What parsers disagree about: controls, white space, line ends, separators, bytes beyond ASCII.
NASTY = [b"\0", b"\t", b"\n", b"\v", b"\f", b"\r", b" ", b"\r\n", b"\r\n ", b"\n\r", b"\r\r\n", b"\x1b", b"\x7f", b"\x80", b"\xff",
         b'"', b"#", b"(", b",", b"/", b":", b";", b"=", b"@", b"[", b"\\", b"{", b"+", b"-", b"0", b"x"]
LINES = [b"Content-Length: 0", b"Content-Length: 1", b"Content-Length: 00", b"Content-Length : 0", b"Content-Length: +0",
         b"Content-Length: 0x0", b"Content-Length: 0,0", b"Content-Length:\t0", b"Content-Length:\x0b0", b"Content-Length: 18446744073709551616",
         b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding : chunked",
         b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked", b"Host: b", b" folded", b"\tfolded", b"a",
         b":", b": a", b"X: \0", b"X: a\rb", b"X: a\nb", b"Connection: close", b"Connection: Content-Length", b"Upgrade: h2c", b"Expect: 100-continue"]
PATIENCE_S = 60
AT_ONCE = 16
"""Connections at a time: most of the time is spent in waiting for an answer that must not come."""
SILENCE_S = 0.3
"""A head that we wait for the rest of gets no answer. Too short a time lets a late 101 pass, and fails nothing."""


def takes(data: bytes) -> tuple[bool, int]:
    """Whether llhttp takes the head at the start, and where what follows the upgrade begins (-1: it found a fault later)."""

    class Parser(llhttp.Request):
        is_done = False

        def on_headers_complete(self) -> None:
            self.is_done = True

    parser = Parser()
    try:
        end = parser.execute(data)
    except llhttp.Error:
        end = -1
    return parser.is_done, end


class Server:
    def __init__(self, binary: str) -> None:
        command = [binary, "serve", "--listen", "127.0.0.1:0", "--cpus", "none", "--shards", "1", "--ping-every", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        host, _, port = line.strip().removeprefix("listening on ws://").rpartition(":")
        self.address = (host, int(port))

    def answer(self, data: bytes, patience: float) -> bytes:
        """All it answers to the head with a ping behind it: up to the end, the pong, or silence."""
        client = socket.create_connection(self.address, PATIENCE_S)
        # Leaves nothing behind: thousands of these are made.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.settimeout(patience)
        got = b""
        try:
            client.sendall(data + PING)
            while not (got.startswith(b"HTTP/1.1 101 ") and got.endswith(b"\r\n\r\n" + PONG)):
                piece = client.recv(65536)
                if not piece:
                    break
                got += piece
        except (TimeoutError, ConnectionError):
            pass
        finally:
            client.close()
        return got


def mutations():
    """What one does to the good request: everything everywhere, then two things at a time by chance."""
    lines = GOOD.split(b"\r\n")
    for number in range(1, len(lines) - 1):
        for line in LINES:
            yield b"\r\n".join(lines[:number] + [line] + lines[number:])
        yield b"\r\n".join(lines[:number] + lines[number + 1 :])
        yield b"\r\n".join(lines[:number] + [lines[number]] + lines[number:])
    for at in range(len(GOOD)):
        yield GOOD[:at] + GOOD[at + 1 :]
        for nasty in NASTY:
            yield GOOD[:at] + nasty + GOOD[at:]
            yield GOOD[:at] + nasty + GOOD[at + 1 :]
    chance = random.Random(11)
    for _ in range(3_000):
        data = GOOD
        for _ in range(2):
            at = chance.randrange(len(data))
            data = data[:at] + chance.choice(NASTY) + data[at + chance.randrange(2) :]
        yield data


class Verdicts:
    """What became of each head. Threads may add to it: a head's verdict is one append."""

    def __init__(self) -> None:
        self.passed: list[bool] = []
        self.both: list[bytes] = []
        self.failures: list[str] = []


def check_row(server: Server, row: str, verdicts: Verdicts) -> None:
    """A hand-made head: llhttp and the server say what the table says."""
    status, expected, digits, what = row.rstrip("\n").split(" ", 3)
    data = bytes.fromhex(digits)
    taken, _ = takes(data)
    if taken != (expected == "true"):
        verdicts.failures.append(f"{what}: the table says that llhttp {'takes' if expected == 'true' else 'refuses'} it, and it does not")
    answer = server.answer(data, SILENCE_S)
    if answer.startswith(b"HTTP/1.1 101 ") and status != "101":
        verdicts.failures.append(f"{what}: the table says {status}, the server says 101")
    verdicts.passed.append(True)


def check_mutation(server: Server, data: bytes, number: int, verdicts: Verdicts) -> None:
    taken, end = takes(data + PING)
    # Some of them end early, and what follows are no frames.
    is_like_ours = taken and end == data.find(b"\r\n\r\n") + 4
    # Where llhttp is happy there is nothing to be smuggled: a part of those has to do, to see that it is not happy with all.
    if is_like_ours and number % 8:
        return
    answer = server.answer(data, PATIENCE_S if is_like_ours and end == len(data) else SILENCE_S)
    if answer.startswith(b"HTTP/1.1 101 "):
        if not is_like_ours:
            return verdicts.failures.append(f"taken by us, not by llhttp: {data!r}")
        if end == len(data) and not answer.endswith(PONG):
            return verdicts.failures.append(f"the first frame is lost: {data!r}")
        verdicts.both.append(data)
    verdicts.passed.append(True)


def main(binary: str, heads: str) -> int:
    server = Server(binary)
    verdicts = Verdicts()
    failures = verdicts.failures
    try:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            rows = [threads.submit(check_row, server, row, verdicts) for row in open(heads, encoding="ascii")]
            asked = [
                threads.submit(check_mutation, server, data, number, verdicts)
                for number, data in enumerate(dict.fromkeys(mutations()), 1)
            ]
            for one in rows + asked:
                one.result()
        if not server.answer(GOOD, PATIENCE_S).endswith(PONG):
            failures.append("the good request is refused")
        if len(verdicts.both) < 50:
            failures.append(f"only {len(verdicts.both)} heads were taken by both: this proves little")
    finally:
        server.process.terminate()
        server.process.wait(PATIENCE_S)
    print(*failures[:20], sep="\n")
    print(f"{len(asked)} heads, {len(verdicts.both)} taken by both")
    print(f"{len(verdicts.passed)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
