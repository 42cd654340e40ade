"""Job: the driver's side of the conversation that peers.py describes, for Python clients.
Knows stdin and stdout. Must never know a WebSocket."""

import asyncio
import json
import os
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Protocol


class Connection(Protocol):
    async def send(self, kind: str, body: bytes) -> None: ...

    async def close(self) -> None: ...


def offered(command: dict) -> list[str]:
    """The subprotocols that an `open` wants."""
    return [name for name in (command["protocol"], *command.get("offers", ())) if name]


def trust_for(url: str) -> ssl.SSLContext | None:
    """Whom a client trusts, if there is anybody to be trusted."""
    return ssl.create_default_context(cafile=os.environ["INTEROP_CA"]) if url.startswith("wss://") else None


def say(event: dict, body: bytes = b"") -> None:
    if body or event["event"] == "message":
        event["len"] = len(body)
    sys.stdout.buffer.write(json.dumps(event).encode() + b"\n" + body)
    sys.stdout.buffer.flush()


def say_message(data: str | bytes) -> None:
    if isinstance(data, str):
        say({"event": "message", "kind": "text"}, data.encode())
    else:
        say({"event": "message", "kind": "binary"}, data)


async def converse(connect: Callable[[dict], Awaitable[Connection]]) -> None:
    """Serves one connection after the other; `connect` says `open`, and later `message` and `closed`."""
    commands = asyncio.StreamReader(limit=1 << 16)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    connection = None
    while line := await commands.readline():
        command = json.loads(line)
        if command["do"] == "open":
            connection = await connect(command)
        elif command["do"] == "send":
            await connection.send(command["kind"], await commands.readexactly(command["len"]))
        elif command["do"] == "close":
            await connection.close()
