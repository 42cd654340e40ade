"""Settings and what the engine says of itself."""

import dataclasses
import inspect

import pytest

import fanwire
from support import SMALL, JsonClient, raw, until


def test_every_setting_is_taken():
    settings = {
        "listen": ["127.0.0.1:0", ("::1", 0)],
        "shards": 2,
        "cpus": [0],
        "driver": "epoll",
        "connections_max": 10,
        "cursors_max": 100,
        "topics_max": 5,
        "subscriptions_per_connection_max": 3,
        "topics_per_connection_max": 2,
        "ring_bytes": 1 << 20,
        "pool_bytes": 32 << 20,
        "lane_bytes": 1 << 20,
        "payload_bytes": 4 << 20,
        "remainder_bytes": 1 << 20,
        "client_bytes": 1 << 20,
        "lock_memory": False,
        "message_bytes_max": 1 << 20,
        "request_bytes_max": 4096,
        "unsent_bytes_max": 32768,
        "handshake_timeout": 2.5,
        "handshakes_max": 5,
        "connections_per_address_max": 4,
        "upgrades_per_address_per_minute_max": 60,
        "failures_per_address_per_minute_max": 20,
        "inbound_messages_per_second_max": 100,
        "inbound_bytes_per_second_max": 65536,
        "message_timeout": 60.0,
        "connection_lifetime": 3600.0,
        "connections_per_subject_max": 3,
        "subscriptions_per_subject_max": 50,
        "patterns_per_subject_max": 5,
        "topics_per_subject_max": 7,
        "ping_every": 0,
        "idle_timeout": 0.0,
        "close_timeout": 1,
        "close_window": 0.5,
        "topics": [
            fanwire.TopicSettings(pattern="log/**", retention="last", messages=10, bytes=1000, seconds=1.5, policy="disconnect"),
            fanwire.TopicSettings(pattern="*", retention="none", policy="latest", lane_bytes=65536, batch_window=0.001, deliver_within=0.02),
        ],
        "deflate": False,
        "compression_threshold_bytes": 10,
        "publish_access": "nobody",
        "allowed_origins": ["https://example.com"],
        "tls_bytes": 1 << 20,
        "tls_certificate_files": [],
        "tls_key_files": [],
        "tls_client_ca_file": "/nowhere/ca.pem",
        "tls_client_certificates": "ignored",
        "tls_version_min": "1.3",
        "trusted_proxies": ["10.0.0.0/8", "unix"],
        "sys_top": 7,
        "sys_public": True,
        "ask_host_within": 0.0,  # test_authorize.py has others
        "ask_host_headers": [],
        "server_name": "unit",
        "events": 16,
        "messages": True,
        "options": {"server_name": "unit", "limits.ping_every": "5s"},
        "sockets": None,  # test_handover.py has some
    }
    names = set(inspect.signature(fanwire.Engine).parameters)
    assert set(settings) == names, "a setting is not tested"
    try:
        engine = fanwire.Engine(**settings)
    except fanwire.ListenError:
        engine = fanwire.Engine(**{**settings, "listen": "127.0.0.1:0"})  # no IPv6 here
    with engine:
        assert engine.driver == "epoll" and engine.driver_notice is None
        assert engine.addresses[0] == ("127.0.0.1", engine.port) and engine.url == f"ws://127.0.0.1:{engine.port}"
        assert "in all" in engine.memory_plan and engine.is_running and engine.failure is None
        assert engine.stats().shards == 2 and engine.stats(shard=1).shards == 2
        held = [engine.topic(f"t/{number}") for number in range(5)]
        with pytest.raises(fanwire.TooMany, match="topics_max"):
            engine.topic("one/more")
        with pytest.raises(fanwire.TooLarge):
            engine.topic("t/0").publish(bytes((1 << 20) + 1))
        with JsonClient(engine, "t/0") as client:
            assert client.welcome["server"] == "unit"
    assert not engine.is_running


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"ring_bytes": 1000}, fanwire.ConfigError, "\n  ring_bytes = 1000: must be a power of two"),
        ({"shards": 99}, fanwire.ConfigError, "shards = 99"),
        ({"shards": 0, "topics_max": 0}, fanwire.ConfigError, "topics_max = 0"),
        ({"listen": []}, fanwire.ConfigError, "listen"),
        ({"listen": "localhost:80"}, fanwire.ConfigError, "IP address and a port"),
        ({"listen": ("nowhere", 80)}, fanwire.ConfigError, "IP address and a port"),
        ({"listen": 9001}, TypeError, "listen"),
        ({"driver": "kqueue"}, fanwire.ConfigError, '"auto", "uring", "epoll"'),
        ({"publish_access": "some"}, fanwire.ConfigError, "publish_access"),
        ({"events": 1 << 40}, fanwire.ConfigError, "events"),
        ({"events": 0, "messages": True}, fanwire.ConfigError, "messages"),
        ({"ping_every": -1}, ValueError, "ping_every = -1"),
        ({"handshake_timeout": 0}, fanwire.ConfigError, "handshake_timeout"),
        ({"shards": "two"}, TypeError, "shards"),
        ({"speed": 1}, TypeError, "speed"),
        ({"options": {"limits.ping_evry": "5s"}}, fanwire.ConfigError, "did you mean limits.ping_every?"),
        ({"options": {"memory.ring_bytes": 1000}}, fanwire.ConfigError, "memory.ring_bytes = 1000: must be a power of two"),
        ({"options": {"limits.ping_every": -1}}, ValueError, "limits.ping_every = -1"),
        ({"options": {"shards": 1.5}}, TypeError, "shards"),
        ({"options": {"shards": ["1"]}}, TypeError, "shards"),
        ({"options": {1: "1"}}, TypeError, "str"),
        ({"options": ["shards"]}, TypeError, "options"),
        ({"topics": ["a"]}, TypeError, "TopicSettings"),
        ({"topics": [fanwire.TopicSettings(pattern="a**")]}, fanwire.ConfigError, "topics.pattern"),
        ({"topics": [fanwire.TopicSettings(pattern="a", messages=5)]}, fanwire.ConfigError, '"last" does'),
        ({"topics": [fanwire.TopicSettings(pattern="a", retention="some")]}, fanwire.ConfigError, "retention"),  # type: ignore
        ({"topics": [fanwire.TopicSettings(pattern="a", policy="some")]}, fanwire.ConfigError, "policy"),  # type: ignore
    ],
    ids=str,
)
def test_wrong_settings_are_named(settings, error, text):
    with pytest.raises(error) as caught:
        fanwire.Engine(**{**SMALL, **settings})
    assert text in "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])


