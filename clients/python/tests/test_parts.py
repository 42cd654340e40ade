"""Limits at their edge and one past it, and what cannot be read: no socket, no clock."""

from __future__ import annotations

import json
import random
import struct
from typing import Any, Optional

import pytest

import fanwire_client
from fanwire_client import _actions as act
from fanwire_client import _codec, _policy, _token, _topics
from fanwire_client._connection import close_of
from fanwire_client._errors import QueueFullError, WireError
from fanwire_client._ledger import Ledger
from fanwire_client._queue import Queue
from fanwire_client._requests import REQUEST_BYTES_MAX, TOPICS_MAX, Options
from fanwire_client._session import Session, Settings
from fanwire_client._types import Gap, Message

URL = "ws://server.example/"


def opened(**settings: Any) -> Session:
    session = Session(Settings(URL, **settings), lambda: 1.0)
    session.start()
    session.on_open(_codec.JSON, 0.0)
    drain(session)
    return session


def drain(session: Session) -> tuple[list[Any], list[Any]]:
    actions, events = [], []
    while (action := session.next_action()) is not None:
        actions.append(action)
    while (event := session.next_event()) is not None:
        events.append(event)
    return actions, events


def message(seq: int, priority: str = "normal", topic: str = "a") -> Message:
    return Message(topic, priority, seq, 5, 0, "json", seq)


@pytest.mark.parametrize(
    ("pattern", "name", "is_match"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("*", "a", True),
        ("*", "a/b", False),
        ("a/*", "a/b", True),
        ("a/*", "a", False),
        ("a/**", "a", False),
        ("a/**", "a/b", True),
        ("a/**", "a/b/c", True),
        ("**", "a/b", True),
        ("**", "$sys/x", False),
        ("*/b", "a/b", True),
        ("*/b", "a/c", False),
        ("*/**", "a", False),
        ("$sys/x", "$sys/x", True),
    ],
)
def test_patterns_match_as_the_protocol_says(pattern: str, name: str, is_match: bool) -> None:
    assert _topics.matches(pattern, name) == is_match


@pytest.mark.parametrize(
    "name", ["", "a//b", "/a", "a/", "a\nb", "a*", "a/**/b", "$x/*", "x" * 256, "\u00e4" * 128, "\ud800"]
)
def test_what_is_no_topic_is_refused_here(name: str) -> None:
    with pytest.raises(ValueError):
        _topics.check(name, is_pattern_allowed=True)


def test_names_of_255_bytes_are_names_and_patterns_are_not_published_to() -> None:
    assert _topics.check("x" * 255, is_pattern_allowed=False)
    assert _topics.check("a/*/**", is_pattern_allowed=True)
    with pytest.raises(ValueError):
        _topics.check("a/*", is_pattern_allowed=False)
    with pytest.raises(TypeError):
        _topics.check(5, is_pattern_allowed=True)  # type: ignore[arg-type]


def test_limits_of_a_subscription() -> None:
    session = opened()
    session.subscribe([f"t/{n}" for n in range(TOPICS_MAX)])
    with pytest.raises(ValueError, match="1025"):
        session.subscribe([f"u/{n}" for n in range(TOPICS_MAX + 1)])
    with pytest.raises(ValueError):
        session.subscribe([])
    session.subscribe(["v"], Options(max_hz=1_000_000))
    for wrong in (0, -1, 1_000_001, float("nan")):
        with pytest.raises(ValueError):
            session.subscribe(["w"], Options(max_hz=wrong))
    session.subscribe(["x"], Options(max_delay_ms=1000))
    for wrong in (-1, 1000.5, float("nan")):
        with pytest.raises(ValueError):
            session.subscribe(["y"], Options(max_delay_ms=wrong))
    with pytest.raises(ValueError, match="other options"):
        session.subscribe(["v"], Options(max_hz=5))


@pytest.mark.parametrize(
    "since", [{"a": 5}, {"a": {}}, {"a": {"epoch": "5", "seq": {}}}, {"a": {"epoch": 5, "seq": {"low": -1}}}, [1]]
)
def test_a_position_that_is_none_is_refused_and_nothing_subscribed(since: Any) -> None:
    session = opened()
    with pytest.raises(ValueError, match="position"):
        session.subscribe(["a"], since=since)
    assert not list(session.requests) and drain(session) == ([], [])
    session.subscribe(["a"], since={"a": {"epoch": 5, "seq": {"low": 3, "urgent": "x"}}, "b": {"epoch": 6, "seq": {}}})
    ((subscribe,), _) = drain(session)
    said = json.loads(subscribe.wire)
    assert said["since"] == {"a": {"epoch": 5, "seq": {"low": 3}}} and said["from"] == "oldest"


