"""Events, in threads and on event loops."""

import asyncio
import threading
import time

import pytest
import uvloop
from websockets.asyncio.client import connect as aconnect
from websockets.sync.client import connect

import fanwire
from support import PATIENCE, SMALL, raw, until

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request):
    """Runs a coroutine on either loop, with its patience."""

    def run(coroutine):
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(asyncio.wait_for(coroutine, PATIENCE))

    return run


@pytest.fixture
def heard():
    with fanwire.Engine(**SMALL, events=4096, messages=True) as engine:
        yield engine


def test_a_connections_life_is_told_in_order(heard):
    heard.topic("a/b")
    with connect(heard.url + "/", compression=None) as client:
        client.send("hello")
        client.send(b"\x00\x01")
        events = heard.events.until_quiet(PATIENCE)
        opened = next(events)
        assert isinstance(opened, fanwire.Opened) and opened.path == "/" and opened.protocol == ""
        assert opened.peer is not None and opened.peer[0] == "127.0.0.1"
        me = opened.connection
        assert [next(events), next(events)] == [fanwire.Message(me, "hello"), fanwire.Message(me, b"\x00\x01")]
        heard.send_to(me, "answer")
        heard.send_to(me, b"x" * 100_000)
        heard.send_to(me, {"a": 1})
        assert [client.recv(timeout=PATIENCE) for _ in range(3)] == ["answer", b"x" * 100_000, '{"a":1}']
        heard.close(me, 4000, "enough")
        with pytest.raises(Exception, match="4000.*enough"):
            client.recv(timeout=PATIENCE)
        assert next(events) == fanwire.Closed(me, 4000)
    with raw(heard, "a/b"):
        kinds = [type(next(events)) for _ in range(2)]
        assert kinds == [fanwire.Opened, fanwire.Subscribed]
    assert heard.events.take(timeout=PATIENCE)


def test_there_is_a_time_out_and_an_end(heard):
    assert heard.events.take() == [] and heard.events.take(timeout=0.01) == []
    assert list(heard.events.until_quiet(0.01)) == []
    heard.topic("t")
    with raw(heard, "t"):
        pass
    heard.shutdown()
    kinds = [type(event).__name__ for event in heard.events]
    assert kinds == ["Opened", "Subscribed", "Unsubscribed", "Closed"]
    assert list(heard.events) == []
    with pytest.raises(fanwire.Stopped):
        heard.events.take()


def test_without_events_there_is_only_the_end(engine):
    assert engine.events.take() == []
    engine.stop()
    assert list(engine.events) == []


def test_the_end_wakes_a_thread_that_waits(heard):
    seen = []
    thread = threading.Thread(target=lambda: seen.append(list(heard.events)), daemon=True)
    thread.start()
    time.sleep(0.05)
    heard.shutdown()
    thread.join(PATIENCE)
    assert seen == [[]]


def test_one_thread_at_a_time_takes_events(heard):
    """Two may call, and each event goes to one of them."""
    clients = 20
    seen, lock = [], threading.Lock()

    def take():
        while True:
            try:
                events = heard.poll_events(3, 0.05)
            except fanwire.Busy:
                continue
            except fanwire.Stopped:
                return
            with lock:
                seen.extend(events)

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(clients):
        with connect(heard.url + "/"):
            pass
    until(lambda: len(seen) == 2 * clients)
    heard.stop()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(set(seen)) == 2 * clients


def test_async_iteration_gives_every_event(heard, run):
    clients, each = 10, 20

    async def host():
        answered = 0
        async for event in heard.events:
            if isinstance(event, fanwire.Message):
                heard.send_to(event.connection, event.data)
                answered += 1
            if answered == clients * each:
                return

    async def client(number):
        async with aconnect(heard.url + "/", compression=None) as socket:
            for n in range(each):
                await socket.send(f"{number}.{n}")
                assert await socket.recv() == f"{number}.{n}"

    async def main():
        await asyncio.gather(host(), *(client(number) for number in range(clients)))

    run(main())


