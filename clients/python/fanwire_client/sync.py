"""The client for notebooks and plain scripts: it runs on a thread of its own, and calls wait.

    from fanwire_client import sync

    with sync.connect("ws://127.0.0.1:9001/") as client:
        for message in client.subscribe("rover/*/imu"):
            print(message.seq, message.data)

The methods are those of the asyncio client, with the same arguments and errors. `TimeoutError` stands for
`asyncio.TimeoutError`, which is another type before Python 3.11. A client can be used from several threads; a
subscription from one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections import deque
from collections.abc import Coroutine, Iterator
from typing import Any, Optional, TypeVar

from . import _client
from ._client import Client as _Client
from ._position import Progress
from ._subscription import Subscription as _Subscription
from ._types import Item, Message, Stats

T = TypeVar("T")

TAKE_MAX = 1000
"""So many items cross from the client's thread at once."""


def connect(url: str, **options: Any) -> Client:
    """A client that is connected; the options are those of `fanwire_client.connect`. Callbacks run on the client's
    thread."""
    return Client(url, **options)


class Client:
    def __init__(self, url: str, **options: Any) -> None:
        client = _client.connect(url, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fanwire-client", daemon=True)
        self._thread.start()
        self._is_closed = False
        try:
            self._client: _Client = self._run(client._open())
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if not self._is_closed:
            try:
                self._run(self._client.close())
            finally:
                self._stop()

    def subscribe(self, *topics: str, **options: Any) -> Subscription:
        """As `fanwire_client.Client.subscribe`."""

        async def subscribe() -> _Subscription:
            return self._client.subscribe(*topics, **options)

        return Subscription(self, self._run(subscribe()), options.get("since"))

    def publish(self, topic: str, data: Any, **options: Any) -> None:
        """As `fanwire_client.Client.publish`."""
        self._run(self._client.publish(topic, data, **options))

    def ping(self, timeout: Optional[float] = None) -> float:
        return self._run(self._client.ping(timeout))

    def stats(self) -> Stats:
        async def stats() -> Stats:
            return self._client.stats()

        return self._run(stats())

    @property
    def state(self) -> str:
        return self._client.state

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._is_closed:
            work.close()
            raise RuntimeError("the client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except (asyncio.TimeoutError, concurrent.futures.TimeoutError):
            raise TimeoutError("nothing came in time") from None
        except BaseException:
            # KeyboardInterrupt, above all: the work must not go on behind who gave it up.
            future.cancel()
            raise

    def _stop(self) -> None:
        self._is_closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
            self._loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


class Subscription:
    """Iterate it for messages; `items()` gives gaps and changes of epochs too."""

    def __init__(self, client: Client, subscription: _Subscription, since: Any) -> None:
        self._client = client
        self._subscription = subscription
        self._taken: deque[Item] = deque()
        self._progress = Progress(since)

    def __iter__(self) -> Iterator[Message]:
        for item in self.items():
            if isinstance(item, Message):
                yield item
            else:
                self._subscription._pass_over(item)

    def items(self) -> Iterator[Item]:
        while (item := self.next()) is not None:
            yield item

    def next(self, timeout: Optional[float] = None) -> Optional[Item]:
        """The next item; None at the end. Raises TimeoutError after `timeout` seconds without one."""
        if not self._taken:
            if self._client._is_closed:
                return None
            self._taken += self._client._run(self._subscription.take(TAKE_MAX, timeout))
        if not self._taken:
            return None
        item = self._taken.popleft()
        self._progress.note(item)
        return item

    def collect(self, seconds: Optional[float] = None, items_max: Optional[int] = None) -> list[Item]:
        """What comes within a time, or up to a number of items, or to the end."""
        found: list[Item] = []
        end = None if seconds is None else time.monotonic() + seconds
        while items_max is None or len(found) < items_max:
            left = None if end is None else max(0.0, end - time.monotonic())
            try:
                item = self.next(left)
            except TimeoutError:
                break
            if item is None:
                break
            found.append(item)
        return found

    def ready(self, timeout: Optional[float] = None) -> None:
        self._client._run(self._subscription.ready(timeout))

    def close(self) -> None:
        if not self._client._is_closed:
            self._client._run(self._subscription.close())

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def dropped(self) -> int:
        return self._subscription.dropped

    def position(self) -> dict[str, Any]:
        """How far this reader has come: `since` of a later subscription."""
        return self._progress.position()
