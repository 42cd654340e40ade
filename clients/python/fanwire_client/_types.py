"""What a client gives its user: messages, gaps, accounts. Values only: knows nothing of sockets, frames or queues."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple, Optional, Union

PRIORITIES = ("critical", "high", "normal", "low")
"""From the most important to the least; on the wire of the batch protocol they are 0, 1, 2, 3."""

RANKS: Mapping[str, int] = {name: rank for rank, name in enumerate(PRIORITIES)}

GAP_REASONS = frozenset({"lag", "retention", "epoch", "node_changed"})
"""What a server says (PROTOCOL.md, 3.2). A reason that is not here counts as `lag`."""

Position = Mapping[str, Mapping[str, Any]]
"""Where to go on, by topic: `{"epoch": int, "seq": {priority: int}}`, as `since` of PROTOCOL.md 7.5. It can be kept as
JSON."""

_BEGIN = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Message(NamedTuple):
    """A message of a topic."""

    topic: str
    priority: str
    seq: int
    """Its number in its lane (the messages of one topic and priority). Numbers only grow; they may jump."""
    epoch: int
    """Tells one numbering of the topic from the next; equal or not is all that it says."""
    time_ns: int
    """When it was published, by the server's clock: nanoseconds since 1970, UTC. Exact to 1,000 but in batches."""
    kind: str
    """What `data` is: `json` (the value), `text` (str) or `binary` (bytes)."""
    data: Any

    @property
    def time(self) -> datetime:
        """When it was published, in UTC, to the microsecond."""
        return _BEGIN + timedelta(microseconds=self.time_ns // 1000)


class Gap(NamedTuple):
    """Messages that do not come: the numbers `first` to `last` of a lane, both included."""

    topic: str
    priority: str
    epoch: int
    first: int
    last: int
    missing: Optional[int]
    """How many messages are missing; None: at least one and at most `last - first + 1`, nobody can say any more."""
    reason: str
    """`lag`, `retention`, `epoch`, `node_changed`: the server's. `local`: the queue of this client's reader was
    full."""


class EpochChange(NamedTuple):
    """A topic's numbering began anew. What was published before, and had not come, is unknown."""

    topic: str
    before: int
    after: int


Item = Union[Message, Gap, EpochChange]


class Account(NamedTuple):
    """What became of the messages of one lane in one epoch, up to the last number heard.

    `delivered + lost + left_out == published` where they are numbers. In a lane whose numbers jump by themselves
    (a broker's) `published` and `left_out` are None, for there nobody counts messages by numbers.
    """

    topic: str
    priority: str
    epoch: int
    published: Optional[int]
    delivered: int
    lost: Optional[int]
    """Of these a gap told, those of a full queue included; None once a gap could not say how many."""
    left_out: Optional[int]
    """Passed over because somebody asked for it: `max_hz`, the policy *latest*, times to live, `echo=False`."""


class Stats(NamedTuple):
    """What a client has counted since its start."""

    state: str
    """`connecting`, `open`, `silent`, `waiting` or `ended`."""
    connections: int
    """How many times a connection was made."""
    protocol: Optional[str]
    messages: int
    bytes_received: int
    """Of WebSocket payloads, after decompression; of text messages the characters."""
    discarded: int
    """Messages that had come before: batches may begin with some."""
    ignored: int
    """What is not of this protocol: kinds and types of later versions, and a host's own messages."""
    dropped: int
    """Messages that full queues of subscriptions dropped; gaps with reason `local` tell which."""
    waiting: int
    """Messages, gaps and changes of epochs that wait in queues of subscriptions."""
    topics: int
    untracked: int
    """Topics beyond `topics_max`: their messages come, and are not accounted for."""
    epoch_changes: int
    """How many times a topic's numbering began anew: what its server published before that, unheard, is unknown."""
    rtt_s: Optional[float]
    """The last round trip of a ping, in seconds."""
    accounts: tuple[Account, ...]

    def totals(self) -> dict[str, Optional[int]]:
        """The sums of all accounts. A sum with a part that is None is None."""

        def add(field: str) -> Optional[int]:
            parts = [getattr(account, field) for account in self.accounts]
            return None if None in parts else sum(parts)

        return {field: add(field) for field in ("published", "delivered", "lost", "left_out")}
