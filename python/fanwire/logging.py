"""Log records, broadcast.

    import logging, fanwire, fanwire.logging

    engine = fanwire.Engine()
    logging.getLogger().addHandler(fanwire.logging.Handler(engine))

Each record is published on `logs/LOGGER` (its dots as levels: `logs/app/db` for "app.db") as JSON: `{"time": …, "level": …,
"logger": …, "message": …}`, with `exception` and `stack` where there are any. With a formatter it is published as that one's
text. Emitting never waits: a record that finds the ring full is counted in `dropped`, and so is every other one that was not
published. What UTF-8 cannot say (the surrogates that stand for undecodable bytes of a file's name) is published as `\\udc80`.
"""

import logging
from typing import Any

from . import _json
from ._errors import ForkedError, Stopped, WouldBlock
from ._fanwire import Engine, Topic
from ._types import Kind, Priority

_PLAIN = logging.Formatter()


def _sayable(value: Any) -> Any:
    """The value with every text in it as UTF-8 can say it."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_sayable(key): _sayable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sayable(item) for item in value]
    return value


class Handler(logging.Handler):
    """Publishes every record.

    `topic` is a topic's name; `{logger}` in it stands for the logger's, with `/` for its dots. Errors go to the high lane,
    debug records to the low one, all others to the normal one: whoever cannot take all of them loses the least of them first.
    """

    def __init__(self, engine: Engine, topic: str = "logs/{logger}", level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self.engine = engine
        self.topic = topic
        self.dropped = 0
        """Records that were not published: the ring was full, the engine had stopped, or something was wrong with them."""
        self._topics: dict[str, Topic] = {}

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.formatter is None:
                data: bytes | str = _json.encode(_sayable(self.describe(record)))
                kind = Kind.JSON
            else:
                data, kind = _sayable(self.format(record)), Kind.TEXT
            self._topic_of(record).publish(data, kind=kind, priority=self.priority_of(record))
        except (WouldBlock, Stopped, ForkedError):
            self.dropped += 1
        except RecursionError:
            raise
        except Exception:
            # A topic that cannot be, a message that is too large, arguments that do not fit: shown as every handler shows it.
            self.dropped += 1
            self.handleError(record)

    def describe(self, record: logging.LogRecord) -> dict[str, Any]:
        """The JSON object that a record becomes. Override it to say more, or less."""
        described: dict[str, Any] = {
            "time": record.created,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            described["exception"] = _PLAIN.formatException(record.exc_info)
        if record.stack_info:
            described["stack"] = record.stack_info
        return described

    def priority_of(self, record: logging.LogRecord) -> Priority:
        """The lane that a record goes to."""
        if record.levelno >= logging.ERROR:
            return Priority.HIGH
        if record.levelno <= logging.DEBUG:
            return Priority.LOW
        return Priority.NORMAL

    def _topic_of(self, record: logging.LogRecord) -> Topic:
        topic = self._topics.get(record.name)
        if topic is None:
            name = _sayable(self.topic.replace("{logger}", record.name.replace(".", "/")))
            topic = self._topics[record.name] = self.engine.topic(name)
        return topic

    def __repr__(self) -> str:
        return f"<fanwire.logging.Handler on {self.topic!r} ({logging.getLevelName(self.level)})>"
