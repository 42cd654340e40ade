"""The subscriptions that a user holds, and the requests that ask for them (PROTOCOL.md, 3.1 and 7.5).

Knows names, options and `since`. Must never know connections or time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Optional

from . import _topics
from ._ledger import Ledger

TOPICS_MAX = 1024
"""In one request."""
DELAY_MS_MAX = 1000
REQUEST_BYTES_MAX = 524_288
"""Of a subscribe or unsubscribe."""


class Options(NamedTuple):
    """How a subscription's topics come; the same words as on the wire."""

    max_hz: Optional[float] = None
    is_oldest: bool = False
    has_echo: bool = True
    max_delay_ms: Optional[float] = None


class Request:
    """One call of the user's."""

    def __init__(self, key: int, topics: tuple[str, ...], options: Options, *, is_answered: bool) -> None:
        self.key = key
        self.topics = topics
        self.options = options
        self.is_answered = is_answered
        """Whether a server has taken it once, so that it is gone on with after a break."""
        self.sent_as = -1
        """The `id` of its last request on this connection; -1: none."""
        self.was_sent_oldest = False

    def matches(self, topic: str) -> bool:
        return any(_topics.matches(pattern, topic) for pattern in self.topics)


class Requests:
    def __init__(self) -> None:
        self.by_key: dict[int, Request] = {}

    def __iter__(self) -> Iterator[Request]:
        return iter(list(self.by_key.values()))

    def add(self, key: int, topics: Iterable[str], options: Options, *, is_answered: bool) -> Request:
        """Raises ValueError for what no server would take, and where a topic is subscribed already with other
        options."""
        names = tuple(dict.fromkeys(_topics.check(name, is_pattern_allowed=True) for name in topics))
        if not 1 <= len(names) <= TOPICS_MAX:
            raise ValueError(f"1 to {TOPICS_MAX} topics at once, not {len(names)}")
        if options.max_hz is not None and not 0 < options.max_hz <= 1_000_000:
            raise ValueError(f"max_hz is above 0 and at most 1,000,000, not {options.max_hz}")
        if options.max_delay_ms is not None and not 0 <= options.max_delay_ms <= DELAY_MS_MAX:
            raise ValueError(f"max_delay_ms is from 0 to {DELAY_MS_MAX}, not {options.max_delay_ms}")
        for other in self:
            for name in names:
                if name in other.topics and other.options != options:
                    raise ValueError(f"{name!r} is subscribed already, with other options")
        request = self.by_key[key] = Request(key, names, options, is_answered=is_answered)
        return request

    def remove(self, key: int) -> tuple[str, ...]:
        """Gives the names and patterns that nobody else here is subscribed to."""
        request = self.by_key.pop(key, None)
        if request is None:
            return ()
        held = {name for other in self for name in other.topics}
        return tuple(name for name in request.topics if name not in held)

    def is_wanted(self, topic: str) -> bool:
        return any(request.matches(topic) for request in self)

    def of_topic(self, topic: str, key: Optional[int]) -> Optional[Request]:
        """The request that brought a topic: the one with this key, else the first that matches."""
        if key in self.by_key:
            return self.by_key[key]
        return next((request for request in self if request.matches(topic)), None)


def subscribe_object(request: Request, id: int, ledger: Ledger, named: set[str]) -> dict[str, Any]:
    """What is sent for a request: with where to go on, for its topics that are known and not `named` before.

    What one request has no room for comes from the oldest: it is told twice, and discarded here."""
    options = request.options
    said: dict[str, Any] = {"type": "subscribe", "id": id, "topics": list(request.topics)}
    if options.max_hz is not None:
        said["max_hz"] = options.max_hz
    if options.max_delay_ms is not None:
        said["max_delay_ms"] = options.max_delay_ms
    if not options.has_echo:
        said["echo"] = False
    is_oldest = options.is_oldest or request.is_answered
    if is_oldest:
        said["from"] = "oldest"
    since: dict[str, Any] = {}
    room = REQUEST_BYTES_MAX - len(json.dumps(said)) - len(',"since":{}')
    for name in ledger.topics if request.is_answered else ():
        if name in named or not request.matches(name):
            continue
        entry = ledger.since(name)
        # As JSON with its blanks, which nothing that is sent exceeds.
        room -= len(json.dumps(name)) + len(json.dumps(entry)) + 2
        if room < 0:
            break
        since[name] = entry
        named.add(name)
    if since:
        said["since"] = since
    request.sent_as = id
    request.was_sent_oldest = is_oldest
    return said
