"""The asyncio client: carries out what a `Session` wants done, and brings what it tells to who waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import math
import random
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from ssl import SSLContext
from typing import Any, NamedTuple, Optional, Union

from websockets.exceptions import ConnectionClosed

from . import _actions as act
from . import _codec
from ._connection import Connection, Refusal, Transport, close_of
from ._errors import ClosedError, ConnectError, FanwireError, RefusedError, UnauthorizedError, UnconfirmedError
from ._ledger import checked_position
from ._position import Progress
from ._queue import Queue
from ._requests import Options
from ._session import Session, Settings
from ._subscription import OnGap, OnMessage, Subscription
from ._types import Item, Message, Stats

log = logging.getLogger("fanwire_client")

TokenSource = Union[str, Callable[[], Union[str, Awaitable[str]]], None]

YIELD_EVERY = 64
"""So many messages of the socket are taken before other tasks get their turn."""
ALIVE_EVERY_S = 10.0
"""A client that does not read, for its readers are behind and shall not lose anything, says so often that it lives."""
READY_PING_S = 1.0
"""So often who waits for a subscription asks again: connections may come and go meanwhile."""
TOKEN_BYTES_MAX = 8192


class State(NamedTuple):
    """What `on_state` is told."""

    name: str
    """`connecting`, `open`, `waiting` (for the next attempt) or `ended`."""
    text: str
    """Why, for people."""
    code: Optional[int] = None
    """The close code, or the HTTP status, of the last end."""
    pause_s: Optional[float] = None
    """Until the next attempt."""


class Client:
    """What `connect` gives. All its methods belong to the event loop that it was opened on."""

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        token: TokenSource,
        *,
        connect_timeout_s: Optional[float],
        max_hz: Optional[float],
        max_delay_ms: Optional[float],
        queue_messages_max: int,
        queue_bytes_max: int,
        when_full: str,
        on_gap: Optional[OnGap],
        on_state: Optional[Callable[[State], Any]],
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._token_source = token
        self._connect_timeout_s = connect_timeout_s
        self._max_hz = max_hz
        self._max_delay_ms = max_delay_ms
        self._queue_limits = (queue_messages_max, queue_bytes_max)
        self._when_full = _checked(when_full)
        self._on_gap = on_gap
        self._on_state = on_state
        self._session = Session(settings, random.random)
        self._state = State("connecting", "not connected yet")
        self._subscriptions: dict[int, Subscription] = {}
        self._waits: dict[int, float] = {}
        """By subscription: messages that wait at most, where the socket is not read beyond that."""
        self._routes: dict[str, tuple[Subscription, ...]] = {}
        self._answers: dict[int, asyncio.Future[Optional[float]]] = {}
        self._token: Optional[str] = None
        self._connection: Optional[Connection] = None
        self._connecting: Optional[asyncio.Task[None]] = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timer: Optional[asyncio.TimerHandle] = None
        self._is_reading = True
        self._dropped_before = 0
        self._error: Optional[FanwireError] = None
        self._last_refusal = ""

    # Opening and closing.

    async def __aenter__(self) -> Client:
        return await self._open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __await__(self) -> Generator[Any, None, Client]:
        return self._open().__await__()

    async def _open(self) -> Client:
        self._loop = asyncio.get_running_loop()
        self._opened = asyncio.Event()
        self._ended = asyncio.Event()
        self._answered = asyncio.Event()
        self._session.start()
        self._pump()
        try:
            await asyncio.wait_for(self._opened.wait(), self._connect_timeout_s)
        except asyncio.TimeoutError:
            await self.close()
            last = self._last_refusal or "nobody answers"
            raise ConnectError(
                f"{self._settings.url}: no connection within {self._connect_timeout_s} s: {last}"
            ) from None
        except asyncio.CancelledError:
            await self.close()
            raise
        if self._error is not None:
            await self.close()
            raise self._error
        return self

    async def close(self) -> None:
        """Ends the client: what was published is written, readers take what waits for them and then end."""
        self._session.close()
        self._pump()
        for subscription in list(self._subscriptions.values()):
            await subscription.close()
        # Not all that is over has been taken out of the set yet.
        while running := [task for task in self._tasks if not task.done()]:
            await asyncio.wait(running)

    async def wait_closed(self) -> None:
        """Waits until the client has ended; raises the error, if it did not end well."""
        await self._ended.wait()
        if self._error is not None:
            raise self._error

    # What the user asks for.

    def subscribe(
        self,
        *topics: str,
        max_hz: Optional[float] = None,
        max_delay_ms: Optional[float] = None,
        echo: bool = True,
        start: str = "newest",
        since: Optional[Mapping[str, Any]] = None,
        on_message: Optional[OnMessage] = None,
        on_gap: Optional[OnGap] = None,
        queue_messages_max: Optional[int] = None,
        when_full: Optional[str] = None,
    ) -> Subscription:
        """Subscribes to names and patterns.

        `start`: each lane begins with its `newest` message, or the `oldest` that is kept. `since`: where an earlier
        subscription's `position()` was. `max_delay_ms`: messages may wait so long at the server, to come together.
        `on_message`: called, and awaited, with each message, in place of iterating. `echo=False`: what this client
        publishes does not come back.

        Raises ValueError for what is no topic or pattern, or no option of one."""
        if start not in ("newest", "oldest"):
            raise ValueError(f"start is newest or oldest, not {start!r}")
        self._raise_if_ended()
        messages_max = queue_messages_max or self._queue_limits[0]
        waits = _checked(when_full or self._when_full) == "wait"
        options = Options(
            max_hz if max_hz is not None else self._max_hz,
            start == "oldest",
            echo,
            max_delay_ms if max_delay_ms is not None else self._max_delay_ms,
        )
        key = self._session.subscribe(topics, options, since)
        queue = Queue(1 << 60 if waits else messages_max, 1 << 60 if waits else self._queue_limits[1], self._on_dropped)
        subscription = Subscription(
            self, key, topics, queue, Progress(checked_position(since or {})), on_gap or self._on_gap
        )
        self._subscriptions[key] = subscription
        self._waits[key] = messages_max if waits else math.inf
        self._routes.clear()
        self._pump()
        if on_message is not None:
            subscription._call(on_message)
        return subscription

    async def publish(
        self,
        topic: str,
        data: Any,
        *,
        kind: Optional[str] = None,
        priority: str = "normal",
        key: Optional[str] = None,
        ttl_ms: Optional[int] = None,
        confirm: bool = True,
        timeout: Optional[float] = None,
    ) -> None:
        """Publishes one message: bytes as binary, str as text, all else as JSON; `kind="json"` makes a str a JSON
        string.

        Returns once the server has taken it; with `confirm=False` once it is on its way. While there is no connection
        it waits, for at most `timeout` seconds.

        Raises RefusedError where the server does not take it, UnconfirmedError where the connection ended before it
        said so (it may have been taken, and is not sent again), asyncio.TimeoutError, and ValueError or TypeError for
        what cannot be published."""
        await asyncio.wait_for(
            self._publish(topic, data, confirm, {"kind": kind, "priority": priority, "key": key, "ttl_ms": ttl_ms}),
            timeout,
        )

    async def _publish(self, topic: str, data: Any, confirm: bool, fields: dict[str, Any]) -> None:
        while not self._session.has_room:
            self._raise_if_ended()
            self._answered.clear()
            await self._answered.wait()
        self._raise_if_ended()
        key = self._session.publish(topic, data, self._loop.time(), **fields)
        answer = self._await(key) if confirm else None
        self._pump()
        try:
            if self._connection is not None:
                await self._connection.until_room()
            if answer is not None:
                await self._answer(key, answer)
        except asyncio.CancelledError:
            self._session.withdraw(key)
            raise

    async def ping(self, timeout: Optional[float] = None) -> float:
        """Waits until the server has taken everything sent before; gives the round trip in seconds.

        Raises UnconfirmedError where there is no connection, or it ends."""
        self._raise_if_ended()
        key = self._session.ping(self._loop.time())
        if key is None:
            raise UnconfirmedError("there is no connection")
        answer = self._await(key)
        self._pump()
        return await asyncio.wait_for(self._answer(key, answer), timeout) or 0.0

    def stats(self) -> Stats:
        session, ledger = self._session, self._session.ledger
        queues = [subscription._queue for subscription in self._subscriptions.values()]
        return Stats(
            state=self.state,
            connections=session.connections,
            protocol=session.protocol,
            messages=session.messages,
            bytes_received=session.bytes_received,
            discarded=ledger.discarded,
            ignored=session.ignored,
            dropped=self._dropped_before + sum(queue.dropped for queue in queues),
            waiting=sum(len(queue) for queue in queues),
            topics=len(ledger.topics),
            untracked=ledger.untracked,
            epoch_changes=ledger.epoch_changes,
            rtt_s=session.rtt_s,
            accounts=ledger.accounts(),
        )

    @property
    def state(self) -> str:
        """`connecting`, `open`, `silent`, `waiting` or `ended`."""
        return "silent" if self._state.name == "open" and self._session.is_silent else self._state.name

    def position(self) -> dict[str, Any]:
        """How far this client has heard, by topic, as JSON. What a reader has taken: `Subscription.position`."""
        return self._session.position()

    # Carrying out.

    def _pump(self) -> None:
        session = self._session
        while True:
            # What is told may ask for more.
            if (action := session.next_action()) is not None:
                self._do(action)
            elif (event := session.next_event()) is not None:
                self._tell(event)
            else:
                break
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (deadline := session.deadline) is not None:
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _do(self, action: act.Action) -> None:
        if isinstance(action, act.Send):
            if self._connection is not None:
                self._connection.send(action.wire)
        elif isinstance(action, act.Connect):
            self._leave(1000, "")
            self._state_is(State("connecting", f"connecting to {action.url}"))
            self._connecting = self._task(self._run(action))
        elif isinstance(action, act.WantToken):
            self._task(self._get_token())
        else:
            self._leave(action.code, action.reason, is_dead=action.is_dead)

    def _leave(self, code: int, reason: str, *, is_dead: bool = False) -> None:
        """Nothing of the connection there is, or is being made, is wanted any more."""
        connecting, self._connecting = self._connecting, None
        connection, self._connection = self._connection, None
        if connection is not None and is_dead:
            connection.cut()
        elif connection is not None:
            self._task(connection.close(code, reason))
        if connecting is not None and connecting is not asyncio.current_task():
            connecting.cancel()

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        if not self._is_reading:
            self._session.on_heard(now)
        self._session.on_time(now)
        self._pump()

    async def _get_token(self) -> None:
        token: Optional[str] = None
        try:
            assert callable(self._token_source)
            if inspect.iscoroutinefunction(self._token_source):
                found: Any = self._token_source()
            else:
                found = await self._loop.run_in_executor(None, self._token_source)
            token = _checked_token(await found if inspect.isawaitable(found) else found)
        except Exception as error:
            self._last_refusal = f"no token could be had: {error!r}"
            log.warning("%s", self._last_refusal)
        if token is not None:
            self._token = token
        self._session.on_token(token, self._loop.time())
        self._pump()

    async def _run(self, action: act.Connect) -> None:
        """One connection, from its making to its end."""
        session = self._session
        token = self._token if callable(self._token_source) else self._token_source
        try:
            connection = await Connection.open(action.url, action.protocols, self._transport, token)
        except Refusal as refusal:
            self._last_refusal = str(refusal)
            if refusal.is_foreign:
                session.on_open(None, self._loop.time())
            else:
                session.on_refused(refusal.status, refusal.retry_after_s, str(refusal), self._loop.time())
            self._pump()
            return
        except (ValueError, TypeError) as error:
            self._error = ConnectError(f"{action.url}: {error}")
            session.close()
            self._pump()
            return
        self._connecting, self._connection = None, connection
        session.on_open(connection.protocol, self._loop.time())
        self._pump()
        try:
            await self._read(connection)
        except ConnectionClosed as closed:
            if self._connection is connection:
                code, reason = close_of(closed, self._settings.message_bytes_max)
                self._connection = None
                connection.cut()
                session.on_close(code, reason, self._loop.time())
                self._pump()

    async def _read(self, connection: Connection) -> None:
        count = 0
        while self._connection is connection:
            wire = await connection.receive()
            if self._connection is not connection:
                return
            self._session.on_message(wire, self._loop.time())
            self._pump()
            await self._until_room(connection)
            count += 1
            if count % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def _until_room(self, connection: Connection) -> None:
        """Does not read on while a reader is behind that shall not lose anything: the server then does what its policy
        says."""
        for key, subscription in list(self._subscriptions.items()):
            if not subscription._queue.is_over and len(subscription._queue) < self._waits[key]:
                continue
            self._is_reading = False
            alive = self._task(self._say_alive(connection))
            try:
                await subscription._until_room(self._waits[key])
            finally:
                alive.cancel()
                self._is_reading = True
                self._session.on_heard(self._loop.time())

    async def _say_alive(self, connection: Connection) -> None:
        while True:
            await asyncio.sleep(ALIVE_EVERY_S)
            await connection.say_alive()

    # Telling.

    def _tell(self, event: act.Event) -> None:
        if isinstance(event, act.Delivery):
            self._deliver(event.item, event.size)
        elif isinstance(event, (act.Published, act.Ponged)):
            self._settle(event.key, getattr(event, "rtt_s", None), None)
        elif isinstance(event, act.Unconfirmed) and not event.was_sent:
            self._settle(event.key, None, ClosedError("the client ended before this was sent"))
        elif isinstance(event, (act.Unconfirmed, act.Unponged)):
            self._settle(event.key, None, UnconfirmedError("the connection ended before the server confirmed it"))
        elif isinstance(event, act.Answered):
            if event.key in self._subscriptions:
                self._subscriptions[event.key]._is_ready.set()
        elif isinstance(event, act.Refused):
            self._on_refused(event)
        elif isinstance(event, act.Opened):
            self._state_is(State("open", f"connected by {event.protocol}"))
            self._opened.set()
        elif isinstance(event, act.Lost):
            self._last_refusal = event.text
            log.info("%s: %s; again in %.1f s", self._settings.url, event.text, event.pause_s)
            self._state_is(State("waiting", event.text, event.code, event.pause_s))
        elif isinstance(event, act.Unauthorized):
            log.warning("%s: a new token is not taken: %s", self._settings.url, event.message)
        elif isinstance(event, act.Ended):
            self._on_ended(event)

    def _deliver(self, item: Item, size: int) -> None:
        topic = item.topic
        route = self._routes.get(topic)
        if route is None:
            by_key = self._session.requests.by_key
            found = (s for key, s in self._subscriptions.items() if key in by_key and by_key[key].matches(topic))
            if len(self._routes) >= 2 * self._settings.topics_max:
                self._routes.clear()
            route = self._routes[topic] = tuple(found)
        for subscription in route:
            subscription._put(item, size)

    def _on_refused(self, event: act.Refused) -> None:
        error = RefusedError(event.code, event.message)
        if event.what == "publish" and event.key is not None:
            if not self._settle(event.key, None, error):
                log.warning("a publish was refused: %s", error)
        elif event.what == "subscribe" and event.key in self._subscriptions:
            self._routes.clear()
            if event.key in self._session.requests.by_key:
                log.warning("%s", error)
            else:
                self._forget(event.key, error)
        else:
            log.warning("the server refused: %s", error)

    def _on_dropped(self, message: Message) -> None:
        """Of what several subscriptions share, one that has it is enough: then it counts as delivered."""
        if len(self._routes.get(message.topic, ())) < 2:
            self._session.ledger.on_dropped(message.topic, message.epoch, message.priority)

    def _on_ended(self, event: act.Ended) -> None:
        text = f"{self._settings.url}: {event.text}"
        if self._error is None and event.how == "unauthorized":
            self._error = UnauthorizedError(text, event.code)
        elif self._error is None and event.how == "refused":
            is_http = event.code is None or event.code < 1000
            self._error = ConnectError(text, event.code) if is_http else ClosedError(text, event.code, event.text)
        self._state_is(State("ended", event.text, event.code))
        for key in list(self._subscriptions):
            self._forget(key, self._error)
        for key in list(self._answers):
            self._settle(key, None, self._error or UnconfirmedError("the client was closed"))
        self._answered.set()
        self._opened.set()
        self._ended.set()

    def _forget(self, key: int, error: Optional[FanwireError]) -> None:
        subscription = self._subscriptions.pop(key)
        self._waits.pop(key, None)
        self._dropped_before += subscription.dropped
        self._routes.clear()
        subscription._end(error)

    def _unsubscribe(self, subscription: Subscription) -> None:
        if subscription._key in self._subscriptions:
            self._forget(subscription._key, None)
            self._session.unsubscribe(subscription._key)
            self._pump()

    async def _until_answered(self, subscription: Subscription, timeout: Optional[float]) -> None:
        """A pattern may match nothing: a ping behind it tells that it was taken, whenever it goes out."""

        async def wait() -> None:
            while not subscription._is_ready.is_set():
                if self._session.ping(self._loop.time()) is not None:
                    self._pump()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(subscription._is_ready.wait(), READY_PING_S)

        await asyncio.wait_for(wait(), timeout)

    def _state_is(self, state: State) -> None:
        self._state = state
        if self._on_state is None:
            return
        try:
            self._on_state(state)
        except Exception as error:
            self._loop.call_exception_handler({"message": "on_state failed", "exception": error})

    def _raise_if_ended(self) -> None:
        if self._session.state == "idle":
            raise RuntimeError("the client is not open: `async with connect(…) as client`, or `await connect(…)`")
        if self._session.state == "ended":
            raise self._error or ClosedError("the client was closed", 1000)

    # Answers that somebody awaits.

    def _await(self, key: int) -> asyncio.Future[Optional[float]]:
        answer: asyncio.Future[Optional[float]] = self._loop.create_future()
        self._answers[key] = answer
        return answer

    async def _answer(self, key: int, answer: asyncio.Future[Optional[float]]) -> Optional[float]:
        try:
            return await answer
        finally:
            self._answers.pop(key, None)

    def _settle(self, key: int, value: Optional[float], error: Optional[FanwireError]) -> bool:
        self._answered.set()
        answer = self._answers.pop(key, None)
        if answer is None or answer.done():
            return False
        if error is None:
            answer.set_result(value)
        else:
            answer.set_exception(error)
        return True


def _checked(when_full: str) -> str:
    if when_full not in ("drop", "wait"):
        raise ValueError(f"when_full is drop or wait, not {when_full!r}")
    return when_full


def _checked_token(token: Any) -> str:
    is_token = isinstance(token, str) and 1 <= len(token) <= TOKEN_BYTES_MAX and all(32 < ord(c) < 127 for c in token)
    if not is_token:
        raise ValueError("a token is a str of 1 to 8,192 printable ASCII characters without blanks")
    return str(token)


def connect(
    url: str,
    *,
    token: TokenSource = None,
    protocol: str = "auto",
    max_hz: Optional[float] = None,
    max_delay_ms: Optional[float] = None,
    compression: bool = True,
    ssl: Optional[SSLContext] = None,
    headers: Optional[Mapping[str, str]] = None,
    connect_timeout: Optional[float] = 10.0,
    ping_every: float = 10.0,
    silent_after: float = 10.0,
    queue_messages_max: int = 10_000,
    queue_bytes_max: int = 64 << 20,
    when_full: str = "drop",
    message_bytes_max: int = 256 << 20,
    topics_max: int = 100_000,
    publishes_max: int = 10_000,
    on_gap: Optional[OnGap] = None,
    on_state: Optional[Callable[[State], Any]] = None,
    websockets: Optional[Mapping[str, Any]] = None,
) -> Client:
    """A client of the server at `url` (`ws://HOST:PORT/` or `wss://…`), for `async with` or `await`.

    It connects again after every end that is no final one, and goes on where each lane was. All times are in seconds,
    all sizes in bytes. clients/python/README.md has a table of the options.

    Opening raises ConnectError where there is no connection within `connect_timeout` (None: it tries for ever) or the
    server refuses it for good, UnauthorizedError where it wants another token; calling raises ValueError for wrong
    options."""
    scheme = url.split("://", 1)[0]
    if scheme not in ("ws", "wss") or "://" not in url:
        raise ValueError(f"a URL begins with ws:// or wss://: {url!r}")
    for name, value in (
        ("queue_messages_max", queue_messages_max),
        ("queue_bytes_max", queue_bytes_max),
        ("message_bytes_max", message_bytes_max),
        ("topics_max", topics_max),
        ("publishes_max", publishes_max),
    ):
        if value < 1:
            raise ValueError(f"{name} is at least 1, not {value}")
    if ping_every < 0 or silent_after <= 0:
        raise ValueError("ping_every is at least 0 (never), silent_after more than 0")
    if isinstance(token, str):
        _checked_token(token)
    settings = Settings(
        url=url,
        protocols=_codec.offers(protocol),
        has_tokens=callable(token),
        ping_every_s=ping_every,
        silent_s=silent_after,
        topics_max=topics_max,
        publishes_max=publishes_max,
        message_bytes_max=message_bytes_max,
    )
    transport = Transport(ssl, headers or {}, compression, message_bytes_max, connect_timeout or 10.0, websockets or {})
    return Client(
        settings,
        transport,
        token,
        connect_timeout_s=connect_timeout,
        max_hz=max_hz,
        max_delay_ms=max_delay_ms,
        queue_messages_max=queue_messages_max,
        queue_bytes_max=queue_bytes_max,
        when_full=when_full,
        on_gap=on_gap,
        on_state=on_state,
    )
