/* fanwire: publish a message once, every WebSocket subscriber of its topic gets it.
 *
 * Generated from ffi/src by cbindgen. Do not edit.
 *
 *     fw_config config;
 *     fw_engine *engine;
 *     fw_topic *imu;
 *     FW_CONFIG_INIT(&config);
 *     if (fw_start(&config, &engine) != FW_OK || fw_topic_open(engine, "rover/1/imu", &imu) != FW_OK)
 *         return puts(fw_last_error()), 1;
 *     fw_publish(imu, FW_PRIORITY_NORMAL, FW_KIND_JSON, "{\"ax\":0.1}", 10, NULL);
 *     fw_shutdown(engine, 5000);
 *     fw_engine_free(engine);
 *
 * Rules for all functions:
 * - They return a fw_status, or a value that stands for an error. The text of an error is fw_last_error().
 * - Handles (fw_engine, fw_topic, fw_buffer) may be used from any thread. NULL, freed and wrong ones are errors.
 * - Pointers are used during the call only, unless its comment says that something is retained. A pointer to results
 *   must not be NULL, unless its comment allows it.
 * - None may be called from a signal handler.
 * - A forked child may not use its parent's handles (FW_FORKED), and harms nobody by its exit. While it runs without exec,
 *   connections that the parent closes stay open in the child: exec or exit soon.
 * - Nothing of the host's runs on the engine's threads.
 *
 * C++: see fanwire.hpp. */


#ifndef FANWIRE_H
#define FANWIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fills a fw_config with the defaults. */
#define FW_CONFIG_INIT(config) fw_config_init((config), (uint32_t)sizeof(*(config)))


/// The version of the interface that this header describes. A library with another number must not be used with it.
#define FW_ABI_VERSION 1

/// A time-out that never ends.
#define FW_FOREVER UINT32_MAX

/// What a call came to. A value never changes its meaning; later versions may add some, so treat an unknown one as
/// an error.
enum fw_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// Done.
    FW_OK = 0,
    /// No room now: the slowest shard is a whole ring behind, or the memory for payloads is in use. Nothing was done; try
    /// again later, or wait with a time-out.
    FW_WOULD_BLOCK = 1,
    /// A pointer that must not be NULL is.
    FW_NULL = 2,
    /// Not a handle of this kind, or one that was freed.
    FW_BAD_HANDLE = 3,
    /// An argument is out of its range.
    FW_BAD_ARGUMENT = 4,
    /// The message is larger than message_bytes_max, or its attributes than 1,024 bytes.
    FW_TOO_LARGE = 5,
    /// A text or JSON message that is not UTF-8.
    FW_NOT_UTF8 = 6,
    /// Not a topic name.
    FW_BAD_NAME = 7,
    /// A limit on the number of things is reached; fw_last_error says which.
    FW_TOO_MANY = 8,
    /// The topic was removed.
    FW_REMOVED = 9,
    /// No such topic or connection.
    FW_GONE = 10,
    /// The engine has stopped.
    FW_STOPPED = 11,
    /// The time was over before all was done.
    FW_TIMED_OUT = 12,
    /// Another thread is in this call now, or it was made from inside a release callback.
    FW_BUSY = 13,
    /// This handle belongs to the process that forked this one.
    FW_FORKED = 14,
    /// The configuration cannot be used; fw_last_error says why, one line for each reason.
    FW_BAD_CONFIG = 15,
    /// io_uring was asked for and is not to be had; fw_last_error names the cause and the fix.
    FW_NO_URING = 16,
    /// An address cannot be listened on.
    FW_CANNOT_LISTEN = 17,
    /// The system refused something; fw_last_error says what.
    FW_SYSTEM = 18,
    /// A struct_size is of no version that this library knows.
    FW_ABI_MISMATCH = 19,
    /// A bug in fanwire. The host is unharmed; stop the engine.
    FW_INTERNAL = 99,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fw_status fw_status;
#else
typedef int32_t fw_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// Which kernel interface an engine uses.
enum fw_driver
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// io_uring, else epoll; fw_driver_notice then says why.
    FW_DRIVER_AUTO = 0,
    /// io_uring, or do not start.
    FW_DRIVER_URING = 1,
    /// epoll.
    FW_DRIVER_EPOLL = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fw_driver fw_driver;
#else
typedef uint32_t fw_driver;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// Where an engine's threads run.
enum fw_pinning
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// One on each CPU that this process may use.
    FW_PIN_AUTO = 0,
    /// Anywhere.
    FW_PIN_NONE = 1,
    /// On the CPUs of the list, in turn.
    FW_PIN_LIST = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fw_pinning fw_pinning;
#else
typedef uint32_t fw_pinning;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// What a topic keeps for those who come, or come back.
enum fw_retention
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// Nothing: a subscriber gets only what is published from now on.
    FW_RETENTION_NONE = 0,
    /// A new subscriber gets the last message of each priority first; one that comes back gets what it missed, as far as
    /// the log still has it.
    FW_RETENTION_LAST_VALUE = 1,
    /// The same, within retention_messages, retention_bytes and retention_age_ms.
    FW_RETENTION_LAST = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fw_retention fw_retention;
#else
typedef uint32_t fw_retention;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// What happens to a subscriber that lags behind by 90 % of lane_bytes. Critical messages are never dropped whatever the
/// policy: their subscriber is closed with 1013.
enum fw_slow_policy
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// The oldest messages are dropped, and the subscriber is told.
    FW_SLOW_DROP_OLDEST = 0,
    /// It gets only the newest message (of each key).
    FW_SLOW_LATEST = 1,
    /// It is closed with 1013.
    FW_SLOW_DISCONNECT = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fw_slow_policy fw_slow_policy;
#else
typedef uint32_t fw_slow_policy;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// Who may publish over the socket.
enum fw_publish_access
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// Only the host. The default.
    FW_PUBLISH_NOBODY = 2,
    /// Peers on this machine, unless a browser or a proxy speaks for them. A TLS terminator or a tunnel on this machine that
    /// adds no forwarding header makes everybody who comes through it such a peer.
    FW_PUBLISH_LOOPBACK = 0,
    /// Everyone who may connect.
    FW_PUBLISH_EVERYONE = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fw_publish_access fw_publish_access;
