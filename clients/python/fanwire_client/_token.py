"""When a token ends, out of the token itself. Nothing is verified here: the server does that."""

from __future__ import annotations

import base64
import json
import math
from typing import Optional


def expires_at_s(token: str) -> Optional[float]:
    """The `exp` of a JSON Web Token (RFC 7519), in seconds since 1970; None where it has none, or is no such token."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        end = claims.get("exp") if isinstance(claims, dict) else None
        return float(end) if isinstance(end, (int, float)) and math.isfinite(end) else None
    except (ValueError, OverflowError):
        return None
