"""The examples do what they say."""

import importlib.util
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support import PATIENCE
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def sessions(monkeypatch):
    """The application of `sessions.py`, whose engine listens on a port of its own."""
    import fanwire.asgi

    started = fanwire.asgi.lifespan

    def anywhere(inner, **settings):
        return started(inner, **{**settings, "listen": "127.0.0.1:0", "shards": 1, "cpus": []})

    monkeypatch.setattr(fanwire.asgi, "lifespan", anywhere)
    spec = importlib.util.spec_from_file_location("sessions", EXAMPLES / "sessions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_who_has_logged_in_may_connect_and_who_logs_out_is_closed(sessions):
    with TestClient(sessions.app) as client:
        url = sessions.app.state.fanwire.url

        def enter(cookie, topic="news/today", origin=None):
            headers = {} if cookie is None else {"Cookie": f"other=1; session={cookie}"}
            return connect(f"{url}/t/{topic}", additional_headers=headers, origin=origin, compression=None)

        for cookie in (None, "forged"):
            with pytest.raises(InvalidStatus) as refused, enter(cookie):
                pass
            assert refused.value.response.status_code == 401
        assert client.post("/login", params={"user": "ann"}).json() == "welcome"
        cookie = client.cookies["session"]
        # What others have, and a page of another origin that sends the cookie along.
        for topic, origin in (("inbox/bob", None), ("news/today", "https://evil.example")):
            with pytest.raises(InvalidStatus) as refused, enter(cookie, topic, origin):
                pass
            assert refused.value.response.status_code == 403
        with enter(cookie, origin=sessions.ORIGINS[0]) as news, enter(cookie, "inbox/ann") as inbox:
            sessions.app.state.fanwire.topic("inbox/ann").publish("hello", kind="text")
            assert inbox.recv(timeout=PATIENCE) == "hello"
            assert client.post("/logout").json() == "bye"
            for socket in (news, inbox):
                with pytest.raises(ConnectionClosed) as closed:
                    socket.recv(timeout=PATIENCE)
                assert closed.value.rcvd.code == 4401
        with pytest.raises(InvalidStatus) as refused, enter(cookie):
            pass
        assert refused.value.response.status_code == 401
