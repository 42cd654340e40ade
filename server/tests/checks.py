"""What scripts share that start the program beside other people's."""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable

PATIENCE_S = 60.0


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def until(holds: Callable[[], bool], what: str) -> None:
    """Waits for a condition."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.02)


def run_all(tests: list[Callable[[], None]]) -> int:
    """Runs them one after the other and ends with `N passed, N failed`. What the process is to exit with."""
    failed = 0
    for test in tests:
        try:
            test()
            print(f"{test.__name__}: ok")
        except Exception:
            failed += 1
            traceback.print_exc()
            print(f"{test.__name__}: FAILED")
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0
