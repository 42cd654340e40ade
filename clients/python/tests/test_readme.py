"""README.md names every option, and its programs run."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import threading
from pathlib import Path
from typing import Any

import fanwire_client
from fanwire_client import Message, sync
from support import PATIENCE_S, Server, run, until

README = (Path(__file__).parents[1] / "README.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.S)


def test_every_option_is_in_the_table() -> None:
    section = README.split("## Options")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == set(inspect.signature(fanwire_client.connect).parameters) - {"url"}


def test_every_error_is_in_the_table() -> None:
    section = README.split("## Errors")[1].split("\n## ")[0]
    errors = {name for name in fanwire_client.__all__ if name.endswith("Error")} - {"FanwireError"}
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.M)) == errors


def test_the_first_program_prints_what_comes(server: Server, capsys: Any) -> None:
    program = PROGRAMS[0].replace("ws://127.0.0.1:9001/", server.url).replace("asyncio.run(main())", "")
    names: dict[str, Any] = {}
    exec(compile(program, "README.md", "exec"), names)
    said = ""

    def has_printed() -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return "rover/1/imu" in said

    async def test() -> None:
        reading = asyncio.create_task(names["main"]())
        async with fanwire_client.connect(server.url, connect_timeout=PATIENCE_S) as client:
            await client.publish("rover/1/imu", {"ax": 0.5})
            await until(has_printed)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert "{'ax': 0.5}" in said

    run(test())


def test_the_notebook_program_makes_a_table(server: Server) -> None:
    program = PROGRAMS[1].replace("ws://127.0.0.1:9001/", server.url).replace("seconds=10", "items_max=3")
    names: dict[str, Any] = {}
    is_over = threading.Event()

    def publish() -> None:
        with sync.connect(server.url, connect_timeout=PATIENCE_S) as client:
            while not is_over.wait(0.01):
                with contextlib.suppress(fanwire_client.UnconfirmedError):
                    client.publish("rover/1/imu", {"ax": 0.5})

    publishing = threading.Thread(target=publish)
    publishing.start()
    try:
        exec(compile(program, "README.md", "exec"), names)
    finally:
        is_over.set()
        publishing.join()
    assert len(names["table"]) == 3 and set(names["table"]["ax"]) == {0.5}
    assert all(isinstance(item, Message) for item in names["items"])
