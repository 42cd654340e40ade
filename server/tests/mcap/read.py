"""What `fanwire record` writes, read by Python's mcap: message for message, and after a kill. And the other
way round: what Python's mcap writes, replayed.

    read.py FANWIRE DIRECTORY

Runs FANWIRE as server, recorder and publisher on a free port; files go to DIRECTORY.
"""

import json
import pathlib
import signal
import subprocess
import sys
import time

from mcap.reader import NonSeekingReader, make_reader
from mcap.writer import CompressionType, Writer

PATIENCE_S = 120
MESSAGES = 20_000


def start(*arguments, says):
    """A process of the binary that has said this on stderr or stdout."""
    running = subprocess.Popen([fanwire, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in running.stdout:
        if says in line:
            return running, line
    raise SystemExit(f"{arguments}: it ended with {running.wait()} before it said `{says}`")


def publish(url, topic, lines, *more):
    subprocess.run([fanwire, "pub", url, topic, *more], input="\n".join(lines) + "\n", text=True, check=True)


def recorded(path, reader):
    with path.open("rb") as file:
        return [
            (channel.topic, channel.message_encoding, channel.metadata.get("priority"), message.sequence, message.data)
            for _, channel, message in reader(file).iter_messages(log_time_order=False)
        ]


def expected(topic, encoding, priority, lines):
    return [(topic, encoding, priority, seq, line.encode()) for seq, line in enumerate(lines, 1)]


def a_complete_file(url, compression):
    path = directory / f"{compression}.mcap"
    numbers = [json.dumps({"n": n, "x": n / 7}) for n in range(MESSAGES)]
    texts = [f"line {n}" for n in range(MESSAGES)]
    arguments = ("-o", str(path), "--compression", compression, "--count", str(2 * MESSAGES))
    recorder, _ = start("record", url, f"{compression}/**", *arguments, says="subscribed to")
    publish(url, f"{compression}/json", numbers, "--kind", "json", "--priority", "high")
    publish(url, f"{compression}/text", texts)
    log, _ = recorder.communicate(timeout=PATIENCE_S)
    assert recorder.returncode == 0, log
    found = recorded(path, make_reader)
    wanted = expected(f"{compression}/json", "json", "high", numbers)
    wanted += expected(f"{compression}/text", "text", "normal", texts)
    assert sorted(found) == sorted(wanted), f"{len(found)} of {len(wanted)}"
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary.statistics.message_count == 2 * MESSAGES and summary.chunk_indexes
    print(f"{compression}: {len(found)} of {len(wanted)} messages")


def a_file_after_a_kill(url):
    path = directory / "killed.mcap"
    lines = [f"line {n}" for n in range(MESSAGES)]
    recorder, _ = start("record", url, "killed", "-o", str(path), "--flush-every", "50ms", says="subscribed to")
    publish(url, "killed", lines)
    deadline = time.monotonic() + PATIENCE_S
    while len(part(path)) < MESSAGES:
        assert time.monotonic() < deadline, "not everything comes into the file"
        time.sleep(0.1)
    recorder.send_signal(signal.SIGKILL)
    recorder.wait()
    found = part(path)
    assert found == expected("killed", "text", "normal", lines)
    print(f"killed: {len(found)} of {MESSAGES} messages")


def written_here(path, compression):
    """A file of two channels: JSON with a schema, and what is no text."""
    with path.open("wb") as file:
        writer = Writer(file, compression=compression)
        writer.start(profile="other", library="python")
        schema = writer.register_schema("Pose", "jsonschema", b'{"type":"object"}')
        pose = writer.register_channel("/pose", "json", schema)
        schema = writer.register_schema("foxglove.RawImage", "protobuf", b"\x00")
        image = writer.register_channel("/image", "protobuf", schema)
        wanted = []
        for n in range(MESSAGES):
            data = json.dumps({"n": n}).encode()
            writer.add_message(pose, log_time=n * 1000, publish_time=n * 1000, data=data)
            writer.add_message(image, log_time=n * 1000, publish_time=n * 1000, data=bytes([n % 256, 0, 255]))
            wanted.append(("py/pose", "json", "normal", n + 1, data))
            wanted.append(("py/image", "octets", "normal", n + 1, bytes([n % 256, 0, 255])))
        writer.finish()
    return wanted


def replayed(url, compression):
    name = compression.name.lower()
    path, again = directory / f"python-{name}.mcap", directory / f"replayed-{name}.mcap"
    wanted = written_here(path, compression)
    prefix = "py/" if name == "zstd" else f"py-{name}/"
    wanted = [(topic.replace("py/", prefix), *rest) for topic, *rest in wanted]
    arguments = ("-o", str(again), "--count", str(len(wanted)))
    recorder, _ = start("record", url, f"{prefix}**", *arguments, says="subscribed to")
    subprocess.run([fanwire, "replay", str(path), "--to", url, "--prefix", prefix, "--speed", "max"], check=True)
    log, _ = recorder.communicate(timeout=PATIENCE_S)
    assert recorder.returncode == 0, log
    found = recorded(again, make_reader)
    assert sorted(found) == sorted(wanted), f"{len(found)} of {len(wanted)}"
    print(f"replayed {name}: {len(found)} of {len(wanted)} messages")


def part(path):
    """What a file holds that has no end."""
    found = []
    with path.open("rb") as file:
        try:
            for _, channel, message in NonSeekingReader(file).iter_messages(log_time_order=False):
                priority = channel.metadata.get("priority")
                found.append((channel.topic, channel.message_encoding, priority, message.sequence, message.data))
        except Exception as error:  # Its class depends on where the file ends.
            print(f"it ends: {type(error).__name__}")
    return found


fanwire, directory = sys.argv[1], pathlib.Path(sys.argv[2])
directory.mkdir(parents=True, exist_ok=True)
for left in directory.glob("*.mcap"):
    left.unlink()
server, line = start("serve", "--listen", "127.0.0.1:0", "--publish", "loopback", says="listening on")
try:
    url = line.split()[-1]
    for compression in ("zstd", "lz4", "none"):
        a_complete_file(url, compression)
    a_file_after_a_kill(url)
    for kind in CompressionType:
        replayed(url, kind)
finally:
    server.terminate()
    server.communicate(timeout=PATIENCE_S)
