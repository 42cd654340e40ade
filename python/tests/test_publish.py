"""What can be published, as what, and what happens where it cannot."""

import array
import contextlib
import json
import threading
import time

import numpy as np
import pytest

import fanwire
from support import PATIENCE, SMALL, JsonClient, raw, until


@pytest.mark.parametrize(
    ("data", "kind", "arrives"),
    [
        (b"bytes", None, b"bytes"),
        (b"", None, b""),
        ("täxt", None, "täxt"),
        (bytearray(b"ba"), None, b"ba"),
        (memoryview(b"01234")[1:3], None, b"12"),
        (array.array("H", [1, 2]), None, array.array("H", [1, 2]).tobytes()),
        (np.arange(4, dtype=np.float32), None, np.arange(4, dtype=np.float32).tobytes()),
        ({"a": [1, None, True]}, None, '{"a":[1,null,true]}'),
        ([1, "ü"], None, '[1,"ü"]'),
        ((1, 2), None, "[1,2]"),
        (5, "json", "5"),
        (None, "json", "null"),
        (b'{"a": 1}', "json", '{"a": 1}'),
        ('{"a": 1}', fanwire.Kind.JSON, '{"a": 1}'),
        ("text as bytes", "binary", b"text as bytes"),
        (b"bytes as text", fanwire.Kind.TEXT, "bytes as text"),
        (b"x" * 100_000, None, b"x" * 100_000),
        (np.zeros(100_000, np.uint8), None, bytes(100_000)),
        (bytearray(b"y" * 100_000), "text", "y" * 100_000),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:8],
)
def test_every_kind_of_object_arrives_as_what_it_is(engine, data, kind, arrives):
    topic = engine.topic("t")
    with raw(engine, "t") as client:
        topic.publish(data, kind=kind)
        assert client.recv(timeout=PATIENCE) == arrives


@pytest.mark.parametrize("data", [5, None, object(), {1, 2}, 1.5])
def test_what_is_no_message_is_refused_by_its_type(engine, data):
    with pytest.raises(TypeError, match="cannot publish"):
        engine.topic("t").publish(data)


def test_arguments_are_checked(engine):
    topic = engine.topic("t")
    for wrong in ({"priority": "urgent"}, {"priority": 4}, {"kind": "xml"}, {"kind": -1}, {"timeout": -1.0}, {"ttl": -1.0}):
        with pytest.raises(ValueError):
            topic.publish(b"", **wrong)
    for wrong in ({"priority": 1.5}, {"kind": b"text"}, {"key": 5}, {"speed": 1}, {"timeout": "1"}):
        with pytest.raises(TypeError):
            topic.publish(b"", **wrong)
    with pytest.raises(TypeError, match="only be published as JSON"):
        topic.publish({}, kind="text")
    with pytest.raises(BufferError):
        topic.publish(memoryview(b"0123")[::2])
    with pytest.raises((BufferError, ValueError)):
        topic.publish(np.zeros((4, 4))[:, 1])
    assert until(lambda: engine.stats().ring_bytes == 0) and engine.stats().messages == 0


def test_text_must_be_utf8(engine):
    topic = engine.topic("t")
    changing = bytearray(b"\xff" * 50_000)
    for data, kind in ((b"\xff", "text"), (b"\xff", "json"), ("\ud800", None), (changing, "text"), (b"\xff" * 50_000, "text")):
        with pytest.raises(fanwire.NotUtf8):
            topic.publish(data, kind=kind)
    assert issubclass(fanwire.NotUtf8, ValueError)


def test_positions_grow_and_priorities_have_lanes(engine):
    with JsonClient(engine, "**") as client:
        topic, other = engine.topic("t"), engine.topic("t", priority="critical", kind="json")
        positions = [topic.publish("n"), topic.publish("l", priority="low"), topic.publish("h", priority=fanwire.Priority.HIGH)]
        critical = other.publish(b"1")
        positions.append(other.publish(b"2", priority=2))
        assert positions == sorted({*positions, critical} - {critical}), "critical messages have an order of their own"
        assert critical < other.publish(b"3")
        got = [client.get("message") for _ in range(6)]
        lanes = sorted((m["priority"], m["seq"], m["data"]) for m in got)
        assert lanes == [("critical", 1, 1), ("critical", 2, 3), ("high", 1, "h"), ("low", 1, "l"), ("normal", 1, "n"), ("normal", 2, 2)]


