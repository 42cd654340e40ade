"""A client for fanwire servers: subscriptions that go on after every break, and an exact account of what was lost.

    async with fanwire_client.connect("ws://127.0.0.1:9001/") as client:
        async for message in client.subscribe("rover/*/imu"):
            print(message.topic, message.seq, message.data)

In notebooks and plain scripts: `fanwire_client.sync`.
"""

from ._client import Client, State, connect
from ._errors import (
    ClosedError,
    ConnectError,
    FanwireError,
    RefusedError,
    UnauthorizedError,
    UnconfirmedError,
)
from ._pandas import to_pandas
from ._subscription import Subscription
from ._types import Account, EpochChange, Gap, Item, Message, Stats

__version__ = "0.1.0"

__all__ = [
    "Account",
    "Client",
    "ClosedError",
    "ConnectError",
    "EpochChange",
    "FanwireError",
    "Gap",
    "Item",
    "Message",
    "RefusedError",
    "State",
    "Stats",
    "Subscription",
    "UnauthorizedError",
    "UnconfirmedError",
    "connect",
    "to_pandas",
]
