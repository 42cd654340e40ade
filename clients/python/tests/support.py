"""The server under test, a relay that can fail, and patience."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from fanwire_client import Account, Client

PATIENCE_S = 60.0
"""Until a test gives up: a slow, loaded machine must not fail it."""


def binary() -> Path:
    """FANWIRE_BUILT is the folder of cargo's profile."""
    built = Path(os.environ.get("FANWIRE_BUILT", Path(__file__).parents[3] / "target" / "debug"))
    return built / "fanwire"


def run(work: Coroutine[Any, Any, None]) -> None:
    """Runs a test on an event loop in debug mode; nothing may be left behind."""

    async def all_of_it() -> None:
        await asyncio.wait_for(work, 2 * PATIENCE_S)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    asyncio.run(all_of_it(), debug=True)


async def until(condition: Callable[[], Any]) -> None:
    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(wait(), PATIENCE_S)


class Server:
    """`fanwire serve`, which can be killed and started again at the same port."""

    def __init__(self, *options: str, publish: str = "loopback") -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._options = ("--publish", publish, *options)
        self.socket = Path(self._folder.name) / "control"
        self.port = 0
        self.start()

    def start(self) -> None:
        command = [
            binary(),
            "serve",
            "--listen",
            f"127.0.0.1:{self.port}",
            "--cpus",
            "none",
            "--shards",
            "1",
            "--pool-bytes",
            "64MiB",
            "--admin-listen",
            "127.0.0.1:0",
            "--control-socket",
            self.socket,
            *self._options,
        ]
        self._process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("listening on ws://"), line
        self.port = int(line.rpartition(":")[2])

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    def kill(self) -> None:
        """Ends without a word."""
        self._process.send_signal(signal.SIGKILL)
        self._end()

    def drain(self, within: str) -> None:
        command = [str(binary()), "drain", "--within", within, "--socket", str(self.socket)]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
        self._end()

    def _end(self) -> None:
        self._process.wait(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()
        self._folder.cleanup()


class Relay:
    """Stands between client and server: it can cut what goes through it, or fall silent."""

    def __init__(self, port: int) -> None:
        self.port_of_server = port
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._silent: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Gives the URL."""
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def silence(self) -> None:
        """What is connected hears nothing any more. New connections do."""
        for task in self._tasks - self._silent:
            self._silent.add(task)
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self._writers.add(writer)
        up = None
        try:
            from_server, up = await asyncio.open_connection("127.0.0.1", self.port_of_server)
            self._writers.add(up)
            await asyncio.gather(self._pass(reader, up), self._pass(from_server, writer))
        except OSError:
            writer.transport.abort()
        except asyncio.CancelledError:
            # Silent: both sides stay open, and nothing goes through.
            with contextlib.suppress(asyncio.CancelledError):
                if task in self._silent:
                    await asyncio.Event().wait()
            writer.transport.abort()
            if up is not None:
                up.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        target.close()


def check(accounts: tuple[Account, ...]) -> None:
    """Delivered, lost and left out are all that was published."""
    assert accounts
    for account in accounts:
        assert account.lost is not None and account.left_out is not None
        assert account.delivered + account.lost + account.left_out == account.published, account


async def publish_numbers(client: Client, topic: str, numbers: range, **options: Any) -> None:
    for number in numbers:
        await client.publish(topic, number, confirm=False, **options)
    await client.ping()
