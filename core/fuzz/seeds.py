#!/usr/bin/env python3
"""Writes the hand-made seeds of the fuzz targets into core/fuzz/seeds: RFC examples, rows of our test tables, edges.

The files are in the repository; run this again only after changing it:  python3 core/fuzz/seeds.py
What the bytes in front mean is said in core/proto/src/fuzz, core/token/src/fuzz.rs, core/tls/src/fuzz.rs, server/src/config/fuzz.rs.
"""

import itertools
import pathlib
import random
import struct
import zlib

ROOT = pathlib.Path(__file__).parent / "seeds"


def write(target, seeds):
    folder = ROOT / target
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, data in seeds.items():
        (folder / name).write_bytes(data)


# --- frame: role and deflate and maximum, cuts, wire

SERVER, CLIENT, DEFLATE = 0, 1, 2


def head(maximum, flags, cuts=7):
    return bytes([maximum << 2 | flags, cuts])


def masked(first, payload, key=b"\x37\xfa\x21\x3d", length=None):
    n = len(payload) if length is None else length
    if n < 126:
        size = bytes([0x80 | n])
    elif n < 1 << 16:
        size = b"\xfe" + struct.pack(">H", n)
    else:
        size = b"\xff" + struct.pack(">Q", n)
    return bytes([first]) + size + key + bytes(b ^ key[i % 4] for i, b in enumerate(payload))


def plain(first, payload):
    n = len(payload)
    if n < 126:
        size = bytes([n])
    elif n < 1 << 16:
        size = b"\x7e" + struct.pack(">H", n)
    else:
        size = b"\x7f" + struct.pack(">Q", n)
    return bytes([first]) + size + payload


ANY = head(7, SERVER)
write("frame", {
    "rfc-hello-masked": ANY + masked(0x81, b"Hello"),
    "rfc-hello": head(7, CLIENT) + b"\x81\x05Hello",
    "rfc-hello-fragmented": head(7, CLIENT) + b"\x01\x03Hel\x80\x02lo",
    "rfc-ping-pong": head(7, CLIENT) + b"\x89\x05Hello" + b"\x8a\x05Hello",
    "rfc-pong-masked": ANY + b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
    "rfc-256": head(7, CLIENT) + plain(0x82, bytes(range(256))),
    "rfc-7692-hello": head(7, CLIENT | DEFLATE) + b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00",
    "rfc-7692-hello-fragmented": head(7, CLIENT | DEFLATE) + b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00",
    "ping-in-message": ANY + masked(0x01, b"a") + masked(0x89, b"?") + masked(0x80, b"b"),
    "close-empty": ANY + masked(0x88, b""),
    "close-half-code": ANY + masked(0x88, b"\x03"),
    "close-1000-bye": ANY + masked(0x88, b"\x03\xe8bye"),
    "close-1005": ANY + masked(0x88, b"\x03\xed"),
    "close-4999-then-more": ANY + masked(0x88, b"\x13\x87") + masked(0x81, b"x"),
    "close-reason-no-utf8": ANY + masked(0x88, b"\x03\xe8\xff"),
    "length-126": head(7, SERVER, 90) + masked(0x82, b"x" * 126),
    "length-0-in-16-bits": ANY + b"\x82\xfe\x00\x00\0\0\0\0",
    "length-126-in-64-bits": ANY + b"\x82\xff" + struct.pack(">Q", 126) + b"\0\0\0\0",
    "length-2-63": ANY + b"\x82\xff" + struct.pack(">Q", 1 << 63) + b"\0\0\0\0",
    "length-2-62-begun": ANY + b"\x82\xff" + struct.pack(">Q", 1 << 62) + b"\0\0\0\0abc",
    "control-126": ANY + b"\x89\xfe\x00\x7e\0\0\0\0" + b"x" * 126,
    "control-fragment": ANY + b"\x09\x80\0\0\0\0",
    "rsv1-unagreed": ANY + masked(0xC1, b"x"),
    "rsv2": ANY + masked(0xA1, b"x"),
    "opcode-3": ANY + masked(0x83, b"x"),
    "unmasked": ANY + b"\x81\x01x",
    "masked-by-a-server": head(7, CLIENT) + masked(0x81, b"x"),
    "continuation-of-nothing": ANY + masked(0x80, b"x"),
    "message-in-a-message": ANY + masked(0x01, b"x") + masked(0x81, b"y"),
    "utf8-in-pieces": ANY + masked(0x01, b"\xe2") + masked(0x00, b"\x82") + masked(0x80, b"\xac"),
    "utf8-cut-at-the-end": ANY + masked(0x81, b"\xe2\x82"),
    "utf8-surrogate": ANY + masked(0x01, b"\xed") + masked(0x80, b"\xa0\x80"),
    "utf8-beyond": ANY + masked(0x81, b"\xf4\x90\x80\x80"),
    "empty-fragments-few": ANY + masked(0x02, b"") + masked(0x00, b"") * 5 + masked(0x80, b""),
    "empty-fragments-1024": head(7, CLIENT, 255) + b"\x02\x00" + b"\x00\x00" * 1023 + b"\x80\x00",
    "empty-fragments-1025": head(7, CLIENT, 255) + b"\x02\x00" + b"\x00\x00" * 1024 + b"\x80\x00",
    "at-the-maximum": head(2, SERVER) + masked(0x02, b"x" * 100) + masked(0x80, b"y" * 25),
    "past-the-maximum": head(2, SERVER) + masked(0x02, b"x" * 100) + masked(0x80, b"y" * 26),
    "maximum-0": head(0, SERVER) + masked(0x82, b"") + masked(0x82, b"x"),
})

