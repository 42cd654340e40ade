"""What happens to an engine's connections, and how to wait for it."""

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from ._errors import Busy, Stopped

if TYPE_CHECKING:
    from ._fanwire import Engine

BATCH = 256
"""Events taken at a time."""


@dataclass(frozen=True, slots=True)
class Authorize:
    """A client asks to be let in (`Engine(ask_host_within=...)`): answer with `engine.allow` or `engine.refuse`, from any
    thread, within that time. If it is let in, `Opened` follows; if it goes away before, nothing does."""

    connection: int
    """Names the client for `allow` and `refuse`."""
    peer: tuple[str, int] | None
    """The client's address and port, where they are known."""
    listener: int
    """Which of the engine's addresses it came by, from 0."""
    target: str
    """The request's path and query, as they came."""
    headers: list[tuple[str, bytes]]
    """Those of `ask_host_headers` that the request has, one for each line."""
    certificate: str | None = None
    """Who the client is by its certificate, which was verified: the subject as RFC 4514 writes it, `CN=rover-1,O=Example`.
    None where it has shown none (`tls_client_certificates`)."""


@dataclass(frozen=True, slots=True)
class Reauthorize:
    """A connection brings another token: answer with `engine.allow` or `engine.refuse`, from any thread. Allowed, the new
    patterns and lifetime take the place of the old ones, if `subject` is the one that it was let in with; refused, or of
    another subject, the client is told so and the old ones hold. It is asked once at a time and at most once a second."""

    connection: int
    """The connection, for `allow` and `refuse`."""
    token: str
    """The token: 1 to 8,192 characters of printable ASCII without blanks."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A client has connected."""

    connection: int
    """Names the connection for `send_to` and `close`; never used again after `Closed`."""
    peer: tuple[str, int] | None
    """The client's address and port, where they are known."""
    protocol: str
    """The subprotocol; "" if none."""
    path: str
    """The request's path."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A connection now gets a topic."""

    connection: int
    topic: str


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """A connection no longer gets a topic."""

    connection: int
    topic: str


@dataclass(frozen=True, slots=True)
class Message:
    """A client without a topic has sent a message (`Engine(messages=True)`)."""

    connection: int
    data: str | bytes
    """`str` for a text message, `bytes` for a binary one."""


@dataclass(frozen=True, slots=True)
class Lagging:
    """A connection has fallen behind by more than 70 % of `lane_bytes`."""

    connection: int
    topic: str
    priority: Literal["critical", "high", "normal", "low"]


@dataclass(frozen=True, slots=True)
class Evicted:
    """The engine gives up a client that was too slow or broke a rule. `Closed` follows."""

    connection: int
    reason: str


@dataclass(frozen=True, slots=True)
class Closed:
    """A connection is gone."""

    connection: int
    code: int
    """The close code; 1006 where it just broke."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A shard has failed, and the engine has ended: stop it, and start another one or end. Taking more events raises
    `InternalError`."""

    shard: int
    """The shard's number, from 0. Its connections get no more events."""
    reason: str


Event: TypeAlias = (
    Authorize | Reauthorize | Opened | Subscribed | Unsubscribed | Message | Lagging | Evicted | Closed | Failed
)
"""For one connection events come in order, from `Opened` (or `Authorize`) to `Closed`."""


class Events:
    """An engine's events: `engine.events`. There is one for each engine, for one taker at a time.

    Iterate over it (it ends when the engine has stopped and the last event was taken), or take them with a time-out:

        for event in engine.events: ...
        for event in engine.events.until_quiet(0.5): ...     # ends when nothing happens for half a second
        async for event in engine.events: ...                # on asyncio and on uvloop
        batch = engine.events.take(timeout=1.0)              # [] if nothing happens

    Asking for none (`Engine(events=0)`, the default) gives none: then it only ends.
    """

    __slots__ = ("_engine", "_ready", "_is_awaited")

    def __init__(self, engine: "Engine") -> None:
        # Weak: the engine keeps this, and an engine that is forgotten is to end.
        self._engine = weakref.ref(engine)
        self._ready: deque[Event] = deque()
        self._is_awaited = False

    def take(self, capacity: int = BATCH, timeout: float | None = 0.0) -> list[Event]:
        """Up to `capacity` events, waiting up to `timeout` seconds (None: for ever) for the first one.

        Raises `Stopped` when the engine has stopped and the last event was taken, `Busy` while another thread is in this
        call, and `ForkedError` in a forked child.
        """
        if self._ready:
            return [self._ready.popleft() for _ in range(min(capacity, len(self._ready)))]
        engine = self._engine()
        if engine is None:
            raise Stopped("the engine has stopped")
        return engine.poll_events(capacity, timeout)

    def until_quiet(self, timeout: float) -> Iterator[Event]:
        """Events until none comes for `timeout` seconds, or the engine has stopped."""
        try:
            while self._refill(timeout):
                while self._ready:
                    yield self._ready.popleft()
        except Stopped:
            return

    def fileno(self) -> int:
        """A descriptor that is readable when `take` has something to do, for select, poll or an event loop. Neither read nor
        close it."""
        engine = self._engine()
        if engine is None:
            raise Stopped("the engine has stopped")
        return engine.fileno()

    def __iter__(self) -> Iterator[Event]:
        try:
            while True:
                self._refill(None)
                while self._ready:
                    yield self._ready.popleft()
        except Stopped:
            return

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        """The next event. Cancelling it loses none."""
        while not self._ready:
            try:
                is_more = self._refill(0.0)
            except Stopped:
                raise StopAsyncIteration from None
            if is_more:
                # A batch that was there at once: others have their turn between two of them.
                await asyncio.sleep(0)
            else:
                await self._readable()
        return self._ready.popleft()

    def _refill(self, timeout: float | None) -> bool:
        if not self._ready:
            self._ready.extend(self.take(BATCH, timeout))
        return bool(self._ready)

    async def _readable(self) -> None:
        """Waits until the descriptor is readable. It is looked at anew each time, so nothing is missed."""
        if self._is_awaited:
            raise Busy("another task waits for this engine's events now")
        loop = asyncio.get_running_loop()
        fd = self.fileno()
        ready = loop.create_future()

        def wake() -> None:
            # Called again and again until it is read: once is enough.
            if not ready.done():
                ready.set_result(None)

        self._is_awaited = True
        loop.add_reader(fd, wake)
        try:
            await ready
        finally:
            self._is_awaited = False
            loop.remove_reader(fd)

    def __repr__(self) -> str:
        return f"<fanwire.Events of {self._engine()!r}>"

