"""What a publish costs a Python process, in nanoseconds, with 0, 1 and 100 subscribers.

    pip install foxglove-sdk                      # optional: its channel.log is then measured in the same run
    python benches/publish.py [--c PUBLISHER]     # PUBLISHER: perf/c/publisher.c, compiled; measured in the same run

Measured is the mean time of a call over at least a million messages, the loop included, in bursts of at most half the ring; the
shard has emptied the ring before a burst begins, or it would be the shard that is measured, and it is awake, for one message goes
before each burst. The publisher runs on the first CPU that this process may use; the shard, and the subscribers (a process of their
own, which reads over loopback and throws away), on the second one.
"""

import argparse
import base64
import contextlib
import itertools
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

RING_BYTES = 16 << 20
MANY = 64
PATIENCE = 60.0

Cost = tuple[float, float]


def measure(publish: Callable[[int], None], count: int, burst: int, settle: Callable[[], None]) -> Cost:
    """Mean and best of the bursts, per message."""
    done, total, best = -burst, 0, float("inf")
    while done < count:
        settle()
        began = time.perf_counter_ns()
        publish(burst)
        took = time.perf_counter_ns() - began
        # The first burst touches pages and fills caches.
        if done >= 0:
            total += took
            best = min(best, took / burst)
        done += burst
    return total / done, best


