"""Where a sandbox or an old kernel refuses io_uring: the module is imported, and an engine runs on epoll and says why."""

import errno
import os
import sys
from pathlib import Path

import pytest

from support import clean, run_python

REFUSE = Path(__file__).parents[2] / "server/tests/support/refuse_io_uring.py"
"""Runs a command in which the system calls of io_uring give an error."""
CANNOT_RUN = 77

PROGRAM = """
    import logging, sys, threading
    import fanwire
    from websockets.sync.client import connect
    reason = sys.argv[1]
    small = {"listen": "127.0.0.1:0", "shards": 2, "cpus": [], "pool_bytes": 64 << 20, "connections_max": 100}

    try:
        fanwire.Engine(**small, driver="uring")
    except fanwire.UringUnavailable as error:
        assert reason in str(error) and "fix:" in str(error), error
    else:
        raise SystemError("it started on io_uring")
    assert threading.active_count() == 1

    told = []
    listener = logging.Handler()
    listener.emit = lambda record: told.append(record)
    logging.getLogger("fanwire").addHandler(listener)
    with fanwire.Engine(**small, messages=True) as engine:
        assert engine.driver == "epoll", engine.driver
        assert reason in engine.driver_notice, engine.driver_notice
        with connect(engine.url + "/t/t", compression=None) as client:
            engine.topic("t").publish(b"hello")
            assert client.recv(timeout=60) == b"hello"
        with connect(engine.url + "/") as client:
            client.send("what was said")
            message = next(event for event in engine.events if isinstance(event, fanwire.Message))
            engine.send_to(message.connection, message.data)
            assert client.recv(timeout=60) == "what was said"
    (record,) = told
    assert record.levelno == logging.WARNING and reason in record.getMessage(), record
    print("ok")
"""


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def test_an_engine_runs_on_epoll_where_io_uring_is_refused(number: int):
    result = run_python(PROGRAM, os.strerror(number), through=[sys.executable, str(REFUSE), str(number)])
    if result.returncode == CANNOT_RUN:
        pytest.skip(f"no seccomp filter can be set here: {result.stderr}")
    assert clean(result) == "ok\n"
