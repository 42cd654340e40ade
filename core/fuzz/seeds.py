#!/usr/bin/env python3
"""Writes the hand-made seeds of the fuzz targets into core/fuzz/seeds: RFC examples, rows of our test tables, edges.

The files are in the repository; run this again only after changing it:  python3 core/fuzz/seeds.py
What the bytes in front mean is said in core/proto/src/fuzz, core/token/src/fuzz.rs, server/src/config/fuzz.rs.
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

HELLO = bytes.fromhex("f248cdc9c90700")
FINAL_HELLO = bytes.fromhex("f348cdc9c90700")
STORED = bytes.fromhex("000500faff48656c6c6f")
FINAL_STORED = bytes.fromhex("010500faff48656c6c6f")
TAIL = bytes.fromhex("0000ffff")


def deflated(data, level=9, strategy=zlib.Z_DEFAULT_STRATEGY):
    c = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    return (c.compress(data) + c.flush(zlib.Z_SYNC_FLUSH))[:-4]


def finished(data):
    c = zlib.compressobj(9, zlib.DEFLATED, -15)
    return c.compress(data) + c.flush()


JSON = b'{"type":"publish","topic":"rover/1/imu","data":{"ax":0.125,"ay":-9.81,"az":1e-3},"priority":"high"}'
I = b"\0\x11"
write("inflate", {
    "rfc-hello": I + HELLO,
    "rfc-stored": I + STORED + b"\0",
    "rfc-final": I + FINAL_HELLO + b"\0",
    "rfc-two-blocks": I + bytes.fromhex("f248050000 00ffffcac9c90700".replace(" ", "")),
    "rfc-empty": I + b"\0",
    "no-data": I,
    "final-stored-then-more": I + FINAL_STORED + FINAL_HELLO + HELLO,
    "final-empty-blocks": I + HELLO + TAIL + b"\x03\0\x03\0" + HELLO,
    "final-70-times": I + b"\x03\x00" * 70 + b"\0",
    "zlib-final-then-empty": I + finished(JSON) + b"\0",
    "tail-not-left-out": I + HELLO + TAIL,
    "only-the-tail": I + TAIL,
    "cut": I + HELLO[:4],
    "stored-that-the-tail-would-fill": I + STORED[:6],
    "stored-wrong-complement": I + b"\x00\x05\x00\x05\x00abcde\0",
    "reserved-type": I + b"\x06\x00",
    "zlib-header": I + b"\x78\x9c" + HELLO,
    "dynamic": I + deflated(JSON * 4 + bytes(range(256))),
    "fixed": I + deflated(JSON, strategy=zlib.Z_FIXED),
    "huffman-only": I + deflated(JSON * 2, strategy=zlib.Z_HUFFMAN_ONLY),
    "stored-blocks": I + deflated(JSON, level=0),
    "rle": I + deflated(b"a" * 3000, strategy=zlib.Z_RLE),
    "bomb": b"\x04\xff" + deflated(b"\0" * 300_000),
    "maximum-exactly": b"\x03\x05" + deflated(b"ab" * 50),
    "maximum-and-one": b"\x03\x05" + deflated(b"ab" * 50 + b"c"),
    "maximum-0": b"\x01\x05" + HELLO,
    "far-matches": b"\x05\xff" + deflated(random.Random(1).randbytes(900) + b"x" * 31_500 + random.Random(1).randbytes(900)),
})

# --- deflate: window, effort, times, step, pattern

write("deflate", {
    "empty": b"\x06\0\0\0",
    "hello": b"\x06\0\0\0Hello",
    "json": b"\x06\0\x20\0" + JSON,
    "json-thorough": b"\x06\x01\x20\0" + JSON,
    "json-changing": b"\x06\0\x20\x01" + JSON,
    "zeros": b"\x06\0\xff\0" + b"\0" * 100,
    "noise": b"\x06\x01\0\0" + random.Random(2).randbytes(700),
    "noise-twice": b"\x06\0\x01\0" + random.Random(3).randbytes(700),
    "window-9-fits": b"\0\0\0\0" + (JSON * 6)[:512],
    "window-9-too-long": b"\0\0\0\0" + (JSON * 6)[:513],
    "window-14": b"\x05\x01\x40\0" + JSON,
    "bytes": b"\x06\x01\x80\x11" + bytes(range(256)),
    "counting": b"\x06\0\xf0\x25" + bytes(range(120)),
})

# --- json

JSON_TEXTS = [
    '{"type":"ping"}',
    '{"type":"ping","id":7}',
    '{"type":"ping","id":"a\\u00e9"}',
    '{"id":"0123456789012345678901234567890123456789012345678901234567890123456789","type":"ping"}',
    '{"type":"subscribe","topics":["a/b","c/*","d/**"],"max_hz":2.5,"echo":false}',
    '{"type":"subscribe","topics":["a"],"since":{"a":{"epoch":12,"seq":{"critical":1,"normal":18446744073709551615}}}}',
    '{"type":"subscribe","topics":[]}',
    '{"type":"subscribe","topics":["a//b"]}',
    '{"type":"unsubscribe","topics":["a"]}',
    '{"type":"publish","topic":"a","data":{"x":[1,-2.5e3,null,true,"\\ud83d\\ude00"]},"priority":"high","key":"k","ttl_ms":500}',
    '{"type":"publish","topic":"a","data":"caf\\u00e9 \\n","encoding":"text"}',
    '{"type":"publish","topic":"a","data":"AQIDBA==","encoding":"base64"}',
    '{"type":"publish","topic":"a","data":"AQ","encoding":"base64"}',
    '{"type":"publish","topic":"a","data":"!","encoding":"base64"}',
    '{"type":"publish","topic":"$sys","data":null}',
    '{"type":"publish","topic":"a","data":1,"encoding":"zip"}',
    '{"type":"publish","topic":"a","data":null,"priority":"urgent"}',
    '{"type":"publish","topic":"a"}',
    '{"type":"x","type":"ping"}',
    '{"type":null}',
    '{"t\\u0079pe":"ping"}',
    '[]', '"a"', 'null', '1e999', '-0', '01', '1.', '1e', '.5', '"\\ud800"', '"\\ud800\\u0041"', '"\\x"', '"\x01"', '{"a":1,}', '[1,]', '{"a"}', ' {} ', '{}x',
    '99999999999999999999999', '1.7976931348623159e308', '5e-324', '1,2', '1],[2',
    '[' * 126 + ']' * 126, '[' * 127 + ']' * 127, '{"a":' * 127 + '1' + '}' * 127, '[' * 128 + ']' * 128,
    '{"type":"welcome","session":"s","server":"fanwire 0.1","protocol":"fanwire.json.v1","time_us":1,"limits":{"message_bytes_max":1048576,"topics_max":1024,"subscriptions_max":4096}}',
    '{"type":"subscribed","id":3,"topic":"a","topic_id":1,"epoch":9,"seq":{"high":4,"low":5}}',
    '{"type":"unsubscribed","topic":"a"}',
    '{"type":"message","topic":"a\\"b","priority":"critical","seq":1,"time_us":2,"data":{"x":1}}',
    '{"type":"message","topic":"a","priority":"low","seq":1,"time_us":2,"data":"a\\tb","encoding":"text"}',
    '{"type":"message","topic":"a","priority":"low","seq":1,"time_us":2,"data":"AQI=","encoding":"base64"}',
    '{"type":"gap","topic":"a","priority":"normal","from":3,"to":9,"reason":"lag"}',
    '{"type":"error","code":"bad_json","message":"unexpected end at byte 3","id":"x"}',
    '{"type":"pong","id":1.5}',
    '{"type":"migrate","after_ms":250,"url":"ws://b:1/","reason":"restart"}',
]
write("json", {f"text-{n:02}": text.encode() for n, text in enumerate(JSON_TEXTS)} | {"no-utf8": b'"\xff"', "bom": b"\xef\xbb\xbf{}"})

# --- msgpack: twins or bytes


def pack(value):
    if value is None:
        return b"\xc0"
    if value is True or value is False:
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        if 0 <= value < 128:
            return bytes([value])
        return b"\xcf" + struct.pack(">Q", value) if value > 0 else b"\xd3" + struct.pack(">q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, bytes):
        return b"\xc4" + bytes([len(value)]) + value
    if isinstance(value, str):
        raw = value.encode()
        return (bytes([0xA0 | len(raw)]) if len(raw) < 32 else b"\xd9" + bytes([len(raw)])) + raw
    if isinstance(value, list):
        return bytes([0x90 | len(value)]) + b"".join(map(pack, value))
    return bytes([0x80 | len(value)]) + b"".join(pack(x) for pair in value.items() for x in pair)


OBJECTS = [
    {"type": "ping", "id": 7},
    {"type": "ping", "id": "x"},
    {"type": "subscribe", "topics": ["a/b", "c/*"], "max_hz": 10, "echo": True},
    {"type": "subscribe", "topics": ["a"], "max_hz": 2.5, "since": {"a": {"epoch": 12, "seq": {"critical": 1, "low": 2**64 - 1}}}},
    {"type": "unsubscribe", "topics": ["a"]},
    {"type": "publish", "topic": "a", "data": b"\0\1\2", "priority": "critical", "key": "k", "ttl_ms": 500.0},
    {"type": "publish", "topic": "a", "data": '{"x":1}'},
    {"type": "publish", "topic": "a", "data": "{"},
    {"type": "publish", "topic": "a", "data": "text", "encoding": "text"},
    {"type": "publish", "topic": "a", "data": "AQID", "encoding": "base64"},
    {"type": "publish", "topic": "a", "data": None},
    {"type": "welcome", "session": "s", "server": "f", "protocol": "p", "time_us": 1, "limits": {"message_bytes_max": 1048576, "topics_max": 1024}},
    {"type": "subscribed", "id": 3, "topic": "a", "topic_id": 1, "epoch": 9, "seq": {"high": 4}},
    {"type": "unsubscribed", "topic": "a"},
    {"type": "message", "topic": "a", "priority": "high", "seq": 300, "time_us": 70000, "data": '{"x":1}'},
    {"type": "message", "topic": "a", "priority": "high", "seq": 1, "time_us": 2, "encoding": "text", "data": "a"},
    {"type": "message", "topic": "a", "priority": "high", "seq": 1, "time_us": 2, "data": b"\1"},
    {"type": "gap", "topic": "a", "priority": "normal", "from": 3, "to": 9, "reason": "retention"},
    {"type": "error", "code": "bad_topic", "message": "m", "id": -5},
    {"type": "pong"},
    {"type": "migrate", "after_ms": 250, "url": "ws://b", "reason": "r"},
]
write("msgpack", {f"object-{n:02}": b"\0" + pack(value) for n, value in enumerate(OBJECTS)}
      | {f"twin-{n:02}": b"\1" + text.encode() for n, text in enumerate(t for t in JSON_TEXTS if t.startswith('{"type":') and "\\" not in t)}
      | {
    "nested-127": b"\0" + b"\x91" * 126 + b"\x90",
    "nested-128": b"\0" + b"\x91" * 127 + b"\x90",
    "map-32-of-nothing": b"\0\xdf\xff\xff\xff\xff",
    "array-16": b"\0\xdc\x00\x02\x01\x02",
    "extensions": b"\0\x96\xd4\x01a\xd8\x01" + b"x" * 16 + b"\xc7\x02\x01ab\xc8\x00\x01\x01a\xc9\x00\x00\x00\x01\x01a\xd5\xffab",
    "numbers": b"\0\x9a\xcc\xff\xcd\xff\xff\xce\xff\xff\xff\xff\xcf" + b"\xff" * 8 + b"\xd0\x80\xd1\x80\0\xd2\x80\0\0\0\xd3\x80" + b"\0" * 7 + b"\xca\x3f\x80\0\0\xcb\x3f\xf0" + b"\0" * 6,
    "reserved": b"\0\xc1",
    "str-no-utf8": b"\0\xa1\xff",
    "key-no-string": b"\0\x81\x01\x02",
    "bin-32-cut": b"\0\xc6\x00\x00\x00\x05abc",
})

# --- batch: what, then


def batch(messages, kind=2, lane=2, topic=7, first=1, flags=0, frame_kind=1):
    records = b"".join(struct.pack("<QBI", t, lane, len(p)) + p for t, p in messages)
    block = struct.pack("<II", len(messages), len(records)) + records
    return struct.pack("<BBBBIQII", 1, frame_kind, flags | kind << 1, lane, topic, first, len(block), 0) + block


ONE = batch([(1_700_000_000_000_000_000, b'{"x":1}')])
OBJECT = b'{"type":"ping"}'
CONTROL = struct.pack("<BBBBIQII", 1, 2, 4, 0, 0, 0, len(OBJECT), 0) + OBJECT
LZ4_HELLO = b"\x50Hello"
LZ4_MATCH = b"\x16a\x01\x00\x50bcdef"
LZ4_BLOCK = ONE[24:]
LZ4_FRAME = ONE[:2] + bytes([ONE[2] | 1]) + ONE[3:24] + b"\xf0" + bytes([len(LZ4_BLOCK) - 15]) + LZ4_BLOCK
write("batch", {
    "one": b"\0\0" + ONE,
    "three": b"\0\0" + batch([(1, b"a"), (2, b""), (3, b"ccc")], kind=1),
    "last-numbers": b"\0\0" + batch([(1, b"a"), (2, b"b")], first=2**64 - 2),
    "numbers-overflow": b"\0\0" + batch([(1, b"a"), (2, b"b")], first=2**64 - 1),
    "none": b"\0\0" + batch([]),
    "lz4": b"\0\0" + LZ4_FRAME,
    "control": b"\0\0" + CONTROL,
    "control-lz4": b"\0\0" + CONTROL[:2] + b"\x05" + CONTROL[3:],
    "kind-9": b"\0\0" + batch([(1, b"a")], frame_kind=9),
    "version-2": b"\0\0\x02" + ONE[1:],
    "flags": b"\0\0" + ONE[:2] + b"\x0c" + ONE[3:],
    "priority-4": b"\0\0" + ONE[:3] + b"\x04" + ONE[4:],
    "short": b"\0\0" + ONE[:23],
    "cut": b"\0\0" + ONE[:-1],
    "too-large": b"\0\x01" + ONE,
    "block-hello": b"\x02\x05\0\0" + LZ4_HELLO,
    "block-match": b"\x02\x10\0\0" + LZ4_MATCH,
    "block-wrong-size": b"\x02\x06\0\0" + LZ4_HELLO,
    "block-offset-0": b"\x02\x10\0\0\x16a\0\0\x50bcdef",
    "block-far": b"\x02\x10\0\0\x16a\x02\0\x50bcdef",
    "block-long-literals": b"\x02\x2c\x01\0\xf0\xff\x1e" + b"x" * 300,
    "block-long-match": b"\x02\x00\x10\x03\x1fa\x01\0" + b"\xff" * 15 + b"\xf3\0",
    "write-few": b"\x03\x02\x32\x00\x10\0" + b"\x05\0Hello" * 3,
    "write-many": b"\x03\x02\x05\xff\xff\x01" + b"\x0c\x08abcd" * 20,
    "write-mixed": b"\x03\x80\x32\x00\x02\x01" + b"\x07\x24abcdefg" + b"\x41\x02x" + b"\x07\x08abcdefg" * 6,
    "write-large": b"\x03\x01\x32\x80\x00\x01" + b"\xff\x03abcdefg" * 4,
    "write-json-lz4": b"\x03\x03\x3b\xff\xff\x01" + b"\xc7\x02" + b'{"a":1}' + b"\xcf\x02" + b'{"a":2}' + b"\xd7\x03" + b'{"b":3}',
})

# --- proxy: what is put in front, cuts, wire

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = bytes([203, 0, 113, 7, 10, 0, 0, 1]) + struct.pack(">HH", 51234, 9001)
V6 = bytes.fromhex("20010db8000000000000000000000007" + "0" * 31 + "1") + struct.pack(">HH", 443, 9001)


def proxied(command, family, block, length=None):
    return b"\0\x07" + SIGNATURE + struct.pack(">BBH", command, family, len(block) if length is None else length) + block


def tlv(kind, value):
    return struct.pack(">BH", kind, len(value)) + value


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF


def summed(family, block):
    whole = proxied(0x21, family, block + tlv(3, bytes(4)))
    return whole[:-4] + struct.pack(">I", crc32c(whole[2:]))


write("proxy", {
    "tcp4": proxied(0x21, 0x11, V4) + b"GET / HTTP/1.1\r\n",
    "udp4": proxied(0x21, 0x12, V4),
    "tcp6": proxied(0x21, 0x21, V6) + b"GET",
    "unix": proxied(0x21, 0x31, bytes(216)),
    "unspecified": proxied(0x21, 0x00, b""),
    "local": proxied(0x20, 0x00, b""),
    "local-with-anything": proxied(0x20, 0xFF, b"12345"),
    "tlvs": proxied(0x21, 0x11, V4 + tlv(1, b"h2") + tlv(0xE0, b"") + tlv(2, b"example.org")),
    "checksum": summed(0x11, V4),
    "checksum-6": summed(0x21, V6),
    "checksum-wrong": proxied(0x21, 0x11, V4 + tlv(3, b"abcd")),
    "checksum-short": proxied(0x21, 0x11, V4 + tlv(3, b"abc")),
    "tlv-half": proxied(0x21, 0x11, V4 + b"\4\0"),
    "tlv-too-long": proxied(0x21, 0x11, V4 + b"\4\0\2x"),
    "longest": proxied(0x21, 0x11, V4 + tlv(4, bytes(2017))),
    "too-long": proxied(0x21, 0x11, V4 + tlv(4, bytes(2018))),
    "length-64k": proxied(0x21, 0x11, V4, 65535),
    "cut": proxied(0x21, 0x11, V4)[:-1],
    "addresses-short": proxied(0x21, 0x21, V4),
    "family-4": proxied(0x21, 0x41, V4),
    "transport-3": proxied(0x21, 0x13, V4),
    "version-1": b"\0\0PROXY TCP4 203.0.113.7 10.0.0.1 51234 9001\r\n",
    "version-1-cut": b"\0\0PROX",
    "version-3": proxied(0x31, 0x11, V4),
    "command-2": proxied(0x22, 0x11, V4),
    "request": b"\0\0GET / HTTP/1.1\r\n\r\n",
    "client-hello": b"\0\0\x16\3\1",
    "put-in-front": b"\3\0" + b"\x21\x11\0\0" + V4,
    "put-in-front-6": b"\3\0" + b"\x21\x21\0\0" + V6,
})

# --- forwarded: trusted blocks, then the header's lines

OURS = "10.0.0.0/8,2001:db8:ffff::/48"
LISTS = [
    "203.0.113.7", "127.0.0.1, 203.0.113.7", "198.51.100.1, 203.0.113.7, 10.0.0.2", "10.0.0.3, 10.0.0.2, 10.0.0.1",
    "203.0.113.7, unknown, 10.0.0.2", "203.0.113.7:51234", "[2001:db8::1]:443", "[2001:db8::1]", "2001:db8::1, 2001:db8:ffff::2",
    "::ffff:203.0.113.7", "203.0.113.7, ::ffff:10.0.0.2", "203.0.113.7,,10.0.0.2, ", "203.0.113.7\t,\t10.0.0.2", "[1.2.3.4]:80",
    "fe80::1%1", "[fe80::1%1]:80", "1.2.3.4:65536", "1.2.3.4:000080", "2001:db8::1::2", "01.2.3.4", "203.0.113.7\n10.0.0.2",
    "198.51.100.1\n203.0.113.7, 10.0.0.2\n10.0.0.1", "203.0.113.7\n\n10.0.0.1", "", "203.0.113.7" + ", 10.0.0.1" * 32,
]
write("forwarded", {f"list-{n:02}": f"{OURS}\n{text}".encode() for n, text in enumerate(LISTS)} | {
    "blocks": b"0.0.0.0/0,::/0,192.0.2.1,192.0.2.2/31,::1/128\n192.0.2.3, 1.2.3.4, ::1",
    "blocks-bad": b"10.0.0.1/8,10.0.0.0/33,::/129,::ffff:10.0.0.0/104,10.0.0.0/,10.0.0.0/+8,10.0.0.0/08,x\n203.0.113.7, 10.0.0.1",
    "nobody": b"\n203.0.113.7, 10.0.0.1",
    "no-utf8": b"10.0.0.0/8\n\xff, 10.0.0.1",
})

# --- token: what (a token, a set of keys, PEM, a header to be signed, claims to be signed), then


def named(what, texts):
    return {name: bytes([what]) + text.encode() for name, text in texts.items()}


JWK_P256 = '"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"'
JWK_ED = '"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"'
write("token", named(0, {
    "token-unsecured": "eyJhbGciOiJub25lIn0.eyJleHAiOjIwMDB9.",
    "token-wrong": "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjIwMDB9.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    "token-five-parts": "e30.e30.AA.AA.AA",
}) | named(1, {
    "set-p256": '{"keys":[{%s,"kid":"a"}]}' % JWK_P256,
    "set-two": '{"keys":[{%s,"kid":"a","use":"sig"},{%s,"kid":"b","alg":"EdDSA","key_ops":["verify"]}]}' % (JWK_P256, JWK_ED),
    "set-same-kid": '{"keys":[{%s,"kid":"a"},{%s,"kid":"a"}]}' % (JWK_P256, JWK_ED),
    "set-private": '{"keys":[{%s,"d":"AA"}]}' % JWK_ED,
    "set-short": '{"keys":[{"kty":"oct","k":"AA"}]}',
    "set-rsa-short": '{"keys":[{"kty":"RSA","n":"AA","e":"AQAB"}]}',
    "set-skipped": '{"keys":[{"kty":"future"},{%s}]}' % JWK_ED,
}) | named(2, {
    "pem-ed25519": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
    "pem-cut": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n",
}) | named(3, {
    "header": '{"alg":"HS256","typ":"JWT"}',
    "header-kid": '{"alg":"HS256","kid":"a"}',
    "header-crit": '{"alg":"HS256","crit":["exp"]}',
    "header-none": '{"alg":"none"}',
    "header-nested": '{"alg":"HS256","cty":"JWT"}',
}) | named(4, {
    "claims": '{"sub":"u1","exp":2000,"iat":900,"nbf":900,"fanwire":{"subscribe":["a/*","{sub}/**"],"publish":["b"]}}',
    "claims-least": '{"exp":2000}',
    "claims-float": '{"exp":2e3}',
    "claims-string": '{"exp":"2000"}',
    "claims-past": '{"exp":995}',
    "claims-early": '{"exp":2000,"nbf":1006}',
    "claims-aud": '{"exp":2000,"aud":["a"]}',
    "claims-slash": '{"exp":2000,"sub":"a/b","fanwire":{"publish":["{sub}"]}}',
    "claims-nested": '{"exp":2000,"a":' + "[" * 20 + "]" * 20 + "}",
}))

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

print({p.name: sum(1 for _ in p.iterdir()) for p in sorted(ROOT.iterdir())})
