"""Messages as a table. Needs the package pandas, which nothing else here does."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from ._types import Item, Message


def to_pandas(items: Iterable[Item]) -> Any:
    """A DataFrame with a row for each message: `time` (UTC, its index), `topic`, `priority`, `seq`, and the payload.

    Of a JSON object each member is a column, of objects within it with their names joined by dots; any other payload
    stands in the column `data`. Gaps and changes of epochs are passed over: a `seq` that jumps shows where something is
    missing.

    Raises ImportError without pandas: pip install 'fanwire-client[pandas]'."""
    pandas: Any = importlib.import_module("pandas")
    messages = [item for item in items if isinstance(item, Message)]
    rows = [
        dict(_columns(message.data)) if isinstance(message.data, dict) else {"data": message.data}
        for message in messages
    ]
    # A payload may have members of these names, too: the message's own go first.
    table = pandas.DataFrame(rows)
    own = {
        "topic": [m.topic for m in messages],
        "priority": [m.priority for m in messages],
        "seq": [m.seq for m in messages],
    }
    table = table.rename(columns={name: f"data.{name}" for name in own})
    for place, (name, values) in enumerate(own.items()):
        table.insert(place, name, values)
    table.index = pandas.to_datetime([m.time_ns for m in messages], unit="ns", utc=True)
    table.index.name = "time"
    return table


def _columns(value: dict[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    for name, member in value.items():
        if isinstance(member, dict) and member:
            yield from _columns(member, f"{before}{name}.")
        else:
            yield f"{before}{name}", member