def test_limits_of_a_publish() -> None:
    session = opened()
    session.publish("a", 1, 0.0, key="k" * 255, ttl_ms=2**32 - 1)
    for wrong in (
        {"key": "k" * 256},
        {"key": ""},
        {"ttl_ms": 2**32},
        {"ttl_ms": 0},
        {"ttl_ms": True},
        {"priority": "urgent"},
        {"kind": "xml"},
    ):
        with pytest.raises(ValueError):
            session.publish("a", 1, 0.0, **wrong)
    for data, kind in ((float("nan"), None), ("\ud800", None), (b"", "text"), ("", "binary"), ({1, 2}, None)):
        with pytest.raises((ValueError, TypeError)):
            session.publish("a", data, 0.0, kind=kind)


def test_so_many_publishes_wait_and_no_more() -> None:
    session = Session(Settings(URL, publishes_max=3), lambda: 1.0)
    session.start()
    for n in range(3):
        session.publish("a", n, 0.0)
    with pytest.raises(QueueFullError):
        session.publish("a", 3, 0.0)
    session.on_open(_codec.JSON, 0.0)
    with pytest.raises(QueueFullError):
        session.publish("a", 3, 0.0)
    pings = [
        json.loads(action.wire)["id"] for action in drain(session)[0] if '"ping"' in str(getattr(action, "wire", ""))
    ]
    session.on_message(json.dumps({"type": "pong", "id": pings[0]}), 1.0)
    session.publish("a", 3, 0.0)


def test_a_message_of_the_servers_maximum_goes_out_and_a_larger_one_does_not() -> None:
    session = opened()
    session.on_message(json.dumps({"type": "welcome", "time_us": 1, "limits": {"message_bytes_max": 80}}), 0.0)
    drain(session)
    keys = {}
    for size in range(1, 60):
        keys[session.publish("a", "x" * size, 0.0)] = size
        actions, events = drain(session)
        refused = [event for event in events if isinstance(event, act.Refused)]
        wires = [action.wire for action in actions if "publish" in str(action.wire)]
        assert bool(refused) != bool(wires)
        assert all(len(wire) <= 80 for wire in wires) and all(event.code == "too_large" for event in refused)
        if refused:
            break
    assert any(len(str(wire)) == 80 for wire in wires) or refused and size > 10


def test_a_queue_holds_its_maximum_and_tells_what_it_drops() -> None:
    dropped: list[Message] = []
    queue = Queue(3, 100, dropped.append)
    for seq in (1, 2, 3):
        queue.put(message(seq), 10)
    assert len(queue) == 3 and not dropped
    queue.put(message(4), 10)
    assert [lost.seq for lost in dropped] == [1]
    assert queue.get() == Gap("a", "normal", 5, 1, 1, 1, "local")
    assert [queue.get(), queue.get(), queue.get(), queue.get()] == [message(2), message(3), message(4), None]


def test_a_queue_holds_its_bytes_and_always_one_message() -> None:
    queue = Queue(10, 100, lambda _: None)
    queue.put(message(1), 500)
    assert len(queue) == 1 and queue.dropped == 0
    queue.put(message(2), 100)
    assert queue.dropped == 1
    queue.put(message(3), 0)
    assert queue.dropped == 1
    queue.put(message(4), 1)
    assert queue.dropped == 2 and [queue.get() for _ in range(3)] == [
        Gap("a", "normal", 5, 1, 2, 2, "local"),
        message(3),
        message(4),
    ]


def test_the_least_important_goes_first_and_critical_stays() -> None:
    queue = Queue(2, 1000, lambda _: None)
    for seq, priority in enumerate(["critical", "low", "high", "critical", "critical"], 1):
        queue.put(message(seq, priority), 1)
    assert queue.is_over
    said = [queue.get() for _ in range(6)]
    assert [item.seq for item in said if isinstance(item, Message)] == [1, 4, 5]
    assert {item.priority for item in said if isinstance(item, Gap)} == {"low", "high"}


