"""Which messages of which lane came, are lost or were left out; where to go on (PROTOCOL.md, sections 5.3, 7.5 and 12).

Knows epochs and numbers. Must never know sockets, payloads or subscriptions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Optional

from ._types import RANKS, Account


class Lane:
    """One priority of one epoch of a topic."""

    __slots__ = ("begin", "delivered", "due", "has_holes", "left_out", "lost", "taken")

    def __init__(self, begin: int, taken: Optional[int]) -> None:
        self.begin = begin
        """The number behind which counting begins."""
        self.due = begin
        """Messages up to this one are not due (what `subscribed` says)."""
        self.taken = taken
        """The highest number taken, or told as lost: where to go on. None: nothing has been heard since the
        beginning."""
        self.delivered = 0
        self.lost: Optional[int] = 0
        self.left_out = 0
        self.has_holes = False

    @property
    def last(self) -> int:
        return self.begin if self.taken is None else self.taken

    @property
    def is_empty(self) -> bool:
        return not self.has_holes and self.last == self.begin


class Topic:
    """One epoch of a topic."""

    __slots__ = ("epoch", "lanes")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.lanes: dict[str, Lane] = {}

    def accounts(self, name: str) -> Iterable[Account]:
        for priority, lane in self.lanes.items():
            if lane.is_empty:
                continue
            published = None if lane.has_holes else lane.last - lane.begin
            left_out = None if lane.has_holes else lane.left_out
            yield Account(name, priority, self.epoch, published, lane.delivered, lane.lost, left_out)


class Ledger:
    def __init__(self, topics_max: int) -> None:
        self._topics_max = topics_max
        self.topics: dict[str, Topic] = {}
        self._over: deque[tuple[str, Topic]] = deque(maxlen=topics_max)
        """Numberings that are over, the oldest first: as many as topics."""
        self.untracked = 0
        self.discarded = 0
        self.epoch_changes = 0

    def on_position(self, position: Mapping[str, Any]) -> None:
        """Begins with what another client had, as `checked_position` gives it."""
        for name, place in position.items():
            topic = Topic(place["epoch"])
            for priority, seq in place["seq"].items():
                topic.lanes[priority] = Lane(seq, seq)
            self.topics.setdefault(name, topic)

    def on_subscribed(self, name: str, epoch: int, seq: Mapping[str, int], *, is_oldest: bool) -> Optional[int]:
        """Notes where a topic stands. `is_oldest`: what is older was asked for, so a gap tells what of it is not kept.

        Gives the epoch before this one, where the topic's numbering began anew."""
        topic = self.topics.get(name)
        before = None
        if topic is None:
            if len(self.topics) >= self._topics_max:
                self.untracked += 1
                return None
            topic = self.topics[name] = Topic(epoch)
        elif topic.epoch != epoch:
            before = topic.epoch
            self.epoch_changes += 1
            self._close(name, topic)
            topic = self.topics[name] = Topic(epoch)
            is_oldest = True
        elif topic.lanes:
            # A lane that came to be meanwhile is sent from its first message on.
            is_oldest = True
        for priority, number in seq.items():
            if priority not in RANKS:
                continue
            lane = topic.lanes.get(priority)
            if lane is None:
                topic.lanes[priority] = Lane(number, None if is_oldest else number)
                continue
            lane.due = number
            if lane.taken is None and lane.delivered == 0:
                lane.begin = number
        return before

    def on_message(self, name: str, priority: str, seq: int) -> Optional[int]:
        """Takes a message, and gives its epoch; None where it had come before, or is not due: it is to be discarded. Of
        topics beyond the maximum everything is taken, with epoch 0."""
        topic = self.topics.get(name)
        if topic is None:
            return 0
        lane = topic.lanes.get(priority)
        if lane is None:
            lane = topic.lanes[priority] = Lane(0, None)
        last = lane.last
        if seq <= last or seq <= lane.due:
            self.discarded += 1
            return None
        lane.left_out += seq - last - 1
        lane.delivered += 1
        lane.taken = seq
        return topic.epoch

    def on_gap(
        self, name: str, priority: str, first: int, last: int, *, count: Optional[int], is_counted: bool
    ) -> bool:
        """Notes a gap: whether anything of it is new. `is_counted`: it came with a `count`, so the lane's numbers
        jump."""
        topic = self.topics.get(name)
        if topic is None:
            return True
        lane = topic.lanes.get(priority)
        if lane is None:
            lane = topic.lanes[priority] = Lane(0, None)
        if lane.taken is None:
            # It reaches further back than the place that `subscribed` named: counting begins there.
            lane.begin = min(lane.begin, first - 1)
        before = lane.last
        lane.has_holes = lane.has_holes or is_counted
        if last <= before:
            return False
        begin = max(first, before + 1)
        lane.left_out += begin - before - 1
        missing = count if is_counted and begin == first else last - begin + 1
        lane.lost = None if lane.lost is None or missing is None else lane.lost + missing
        lane.taken = last
        return True

    def on_dropped(self, name: str, epoch: int, priority: str) -> None:
        """A message that was delivered has been dropped before its reader had it."""
        topic = self.topics.get(name)
        if topic is None or topic.epoch != epoch:
            over = (topic for known, topic in reversed(self._over) if known == name and topic.epoch == epoch)
            topic = next(over, None)
        lane = topic.lanes.get(priority) if topic else None
        if lane is not None:
            lane.delivered -= 1
            lane.lost = None if lane.lost is None else lane.lost + 1

    def forget(self, name: str) -> None:
        """Nobody here is subscribed to the topic any more: its account is closed, and it is not gone on with."""
        topic = self.topics.pop(name, None)
        if topic is not None:
            self._close(name, topic)

    def since(self, name: str) -> dict[str, Any]:
        topic = self.topics[name]
        seq = {priority: lane.taken for priority, lane in topic.lanes.items() if lane.taken is not None}
        return {"epoch": topic.epoch, "seq": seq}

    def accounts(self) -> tuple[Account, ...]:
        found = [account for name, topic in self._over for account in topic.accounts(name)]
        found += [account for name, topic in self.topics.items() for account in topic.accounts(name)]
        return tuple(found)

    def _close(self, name: str, topic: Topic) -> None:
        if any(True for _ in topic.accounts(name)):
            self._over.append((name, topic))


def checked_position(position: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A position that somebody kept, with the priorities that there are; ValueError for what is none."""
    found: dict[str, dict[str, Any]] = {}
    try:
        for name, place in position.items():
            seq = {priority: number for priority, number in dict(place["seq"]).items() if priority in RANKS}
            if not all(type(number) is int and number >= 0 for number in (place["epoch"], *seq.values())):
                raise ValueError
            found[str(name)] = {"epoch": place["epoch"], "seq": seq}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(
            "a position is {topic: {'epoch': int, 'seq': {priority: int}}}, as position() gives it"
        ) from None
    return found
