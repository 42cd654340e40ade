"""What the tests share."""

import os
import signal
from collections.abc import Iterator

import pytest

import fanwire
from support import PATIENCE, SMALL

# Tests that cannot run on a host skip with a reason; where everything must run, that is a failure.
MUST_RUN = os.environ.get("CI") == "true"

# A shell starts what runs in its background with SIGINT ignored, and children inherit that; the tests interrupt children.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["auto", "epoll"])
def driver(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def engine() -> Iterator[fanwire.Engine]:
    with fanwire.Engine(**SMALL) as engine:
        yield engine


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if MUST_RUN and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"


@pytest.fixture(autouse=True)
def _no_test_hangs() -> Iterator[None]:
    """A test that hangs tells where, and ends the run."""
    import faulthandler

    faulthandler.dump_traceback_later(6 * PATIENCE, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
