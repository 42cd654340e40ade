"""The extension module. Import `fanwire` instead."""

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Protocol, TypeAlias, final

from typing_extensions import Buffer, Self

from ._events import Event, Events
from ._types import Kind, Priority, TopicSettings

class _HasFileno(Protocol):
    def fileno(self) -> int: ...

_Address: TypeAlias = str | tuple[str, int]
_Priority: TypeAlias = Priority | Literal["critical", "high", "normal", "low", 0, 1, 2, 3]
_Kind: TypeAlias = Kind | Literal["text", "binary", "json", 0, 1, 2]
_Option: TypeAlias = str | bool | int | float | Sequence[str] | Sequence[int] | None
_Data: TypeAlias = Buffer | str | dict[Any, Any] | list[Any] | tuple[Any, ...]

__all__ = ["Claim", "Engine", "Pressure", "Reconfigured", "Stats", "Topic", "__version__", "_stop_all"]

__version__: str

@final
class Engine:
    """A running engine. `with fanwire.Engine(...) as engine:` shuts it down at the end of the block.

    May be used from any thread. An engine that is forgotten while it runs is stopped at once, with a ResourceWarning; one
    that still runs when the interpreter ends gets a second to deliver. In a forked child all of it raises `ForkedError`.
    """

    def __new__(
        cls,
        *,
        listen: _Address | Iterable[_Address] | None = None,
        shards: int | None = None,
        cpus: Sequence[int] | None = None,
        driver: Literal["auto", "uring", "epoll"] | None = None,
        connections_max: int | None = None,
        cursors_max: int | None = None,
        topics_max: int | None = None,
        subscriptions_per_connection_max: int | None = None,
        ring_bytes: int | None = None,
        pool_bytes: int | None = None,
        lane_bytes: int | None = None,
        payload_bytes: int | None = None,
        remainder_bytes: int | None = None,
        client_bytes: int | None = None,
        lock_memory: bool = False,
        message_bytes_max: int | None = None,
        request_bytes_max: int | None = None,
        handshakes_max: int | None = None,
        connections_per_address_max: int | None = None,
        upgrades_per_address_per_minute_max: int | None = None,
        failures_per_address_per_minute_max: int | None = None,
        inbound_messages_per_second_max: int | None = None,
        inbound_bytes_per_second_max: int | None = None,
        message_timeout: float | None = None,
        connection_lifetime: float | None = None,
        connections_per_subject_max: int | None = None,
        subscriptions_per_subject_max: int | None = None,
        patterns_per_subject_max: int | None = None,
        topics_per_subject_max: int | None = None,
        topics_per_connection_max: int | None = None,
        unsent_bytes_max: int | None = None,
        handshake_timeout: float | None = None,
        ping_every: float | None = None,
        idle_timeout: float | None = None,
        close_timeout: float | None = None,
        close_window: float | None = None,
        topics: Sequence[TopicSettings] | None = None,
        deflate: bool | None = None,
        compression_threshold_bytes: int | None = None,
        publish_access: Literal["loopback", "everyone", "nobody"] | None = None,
        allowed_origins: Sequence[str] | None = None,
        tls_bytes: int | None = None,
        tls_certificate_files: Sequence[str | os.PathLike[str]] | None = None,
        tls_key_files: Sequence[str | os.PathLike[str]] | None = None,
        tls_client_ca_file: str | os.PathLike[str] | None = None,
        tls_client_certificates: Literal["ignored", "optional", "required"] | None = None,
        tls_version_min: Literal["1.2", "1.3"] | None = None,
        trusted_proxies: Sequence[str] | None = None,
        sys_top: int | None = None,
        sys_public: bool | None = None,
        ask_host_within: float | None = None,
        ask_host_headers: Sequence[str] | None = None,
        server_name: str | None = None,
        events: int | None = None,
        messages: bool = False,
        options: Mapping[str, _Option] | None = None,
        sockets: Sequence[tuple[str, int | _HasFileno]] | None = None,
    ) -> Self:
        """Start an engine: its threads run and its addresses are listened on when this returns. None is the default.

        listen: "IP:PORT", (IP, PORT), or several of them; port 0 takes a free one; "IP:PORT?proxy" takes connections of
            trusted_proxies by the PROXY protocol. Default: "127.0.0.1:9001".
        shards: threads that serve clients, 1 to 64. Default: as many as there are CPUs to use.
        cpus: the CPUs to run them on, in turn; []: anywhere. Default: one on each CPU that this process may use.
        driver: "auto" takes io_uring, else epoll and logs why. Default: "auto".
        connections_max: Default: 10,000, or as many as the limit on open files allows.
        cursors_max: subscriptions of all connections, one for each topic and priority. Default: 1,000,000.
        topics_max: Default: 65,536.
        subscriptions_per_connection_max: topics and patterns. Default: 1,024.
        ring_bytes: the ingest ring, a power of two from 64 KiB on. Default: 16 MiB.
        pool_bytes: logs of all topics. Default: 256 MiB.
        lane_bytes: what one topic and priority may hold, on each shard. Default: 8 MiB.
        payload_bytes: claims, messages by reference, messages being received, messages to single connections. Past it:
            WouldBlock. Default: 256 MiB.
        remainder_bytes: copies of half-sent messages. Default: 16 MiB.
        client_bytes: input and answers that wait, and what clients asked for. Default: 64 MiB.
        lock_memory: lock all memory of the process (mlockall).
        message_bytes_max: largest message. Default: 64 MiB, which is the most.
        request_bytes_max: largest HTTP request of a client that connects. Default: 16 KiB.
        handshakes_max: connections before their upgrade. 0, the default: an eighth of all.
        connections_per_address_max: connections of one address (IPv6: the /64). 0, the default: no limit.
        upgrades_per_address_per_minute_max: upgrades that one address may ask for in a minute. 0, the default: no limit.
        failures_per_address_per_minute_max: upgrades of one address that may fail in a minute. 0, the default: no limit.
        inbound_messages_per_second_max: messages and pings that a client may send in a second. 0, the default: no limit.
        inbound_bytes_per_second_max: bytes that a client may send in a second. 0, the default: no limit.
        message_timeout: seconds from the first byte of a client's message to its last; who takes longer is closed with
            1008; 0: no limit. Default: 120.
        connection_lifetime: age at which a connection is closed with 1012, and up to a tenth more. 0, the default: never.
        connections_per_subject_max: connections of one subject. 0, the default: no limit.
        subscriptions_per_subject_max: topics and patterns that one subject may subscribe to. 0, the default: no limit.
        patterns_per_subject_max: patterns among them. 0, the default: no limit.
        topics_per_subject_max: topics that come to be by one subject. 0, the default: no limit.
        topics_per_connection_max: topics that are there for one connection alone. Default: 256.
        unsent_bytes_max: what the kernel may hold unsent for one connection, about: what a critical message may have to wait
            behind on a thin link. Default: 16 KiB.
        handshake_timeout: seconds from a connection to its complete HTTP request. Default: 10.
        ping_every: seconds of silence after which a client is sent a ping, and closed after as many again; 0: never.
            Default: 30.
        idle_timeout: seconds without a message from a client after which it is closed; 0: never. Default: 0.
        close_timeout: seconds that a closing connection gets for its close handshake. Default: 5.
        close_window: seconds over which a shutdown spreads its closes (with 1012), so that clients do not all come back at
            once; at most half of the time that the shutdown has. 0: each is closed (with 1001) as soon as it has
            everything. Default: 0.
        topics: settings for some topics; the first pattern that matches holds.
        deflate: compress for clients that offer permessage-deflate. Default: True.
        compression_threshold_bytes: smaller messages are not compressed. Default: 1,024.
        publish_access: who may publish over the socket. Default: "nobody" but this program. "loopback": programs on this machine,
            and everybody who comes through a TLS terminator or a tunnel here that adds no forwarding header.
        allowed_origins: origins (of web pages) that may connect, such as "https://example.org". Default: all.
        tls_bytes: where TLS is spoken (`listen="wss://..."`): handshakes and records that are not whole. Default: 32 MiB.
        tls_certificate_files: certificates in PEM, each with its chain; a client gets the first that is for the name it wants.
        tls_key_files: their private keys, in the same order.
        tls_client_ca_file: certificates of those that sign clients' certificates.
        tls_client_certificates: whether clients have to show certificates. Default: "ignored".
        tls_version_min: the oldest version of TLS. Default: "1.2".
        sys_top: clients and topics told at most in each list of $sys topics and snapshots; 0: nothing is gathered. Default: 64.
        sys_public: who comes without grants may subscribe to $sys topics. Default: False.
        trusted_proxies: proxies that are believed when they say whom they speak for: addresses, blocks such as "10.0.0.0/8", "unix".
            Default: none.
        ask_host_within: seconds in which this program decides on each client that connects, by `Authorize` events and
            `allow` or `refuse`; then the client gets 503. 0, the default: it is not asked.
        ask_host_headers: headers of the request that it is told, such as "cookie"; at most 16.
        server_name: how the engine names itself to clients. Default: "fanwire/VERSION".
        events: events that may wait on each shard; 0: none are made. Default: 0, or 4,096 with `messages`
            or `ask_host_within`.
        messages: clients may connect to "/" without a topic, and their messages come as events.
        options: any settings by their names, such as {"limits.ping_every": "5s", "memory.pool_bytes": "1GiB"}; they hold
            instead of the other arguments. A number for a time is seconds. docs/reference/settings.md lists them;
            those below "token." (docs/reference/token-settings.md) have the engine verify JSON Web Tokens.
        sockets: sockets that listen already, with their names: what the process was started with (a listener "fd:NAME" takes
            them), or listening_sockets of another process. Objects with a descriptor, or descriptors; they stay yours.

        Raises ConfigError, UringUnavailable, ListenError, StartError; then nothing is left running.
        """

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    def topic(self, name: str, *, priority: _Priority | None = None, kind: _Kind | None = None) -> Topic:
        """The topic of this name, made if need be. `priority` (default: normal) and `kind` (default: as the object's type
        says) are what its messages are where a call says nothing else.

        Raises BadName, TooMany, Stopped; WouldBlock if there was no room in the ring for a second.
        """

    def remove_topic(self, name: str) -> bool:
        """Remove a topic: its logs are freed, its subscribers get no more, publishing to it raises Removed. Return whether
        there was one. Raises WouldBlock, Stopped."""

    def send_to(self, connection: int, data: _Data, *, kind: _Kind | None = None) -> None:
        """Send a message to one connection, past all topics: the `connection` of an event. Copies it. A connection that is gone
        by the time its shard looks is no error.

        Raises WouldBlock, TooLarge, NotUtf8, Gone (no such connection was ever made), Stopped.
        """

    def close(self, connection: int, code: int = 1000, reason: str = "") -> None:
        """Close one connection, with a code that may be sent and at most 123 bytes of `reason`. Raises WouldBlock, Gone,
        Stopped."""

    def allow(
        self,
        connection: int,
        *,
        subscribe: Sequence[str] | None = None,
        publish: Sequence[str] | None = None,
        lifetime: float | None = None,
        subject: str | None = None,
    ) -> None:
        """Let in a client that asks: the `connection` of an `Authorize` event; or let one that is in stay, of a
        `Reauthorize` event. It may subscribe to what one of the patterns `subscribe` covers, and publish on topics that one of
        `publish` matches; None or []: nothing. After `lifetime` seconds it is closed with 4401. `subject` says who it is (at
        most 255 bytes), for the limits that count by it. The first decision counts; one for a client that is gone, or was
        answered 503, does nothing.

        Raises BadName (a pattern), TooMany (more than 256), ValueError (the subject), WouldBlock, Gone, Stopped.
        """

    def refuse(self, connection: int, status: int = 403) -> None:
        """Refuse a client that asks, with 401, 403 or 503; one that is in is told so, and stays in.

        Raises ValueError (another status), WouldBlock, Gone, Stopped.
        """

    @property
    def events(self) -> Events:
        """What happens to the engine's connections, to iterate over."""

    def poll_events(self, capacity: int = 256, timeout: float | None = 0.0) -> list[Event]:
        """Take up to `capacity` events, waiting up to `timeout` seconds (None: for ever) for the first one. `events` is made
        of this. Raises Stopped when the engine has stopped and the last event was taken; Busy while another thread is here."""

    def fileno(self) -> int:
        """A descriptor that is readable whenever poll_events has something to do. Neither read nor close it."""

    def reclaim(self) -> int:
        """Give back what was published by reference and is not needed any more. Return how many messages that were.
        poll_events, publish_ref and shutdown do the same in passing."""

    def stats(self, shard: int | None = None) -> Stats:
        """What was counted by the engine, or by one of its shards; at most a second old while a shard sleeps. Works after
        shutdown too."""

    def metrics(self) -> str:
        """All that there is to know in numbers, in the text format of OpenMetrics 1.0: counters of each shard, limits, histograms. To
        be served as "application/openmetrics-text; version=1.0.0; charset=utf-8". Works after shutdown too."""

    def snapshot(self, topic: Literal["$sys/shards", "$sys/topics", "$sys/clients"], *, timeout: float = 3.0) -> str:
        """What the engine says of itself on one of its topics, as JSON: the next message of it, or one that is less than a second
        old. Who asks once in five seconds or more often is answered at once.

        Raises:
            WouldBlock: the shards have not answered in time.
            ValueError: there is no such topic, or nothing is gathered for it.
        """

    def reload_certificates(self) -> int:
        """Reads certificates and keys anew, from the same files: connections that come from now on get them. How many there
        are; 0 where no listener speaks TLS.

        Raises:
            ConfigError: a file cannot be read or used; everything is as it was.
        """

    def reconfigure(self, options: Mapping[str, _Option]) -> Reconfigured:
        """Change settings while the engine runs, by their names as `options` of the constructor has them: {"limits.ping_every":
        5.0}. Those that can be changed so hold from now on, for whoever connects later; the others keep their values and
        are named. Certificates and keys are read anew, where a listener speaks TLS.

        Raises:
            ConfigError: there is no such setting, or it cannot have that value; everything is as it was.
        """

    def revoke(self, *, sub: str | None = None, jti: str | None = None, before: int | None = None) -> int:
        """Refuse tokens from now on, and close with 4401 who came in by them: those of the subject `sub`, the one of the name
        `jti`, those made before `before` (seconds since 1970; a token that does not say when counts as older). All that is
        said has to hold. Return how many connections are closed. They are remembered as long as the engine lives, and longer
        with the option "token.revocations_file".

        Raises:
            ValueError: nothing is said, or a name has more than 1,024 bytes.
            ConfigError: this engine asks for no tokens.
            TooMany: there are as many as "token.revocations_max".
            StartError: the file cannot be written; they are refused until the engine ends.
            Stopped: the engine has stopped.
        """

    def listening_sockets(self) -> list[tuple[str, socket.socket]]:
        """What is listened on, once more, for another process to take over (`socket.send_fds`, or `subprocess` with pass_fds),
        which gives them to its engine as `sockets`. Close them. Empty once an end has begun."""

    @property
    def taken_over(self) -> list[str]:
        """Names of those of another process's listening_sockets that this engine listens on: for hand_over there."""

    def hand_over(self, names: Sequence[str], window: float = 30.0, deadline: float = 35.0) -> bool:
        """End in favour of another process, which listens on the sockets with these names and serves already. Nobody is
        refused. Each connection goes on, and is closed with 1012 at a moment of its own within `window` seconds, when it has
        everything that was published before; those that have published go first. Publish on meanwhile, from another thread.
        What is not done after `deadline` seconds is cut off. Return whether all was done in time."""

    def shutdown(self, deadline: float = 5.0, window: float | None = None) -> bool:
        """End in good order: take no more connections and messages, deliver what was published, close everybody with 1001.
        With a `window` of some seconds, less than `deadline`, each is closed with 1012 at a moment of its own within it.
        What is not done after `deadline` seconds is cut off. Return whether all was done in time. A second call does
        nothing."""

    def stop(self) -> None:
        """End at once: connections are reset, what was not delivered is lost."""

    @property
    def is_running(self) -> bool:
        """False after a shutdown, or when a shard has failed: see `failure`."""

    @property
    def failure(self) -> str | None:
        """Which shard has failed and why; None if none has. The engine has then ended: it takes no messages and no
        connections, the other shards deliver what was published and close their clients. Stop it, and start another one or end."""

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The addresses listened on, ports filled in."""

    @property
    def port(self) -> int:
        """The port of the first address."""

    @property
    def url(self) -> str:
        """Where a client on this machine connects to: "ws://127.0.0.1:9001"."""

    @property
    def driver(self) -> str:
        """The kernel interface that runs: "uring" or "epoll"."""

    @property
    def driver_notice(self) -> str | None:
        """Why it is not io_uring, where it might have been. Logged at start, by the logger "fanwire"."""

    @property
    def memory_plan(self) -> str:
        """The sum of all memory that the engine may use, as a table for a log."""

@final
class Topic:
    """A topic to publish on: `engine.topic(name)`. May be used from any thread.

    What can be published: bytes, memoryview, bytearray, array, numpy and whatever else has the buffer protocol with contiguous
    memory (binary); str (text); dict, list and tuple, by orjson, msgspec or json, whichever is installed in that order
    (JSON). With kind="json" bytes and str are taken for JSON as they are, and anything else goes to the encoder.
    """

    def publish(
        self,
        data: _Data,
        *,
        priority: _Priority | None = None,
        kind: _Kind | None = None,
        key: str | None = None,
        ttl: float | None = None,
        timeout: float | None = 0.0,
        attributes: bytes | None = None,
    ) -> int:
        """Publish one message: copies it, once. Return its place in the order of its priority's messages.

        key: what it replaces, where the topic's policy keeps only the newest message of each key.
        ttl: seconds after which it is worth nothing: a subscriber that lags does not get it any more.
        timeout: seconds to wait for room; None: as long as it takes.
        attributes: what is to be said of it beyond the payload, at most 1,024 bytes: kept beside it and handed to what the engine
        feeds besides clients, whatever they mean; no client is sent them.

        Raises WouldBlock, TooLarge, NotUtf8, Removed, Stopped; then nothing was published.
        """

    def publish_many(
        self,
        messages: Iterable[_Data],
        *,
        priority: _Priority | None = None,
        kind: _Kind | None = None,
        timeout: float | None = 0.0,
    ) -> int:
        """Publish messages in their order: much cheaper than one by one. Return how many, which is all of them.

        Raises as publish, about the first message that was not published; the exception's attribute `published` is how many
        were before it.
        """

    def publish_ref(self, data: Buffer, *, priority: _Priority | None = None, kind: _Kind | None = None) -> int:
        """Publish immutable bytes without a copy: `data` is kept until every subscriber has it or has lost it, and then let go
        of in a later poll_events, publish_ref, reclaim or shutdown. Small ones (up to 1,024 bytes) are copied all the same.
        `data` is bytes, or any read-only buffer that nobody changes, such as a numpy array with flags.writeable = False.

        Raises BufferError (not read-only), and as publish; WouldBlock also when payload_bytes are in use.
        """

    def claim(
        self,
        length: int,
        *,
        priority: _Priority | None = None,
        kind: _Kind | None = None,
        timeout: float | None = 0.0,
    ) -> Claim:
        """Memory of the engine's, all zero, to write a message of `length` bytes in place.

        timeout: seconds to wait for it, and for room when it is committed. `kind` is binary by default.

        Raises TooLarge, Stopped; WouldBlock if payload_bytes are in use.
        """

    def pressure(self) -> Pressure:
        """How the subscribers of this topic stand, some ten milliseconds ago at most: what to slow down by, or send less by. The
        first call for a topic waits for the shards' first answer, 100 ms at most."""

    @property
    def name(self) -> str:
        """The topic's name."""

    @property
    def id(self) -> int:
        """The engine's number for it, as subscribers are told."""

    @property
    def epoch(self) -> int:
        """The epoch in which its sequence numbers count: another one after each start of the engine."""