def fanwire_costs(sizes: list[int], subscribers: int, count: int, cpus: list[int]) -> Iterator[tuple[str, int, Cost]]:
    import fanwire

    settings: dict[str, Any] = {"shards": 1, "cpus": cpus[1:2], "ring_bytes": RING_BYTES}
    with fanwire.Engine(listen="127.0.0.1:0", **settings) as engine, crowd("raw", engine.port, subscribers, cpus):
        topic = engine.topic("bench")
        topic.publish(b"first")
        wait_for(lambda: engine.stats().cursors == subscribers)

        def settle() -> None:
            while engine.stats().ring_bytes > 0:
                time.sleep(0)
            topic.publish(b"wake")
            while engine.stats().ring_bytes > 0:
                time.sleep(0)

        for size in sizes:
            message = b"x" * size
            burst = RING_BYTES // 2 // ((size + 32 + 63) // 64 * 64)
            several = [message] * MANY

            def one_by_one(count: int, publish: Any = topic.publish, message: bytes = message) -> None:
                for _ in itertools.repeat(None, count):
                    publish(message)

            def many(count: int, publish: Any = topic.publish_many, several: list[bytes] = several) -> None:
                for _ in itertools.repeat(None, count // MANY):
                    publish(several)

            yield "fanwire publish(bytes)", size, measure(one_by_one, count, burst, settle)
            yield f"fanwire publish_many({MANY})", size, measure(many, count, burst // MANY * MANY, settle)


def foxglove_costs(sizes: list[int], subscribers: int, count: int, cpus: list[int]) -> Iterator[tuple[str, int, Cost]]:
    try:
        import foxglove
    except ImportError:
        return
    server = foxglove.start_server(host="127.0.0.1", port=0)
    channel = foxglove.Channel("/bench", message_encoding="json")
    try:
        with crowd("foxglove", server.port, subscribers, cpus):
            # It has no ring to wait for. More than its backlog of 1,024 it would drop.
            for size in sizes:
                message = b"x" * size

                def log(count: int, log: Any = channel.log, message: bytes = message) -> None:
                    for _ in itertools.repeat(None, count):
                        log(message)

                cost = measure(log, max(1000, count // 10 // max(1, subscribers)), 500, lambda: time.sleep(0.02))
                yield "foxglove-sdk channel.log", size, cost
            # Before its clients: it says of every message that it cannot send.
            server.stop()
    finally:
        channel.close()


def c_costs(program: str, sizes: list[int], subscribers: int, count: int, cpus: list[int]) -> Iterator[tuple[str, int, Cost]]:
    for size, many in itertools.product(sizes, (0, MANY)):
        command = [program, "--size", str(size), "--count", str(count), "--topic", "bench", "--wait-for", str(subscribers)]
        command += ["--many", str(many)] if many else []
        command += ["--cpu", str(cpus[0]), "--shard-cpu", str(cpus[-1])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None and process.stdout is not None
            port = int(process.stderr.readline().rsplit(" ", 1)[1])
            with crowd("raw", port, subscribers, cpus):
                report = json.loads(process.stdout.read().splitlines()[-1])
        name = f"C fw_publish_many({many})" if many else "C fw_publish"
        yield name, size, (report["ns_per_message"], report.get("best_ns_per_message", float("nan")))


@contextlib.contextmanager
def crowd(protocol: str, port: int, subscribers: int, cpus: list[int]) -> Iterator[None]:
    """Subscribers in a process of their own."""
    if subscribers == 0:
        yield
        return
    command = [sys.executable, __file__, "--crowd", protocol, str(port), str(subscribers), str(cpus[-1])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


def read(protocol: str, port: int, subscribers: int, cpu: int) -> None:
    """The subscribers' process: takes whatever comes, for ever."""
    os.sched_setaffinity(0, {cpu})
    sockets = [(subscribe_foxglove if protocol == "foxglove" else subscribe_raw)(port) for _ in range(subscribers)]
    poll = select.epoll()
    by_fd = {}
    for client in sockets:
        client.setblocking(False)
        poll.register(client, select.EPOLLIN)
        by_fd[client.fileno()] = client
    print("ready", flush=True)
    scratch = bytearray(1 << 20)
    while by_fd:
        for fd, _ in poll.poll():
            try:
                # The kernel drops the bytes without copying them.
                count = by_fd[fd].recv_into(scratch, 0, socket.MSG_TRUNC)
            except BlockingIOError:
                continue
            except ConnectionError:
                count = 0
            if count == 0:
                poll.unregister(fd)
                by_fd.pop(fd).close()


def upgrade(port: int, path: str, protocol: str = "") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    extra = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{extra}\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        got = client.recv(1)
        assert got, answer
        answer += got
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return client


def subscribe_raw(port: int) -> socket.socket:
    return upgrade(port, "/t/bench")


def subscribe_foxglove(port: int) -> socket.socket:
    client = upgrade(port, "/", "foxglove.sdk.v1")
    while True:
        head = exactly(client, 2)
        size = head[1]
        if size > 125:
            size = int.from_bytes(exactly(client, 2 if size == 126 else 8), "big")
        payload = exactly(client, size)
        if head[0] & 15 != 1:
            continue
        message = json.loads(payload)
        if message["op"] == "advertise":
            break
    wanted = {"op": "subscribe", "channelIds": [], "subscriptions": [{"id": 1, "channelId": message["channels"][0]["id"]}]}
    text = json.dumps(wanted).encode()
    # Masked with zeros.
    client.sendall(b"\x81" + struct.pack(">BH", 0x80 | 126, len(text)) + bytes(4) + text)
    return client


def exactly(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        got = client.recv(size - len(data))
        assert got
        data += got
    return data


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--subscribers", type=int, nargs="+", default=[0, 1, 100])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--c", metavar="PUBLISHER", help="perf/c/publisher.c, compiled")
    parser.add_argument("--crowd", nargs=4, metavar=("PROTOCOL", "PORT", "COUNT", "CPU"), help="be the subscribers")
    chosen = parser.parse_args()
    if chosen.crowd:
        protocol, port, count, cpu = chosen.crowd
        read(protocol, int(port), int(count), int(cpu))
        return
    cpus = sorted(os.sched_getaffinity(0))[:2]
    if len(cpus) < 2:
        print("one CPU only: the shard and the publisher take turns, which the figures show")
    os.sched_setaffinity(0, {cpus[0]})
    rows: dict[tuple[str, int], dict[int, Cost]] = {}
    for subscribers in chosen.subscribers:
        measured = [fanwire_costs(chosen.sizes, subscribers, chosen.count, cpus)]
        if chosen.c:
            measured.append(c_costs(chosen.c, chosen.sizes, subscribers, chosen.count, cpus))
        measured.append(foxglove_costs(chosen.sizes, subscribers, chosen.count, cpus))
        for name, size, cost in itertools.chain(*measured):
            rows.setdefault((name, size), {})[subscribers] = cost
    print(f"ns per message: mean (best burst); Python {sys.version.split()[0]}, {chosen.count:,} messages a cell")
    heads = [f"{n} subscriber{'' if n == 1 else 's'}" for n in chosen.subscribers]
    print(f"{'call':<28}{'bytes':>6}" + "".join(f"{head:>22}" for head in heads))
    for (name, size), costs in sorted(rows.items(), key=lambda row: (row[0][1], row[0][0])):
        cells = [f"{costs[n][0]:,.0f} ({costs[n][1]:,.0f})" if n in costs else "-" for n in chosen.subscribers]
        print(f"{name:<28}{size:>6}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
