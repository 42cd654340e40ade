"""Claims and references: memory that is shared with the engine."""

import gc
import sys
import threading

import numpy as np
import pytest

import fanwire
from support import PATIENCE, SMALL, raw, until


def test_a_claim_is_written_in_place_and_published(engine):
    topic = engine.topic("t")
    with raw(engine, "t") as client:
        with topic.claim(5) as view:
            assert view.readonly is False and view.nbytes == 5 and bytes(view) == bytes(5)
            view[:] = b"hello"
        assert client.recv(timeout=PATIENCE) == b"hello"
        # Without `with`, shortened, as text, through numpy.
        claim = topic.claim(1 << 20, kind="text", priority="high")
        array = np.frombuffer(claim, np.uint8)
        array[:3] = ord("a")
        del array
        assert claim.commit(3) > 0
        assert client.recv(timeout=PATIENCE) == "aaa"
        with topic.claim(0) as view:
            assert len(view) == 0
        assert client.recv(timeout=PATIENCE) == b""


def test_a_view_in_use_keeps_a_claim_from_being_published(engine):
    topic = engine.topic("t")
    claim = topic.claim(4)
    with pytest.raises(BufferError, match="in use"):
        with claim as view:
            array = np.frombuffer(view, np.uint8)
    for call in (claim.commit, lambda: claim.truncate(1), lambda: claim.grow(9)):
        with pytest.raises(BufferError):
            call()
    array[:] = ord("x")
    del array, view
    with raw(engine, "t") as client:
        claim.commit()
        assert client.recv(timeout=PATIENCE) == b"xxxx"


def test_an_exception_gives_a_claim_back(engine):
    topic = engine.topic("t")
    empty = engine.stats().payload_bytes
    with pytest.raises(ZeroDivisionError):
        with topic.claim(1 << 20) as view:
            assert engine.stats().payload_bytes > empty
            1 / 0
    del view
    gc.collect()
    assert engine.stats().payload_bytes == empty and engine.stats().messages == 0


def test_an_aborted_claims_memory_lives_as_long_as_its_views(engine):
    topic = engine.topic("t")
    empty = engine.stats().payload_bytes
    claim = topic.claim(1 << 20)
    array = np.frombuffer(claim, np.uint8)
    claim.abort()
    array[:] = 7
    assert engine.stats().payload_bytes > empty
    with pytest.raises(BufferError):
        memoryview(claim)
    assert len(claim) == 0 and "given back" in repr(claim)
    del array
    assert engine.stats().payload_bytes == empty
    # Forgotten ones go too.
    topic.claim(1 << 20)
    assert engine.stats().payload_bytes == empty


def test_a_claim_is_used_once(engine):
    topic = engine.topic("t")
    claim = topic.claim(3)
    claim.grow(8)
    assert len(claim) == 8
    claim.truncate(2)
    assert len(claim) == 2
    with pytest.raises(ValueError, match="more than"):
        claim.commit(9)
    claim.commit()
    for call in (claim.commit, claim.abort, lambda: claim.grow(1), lambda: claim.truncate(1)):
        with pytest.raises(fanwire.ClaimError, match="committed"):
            call()
    # What the block does itself is not done again at its end.
    with topic.claim(2) as view:
        pass
    with (claim := topic.claim(2)) as view:
        view.release()
        claim.abort()
    with pytest.raises(fanwire.ClaimError, match="given back"):
        claim.commit()
    until(lambda: engine.stats().messages == 2)


def test_text_in_a_claim_is_checked_when_it_is_committed(engine):
    claim = engine.topic("t").claim(3, kind="text")
    memoryview(claim)[:] = b"\xff\xff\xff"
    for _ in range(2):
        with pytest.raises(fanwire.NotUtf8):
            claim.commit()
    claim.abort()


def test_a_claim_can_be_committed_from_many_threads_but_only_one_does(engine):
    topic = engine.topic("t")
    for _ in range(50):
        claim, outcomes = topic.claim(100_000, kind="text"), []

        def commit(claim=claim, outcomes=outcomes):
            try:
                outcomes.append(claim.commit())
            except fanwire.ClaimError:
                outcomes.append(None)

        threads = [threading.Thread(target=commit) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert sum(outcome is not None for outcome in outcomes) == 1 and len(outcomes) == 4
    assert until(lambda: engine.stats().messages == 50)


def test_references_are_not_copied_and_given_back():
    settings = [fanwire.TopicSettings(pattern="**", lane_bytes=64 << 10)]
    with fanwire.Engine(**SMALL, topics=settings) as engine:
        topic = engine.topic("t")
        with raw(engine, "t") as client:
            frame = bytes(range(256)) * 400
            held = sys.getrefcount(frame)
            topic.publish_ref(frame)
            assert sys.getrefcount(frame) == held + 1
            assert client.recv(timeout=PATIENCE) == frame
            # Newer ones push it out of the topic's log.
            for _ in range(4):
                topic.publish(bytes(40_000))
                client.recv(timeout=PATIENCE)

            def is_back():
                engine.reclaim()
                return sys.getrefcount(frame) == held

            assert until(is_back)


def test_references_come_back_when_the_engine_ends():
    frame = np.arange(100_000, dtype=np.uint8)
    frame.flags.writeable = False
    base = sys.getrefcount(frame)
    with fanwire.Engine(**SMALL) as engine:
        topic = engine.topic("t")
        for _ in range(3):
            topic.publish_ref(frame, priority="high")
        topic.publish_ref(memoryview(frame)[:50_000])
        topic.publish_ref(b"short")
        assert sys.getrefcount(frame) > base
    assert sys.getrefcount(frame) == base


def test_references_wake_the_descriptor_when_they_can_come_back():
    import select

    settings = [fanwire.TopicSettings(pattern="**", lane_bytes=64 << 10)]
    with fanwire.Engine(**SMALL, topics=settings) as engine:
        topic = engine.topic("t")
        frame = bytes(100_000)
        held = sys.getrefcount(frame)
        topic.publish_ref(frame)
        for _ in range(4):
            topic.publish(bytes(40_000), timeout=PATIENCE)
        assert select.select([engine.events], [], [], PATIENCE)[0]
        until(lambda: engine.events.take() == [] and sys.getrefcount(frame) == held)


def test_what_may_change_is_not_taken_by_reference(engine):
    for changing in (bytearray(2000), np.zeros(2000, np.uint8), memoryview(bytearray(2000))):
        with pytest.raises(BufferError, match="read-only"):
            engine.topic("t").publish_ref(changing)
    with pytest.raises(TypeError):
        engine.topic("t").publish_ref("text")
