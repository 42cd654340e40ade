"""Runs sessions of the conformance suite (clients/conformance) on a `Session`: no socket, no clock, chance as it is
told."""

from __future__ import annotations

import base64
import json
import struct
from collections import deque
from pathlib import Path
from typing import Any

import msgpack

from fanwire_client import _actions as act
from fanwire_client import _codec
from fanwire_client._queue import Queue
from fanwire_client._requests import Options
from fanwire_client._session import Session, Settings
from fanwire_client._types import EpochChange, Gap, Message

FILES = Path(__file__).parents[2] / "conformance"
USER_OR_SERVER = (
    "subscribe",
    "unsubscribe",
    "publish",
    "close",
    "opens",
    "receives",
    "receives_text",
    "receives_hex",
    "lost",
    "passes",
)


def sessions() -> list[dict[str, Any]]:
    return [session for path in sorted(FILES.glob("*.json")) for session in json.loads(path.read_text())]


def milliseconds(value: Any) -> float:
    return float(value) / 1000


class Runner:
    """One session. `chance` decides all pauses."""

    def __init__(self, session: dict[str, Any], chance: float) -> None:
        options = session.get("options", {})
        self.protocol = session["protocol"]
        self.token = None if options.get("token") == "ask" else options.get("token")
        self.now = 1000.0
        self.session = Session(
            Settings(
                url=options.get("url", "ws://server.example/"),
                protocols=tuple(options.get("protocols", [self.protocol])),
                has_tokens=options.get("token") == "ask",
                ping_every_s=milliseconds(options.get("ping_every_ms", 0)),
                silent_s=milliseconds(options.get("silent_ms", 5000)),
            ),
            lambda: chance,
        )
        ledger = self.session.ledger
        self.queue = Queue(
            options.get("queue_max", 1000),
            1 << 40,
            lambda lost: ledger.on_dropped(lost.topic, lost.epoch, lost.priority),
        )
        self.keys: dict[tuple[str, ...], int] = {}
        self.names: dict[int, str] = {}
        self.ids: dict[str, Any] = {}
        self.done: deque[act.Action] = deque()
        self.ended: list[str] = []
        self.reports: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []

    def run(self, steps: list[dict[str, Any]]) -> None:
        self.begun = False
        for number, step in enumerate(steps):
            ((name, value),) = step.items()
            try:
                if name in USER_OR_SERVER:
                    self.settle()
                getattr(self, "step_" + name)(value)
                self.drain()
            except AssertionError as error:
                raise AssertionError(f"step {number} {step}: {error}") from error
        self.settle()

    def start(self) -> None:
        if not self.begun:
            self.begun = True
            self.session.start()
            self.drain()

    def settle(self) -> None:
        """Nothing may have been done that no step expected. The first connection waits for the first step that wants
        it."""
        assert not self.done, f"not expected: {list(self.done)}"

    def drain(self) -> None:
        while (action := self.session.next_action()) is not None:
            self.done.append(action)
        while (event := self.session.next_event()) is not None:
            self.on_event(event)

    def on_event(self, event: Any) -> None:
        if isinstance(event, act.Delivery):
            if self.session.requests.is_wanted(event.item.topic):
                self.queue.put(event.item, event.size)
        elif isinstance(event, act.Refused):
            name = self.names.get(event.key) if event.key is not None else None
            self.tell({"unpublished": {"as": name, "code": event.code}} if name else {"refused": event.code})
        elif isinstance(event, act.Published):
            self.tell({"published": self.names[event.key]})
        elif isinstance(event, act.Unconfirmed):
            code = "unconfirmed" if event.was_sent else "closed"
            self.tell({"unpublished": {"as": self.names[event.key], "code": code}})
        elif isinstance(event, act.Ended):
            self.ended.append(event.how)

    def tell(self, report: dict[str, Any]) -> None:
        """What is no item of a queue is told behind the items that came before it."""
        if not self.queue:
            self.take()
        self.told.append(report)

    def take(self) -> None:
        while (item := self.queue.get()) is not None:
            self.reports.append(written(item))
        self.reports += self.told
        self.told.clear()

    # The user.

    def step_subscribe(self, value: dict[str, Any]) -> None:
        options = Options(
            value.get("max_hz"), value.get("from") == "oldest", value.get("echo", True), value.get("max_delay_ms")
        )
        names = tuple(value["topics"])
        self.keys[names] = self.subscribe(names, options)

    def subscribe(self, names: tuple[str, ...], options: Options) -> int:
        """A name that this client finds wrong by itself goes to the server all the same: the session is about its
        answer."""
        try:
            return self.session.subscribe(names, options)
        except ValueError:
            key = self.session.subscribe([f"checked/{n}" for n in range(len(names))], options)
            request = self.session.requests.by_key[key]
            request.topics = names
            for at, action in enumerate(self.session._actions):
                if isinstance(action, act.Send) and "checked/" in str(action.wire):
                    said = self.read(action.wire) | {"topics": list(names)}
                    self.session._actions[at] = act.Send(self.session._codec.encode(said))
            return key

    def step_unsubscribe(self, value: dict[str, Any]) -> None:
        self.session.unsubscribe(self.keys[tuple(value["topics"])])

    def step_publish(self, value: dict[str, Any]) -> None:
        data = base64.b64decode(value["base64"]) if "base64" in value else value["data"]
        more = {name: value[name] for name in ("kind", "priority", "key", "ttl_ms") if name in value}
        self.names[self.session.publish(value["topic"], data, self.now, **more)] = value["as"]

    def step_close(self, _: Any) -> None:
        self.session.close()

    # The server.

    def step_opens(self, protocol: str) -> None:
        self.session.on_open(protocol, self.now)

    def step_receives(self, said: dict[str, Any]) -> None:
        said = dict(said)
        if isinstance(said.get("id"), str) and said["id"].startswith("$"):
            said["id"] = self.ids[said["id"]]
        self.session.on_message(on_wire(self.protocol, said), self.now)

    def step_receives_text(self, text: str) -> None:
        self.session.on_message(text, self.now)

    def step_receives_hex(self, text: str | list[str]) -> None:
        whole = text if isinstance(text, str) else "".join(text)
        self.session.on_message(bytes.fromhex(whole), self.now)

    def step_lost(self, code: int) -> None:
        self.session.on_close(code, "", self.now)

    def step_passes(self, ms: float) -> None:
        self.pass_to(self.now + milliseconds(ms))

    def pass_to(self, end: float) -> None:
        while (deadline := self.session.deadline) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.session.on_time(self.now)
            self.drain()
        self.now = end

    def step_token(self, token: str) -> None:
        self.start()
        action = self.done.popleft() if self.done else None
        assert isinstance(action, act.WantToken), f"{action} is done instead"
        self.token = token
        self.session.on_token(token, self.now)

    # What must follow.

    def step_connects(self, value: dict[str, Any]) -> None:
        self.start()
        action = self.done.popleft() if self.done else None
        assert isinstance(action, act.Connect), f"{action} is done instead"
        assert value.get("url", action.url) == action.url, action
        # This client's token goes in a header; where a browser would put it, it is in the sessions.
        offered = [*action.protocols, *([f"fanwire.token.{self.token}"] if self.token else [])]
        assert value.get("protocols", offered) == offered, action

    def step_pauses(self, value: list[float]) -> None:
        assert not self.done, f"{self.done} is done instead"
        deadline = self.session.deadline
        assert deadline is not None
        least, most = value
        pause_ms = (deadline - self.now) * 1000
        assert least - 0.001 <= pause_ms <= most + 0.001, f"a pause of {pause_ms} ms"
        self.now = deadline
        self.session.on_time(self.now)

    def step_sends(self, value: dict[str, Any]) -> None:
        action = self.done.popleft() if self.done else None
        assert isinstance(action, act.Send), f"{action} is done instead"
        said, expected = self.read(action.wire), dict(value)
        id, name = said.get("id"), expected.get("id")
        if isinstance(name, str) and name.startswith("$"):
            assert self.ids.setdefault(name, id) == id and id is not None, said
            expected["id"] = id
        if "id" not in expected:
            said.pop("id", None)
        assert said == expected, f"sends {said}"

    def read(self, wire: Any) -> dict[str, Any]:
        if self.protocol != _codec.MSGPACK:
            return json.loads(wire)
        said = msgpack.unpackb(wire)
        if isinstance(said.get("data"), bytes):
            said["data"] = {"base64": base64.b64encode(said["data"]).decode()}
        return said

    def step_closes(self, _: Any) -> None:
        action = self.done.popleft() if self.done else None
        assert isinstance(action, act.Disconnect) and action.code in (1000, 1005), f"{action} is done instead"

    def step_reports(self, expected: list[dict[str, Any]]) -> None:
        self.take()
        said, self.reports = self.reports, []
        for report in expected:
            if "repeated" in report.get("message", {}):
                letter, times = report["message"].pop("repeated")
                report["message"]["data"] = letter * times
        assert said == expected, f"reports {said}"

    def step_account(self, expected: list[dict[str, Any]]) -> None:
        fields = ("topic", "epoch", "priority", "published", "delivered", "lost", "left_out")
        said = [{name: getattr(account, name) for name in fields} for account in self.session.ledger.accounts()]
        order = {"key": lambda lane: (lane["topic"], lane["epoch"], lane["priority"])}
        assert sorted(said, **order) == sorted(expected, **order), f"accounts {said}"

    def step_ends(self, how: str) -> None:
        assert self.ended == [how], f"ended {self.ended}"