def test_a_key_replaces_and_an_expired_message_is_passed_over():
    settings = [fanwire.TopicSettings(pattern="**", policy="latest", lane_bytes=64 << 10)]
    with fanwire.Engine(**SMALL, topics=settings) as engine:
        topic = engine.topic("t")
        with JsonClient(engine, "t", max_hz=1) as client:
            client.get("subscribed")
            topic.publish({"n": 0}, key="a")
            assert client.get("message")["data"] == {"n": 0}
            # Within the second in which this client wants no more.
            for n in range(1, 50):
                topic.publish({"n": n}, key="a")
            assert client.get("message")["data"] == {"n": 49}
            topic.publish({"gone": True}, ttl=0.05)
            topic.publish({"last": True}, ttl=3600.0, timeout=1.0)
            until(lambda: engine.stats().passed_over >= 48)
            assert client.get("message")["data"] == {"last": True}


def test_attributes_are_for_no_client_and_have_a_limit(engine):
    topic = engine.topic("t")
    with JsonClient(engine, "t") as client:
        client.get("subscribed")
        for attributes in (None, b"", b"level=3", b"a" * 1024):
            topic.publish({"said": True}, attributes=attributes)
            assert client.get("message")["data"] == {"said": True}
        topic.publish(bytearray(b"{}" * 10_000), kind="text", attributes=b"b" * 1024)
        assert client.get("message")["data"] == "{}" * 10_000
    with pytest.raises(fanwire.TooLarge, match="1025 bytes of attributes"):
        topic.publish(b"", attributes=b"a" * 1025)
    with pytest.raises(TypeError):
        topic.publish(b"", attributes="level=3")


def test_publish_many_keeps_the_order_of_mixed_messages(engine):
    topic = engine.topic("t")
    messages = [b"%d" % n if n % 3 else f"{n}" for n in range(1000)]
    messages[500:500] = [{"a": 1}, bytearray(b"ba"), b"big" * 10_000, np.zeros(3, np.uint8), "ü" * 20_000]
    expected = [m if isinstance(m, str | bytes) else json.dumps(m, separators=(",", ":")) if isinstance(m, dict) else bytes(m)
                for m in messages]
    with raw(engine, "t") as client:
        for several in (messages, tuple(messages), iter(messages), np.array([[1, 2], [3, 4]], np.uint8)):
            wanted = expected if not isinstance(several, np.ndarray) else [b"\x01\x02", b"\x03\x04"]
            assert topic.publish_many(several) == len(wanted)
            assert [client.recv(timeout=PATIENCE) for _ in wanted] == wanted
        assert topic.publish_many([]) == 0
        assert topic.publish_many([b"1", "2"], kind="json", priority="high", timeout=1) == 2
        assert [client.recv(timeout=PATIENCE) for _ in range(2)] == ["1", "2"]


def test_publish_many_says_how_far_it_came(engine):
    topic = engine.topic("t")
    with raw(engine, "t") as client:
        for wrong, error in (("\ud800", fanwire.NotUtf8), (5, TypeError), (b"x" * (65 << 20), fanwire.TooLarge)):
            with pytest.raises(error) as caught:
                topic.publish_many([b"a"] * 100 + [wrong] + [b"b"])
            assert caught.value.published == 100
            assert [client.recv(timeout=PATIENCE) for _ in range(100)] == [b"a"] * 100
    for single in (b"bytes", "text", 5):
        with pytest.raises(TypeError):
            topic.publish_many(single)


@pytest.fixture
def crammed():
    """An engine whose payload memory holds two messages of a megabyte."""
    with fanwire.Engine(**SMALL, message_bytes_max=1 << 20, payload_bytes=2 << 20) as engine:
        yield engine


def fill(topic):
    """Claims until there is no memory left for a megabyte."""
    claims = []
    while True:
        try:
            claims.append(topic.claim(400_000))
        except fanwire.WouldBlock:
            return claims


def test_no_room_is_told_at_once_or_after_the_time_allowed(crammed):
    topic = crammed.topic("t")
    claims = fill(topic)
    big = bytes(1 << 20)
    for call in (
        lambda: topic.publish(big),
        lambda: topic.publish(big, timeout=0.05),
        lambda: topic.publish_many([big], timeout=0.05),
        lambda: topic.publish_ref(big),
        lambda: topic.claim(1 << 20),
        lambda: topic.claim(1 << 20, timeout=0.05),
    ):
        with pytest.raises(fanwire.WouldBlock):
            call()
    with pytest.raises(fanwire.TooLarge, match="message_bytes_max"):
        topic.publish(bytes((1 << 20) + 1))
    # Small ones go another way, and find room.
    topic.publish(b"small")
    assert len(claims) > 1