#else
typedef uint32_t fw_publish_access;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// Importance of a message. More important ones are sent first; within one topic and priority the order is kept.
enum fw_priority
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// Never dropped: a subscriber that cannot take it is closed with 1013.
    FW_PRIORITY_CRITICAL = 0,
    /// Dropped after normal and low.
    FW_PRIORITY_HIGH = 1,
    /// The usual.
    FW_PRIORITY_NORMAL = 2,
    /// Dropped first.
    FW_PRIORITY_LOW = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fw_priority fw_priority;
#else
typedef uint32_t fw_priority;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// What a message is, as its publisher states it.
enum fw_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// UTF-8 text.
    FW_KIND_TEXT = 0,
    /// Any bytes.
    FW_KIND_BINARY = 1,
    /// One JSON value: embedded as it is in what fanwire.json.v1 subscribers get. That it is well-formed is not checked.
    FW_KIND_JSON = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fw_kind fw_kind;
#else
typedef uint32_t fw_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// What happened. Later versions may add some: ignore those that you do not know.
enum fw_event_type
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// A client has connected: connection, text (the request's path), peer, protocol.
    FW_EVENT_OPENED = 1,
    /// A connection now gets a topic: connection, text (the topic's name).
    FW_EVENT_SUBSCRIBED = 2,
    /// A connection no longer gets a topic: connection, text (the topic's name).
    FW_EVENT_UNSUBSCRIBED = 3,
    /// A client without a topic has sent a message (events_messages): connection, kind, data, len.
    FW_EVENT_MESSAGE = 4,
    /// The engine gives up a client: connection, text (why). FW_EVENT_CLOSED follows.
    FW_EVENT_EVICTED = 5,
    /// A connection is gone: connection, code (1006 where it just broke).
    FW_EVENT_CLOSED = 6,
    /// A connection has fallen behind by more than 70 % of lane_bytes: connection, text (the topic's name), priority.
    FW_EVENT_LAGGING = 7,
    /// A shard has failed, and the engine has ended: code (the shard's number, from 0), text (why). Connections of that shard
    /// get no more events. Stop the engine, and start another one or end. See fw_failure.
    FW_EVENT_FAILED = 8,
    /// A client asks to be let in (the setting access.ask_host_within): connection, text (the request's target, with its query), peer,
    /// certificate, data, len (those headers that access.ask_host_headers names, each as `name: value` and a CR and LF), code (which of the
    /// listening addresses it came by, from 0). Answer with fw_allow or fw_refuse. If it is let in, FW_EVENT_OPENED follows; if it goes
    /// away before, nothing does.
    FW_EVENT_AUTHORIZE = 9,
    /// A connection brings another token: connection, text (the token). Answer with fw_allow or fw_refuse: the new patterns and time take
    /// the place of the old ones, if `subject` is the one that it was let in with; refused, or of another subject, the client is told so
    /// and the old ones hold. It is asked once at a time and at most once a second; there is no deadline but the old time.
    FW_EVENT_REAUTHORIZE = 10,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fw_event_type fw_event_type;
#else
typedef uint32_t fw_event_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// A claimed buffer, until fw_commit, fw_abort or fw_engine_free. A handle: never look behind the pointer. One thread at a
/// time, any thread.
typedef struct fw_buffer fw_buffer;

/// A running engine, until fw_engine_free. A handle: never look behind the pointer. May be used from any thread, by any
/// number of them at once.
typedef struct fw_engine fw_engine;

/// A topic to publish on, until fw_topic_free or fw_engine_free. A handle: never look behind the pointer. May be used from any
/// thread, by any number of them at once.
typedef struct fw_topic fw_topic;

/// Settings for the topics whose name matches a pattern. Zero it, set struct_size and pattern, then what matters.
typedef struct fw_topic_config {
    /// sizeof(fw_topic_config).
    uint32_t struct_size;
    /// A fw_retention.
    uint32_t retention;
    /// A topic name, or a pattern with * for one level and a final ** for the rest.
    const char *pattern;
    /// Instead of the engine's lane_bytes; 0: the engine's.
    uint64_t lane_bytes;
    /// FW_RETENTION_LAST: most messages; 0: any number.
    uint64_t retention_messages;
    /// FW_RETENTION_LAST: most bytes; 0: any number.
    uint64_t retention_bytes;
    /// FW_RETENTION_LAST: greatest age in milliseconds; 0: any.
    uint64_t retention_age_ms;
    /// A fw_slow_policy.
    uint32_t policy;
    /// Not zero: batch_window_us holds, instead of 5 milliseconds.
    uint32_t has_batch_window;
    /// Microseconds that a batch of fanwire.batch.v1 may stay open; 0: as short as can be.
    uint64_t batch_window_us;
} fw_topic_config;

/// A setting by its name: docs/reference/settings.md and token-settings.md list them.
typedef struct fw_setting {
    /// Its name: "limits.ping_every".
    const char *name;
    /// Its value as text: "64MiB", "5s", "true", "epoll". A list is written with commas, topics one a line.
    const char *value;
} fw_setting;