@final
class Claim:
    """Memory to write a message in place: `topic.claim(length)`.

        with topic.claim(len(frame)) as view:       # a writable memoryview
            view[:] = frame

    publishes it at the end of the block, and gives the memory back if an exception ends it. It also has the buffer protocol
    itself: `numpy.asarray(claim)`. A view that is still in use (a numpy array made of it, say) makes commit raise
    BufferError: `del` it first.
    """

    def __enter__(self) -> memoryview: ...
    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    def commit(self, length: int | None = None) -> int:
        """Publish the first `length` bytes, or all. Return the place in the order of its priority's messages.

        Raises BufferError while a view is in use; as publish. After WouldBlock and NotUtf8 it can be committed again or
        aborted, but not written."""

    def abort(self) -> None:
        """Give the memory back, unpublished. (What a view still uses goes when that does.)"""

    def grow(self, length: int) -> None:
        """Make the message `length` bytes long if it is shorter, the new bytes zero. Raises BufferError while a view is in use,
        WouldBlock where there is no memory."""

    def truncate(self, length: int) -> None:
        """Shorten the message. Raises BufferError while a view is in use."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Pressure:
    """How the subscribers of a topic stand: `topic.pressure()`."""

    @property
    def subscribers(self) -> int:
        """Subscribers now."""

    @property
    def fullest(self) -> float:
        """The largest lag of any subscriber in any priority, as a share of the lane's budget in bytes: 0.0 for none; at 0.9 the
        oldest messages are dropped, or, in the critical lane, at 1.0 the subscriber is closed."""

    @property
    def oldest(self) -> float:
        """Seconds since the oldest message was published that some subscriber has still to get; 0.0 if there is none."""

    @property
    def dropped_critical(self) -> int:
        """Critical messages lost by subscribers that were too slow: none, ever."""

    @property
    def dropped_high(self) -> int:
        """High messages lost by subscribers that were too slow."""

    @property
    def dropped_normal(self) -> int:
        """Normal messages lost by subscribers that were too slow."""

    @property
    def dropped_low(self) -> int:
        """Low messages lost by subscribers that were too slow."""

@final
class Reconfigured:
    """What has come of new settings."""

    @property
    def changed(self) -> list[str]:
        """Settings that have another value now, by their names."""

    @property
    def needs_restart(self) -> list[str]:
        """Settings that were to have another value, and have the one that they had."""

    @property
    def certificates(self) -> int:
        """Certificates that were read anew; 0 where no listener speaks TLS."""

    @property
    def tokens(self) -> str | None:
        """What tokens are verified with from now on, and who was closed because the key of its token is gone, for a log; None where
        this engine asks for no tokens."""

@final
class Stats:
    """What an engine, or one of its shards, has counted."""

    @property
    def shards(self) -> int:
        """Shards of the engine."""

    @property
    def ring_bytes(self) -> int:
        """Bytes queued in the ingest ring, between publishers and the slowest shard."""

    @property
    def payload_bytes(self) -> int:
        """Payload memory in use."""

    @property
    def connections(self) -> int:
        """Connections open now, handshakes included."""

    @property
    def accepted(self) -> int:
        """Connections accepted."""

    @property
    def refused(self) -> int:
        """Connections refused with 503, or 429, because a limit was reached."""

    @property
    def upgraded(self) -> int:
        """Upgrades completed."""

    @property
    def upgrades_refused(self) -> int:
        """Upgrades refused."""

    @property
    def closed(self) -> int:
        """Connections closed, for whatever reason."""

    @property
    def violations(self) -> int:
        """Connections closed for breaking the protocol."""

    @property
    def evicted(self) -> int:
        """Connections closed because they were too slow for their critical messages."""

    @property
    def pongs_missed(self) -> int:
        """Connections closed because they did not answer a ping."""

    @property
    def cut_off(self) -> int:
        """Connections cut off by a shutdown that ran out of time."""

    @property
    def topics(self) -> int:
        """Topics known."""

    @property
    def cursors(self) -> int:
        """Subscriptions, one for each topic and priority."""

    @property
    def messages(self) -> int:
        """Messages read from the ring."""

    @property
    def message_bytes(self) -> int:
        """Their bytes."""

    @property
    def received(self) -> int:
        """Messages received from clients."""

    @property
    def deliveries(self) -> int:
        """Messages delivered, one for each subscriber."""

    @property
    def encoded(self) -> int:
        """Messages rendered into another encoding."""

    @property
    def compressed(self) -> int:
        """Compressions done."""

    @property
    def rebuilt(self) -> int:
        """Logs of an encoding that were built again for a subscriber that came back."""

    @property
    def lagging(self) -> int:
        """Subscriptions that fell behind by more than 70 % of lane_bytes."""

    @property
    def passed_over(self) -> int:
        """Messages passed over by policy latest, max_hz, expiry and exclusions."""

    @property
    def sent_bytes(self) -> int:
        """Bytes given to the kernel."""

    @property
    def sends(self) -> int:
        """Sends submitted."""

    @property
    def sends_short(self) -> int:
        """Sends that the socket did not take whole."""

    @property
    def syscalls(self) -> int:
        """System calls."""

    @property
    def gaps(self) -> int:
        """Runs of messages that one subscription lost."""

    @property
    def dropped_critical(self) -> int:
        """Critical messages that subscriptions lost."""

    @property
    def dropped_high(self) -> int:
        """High messages that subscriptions lost."""

    @property
    def dropped_normal(self) -> int:
        """Normal messages that subscriptions lost."""

    @property
    def dropped_low(self) -> int:
        """Low messages that subscriptions lost."""

    @property
    def unlogged(self) -> int:
        """Messages for which no log memory was left."""

    @property
    def log_bytes(self) -> int:
        """Log memory in use."""

    @property
    def remainder_bytes(self) -> int:
        """Copies of half-sent messages."""

    @property
    def events_waiting(self) -> int:
        """Events that wait because the host does not take them."""

    @property
    def turns(self) -> int:
        """Turns of the shards' loops."""

    @property
    def sleeps(self) -> int:
        """Turns that slept."""

    @property
    def recv_buffers_exhausted(self) -> int:
        """Times that no receive buffer was free."""

    @property
    def cq_overflows(self) -> int:
        """Completion-queue overflows."""

    @property
    def accept_exhausted(self) -> int:
        """Times that accept failed for want of descriptors."""

    @property
    def turn_steps_max(self) -> int:
        """The most work in one turn, in steps; of several shards, the highest."""

    @property
    def turn_ns_max(self) -> int:
        """The longest turn by its thread's CPU clock, in nanoseconds; of several shards, the highest."""

    @property
    def client_bytes(self) -> int:
        """Input and answers that wait, and what clients asked for, in bytes."""

    @property
    def lifetimes_ended(self) -> int:
        """Connections closed with 1012 at the end of their lifetime."""

    @property
    def refused_too_often(self) -> int:
        """Of those refused: with 429, because their address came too often."""

    @property
    def refused_failing(self) -> int:
        """Of those refused: with 429, because upgrades of their address failed."""

    @property
    def addresses_failing(self) -> int:
        """Times an address began to be refused because its upgrades failed."""

    @property
    def refused_for_subject(self) -> int:
        """Connections and requests refused for what their subject has already."""

    @property
    def input_paused(self) -> int:
        """Times a client sent faster than it may, and was not read for a while."""

    @property
    def senders_paused(self) -> int:
        """Clients that are not read just now, for they sent faster than they may."""

    @property
    def too_fast(self) -> int:
        """Connections closed with 1008 for going on so."""

    @property
    def drained(self) -> int:
        """Connections that a shutdown has closed in good order."""

    @property
    def proxy_refused(self) -> int:
        """Closed at a ?proxy listener: not a trusted proxy's, or no header."""

    @property
    def refused_full(self) -> int:
        """Of those refused: with 503, because connections_max was reached."""

    @property
    def refused_for_address(self) -> int:
        """Of those refused: with 429, because of connections_per_address_max."""

    @property
    def refused_waiting(self) -> int:
        """Of those refused: with 503, to make room for a newer upgrade."""

    @property
    def subscriptions_refused(self) -> int:
        """Requests refused for a maximum of subscriptions, patterns or cursors."""

    @property
    def topics_refused(self) -> int:
        """Requests refused because no more topics can be made, or not for them."""

    @property
    def messages_too_large(self) -> int:
        """Connections closed with 1009 for a message beyond the largest."""

    @property
    def compressed_from_bytes(self) -> int:
        """Bytes of messages that were compressed, before."""

    @property
    def compressed_to_bytes(self) -> int:
        """Bytes of messages that were compressed, after."""

    @property
    def compression_saved_bytes(self) -> int:
        """Bytes that subscribers were not sent because messages were compressed."""

    @property
    def busy_ns(self) -> int:
        """Time in turns, waiting left out, in nanoseconds."""

    @property
    def renewed(self) -> int:
        """Tokens of open connections that were taken."""

    @property
    def renewals_refused(self) -> int:
        """Tokens of open connections that were refused; those went on as before."""

    @property
    def tls_handshakes(self) -> int:
        """TLS handshakes completed."""

    @property
    def tls_failed(self) -> int:
        """Connections given up for what came over TLS, or for want of memory for it."""

    @property
    def tls_bytes(self) -> int:
        """TLS: what handshakes, records that are not whole and rests of records hold."""

    @property
    def tls_bytes_max(self) -> int:
        """The most that was held so at once."""

    @property
    def out_of_order(self) -> int:
        """Messages refused: their number was not above those before it in its lane."""

    @property
    def handshakes_late(self) -> int:
        """Connections given up because their upgrade request was not whole in time."""

    @property
    def closed_idle(self) -> int:
        """Connections closed with 1001 for idle_timeout without a message."""

    def as_dict(self) -> dict[str, int]:
        """All numbers by their names."""

def _stop_all() -> None:
    """End every engine that still runs: called when the interpreter ends."""
