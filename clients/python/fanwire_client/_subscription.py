"""What a reader holds of one call of `subscribe`: its queue, as an async iterator or through callbacks."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Optional

from ._errors import FanwireError
from ._position import Progress
from ._queue import Queue
from ._types import Gap, Item, Message

if TYPE_CHECKING:
    from ._client import Client

log = logging.getLogger("fanwire_client")

OnMessage = Callable[[Message], Any]
OnGap = Callable[[Gap], Any]


class Subscription:
    """Iterate it for messages; `items()` gives gaps and changes of epochs too, in their places.

    It ends with the client, or with `close`. Where the server refuses it, or the client has ended for good, iterating
    raises that error once everything that had come is taken."""

    def __init__(
        self,
        client: Client,
        key: int,
        topics: tuple[str, ...],
        queue: Queue,
        progress: Progress,
        on_gap: Optional[OnGap],
    ) -> None:
        self.topics = topics
        self._client = client
        self._key = key
        self._queue = queue
        self._progress = progress
        self._on_gap = on_gap
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._is_ready = asyncio.Event()
        self._is_over = False
        self._has_warned = False
        self._error: Optional[FanwireError] = None
        self._calls: Optional[asyncio.Task[None]] = None

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[Message]:
        async for item in self.items():
            if isinstance(item, Message):
                yield item
            else:
                self._pass_over(item)

    async def items(self) -> AsyncIterator[Item]:
        """Messages, gaps and changes of epochs."""
        while (item := await self.next()) is not None:
            yield item

    async def next(self, timeout: Optional[float] = None) -> Optional[Item]:
        """The next item, or None at the end. Raises asyncio.TimeoutError after `timeout` seconds without one."""
        found = await self.take(1, timeout)
        return found[0] if found else None

    async def take(self, items_max: int = 1000, timeout: Optional[float] = None) -> list[Item]:
        """All that waits, up to a number; waits for the first. Empty at the end. Raises asyncio.TimeoutError after
        `timeout` seconds without any."""
        while not self._queue:
            if self._is_over:
                if self._error is not None:
                    raise self._error
                return []
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), timeout)
        found: list[Item] = []
        while len(found) < items_max and (item := self._queue.get()) is not None:
            self._progress.note(item)
            found.append(item)
        self._room.set()
        return found

    async def ready(self, timeout: Optional[float] = None) -> None:
        """Waits until the server has taken the subscription: everything published from then on comes, or is told as a
        gap.

        Raises RefusedError where it is refused, asyncio.TimeoutError after `timeout` seconds."""
        await self._client._until_answered(self, timeout)
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Unsubscribes; what waits can still be taken."""
        self._client._unsubscribe(self)
        calls, self._calls = self._calls, None
        if calls is not None and calls is not asyncio.current_task():
            calls.cancel()
            await asyncio.gather(calls, return_exceptions=True)

    @property
    def waiting(self) -> int:
        """Items that wait to be taken."""
        return len(self._queue)

    @property
    def dropped(self) -> int:
        """Messages that this subscription's full queue has dropped."""
        return self._queue.dropped

    def position(self) -> dict[str, Any]:
        """How far the reader has come, as JSON: `since` of a later subscription goes on from there."""
        return self._progress.position()

    # What the client does with it.

    def _put(self, item: Item, size: int) -> None:
        self._queue.put(item, size)
        self._news.set()

    def _end(self, error: Optional[FanwireError]) -> None:
        if not self._is_over:
            self._is_over = True
            self._error = error
        self._news.set()
        self._room.set()
        self._is_ready.set()

    async def _until_room(self, messages_max: float) -> None:
        while not self._is_over and (self._queue.is_over or len(self._queue) >= messages_max):
            self._room.clear()
            await self._room.wait()

    def _pass_over(self, item: Item) -> None:
        """A reader that iterates messages alone is told of the rest here."""
        if isinstance(item, Gap) and self._on_gap is not None:
            try:
                self._on_gap(item)
            except Exception as error:
                said = f"on_gap of {', '.join(self.topics)} failed"
                self._client._loop.call_exception_handler({"message": said, "exception": error})
        elif not self._has_warned:
            self._has_warned = True
            log.warning("%s: %s; items() and on_gap tell this, and stats() counts it", ", ".join(self.topics), item)

    def _call(self, on_message: OnMessage) -> None:
        self._calls = asyncio.get_running_loop().create_task(self._call_all(on_message))

    async def _call_all(self, on_message: OnMessage) -> None:
        loop = asyncio.get_running_loop()
        try:
            async for message in self:
                try:
                    result = on_message(message)
                    if inspect.isawaitable(result):
                        await result
                except Exception as error:
                    said = f"on_message of {', '.join(self.topics)} failed"
                    loop.call_exception_handler({"message": said, "exception": error})
        except FanwireError as error:
            log.error("%s: %s", ", ".join(self.topics), error)
