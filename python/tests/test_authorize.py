"""Who comes in: this program decides, in a thread or on an event loop."""

import asyncio
import json

import fanwire
import pytest
from support import PATIENCE, SMALL
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect


def asking(**more):
    return fanwire.Engine(**{**SMALL, "ask_host_within": 5, "ask_host_headers": ["cookie", "x-fate"], **more})


class Door:
    """Decides in a thread of its own, by the header X-Fate."""

    def __init__(self, engine, **grants):
        self.engine, self.grants, self.asked, self.opened = engine, grants, [], []

    def __call__(self):
        for event in self.engine.events:
            if isinstance(event, fanwire.Authorize):
                self.asked.append(event)
                fate = dict(event.headers).get("x-fate", b"allow")
                if fate == b"allow":
                    self.engine.allow(event.connection, **self.grants)
                elif fate != b"nothing":
                    self.engine.refuse(event.connection, int(fate))
            elif isinstance(event, fanwire.Opened):
                self.opened.append(event.connection)


@pytest.fixture
def door(request):
    import threading

    with asking() as engine:
        door = Door(engine, subscribe=["a/**"], publish=["a/me"])
        thread = threading.Thread(target=door)
        thread.start()
        yield door
        engine.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_the_program_is_told_who_asks_and_what_it_grants_holds(door):
    url = door.engine.url
    with connect(url + "/t/a/me?x=1", additional_headers={"Cookie": "s=1", "X-Other": "no"}, compression=None) as client:
        client.send("hello")
        assert client.recv(timeout=PATIENCE) == "hello"
    asked = door.asked[0]
    assert (asked.target, asked.listener, asked.headers) == ("/t/a/me?x=1", 0, [("cookie", b"s=1")])
    assert asked.peer is not None and asked.peer[0] == "127.0.0.1"
    assert door.opened[0] == asked.connection
    with pytest.raises(InvalidStatus) as refused, connect(url + "/t/b"):
        pass
    assert refused.value.response.status_code == 403
    with connect(url + "/t/a/other", compression=None) as client:
        client.send("hello")
        with pytest.raises(ConnectionClosed, match="1008"):
            client.recv(timeout=PATIENCE)


@pytest.mark.parametrize("status", [401, 403, 503])
def test_a_refusal_has_its_status(door, status):
    with pytest.raises(InvalidStatus) as refused, connect(door.engine.url + "/t/a", additional_headers={"X-Fate": str(status)}):
        pass
    assert refused.value.response.status_code == status


def test_a_program_that_says_nothing_is_503_and_a_late_word_does_nothing():
    with asking(ask_host_within=0.05) as engine:
        with pytest.raises(InvalidStatus) as refused, connect(engine.url + "/t/a"):
            pass
        assert refused.value.response.status_code == 503
        (asked,) = engine.events.take(timeout=PATIENCE)
        assert isinstance(asked, fanwire.Authorize)
        engine.allow(asked.connection, subscribe=["a"])
        engine.refuse(asked.connection)
        assert engine.is_running


def test_a_lifetime_ends_with_4401():
    async def run():
        with asking() as engine:

            async def decide():
                async for event in engine.events:
                    if isinstance(event, fanwire.Authorize):
                        engine.allow(event.connection, subscribe=["a"], lifetime=0.05)

            deciding = asyncio.create_task(decide())
            async with connect_async(engine.url + "/t/a", compression=None) as client:
                with pytest.raises(ConnectionClosed) as closed:
                    await asyncio.wait_for(client.recv(), PATIENCE)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 4401
            deciding.cancel()

    asyncio.run(run())


def test_a_client_that_is_in_brings_another_token():
    async def run():
        with asking() as engine:
            brought = []

            async def decide():
                async for event in engine.events:
                    if isinstance(event, fanwire.Authorize):
                        engine.allow(event.connection, subscribe=["a"], subject="u1")
                    elif isinstance(event, fanwire.Reauthorize):
                        brought.append(event.token)
                        engine.allow(event.connection, subscribe=["b"], lifetime=0.05, subject="u1")

            deciding = asyncio.create_task(decide())
            async with connect_async(engine.url, subprotocols=["fanwire.json.v1"], compression=None) as client:

                async def told(kind):
                    while True:
                        said = json.loads(await asyncio.wait_for(client.recv(), PATIENCE))
                        if said["type"] == kind:
                            return said

                await client.send(json.dumps({"type": "subscribe", "topics": ["a"]}))
                await told("subscribed")
                await client.send(json.dumps({"type": "auth", "id": 7, "token": "second"}))
                assert (await told("unsubscribed"))["topic"] == "a"
                authorized = await told("authorized")
                assert authorized["id"] == 7 and 0 <= authorized["expires_in_ms"] <= 50
                with pytest.raises(ConnectionClosed) as closed:
                    await told("nothing more")
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 4401
            assert brought == ["second"]
            deciding.cancel()

    asyncio.run(run())


def test_what_is_no_grant_is_refused_in_words(engine):
    with pytest.raises(fanwire.BadName, match="a\\*"):
        engine.allow(1, subscribe=["a*"])
    with pytest.raises(fanwire.TooMany, match="257 patterns"):
        engine.allow(1, publish=["a"] * 257)
    with pytest.raises(ValueError, match="lifetime"):
        engine.allow(1, lifetime=-1)
    with pytest.raises(ValueError, match="255"):
        engine.allow(1, subject="u" * 256)
    with pytest.raises(ValueError, match="401, 403 or 503"):
        engine.refuse(1, 200)
    with pytest.raises(TypeError):
        engine.allow(1, subscribe="a")
    with pytest.raises(fanwire.ConfigError, match="ask_host_within"):
        fanwire.Engine(**SMALL, ask_host_within=3600)
    with pytest.raises(fanwire.ConfigError, match="at most 16 headers"):
        fanwire.Engine(**SMALL, ask_host_within=1, ask_host_headers=["x"] * 17)
    with pytest.raises(fanwire.ConfigError, match="ask_host_within"):
        fanwire.Engine(**SMALL, ask_host_headers=["cookie"])
    with pytest.raises(fanwire.ConfigError, match="events"):
        fanwire.Engine(**SMALL, ask_host_within=1, events=0)
