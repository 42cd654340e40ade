"""Tokens, refusals, and servers that are none: against `fanwire serve`, and against others."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from websockets.asyncio.server import serve

import fanwire_client
from fanwire_client import Message, State, UnauthorizedError
from support import PATIENCE_S, Server, binary, run, until

Mint = Callable[..., str]


@contextlib.contextmanager
def guarded() -> Iterator[tuple[Server, Mint]]:
    """A server that wants tokens, and what makes them: the arguments say for how long, and for what."""
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder) / "secret"
        secret.write_text("a-secret-of-the-tests,-long-enough\n")

        def mint(ttl: str, *topics: str) -> str:
            command = [binary(), "token", "mint", "--key", secret, "--sub", "u1", "--expires-in", ttl]
            for topic in topics or ("mine/**",):
                command += ["--subscribe", topic, "--publish", topic]
            made = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
            return made.stdout.strip()

        with Server("--token-keys-file", str(secret)) as server:
            yield server, mint


def test_another_token_is_brought_before_the_first_one_ends() -> None:
    asked: list[int] = []

    async def test(server: Server, mint: Mint) -> None:
        def token() -> str:
            asked.append(1)
            return mint("15s", "mine/**") if len(asked) == 1 else mint("1h", "mine/**", "more/**")

        async with fanwire_client.connect(server.url, token=token, connect_timeout=PATIENCE_S) as client:
            subscription = client.subscribe("mine/a")
            await subscription.ready()
            # Once the second is there, this is allowed.
            with contextlib.suppress(fanwire_client.RefusedError):
                await client.publish("more/a", 0)
                assert len(asked) == 2
            await until(lambda: len(asked) == 2)
            # What only the second one allows.
            while True:
                with contextlib.suppress(fanwire_client.RefusedError):
                    await client.publish("more/a", 1)
                    break
            await client.publish("mine/a", 2)
            message = await subscription.next(PATIENCE_S)
            assert isinstance(message, Message) and message.data == 2
            assert client.stats().connections == 1

    with guarded() as (server, mint):
        run(test(server, mint))


def test_a_token_that_ends_ends_a_client_that_has_no_other() -> None:
    async def test(server: Server, mint: Mint) -> None:
        # Seconds in which to connect: its own, and five by which clocks may differ.
        client = await fanwire_client.connect(server.url, token=mint("6s"), connect_timeout=PATIENCE_S)
        subscription = client.subscribe("mine/a")
        with pytest.raises(UnauthorizedError) as ended:
            await subscription.next(PATIENCE_S)
        assert ended.value.status == 4401 and client.state == "ended"
        with pytest.raises(UnauthorizedError):
            await client.wait_closed()
        with pytest.raises(UnauthorizedError):
            await client.publish("mine/a", 1)
        await client.close()

    with guarded() as (server, mint):
        run(test(server, mint))


def test_a_server_that_does_not_know_the_client_is_an_error_at_once() -> None:
    asked: list[int] = []

    def wrong() -> str:
        asked.append(1)
        return "h.e30.s"

    async def test(server: Server, mint: Mint) -> None:
        for token in (None, "h.e30.s", wrong):
            with pytest.raises(UnauthorizedError, match="401") as refused:
                async with fanwire_client.connect(server.url, token=token, connect_timeout=PATIENCE_S):
                    pass
            assert refused.value.status == 401
        # One more is asked for, for the first may just have ended.
        assert len(asked) == 2

    with guarded() as (server, mint):
        run(test(server, mint))


def test_a_function_for_tokens_that_fails_is_asked_again() -> None:
    calls: list[int] = []

    async def test(server: Server, mint: Mint) -> None:
        def token() -> Any:
            calls.append(1)
            if len(calls) == 1:
                raise OSError("the issuer is away")
            return mint("1h") if len(calls) > 2 else 5

        async with fanwire_client.connect(server.url, token=token, connect_timeout=PATIENCE_S) as client:
            assert client.state == "open" and len(calls) == 3

    with guarded() as (server, mint):
        run(test(server, mint))


def test_nobody_there_is_an_error_in_time() -> None:
    async def test() -> None:
        states: list[State] = []
        with pytest.raises(fanwire_client.ConnectError, match="no connection within"):
            async with fanwire_client.connect("ws://127.0.0.1:1/", connect_timeout=0.5, on_state=states.append):
                pass
        assert states[-1].name == "ended"

    run(test())


@pytest.mark.parametrize("name", [None, "other"])
def test_a_server_of_another_protocol_is_an_error_at_once(name: Optional[str]) -> None:
    async def test() -> None:
        async def stay(socket: Any) -> None:
            await socket.wait_closed()

        async with serve(stay, "127.0.0.1", 0, select_subprotocol=lambda *_: name) as other:  # type: ignore[arg-type]
            port = next(iter(other.sockets)).getsockname()[1]
            with pytest.raises(fanwire_client.ConnectError, match="speaks none of"):
                async with fanwire_client.connect(f"ws://127.0.0.1:{port}/", connect_timeout=PATIENCE_S):
                    pass

    run(test())


def test_a_page_that_is_not_there_is_an_error_at_once(server: Server) -> None:
    async def test() -> None:
        with pytest.raises(fanwire_client.ConnectError, match="404") as refused:
            async with fanwire_client.connect(server.url + "nothing", connect_timeout=PATIENCE_S):
                pass
        assert refused.value.status == 404

    run(test())


def test_what_is_larger_than_the_maximum_ends_the_client(server: Server) -> None:
    async def test() -> None:
        async with fanwire_client.connect(server.url, connect_timeout=PATIENCE_S) as publisher:
            client = await fanwire_client.connect(server.url, message_bytes_max=2000, connect_timeout=PATIENCE_S)
            subscription = client.subscribe("a")
            await subscription.ready()
            await publisher.publish("a", "x" * 1000)
            await publisher.publish("a", "x" * 5000)
            message = await subscription.next(PATIENCE_S)
            assert isinstance(message, Message) and len(message.data) == 1000
            with pytest.raises(fanwire_client.ClosedError, match="2000 bytes") as closed:
                await subscription.next(PATIENCE_S)
            assert closed.value.code == 1009
            await client.close()

    run(test())


def test_closing_writes_what_was_published_and_ends_all_that_waits(server: Server) -> None:
    async def test() -> None:
        async with fanwire_client.connect(server.url, connect_timeout=PATIENCE_S) as other:
            subscription = other.subscribe("a")
            await subscription.ready()
            async with fanwire_client.connect(server.url, connect_timeout=PATIENCE_S) as client:
                reader = asyncio.create_task(client.subscribe("b").next())
                await asyncio.sleep(0)
                for number in range(2000):
                    await client.publish("a", number, confirm=False)
            assert await reader is None
            await until(lambda: other.stats().messages == 2000)
            with pytest.raises(fanwire_client.ClosedError):
                await client.publish("a", 1)
            with pytest.raises(fanwire_client.ClosedError):
                client.subscribe("c")

    run(test())


def test_what_is_given_up_before_it_was_sent_is_not_sent(server: Server) -> None:
    async def test() -> None:
        async with fanwire_client.connect(server.url, connect_timeout=PATIENCE_S) as client:
            subscription = client.subscribe("a/**", start="oldest")
            await subscription.ready()
            server.kill()
            await until(lambda: client.state != "open")
            with pytest.raises(asyncio.TimeoutError):
                await client.publish("a/b", "given up", timeout=0.05)
            waiting = asyncio.create_task(client.publish("a/b", "patient"))
            late = client.subscribe("b/**")
            server.start()
            await waiting
            await late.ready()
            message = await subscription.next(PATIENCE_S)
            assert isinstance(message, Message) and message.data == "patient"

    run(test())


def test_a_client_that_is_not_open_says_so() -> None:
    async def test() -> None:
        client = fanwire_client.connect("ws://127.0.0.1:1/")
        with pytest.raises(RuntimeError, match="not open"):
            client.subscribe("a")
        with pytest.raises(RuntimeError, match="not open"):
            await client.publish("a", 1)

    run(test())


def test_a_callback_for_states_that_fails_harms_nobody(server: Server) -> None:
    failures: list[Any] = []

    def fail(_: State) -> None:
        raise RuntimeError("a user's")

    async def test() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["message"]))
        async with fanwire_client.connect(server.url, on_state=fail, connect_timeout=PATIENCE_S) as client:
            assert await client.ping() > 0
        assert set(failures) == {"on_state failed"}

    run(test())


def test_a_subscription_that_is_ended_and_made_anew_at_once_stays(server: Server) -> None:
    async def test() -> None:
        async with fanwire_client.connect(server.url, connect_timeout=PATIENCE_S) as client:
            first = client.subscribe("a")
            await first.ready()
            await first.close()
            second = client.subscribe("a")
            await second.ready()
            await client.publish("a", 1)
            message = await second.next(PATIENCE_S)
            assert isinstance(message, Message) and message.data == 1

    run(test())
