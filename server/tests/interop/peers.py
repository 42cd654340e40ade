"""Job: the programs under test, each a process of its own: the servers, and the client drivers with their common conversation.
Knows processes and pipes. Must never know what is published.

A driver reads commands from stdin, each a line of JSON: `{"do": "open", "url", "protocol", "deflate"}` (where it can be had,
with `headers` and, behind the protocol, other names that it `offers`), `{"do": "send",
"kind", "len"}` with `len` bytes behind the line, `{"do": "close"}`. It answers on stdout in the same way: `{"event": "open",
"protocol", "extensions"}` (what the client itself says was agreed), `{"event": "message", "kind", "len"}` and the message's
bytes, `{"event": "closed", "code"}`. It serves one connection after the other until stdin ends."""

import json
import queue
import subprocess
import threading
from pathlib import Path

PATIENCE_S = 120
"""Longer than anything here takes on a busy machine."""


class Server:
    """A program that prints where it listens."""

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        line = self._process.stdout.readline()
        prefix, _, address = line.partition("://")
        assert prefix in ("listening on ws", "listening on wss"), f"{command[0]} said {line!r}"
        host, _, port = address.strip().rpartition(":")
        self.address = (host, int(port))

    def stop(self) -> None:
        assert self._process.poll() is None, "the server ended by itself"
        self._process.terminate()
        self._process.wait(PATIENCE_S)


class Driver:
    """A client driver."""

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._events: queue.Queue[tuple[dict, bytes] | None] = queue.Queue()
        self.is_busy = False
        """It was told to open a connection and has not said that it is closed."""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        out = self._process.stdout
        while line := out.readline():
            event = json.loads(line)
            self._events.put((event, out.read(event.get("len", 0))))
        self._events.put(None)

    def tell(self, command: dict, body: bytes = b"") -> None:
        self.is_busy = True
        self._process.stdin.write(json.dumps(command).encode() + b"\n" + body)
        self._process.stdin.flush()

    def next_event(self) -> tuple[dict, bytes]:
        try:
            event = self._events.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise AssertionError("the client has got nothing more") from None
        assert event is not None, "the client's driver has ended"
        return event

    def open(self, url: str, protocol: str | None, deflate: bool) -> dict:
        """Connects; what the client says was agreed."""
        self.tell({"do": "open", "url": url, "protocol": protocol, "deflate": deflate})
        event, _ = self.next_event()
        assert event["event"] == "open", event
        return event

    def send(self, kind: str, body: bytes) -> None:
        self.tell({"do": "send", "kind": kind, "len": len(body)}, body)

    def next_message(self) -> tuple[str, bytes]:
        event, body = self.next_event()
        assert event["event"] == "message", event
        return event["kind"], body

    def close(self) -> int:
        """Closes the connection; the code that the client saw."""
        self.tell({"do": "close"})
        while True:
            event, _ = self.next_event()
            if event["event"] == "closed":
                self.is_busy = False
                return event["code"]

    def stop(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_S)
        finally:
            self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
