"""The publisher that the Python rivals share: the lines of perf/src/host/mod.rs, payloads as perf/src/payload.rs checks them."""

import math
import os
import struct
import sys
import time
import zlib

FILL = "".join(chr(65 + ((i * i + 7 * i) >> 3) % 16) for i in range(1 << 16))


def payload(seq: int, intended_ns: int, size: int) -> bytes:
    head = f"FW1 {seq:016x} {intended_ns:016x} "
    begin = seq % 4096
    fill = FILL[begin : begin + size - len(head) - 9]
    return f"{head}{zlib.crc32((head + fill).encode()):08x} {fill}".encode()


def checked(file: int | None) -> int:
    if file is None:
        return 0
    counters = os.pread(file, 512, 0)
    return sum(struct.unpack(f"<{len(counters) // 8}Q", counters))


def sleep_until(moment_ns: int) -> None:
    while (left := moment_ns - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)


class Load:
    def __init__(self, words: list[str]) -> None:
        rate, size, burst, topics, seconds, _look, subscribers, ahead, progress = words
        self.rate, self.seconds = float(rate), float(seconds)
        self.size, self.burst, self.topics = int(size), int(burst), int(topics)
        self.turn = self.burst * int(subscribers)
        self.subscribers = int(subscribers)
        self.ahead = int(ahead) * self.turn
        self.file = None if progress == "-" else os.open(progress, os.O_RDONLY)


def run(publish) -> None:
    """`publish(topic, payload)` for each message; `publish(None, None)` when a burst is complete."""
    sent = 0
    for line in sys.stdin:
        words = line.split()
        if words[0] == "counters":
            print("counters {}", flush=True)
            continue
        load = Load(words[1:])
        began, base = time.monotonic_ns(), checked(load.file)
        count = late = 0
        if load.rate > 0:
            for count in range(1, math.ceil(load.rate * load.seconds) + 1):
                intended_ns = began + int((count - 1) * 1e9 / load.rate)
                sleep_until(intended_ns)
                late = max(late, time.monotonic_ns() - intended_ns)
                publish(f"t{sent % load.topics}", payload(sent // load.topics + 1, intended_ns, load.size))
                publish(None, None)
                sent += 1
        else:
            end = began + int(load.seconds * 1e9)
            while time.monotonic_ns() < end:
                if count * load.subscribers - (checked(load.file) - base) > load.ahead:
                    time.sleep(0.0002)
                    continue
                for _ in range(load.burst):
                    publish(f"t{sent % load.topics}", payload(sent // load.topics + 1, time.monotonic_ns(), load.size))
                    sent += 1
                publish(None, None)
                count += load.burst
        if load.file is not None:
            os.close(load.file)
        print(f"published {count} {time.monotonic_ns() - began} {late} 0", flush=True)
