"""What the engine tells a monitoring system, read by Prometheus' own parser."""

import json

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import fanwire
from support import PATIENCE, SMALL, raw, until


def families(engine: fanwire.Engine) -> dict[str, object]:
    return {family.name: family for family in text_string_to_metric_families(engine.metrics())}


def test_the_text_is_openmetrics_and_says_what_happened():
    topics = [fanwire.TopicSettings(pattern="rover/**")]
    with fanwire.Engine(**SMALL, topics=topics) as engine, raw(engine, "rover/1") as client:
        topic = engine.topic("rover/1")
        for _ in range(3):
            topic.publish(b"hello")
            assert client.recv() == b"hello"
        until(lambda: families(engine)["fanwire_publish_to_last_send_seconds"].samples[-2].value >= 1)
        known = families(engine)
        sample = lambda name, **labels: next(
            s.value for s in known[name].samples if labels.items() <= s.labels.items() and not s.name.endswith("_bucket")
        )
        assert sample("fanwire_deliveries", shard="0") == 3
        assert sample("fanwire_build", version=fanwire.__version__) == 1
        assert sample("fanwire_connections_limit") == SMALL["connections_max"]
        assert known["fanwire_turn_duration_seconds"].type == "histogram"
        assert known["fanwire_sent_bytes"].unit == "bytes"
        assert all(family.documentation for family in known.values())
    # The last numbers, after the end.
    assert next(s.value for s in families(engine)["fanwire_running"].samples) == 0


def test_the_engine_says_who_is_connected():
    with fanwire.Engine(**SMALL) as engine, raw(engine, "rover/1"):
        clients = json.loads(engine.snapshot("$sys/clients", timeout=PATIENCE))
        assert (clients["total"], clients["behind"]) == (1, 0)
        assert json.loads(engine.snapshot("$sys/shards", timeout=PATIENCE))["total"]["upgraded"] == 1
        for wrong in ("$sys/gaps", "$sys/other", "clients"):
            with pytest.raises(ValueError):
                engine.snapshot(wrong)  # type: ignore[arg-type]
        with pytest.raises(fanwire.BadName):
            engine.topic("$sys/clients")