# --- http: longest head, most headers, cuts, wire

GOOD = (
    b"GET /t/a HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
RFC = (
    b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n"
    b"Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
H = b"\0\0\x09"


def swap(old, new):
    assert old in GOOD, old
    return H + GOOD.replace(old, new, 1)


def add(lines):
    return swap(b"Upgrade: ", lines + b"Upgrade: ")


write("http", {
    "rfc": H + RFC,
    "good": H + GOOD,
    "good-and-a-frame": H + GOOD + b"\x81\x80\0\0\0\0",
    "cut-in-the-middle": H + GOOD[:90],
    "lower-case-method": swap(b"GET", b"get"),
    "post": swap(b"GET", b"POST"),
    "head": swap(b"GET", b"HEAD"),
    "options-star": swap(b"GET /t/a", b"OPTIONS *"),
    "two-spaces": swap(b"GET ", b"GET  "),
    "absolute-form": swap(b"/t/a", b"http://example.com/t/a"),
    "fragment": swap(b"/t/a", b"/t/a#b"),
    "target-delimiters": swap(b"/t/a", b"/t/a!$&'()*+,;=:@%20~?topic=a/b?c&echo=0&token=x+y"),
    "target-percent": swap(b"/t/a", b"/t/%E2%82%AC?topic=%F0%9F%98%80&topic=a%2Bb+c"),
    "target-bad-percent": swap(b"/t/a", b"/t/%2g"),
    "target-no-utf8": swap(b"/t/a", b"/t/%C0%AF"),
    "http-1.0": swap(b"HTTP/1.1", b"HTTP/1.0"),
    "http-2-preface": H + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls-hello": H + b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "bare-lf": swap(b"example.com\r\n", b"example.com\n"),
    "bare-cr": add(b"X: a\rb\r\n"),
    "cr-cr-lf": swap(b"example.com\r\n", b"example.com\r\r\n"),
    "nul": add(b"X: a\0b\r\n"),
    "folded": add(b"X: a\r\n b\r\n"),
    "space-before-colon": add(b"X : a\r\n"),
    "no-name": add(b": a\r\n"),
    "every-name-character": add(b"a!#$%&'*+-.^_`|~Z9: a\r\n"),
    "white-space-around": add(b"X: \t a \t\r\n"),
    "raw-byte-in-value": add(b"X: \xc3\xa9\xff\r\n"),
    "content-length-0": add(b"Content-Length: 0\r\n"),
    "content-length-5": add(b"Content-Length: 5\r\n"),
    "content-length-and-a-tab": add(b"Content-Length: 0\t\r\n"),
    "upgrade-and-a-tab": swap(b"websocket", b"websocket \t "),
    "connection-of-a-tab": swap(b"Connection: Upgrade", b"Connection:\t"),
    "content-length-twice": add(b"Content-Length: 0\r\nContent-Length: 0\r\n"),
    "chunked": add(b"Transfer-Encoding: chunked\r\n"),
    "two-hosts": add(b"Host: b\r\n"),
    "no-host": swap(b"Host: example.com\r\n", b""),
    "host-port": swap(b"example.com", b"example.com:8080"),
    "host-ipv6": swap(b"example.com", b"[::1]:80"),
    "host-list": swap(b"example.com", b"a,b"),
    "forwarded": add(b"X-Forwarded-For: 1.2.3.4\r\nVia: 1.1 a\r\n"),
    "version-8": swap(b"Version: 13", b"Version: 8"),
    "short-key": swap(b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZQ=="),
    "not-upgrade": swap(b"Connection: Upgrade", b"Connection: keep-alive"),
    "five-headers-of-four": b"\0\x03\x01" + GOOD,
    "200-bytes-max": b"\x04\0\x01" + GOOD,
    "longer-than-64": b"\x03\0\x05" + GOOD,
    "129-headers": b"\0\x05\xff" + GOOD.replace(b"Upgrade: ", b"X: a\r\n" * 124 + b"Upgrade: ", 1),
    "no-request-line": H + b"\r\n" + GOOD,
})

# --- negotiation: supported subprotocols, lines

OFFERS = """
permessage-deflate
permessage-deflate; client_max_window_bits
permessage-deflate; client_max_window_bits, x-webkit-deflate-frame
permessage-deflate; server_no_context_takeover; client_no_context_takeover
permessage-deflate ; server_max_window_bits = 10 ; client_max_window_bits = 11
permessage-deflate; server_no_context_takeover=1
permessage-deflate; server_max_window_bits
permessage-deflate; server_max_window_bits=8
permessage-deflate; server_max_window_bits=9
permessage-deflate; server_max_window_bits=15
permessage-deflate; server_max_window_bits=16
permessage-deflate; server_max_window_bits=09
permessage-deflate; server_max_window_bits="10"
permessage-deflate; server_max_window_bits="1\\0"
permessage-deflate; client_max_window_bits=8
permessage-deflate; unknown
permessage-deflate; server_max_window_bits=10; server_max_window_bits=10
permessage-deflate; client_max_window_bits; client_max_window_bits=10
permessage-deflate; server_max_window_bits=8, permessage-deflate
permessage-deflate; unknown, permessage-deflate; server_max_window_bits=12
foo; a=b; c="d", permessage-deflate; client_max_window_bits=9, bar
;
permessage-deflate;
permessage-deflate; server_max_window_bits=
permessage-deflate; server_max_window_bits="10
permessage-deflate; server_max_window_bits=""
permessage-deflate; server_max_window_bits="10\\"
permessage-deflate client_max_window_bits
permessage-deflate/1
"permessage-deflate"
, ,permessage-deflate
""".strip().splitlines()
write("negotiation", {
    **{f"offer-{n:02}": b"\0E" + offer.encode() for n, offer in enumerate(OFFERS)},
    "two-lines": b"\0Efoo\nEpermessage-deflate; server_max_window_bits=10\nEpermessage-deflate",
    "protocols": b"\0Pfanwire.json.v1, fanwire.batch.v1+lz4\nPother",
    "protocols-unsupported": b"\x01Pfanwire.json.v1, fanwire.msgpack.v1",
    "protocols-malformed": b"\0Pa b",
    "everything": b"\0Epermessage-deflate; client_max_window_bits\nPfanwire.batch.v1\nV13\nCkeep-alive, Upgrade\nUWebSocket\nKAQIDBAUGBwgJCgsMDQ4PEA==",
    "version-8": b"\0V8",
    "key-short": b"\0KAQID",
    "upgrade-h2c": b"\0Uh2c",
    "two-keys": b"\0KAQIDBAUGBwgJCgsMDQ4PEA==\nKAQIDBAUGBwgJCgsMDQ4PEA==",
})

# --- inflate: maximum, cuts, message


def sized(length_bytes, data):
    return len(data).to_bytes(length_bytes, "big") + data


def extension(kind, data):
    return struct.pack(">H", kind) + sized(2, data)


# ClientHello (RFC 8446, 4.1.2): versions 1.3 and 1.2, P-256 and X25519, a share of the latter, ALPN, a name.
EXTENSIONS = b"".join([
    extension(0, sized(2, b"\x00" + sized(2, b"localhost"))),
    extension(43, sized(1, b"\x03\x04\x03\x03")),
    extension(13, sized(2, b"\x04\x03\x08\x04")),
    extension(10, sized(2, b"\x00\x1d\x00\x17")),
    extension(51, sized(2, b"\x00\x1d" + sized(2, b"\x09" + bytes(31)))),
    extension(16, sized(2, sized(1, b"http/1.1"))),
    extension(45, sized(1, b"\x01")),
])
HELLO = b"\x16\x03\x01" + sized(2, b"\x01" + sized(3, (
    b"\x03\x03" + b"\xaa" * 32 + sized(1, b"\xbb" * 32) + sized(2, b"\x13\x02\x13\x01\xc0\x2c") + sized(1, b"\0") + sized(2, EXTENSIONS)
)))


def sealed(*ops):
    return b"".join(bytes([kind, len(content), how]) + content for kind, how, content in ops)


RECORDS = {
    "data": sealed((23, 0, b"hello"), (23, 3, b"padded"), (23, 0, b"")),
    "close": sealed((23, 0, b"last"), (21, 0, b"\x01\x00"), (23, 0, b"late")),
    "fatal": sealed((21, 0, b"\x02\x28"),),
    "cancelled": sealed((21, 0, b"\x01\x5a"), (21, 0, b"\x01\x00")),
    "alert-short": sealed((21, 0, b"\x02"),),
    "alert-long": sealed((21, 0, b"\x02\x28\x00"),),
    "key-update": sealed((22, 0, b"\x18\x00\x00\x01\x00"), (23, 0, b"x")),
    "key-update-asks": sealed((22, 0, b"\x18\x00\x00\x01\x01"),),
    "key-update-twice": sealed((22, 0, b"\x18\x00\x00\x01\x00" * 2),),
    "key-update-odd": sealed((22, 0, b"\x18\x00\x00\x01\x02"),),
    "hello-again": sealed((22, 0, HELLO[5:200]),),
    "zeros": sealed((0, 9, b"\x00" * 20),),
    "kind-inside": sealed((0, 0, b"abc\x17\x00"),),
    "change-cipher": sealed((20, 0, b"\x01"),),
    "heartbeat": sealed((24, 0, b"\x01\x00\x40"),),
    "changed": sealed((23, 129, b"changed"),),
    "idle": sealed(*[(23, 0, b"")] * 33),
    "idle-and-data": sealed(*[(23, 0, b""), (23, 0, b"x")] * 40),
    "longest": bytes([23, 255, 1]),
    "too-long": bytes([23, 255, 2]),
}
write("records", {f"{name}-{version}": bytes([what]) + data for name, data in RECORDS.items() for version, what in (("13", 2), ("12", 6))} | {
    "greeting": b"\0\xff" + HELLO,
    "greeting-bytes": b"\0\x01" + HELLO,
    "greeting-plain": b"\0\x10GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "greeting-ssl2": b"\0\xff\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(33),
    "greeting-alert": b"\0\xff\x15\x03\x01\x00\x02\x02\x28",
    "stranger": b"\x01\x17\x03\x03\x00\x20" + bytes(32),
    "stranger-12": b"\x05\x17\x03\x03\x00\x28" + bytes(40),
    "stranger-short": b"\x01\x17\x03\x03\x00\x01\x00",
})

# --- configuration: a file of settings

write("configuration", {name: text.encode() for name, text in {
    "least": "shards = 1\n",
    "sections": 'listen = ["127.0.0.1:0"]\n[memory]\npool_bytes = "64MiB"\n[limits]\nping_every = "10s"\n',
    "dotted": 'memory.ring_bytes = 0x10_0000\nlimits.idle_timeout = "1m"\nmemory.pool_bytes = 67108864\n',
    "inline": 'limits = { ping_every = "1s", handshake_timeout = "5s" }\n',
    "quoted": '"shards" = 2\n["log"]\nlevel = "warn,fanwire=debug"\nformat = "json"\n',
    "topics": 'topics = ["a/*=latest,keep-last", "b=keep-messages=2"]\n',
    "tables": '[[topics]]\npattern = "a/*"\nslow = "latest"\nkeep_messages = 10\n[[topics]]\npattern = "b"\nkeep_for = "1m"\n',
    "token": '[token]\nkeys_file = "k"\naudience = "a"\nsubscribe = ["u/{sub}/**"]\nanonymous_subscribe = ["p/**"]\n',
    "empty-lists": 'topics = []\n[access]\nallowed_origins = []\n[token]\npublish = []\n',
    "unknown": "chards = 1\n[limitz]\nping_every = 1\n[limits]\npong_every = 1\n",
    "twice": "shards = 1\nshards = 2\n",
    "types": 'shards = 1.5\nlisten = 1979-05-27\n[limits]\nping_every = true\nidle_timeout = []\n',
    "no-toml": "shards == 1\n[[[\n",
    "mark": "\ufeffshards = 1\n",
    "escapes": 'server_name = "a\\u0041\\t\\U0001F600"\n[access]\nallowed_origins = ["https://x.example"]\n',
    "cpus": 'cpus = "0-3"\n[events]\ncapacity = 1\n',
}.items()})

# --- engine: a tape

rng = random.Random(6)
tapes = {f"tape-{n:02}": rng.randbytes(size) for n, size in enumerate([0, 20, 60, 100, 200, 400, 800, 1600, 3000, 3000, 4000, 4000])}
tapes |= {f"even-{byte:02x}": bytes([byte]) * 1500 for byte in (0, 1, 127, 128, 200, 255)}
write("engine", tapes)


# --- dictionary: choice and codec, maximum, frames with their lengths; or dictionary and block; or a lane's messages


def frames(choice, *all):
    return bytes([choice, 0]) + b"".join(struct.pack("<H", len(frame)) + frame for frame in all)


def begins(definition, number=9, rest=b"\x01\x00x"):
    return bytes([0x91, 14, number]) + definition + rest


AB, C = b"\x01\x0e\x01\x0aab", b"\x01\x0e\x02\x14c"
ABC = struct.pack("<I", zlib.adler32(b"abc"))
SCRIPT = b"".join(bytes([0, 40 + n % 9, 0x32]) + bytes([65 + n % 7, 66, 67 + n % 5, 68, 69, 70, 71])[: (40 + n % 9) % 8] for n in range(200))
raw = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=b"hello, hello")
STREAM = raw.compress(b"hello, hello, world") + raw.flush()
write("dictionary", {
    "plain": frames(0, AB, C),
    "several": frames(0, b"\x41\x0e\x01\x0a\x02ab\x00\x06\x01c"),
    "begins": frames(0, AB, C, begins(b"\x01\x01\x00\x02" + ABC), b"\x11\x0e\x09\x02\x00y"),
    "begins-deflate": frames(1, AB, C, begins(b"\x01\x01\x00\x02" + ABC)),
    "another-check": frames(0, AB, C, begins(b"\x01\x01\x00\x02" + bytes(4))),
    "missing": frames(0, AB, begins(b"\x01\x01\x00\x02" + ABC)),
    "earlier": frames(0, b"\xc2\x0e\x09\x01\x0a\x02ab\x00\x06\x01c", b"\x11\x0e\x09\x02\x00y"),
    "control": frames(0, b"\x00{}"),
    "unknown": frames(0, b"\x03 anything"),
    "lz4-block": bytes([4, 0]) + struct.pack("<H", 12) + b"hello, hello" + b"\x06\x0c\x00\x70, world",
    "lz4-too-far": bytes([4, 0]) + struct.pack("<H", 3) + b"abc" + b"\x06\x0c\x00\x70, world",
    "deflate-block": bytes([5, 0]) + struct.pack("<H", 12) + b"hello, hello" + STREAM,
    "lane-lz4": bytes([6, 40, 5]) + SCRIPT,
    "lane-deflate": bytes([7, 90, 3]) + SCRIPT,
})

print({p.name: sum(1 for _ in p.iterdir()) for p in sorted(ROOT.iterdir())})
