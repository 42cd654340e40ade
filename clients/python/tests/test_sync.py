"""The front without asyncio, and tables."""

from __future__ import annotations

import threading

import pandas
import pytest

import fanwire_client
from fanwire_client import Message, sync, to_pandas
from support import PATIENCE_S, Server


def test_a_script_reads_and_publishes(server: Server) -> None:
    with sync.connect(server.url, connect_timeout=PATIENCE_S) as client:
        subscription = client.subscribe("rover/*/imu")
        subscription.ready()
        for n in range(2500):
            client.publish("rover/1/imu", {"n": n, "gps": {"lat": 1.5}}, confirm=False)
        assert client.ping() > 0
        items = subscription.collect(items_max=2500)
        assert [item.data["n"] for item in items if isinstance(item, Message)] == list(range(2500))
        assert client.stats().totals() == {"published": 2500, "delivered": 2500, "lost": 0, "left_out": 0}
        assert subscription.collect(seconds=0.01) == []
        with pytest.raises(TimeoutError):
            subscription.next(timeout=0.01)
        place = subscription.position()["rover/1/imu"]
        assert place["seq"] == {"normal": 2500}
    assert list(subscription) == []
    with pytest.raises(RuntimeError):
        client.publish("a", 1)
    assert not [thread for thread in threading.enumerate() if thread.name == "fanwire-client"]


def test_a_loop_over_messages_ends_with_the_client(server: Server) -> None:
    with sync.connect(server.url, connect_timeout=PATIENCE_S) as client:
        subscription = client.subscribe("a")
        subscription.ready()
        client.publish("a", "one")
        for message in subscription:
            assert message.data == "one"
            client.close()


def test_errors_come_out_of_the_thread(server: Server) -> None:
    with pytest.raises(ValueError, match="ws://"):
        sync.connect("http://127.0.0.1/")
    with sync.connect(server.url, connect_timeout=PATIENCE_S) as client:
        with pytest.raises(ValueError):
            client.subscribe("a//b")
        with pytest.raises(fanwire_client.RefusedError, match="not_allowed"):
            client.publish("$sys/x", 1)


def test_a_position_of_the_reader_is_not_one_of_the_queue(server: Server) -> None:
    with sync.connect(server.url, connect_timeout=PATIENCE_S) as client:
        subscription = client.subscribe("a", start="oldest")
        subscription.ready()
        for n in range(10):
            client.publish("a", n)
        seen = [subscription.next(PATIENCE_S) for _ in range(3)]
        assert all(isinstance(item, Message) for item in seen)
        assert subscription.position()["a"]["seq"] == {"normal": 3}
        with client.subscribe("b") as other:
            other.ready()


def test_messages_are_a_table() -> None:
    def message(seq: int, data: object) -> Message:
        return Message("a", "normal", seq, 5, 1_700_000_000_000_000_000 + seq, "json", data)

    table = to_pandas(
        [message(1, {"x": 1, "gps": {"lat": 2.5}, "seq": "mine"}), message(3, {"x": 2}), message(4, "text")]
    )
    assert list(table["seq"]) == [1, 3, 4] and list(table["topic"]) == ["a"] * 3
    assert list(table["x"])[:2] == [1, 2] and table["gps.lat"].iloc[0] == 2.5
    assert table["data.seq"].iloc[0] == "mine" and table["data"].iloc[2] == "text"
    assert table.index.name == "time" and str(table.index.tz) == "UTC"
    assert table.index[1] == pandas.Timestamp(1_700_000_000_000_000_003, unit="ns", tz="UTC")
    assert to_pandas([]).empty
