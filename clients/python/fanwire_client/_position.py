"""How far a reader has come, by topic: what `since` of a later subscription takes (PROTOCOL.md, section 7.5)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Optional

from ._types import EpochChange, Gap, Item


class Progress:
    def __init__(self, since: Optional[Mapping[str, Any]] = None) -> None:
        self._places: dict[str, dict[str, Any]] = copy.deepcopy(dict(since or {}))

    def note(self, item: Item) -> None:
        """An item was taken by the reader."""
        if isinstance(item, EpochChange):
            self._places[item.topic] = {"epoch": item.after, "seq": {}}
            return
        place = self._places.get(item.topic)
        if place is None or place["epoch"] != item.epoch:
            place = self._places[item.topic] = {"epoch": item.epoch, "seq": {}}
        last = item.last if isinstance(item, Gap) else item.seq
        if last > place["seq"].get(item.priority, 0):
            place["seq"][item.priority] = last

    def position(self) -> dict[str, Any]:
        return copy.deepcopy(self._places)
