"""Clients and patience for the tests."""

import contextlib
import json
import subprocess
import sys
import textwrap
import time
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any

from websockets.sync.client import connect

PATIENCE = 60.0
"""Seconds until a test gives up: a slow, loaded machine must not fail it."""

SMALL: dict[str, Any] = {"listen": "127.0.0.1:0", "shards": 1, "cpus": [], "pool_bytes": 64 << 20, "connections_max": 300}
"""An engine that fits anywhere."""


def raw(engine: Any, topic: str) -> Any:
    """A raw subscriber of one topic, to be used with `with`. Everything published from then on reaches it."""
    return connect(f"{engine.url}/t/{urllib.parse.quote(topic)}", max_size=None, compression=None)


def until(condition: Callable[[], Any], what: str = "") -> Any:
    """Waits until the condition holds, and gives what it gave."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"never: {what or condition}"
        time.sleep(0.005)
    return value


def run_python(
    program: str, *arguments: str, through: Sequence[str] = (), timeout: float = PATIENCE, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a program of its own, with warnings as errors; by way of the command `through`, if there is one."""
    command = [*through, sys.executable, "-P", "-X", "dev", "-W", "error", "-c", textwrap.dedent(program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, **more)


def clean(result: subprocess.CompletedProcess[str]) -> str:
    """Its output, if it ended well and said nothing on standard error."""
    assert (result.returncode, result.stderr) == (0, ""), f"{result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout


class JsonClient:
    """A client of fanwire.json.v1."""

    def __init__(self, engine: Any, *topics: str, **subscribe: Any) -> None:
        self.stack = contextlib.ExitStack()
        self.socket = self.stack.enter_context(connect(engine.url + "/", subprotocols=["fanwire.json.v1"], max_size=None))
        self.welcome = self.get("welcome")
        self.socket.send(json.dumps({"type": "subscribe", "id": 1, "topics": list(topics), **subscribe}))

    def next(self) -> dict[str, Any]:
        return json.loads(self.socket.recv(timeout=PATIENCE))

    def get(self, type: str) -> dict[str, Any]:
        """The next object of this type; skips all others."""
        while (got := self.next())["type"] != type:
            pass
        return got

    def __enter__(self) -> "JsonClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()
