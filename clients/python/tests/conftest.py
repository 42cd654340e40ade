"""A test that hangs tells where, and ends the run."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator

import pytest

from support import PATIENCE_S, Server


@pytest.fixture(autouse=True)
def _no_test_hangs() -> Iterator[None]:
    faulthandler.dump_traceback_later(6 * PATIENCE_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server
