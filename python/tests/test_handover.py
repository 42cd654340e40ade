"""An engine that goes on as another one, and other settings while it runs."""

import os
import socket
import threading

import pytest

import fanwire
from support import PATIENCE, SMALL, JsonClient, raw


def test_another_engine_goes_on_with_the_sockets():
    with fanwire.Engine(**SMALL) as old:
        held = old.listening_sockets()
        assert [name for name, _ in held] == ["127.0.0.1:0"] and old.taken_over == []
        with fanwire.Engine(**SMALL | {"shards": 2}, sockets=held) as new:
            assert (new.port, new.taken_over) == (old.port, ["127.0.0.1:0"])
            for _, mine in held:
                mine.close()
            client = JsonClient(old, "t")
            assert old.hand_over(new.taken_over, window=0.001, deadline=PATIENCE)
            assert not old.is_running and old.listening_sockets() == []
            with raw(new, "t") as reader:
                new.topic("t").publish(b"served")
                assert reader.recv(timeout=PATIENCE) == b"served"
            client.stack.close()


def test_publishing_goes_on_while_connections_move():
    with fanwire.Engine(**SMALL) as old:
        topic = old.topic("t")
        with raw(old, "t") as reader:
            moves = threading.Thread(target=lambda: old.hand_over([], window=3600.0, deadline=3601.0))
            moves.start()
            topic.publish(b"first", timeout=PATIENCE)
            while held := old.listening_sockets():
                for _, mine in held:
                    mine.close()
            topic.publish(b"meanwhile", timeout=PATIENCE)
            assert [reader.recv(timeout=PATIENCE) for _ in range(2)] == [b"first", b"meanwhile"]
        # Nobody is left.
        moves.join()
        assert not old.is_running


def test_closes_are_spread_over_a_window():
    engine = fanwire.Engine(**SMALL)
    with raw(engine, "t") as reader:
        ends = threading.Thread(target=lambda: engine.shutdown(PATIENCE, window=0.001))
        ends.start()
        with pytest.raises(Exception, match="1012"):
            reader.recv(timeout=PATIENCE)
        ends.join()


def test_descriptors_of_no_use_are_refused():
    read, write = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as mine:
        try:
            for wrong, error in [(-1, ValueError), (1 << 20, ValueError), (read, fanwire.ConfigError), ("x", AttributeError)]:
                with pytest.raises(error):
                    fanwire.Engine(**SMALL | {"listen": "fd:web"}, sockets=[("web", wrong)])
            port = mine.getsockname()[1]
            for given in (mine, mine.fileno()):
                with fanwire.Engine(**SMALL | {"listen": "fd:web"}, sockets=[("web", given)]) as engine:
                    assert engine.port == port and engine.taken_over == []
        finally:
            os.close(read)
            os.close(write)


def test_settings_change_while_it_runs(engine):
    assert repr(engine.reconfigure({})) == "fanwire.Reconfigured(changed=[], needs_restart=[], certificates=0)"
    told = engine.reconfigure({"limits.close_window": 7.5, "memory.pool_bytes": "80MiB"})
    assert (told.changed, told.needs_restart, told.certificates) == (["limits.close_window"], ["memory.pool_bytes"], 0)
    # What has changed once is what the next one begins with.
    assert engine.reconfigure({"limits.ping_every": 9}).changed == ["limits.ping_every"]
    for wrong in ({"limits.ping_evry": 1}, {"limits.unsent_bytes_max": "1"}):
        with pytest.raises((fanwire.ConfigError, ValueError)):
            engine.reconfigure(wrong)
