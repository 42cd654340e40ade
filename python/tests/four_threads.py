"""Four threads publish as fast as they can while 100 asyncio clients read: every message arrives at every client, in order for
each publisher and lane.

    python tests/four_threads.py --count 1000000

publishes 4 × 10⁶ messages (and takes minutes: 4 × 10⁸ deliveries to clients that are written in Python). The clients are a
process of their own, which speaks fanwire.batch.v1 and checks every record.
"""

import argparse
import asyncio
import contextlib
import json
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

PUBLISHERS = 4
LANES = {1: "high", 2: "normal"}
HEAD = struct.Struct("<BBBBIQII")
PAYLOAD = struct.Struct("<IIQ")
CHECK_BYTES = 1 << 20


@contextlib.contextmanager
def crowd_process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The clients, ready to receive. Ended with the block, whatever happens in it."""
    command = [sys.executable, __file__, "--crowd", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as crowd:
        try:
            assert crowd.stdout is not None and crowd.stdout.readline() == "ready\n"
            yield crowd
        finally:
            crowd.kill()


def publish(count: int, clients: int, shards: int, driver: str) -> dict[str, Any]:
    """Everything but the clients."""
    import fanwire

    # All that is published stays until the last client has it: a frame and its index entry, in two forms.
    lane_bytes = max(16 << 20, PUBLISHERS * count * 160)
    # A ring that never fills: a shard that gets no time for a moment is not passed over.
    ring_bytes = min(1 << lane_bytes.bit_length(), 1 << 30)
    settings: dict[str, Any] = {
        "ring_bytes": ring_bytes,
        "lane_bytes": lane_bytes,
        "pool_bytes": lane_bytes * 4 * shards,
        "shards": shards,
    }
    with fanwire.Engine(listen="127.0.0.1:0", driver=driver, **settings) as engine:
        topic = engine.topic("flood")
        with crowd_process(engine.url, "--count", str(count), "--clients", str(clients)) as crowd:
            began = time.perf_counter()

            def flood(publisher: int) -> None:
                for n in range(count):
                    topic.publish(PAYLOAD.pack(publisher, 0, n // 2), priority=1 + n % 2, timeout=None)

            threads = [threading.Thread(target=flood, args=(publisher,)) for publisher in range(PUBLISHERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            published = time.perf_counter() - began
            assert crowd.stdout is not None
            report = json.loads(crowd.stdout.read())
            assert crowd.wait() == 0
        stats = engine.stats()
        assert (stats.messages, stats.gaps, stats.evicted) == (PUBLISHERS * count, 0, 0), stats
        report["publish_seconds"], report["seconds"] = round(published, 1), round(time.perf_counter() - began, 1)
    return report


class Client:
    """One subscriber that believes nothing."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.next_seq = {lane: 1 for lane in LANES}
        self.unchecked = {lane: bytearray() for lane in LANES}
        self.next = {(publisher, lane): 0 for publisher in range(PUBLISHERS) for lane in LANES}
        self.received = 0

    async def run(self, url: str, is_subscribed: Any) -> None:
        from websockets.asyncio.client import connect

        async with connect(url, subprotocols=["fanwire.batch.v1"], compression=None, max_size=None) as socket:  # type: ignore[list-item]
            await socket.send(json.dumps({"type": "subscribe", "id": 1, "topics": ["flood"]}))
            async for frame in socket:
                _, kind, flags, lane, _, seq, raw_size, _ = HEAD.unpack_from(frame)
                if kind == 2:
                    control = json.loads(frame[HEAD.size :])
                    assert control["type"] in ("welcome", "subscribed"), control
                    if control["type"] == "subscribed":
                        is_subscribed()
                    continue
                (messages, size) = struct.unpack_from("<II", frame, HEAD.size)
                assert (flags, seq, size) == (2, self.next_seq[lane], raw_size - 8)
                self.next_seq[lane] += messages
                self.received += messages
                self.unchecked[lane] += frame[HEAD.size + 8 :]
                is_last = self.received == PUBLISHERS * self.count
                if len(self.unchecked[lane]) > CHECK_BYTES or is_last:
                    self.check(lane)
                if is_last:
                    break
        for lane in LANES:
            self.check(lane)
        assert all(next == self.count // 2 for next in self.next.values()), self.next

    def check(self, lane: int) -> None:
        """In order for each publisher, none missing, none twice."""
        import numpy as np

        record = np.dtype([("time", "<u8"), ("lane", "u1"), ("size", "<u4"), ("who", "<u4"), ("zero", "<u4"), ("n", "<u8")])
        records = np.frombuffer(bytes(self.unchecked[lane]), record)
        self.unchecked[lane].clear()
        assert (records["lane"] == lane).all() and (records["size"] == PAYLOAD.size).all()
        assert (records["who"] < PUBLISHERS).all()
        for publisher in range(PUBLISHERS):
            numbers = records["n"][records["who"] == publisher]
            first = self.next[publisher, lane]
            assert (numbers == np.arange(first, first + len(numbers), dtype=np.uint64)).all(), (publisher, lane, first)
            self.next[publisher, lane] += len(numbers)


def read(url: str, count: int, clients: int) -> None:
    """The clients' process."""
    try:
        import uvloop

        loop_factory = uvloop.new_event_loop
    except ImportError:
        loop_factory = asyncio.new_event_loop

    async def main() -> None:
        waiting = clients

        def is_subscribed() -> None:
            nonlocal waiting
            waiting -= 1
            if waiting == 0:
                print("ready", flush=True)

        crowd = [Client(count) for _ in range(clients)]
        await asyncio.gather(*(client.run(url, is_subscribed) for client in crowd))
        print(json.dumps({"clients": clients, "delivered": sum(client.received for client in crowd)}))

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="messages of each thread (an even number)")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--driver", default="auto")
    parser.add_argument("--crowd", metavar="URL", help="be the clients")
    chosen = parser.parse_args()
    if chosen.crowd:
        read(chosen.crowd, chosen.count, chosen.clients)
    else:
        print(json.dumps(publish(chosen.count, chosen.clients, chosen.shards, chosen.driver)))
