"""The client against the program `fanwire serve`."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

import fanwire_client
from fanwire_client import EpochChange, Gap, Message, State
from support import PATIENCE_S, Relay, Server, check, publish_numbers, run, until

PROTOCOLS = ["json", "msgpack", "batch", "batch+lz4"]


def connect(url: str, **options: Any) -> fanwire_client.Client:
    return fanwire_client.connect(url, **{"connect_timeout": PATIENCE_S, **options})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_published_comes_as_it_was(server: Server, protocol: str) -> None:
    payloads: list[tuple[Any, str]] = [
        ({"ax": 0.5, "text": "\u00e4\n"}, "json"),
        (None, "json"),
        ([1, 2**53], "json"),
        ("plain", "text"),
        ("", "text"),
        (b"\x00\x01\xff", "binary"),
        (b"", "binary"),
        ("x" * 5000, "text"),
    ]

    async def test() -> None:
        async with connect(server.url, protocol=protocol) as client:
            async with client.subscribe("rover/*/imu") as subscription:
                await subscription.ready()
                for data, _ in payloads:
                    await client.publish("rover/1/imu", data, priority="high")
                await client.publish("rover/1/imu", "a string", kind="json", priority="high")
                for seq, (data, kind) in enumerate([*payloads, ("a string", "json")], 1):
                    message = await subscription.next(PATIENCE_S)
                    assert isinstance(message, Message)
                    assert (message.topic, message.priority, message.seq) == ("rover/1/imu", "high", seq)
                    assert (message.data, message.kind) == (data, kind)
                    assert message.time_ns > 1_700_000_000 * 10**9 and message.time.year >= 2023
            check(client.stats().accounts)

    run(test())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_breaks_lose_nothing_that_is_kept(server: Server, protocol: str) -> None:
    relay = Relay(server.port)

    async def publish(publisher: fanwire_client.Client, seen: list[int]) -> None:
        for round_ in range(10):
            await publish_numbers(publisher, "log/a", range(round_ * 100, round_ * 100 + 100))
            await until(lambda: len(seen) >= round_ * 100 + 50)
            relay.cut()

    async def test() -> None:
        seen: list[int] = []
        async with relay.running() as url, connect(server.url) as publisher, connect(url, protocol=protocol) as client:
            subscription = client.subscribe("log/**", start="oldest")
            await subscription.ready()
            publishing = asyncio.create_task(publish(publisher, seen))
            while len(seen) < 1000:
                item = await subscription.next(PATIENCE_S)
                assert isinstance(item, Message), item
                seen.append(item.data)
            await publishing
            stats = client.stats()
            assert stats.connections >= 2
        assert seen == list(range(1000))
        (account,) = stats.accounts
        assert (account.published, account.delivered, account.lost, account.left_out) == (1000, 1000, 0, 0)

    run(test())


def test_a_killed_server_is_come_back_to_and_the_unknown_is_said(server: Server) -> None:
    async def test() -> None:
        async with connect(server.url) as client:
            subscription = client.subscribe("a")
            await subscription.ready()
            await client.publish("a", 1)
            first = await subscription.next(PATIENCE_S)
            server.kill()
            server.start()
            await until(lambda: client.stats().connections == 2)
            await client.publish("a", 2)
            change = await subscription.next(PATIENCE_S)
            second = await subscription.next(PATIENCE_S)
            assert isinstance(first, Message) and isinstance(change, EpochChange) and isinstance(second, Message)
            assert (change.before, change.after) == (first.epoch, second.epoch)
            assert (first.data, second.data, second.seq) == (1, 2, 1)
            stats = client.stats()
            assert stats.epoch_changes == 1 and {account.epoch for account in stats.accounts} == {
                first.epoch,
                second.epoch,
            }
            check(stats.accounts)

    run(test())


def test_servers_that_are_killed_under_load_leave_exact_accounts(server: Server) -> None:
    restarts = 5

    async def publish(client: fanwire_client.Client) -> None:
        number = 0
        while True:
            number += 1
            with contextlib.suppress(fanwire_client.UnconfirmedError):
                await client.publish("log/a", number, priority="high" if number % 3 else "low")

    async def restart(client: fanwire_client.Client) -> None:
        for done in range(restarts):
            # The last of the server before may still come after its end.
            await until(lambda: client.stats().epoch_changes == done)  # noqa: B023
            before = client.stats().messages
            await until(lambda: client.stats().messages > before + 50)  # noqa: B023
            server.kill()
            server.start()

    async def test() -> None:
        async with connect(server.url) as publisher, connect(server.url) as client:
            subscription = client.subscribe("log/**", start="oldest")
            await subscription.ready()
            publishing = asyncio.create_task(publish(publisher))
            await restart(client)
            await until(lambda: client.stats().epoch_changes == restarts)
            after = client.stats().messages
            await until(lambda: client.stats().messages > after + 50)
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            items = await subscription.take(10**6)
            stats = client.stats()
        heard = [(item.epoch, item.priority, item.seq) for item in items if isinstance(item, Message)]
        assert len(set(heard)) == len(heard) == stats.messages
        assert stats.epoch_changes == restarts == sum(isinstance(item, EpochChange) for item in items)
        check(stats.accounts)
        for account in stats.accounts:
            lane = [seq for epoch, priority, seq in heard if (epoch, priority) == (account.epoch, account.priority)]
            lost = [
                item
                for item in items
                if isinstance(item, Gap) and (item.epoch, item.priority) == (account.epoch, account.priority)
            ]
            told = [number for gap in lost for number in range(gap.first, gap.last + 1)]
            assert lane == sorted(lane) and sorted(lane + told) == list(range(1, len(lane) + len(told) + 1)), account
            assert (account.delivered, account.lost) == (len(lane), len(told))

    run(test())


def test_a_silent_link_is_found_and_left(server: Server) -> None:
    relay = Relay(server.port)
    states: list[State] = []

    async def test() -> None:
        async with relay.running() as url:
            async with connect(url, ping_every=0.5, silent_after=3.0, on_state=states.append) as client:
                subscription = client.subscribe("a")
                await subscription.ready()
                before = client.stats().connections
                relay.silence()
                await until(lambda: client.stats().connections > before)
                await client.publish("a", 1)
                message = await subscription.next(PATIENCE_S)
                assert isinstance(message, Message) and message.data == 1
        assert any("nothing came" in state.text for state in states), states

    run(test())


def test_a_reader_that_waits_has_the_server_drop_and_is_told_exactly() -> None:
    async def test(server: Server) -> None:
        plain = {"protocol": "json", "compression": False}
        async with connect(server.url, **plain) as publisher, connect(server.url, when_full="wait", **plain) as client:
            subscription = client.subscribe("a", start="oldest", queue_messages_max=10)
            await subscription.ready()
            # Far more than the buffers of both sockets hold, which may grow to 36 MiB.
            for number in range(400):
                await publisher.publish("a", {"n": number, "pad": "x" * 150_000}, confirm=number % 20 == 19)
            items: list[Any] = []
            while not items or not isinstance(items[-1], Message) or items[-1].data["n"] < 399:
                items.append(await subscription.next(PATIENCE_S))
            gaps = [item for item in items if isinstance(item, Gap)]
            assert gaps and {gap.reason for gap in gaps} == {"lag"}, gaps
            heard = {item.seq for item in items if isinstance(item, Message)}
            told = {number for gap in gaps for number in range(gap.first, gap.last + 1)}
            assert not heard & told and heard | told == set(range(1, 401))
            (account,) = client.stats().accounts
            assert (account.published, account.delivered, account.lost) == (400, len(heard), len(told))
            assert subscription.dropped == 0

    with Server("--lane-bytes", "2MiB") as server:
        run(test(server))


def test_a_full_queue_drops_the_least_important_and_tells(server: Server) -> None:
    async def test() -> None:
        async with connect(server.url) as client:
            subscription = client.subscribe("a", queue_messages_max=10)
            await subscription.ready()
            await publish_numbers(client, "a", range(30), priority="low")
            await publish_numbers(client, "a", range(5), priority="critical")
            await until(lambda: client.stats().messages == 35)
            items = await subscription.take()
            (gap,) = (item for item in items if isinstance(item, Gap))
            assert (gap.priority, gap.first, gap.last, gap.missing, gap.reason) == ("low", 1, 25, 25, "local")
            messages = [item for item in items if isinstance(item, Message)]
            assert [m.data for m in messages if m.priority == "low"] == [25, 26, 27, 28, 29]
            assert [m.data for m in messages if m.priority == "critical"] == [0, 1, 2, 3, 4]
            stats = client.stats()
            assert stats.dropped == subscription.dropped == 25
            assert stats.totals() == {"published": 35, "delivered": 10, "lost": 25, "left_out": 0}

    run(test())


def test_critical_messages_wait_for_a_reader_that_is_behind(server: Server) -> None:
    async def test() -> None:
        async with connect(server.url) as publisher, connect(server.url) as client:
            subscription = client.subscribe("a", queue_messages_max=2)
            await subscription.ready()
            await publish_numbers(publisher, "a", range(50), priority="critical")
            seen = [(await subscription.next(PATIENCE_S)) for _ in range(50)]
            assert [message.data for message in seen if isinstance(message, Message)] == list(range(50))

    run(test())


def test_what_a_pace_leaves_out_is_no_gap(server: Server) -> None:
    async def test() -> None:
        async with connect(server.url) as client:
            subscription = client.subscribe("a", max_hz=5, start="oldest")
            await subscription.ready()
            await publish_numbers(client, "a", range(300))
            last = -1
            while last < 299:
                item = await subscription.next(PATIENCE_S)
                assert isinstance(item, Message), item
                last = item.data
            (account,) = client.stats().accounts
            assert account.published == 300 and account.lost == 0 and account.left_out is not None
            assert account.left_out > 0 and account.delivered + account.left_out == 300

    run(test())


def test_a_drained_server_is_left_in_order(server: Server) -> None:
    relay = Relay(server.port)
    states: list[State] = []

    async def test(other: Server) -> None:
        async with relay.running() as url, connect(server.url) as publisher:
            async with connect(url, on_state=states.append) as client:
                subscription = client.subscribe("a")
                await subscription.ready()
                await publish_numbers(publisher, "a", range(100))
                draining = asyncio.get_running_loop().run_in_executor(None, server.drain, "1s")
                relay.port_of_server = other.port
                await until(lambda: client.stats().connections == 2)
                await draining
                await client.publish("a", "on the other")
                items: list[Any] = [await subscription.next(PATIENCE_S) for _ in range(102)]
                assert [item.data for item in items[:100]] == list(range(100))
                assert isinstance(items[100], EpochChange) and items[101].data == "on the other"
        waits = [state for state in states if state.name == "waiting"]
        assert not waits or (waits[0].code, waits[0].pause_s) == (1012, 0.0), states

    with Server() as other:
        run(test(other))


def test_a_publish_that_is_not_allowed_raises() -> None:
    async def test(server: Server) -> None:
        async with connect(server.url) as client:
            with pytest.raises(fanwire_client.RefusedError) as refused:
                await client.publish("a", 1)
            assert refused.value.code == "not_allowed"
            assert await client.ping() > 0

    with Server(publish="nobody") as server:
        run(test(server))


def test_what_was_sent_and_not_confirmed_is_said(server: Server) -> None:
    relay = Relay(server.port)

    async def test() -> None:
        async with relay.running() as url, connect(url, ping_every=0.5, silent_after=3.0) as client:
            relay.silence()
            with pytest.raises(fanwire_client.UnconfirmedError):
                await client.publish("a", 1)
            await client.publish("a", 2)

    run(test())


def test_a_reader_goes_on_where_another_one_stopped(server: Server) -> None:
    async def test() -> None:
        async with connect(server.url) as client:
            async with client.subscribe("a", start="oldest") as first:
                await publish_numbers(client, "a", range(10))
                for _ in range(4):
                    await first.next(PATIENCE_S)
            position = first.position()
        async with connect(server.url) as client:
            second = client.subscribe("a", since=position)
            seen: list[Any] = [await second.next(PATIENCE_S) for _ in range(6)]
            assert [message.data for message in seen] == [4, 5, 6, 7, 8, 9]

    run(test())


def test_callbacks_get_messages_and_gaps_and_may_fail(server: Server) -> None:
    seen: list[Any] = []
    failures: list[Any] = []

    async def on_message(message: Message) -> None:
        seen.append(message.data)
        await asyncio.sleep(0)
        if message.data == 1:
            raise RuntimeError("a user's")

    async def test() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
        async with connect(server.url) as client:
            subscription = client.subscribe("a", on_message=on_message)
            await subscription.ready()
            await publish_numbers(client, "a", range(3))
            await until(lambda: seen == [0, 1, 2])
        assert [str(failure) for failure in failures] == ["a user's"]

    run(test())


def test_what_is_unsubscribed_comes_no_more_and_what_is_not_echoed_never(server: Server) -> None:
    async def test() -> None:
        async with connect(server.url) as client, connect(server.url) as other:
            silent = client.subscribe("a", echo=False)
            ended = client.subscribe("b")
            await silent.ready()
            await ended.ready()
            await ended.close()
            await client.publish("a", "mine")
            await other.publish("b", "late")
            await other.publish("a", "theirs")
            message = await silent.next(PATIENCE_S)
            assert isinstance(message, Message) and message.data == "theirs"
            assert await ended.next(PATIENCE_S) is None

    run(test())


def test_a_refused_subscription_raises_where_it_is_read(server: Server) -> None:
    async def test() -> None:
        async with connect(server.url) as client:
            subscription = client.subscribe("$sys/shards")
            good = client.subscribe("a")
            await good.ready()
            with pytest.raises(fanwire_client.RefusedError) as refused:
                await subscription.ready(PATIENCE_S)
                await subscription.next(PATIENCE_S)
            assert refused.value.code == "not_allowed"

    run(test())