def test_a_token_that_comes_after_its_connection_is_gone_makes_none() -> None:
    session = Session(Settings(URL, has_tokens=True), lambda: 1.0)
    session.start()
    session.on_token("h.eyJleHAiOjEwMH0.s", 0.0)
    session.on_open(_codec.JSON, 0.0)
    session.on_message(json.dumps({"type": "welcome", "time_us": 0}), 0.0)
    drain(session)
    session.on_time(80.0)
    assert act.WantToken() in drain(session)[0]
    session.on_close(1006, "", 80.0)
    session.on_token("late", 80.1)
    assert drain(session)[0] == [] and session.state == "waiting"
    session.on_time(80.5)
    assert drain(session)[0] == [act.WantToken()]
    session.on_token("another", 80.6)
    assert [type(action) for action in drain(session)[0]] == [act.Connect]
    session.close()
    drain(session)
    session.on_token("late", 81.0)
    assert drain(session) == ([], [])


def test_what_subscribed_says_is_not_due_is_discarded_while_its_gap_has_not_come() -> None:
    ledger = Ledger(10)
    ledger.on_subscribed("a", 5, {"low": 3}, is_oldest=False)
    assert ledger.on_message("a", "low", 4) == 5
    ledger.on_subscribed("a", 5, {"low": 7}, is_oldest=True)
    assert ledger.on_message("a", "low", 6) is None and ledger.since("a")["seq"] == {"low": 4}
    assert ledger.on_gap("a", "low", 5, 7, count=None, is_counted=False)
    assert ledger.on_message("a", "low", 8) == 5
    (account,) = ledger.accounts()
    assert (account.published, account.delivered, account.lost, account.left_out) == (5, 2, 3, 0)


def test_of_a_gap_that_overlaps_only_what_is_new_counts() -> None:
    ledger = Ledger(10)
    ledger.on_subscribed("a", 5, {"low": 0}, is_oldest=False)
    for first, last, is_new in ((1, 10, True), (1, 10, False), (6, 14, True), (3, 9, False)):
        assert ledger.on_gap("a", "low", first, last, count=None, is_counted=False) == is_new
    (account,) = ledger.accounts()
    assert (account.published, account.lost, account.left_out) == (14, 14, 0)


@pytest.mark.parametrize("protocol", [_codec.BATCH, _codec.BATCH_LZ4])
def test_a_block_of_the_maximum_is_taken_and_a_larger_one_is_not(protocol: str) -> None:
    import lz4.block

    frame = batch(20)
    size = len(frame) - 24
    if protocol == _codec.BATCH_LZ4:
        packed = lz4.block.compress(frame[24:], store_size=False)
        frame = struct.pack("<BBBBIQII", 1, 1, 5, 2, 3, 41, size, 0) + packed
    said = _codec.make(protocol, size).decode(frame)
    assert isinstance(said, list) and len(said) == 20
    with pytest.raises(WireError, match="at most"):
        _codec.make(protocol, size - 1).decode(frame)


def test_topics_beyond_the_maximum_come_and_are_not_accounted_for() -> None:
    ledger = Ledger(2)
    for name in ("a", "b", "c"):
        ledger.on_subscribed(name, 5, {}, is_oldest=False)
    assert [ledger.on_message(name, "low", 1) for name in ("a", "b", "c")] == [5, 5, 0]
    assert ledger.untracked == 1 and len(ledger.accounts()) == 2


def test_a_since_is_as_large_as_a_request_may_be_and_the_rest_comes_from_the_oldest() -> None:
    session = opened()
    session.subscribe(["**"])
    drain(session)
    for n in range(6000):
        said = {
            "type": "subscribed",
            "topic": f"{n:04}/" + "x" * 100,
            "topic_id": n,
            "epoch": 2**53 - 1,
            "seq": {"low": 2**60},
        }
        session.on_message(json.dumps(said), 0.0)
    session.on_close(None, "", 0.0)
    session.on_time(100.0)
    session.on_open(_codec.JSON, 100.0)
    (wire,) = (action.wire for action in drain(session)[0] if isinstance(action, act.Send))
    request = json.loads(wire)
    assert REQUEST_BYTES_MAX - 300 < len(wire) + 20 * len(request["since"]) and len(wire) <= REQUEST_BYTES_MAX
    assert request["from"] == "oldest" and 0 < len(request["since"]) < 6000


