"""The client of fanwire servers, which is a package of its own: `pip install fanwire-client`, or `fanwire[client]`.

    from fanwire.client import connect, sync

It is pure Python and needs no engine: a machine that only reads and publishes installs `fanwire-client` alone, and imports
`fanwire_client`.
"""

try:
    from fanwire_client import (
        Account,
        Client,
        ClosedError,
        ConnectError,
        EpochChange,
        FanwireError,
        Gap,
        Item,
        Message,
        RefusedError,
        State,
        Stats,
        Subscription,
        UnauthorizedError,
        UnconfirmedError,
        connect,
        sync,
        to_pandas,
    )
except ModuleNotFoundError as _missing:
    if _missing.name != "fanwire_client":
        raise
    raise ImportError("fanwire.client needs the package fanwire-client: pip install 'fanwire[client]'") from _missing

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
    "sync",
    "to_pandas",
]
