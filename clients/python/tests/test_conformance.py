"""Every session of clients/conformance, with chance at both its ends."""

from __future__ import annotations

from typing import Any

import pytest

from runner import Runner, sessions


@pytest.mark.parametrize("chance", [0.001, 0.999])
@pytest.mark.parametrize("session", sessions(), ids=lambda session: session["name"])
def test_session(session: dict[str, Any], chance: float) -> None:
    Runner(session, chance).run(session["steps"])


def test_there_are_sessions() -> None:
    names = [session["name"] for session in sessions()]
    assert len(names) >= 10 and len(set(names)) == len(names)