/// What an engine is made with. Fill it with FW_CONFIG_INIT, then change what matters. fw_start copies all of it.
typedef struct fw_config {
    /// Set by fw_config_init.
    uint32_t struct_size;
    /// A fw_driver.
    uint32_t driver;
    /// Addresses with ports to listen on, separated by commas: `127.0.0.1:9001,[::1]:9001`; `wss://IP:PORT`
    /// speaks TLS. Port 0 takes a free one.
    const char *listen;
    /// Threads that serve clients, 1 to 64; 0: as many as there are CPUs to use.
    uint32_t shards;
    /// A fw_pinning.
    uint32_t pinning;
    /// The CPUs for FW_PIN_LIST.
    const uint32_t *cpus;
    /// How many.
    size_t cpus_count;
    /// Connections at most; 0: 10,000, or as many as the limit on open files allows.
    uint32_t connections_max;
    /// Subscriptions of all connections at most, one for each topic and priority.
    uint32_t cursors_max;
    /// Topics at most.
    uint32_t topics_max;
    /// Topics and patterns that one connection may subscribe to.
    uint32_t subscriptions_per_connection_max;
    /// The ingest ring: a power of two from 64 KiB on.
    uint64_t ring_bytes;
    /// Logs of all topics.
    uint64_t pool_bytes;
    /// What one topic and priority may hold, on each shard.
    uint64_t lane_bytes;
    /// Claimed buffers, messages by reference, messages being received, messages to single connections. Past it:
    /// FW_WOULD_BLOCK.
    uint64_t payload_bytes;
    /// Copies of half-sent messages.
    uint64_t remainder_bytes;
    /// Largest message, up to 64 MiB.
    uint64_t message_bytes_max;
    /// Largest HTTP request of a client that connects.
    uint64_t request_bytes_max;
    /// Milliseconds from a connection to its complete HTTP request.
    uint64_t handshake_timeout_ms;
    /// Milliseconds of silence after which a client is sent a ping, and closed after as many again; 0: never.
    uint64_t ping_every_ms;
    /// Milliseconds without a message from a client after which it is closed; 0: never.
    uint64_t idle_timeout_ms;
    /// Milliseconds that a closing connection gets for its close handshake.
    uint64_t close_timeout_ms;
    /// Settings for some topics; the first pattern that matches holds.
    const struct fw_topic_config *topics;
    /// How many.
    size_t topics_count;
    /// Origins of web pages that may connect, such as `https://example.org`; none: all.
    const char *const *allowed_origins;
    /// How many.
    size_t allowed_origins_count;
    /// How the engine names itself to clients.
    const char *server_name;
    /// A fw_publish_access.
    uint32_t publish_access;
    /// Not zero: compress for clients that offer permessage-deflate.
    uint32_t deflate;
    /// Smaller messages are not compressed.
    uint32_t compression_threshold_bytes;
    /// Not zero: lock all memory of the process (mlockall).
    uint32_t lock_memory;
    /// Events that may wait for fw_poll_events on each shard, up to 1,048,576; 0: no events.
    uint32_t events_capacity;
    /// Not zero: clients may connect to "/" without a topic, and their messages come as events.
    uint32_t events_messages;
    /// Milliseconds over which fw_engine_shutdown spreads its closes (with 1012), so that clients do not all come back at once; at
    /// most half of the time that the shutdown has. 0: each is closed (with 1001) as soon as it has everything.
    uint64_t close_window_ms;
    /// Bytes that the kernel may hold unsent for one connection, about: what a critical message may have to wait behind on a
    /// thin link.
    uint64_t unsent_bytes_max;
    /// Any settings by their names: they hold instead of what the fields above say, a later one instead of an earlier one.
    const struct fw_setting *settings;
    /// How many.
    size_t settings_count;
} fw_config;

/// A socket that listens already.
typedef struct fw_socket {
    /// Its name: what a listener "fd:NAME" says, or what fw_listening_socket of another process has said.
    const char *name;
    /// Its descriptor.
    int32_t fd;
} fw_socket;

/// Tells the host that the engine does not use `data` any more. Runs exactly once for each message that was accepted by
/// reference, only inside fw_poll_events, fw_shutdown, fw_stop or fw_engine_free, on the thread that makes that call.
/// It may publish, but not poll, stop or free an engine (FW_BUSY). It must return: no longjmp, no exception.
typedef void (*fw_release_fn)(void *context, const void *data, size_t len);

/// A message with all that may be said of it. Zero it, set struct_size, then what matters.
typedef struct fw_message {
    /// sizeof(fw_message).
    uint32_t struct_size;
    /// A fw_priority.
    uint32_t priority;
    /// A fw_kind.
    uint32_t kind;
    /// Milliseconds after which it is worth nothing: a subscriber that lags does not get it any more. 0: never.
    uint32_t ttl_ms;
    /// The message.
    const void *data;
    /// Its length.
    size_t len;
    /// Where a topic's policy keeps only the newest message of each key: which one it replaces. May be NULL.
    const char *key;
    /// What is to be said of it beyond the payload, at most 1,024 bytes: kept beside it and handed to what the engine feeds besides
    /// clients, whatever they mean; no client is sent them. May be NULL if there are none.
    const void *attributes;
    /// Their length.
    size_t attributes_len;
} fw_message;

/// A message's bytes.
typedef struct fw_slice {
    /// May be NULL if there are none.
    const void *data;
    /// How many.
    size_t len;
} fw_slice;

/// One event. The events of one connection come in order, from FW_EVENT_OPENED (or FW_EVENT_AUTHORIZE) to FW_EVENT_CLOSED. No pointer is ever NULL
/// but `data`, of an empty message or an event without one.
typedef struct fw_event {
    /// A fw_event_type.
    uint32_t type;
    /// A fw_kind.
    uint32_t kind;
    /// Names the connection for fw_send_to, fw_close, fw_allow and fw_refuse; never used again after FW_EVENT_CLOSED.
    uint64_t connection;
    /// A message, or headers.
    const void *data;
    /// Its length.
    size_t len;
    /// Path, topic, token or reason; with a NUL.
    const char *text;
    /// The client's address and port; "" where it is not known.
    const char *peer;
    /// The subprotocol; "" if none.
    const char *protocol;
    /// A close code, or the number of a shard or of a listening address.
    uint32_t code;
    /// A fw_priority.
    uint32_t priority;
    /// Of FW_EVENT_AUTHORIZE: the subject of the client's certificate, which was verified, as RFC 4514 writes it: "CN=rover-1,O=Example".
    /// "" where it has shown none.
    const char *certificate;
    /// Zero. The struct never grows.
    uint64_t reserved[3];
} fw_event;

/// How the subscribers of a topic stand. Set struct_size to sizeof(fw_pressure) before each call: later versions add numbers at
/// the end.
typedef struct fw_pressure {
    /// sizeof(fw_pressure).
    uint32_t struct_size;
    /// 0.
    uint32_t reserved;
    /// Subscribers now.
    uint64_t subscribers;
    /// The largest lag of any subscriber in any priority, as a share of the lane's budget in bytes: 0 for none; at 0.9 the
    /// oldest messages are dropped, or, in the critical lane, at 1 the subscriber is closed.
    double fullest;
    /// Nanoseconds since the oldest message was published that some subscriber has still to get; 0 if there is none.
    uint64_t oldest_ns;
    /// Messages lost so far by subscribers that were too slow, by FW_PRIORITY_…: critical (none, ever), high, normal, low.
    uint64_t dropped[4];
} fw_pressure;