def batch(count: int, flags: int = 4) -> bytes:
    messages = b"".join(struct.pack("<QBI", 10**18, 2, 7) + b'{"v":1}' for _ in range(count))
    block = struct.pack("<II", count, len(messages)) + messages
    return struct.pack("<BBBBIQII", 1, 1, flags, 2, 3, 41, len(block), 0) + block


@pytest.mark.parametrize("protocol", [_codec.BATCH, _codec.BATCH_LZ4])
def test_a_frame_is_taken_whole_or_not_at_all(protocol: str) -> None:
    codec = _codec.make(protocol, 1 << 20)
    frame = batch(3)
    whole = codec.decode(frame)
    assert isinstance(whole, list) and [one.seq for one in whole] == [41, 42, 43]
    for at in range(len(frame)):
        with pytest.raises(WireError):
            codec.decode(frame[:at])
    with pytest.raises(WireError):
        codec.decode(frame + b"x")


@pytest.mark.parametrize("protocol", [_codec.JSON, _codec.MSGPACK, _codec.BATCH, _codec.BATCH_LZ4])
def test_any_bytes_are_read_or_end_the_connection(protocol: str) -> None:
    chance = random.Random(5)
    import lz4.block
    import msgpack

    object_ = {"type": "message", "topic": "a", "priority": "low", "seq": 3, "time_us": 4, "data": "[1,2]"}
    packed = lz4.block.compress(batch(20)[24:], store_size=False)
    raw_size = len(batch(20)) - 24
    seeds: dict[str, bytes] = {
        _codec.JSON: json.dumps(object_).encode(),
        _codec.MSGPACK: msgpack.packb(object_),
        _codec.BATCH: batch(3),
        _codec.BATCH_LZ4: struct.pack("<BBBBIQII", 1, 1, 5, 2, 3, 41, raw_size, 0) + packed,
    }
    for _ in range(3000):
        session = Session(Settings(URL, protocols=(protocol,), message_bytes_max=1 << 16), lambda: 1.0)
        session.start()
        session.on_open(protocol, 0.0)
        drain(session)
        subscribed = {"type": "subscribed", "topic": "a", "topic_id": 3, "epoch": 1, "seq": {}}
        session._on_subscribed(subscribed)
        wire = bytearray(seeds[protocol])
        for _ in range(chance.randrange(4)):
            wire[chance.randrange(len(wire))] = chance.randrange(256)
        del wire[chance.choice([len(wire), chance.randrange(len(wire))]) :]
        said: Any = wire.decode("utf-8", "replace") if protocol == _codec.JSON else bytes(wire)
        session.on_message(said, 0.0)
        assert session.state in ("open", "waiting")
        assert session.state == "open" or drain(session)[0] == [act.Disconnect(1000, "")]


@pytest.mark.parametrize(
    "said",
    [
        {"type": "message"},
        {"type": "message", "topic": 1, "priority": "low", "seq": 1, "time_us": 1, "data": 1},
        {"type": "message", "topic": "a", "priority": "urgent", "seq": 1, "time_us": 1, "data": 1},
        {"type": "message", "topic": "a", "priority": [], "seq": 1, "time_us": 1, "data": 1},
        {"type": "message", "topic": "a", "priority": "low", "seq": True, "time_us": 1, "data": 1},
        {"type": "message", "topic": "a", "priority": "low", "seq": 1, "time_us": 1, "data": 1, "encoding": "rot13"},
        {"type": "message", "topic": "a", "priority": "low", "seq": 1, "time_us": 1, "data": "a", "encoding": "base64"},
        {"type": "subscribed", "topic": "b", "epoch": "1", "seq": {}},
        {"type": "subscribed", "topic": "b", "epoch": 1},
        {"type": "subscribed", "topic": "b", "epoch": 1, "seq": {"low": "1"}},
        {"type": "gap", "topic": "a", "priority": "low", "from": 2, "to": 1},
        {"type": "gap", "topic": "a"},
        {"type": "gap", "topic": "a", "priority": "low", "from": 1, "to": 2, "count": "2"},
        {"type": "unsubscribed"},
        {"type": "migrate", "after_ms": -1},
        {"type": "migrate", "after_ms": "soon"},
        {"type": "authorized", "expires_in_ms": {}},
    ],
)
def test_what_a_server_must_not_say_ends_the_connection(said: dict[str, Any]) -> None:
    session = opened()
    session.subscribe(["**"])
    session.on_message(json.dumps({"type": "subscribed", "topic": "a", "topic_id": 0, "epoch": 1, "seq": {}}), 0.0)
    drain(session)
    session.on_message(json.dumps(said), 0.0)
    actions, events = drain(session)
    assert (
        actions == [act.Disconnect(1000, "")]
        and isinstance(events[-1], act.Lost)
        and "cannot be read" in events[-1].text
    )


