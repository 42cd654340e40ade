"""Dicts and lists as JSON: by orjson, else msgspec, else the standard library, whichever is installed."""

from collections.abc import Callable
from typing import Any


def _choose() -> tuple[str, Callable[[Any], bytes]]:
    try:
        import orjson
    except ImportError:
        pass
    else:
        dumps, option = orjson.dumps, orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
        return "orjson", lambda value: dumps(value, option=option)
    try:
        import msgspec.json
    except ImportError:
        pass
    else:
        return "msgspec", msgspec.json.Encoder().encode
    import json

    # NaN and infinity are no JSON: they raise, where the other two write null.
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return "json", lambda value: encoder.encode(value).encode()


name, encode = _choose()