/// What an engine, or one of its shards, has counted. Set struct_size to sizeof(fw_stats) before each call: later versions add
/// numbers at the end.
typedef struct fw_stats {
    /// sizeof(fw_stats).
    uint32_t struct_size;
    /// Shards of the engine.
    uint32_t shards;
    /// Bytes queued in the ingest ring, between publishers and the slowest shard.
    uint64_t ring_bytes;
    /// Payload memory in use.
    uint64_t payload_bytes;
    /// Messages by reference whose release callback has not run yet.
    uint64_t references;
    /// Their bytes.
    uint64_t reference_bytes;
    /// Connections open now, handshakes included.
    uint64_t connections;
    /// Connections accepted.
    uint64_t accepted;
    /// Connections refused with 503, or 429, because a limit was reached.
    uint64_t refused;
    /// Upgrades completed.
    uint64_t upgraded;
    /// Upgrades refused.
    uint64_t upgrades_refused;
    /// Connections closed, for whatever reason.
    uint64_t closed;
    /// Connections closed for breaking the protocol.
    uint64_t violations;
    /// Connections closed because they were too slow for their critical messages.
    uint64_t evicted;
    /// Connections closed because they did not answer a ping.
    uint64_t pongs_missed;
    /// Connections cut off by a shutdown that ran out of time.
    uint64_t cut_off;
    /// Topics known.
    uint64_t topics;
    /// Subscriptions, one for each topic and priority.
    uint64_t cursors;
    /// Messages read from the ring.
    uint64_t messages;
    /// Their bytes.
    uint64_t message_bytes;
    /// Messages received from clients.
    uint64_t received;
    /// Messages delivered, one for each subscriber.
    uint64_t deliveries;
    /// Messages rendered into another encoding.
    uint64_t encoded;
    /// Compressions done.
    uint64_t compressed;
    /// Logs of an encoding that were built again for a subscriber that came back.
    uint64_t rebuilt;
    /// Subscriptions that fell behind by more than 70 % of lane_bytes.
    uint64_t lagging;
    /// Messages passed over by FW_SLOW_LATEST, max_hz, expiry and exclusions.
    uint64_t passed_over;
    /// Bytes given to the kernel.
    uint64_t sent_bytes;
    /// Sends submitted.
    uint64_t sends;
    /// Sends that the socket did not take whole.
    uint64_t sends_short;
    /// System calls.
    uint64_t syscalls;
    /// Runs of messages that one subscription lost.
    uint64_t gaps;
    /// Critical messages that subscriptions lost.
    uint64_t dropped_critical;
    /// High messages that subscriptions lost.
    uint64_t dropped_high;
    /// Normal messages that subscriptions lost.
    uint64_t dropped_normal;
    /// Low messages that subscriptions lost.
    uint64_t dropped_low;
    /// Messages for which no log memory was left.
    uint64_t unlogged;
    /// Log memory in use.
    uint64_t log_bytes;
    /// Copies of half-sent messages.
    uint64_t remainder_bytes;
    /// Events that wait because the host does not take them.
    uint64_t events_waiting;
    /// Turns of the shards' loops.
    uint64_t turns;
    /// Turns that slept.
    uint64_t sleeps;
    /// Times that no receive buffer was free.
    uint64_t recv_buffers_exhausted;
    /// Completion-queue overflows.
    uint64_t cq_overflows;
    /// Times that accept failed for want of descriptors.
    uint64_t accept_exhausted;
    /// The most work in one turn, in steps; of several shards, the highest.
    uint64_t turn_steps_max;
    /// The longest turn by its thread's CPU clock, in nanoseconds; of several shards, the highest.
    uint64_t turn_ns_max;
    /// Input and answers that wait, and what clients asked for, in bytes.
    uint64_t client_bytes;
    /// Connections closed with 1012 at the end of their lifetime.
    uint64_t lifetimes_ended;
    /// Of those refused: with 429, because their address came too often.
    uint64_t refused_too_often;
    /// Of those refused: with 429, because upgrades of their address failed.
    uint64_t refused_failing;
    /// Times an address began to be refused because its upgrades failed.
    uint64_t addresses_failing;
    /// Connections and requests refused for what their subject has already.
    uint64_t refused_for_subject;
    /// Times a client sent faster than it may, and was not read for a while.
    uint64_t input_paused;
    /// Clients that are not read just now, for they sent faster than they may.
    uint64_t senders_paused;
    /// Connections closed with 1008 for going on so.
    uint64_t too_fast;
    /// Connections that a shutdown has closed in good order.
    uint64_t drained;
    /// Closed at a ?proxy listener: not a trusted proxy's, or no header.
    uint64_t proxy_refused;
    /// Of those refused: with 503, because connections_max was reached.
    uint64_t refused_full;
    /// Of those refused: with 429, because of connections_per_address_max.
    uint64_t refused_for_address;
    /// Of those refused: with 503, to make room for a newer upgrade.
    uint64_t refused_waiting;
    /// Requests refused for a maximum of subscriptions, patterns or cursors.
    uint64_t subscriptions_refused;
    /// Requests refused because no more topics can be made, or not for them.
    uint64_t topics_refused;
    /// Connections closed with 1009 for a message beyond the largest.
    uint64_t messages_too_large;
    /// Bytes of messages that were compressed, before.
    uint64_t compressed_from_bytes;
    /// Bytes of messages that were compressed, after.
    uint64_t compressed_to_bytes;
    /// Bytes that subscribers were not sent because messages were compressed.
    uint64_t compression_saved_bytes;
    /// Time in turns, waiting left out, in nanoseconds.
    uint64_t busy_ns;
    /// Tokens of open connections that were taken.
    uint64_t renewed;
    /// Tokens of open connections that were refused; those went on as before.
    uint64_t renewals_refused;
    /// TLS handshakes completed.
    uint64_t tls_handshakes;
    /// Connections given up for what came over TLS, or for want of memory for it.
    uint64_t tls_failed;
    /// TLS: what handshakes, records that are not whole and rests of records hold.
    uint64_t tls_bytes;
    /// The most that was held so at once.
    uint64_t tls_bytes_max;
    /// Messages refused: their number was not above those before it in its lane.
    uint64_t out_of_order;
    /// Connections given up because their upgrade request was not whole in time.
    uint64_t handshakes_late;
    /// Connections closed with 1001 for idle_timeout without a message.
    uint64_t closed_idle;
} fw_stats;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/// The version of the interface that the library has: compare it with FW_ABI_VERSION.
///
/// Threads: any. Blocks: never. Fails: never.
uint32_t fw_abi_version(void);