def test_what_a_later_server_or_its_host_says_is_ignored() -> None:
    session = opened()
    for wire in ("[1]", '"hello"', "{}", '{"type":5}', '{"type":"news"}', b"\x01"):
        session.on_message(wire, 0.0)
    assert session.state == "open" and session.ignored == 6


def test_integers_of_any_length_are_read() -> None:
    digits = "1" * 5000
    codec = _codec.JsonCodec()
    wire = '{"type":"message","topic":"a","priority":"low","seq":1,"time_us":1,"data":%s}' % digits
    said = codec.decode(wire)
    assert isinstance(said, list)
    one = said[0]
    # Interpreters with a limit for the digits of integers, and older ones without.
    assert _codec.finish(one)[1] in (float("inf"), int("1" * 2500) * 10**2500 + int("1" * 2500)) and one.seq == 1
    big = _codec.finish(one._replace(kind="json", payload=b"123456789012345678901234567890"))
    assert big == ("json", 123456789012345678901234567890)


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "{", "[" * 200_000, "1 2"])
def test_json_that_is_none_is_text(text: str) -> None:
    incoming = _codec.Incoming("a", "low", 1, 0, "json", text.encode(), len(text))
    assert _codec.finish(incoming) == ("text", text)


@pytest.mark.parametrize(
    ("status", "what"),
    [
        (None, "retry"),
        (408, "retry"),
        (429, "retry"),
        (503, "retry"),
        (400, "refused"),
        (403, "refused"),
        (404, "refused"),
        (401, "unauthorized"),
    ],
)
def test_refusals_end_or_are_tried_again(status: Optional[int], what: str) -> None:
    assert _policy.after_refusal(status, None, 0, 0.5, fresh_tokens=0).what == what


def test_a_fresh_token_is_tried_once_after_a_401_and_retry_after_is_kept_to() -> None:
    assert _policy.after_refusal(401, None, 0, 0.5, fresh_tokens=1).what == "retry"
    assert _policy.after_refusal(503, 7.0, 0, 1.0, fresh_tokens=0).pause_s == 7.5
    assert _policy.pause(0, 1.0) == 0.5 and _policy.pause(5, 1.0) == 16.0 and _policy.pause(6, 1.0) == 30.0
    assert _policy.pause(10**9, 1.0) == 30.0 and _policy.pause(3, 0.0) == 0.0


def test_what_a_peer_says_of_its_end_is_a_short_line() -> None:
    text = _policy.text_of(1011, "a\x1b[2J\n" + "x" * 500)
    assert len(text) < 200 and text.isprintable()


@pytest.mark.parametrize(
    "token", ["", "a.b", "a.b.c", "a.e30.c", "a.eyJleHAiOiAiMSJ9.c", "a.bnVsbA.c", "a.eyJleHAiOjFlOTk5fQ.c"]
)
def test_a_token_without_an_end_has_none(token: str) -> None:
    assert _token.expires_at_s(token) is None


def test_the_end_of_a_token_is_in_it() -> None:
    assert _token.expires_at_s("h.eyJleHAiOjE3NjcyMjU3MDB9.s") == 1767225700.0


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": "xml"},
        {"queue_messages_max": 0},
        {"topics_max": 0},
        {"silent_after": 0},
        {"when_full": "burst"},
        {"token": "two words"},
        {"token": "x" * 8193},
    ],
)
def test_wrong_options_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        fanwire_client.connect(URL, **options)


def test_options_at_their_edge_are_taken() -> None:
    fanwire_client.connect(URL, token="x" * 8192, queue_messages_max=1, topics_max=1, ping_every=0)


def test_an_end_that_this_side_made_for_a_large_message_says_so() -> None:
    from websockets.exceptions import ConnectionClosedError
    from websockets.frames import Close

    assert close_of(ConnectionClosedError(None, Close(1009, "")), 10) == (1009, "it sent more than 10 bytes")
    assert close_of(ConnectionClosedError(Close(1013, "slow"), Close(1013, "slow"), True), 10) == (1013, "slow")
    assert close_of(ConnectionClosedError(None, None), 10) == (None, "")
