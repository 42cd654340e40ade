"""What follows the end of a connection (PROTOCOL.md, section 9). Knows close codes and HTTP statuses; knows no
clock."""

from __future__ import annotations

from typing import NamedTuple, Optional

PAUSE_FIRST_S = 0.5
"""The longest pause before the first further attempt."""
PAUSE_MAX_S = 30.0
"""The longest pause of all."""
RESTART_PAUSE_S = 1.0
"""After 1012, which says: come back."""

HOPELESS = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
"""The client is wrong, or not allowed: the same again ends the same."""

AGAIN_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP refusals that may be over the next time."""

_TEXTS = {
    1000: "the server has ended the connection",
    1001: "the server shuts down",
    1002: "the server could not read what this client sent",
    1003: "the server does not take such messages",
    1007: "the server could not read what this client sent",
    1008: "the server does not allow what this client did",
    1009: "a message was too large for the server",
    1011: "the server got no answer to a ping",
    1012: "the server restarts",
    1013: "this client reads too slowly, or the server has no room for it",
    4401: "the permission that this client came in with has ended",
}


class Next(NamedTuple):
    """What is done: `retry` after `pause_s` seconds, `normal` (the end was meant), `refused` or `unauthorized`."""

    what: str
    pause_s: float = 0.0


def pause(attempt: int, chance: float) -> float:
    """Seconds before attempt `attempt` (from 0 on); full jitter: anything from 0 to a bound that doubles."""
    return float(min(PAUSE_MAX_S, PAUSE_FIRST_S * 2.0 ** min(attempt, 16)) * chance)


def after_close(code: Optional[int], attempt: int, chance: float, *, is_announced: bool, has_tokens: bool) -> Next:
    """After a close. `code` is None, 1005 or 1006 where no close frame with one came; `attempt` counts the attempts
    that have failed since something last came; `is_announced`: the server said that it would close (`migrate`);
    `has_tokens`: another token can be had; `chance` is from 0 to 1."""
    if code == 1000:
        return Next("normal")
    if code in HOPELESS:
        return Next("refused")
    if code == 4401:
        if not has_tokens:
            return Next("unauthorized")
        return Next("retry", 0.0 if attempt == 0 else pause(attempt, chance))
    if attempt == 0 and is_announced:
        return Next("retry", 0.0)
    if attempt == 0 and code == 1012:
        return Next("retry", RESTART_PAUSE_S)
    return Next("retry", pause(attempt, chance))


def after_refusal(
    status: Optional[int], retry_after_s: Optional[float], attempt: int, chance: float, *, fresh_tokens: int
) -> Next:
    """After an attempt that made no connection. `status` is None where there was no answer at all. `fresh_tokens`: how
    many tokens may still be tried after a 401. A server's Retry-After is kept to, and chance goes on top of it."""
    if status is None or status in AGAIN_STATUSES:
        return Next("retry", max(0.0, min(retry_after_s or 0.0, 600.0)) + pause(attempt, chance))
    if status == 401:
        return Next("retry", pause(attempt, chance)) if fresh_tokens > 0 else Next("unauthorized")
    return Next("refused")


def text_of(code: Optional[int], reason: str) -> str:
    """An end in words. A peer's own text is only shown: a short line of characters that a terminal can take."""
    if code in _TEXTS:
        text = _TEXTS[code]
    elif code is not None and code >= 3000:
        text = f"the server has ended the connection ({code})"
    else:
        text = "the connection broke"
    said = "".join(c if c.isprintable() else " " for c in reason)[:123]
    return f"{text}: {said}" if said else text