/// The library's version, such as "0.1.0". The text is the library's and never changes.
///
/// Threads: any. Blocks: never. Fails: never.
const char *fw_version(void);

/// What went wrong in this thread's last failed call, for a log; "" if none has failed. UTF-8.
///
/// Frees: the text is the library's; it is valid until this thread's next failed call or its end. Threads: each has its own.
/// Blocks: never. Fails: never.
const char *fw_last_error(void);

/// What a status means, in a few words. Any number may be asked for.
///
/// Frees: the text is the library's and never changes. Threads: any. Blocks: never. Fails: never.
const char *fw_status_str(int32_t status);

/// Fills a configuration with the defaults. `struct_size` is sizeof(fw_config) as the host's compiler has it: the macro
/// FW_CONFIG_INIT(&config) passes it.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL; FW_ABI_MISMATCH if the header is of a version that this library does not know.
fw_status fw_config_init(struct fw_config *config,
                         uint32_t struct_size);

/// Says whether a setting can have this value, without an engine: for a host that reads settings from a file or its users.
/// What settings have to do with each other, and with the machine, is seen by fw_start. fw_last_error names the values that
/// are allowed, or the setting whose name is nearest.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never. Fails: FW_NULL, FW_NOT_UTF8, FW_BAD_CONFIG.
fw_status fw_setting_check(const char *name,
                           const char *value);

/// Sets `*is_running`: false after a shutdown, or when a shard has failed: see fw_failure.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_INTERNAL.
fw_status fw_is_running(const struct fw_engine *engine, bool *is_running);

/// Which shard has failed and why, as text for a log: "shard 1 has ended: …"; "" if none has. The engine has then ended: it takes
/// no messages and no connections, the other shards deliver what was published and close their clients, and those of the shard
/// that failed are cut off. Stop it, and start another one or end. Buffer and length as in fw_address.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED while it is being stopped.
fw_status fw_failure(const struct fw_engine *engine,
                     char *buffer,
                     size_t size,
                     size_t *length);

/// The address number `index` that is listened on, as text with its port: "127.0.0.1:9001". `*length` (which may be NULL) is
/// set to the text's length; at most `size` bytes are written to `buffer`, with a NUL.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED while it is being stopped; FW_GONE if
/// there is no such address.
fw_status fw_address(const struct fw_engine *engine,
                     size_t index,
                     char *buffer,
                     size_t size,
                     size_t *length);

/// Reads certificates and keys anew, from the same files: connections that come from now on get them, those that are there keep
/// theirs. *count (may be NULL): how many certificates there are; 0 where no listener speaks TLS. Where a file cannot be read or
/// used, everything is as it was, and fw_last_error says which.
///
/// Threads: any. Blocks: while files are read. Fails: FW_NULL, FW_BAD_HANDLE, FW_STOPPED, FW_BAD_CONFIG.
fw_status fw_reload_certificates(const struct fw_engine *engine,
                                 size_t *count);

/// Gives the engine another configuration while it runs: settings that can be changed so (docs/reference/settings.md says which)
/// hold from now on, for whoever connects after this has returned; certificates and keys are read anew, where a listener speaks
/// TLS, and those that tokens are verified with. `buffer` gets a line for each setting that is different, as text for a log: "changed: limits.ping_every", or "needs a
/// restart: memory.pool_bytes" for one that keeps its value, and one for the keys of tokens: who came in by one that is gone is closed
/// with 4401. "" if there is nothing to say. Buffer and length as in fw_address. Where something is
/// wrong, everything is as it was, and fw_last_error says what.
///
/// Retains: nothing of `config`. Threads: any. Blocks: while files and token.jwks_url are read. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED,
/// FW_ABI_MISMATCH, FW_NOT_UTF8, FW_BAD_CONFIG.
fw_status fw_reconfigure(const struct fw_engine *engine,
                         const struct fw_config *config,
                         char *buffer,
                         size_t size,
                         size_t *length);

/// Refuses tokens from now on, and closes with 4401 who came in by them: those of the subject `sub`, the one of the name `jti`, those
/// made before `before` (seconds since 1970, 0: whenever; a token that does not say when counts as older). All that is said has to
/// hold; NULL says nothing, and something has to be said. `*closed` (may be NULL): connections that are closed. They are remembered as
/// long as the engine lives, and longer with token.revocations_file.
///
/// Retains: nothing. Threads: any. Blocks: while token.revocations_file is written. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED,
/// FW_STOPPED, FW_NOT_UTF8; FW_BAD_ARGUMENT where nothing is said or a name has more than 1,024 bytes; FW_BAD_CONFIG where this engine
/// asks for no tokens; FW_TOO_MANY beyond token.revocations_max; FW_SYSTEM where the file cannot be written: they are refused until the
/// engine ends.
fw_status fw_revoke(const struct fw_engine *engine,
                    const char *sub,
                    const char *jti,
                    uint64_t before,
                    size_t *closed);

/// The port of the first address, or 0 after an error.
///
/// Threads: any. Blocks: never. Fails (fw_last_error): as fw_address.
uint16_t fw_port(const struct fw_engine *engine);

/// The kernel interface that runs, "uring" or "epoll". Buffer and length as in fw_address.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED while it is being stopped.
fw_status fw_driver_name(const struct fw_engine *engine,
                         char *buffer,
                         size_t size,
                         size_t *length);

/// Why FW_DRIVER_AUTO did not take io_uring, with cause and fix; "" if it did. Log it at start. Buffer and length as in
/// fw_address.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED while it is being stopped.
fw_status fw_driver_notice(const struct fw_engine *engine,
                           char *buffer,
                           size_t size,
                           size_t *length);

/// The sum of all memory that the engine may use, as a table for a log. Buffer and length as in fw_address.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED while it is being stopped.
fw_status fw_memory_plan(const struct fw_engine *engine,
                         char *buffer,
                         size_t size,
                         size_t *length);

/// Starts an engine: its threads run and its addresses are listened on when this returns. Installs no signal handler, changes
/// no signal mask but in its own threads, where all signals are blocked.
///
/// Frees: fw_engine_free frees what `*engine` is set to. Retains: nothing of `config`. Threads: any. Blocks: for milliseconds; with token.jwks_url up to
/// ten seconds.
/// Fails: FW_NULL, FW_ABI_MISMATCH, FW_NOT_UTF8, FW_BAD_CONFIG, FW_NO_URING, FW_CANNOT_LISTEN, FW_SYSTEM, FW_TOO_MANY;
/// then `*engine` is NULL and nothing is left running. Works in a forked child, for an engine of its own.
fw_status fw_start(const struct fw_config *config,
                   struct fw_engine **engine);

