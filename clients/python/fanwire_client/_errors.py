"""What can go wrong, each with a type of its own below `FanwireError`."""

from __future__ import annotations

from typing import Optional


class FanwireError(Exception):
    """Anything that a client raises on its own."""


class ConnectError(FanwireError):
    """No connection could be made within the time given, or the server refused it for good."""

    def __init__(self, message: str, status: Optional[int] = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status of the refusal, if there was one."""


class UnauthorizedError(ConnectError):
    """The server wants another token: HTTP 401, or close 4401."""


class ClosedError(FanwireError):
    """The connection ended, and trying again would not help (PROTOCOL.md, section 9)."""

    def __init__(self, message: str, code: Optional[int] = None, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class RefusedError(FanwireError):
    """The server refused a request; `code` is one of PROTOCOL.md's, such as `not_allowed`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message


class UnconfirmedError(FanwireError):
    """The connection ended before the server confirmed what was published: it may have been taken, or not."""


class WireError(Exception):
    """Inside: what came cannot be read. It ends the connection, and never reaches a user."""


class QueueFullError(Exception):
    """Inside: too many messages wait to be published. A client waits instead."""
