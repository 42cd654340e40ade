"""fanwire: publish a message once, every WebSocket subscriber of its topic gets it.

    import fanwire

    with fanwire.Engine(listen="127.0.0.1:9001") as engine:
        imu = engine.topic("rover/1/imu")
        imu.publish({"ax": 0.1})            # a dict or list: JSON; str: text; bytes, numpy, ...: binary

Subscribers connect to ws://127.0.0.1:9001/t/rover/1/imu, or to ws://127.0.0.1:9001/ with the subprotocol
"fanwire.json.v1". Importing this starts nothing. The engine runs on its own threads, which never run Python.

Publishing never waits unless it is told to with `timeout=`: a full ring raises `WouldBlock`, and nothing is dropped silently.
The GIL is released where a call waits, and where it copies more than 16 KiB.

Parts: `fanwire.logging` (a handler that broadcasts log records), `fanwire.asgi` (an engine for the life of a Starlette or
FastAPI application), `fanwire.fastapi` (its routes for metrics and health), `fanwire.client` (what reads from a server, a package of its own),
`python -m fanwire demo`.
"""

from ._errors import (
    BadName,
    Busy,
    ClaimError,
    ConfigError,
    Error,
    ForkedError,
    Gone,
    InternalError,
    ListenError,
    NotUtf8,
    Removed,
    StartError,
    Stopped,
    TooLarge,
    TooMany,
    UringUnavailable,
    WouldBlock,
)
from ._events import (
    Authorize,
    Closed,
    Event,
    Events,
    Evicted,
    Failed,
    Lagging,
    Message,
    Opened,
    Reauthorize,
    Subscribed,
    Unsubscribed,
)
from ._fanwire import Claim, Engine, Pressure, Reconfigured, Stats, Topic, __version__
from ._types import Kind, Priority, TopicSettings

__all__ = [
    "Authorize",
    "BadName",
    "Busy",
    "Claim",
    "ClaimError",
    "Closed",
    "ConfigError",
    "Engine",
    "Error",
    "Event",
    "Events",
    "Evicted",
    "Failed",
    "ForkedError",
    "Gone",
    "InternalError",
    "Kind",
    "Lagging",
    "ListenError",
    "Message",
    "NotUtf8",
    "Opened",
    "Pressure",
    "Priority",
    "Reauthorize",
    "Reconfigured",
    "Removed",
    "StartError",
    "Stats",
    "Stopped",
    "Subscribed",
    "TooLarge",
    "TooMany",
    "Topic",
    "TopicSettings",
    "Unsubscribed",
    "UringUnavailable",
    "WouldBlock",
    "__version__",
]
