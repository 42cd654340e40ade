"""What a session wants done, and what it has to tell: plain values, made by `Session`, carried out by a client."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Union

from ._types import EpochChange, Gap, Message


class Connect(NamedTuple):
    """Make a connection, and say `on_open` or `on_close`/`on_refused`."""

    url: str
    protocols: tuple[str, ...]


class WantToken(NamedTuple):
    """Get a token from the user's function, and say `on_token`."""


class Send(NamedTuple):
    wire: Union[str, bytes]


class Disconnect(NamedTuple):
    """Close the connection; nothing of it is wanted any more."""

    code: int
    reason: str
    is_dead: bool = False
    """Nobody answers there: nothing is worth writing any more."""


Action = Union[Connect, WantToken, Send, Disconnect]


class Opened(NamedTuple):
    protocol: str


class Welcomed(NamedTuple):
    welcome: dict[str, Any]


class Delivery(NamedTuple):
    """A message, gap or change of epoch of a topic, and its size in bytes."""

    item: Union[Message, Gap, EpochChange]
    size: int


class TopicHeard(NamedTuple):
    """A topic's `subscribed` has come."""

    topic: str
    epoch: int


class Answered(NamedTuple):
    """The server has taken a subscription: a topic of it is there, or a pong came behind it."""

    key: int


class Refused(NamedTuple):
    """A request was refused. `key`: the subscription's, or the publish's; None if it was another one."""

    what: str
    """`subscribe`, `unsubscribe`, `publish` or `request`."""
    key: Optional[int]
    code: str
    message: str


class Published(NamedTuple):
    key: int


class Unconfirmed(NamedTuple):
    key: int
    was_sent: bool
    """False: it never went out, for the client ended before."""


class Ponged(NamedTuple):
    key: int
    rtt_s: float


class Unponged(NamedTuple):
    key: int


class Lost(NamedTuple):
    """The connection ended, or none was made; the next attempt is made in `pause_s` seconds."""

    code: Optional[int]
    text: str
    pause_s: float


class Ended(NamedTuple):
    """It is over. `how`: `normal`, `refused` or `unauthorized`."""

    how: str
    code: Optional[int]
    text: str


class Unauthorized(NamedTuple):
    """The new token that was brought is not taken; the old one holds until its end."""

    message: str


Event = Union[
    Opened,
    Welcomed,
    Delivery,
    TopicHeard,
    Answered,
    Refused,
    Published,
    Unconfirmed,
    Ponged,
    Unponged,
    Lost,
    Ended,
    Unauthorized,
]
