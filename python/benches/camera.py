"""Cameras beside an IMU: frames of a megabyte by reference at 30 a second, and readings at 200 Hz on a critical lane, from one
Python process to 20 clients over loopback, two of which read too slowly for the frames.

    python benches/camera.py --seconds 30

prints how old a reading is when a healthy client has it, and what became of the slow ones: each must have got every reading, or
have been closed with 1013. The clients are a process of their own. They throw frames away without looking at them.
"""

import argparse
import contextlib
import json
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

HEALTHY = 18
SLOW = 2
FRAME_BYTES = 1 << 20
READING = struct.Struct("<QQ")
# What a slow client takes in a second: a fifteenth of what the cameras give.
SLOW_BYTES_PER_SECOND = 2 << 20


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


def publish(seconds: float, fps: float, hertz: float, driver: str) -> dict[str, Any]:
    """The engine's process."""
    import fanwire

    settings = [fanwire.TopicSettings(pattern="camera", retention="none", lane_bytes=8 * FRAME_BYTES)]
    with fanwire.Engine(listen="127.0.0.1:0", topics=settings, driver=driver) as engine:
        camera, imu = engine.topic("camera", priority="low"), engine.topic("imu", priority="critical")
        with crowd_process(str(engine.port)) as crowd:
            frames = [bytes([n]) * FRAME_BYTES for n in range(32)]
            references = [sys.getrefcount(frames[n]) for n in range(len(frames))]
            published = {"frames": 0, "refused": 0, "imu": 0}
            end = time.monotonic() + seconds

            def film() -> None:
                due = time.monotonic()
                while due < end:
                    try:
                        camera.publish_ref(frames[published["frames"] % len(frames)])
                        published["frames"] += 1
                    except fanwire.WouldBlock:
                        published["refused"] += 1
                    due += 1 / fps
                    time.sleep(max(0.0, due - time.monotonic()))

            def measure() -> None:
                due = time.monotonic()
                while due < end:
                    imu.publish(READING.pack(published["imu"] + 1, time.monotonic_ns()), timeout=None)
                    published["imu"] += 1
                    due += 1 / hertz
                    time.sleep(max(0.0, due - time.monotonic()))
                # Number 0 is the last one.
                imu.publish(READING.pack(0, published["imu"]), timeout=None)

            threads = [threading.Thread(target=film), threading.Thread(target=measure)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert crowd.stdout is not None
            report = json.loads(crowd.stdout.read())
            assert crowd.wait() == 0
        stats = engine.stats()
    kept = sum(sys.getrefcount(frames[n]) - references[n] for n in range(len(frames)))
    return {
        "driver": driver,
        "seconds": seconds,
        "frames_published": published["frames"],
        "frames_refused": published["refused"],
        "frames_given_back": published["frames"] - kept,
        "imu_published": published["imu"],
        "evicted": stats.evicted,
        **report,
    }


class Client:
    """A raw subscriber of both topics, on a socket of its own: as cheap as Python can be."""

    def __init__(self, port: int, is_slow: bool) -> None:
        self.is_slow = is_slow
        self.socket = socket.socket()
        if is_slow:
            # Or the kernel would hold seconds of frames for it.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(
            b"GET /t/imu?topic=camera HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self.socket.recv(1)
        assert answer.startswith(b"HTTP/1.1 101"), answer
        self.socket.setblocking(False)
        self.head = b""
        # Of the frame that is being read: what it is, and how much of it is still to come.
        self.opcode, self.left, self.payload = 0, 0, bytearray()
        self.is_kept = False
        self.imu = self.frames = 0
        self.expected: int | None = None
        self.close: int | None = None
        self.ages: list[int] = []
        self.is_over = False
        self.allowed_at = time.monotonic()

    def read(self, scratch: bytearray) -> None:
        """Takes what there is, up to 256 KiB."""
        budget = 64 << 10 if self.is_slow else 256 << 10
        try:
            while budget > 0 and not self.is_over:
                budget -= self.step(scratch, budget)
        except BlockingIOError:
            pass
        except ConnectionError:
            self.is_over = True
        if self.is_slow:
            self.allowed_at = time.monotonic() + (64 << 10) / SLOW_BYTES_PER_SECOND

    def step(self, scratch: bytearray, budget: int) -> int:
        if self.left == 0:
            want = 2 if len(self.head) < 2 else {126: 4, 127: 10}.get(self.head[1], 2)
            got = self.socket.recv(want - len(self.head)) if len(self.head) < want else b""
            if not got and len(self.head) < want:
                self.is_over = True
                return 0
            self.head += got
            want = 2 if len(self.head) < 2 else {126: 4, 127: 10}.get(self.head[1], 2)
            if len(self.head) == want:
                self.opcode = self.head[0] & 15
                self.left = self.head[1] if want == 2 else int.from_bytes(self.head[2:], "big")
                self.is_kept, self.payload, self.head = self.left < 1024, bytearray(), b""
                if self.left == 0:
                    self.finish()
            return len(got)
        take = min(self.left, budget, len(scratch))
        if self.is_kept:
            got = self.socket.recv(take)
            self.payload += got
            count = len(got)
        else:
            # The kernel drops these bytes without copying them.
            count = self.socket.recv_into(scratch, take, socket.MSG_TRUNC)
        if count == 0:
            self.is_over = True
            return 0
        self.left -= count
        if self.left == 0:
            self.finish()
        return count

    def finish(self) -> None:
        if self.opcode == 8:
            self.close = int.from_bytes(self.payload[:2], "big")
            self.is_over = True
        elif self.opcode == 9:
            # Masked with zeros.
            self.socket.send(bytes([0x8A, 0x80 | len(self.payload), 0, 0, 0, 0]) + self.payload)
        elif self.is_kept:
            number, value = READING.unpack(self.payload)
            if number == 0:
                self.expected, self.is_over = value, True
                return
            assert number == self.imu + 1, f"reading {number} after {self.imu}"
            self.imu = number
            self.ages.append(time.monotonic_ns() - value)
        else:
            self.frames += 1


def read(port: int) -> None:
    """The clients' process."""
    clients = [Client(port, number >= HEALTHY) for number in range(HEALTHY + SLOW)]
    scratch = bytearray(256 << 10)
    poll = select.epoll()
    by_fd = {client.socket.fileno(): client for client in clients}
    for client in clients[:HEALTHY]:
        poll.register(client.socket, select.EPOLLIN)
    print("ready", flush=True)
    while not all(client.is_over for client in clients):
        for fd, _ in poll.poll(0.005):
            client = by_fd[fd]
            client.read(scratch)
            if client.is_over:
                poll.unregister(fd)
        now = time.monotonic()
        for client in clients[HEALTHY:]:
            if not client.is_over and now >= client.allowed_at:
                client.read(scratch)

    def told(client: Client) -> dict[str, Any]:
        ages = sorted(client.ages) or [0]
        return {
            "imu": client.imu,
            "frames": client.frames,
            "close": client.close,
            "p50_ms": round(ages[len(ages) // 2] / 1e6, 2),
            "p99_ms": round(ages[len(ages) * 99 // 100] / 1e6, 2),
        }

    print(json.dumps({"healthy": [told(c) for c in clients[:HEALTHY]], "slow": [told(c) for c in clients[HEALTHY:]]}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--fps", type=float, default=30)
    parser.add_argument("--hertz", type=float, default=200)
    parser.add_argument("--driver", default="auto")
    parser.add_argument("--json", action="store_true", help="the whole report")
    parser.add_argument("--crowd", type=int, metavar="PORT", help="be the clients")
    chosen = parser.parse_args()
    if chosen.crowd:
        read(chosen.crowd)
        sys.exit()
    report = publish(chosen.seconds, chosen.fps, chosen.hertz, chosen.driver)
    if chosen.json:
        print(json.dumps(report))
        sys.exit()
    print(f"{report['imu_published']} readings, {report['frames_published']} frames of 1 MiB in {report['seconds']:.0f} s")
    healthy = report["healthy"]
    whole = sum(client["imu"] == report["imu_published"] for client in healthy)
    print(f"healthy: {whole} of {HEALTHY} got every reading; age of a reading: p50 {max(c['p50_ms'] for c in healthy)} ms, "
          f"p99 {max(c['p99_ms'] for c in healthy)} ms at the worst of them; {min(c['frames'] for c in healthy)} frames at least")
    for client in report["slow"]:
        print(f"slow:    {client['imu']} readings, {client['frames']} frames, close {client['close']}, p99 {client['p99_ms']} ms")
