"""The engine under load from Python: threads, a recorded flight, cameras beside an IMU."""

import gzip
import json
import os
import pathlib
import re
import subprocess
import sys
import threading

import pytest
from websockets.sync.client import connect

import fanwire
from support import PATIENCE

HERE = pathlib.Path(__file__).parent
# For the whole of it: FANWIRE_PYTHON_FLOOD=1000000.
FLOOD = int(os.environ.get("FANWIRE_PYTHON_FLOOD", "10000"))
FLIGHT = pathlib.Path(os.environ.get("FANWIRE_SHARED", HERE.parents[2] / "shared")) / "data" / "px4-flight.ndjson.gz"
FLIGHT_CLIENTS = 4


def test_four_threads_reach_a_hundred_clients_in_order():
    command = [sys.executable, "-P", "-X", "dev", "-W", "error", str(HERE / "four_threads.py"), "--count", str(FLOOD)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=5 * PATIENCE + FLOOD / 250)
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    assert json.loads(result.stdout)["delivered"] == 4 * FLOOD * 100


class Flight:
    """The recording: 64,542 messages on 15 topics."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.by_topic: dict[str, list[str]] = {}
        with gzip.open(FLIGHT, "rt", encoding="utf-8") as lines:
            for line in lines:
                topic = json.loads(line)["topic"]
                data = re.search(r'"data":(.*)\}$', line.rstrip("\n"))
                assert data is not None
                self.lines.append((topic, data[1]))
                self.by_topic.setdefault(topic, []).append(data[1])
        assert (len(self.lines), len(self.by_topic)) == (64_542, 15)


@pytest.fixture(scope="module")
def flight():
    if not FLIGHT.exists():
        pytest.skip(f"no recording at {FLIGHT.name}: it lies beside the checkout, in shared/data")
    return Flight()


MESSAGE = re.compile(
    r'\{"type":"message","topic":"([^"]+)","priority":"normal","seq":(\d+),"time_us":\d+,"data":(.*)\}', re.DOTALL
)


class Reader:
    """One client that believes nothing."""

    def __init__(self, engine: fanwire.Engine, flight: Flight) -> None:
        self.url, self.flight = engine.url, flight
        self.next = dict.fromkeys(flight.by_topic, 1)
        self.delivered = self.announced = 0
        self.is_subscribed = threading.Event()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        try:
            options = {"compression": None, "max_size": None, "max_queue": 1024}
            with connect(self.url + "/", subprotocols=["fanwire.json.v1"], **options) as socket:  # type: ignore
                socket.send('{"type":"subscribe","id":1,"topics":["px4/**"]}')
                socket.send('{"type":"ping","id":2}')
                left = len(self.flight.lines)
                while left > 0:
                    left -= self.take(socket.recv(timeout=PATIENCE))
        except BaseException as error:
            self.error = error

    def take(self, text: str) -> int:
        found = MESSAGE.fullmatch(text)
        if found is None:
            return self.control(json.loads(text))
        topic, seq = found[1], int(found[2])
        assert seq == self.next[topic], (topic, seq, self.next[topic])
        assert found[3] == self.flight.by_topic[topic][seq - 1], "byte for byte"
        self.next[topic] += 1
        self.delivered += 1
        return 1

    def control(self, control: dict) -> int:
        match control["type"]:
            case "pong":
                self.is_subscribed.set()
            case "welcome":
                pass
            case "subscribed":
                topic = control.get("topic")
                assert topic is None or topic not in self.next or self.next[topic] == 1, "told after its first message"
            case "gap":
                topic, first, last = control["topic"], control["from"], control["to"]
                assert (first, control["priority"], control["reason"]) == (self.next[topic], "normal", "lag"), control
                assert last >= first
                self.next[topic] = last + 1
                self.announced += last + 1 - first
                return last + 1 - first
            case _:
                raise AssertionError(control)
        return 0


def replay(flight: Flight, **settings) -> list[Reader]:
    with fanwire.Engine(listen="127.0.0.1:0", shards=2, **settings) as engine:
        readers = [Reader(engine, flight) for _ in range(FLIGHT_CLIENTS)]
        for reader in readers:
            assert reader.is_subscribed.wait(PATIENCE), reader.error
        topics = {name: engine.topic(name, kind="json") for name in flight.by_topic}
        for topic, data in flight.lines:
            topics[topic].publish(data, timeout=PATIENCE)
        for reader in readers:
            reader.thread.join(5 * PATIENCE)
            if reader.error is not None:
                raise reader.error
            assert not reader.thread.is_alive(), "not every message arrived or was announced"
    for reader in readers:
        assert reader.delivered + reader.announced == len(flight.lines)
        assert all(reader.next[topic] == len(lines) + 1 for topic, lines in flight.by_topic.items())
    return readers


def test_the_flight_arrives_whole_where_budgets_are_large(flight, driver):
    # The ring has room for all of it, too: a shard that gets no time for a moment is not passed over.
    readers = replay(flight, driver=driver, ring_bytes=64 << 20, lane_bytes=64 << 20, pool_bytes=2 << 30)
    assert sum(reader.announced for reader in readers) == 0


def test_the_flight_is_delivered_or_announced_where_budgets_are_small(flight, driver):
    readers = replay(flight, driver=driver, lane_bytes=64 << 10, pool_bytes=16 << 20)
    assert all(reader.delivered > 0 for reader in readers)
    assert sum(reader.announced for reader in readers) > 0, "budgets this small lose something"


def test_cameras_by_reference_leave_room_for_the_imu():
    """What the figures are about (latency) is told by `python benches/camera.py`; here only what must hold anywhere."""
    camera = HERE.parent / "benches" / "camera.py"
    command = [sys.executable, "-P", "-X", "dev", "-W", "error", str(camera), "--seconds", "3", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=5 * PATIENCE)
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    report = json.loads(result.stdout)
    assert report["imu_published"] > 0 and report["frames_published"] > 0
    assert report["frames_given_back"] == report["frames_published"]
    assert [client["imu"] for client in report["healthy"]] == [report["imu_published"]] * 18
    assert len(report["slow"]) == 2
    for client in report["slow"]:
        assert client["imu"] == report["imu_published"] or client["close"] == 1013, client