/// fw_start with sockets that listen already: the process was started with them (systemd's socket activation), or another
/// process has handed them over. Listeners of the configuration take them by their names; those that none takes are left alone.
///
/// Retains: nothing; descriptors stay the caller's, the engine has its own of the same sockets. All else as fw_start; fails also:
/// FW_BAD_ARGUMENT for a descriptor that is none.
fw_status fw_start_with(const struct fw_config *config,
                        const struct fw_socket *sockets,
                        size_t count,
                        struct fw_engine **engine);

/// A descriptor of socket number `index` that the engine listens on, for another process to take over (SCM_RIGHTS, or inherited by
/// a child), which gives it to fw_start_with under the same name. There may be several of one name. Buffer and length, for the
/// name, as in fw_address.
///
/// Frees: close `*fd`. Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED while it is being
/// stopped, FW_SYSTEM where there is no descriptor left; FW_GONE if there is no such socket, as once an end has begun. Then `*fd` is -1.
fw_status fw_listening_socket(const struct fw_engine *engine,
                              size_t index,
                              int32_t *fd,
                              char *buffer,
                              size_t size,
                              size_t *length);

/// Name number `index` of the sockets given to fw_start_with that fw_listening_socket of another process has named and this engine
/// listens on: what that one's fw_hand_over is to be told. Buffer and length as in fw_address.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED while it is being stopped; FW_GONE if there
/// is no such name.
fw_status fw_taken_over(const struct fw_engine *engine,
                        size_t index,
                        char *buffer,
                        size_t size,
                        size_t *length);

/// Ends an engine in favour of another process, which listens on the sockets with these names and serves already. Nobody is refused:
/// what waits to be accepted is the other's. Each connection goes on, may subscribe and publish, and is closed with 1012 at a moment of
/// its own within `window_ms`, when it has everything that was published before; those that have published go first. Publishing goes on
/// meanwhile. What is not done after `deadline_ms`, which is to be longer, is cut off. All else as fw_shutdown.
///
/// Frees: nothing; fw_engine_free does. Threads: any, but not inside a release callback. Blocks: up to about `deadline_ms`.
/// Fails: as fw_shutdown; FW_NOT_UTF8.
fw_status fw_hand_over(struct fw_engine *engine,
                       const char *const *names,
                       size_t count,
                       uint32_t window_ms,
                       uint32_t deadline_ms);

/// fw_shutdown with the closes spread over `window_ms`, whatever close_window_ms of its configuration says: each connection is closed with
/// 1012 at a moment of its own. `deadline_ms` is to be longer by what the slowest subscriber may need. With a window of 0 each is
/// closed with 1001 as soon as it has everything.
///
/// Frees: nothing; fw_engine_free does. Threads: any, but not inside a release callback. Blocks: up to about `deadline_ms`.
/// Fails: as fw_shutdown.
fw_status fw_shutdown_over(struct fw_engine *engine,
                           uint32_t window_ms,
                           uint32_t deadline_ms);

/// Ends an engine in good order: takes no more connections and messages, delivers what was published, closes every client
/// with 1001. What is not done after `deadline_ms` is cut off. Runs the release callbacks of all messages by reference. The
/// handle stays: fw_poll_events has the last events, fw_read_stats the last numbers, and all else answers FW_STOPPED.
///
/// Frees: nothing; fw_engine_free does. Threads: any, but not inside a release callback. Blocks: up to about `deadline_ms`.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BUSY (inside a callback); FW_TIMED_OUT if something was cut off; FW_STOPPED
/// if it was stopped before (waits for another thread that is about it).
fw_status fw_shutdown(struct fw_engine *engine,
                      uint32_t deadline_ms);

/// Ends an engine at once: connections are reset, what was not delivered is lost. All else as fw_shutdown.
///
/// Frees: nothing; fw_engine_free does. Threads: any, but not inside a release callback. Blocks: for milliseconds.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BUSY (inside a callback), FW_STOPPED if it was stopped before.
fw_status fw_stop(struct fw_engine *engine);

/// Frees an engine, with all its topics and claimed buffers; stops it first if it runs (fw_stop). Waits for the calls that
/// other threads are making with it, and makes those that wait return. Every handle of it is FW_BAD_HANDLE from now on,
/// and what fw_poll_events lent is gone. In a forked child: does nothing.
///
/// Frees: the engine. Threads: any, but not inside a release callback. Blocks: until other threads' calls have returned.
/// Fails: FW_NULL, FW_BAD_HANDLE (freed before), FW_FORKED, FW_BUSY (inside a callback).
fw_status fw_engine_free(struct fw_engine *engine);

/// Sends a message to one connection, past all topics: the `connection` of an event. Copies it. A connection that is gone by
/// the time its shard looks is no error.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BAD_ARGUMENT (`kind` is no fw_kind), FW_TOO_LARGE, FW_NOT_UTF8, FW_WOULD_BLOCK,
/// FW_GONE (no such connection was ever made), FW_STOPPED.
fw_status fw_send_to(struct fw_engine *engine,
                     uint64_t connection,
                     uint32_t kind,
                     const void *data,
                     size_t len);

/// fw_send_to without a copy: see fw_publish_ref for what is retained and when it is released.
///
/// Frees: `release` is called once if this returns FW_OK, and never otherwise. Threads: any. Blocks: never.
/// Fails: as fw_send_to; FW_NULL if `release` is NULL.
fw_status fw_send_ref_to(struct fw_engine *engine,
                         uint64_t connection,
                         uint32_t kind,
                         const void *data,
                         size_t len,
                         fw_release_fn release,
                         void *context);

/// Closes one connection: with this code (1000 to 1003, 1007 to 1014, or 3000 to 4999) and reason (text, at most 123 bytes
/// of which are sent; may be NULL).
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BAD_ARGUMENT (the code), FW_NOT_UTF8, FW_WOULD_BLOCK, FW_GONE, FW_STOPPED.
fw_status fw_close(struct fw_engine *engine,
                   uint64_t connection,
                   uint32_t code,
                   const char *reason);

