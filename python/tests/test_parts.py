"""JSON encoders, the logging handler, the ASGI lifespan, the command."""

import asyncio
import importlib
import json
import logging
import subprocess
import sys
import urllib.request

import pytest

import fanwire
import fanwire.asgi
import fanwire.logging
from fanwire import _json
from support import PATIENCE, SMALL, JsonClient, clean, raw, run_python

VALUES = [{"a": [1, 2.5, None, True, "ü"]}, [], {}, [{"n": {"m": []}}], {1: "int", "2": 3}, "text", 5, None]


@pytest.mark.parametrize("absent", [[], ["orjson"], ["orjson", "msgspec"]], ids=["orjson", "msgspec", "json"])
def test_the_first_encoder_that_is_there_is_taken(absent, monkeypatch):
    wanted = next(name for name in ("orjson", "msgspec", "json") if name not in absent)
    if wanted != "json":
        pytest.importorskip(wanted)
    for name in absent:
        monkeypatch.setitem(sys.modules, name, None)
    name, encode = _json._choose()
    assert name == wanted
    for value in VALUES:
        encoded = encode(value)
        assert json.loads(encoded) == json.loads(json.dumps(value)) and b"\\u" not in encoded and b" " not in encoded
    with pytest.raises((TypeError, ValueError)):
        encode({"a": object()})


def test_what_the_encoder_raises_comes_through(engine):
    with pytest.raises((TypeError, ValueError)):
        engine.topic("t").publish({"a": object()})


def test_log_records_are_broadcast(engine):
    logger = logging.getLogger("app.db")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    handler = fanwire.logging.Handler(engine)
    logger.addHandler(handler)
    try:
        with JsonClient(engine, "logs/**") as client:
            logger.info("hello %s", "world")
            try:
                1 / 0
            except ZeroDivisionError:
                logger.exception("broken")
            logger.debug("small")
            got = {}
            while len(got) < 3:
                message = client.get("message")
                assert message["topic"] == "logs/app/db"
                got[message["priority"]] = message["data"]
            assert got["normal"]["message"] == "hello world" and got["normal"]["logger"] == "app.db"
            assert got["high"]["level"] == "ERROR" and "ZeroDivisionError" in got["high"]["exception"]
            assert got["low"]["message"] == "small"
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        with raw(engine, "logs/app/db") as client:
            logger.warning("as text")
            while client.recv(timeout=PATIENCE) != "WARNING as text":
                pass
        engine.stop()
        logger.error("too late")
        assert handler.dropped == 1
    finally:
        logger.removeHandler(handler)


def test_a_record_that_utf_8_cannot_say_is_published_all_the_same(engine, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    # As os.fsdecode makes it of a file's name that is no UTF-8.
    name = "caf\udce9.txt"
    with raw(engine, r"files/caf\udce9/txt") as client:
        handler = fanwire.logging.Handler(engine, topic="files/{logger}")
        for formatter in (None, logging.Formatter("%(message)s")):
            handler.setFormatter(formatter)
            handler.handle(logging.LogRecord(name, logging.INFO, "", 0, "cannot open %s", (name,), None))
        said = json.loads(client.recv(timeout=PATIENCE))
        assert (said["message"], said["logger"]) == ("cannot open caf\\udce9.txt", "caf\\udce9.txt")
        assert client.recv(timeout=PATIENCE) == "cannot open caf\\udce9.txt"
    assert handler.dropped == 0


def test_every_record_that_is_not_published_is_counted(engine, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler = fanwire.logging.Handler(engine)
    handler.describe = lambda record: {"object": object()}
    handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "fine", (), None))
    assert handler.dropped == 1


def test_a_record_that_cannot_be_published_is_no_error_of_the_program(engine, capsys, monkeypatch):
    handler = fanwire.logging.Handler(engine, topic="a//b")
    record = logging.LogRecord("x", logging.INFO, "", 0, "%d", ("no number",), None)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler.handle(record)
    handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "fine", (), None))
    assert handler.dropped == 2 and capsys.readouterr().err == ""
    assert "a//b" in repr(handler)


def test_an_applications_lifespan_carries_an_engine():
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    order = []

    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def inner(app):
        order.append(app.state.fanwire.is_running)
        yield {"mine": 1}
        order.append(app.state.fanwire.is_running)

    async def publish(request):
        engine = request.state.fanwire
        engine.topic("t").publish(await request.body(), kind="text")
        return JSONResponse({"port": engine.port, "mine": request.state.mine})

    app = Starlette(
        routes=[Route("/publish", publish, methods=["POST"])],
        lifespan=fanwire.asgi.lifespan(inner, deadline=2.0, **SMALL),
    )
    with TestClient(app) as client:
        engine = app.state.fanwire
        with raw(engine, "t") as subscriber:
            answer = client.post("/publish", content="posted")
            assert answer.json() == {"port": engine.port, "mine": 1}
            assert subscriber.recv(timeout=PATIENCE) == "posted"
    assert order == [True, True] and not engine.is_running


def test_a_lifespan_without_starlette_and_with_a_failure_ends_its_engine():
    async def main():
        engines = []
        with pytest.raises(ZeroDivisionError):
            async with fanwire.asgi.lifespan(**SMALL)(object()) as state:
                engines.append(state["fanwire"])
                1 / 0
        return engines[0]

    assert not asyncio.run(main()).is_running


def test_the_command_says_what_it_does():
    command = [sys.executable, "-P", "-m", "fanwire"]
    help = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=PATIENCE)
    assert help.returncode == 0 and "demo" in help.stdout
    help = subprocess.run([*command, "demo", "--help"], capture_output=True, text=True, timeout=PATIENCE)
    assert help.returncode == 0 and "--listen" in help.stdout
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=PATIENCE)
    assert fanwire.__version__ in version.stdout
    wrong = subprocess.run([*command, "demo", "--listen", "nowhere"], capture_output=True, text=True, timeout=PATIENCE)
    assert wrong.returncode == 2 and "Traceback" not in wrong.stderr and "nowhere" in wrong.stderr


def test_the_demo_serves_a_page_and_data_and_ends_on_a_signal():
    import re
    import signal

    command = [sys.executable, "-P", "-u", "-m", "fanwire", "demo", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = []
        while not lines or "http://" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], "it ended"
        page = re.search(r"http://\S+", lines[-1])
        assert page is not None
        with urllib.request.urlopen(page[0], timeout=PATIENCE) as answer:
            text = answer.read().decode()
            assert "text/html" in answer.headers["Content-Type"]
        port = re.search(r'data-port="(\d+)"', text)
        assert port is not None

        class Engine:
            url = f"ws://127.0.0.1:{port[1]}"

        with JsonClient(Engine, "demo/**") as client:
            topics = set()
            while len(topics) < 3:
                message = client.get("message")
                assert isinstance(message["data"], dict)
                topics.add(message["topic"])
            # What a visitor says is heard.
            client.socket.send(json.dumps({"type": "publish", "topic": "demo/chat", "data": {"text": "hi"}}))
            while client.get("message")["topic"] != "demo/chat":
                pass
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, errors) == (0, ""), out
    finally:
        process.kill()
        process.communicate()


def test_parts_are_imported_one_by_one():
    for part in ("fanwire.asgi", "fanwire.logging", "fanwire"):
        clean(run_python(f"import {part}"))
        importlib.import_module(part)