def test_any_setting_can_be_given_by_its_name():
    options = {
        "server_name": "unit",
        "limits.ping_every": 0.5,
        "limits.handshake_timeout": "1500ms",
        "limits.message_bytes_max": 1 << 10,
        "limits.unsent_bytes_max": "4KiB",
        "compression.deflate": False,
        "cpus": [0],
        "access.allowed_origins": ["https://a.example", "https://b.example"],
        "topics": ["a/**=latest", "b=keep-messages=5"],
        "driver": None,
    }
    with fanwire.Engine(**{**SMALL, "message_bytes_max": 1 << 20}, options=options) as engine:
        with pytest.raises(fanwire.TooLarge):
            engine.topic("t").publish(bytes(1025))
        with JsonClient(engine, "t") as client:
            assert client.welcome["server"] == "unit"


INF = float("inf")


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("shards", [1], [65, 1 << 63]),
        ("connections_max", [0, 1], [16_000_001, (1 << 32) - 1]),
        ("cursors_max", [1], [0, (1 << 30) + 1, (1 << 32) - 1]),
        ("topics_max", [1, 1_000_000], [0, 1_000_001, (1 << 32) - 1]),
        ("subscriptions_per_connection_max", [0, 1, (1 << 32) - 1], []),
        ("ring_bytes", [64 << 10], [0, (64 << 10) - 1, (64 << 10) + 1, 8 << 30, (1 << 64) - 1]),
        ("pool_bytes", [8 << 20], [0, (8 << 20) - 1, (1 << 64) - 1]),
        ("lane_bytes", [16 << 10, 64 << 20], [0, (16 << 10) - 1, (64 << 20) + 1, (1 << 64) - 1]),
        ("payload_bytes", [128 << 20], [0, (128 << 20) - 1, (1 << 64) - 1]),
        ("remainder_bytes", [0], [(1 << 64) - 1]),
        ("message_bytes_max", [1, 64 << 20], [0, (64 << 20) + 1, (1 << 64) - 1]),
        ("request_bytes_max", [512, 64 << 10], [0, 511, (64 << 10) + 1, (1 << 64) - 1]),
        ("unsent_bytes_max", [1024, 64 << 20], [0, 1023, (64 << 20) + 1, (1 << 64) - 1]),
        ("handshake_timeout", [0.001, 1e300, INF], [0]),
        ("ping_every", [0, 0.001, 1e300, INF], []),
        ("message_timeout", [0, 1e300, INF], []),
        ("idle_timeout", [0, 1e300, INF], []),
        ("close_timeout", [0, 0.001, 1e300, INF], []),
        ("close_window", [0, 0.001, 1e300, INF], []),
        ("compression_threshold_bytes", [0, (1 << 64) - 1], []),
        ("sys_top", [0, 128], [129]),
        ("server_name", ["", "x" * 255, "\x01" * 255], ["x" * 256, "\N{EURO SIGN}" * 86]),
        ("events", [0, 1], [(1 << 20) + 1, (1 << 64) - 1]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_limits_hold_at_them_past_them_at_zero_and_at_the_maximum(name, taken, refused):
    for value in taken:
        with fanwire.Engine(**{**SMALL, name: value}) as engine:
            assert engine.topic("t").publish(b"x") is not None, value
    for value in refused:
        with pytest.raises(fanwire.ConfigError):
            fanwire.Engine(**{**SMALL, name: value})
    # What no such setting can be.
    if name != "server_name":
        with pytest.raises((OverflowError, ValueError)):
            fanwire.Engine(**{**SMALL, name: -1})
        with pytest.raises(TypeError):
            fanwire.Engine(**{**SMALL, name: "many"})
    if not isinstance(taken[0], str) and not any(isinstance(value, float) for value in taken):
        with pytest.raises(OverflowError):
            fanwire.Engine(**{**SMALL, name: 1 << 64})


def test_a_taken_address_is_named(engine):
    with pytest.raises(fanwire.ListenError, match=f"127.0.0.1:{engine.port}"):
        fanwire.Engine(**{**SMALL, "listen": ("127.0.0.1", engine.port)})


def test_numbers_have_names(engine):
    topic = engine.topic("t")
    with raw(engine, "t") as client:
        topic.publish(b"1")
        client.recv()
        stats = until(lambda: (s := engine.stats()).deliveries == 1 and s)
        assert (stats.messages, stats.connections, stats.topics) == (1, 1, 1)
        assert stats.as_dict()["messages"] == 1 and "messages=1" in repr(stats)
        public = {name for name in dir(stats) if not name.startswith("_")}
        assert public == {*stats.as_dict(), "as_dict"}
        with pytest.raises(IndexError):
            engine.stats(shard=1)


def test_retention_is_as_set():
    settings = [
        fanwire.TopicSettings(pattern="none", retention="none"),
        fanwire.TopicSettings(pattern="last", retention="last", messages=3),
    ]
    with fanwire.Engine(**SMALL, topics=settings) as engine:
        for name in ("none", "value", "last"):
            engine.topic(name).publish_many([f"{n}" for n in range(10)])
        epoch = engine.topic("last").epoch
        since = {"last": {"epoch": epoch, "seq": {"normal": 2}}}
        with JsonClient(engine, "none", "value", "last", since=since) as client:
            got = []
            while len(got) < 4:
                message = client.next()
                if message["type"] == "message":
                    got.append((message["topic"], message["data"]))
                elif message["type"] == "gap":
                    assert (message["topic"], message["from"], message["to"]) == ("last", 3, 7)
            assert sorted(got) == [("last", "7"), ("last", "8"), ("last", "9"), ("value", "9")]


def test_settings_are_values():
    assert dataclasses.asdict(fanwire.TopicSettings(pattern="a"))["retention"] == "last_value"
    with pytest.raises(TypeError):
        fanwire.TopicSettings("a")  # type: ignore