/// Lets in a client that asks: the `connection` of an FW_EVENT_AUTHORIZE, or lets one that is in stay: of an FW_EVENT_REAUTHORIZE. It may subscribe to what one of the patterns `subscribe` covers,
/// and publish on topics that one of `publish` matches: texts with one pattern a line, at most 256; NULL or "": nothing. After
/// `lifetime_ms` it is closed with 4401; 0: never. `subject` says who it is (at most 255 bytes), for the limits that count by it;
/// NULL: nobody in particular. The first decision counts; one for a client that is gone, or was answered 503 for want of one,
/// does nothing.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_NOT_UTF8, FW_BAD_NAME (a pattern), FW_TOO_MANY, FW_BAD_ARGUMENT (the subject),
/// FW_WOULD_BLOCK, FW_GONE, FW_STOPPED.
fw_status fw_allow(struct fw_engine *engine,
                   uint64_t connection,
                   const char *subscribe,
                   const char *publish,
                   uint64_t lifetime_ms,
                   const char *subject);

/// Refuses a client that asks, with the HTTP status 401 (it has not said who it is), 403 (it may not) or 503 (that cannot be told
/// now); one that is in stays in, and is told with the error `not_authorized`, `not_allowed` or `unavailable`. See fw_allow.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BAD_ARGUMENT (the status), FW_WOULD_BLOCK, FW_GONE, FW_STOPPED.
fw_status fw_refuse(struct fw_engine *engine,
                    uint64_t connection,
                    uint32_t status);

/// Opens the topic of this name, which is made if need be: levels of UTF-8 separated by "/", at most 255 bytes. Opening it
/// twice gives two handles.
///
/// Frees: fw_topic_free, or fw_engine_free, frees what `*topic` is set to. Retains: nothing. Threads: any. Blocks: up to a
/// second while the ring is full.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BAD_NAME, FW_NOT_UTF8, FW_TOO_MANY, FW_WOULD_BLOCK, FW_STOPPED; then `*topic` is
/// NULL.
fw_status fw_topic_open(struct fw_engine *engine,
                        const char *name,
                        struct fw_topic **topic);

/// Frees a topic's handle. The topic itself stays, with its messages and subscribers.
///
/// Frees: the handle. Threads: any; other threads' calls with it end first. Blocks: never for long.
/// Fails: FW_NULL, FW_BAD_HANDLE (freed before), FW_FORKED.
fw_status fw_topic_free(struct fw_topic *topic);

/// Removes a topic from the engine: its messages are freed, its subscribers get no more, and publishing with a handle of
/// it is FW_REMOVED. The handles are still to be freed.
///
/// Frees: no handle. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_NOT_UTF8, FW_GONE (none of this name), FW_WOULD_BLOCK, FW_STOPPED.
fw_status fw_topic_remove(struct fw_engine *engine,
                          const char *name);

/// The topic's name. `*length` (which may be NULL) is set to its length; at most `size` bytes are written to `buffer`, with a
/// NUL.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED.
fw_status fw_topic_name(const struct fw_topic *topic,
                        char *buffer,
                        size_t size,
                        size_t *length);

/// The topic's number, and the epoch in which its sequence numbers count: another one after each start of an engine. Either
/// pointer may be NULL.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED.
fw_status fw_topic_id(const struct fw_topic *topic,
                      uint32_t *id,
                      uint64_t *epoch);

/// Publishes one message: copies it, once. `*position` (which may be NULL) is set to its place in the order of its priority's messages
/// of the engine.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BAD_ARGUMENT (priority or kind), FW_TOO_LARGE, FW_NOT_UTF8, FW_WOULD_BLOCK, FW_REMOVED,
/// FW_STOPPED; then nothing was published.
fw_status fw_publish(struct fw_topic *topic,
                     uint32_t priority,
                     uint32_t kind,
                     const void *data,
                     size_t len,
                     uint64_t *position);

/// fw_publish that waits up to `timeout_ms` for room.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: up to `timeout_ms`, or until the engine is stopped.
/// Fails: as fw_publish; FW_WOULD_BLOCK once the time is over.
fw_status fw_publish_wait(struct fw_topic *topic,
                          uint32_t priority,
                          uint32_t kind,
                          const void *data,
                          size_t len,
                          uint32_t timeout_ms,
                          uint64_t *position);

/// Publishes one message with a key, an expiry or attributes: copies it, once. `*position` (which may be NULL) as in fw_publish.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: as fw_publish; FW_TOO_LARGE, too, of attributes; FW_ABI_MISMATCH (struct_size).
fw_status fw_publish_message(struct fw_topic *topic,
                             const struct fw_message *message,
                             uint64_t *position);

/// Publishes messages of one priority and kind in their order, as many as there is room for: much cheaper than one by
/// one. `*accepted` is set to how many were published, always from the first on.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: as fw_publish, about the message number `*accepted`, which was not published; the `*accepted` before it were.
fw_status fw_publish_many(struct fw_topic *topic,
                          uint32_t priority,
                          uint32_t kind,
                          const struct fw_slice *messages,
                          size_t count,
                          size_t *accepted);

/// fw_publish_many that waits up to `timeout_ms` for room for all of them.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: up to `timeout_ms`, or until the engine is stopped.
/// Fails: as fw_publish_many; FW_WOULD_BLOCK once the time is over.
fw_status fw_publish_many_wait(struct fw_topic *topic,
                               uint32_t priority,
                               uint32_t kind,
                               const struct fw_slice *messages,
                               size_t count,
                               uint32_t timeout_ms,
                               size_t *accepted);

/// Publishes one message by reference: the engine keeps `data` and reads it until every subscriber has it or has lost it.
/// Then, inside a later fw_poll_events, fw_shutdown, fw_stop or fw_engine_free, `release` is called with `context`, once. Until
/// then the bytes must neither change nor be freed. The bytes referred to are bounded by payload_bytes: past it,
/// FW_WOULD_BLOCK. Small messages (up to 1,024 bytes) are copied all the same, and released at the next opportunity. A topic
/// keeps its newest messages up to lane_bytes, whether or not somebody reads them: whoever has few buffers sets
/// fw_topic_config.lane_bytes to less than they hold together, or never gets one back.
///
/// Frees: `release` is called once if this returns FW_OK, and never otherwise. Threads: any. Blocks: never (but it reads all of
/// a text message, to check that it is UTF-8).
/// Fails: as fw_publish; FW_NULL if `release` is NULL.
fw_status fw_publish_ref(struct fw_topic *topic,
                         uint32_t priority,
                         uint32_t kind,
                         const void *data,
                         size_t len,
                         fw_release_fn release,
                         void *context,
                         uint64_t *position);

