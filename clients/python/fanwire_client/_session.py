"""A client's whole conversation, over all its connections, without any I/O: what happened in, what to do and to tell
out.

Time is an argument, in seconds of a clock that never goes back, and chance a function. Must never know sockets, tasks
or threads. After each input the caller takes `next_action` and `next_event` until both are None, and calls `on_time` at
`deadline`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Optional

from . import _actions as act
from . import _codec, _policy, _token, _topics
from ._codec import Incoming, Wire
from ._errors import QueueFullError, WireError
from ._ledger import Ledger, checked_position
from ._requests import Options, Request, Requests, subscribe_object
from ._types import GAP_REASONS, RANKS, EpochChange, Gap, Message

MIGRATE_PATIENCE_S = 5.0
"""How long after the moment that `migrate` names its close is waited for."""
AUTH_PAUSE_S = 5.0
"""Before another token is brought: after one that was not taken, and at least."""
RETRY_CODES = frozenset({"unavailable", "stopped"})
"""A subscription refused with these is asked for again."""
RETRY_S = 2.0
KEY_BYTES_MAX = 255
TTL_MS_MAX = 2**32 - 1
MESSAGE_BYTES_MAX = 67_108_864
"""Of a message to the server, until `welcome` says otherwise."""


class Settings(NamedTuple):
    """What a session is told once. Times in seconds, sizes in bytes."""

    url: str
    protocols: tuple[str, ...] = (_codec.JSON,)
    has_tokens: bool = False
    """A function gives tokens: `WantToken` asks it."""
    ping_every_s: float = 10.0
    """A server that says nothing for so long is sent a ping; 0: never."""
    silent_s: float = 10.0
    """So long after that ping without a byte the connection is given up."""
    topics_max: int = 100_000
    publishes_max: int = 10_000
    """Messages that wait to be sent, or for their pong."""
    message_bytes_max: int = 256 << 20
    """The largest message taken from the server, decompressed."""


class _Publish(NamedTuple):
    key: int
    topic: str
    kind: str
    data: Any
    fields: Mapping[str, Any]


class _Barrier(NamedTuple):
    """A ping that was sent: when its pong comes, the server has taken all that went before."""

    id: int
    at: float
    publish: Optional[int]
    ask: Optional[int]


class Session:
    """`state` is `idle`, `waiting` (a pause, or for a token), `connecting`, `open` or `ended`."""

    def __init__(self, settings: Settings, chance: Callable[[], float]) -> None:
        self._settings = settings
        self._chance = chance
        self.ledger = Ledger(settings.topics_max)
        self.requests = Requests()
        self.state = "idle"
        self.protocol: Optional[str] = None
        self.connections = self.messages = self.bytes_received = self.ignored = 0
        self.rtt_s: Optional[float] = None
        self._actions: deque[act.Action] = deque()
        self._events: deque[act.Event] = deque()
        self._deadlines: dict[str, float] = {}
        self._last_id = 0
        self._attempt = 0
        self._fresh_tokens = 1
        self._elsewhere: Optional[str] = None
        self._unsent: deque[_Publish] = deque()
        self._token_end_s: Optional[float] = None
        self._is_asking = False
        """A token is wanted for the next connection; one for a connection that is gone meanwhile is not waited for."""
        self._reset()

    def _reset(self) -> None:
        """Forgets what belongs to one connection."""
        self._codec: Optional[_codec.Codec] = None
        self._topic_ids: dict[int, str] = {}
        self._asked: dict[int, tuple[str, int]] = {}
        self._barriers: deque[_Barrier] = deque()
        self._heard = 0.0
        self._pinged: Optional[float] = None
        self._is_announced = False
        self._auth_id: Optional[int] = None
        self._bytes_max = MESSAGE_BYTES_MAX
        for request in self.requests if hasattr(self, "requests") else ():
            request.sent_as = -1

    # What the caller takes.

    def next_action(self) -> Optional[act.Action]:
        return self._actions.popleft() if self._actions else None

    def next_event(self) -> Optional[act.Event]:
        return self._events.popleft() if self._events else None

    @property
    def deadline(self) -> Optional[float]:
        return min(self._deadlines.values(), default=None)

    @property
    def is_silent(self) -> bool:
        """A ping is out, and nothing has come since."""
        return self._pinged is not None

    @property
    def has_room(self) -> bool:
        """Whether one more message may wait to be published."""
        return len(self._unsent) + len(self._barriers) < self._settings.publishes_max

    # What the user asks for.

    def start(self) -> None:
        assert self.state == "idle"
        self._connect()

    def subscribe(
        self, topics: Iterable[str], options: Options = Options(), since: Optional[Mapping[str, Any]] = None
    ) -> int:
        """Gives the subscription's key. `since`: where another client was, as `position` of this module gives it."""
        key = self._id()
        places = checked_position(since or {})
        request = self.requests.add(key, topics, options, is_answered=since is not None)
        self.ledger.on_position({name: place for name, place in places.items() if request.matches(name)})
        if self.state == "open":
            self._send_subscribe(request, set())
        return key

    def unsubscribe(self, key: int) -> None:
        names = self.requests.remove(key)
        self._asked = {id: asked for id, asked in self._asked.items() if asked != ("subscribe", key)}
        if names and self.state == "open":
            self._send({"type": "unsubscribe", "id": self._id(), "topics": list(names)})
        else:
            self._forget_unwanted()

    def publish(
        self,
        topic: str,
        data: Any,
        now: float,
        *,
        kind: Optional[str] = None,
        priority: str = "normal",
        key: Optional[str] = None,
        ttl_ms: Optional[int] = None,
    ) -> int:
        """Gives a key, with which `Published`, `Refused` or `Unconfirmed` comes later. Raises for what cannot be
        sent."""
        fields = _publish_fields(topic, priority, key, ttl_ms)
        kind = _codec.kind_of(data, kind)
        if not self.has_room:
            raise QueueFullError(f"{self._settings.publishes_max} messages wait to be published")
        publish = _Publish(self._id(), topic, kind, data, fields)
        if self.state == "open":
            self._send_publish(publish, now)
        else:
            self._unsent.append(publish)
        return publish.key

    def withdraw(self, key: int) -> None:
        """Who publishes waits no longer: what has not gone out stays here. Of the rest nothing can be taken back."""
        self._unsent = deque(publish for publish in self._unsent if publish.key != key)

    def ping(self, now: float) -> Optional[int]:
        """Asks whether everything sent so far was taken. Gives a key, with which `Ponged` or `Unponged` comes; None
        where there is no connection."""
        if self.state != "open":
            return None
        key = self._id()
        self._ping(now, ask=key)
        return key

    def close(self) -> None:
        if self.state == "ended":
            return
        if self.state in ("open", "connecting"):
            self._actions.append(act.Disconnect(1000, ""))
        self._end("normal", 1000, "closed by this client")

    def position(self) -> dict[str, Any]:
        """Where to go on, by topic: see `since` of `subscribe`."""
        return {name: self.ledger.since(name) for name in self.ledger.topics}

    # What happens.

    def on_token(self, token: Optional[str], now: float) -> None:
        """The user's function gave a token; None where it failed."""
        if self.state == "open":
            self._bring(token, now)
        elif self._is_asking:
            self._is_asking = False
            if token is None:
                self._retry(
                    _policy.after_refusal(None, None, self._attempt, self._chance(), fresh_tokens=0),
                    None,
                    "no token could be had",
                    now,
                )
                return
            self._token_end_s = _token.expires_at_s(token)
            self._go()

    def on_open(self, protocol: Optional[str], now: float) -> None:
        """The connection is there. `protocol`: what the response names."""
        if self.state != "connecting":
            return
        if protocol not in self._settings.protocols:
            self._actions.append(act.Disconnect(1000, ""))
            self._end("refused", None, f"the server speaks none of {', '.join(self._settings.protocols)}")
            return
        self._reset()
        self._forget_unwanted()
        self.state = "open"
        self.protocol = protocol
        self.connections += 1
        self._codec = _codec.make(protocol, self._settings.message_bytes_max)
        self._fresh_tokens = 1
        self._hear(now)
        self._events.append(act.Opened(protocol))
        named: set[str] = set()
        for request in self.requests:
            self._send_subscribe(request, named)
        while self._unsent:
            self._send_publish(self._unsent.popleft(), now)

    def on_message(self, wire: Wire, now: float) -> None:
        if self.state != "open" or self._codec is None:
            return
        self._hear(now)
        self.bytes_received += len(wire)
        try:
            said = self._codec.decode(wire)
            if isinstance(said, list):
                self._attempt = 0
                for incoming in said:
                    self._on_incoming(incoming)
            elif said is None or not isinstance(said.get("type"), str):
                self.ignored += 1
            else:
                self._on_control(said, now)
        except WireError as error:
            self._actions.append(act.Disconnect(1000, ""))
            self._lose(None, f"the server sent what cannot be read: {error}", now)

    def on_heard(self, now: float) -> None:
        """The server lives: a byte has come, or the caller has not read for a while and does so again."""
        if self.state == "open":
            self._hear(now)

    def on_close(self, code: Optional[int], reason: str, now: float) -> None:
        """The connection has ended, or was not made. `code`: of the close frame; None, 1005, 1006 where there was
        none."""
        if self.state in ("open", "connecting"):
            self._lose(code, _policy.text_of(code, reason), now)

    def on_refused(self, status: Optional[int], retry_after_s: Optional[float], text: str, now: float) -> None:
        """No connection was made. `status`: of an HTTP answer; None where there was none."""
        if self.state != "connecting":
            return
        fresh = self._fresh_tokens if self._settings.has_tokens else 0
        elsewhere, self._elsewhere = self._elsewhere, None
        next_ = _policy.after_refusal(status, retry_after_s, self._attempt, self._chance(), fresh_tokens=fresh)
        if elsewhere is not None and next_.what != "retry":
            next_ = _policy.Next("retry", _policy.pause(self._attempt, self._chance()))
        if status == 401:
            self._fresh_tokens -= 1
        self._retry(next_, status, text, now)

    def on_time(self, now: float) -> None:
        due = [name for name, at in self._deadlines.items() if at <= now]
        for name in due:
            if self._deadlines.pop(name, None) is None:
                continue
            if name == "connect":
                self._connect()
            elif name == "ping":
                self._pinged = now
                self._ping(now)
                self._deadlines["silent"] = now + self._settings.silent_s
            elif name == "silent":
                self._actions.append(act.Disconnect(1000, "", is_dead=True))
                self._lose(1006, f"nothing came for {self._settings.silent_s:g} s, no answer to a ping either", now)
            elif name == "migrate":
                self._actions.append(act.Disconnect(1000, ""))
                self._lose(1012, "the server asked to connect anew", now)
            elif name == "token":
                self._actions.append(act.WantToken())
            elif name == "subscribe":
                for request in self.requests:
                    if request.sent_as < 0:
                        self._send_subscribe(request, set())

    # Connecting.

    def _connect(self) -> None:
        self.state = "waiting"
        if self._settings.has_tokens:
            self._is_asking = True
            self._actions.append(act.WantToken())
        else:
            self._go()

    def _go(self) -> None:
        self.state = "connecting"
        self._actions.append(act.Connect(self._elsewhere or self._settings.url, self._settings.protocols))

    def _lose(self, code: Optional[int], text: str, now: float) -> None:
        is_announced, was_open = self._is_announced, self.state == "open"
        next_ = _policy.after_close(
            code, self._attempt, self._chance(), is_announced=is_announced, has_tokens=self._settings.has_tokens
        )
        # Where a server sent us is tried once; then it is the old one's turn.
        if not (was_open and is_announced):
            self._elsewhere = None
        self._retry(next_, code, text, now)

    def _retry(self, next_: _policy.Next, code: Optional[int], text: str, now: float) -> None:
        self._drop_pending()
        if next_.what != "retry":
            self._end(next_.what, code, text)
            return
        self._attempt += 1
        self.state = "waiting"
        self._events.append(act.Lost(code, text, next_.pause_s))
        self._deadlines["connect"] = now + next_.pause_s
        if next_.pause_s <= 0:
            del self._deadlines["connect"]
            self._connect()

    def _drop_pending(self) -> None:
        for barrier in self._barriers:
            if barrier.publish in self._asked:
                self._events.append(act.Unconfirmed(barrier.publish, was_sent=True))
            if barrier.ask is not None:
                self._events.append(act.Unponged(barrier.ask))
        self._deadlines.clear()
        self._reset()

    def _end(self, how: str, code: Optional[int], text: str) -> None:
        self._drop_pending()
        while self._unsent:
            self._events.append(act.Unconfirmed(self._unsent.popleft().key, was_sent=False))
        self.state = "ended"
        self._is_asking = False
        self._events.append(act.Ended(how, code, text))

    def _hear(self, now: float) -> None:
        self._heard = now
        self._pinged = None
        self._deadlines.pop("silent", None)
        if self._settings.ping_every_s > 0:
            self._deadlines["ping"] = now + self._settings.ping_every_s

    # Sending.

    def _id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _send(self, said: Mapping[str, Any]) -> None:
        assert self._codec is not None
        self._actions.append(act.Send(self._codec.encode(said)))

    def _send_subscribe(self, request: Request, named: set[str]) -> None:
        id = self._id()
        self._asked[id] = ("subscribe", request.key)
        self._send(subscribe_object(request, id, self.ledger, named))

    def _send_publish(self, publish: _Publish, now: float) -> None:
        assert self._codec is not None
        said = {"type": "publish", "id": publish.key, "topic": publish.topic, **publish.fields}
        wire = self._codec.encode({**said, **self._codec.payload(publish.kind, publish.data)})
        size = len(wire.encode()) if isinstance(wire, str) else len(wire)
        if size > self._bytes_max:
            text = f"a message of {size} bytes; the server takes {self._bytes_max}"
            self._events.append(act.Refused("publish", publish.key, "too_large", text))
            return
        self._asked[publish.key] = ("publish", publish.key)
        self._actions.append(act.Send(wire))
        self._ping(now, publish=publish.key)

    def _ping(self, now: float, *, publish: Optional[int] = None, ask: Optional[int] = None) -> None:
        barrier = _Barrier(self._id(), now, publish, ask)
        self._barriers.append(barrier)
        self._send({"type": "ping", "id": barrier.id})

    def _bring(self, token: Optional[str], now: float) -> None:
        """A new token for the connection that is open."""
        if token is None or self._auth_id is not None:
            self._deadlines["token"] = now + AUTH_PAUSE_S
            return
        self._token_end_s = _token.expires_at_s(token)
        self._auth_id = self._id()
        self._send({"type": "auth", "id": self._auth_id, "token": token})

    def _renew_in(self, left_s: float, now: float) -> None:
        """The token ends in so many seconds: the next one is brought when a fifth of them is left."""
        if self._settings.has_tokens:
            self._deadlines["token"] = now + max(AUTH_PAUSE_S, left_s * 0.8)

    # What comes.

    def _on_incoming(self, incoming: Incoming) -> None:
        name = self._topic_ids.get(incoming.topic) if isinstance(incoming.topic, int) else incoming.topic
        if name is None:
            # Of a topic that no `subscribed` of this connection has named.
            self.ignored += 1
            return
        epoch = self.ledger.on_message(name, incoming.priority, incoming.seq)
        if epoch is None:
            return
        self.messages += 1
        kind, data = _codec.finish(incoming)
        message = Message(name, incoming.priority, incoming.seq, epoch, incoming.time_ns, kind, data)
        self._events.append(act.Delivery(message, incoming.size))

    def _on_control(self, said: Mapping[str, Any], now: float) -> None:
        type_ = said["type"]
        if type_ == "welcome":
            self._on_welcome(said, now)
            return
        # Only a server that says something of its own has room for this client.
        self._attempt = 0
        if type_ == "subscribed":
            self._on_subscribed(said)
        elif type_ == "gap":
            self._on_gap(said)
        elif type_ == "pong":
            self._on_pong(said.get("id"), now)
        elif type_ == "error":
            self._on_error(said, now)
        elif type_ == "unsubscribed":
            self._on_unsubscribed(said)
        elif type_ == "authorized":
            self._auth_id = None
            if (left_ms := said.get("expires_in_ms")) is not None:
                self._renew_in(_number(left_ms, "expires_in_ms") / 1000, now)
        elif type_ == "migrate":
            self._on_migrate(said, now)
        else:
            self.ignored += 1

    def _on_welcome(self, said: Mapping[str, Any], now: float) -> None:
        limits = said.get("limits")
        if isinstance(limits, dict) and type(limits.get("message_bytes_max")) is int:
            self._bytes_max = limits["message_bytes_max"]
        time_us = said.get("time_us")
        if self._token_end_s is not None and type(time_us) is int:
            self._renew_in(self._token_end_s - time_us / 1e6, now)
        self._events.append(act.Welcomed(dict(said)))

    def _on_subscribed(self, said: Mapping[str, Any]) -> None:
        name, epoch, topic_id = said.get("topic"), said.get("epoch"), said.get("topic_id")
        seq = said.get("seq")
        if type(name) is not str or type(epoch) is not int or not isinstance(seq, dict):
            raise WireError("a subscribed without topic, epoch or seq")
        if any(type(number) is not int for priority, number in seq.items() if priority in RANKS):
            raise WireError("a subscribed with what is no number")
        if type(topic_id) is int:
            self._topic_ids[topic_id] = name
        asked = self._asked.get(said["id"]) if type(said.get("id")) is int else None
        request = self.requests.of_topic(name, asked[1] if asked else None)
        before = self.ledger.on_subscribed(name, epoch, seq, is_oldest=request is not None and request.was_sent_oldest)
        for other in self.requests:
            if other.sent_as >= 0 and not other.is_answered and other.matches(name):
                self._on_answered(other)
        if before is not None:
            self._events.append(act.Delivery(EpochChange(name, before, epoch), 0))
        self._events.append(act.TopicHeard(name, epoch))

    def _on_answered(self, request: Request) -> None:
        request.is_answered = True
        self._events.append(act.Answered(request.key))

    def _on_gap(self, said: Mapping[str, Any]) -> None:
        name, priority, first, last = (said.get(key) for key in ("topic", "priority", "from", "to"))
        count = said.get("count")
        if type(name) is not str or type(priority) is not str or priority not in RANKS:
            raise WireError("a gap without topic or priority")
        if type(first) is not int or type(last) is not int:
            raise WireError("a gap without from or to")
        if (count is not None and type(count) is not int) or last < first:
            raise WireError("a gap of no messages")
        is_counted = "count" in said
        if not self.ledger.on_gap(name, priority, first, last, count=count, is_counted=is_counted):
            return
        topic = self.ledger.topics.get(name)
        reason = said.get("reason") if said.get("reason") in GAP_REASONS else "lag"
        gap = Gap(
            name,
            priority,
            topic.epoch if topic else 0,
            first,
            last,
            count if is_counted else last - first + 1,
            str(reason),
        )
        self._events.append(act.Delivery(gap, 0))

    def _on_pong(self, id: Any, now: float) -> None:
        if not any(barrier.id == id for barrier in self._barriers):
            return
        while self._barriers:
            # Answers come in order: what was asked before has been taken, too.
            barrier = self._barriers.popleft()
            self.rtt_s = now - barrier.at
            if barrier.publish is not None and self._asked.pop(barrier.publish, None) is not None:
                self._events.append(act.Published(barrier.publish))
            if barrier.ask is not None:
                self._events.append(act.Ponged(barrier.ask, self.rtt_s))
            if barrier.id == id:
                break
        for request in self.requests:
            if 0 <= request.sent_as < id and not request.is_answered:
                self._on_answered(request)

    def _on_error(self, said: Mapping[str, Any], now: float) -> None:
        code, message, id = str(said.get("code")), str(said.get("message", "")), said.get("id")
        if type(id) is int and id == self._auth_id:
            self._auth_id = None
            self._deadlines["token"] = now + AUTH_PAUSE_S
            self._events.append(act.Unauthorized(message))
            return
        what, key = self._asked.pop(id, ("request", None)) if type(id) is int else ("request", None)
        if what == "subscribe" and key in self.requests.by_key:
            request = self.requests.by_key[key]
            is_full = code in ("too_many_topics", "too_many_subscriptions")
            if code in RETRY_CODES or (is_full and request.is_answered):
                request.sent_as = -1
                self._deadlines["subscribe"] = now + RETRY_S
                return
            self.requests.remove(key)
        self._events.append(act.Refused(what, key, code, message))

    def _on_unsubscribed(self, said: Mapping[str, Any]) -> None:
        name = said.get("topic")
        if type(name) is not str:
            raise WireError("an unsubscribed without topic")
        # Not asked for: what a new token does not cover ends.
        for request in self.requests if "id" not in said else ():
            if name in request.topics and request.sent_as >= 0:
                request.topics = tuple(topic for topic in request.topics if topic != name)
                if not request.topics:
                    self.requests.remove(request.key)
                text = f"the permission does not cover {name} any more"
                self._events.append(act.Refused("subscribe", request.key, "not_allowed", text))
        id = said.get("id")
        self._forget_unwanted(id if type(id) is int else None)

    def _forget_unwanted(self, before: Optional[int] = None) -> None:
        """Topics of no subscription; what was asked for after the request `before` begins anew, and counts not."""
        requests = [request for request in self.requests if before is None or request.sent_as < before]
        for name in [name for name in self.ledger.topics if not any(request.matches(name) for request in requests)]:
            self.ledger.forget(name)

    def _on_migrate(self, said: Mapping[str, Any], now: float) -> None:
        after_s, url = _number(said.get("after_ms") or 0, "after_ms") / 1000, said.get("url")
        self._is_announced = True
        old = self._settings.url
        if isinstance(url, str) and url.startswith(("wss://",) if old.startswith("wss:") else ("ws://", "wss://")):
            self._elsewhere = url
        self._deadlines["migrate"] = now + after_s + MIGRATE_PATIENCE_S


def _number(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 2**53:
        raise WireError(f"{name} is no time: {value!r}")
    return float(value)


def _publish_fields(topic: str, priority: str, key: Optional[str], ttl_ms: Optional[int]) -> dict[str, Any]:
    _topics.check(topic, is_pattern_allowed=False)
    if priority not in RANKS:
        raise ValueError(f"priority is one of {', '.join(RANKS)}, not {priority!r}")
    fields: dict[str, Any] = {} if priority == "normal" else {"priority": priority}
    if key is not None:
        if not 1 <= len(key.encode()) <= KEY_BYTES_MAX:
            raise ValueError(f"a key has 1 to {KEY_BYTES_MAX} bytes, not {len(key.encode())}")
        fields["key"] = key
    if ttl_ms is not None:
        if isinstance(ttl_ms, bool) or not isinstance(ttl_ms, int) or not 1 <= ttl_ms <= TTL_MS_MAX:
            raise ValueError(f"ttl_ms is from 1 to {TTL_MS_MAX}, not {ttl_ms!r}")
        fields["ttl_ms"] = ttl_ms
    return fields
