"""Topic names and patterns (PROTOCOL.md, section 1)."""

from __future__ import annotations

NAME_BYTES_MAX = 255


def is_pattern(name: str) -> bool:
    return "*" in name


def matches(pattern: str, name: str) -> bool:
    """Whether a name or pattern stands for this name: `*` is one level, `**` at the end one or more."""
    if pattern == name:
        return True
    if not is_pattern(pattern) or name.startswith("$"):
        return False
    levels = pattern.split("/")
    names = name.split("/")
    if levels[-1] == "**":
        levels = levels[:-1]
        if len(names) <= len(levels):
            return False
        names = names[: len(levels)]
    return len(levels) == len(names) and all(a in ("*", b) for a, b in zip(levels, names))


def check(name: str, *, is_pattern_allowed: bool) -> str:
    """Gives the name, or raises ValueError with what is wrong with it."""
    if not isinstance(name, str):
        raise TypeError(f"a topic is a str, not {type(name).__name__}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"a topic is UTF-8, which {name!r} cannot be") from None
    if not 1 <= size <= NAME_BYTES_MAX:
        raise ValueError(f"a topic has 1 to {NAME_BYTES_MAX} bytes, not {size}")
    if any(ord(c) < 32 or 127 <= ord(c) < 160 for c in name):
        raise ValueError(f"a topic has no control characters: {name!r}")
    levels = name.split("/")
    if "" in levels:
        raise ValueError(f"no level of a topic is empty: {name!r}")
    if is_pattern(name):
        if not is_pattern_allowed:
            raise ValueError(f"a pattern cannot be published to: {name!r}")
        if name.startswith("$"):
            raise ValueError(f"no wildcard stands in a name that begins with `$`: {name!r}")
        for at, level in enumerate(levels):
            if "*" in level and not (level == "*" or (level == "**" and at == len(levels) - 1)):
                raise ValueError(f"a wildcard is a whole level, `*`, or `**` at the end: {name!r}")
    return name
