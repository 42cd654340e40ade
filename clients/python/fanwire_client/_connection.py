"""One WebSocket connection, by the package `websockets`: made, written to in order, closed within a time.

Knows sockets. Must never know what is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from ssl import SSLContext
from typing import Any, NamedTuple, Optional, Union, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, NegotiationError
from websockets.typing import Subprotocol

OUTBOX_BYTES_MAX = 4 << 20
"""Beyond so much that is not written yet, who publishes waits."""
WRITE_S = 10.0
"""How long, at an end, what is left may take to be written."""
CLOSE_S = 2.0
"""How long the closing handshake may take after that, before the socket is cut."""
USER_AGENT = "fanwire-client"


class Refusal(Exception):
    """No connection was made. `status`: of an HTTP answer. `is_foreign`: the subprotocol that was answered is not
    ours."""

    def __init__(self, text: str, status: Optional[int] = None, retry_after_s: Optional[float] = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s
        self.is_foreign = False


class Transport(NamedTuple):
    """How connections are made, the same for all of a client's."""

    ssl: Optional[SSLContext]
    headers: Mapping[str, str]
    has_compression: bool
    message_bytes_max: int
    timeout_s: float
    more: Mapping[str, Any]
    """Passed on to `websockets.asyncio.client.connect`."""


class Connection:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._outbox: deque[Union[str, bytes]] = deque()
        self._unwritten = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._is_closing = False
        self._writer = asyncio.get_running_loop().create_task(self._write())

    @classmethod
    async def open(cls, url: str, protocols: Sequence[str], transport: Transport, token: Optional[str]) -> Connection:
        """Raises Refusal."""
        headers = dict(transport.headers)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        more: dict[str, Any] = dict(transport.more)
        if transport.ssl is not None and url.startswith("wss:"):
            more["ssl"] = transport.ssl
        try:
            socket = await connect(
                url,
                subprotocols=[cast(Subprotocol, name) for name in protocols],
                additional_headers=headers,
                user_agent_header=USER_AGENT,
                compression="deflate" if transport.has_compression else None,
                max_size=transport.message_bytes_max,
                open_timeout=transport.timeout_s,
                close_timeout=CLOSE_S,
                ping_interval=None,
                **more,
            )
        except InvalidStatus as error:
            raise _refusal(error) from None
        except NegotiationError as error:
            refusal = Refusal(str(error))
            refusal.is_foreign = True
            raise refusal from error
        except (OSError, EOFError, InvalidHandshake, asyncio.TimeoutError) as error:
            raise Refusal(str(error) or type(error).__name__) from error
        return cls(socket)

    @property
    def protocol(self) -> Optional[str]:
        return self._socket.subprotocol

    async def receive(self) -> Union[str, bytes]:
        """The next message; raises ConnectionClosed."""
        return await self._socket.recv()

    def send(self, wire: Union[str, bytes]) -> None:
        self._outbox.append(wire)
        self._unwritten += len(wire)
        self._news.set()

    async def until_room(self) -> None:
        while self._unwritten > OUTBOX_BYTES_MAX and not self._writer.done():
            self._room.clear()
            await self._room.wait()

    async def say_alive(self) -> None:
        """A pong that nobody asked for, from who does not read for a while."""
        with contextlib.suppress(ConnectionClosed):
            await self._socket.pong()

    async def close(self, code: int, reason: str) -> None:
        """Writes what is left, closes, and cuts the socket if that takes long."""
        self._is_closing = True
        self._news.set()
        try:
            await asyncio.wait_for(asyncio.shield(self._writer), WRITE_S)
            await asyncio.wait_for(self._socket.close(code, reason), 2 * CLOSE_S)
        except (asyncio.TimeoutError, OSError, ConnectionClosed):
            pass
        finally:
            self.cut()

    def cut(self) -> None:
        self._writer.cancel()
        self._room.set()
        self._socket.transport.abort()

    async def _write(self) -> None:
        try:
            while self._outbox or not self._is_closing:
                while self._outbox:
                    wire = self._outbox.popleft()
                    await self._socket.send(wire)
                    self._unwritten -= len(wire)
                    self._room.set()
                if self._is_closing:
                    break
                self._news.clear()
                await self._news.wait()
        except ConnectionClosed:
            # Who reads is told why.
            pass
        finally:
            self._room.set()


def _refusal(error: InvalidStatus) -> Refusal:
    response = error.response
    said = (response.body or b"").decode("utf-8", "replace").strip().splitlines()
    text = f"HTTP {response.status_code}" + (f": {said[0][:200]}" if said else "")
    after = response.headers.get("Retry-After", "")
    return Refusal(text, response.status_code, float(after) if after.isdecimal() else None)


def close_of(error: ConnectionClosed, message_bytes_max: int) -> tuple[Optional[int], str]:
    """The code and reason that the other side gave. 1009 is also the end that this side makes where a message is too
    large."""
    if error.rcvd is not None and (error.sent is None or error.rcvd_then_sent):
        return error.rcvd.code, error.rcvd.reason
    if error.sent is not None and error.sent.code == 1009:
        return 1009, f"it sent more than {message_bytes_max} bytes"
    if error.rcvd is not None:
        return error.rcvd.code, error.rcvd.reason
    return None, ""
