"""Import, exit, fork, subinterpreters: an engine never hurts the process that it is in."""

import gc
import os
import subprocess
import sys
import textwrap
import weakref

import pytest

import fanwire
from support import PATIENCE, SMALL, clean, raw, run_python, until

ENGINE = 'fanwire.Engine(listen="127.0.0.1:0", shards=2, pool_bytes=64 << 20, events=100)'


def test_import_starts_nothing_and_takes_nothing_heavy_along():
    out = clean(
        run_python(
            """
            import os, sys, threading, signal
            fds = lambda: len(os.listdir("/proc/self/fd"))
            tasks = lambda: len(os.listdir("/proc/self/task"))
            before = fds(), tasks(), signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, [])
            import fanwire
            after = fds(), tasks(), signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, [])
            assert before == after, (before, after)
            print(*sorted({"numpy", "orjson", "msgspec", "starlette", "logging"} & set(sys.modules)))
            """
        )
    )
    assert out.strip() in ("", "logging")  # asyncio needs it


@pytest.mark.parametrize("ending", ["pass", "sys.exit(0)", "thread()", "events()", "import fanwire._fanwire as f; f._stop_all()"])
def test_the_interpreter_ends_cleanly_with_an_engine_that_runs(ending):
    """… and what was published is delivered."""
    program = f"""
        import sys, threading, time, fanwire
        from websockets.sync.client import connect
        engine = {ENGINE}
        topic = engine.topic("t")
        def thread():
            # A daemon that publishes until the interpreter takes it away.
            def run():
                while True:
                    try: topic.publish(b"x", timeout=None)
                    except fanwire.Stopped: return
            threading.Thread(target=run, daemon=True).start()
            time.sleep(0.1)
        def events():
            threading.Thread(target=lambda: list(engine.events), daemon=True).start()
            time.sleep(0.1)
        topic.publish(b"hello")
        print(engine.port, flush=True)
        input()
        topic.publish(b"bye")
        {ending}
    """
    command = [sys.executable, "-P", "-X", "dev", "-W", "error", "-c", textwrap.dedent(program)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.client import connect

        assert process.stdout is not None
        port = int(process.stdout.readline())
        with connect(f"ws://127.0.0.1:{port}/t/t", compression=None) as client:
            assert client.recv(timeout=PATIENCE) == b"hello"
            out, errors = process.communicate("\n", timeout=PATIENCE)
            got = []
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    got.append(client.recv(timeout=PATIENCE))
            assert got[0] == b"bye"
            # A flood takes longer than an engine gets when nobody has ended it.
            if ending != "thread()":
                assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()
        process.communicate()


def test_daemon_threads_in_the_middle_of_every_call_end_with_the_interpreter():
    program = """
        import threading, time, fanwire
        engine = fanwire.Engine(
            listen="127.0.0.1:0", shards=2, pool_bytes=64 << 20, events=100, message_bytes_max=1 << 20, payload_bytes=2 << 20)
        topic = engine.topic("t")
        def again(call):
            while True:
                try: call()
                except fanwire.Error: pass
        for call in (
            lambda: topic.publish(b"x" * 100, timeout=None),
            lambda: topic.publish(b"x" * 1_000_000, timeout=None),
            lambda: topic.publish_many([b"x" * 1000] * 1000, timeout=None),
            lambda: topic.claim(900_000, timeout=None).commit(),
            lambda: topic.publish_ref(bytes(500_000)),
            lambda: engine.events.take(timeout=0.01),
            lambda: engine.events.take(timeout=None),
            lambda: engine.stats(),
        ):
            threading.Thread(target=again, args=(call,), daemon=True).start()
        time.sleep(0.2)
    """
    for _ in range(3):
        clean(run_python(program))


def test_an_engine_that_is_forgotten_is_stopped_with_a_warning():
    engine = fanwire.Engine(**SMALL)
    topic, address = engine.topic("t"), weakref.ref(engine)
    engine.events
    with pytest.warns(ResourceWarning, match="forgotten"):
        del engine
        gc.collect()
    assert address() is None
    with pytest.raises(fanwire.Stopped):
        topic.publish(b"")


def test_ending_twice_is_ending_once(engine):
    assert engine.shutdown(1.0) is True
    assert engine.shutdown() is True
    engine.stop()
    assert engine.stats().messages == 0 and "stopped" in repr(engine)
    with pytest.raises(ValueError):
        engine.shutdown(-1)


def test_what_cannot_be_delivered_in_time_is_told():
    import socket

    with fanwire.Engine(**SMALL) as engine:
        with socket.create_connection(("127.0.0.1", engine.port)) as client:
            client.sendall(
                b"GET /t/t HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            until(lambda: engine.stats().cursors == 0 and engine.stats().upgraded == 1)
            topic = engine.topic("t")
            for _ in range(64):
                topic.publish(bytes(1 << 20), timeout=PATIENCE)
            assert engine.shutdown(0.2) is False


def test_a_thousand_engines_leave_nothing_behind():
    def held():
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    def life():
        with fanwire.Engine(**{**SMALL, "driver": "epoll"}, events=10) as engine:
            engine.topic("t").publish(b"x")
            engine.events.take()

    life()
    before = held()
    for _ in range(200):
        life()
    assert held() == before


def test_a_forked_child_is_told_so_and_its_end_disturbs_nobody():
    with fanwire.Engine(**SMALL, events=100) as engine:
        topic = engine.topic("t")
        claim = topic.claim(100_000)
        topic.publish_ref(b"x" * 10_000)
        with raw(engine, "t") as client:
            assert client.recv(timeout=PATIENCE) == b"x" * 10_000
            import warnings

            with warnings.catch_warnings():
                # Python 3.12 warns of forks beside threads.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if child == 0:
                status = 1
                try:
                    calls = [
                        lambda: topic.publish(b"child"),
                        lambda: topic.publish_many([b"child"]),
                        lambda: topic.publish_ref(b"child" * 1000),
                        lambda: topic.claim(5),
                        lambda: claim.commit(),
                        lambda: claim.abort(),
                        lambda: memoryview(claim),
                        lambda: len(claim),
                        lambda: engine.topic("u"),
                        lambda: engine.remove_topic("t"),
                        lambda: engine.stats(),
                        lambda: engine.events.take(),
                        lambda: engine.events.fileno(),
                        lambda: engine.send_to(0, b""),
                        lambda: engine.close(0),
                        lambda: engine.shutdown(),
                        lambda: engine.stop(),
                        lambda: engine.reclaim(),
                        lambda: engine.is_running,
                        lambda: engine.url,
                    ]
                    for number, call in enumerate(calls):
                        try:
                            call()
                        except fanwire.ForkedError:
                            continue
                        os.write(2, f"call {number} went through in the child\n".encode())
                        os._exit(2)
                    assert "another process" in repr(engine)
                    # It may have one of its own.
                    with fanwire.Engine(**SMALL) as own:
                        with raw(own, "t") as mine:
                            own.topic("t").publish(b"own")
                            assert mine.recv(timeout=PATIENCE) == b"own"
                    del engine, topic, claim, calls, call
                    gc.collect()
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            topic.publish(b"after")
            assert client.recv(timeout=PATIENCE) == b"after"
        claim.commit()
        assert engine.is_running


def test_a_forked_child_that_exits_the_long_way_disturbs_nobody():
    """atexit, garbage collection and all: in the child, of an engine that is the parent's."""
    out = clean(
        run_python(
            f"""
            import os, sys, warnings, fanwire
            warnings.simplefilter("ignore", DeprecationWarning)
            from websockets.sync.client import connect
            engine = {ENGINE}
            topic = engine.topic("t")
            def arrives(text):
                with connect(engine.url + "/t/t") as client:
                    topic.publish(text)
                    while client.recv(timeout=60) != text: pass
            arrives("before")
            for way in ("exit", "with", "forget"):
                child = os.fork()
                if child == 0:
                    if way == "with":
                        with engine: pass
                    if way == "forget":
                        del engine, topic
                    sys.exit(0)
                assert os.waitpid(child, 0)[1] == 0
                arrives(way)
            engine.shutdown()
            print("ok")
            """
        )
    )
    assert out == "ok\n"


def test_multiprocessing_by_fork_works_beside_an_engine():
    out = clean(
        run_python(
            f"""
            import multiprocessing, warnings, fanwire
            warnings.simplefilter("ignore", DeprecationWarning)
            engine = {ENGINE}
            topic = engine.topic("t")
            def work(n):
                try: topic.publish(b"x")
                except fanwire.ForkedError: return n * n
            with multiprocessing.get_context("fork").Pool(3) as pool:
                assert pool.map(work, range(10)) == [n * n for n in range(10)]
                topic.publish(b"x")
            import subprocess, sys
            assert subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, preexec_fn=lambda: None).returncode == 0
            topic.publish(b"x")
            engine.shutdown()
            print("ok")
            """
        )
    )
    assert out == "ok\n"


def test_subinterpreters_are_refused_by_name():
    result = run_python(
        """
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        import fanwire
        other = interpreters.create()
        program = '''
        try:
            import fanwire
        except ImportError as error:
            assert "subinterpreter" in str(error), error
        else:
            raise SystemError("imported")
        '''
        import textwrap
        failed = interpreters.run_string(other, textwrap.dedent(program))
        assert failed is None, failed
        interpreters.destroy(other)
        with fanwire.Engine(listen="127.0.0.1:0", shards=1) as engine:
            engine.topic("t").publish(b"x")
        print("ok")
        """
    )
    assert clean(result) == "ok\n"


def test_free_threading_is_not_claimed():
    """One build for all: it needs the GIL, and says so (a free-threaded interpreter turns it on, or does not load it)."""
    out = clean(
        run_python(
            """
            import sys, fanwire._fanwire as module
            assert getattr(sys, "_is_gil_enabled", lambda: True)()
            print(module.__file__)
            """
        )
    )
    assert out.strip().endswith(".abi3.so")


def test_objects_say_what_they_are_and_are_not_copied(engine):
    import copy
    import pickle

    topic = engine.topic("t", priority="high", kind="text")
    assert repr(topic) == "<fanwire.Topic \"t\", priority='high', kind='text'>"
    assert f"{engine.port}" in repr(engine) and "bytes" in repr(topic.claim(3)) and "Engine" in repr(engine.events)
    for thing in (engine, topic, topic.claim(1)):
        for way in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                way(thing)
    assert engine.events is engine.events