def written(item: Any) -> dict[str, Any]:
    if isinstance(item, EpochChange):
        return {"epoch": {"topic": item.topic, "before": item.before, "after": item.after}}
    if isinstance(item, Gap):
        return {
            "gap": {
                "topic": item.topic,
                "priority": item.priority,
                "from": item.first,
                "to": item.last,
                "reason": item.reason,
                "count": item.missing,
            }
        }
    assert isinstance(item, Message)
    data = {"base64": base64.b64encode(item.data).decode()} if item.kind == "binary" else {"data": item.data}
    return {
        "message": {
            "topic": item.topic,
            "priority": item.priority,
            "seq": item.seq,
            "time_us": item.time_ns // 1000,
            "kind": item.kind,
            **data,
        }
    }


def on_wire(protocol: str, said: dict[str, Any]) -> Any:
    """An object as a server of the subprotocol sends it."""
    if protocol == _codec.MSGPACK:
        if said.get("type") == "message":
            encoding = said.pop("encoding", None)
            data = said.pop("data")
            if encoding == "base64":
                said["data"] = base64.b64decode(data)
            elif encoding is None:
                said["data"] = json.dumps(data)
            else:
                said |= {"encoding": encoding, "data": data}
        return msgpack.packb(said)
    text = json.dumps(said)
    if not protocol.startswith(_codec.BATCH):
        return text
    block = text.encode()
    return struct.pack("<BBBBIQII", 1, 2, 4, 0, 0, 0, len(block), 0) + block