def test_waiting_for_room_lets_others_run_and_ends_when_there_is_some(crammed):
    topic = crammed.topic("t")
    claims = fill(topic)
    waits, done = threading.Event(), []

    def publish():
        waits.set()
        done.append(topic.publish(bytes(1 << 20), timeout=None, key="k"))

    thread = threading.Thread(target=publish)
    thread.start()
    assert waits.wait(PATIENCE)
    # That this runs at all shows that the waiting thread has let the GIL go.
    for _ in range(20):
        time.sleep(0.005)
    assert not done
    for claim in claims:
        claim.abort()
    thread.join(PATIENCE)
    assert done and done[0] > 0


def test_the_engines_end_ends_the_wait_for_room(crammed):
    topic = crammed.topic("t")
    claims = fill(topic)
    outcome = []

    def publish():
        try:
            topic.publish(bytes(1 << 20), timeout=None)
        except fanwire.Error as error:
            outcome.append(type(error))

    thread = threading.Thread(target=publish)
    thread.start()
    time.sleep(0.05)
    crammed.stop()
    for claim in claims:
        claim.abort()
    thread.join(PATIENCE)
    assert outcome == [fanwire.Stopped]


def test_after_its_removal_and_after_the_end_a_topic_says_so(engine):
    topic = engine.topic("t")
    assert engine.remove_topic("t") and not engine.remove_topic("t")
    with pytest.raises(fanwire.Removed):
        topic.publish(b"")
    again = engine.topic("t")
    assert again.epoch != topic.epoch
    again.publish(b"")
    engine.shutdown()
    for call in (lambda: again.publish(b""), lambda: again.publish_many([b""]), lambda: again.publish_ref(b""),
                 lambda: again.claim(1), lambda: engine.topic("u"), lambda: engine.send_to(0, b"")):
        with pytest.raises(fanwire.Stopped):
            call()
    assert again.name == "t" and "'normal'" in repr(again)


def test_names_are_checked(engine):
    for name in ("", "/a", "a//b", "a/*", "x" * 256):
        with pytest.raises(fanwire.BadName):
            engine.topic(name)


def test_errors_are_one_tree():
    for name in fanwire.__all__:
        value = getattr(fanwire, name)
        if isinstance(value, type) and issubclass(value, BaseException):
            assert issubclass(value, fanwire.Error) and value.__module__ == "fanwire" and value.__doc__, name


def test_the_gil_is_released_for_large_copies_only(engine):
    """With no switching by force, another thread runs only when this one lets go by itself."""
    import sys

    topic = engine.topic("t")
    small, large = b"x" * 16_384, np.zeros(4 << 20, np.uint8)
    ticks, is_over = [0], threading.Event()

    def tick():
        while not is_over.is_set():
            ticks[0] += 1
            time.sleep(0)

    before = sys.getswitchinterval()
    thread = threading.Thread(target=tick)
    sys.setswitchinterval(1000.0)
    try:
        thread.start()
        until(lambda: ticks[0] > 0)
        for data in (small, "text", {"a": 1}, bytearray(16_384)):
            seen = ticks[0]
            for _ in range(50):
                topic.publish(data)
            assert ticks[0] == seen, type(data)
            time.sleep(0.01)
        end = time.monotonic() + PATIENCE
        seen = ticks[0]
        while ticks[0] == seen:
            # Without a time-out: waiting lets go, too.
            with contextlib.suppress(fanwire.WouldBlock):
                topic.publish(large)
            assert time.monotonic() < end, "copies of 4 MiB never let another thread run"
    finally:
        sys.setswitchinterval(before)
        is_over.set()
        thread.join()


def test_pressure_tells_how_subscribers_stand(engine: fanwire.Engine) -> None:
    topic = engine.topic("pressure/a")
    before = topic.pressure()
    assert (before.subscribers, before.fullest, before.oldest, before.dropped_low) == (0, 0.0, 0.0, 0)
    assert "subscribers=0" in repr(before)
    with raw(engine, "pressure/a"):
        until(lambda: topic.pressure().subscribers == 1)
    until(lambda: topic.pressure().subscribers == 0)
    engine.remove_topic("pressure/a")
    with pytest.raises(fanwire.Removed):
        topic.pressure()
