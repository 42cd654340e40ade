"""`fanwire.client`: the client package, with an engine in the same process, and without the package."""

import sys

import pytest

import fanwire
import fanwire.client
from fanwire.client import Message, sync
from support import PATIENCE


def test_an_engine_and_its_client_in_one_process(engine: fanwire.Engine) -> None:
    topic = engine.topic("rover/1/imu")
    with sync.connect(engine.url + "/", connect_timeout=PATIENCE) as client:
        subscription = client.subscribe("rover/*/imu")
        subscription.ready()
        topic.publish({"ax": 0.5})
        message = subscription.next(PATIENCE)
        assert isinstance(message, Message) and message.data == {"ax": 0.5}


def test_all_of_the_client_is_here() -> None:
    import fanwire_client

    assert {*fanwire.client.__all__} == {*fanwire_client.__all__, "sync"}


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fanwire_client", None)
    monkeypatch.delitem(sys.modules, "fanwire.client")
    with pytest.raises(ImportError, match=r"pip install 'fanwire\[client\]'"):
        import fanwire.client  # noqa: F401