/// Claims memory for a message of up to `len` bytes on this topic, all zero. Write it through `*data`, then publish it with
/// fw_commit, or give it back with fw_abort.
///
/// Frees: fw_commit, fw_abort or fw_engine_free frees what `*buffer` is set to. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_TOO_LARGE, FW_WOULD_BLOCK (payload_bytes are in use), FW_TOO_MANY, FW_STOPPED; then
/// `*buffer` and `*data` are NULL.
fw_status fw_claim(struct fw_topic *topic,
                   size_t len,
                   struct fw_buffer **buffer,
                   void **data);

/// Makes a claimed buffer `len` bytes long, the new bytes zero: `*data` is where it is from now on. The old address is gone. A
/// buffer that is as long already does not change.
///
/// Frees: nothing. Threads: any. Blocks: never (but it may copy what the buffer has so far).
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BAD_ARGUMENT (after a commit that gave FW_WOULD_BLOCK), FW_WOULD_BLOCK (payload_bytes are
/// in use, or `len` is more than message_bytes_max); then the buffer is as it was.
fw_status fw_grow(struct fw_buffer *buffer,
                  size_t len,
                  void **data);

/// Publishes the first `len` bytes of a claimed buffer, without a copy. After FW_OK the buffer is the engine's: do not touch its
/// memory. After FW_WOULD_BLOCK it is still claimed, with its first `len` bytes: commit it again with the same `len` (and
/// without writing to it) or abort it. `*position` (which may be NULL) as in fw_publish.
///
/// Frees: the buffer, but for FW_WOULD_BLOCK, FW_BAD_ARGUMENT and FW_NOT_UTF8. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE (committed or aborted before), FW_FORKED, FW_BAD_ARGUMENT (priority, kind, or `len` is more than
/// was claimed), FW_NOT_UTF8, FW_WOULD_BLOCK, FW_REMOVED, FW_STOPPED.
fw_status fw_commit(struct fw_buffer *buffer,
                    size_t len,
                    uint32_t priority,
                    uint32_t kind,
                    uint64_t *position);

/// Gives a claimed buffer back, unpublished.
///
/// Frees: the buffer. Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE (committed or aborted before), FW_FORKED.
fw_status fw_abort(struct fw_buffer *buffer);

/// Takes up to `capacity` events, waiting up to `timeout_ms` (FW_FOREVER: for ever; 0: not at all) for the first one, and
/// sets `*count`. Before it returns it runs the release callbacks that are due. It may return early without an event: after
/// a callback, a signal, or a stop. With `capacity` 0 (then `events` may be NULL) it only runs callbacks and does not wait.
///
/// Frees: what `events` point to is the engine's, and valid until the next fw_poll_events or fw_engine_free of this engine.
/// Threads: any, one at a time for each engine; not inside a release callback. Blocks: up to `timeout_ms`.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BUSY; FW_STOPPED once the engine has stopped, or a shard has failed
/// (fw_last_error says which and why), and its last event was taken.
fw_status fw_poll_events(struct fw_engine *engine,
                         struct fw_event *events,
                         size_t capacity,
                         uint32_t timeout_ms,
                         size_t *count);

/// A descriptor that is readable when fw_poll_events has something to do, for poll, epoll, select or an event loop; -1
/// after an error. Call fw_poll_events with time-out 0 until it gives no more events. Neither read nor close it.
///
/// Frees: fw_engine_free closes it. Threads: any. Blocks: never. Fails (fw_last_error): FW_NULL, FW_BAD_HANDLE, FW_FORKED.
int fw_event_fd(const struct fw_engine *engine);

/// Reads how the subscribers of a topic stand, some ten milliseconds ago at most (a hundred at 100,000 subscribers). Subscribers
/// that asked for less (max_hz) are not behind for that.
///
/// Frees: nothing. Retains: nothing. Threads: any.
/// Blocks: the first call for a topic until every shard has answered, 100 ms at most; later calls never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_ABI_MISMATCH (struct_size), FW_REMOVED, FW_STOPPED.
fw_status fw_topic_pressure(const struct fw_topic *topic,
                            struct fw_pressure *pressure);

/// Reads the numbers of the whole engine: at most a second old while a shard sleeps. Works after fw_shutdown too.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_ABI_MISMATCH (struct_size), FW_STOPPED while it is being stopped.
fw_status fw_read_stats(const struct fw_engine *engine,
                        struct fw_stats *stats);

/// fw_read_stats of one shard, 0 to shards - 1; ring, payload memory and references are the engine's.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: as fw_read_stats; FW_BAD_ARGUMENT if there is no such shard.
fw_status fw_read_shard_stats(const struct fw_engine *engine, uint32_t shard, struct fw_stats *stats);

/// All that there is to know in numbers, in the text format of OpenMetrics 1.0 (it ends in "# EOF"): what fw_read_stats reads of each shard,
/// limits, histograms. `*length` (which may be NULL) is set to the text's length; at most `size` bytes are written to `buffer`, with a
/// NUL. Some 100 KiB: with a `size` of 0 (and then a `buffer` of NULL) it tells the length alone; the text of the next call may be a
/// little longer. To be served as "application/openmetrics-text; version=1.0.0; charset=utf-8". Works after fw_shutdown too.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED while it is being stopped.
fw_status fw_metrics(const struct fw_engine *engine,
                     char *buffer,
                     size_t size,
                     size_t *length);

/// What the engine says of itself on one of its topics "$sys/shards", "$sys/topics", "$sys/clients", as JSON: the next message of it, or
/// one that is less than a second old. Who asks once in five seconds or more often is answered at once. Buffer and length as in
/// fw_metrics; where the text does not fit, one with more room gets the same or a newer one.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: up to `timeout_ms`.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_NOT_UTF8, FW_BAD_NAME (no such topic, or one that is not to be had so), FW_TIMED_OUT,
/// FW_STOPPED.
fw_status fw_snapshot(const struct fw_engine *engine,
                      const char *topic,
                      uint32_t timeout_ms,
                      char *buffer,
                      size_t size,
                      size_t *length);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* FANWIRE_H */