def test_several_engines_share_a_loop_and_end_when_they_stop(run):
    async def follow(engine):
        return [event async for event in engine.events]

    async def visit(engine):
        for _ in range(3):
            async with aconnect(engine.url + "/", compression=None) as socket:
                await socket.send("x")
        while engine.stats().closed < 3:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(engine.shutdown)

    async def main():
        engines = [fanwire.Engine(**SMALL, messages=True) for _ in range(3)]
        results = await asyncio.gather(*(follow(e) for e in engines), *(visit(e) for e in engines))
        for events in results[:3]:
            kinds = [type(event) for event in events]
            assert [kinds.count(kind) for kind in (fanwire.Opened, fanwire.Message, fanwire.Closed)] == [3, 3, 3]

    run(main())


def test_a_cancelled_wait_loses_nothing(heard, run):
    async def main():
        events = heard.events
        seen = []
        sent = 0
        async with aconnect(heard.url + "/", compression=None) as socket:
            while sum(isinstance(event, fanwire.Message) for event in seen) < 200:
                if sent < 200:
                    await socket.send(f"{sent}")
                    sent += 1
                try:
                    # Often cancelled while it waits, sometimes while it takes.
                    seen.append(await asyncio.wait_for(anext(events), 0.0005))
                except asyncio.TimeoutError:
                    pass
        messages = [event.data for event in seen if isinstance(event, fanwire.Message)]
        assert messages == [f"{n}" for n in range(200)]

    run(main())


def test_a_batch_is_taken_at_each_wake(heard, run):
    """What is there is taken before the loop is asked again: the descriptor is looked at for the level, not the edge."""

    async def main():
        async with aconnect(heard.url + "/", compression=None) as socket:
            for n in range(1000):
                await socket.send(f"{n}")
            while heard.stats().received < 1000:
                await asyncio.sleep(0.01)
            readers = 0
            loop = asyncio.get_running_loop()
            add_reader = loop.add_reader

            class Counting:
                def __getattr__(self, name):
                    return getattr(loop, name)

                def add_reader(self, *arguments):
                    nonlocal readers
                    readers += 1
                    return add_reader(*arguments)

            got = 0
            async for event in heard.events:
                got += isinstance(event, fanwire.Message)
                if got == 1000:
                    break
            return readers

    assert run(main()) <= 10


def test_a_second_task_that_waits_is_refused(heard, run):
    async def main():
        first = asyncio.ensure_future(anext(heard.events))
        await asyncio.sleep(0.01)
        with pytest.raises(fanwire.Busy):
            await anext(heard.events)
        async with aconnect(heard.url + "/"):
            assert isinstance(await first, fanwire.Opened)

    run(main())


def test_a_loop_can_be_left_and_another_one_take_over(heard, run):
    with connect(heard.url + "/") as client:
        for n in range(3):
            client.send(f"{n}")

            async def message():
                async for event in heard.events:
                    if isinstance(event, fanwire.Message):
                        return event.data

            assert run(message()) == f"{n}"


def test_codes_and_connections_are_checked(heard):
    for code in (0, 1004, 1005, 1006, 1015, 2000, 5000):
        with pytest.raises(ValueError):
            heard.close(1, code)
    with pytest.raises(fanwire.Gone):
        heard.send_to(2**63, b"x")
    with pytest.raises(OverflowError):
        heard.send_to(-1, b"x")
    with pytest.raises(fanwire.NotUtf8):
        heard.send_to(0, b"\xff", kind="text")
    # One that is gone, or never was on a shard that exists, is no error.
    heard.send_to(12345, b"x")


def test_interrupts_are_heard_while_it_waits():
    import signal

    from support import run_python

    result = run_python(
        """
        import os, signal, threading, time, fanwire
        engine = fanwire.Engine(listen="127.0.0.1:0", shards=1, events=16)
        main = threading.main_thread().ident
        threading.Thread(target=lambda: (time.sleep(0.3), signal.pthread_kill(main, signal.SIGINT)), daemon=True).start()
        try:
            for event in engine.events: pass
        except KeyboardInterrupt:
            print("interrupted")
        engine.shutdown()
        """
    )
    assert (result.stdout, result.returncode, result.stderr) == ("interrupted\n", 0, "")
    assert signal.SIGINT
