"""The small vocabulary: priorities, kinds, settings of topics."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal


class Priority(IntEnum):
    """Importance of a message. A lane each: more important ones are always sent first; within one the order is kept."""

    CRITICAL = 0
    """Never dropped: a subscriber that cannot take it is closed with 1013."""
    HIGH = 1
    """Dropped after normal and low."""
    NORMAL = 2
    """The usual."""
    LOW = 3
    """Dropped first."""


class Kind(IntEnum):
    """What a message is, as its publisher states it."""

    TEXT = 0
    """UTF-8 text."""
    BINARY = 1
    """Any bytes."""
    JSON = 2
    """One JSON value: embedded as it is in what fanwire.json.v1 subscribers get. That it is well-formed is not checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSettings:
    """Settings of the topics whose name matches `pattern`, for `Engine(topics=[...])`; the first one that matches holds.

    `retention` is what a topic keeps for those who come, or come back: `"none"`; `"last_value"`, the last message of each
    priority; or `"last"`, which is the same for who comes, and for who comes back all of the last `messages`, `bytes` and
    `seconds` that are named.

    `policy` is what happens to a subscriber that lags behind by 90 % of `lane_bytes`: `"drop_oldest"` drops the oldest
    messages and tells it so, `"latest"` sends it only the newest (of each key), `"disconnect"` closes it with 1013. Critical
    messages are never dropped: their subscriber is closed with 1013 whatever the policy.

    `lane_bytes` overrides the engine's. `batch_window` is how many seconds a batch of fanwire.batch.v1 may stay open; 0: as
    short as can be; None: 5 ms.

    `deliver_within` is a latency budget in seconds, whole milliseconds up to 1: a subscriber is sent to once in that time, and
    gets all that has come since. Critical messages do not wait.
    """

    pattern: str
    retention: Literal["none", "last_value", "last"] = "last_value"
    messages: int | None = None
    bytes: int | None = None
    seconds: float | None = None
    policy: Literal["drop_oldest", "latest", "disconnect"] = "drop_oldest"
    lane_bytes: int | None = None
    batch_window: float | None = None
    deliver_within: float = 0.0
