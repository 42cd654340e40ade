"""What waits for a reader, within a maximum: beyond it the oldest message of the least important priority is dropped,
and told.

Knows messages and gaps. Must never know sockets, tasks or locks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Optional

from ._types import PRIORITIES, RANKS, EpochChange, Gap, Item, Message

LOCAL = "local"
"""The reason of gaps that tell what this queue dropped."""


class _Entry(NamedTuple):
    order: int
    size: int
    item: Item


class Queue:
    """First in, first out. `on_dropped` is told of each message that is dropped.

    Critical messages are never dropped: where only they are left, the queue `is_over` its maximum, and who fills it
    waits."""

    def __init__(self, items_max: int, bytes_max: int, on_dropped: Callable[[Message], None]) -> None:
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._on_dropped = on_dropped
        self._order = 0
        self._ranks: tuple[deque[_Entry], ...] = tuple(deque() for _ in PRIORITIES)
        """Messages and gaps by priority."""
        self._epochs: deque[_Entry] = deque()
        self._owed: dict[tuple[str, int, str], Gap] = {}
        """By topic, epoch and priority: what was dropped and has not been told yet."""
        self._count = 0
        self._bytes = 0
        self.dropped = 0
        """Messages."""

    def __len__(self) -> int:
        return self._count + len(self._owed)

    @property
    def is_over(self) -> bool:
        """Beyond the maximum. One item may always wait, however large it is."""
        return self._count > self._items_max or (self._bytes > self._bytes_max and self._count > 1)

    def put(self, item: Item, size: int = 0) -> None:
        """Adds an item of so many bytes, and drops what is too much."""
        self._order += 1
        source = self._epochs if isinstance(item, EpochChange) else self._ranks[RANKS[item.priority]]
        source.append(_Entry(self._order, size, item))
        self._count += 1
        self._bytes += size
        while self.is_over and self._drop():
            pass

    def get(self) -> Optional[Item]:
        """The next item, or None. What was dropped of a lane is told before the lane's next item, or once nothing else
        waits."""
        filled = [source for source in (*self._ranks, self._epochs) if source]
        if not filled:
            return self._owed.pop(next(iter(self._owed))) if self._owed else None
        source = min(filled, key=lambda source: source[0].order)
        owed = self._owed_before(source[0].item) if self._owed else None
        return owed if owed is not None else self._pop(source).item

    def _owed_before(self, item: Item) -> Optional[Gap]:
        if not isinstance(item, EpochChange):
            return self._owed.pop((item.topic, item.epoch, item.priority), None)
        keys = [key for key in self._owed if key[:2] == (item.topic, item.before)]
        return self._owed.pop(keys[0]) if keys else None

    def _pop(self, source: deque[_Entry]) -> _Entry:
        entry = source.popleft()
        self._count -= 1
        self._bytes -= entry.size
        return entry

    def _drop(self) -> bool:
        """Drops the oldest item of the least important priority that is here; False where only critical ones are."""
        for rank in range(len(PRIORITIES) - 1, 0, -1):
            if self._ranks[rank]:
                item = self._pop(self._ranks[rank]).item
                if isinstance(item, Message):
                    self.dropped += 1
                    self._owe(Gap(item.topic, item.priority, item.epoch, item.seq, item.seq, 1, LOCAL))
                    self._on_dropped(item)
                elif isinstance(item, Gap):
                    self._owe(item)
                return True
        return False

    def _owe(self, gap: Gap) -> None:
        """Adds to what the lane's reader has to be told."""
        key = (gap.topic, gap.epoch, gap.priority)
        old = self._owed.get(key)
        if old is not None:
            missing = None if old.missing is None or gap.missing is None else old.missing + gap.missing
            reason = old.reason if old.reason == gap.reason else LOCAL
            gap = old._replace(
                first=min(old.first, gap.first), last=max(old.last, gap.last), missing=missing, reason=reason
            )
        self._owed[key] = gap
