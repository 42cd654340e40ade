// fanwire for C++17: fanwire.h with owners, views and errors. Header only; link libfanwire.
//
//     fanwire::Config config;
//     config.listen = "127.0.0.1:9001";
//     auto engine = fanwire::Engine::start(config);
//     auto imu = engine.topic("rover/1/imu");
//     imu.publish(R"({"ax":0.1})", fanwire::Kind::json);
//     engine.shutdown(std::chrono::seconds(5));
//
// Errors are exceptions (fanwire::Error). With FANWIRE_NO_EXCEPTIONS defined before the first #include they are values:
// what returned T returns fanwire::Result<T>. The header then compiles with -fno-exceptions.
//
// Engine, Topic and Buffer own what they stand for and can be moved, not copied. Apart from moving and destroying, an
// Engine and a Topic may be used by any number of threads at once, a Buffer by one. Which calls may block, and what is
// retained, is said in fanwire.h.
#ifndef FANWIRE_HPP
#define FANWIRE_HPP

#include "fanwire.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#ifndef FANWIRE_NO_EXCEPTIONS
#include <stdexcept>
#endif

namespace fanwire {

// What a call came to, as a value.
class [[nodiscard]] Status {
public:
    Status() = default;
    Status(fw_status code, std::string text) : code_(code), text_(std::move(text)) {}

    bool ok() const noexcept { return code_ == FW_OK; }
    explicit operator bool() const noexcept { return ok(); }
    fw_status code() const noexcept { return code_; }
    // What went wrong; "" if nothing.
    const std::string &text() const noexcept { return text_; }
    // For a status that does not matter.
    void ignore() const noexcept {}

private:
    fw_status code_ = FW_OK;
    std::string text_;
};

#ifndef FANWIRE_NO_EXCEPTIONS

// What a failed call throws.
class Error : public std::runtime_error {
public:
    explicit Error(const Status &status) : std::runtime_error(status.text()), code_(status.code()) {}
    fw_status code() const noexcept { return code_; }

private:
    fw_status code_;
};

template <typename T> using Returned = T;

#else

// A value, or why there is none.
template <typename T> class [[nodiscard]] Result {
public:
    Result(T value) : value_(std::move(value)) {}
    Result(Status status) : status_(std::move(status)) {}

    bool ok() const noexcept { return status_.ok(); }
    explicit operator bool() const noexcept { return ok(); }
    const Status &status() const noexcept { return status_; }
    // Only if ok(): the program ends otherwise.
    T &value() & { return check(), *value_; }
    const T &value() const & { return check(), *value_; }
    T &&value() && { return check(), std::move(*value_); }
    T &operator*() & { return value(); }
    T *operator->() { return &value(); }

private:
    void check() const {
        if (!value_)
            std::abort();
    }

    std::optional<T> value_;
    Status status_;
};

template <> class [[nodiscard]] Result<void> {
public:
    Result() = default;
    Result(Status status) : status_(std::move(status)) {}

    bool ok() const noexcept { return status_.ok(); }
    explicit operator bool() const noexcept { return ok(); }
    const Status &status() const noexcept { return status_; }
    void ignore() const noexcept {}

private:
    Status status_;
};

template <typename T> using Returned = Result<T>;

#endif

namespace detail {

inline Status status(fw_status code) { return code == FW_OK ? Status() : Status(code, fw_last_error()); }

#ifndef FANWIRE_NO_EXCEPTIONS
inline void give(fw_status code) {
    if (code != FW_OK)
        throw Error(status(code));
}

template <typename T, typename Make> T give(fw_status code, Make &&make) {
    give(code);
    return make();
}
#else
inline Result<void> give(fw_status code) { return status(code); }

template <typename T, typename Make> Result<T> give(fw_status code, Make &&make) {
    if (code != FW_OK)
        return status(code);
    return make();
}
#endif

// Reads a text of unknown length with one of the functions that fill a buffer.
template <typename Read> Returned<std::string> text(Read &&read) {
    std::string text(255, '\0');
    std::size_t length = 0;
    fw_status code = read(text.data(), text.size() + 1, &length);
    while (code == FW_OK && length > text.size()) {
        text.resize(length);
        code = read(text.data(), text.size() + 1, &length);
    }
    return give<std::string>(code, [&] {
        text.resize(length);
        return std::move(text);
    });
}

inline std::uint32_t milliseconds(std::chrono::milliseconds time) {
    const auto count = time.count();
    if (count <= 0)
        return 0;
    return count >= 0xfffffffe ? 0xfffffffe : static_cast<std::uint32_t>(count);
}

} // namespace detail

enum class Priority : std::uint32_t {
    critical = FW_PRIORITY_CRITICAL,
    high = FW_PRIORITY_HIGH,
    normal = FW_PRIORITY_NORMAL,
    low = FW_PRIORITY_LOW,
};

enum class Kind : std::uint32_t {
    text = FW_KIND_TEXT,
    binary = FW_KIND_BINARY,
    json = FW_KIND_JSON,
};

// Bytes that are somebody else's: made from text, or from anything with data() and size() over plain values.
class View {
public:
    constexpr View() = default;
    constexpr View(const void *data, std::size_t size) : data_(data), size_(size) {}
    constexpr View(std::string_view text) : data_(text.data()), size_(text.size()) {}
    View(const std::string &text) : data_(text.data()), size_(text.size()) {}
    View(const char *text) : View(std::string_view(text)) {}
    template <typename Container, typename Item = std::remove_pointer_t<decltype(std::declval<const Container &>().data())>,
              typename = decltype(std::declval<const Container &>().size()),
              typename = std::enable_if_t<std::is_trivially_copyable_v<Item>>>
    View(const Container &container) : data_(container.data()), size_(container.size() * sizeof(Item)) {}

    constexpr const void *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    fw_slice slice() const noexcept { return fw_slice{data_, size_}; }

private:
    const void *data_ = nullptr;
    std::size_t size_ = 0;
};

// A message's place in the order of all messages of its priority.
using Position = std::uint64_t;
using Connection = std::uint64_t;

// Settings for the topics whose name matches a pattern: all but the pattern in `base`, which holds the defaults.
struct TopicConfig {
    explicit TopicConfig(std::string topics) : pattern(std::move(topics)) {
        base.struct_size = sizeof(base);
        base.retention = FW_RETENTION_LAST_VALUE;
    }

    std::string pattern;
    fw_topic_config base{};
};

// What an engine is made with: text and lists here, all other settings in `base`, filled with the defaults.
struct Config {
    Config() { detail::status(FW_CONFIG_INIT(&base)).ignore(); }

    fw_config base{};
    // Addresses with ports, separated by commas; empty: as in base.
    std::string listen;
    std::string server_name;
    std::vector<TopicConfig> topics;
    std::vector<std::string> allowed_origins;
    // Shards run on these, in turn; empty: as in base.
    std::vector<std::uint32_t> cpus;

    // Any setting by its name ("limits.ping_every", "5s"): holds instead of what the rest says. Refused at once if there is
    // no such setting, or it cannot have that value.
    Returned<void> set(std::string name, std::string value) {
        const fw_status code = fw_setting_check(name.c_str(), value.c_str());
        if (code == FW_OK)
            settings_.emplace_back(std::move(name), std::move(value));
        return detail::give(code);
    }
    const std::vector<std::pair<std::string, std::string>> &settings() const noexcept { return settings_; }

private:
    std::vector<std::pair<std::string, std::string>> settings_;
};

// One event; its views are valid until the next poll of the engine.
struct Event {
    fw_event raw;

    fw_event_type type() const noexcept { return static_cast<fw_event_type>(raw.type); }
    Connection connection() const noexcept { return raw.connection; }
    Kind kind() const noexcept { return static_cast<Kind>(raw.kind); }
    View message() const noexcept { return View(raw.data, raw.len); }
    std::string_view message_text() const noexcept { return {static_cast<const char *>(raw.data), raw.len}; }
    std::string_view text() const noexcept { return raw.text; }
    std::string_view peer() const noexcept { return raw.peer; }
    std::string_view protocol() const noexcept { return raw.protocol; }
    std::string_view certificate() const noexcept { return raw.certificate; }
    std::uint32_t code() const noexcept { return raw.code; }
    Priority priority() const noexcept { return static_cast<Priority>(raw.priority); }
};

// Memory of the engine's, to be written and published in place. Destroyed without commit() it is given back.
class Buffer {
public:
    Buffer(Buffer &&other) noexcept
        : handle_(std::exchange(other.handle_, nullptr)), data_(std::exchange(other.data_, nullptr)),
          size_(std::exchange(other.size_, 0)) {}
    Buffer &operator=(Buffer &&other) noexcept {
        if (this != &other) {
            abort();
            handle_ = std::exchange(other.handle_, nullptr);
            data_ = std::exchange(other.data_, nullptr);
            size_ = std::exchange(other.size_, 0);
        }
        return *this;
    }
    ~Buffer() { abort(); }

    unsigned char *data() noexcept { return static_cast<unsigned char *>(data_); }
    std::size_t size() const noexcept { return size_; }

    // Makes it longer; it may move.
    Returned<void> grow(std::size_t size) {
        const fw_status code = fw_grow(handle_, size, &data_);
        if (code == FW_OK && size > size_)
            size_ = size;
        return detail::give(code);
    }

    // Publishes the first `size` bytes. FW_WOULD_BLOCK: still ours, for another try with the same size.
    Returned<Position> commit(std::size_t size, Kind kind = Kind::binary, Priority priority = Priority::normal) {
        Position position = 0;
        const fw_status code = fw_commit(handle_, size, static_cast<std::uint32_t>(priority),
                                         static_cast<std::uint32_t>(kind), &position);
        // What the engine keeps claimed is given back by the destructor; what is gone is an unknown handle there.
        if (code == FW_OK)
            handle_ = nullptr;
        return detail::give<Position>(code, [&] { return position; });
    }
    Returned<Position> commit(Kind kind = Kind::binary, Priority priority = Priority::normal) {
        return commit(size_, kind, priority);
    }

    // Gives it back now.
    void abort() noexcept {
        if (handle_ != nullptr)
            (void)fw_abort(std::exchange(handle_, nullptr));
    }

private:
    friend class Topic;
    Buffer(fw_buffer *handle, void *data, std::size_t size) : handle_(handle), data_(data), size_(size) {}

    fw_buffer *handle_;
    void *data_;
    std::size_t size_;
};

// A topic to publish on.
class Topic {
public:
    Topic(Topic &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Topic &operator=(Topic &&other) noexcept {
        if (this != &other) {
            free();
            handle_ = std::exchange(other.handle_, nullptr);
        }
        return *this;
    }
    ~Topic() { free(); }

    fw_topic *handle() const noexcept { return handle_; }

    Returned<std::string> name() const {
        return detail::text([&](char *buffer, std::size_t size, std::size_t *length) {
            return fw_topic_name(handle_, buffer, size, length);
        });
    }

    // Publishes one message, by one copy; never waits.
    Returned<Position> publish(View message, Kind kind = Kind::binary, Priority priority = Priority::normal) {
        Position position = 0;
        const fw_status code = publish_raw(message, kind, priority, &position);
        return detail::give<Position>(code, [&] { return position; });
    }

    // As publish(), but a full ring is no error: no position then.
    Returned<std::optional<Position>> try_publish(View message, Kind kind = Kind::binary,
                                                  Priority priority = Priority::normal) {
        Position position = 0;
        const fw_status code = publish_raw(message, kind, priority, &position);
        if (code == FW_WOULD_BLOCK)
            return std::optional<Position>();
        return detail::give<std::optional<Position>>(code, [&] { return std::optional<Position>(position); });
    }

    // As publish(), waiting up to `timeout` for room.
    Returned<Position> publish_wait(View message, std::chrono::milliseconds timeout, Kind kind = Kind::binary,
                                    Priority priority = Priority::normal) {
        Position position = 0;
        const fw_status code =
            fw_publish_wait(handle_, static_cast<std::uint32_t>(priority), static_cast<std::uint32_t>(kind), message.data(),
                            message.size(), detail::milliseconds(timeout), &position);
        return detail::give<Position>(code, [&] { return position; });
    }

    // As publish(), with a key (which message it replaces), an expiry or attributes (what is to be said of it beyond the payload).
    Returned<Position> publish_message(View message, const std::string &key, std::chrono::milliseconds ttl = {},
                                       Kind kind = Kind::binary, Priority priority = Priority::normal,
                                       View attributes = {}) {
        fw_message raw{};
        raw.struct_size = sizeof(raw);
        raw.priority = static_cast<std::uint32_t>(priority);
        raw.kind = static_cast<std::uint32_t>(kind);
        raw.ttl_ms = detail::milliseconds(ttl);
        raw.data = message.data();
        raw.len = message.size();
        raw.key = key.empty() ? nullptr : key.c_str();
        raw.attributes = attributes.data();
        raw.attributes_len = attributes.size();
        Position position = 0;
        const fw_status code = fw_publish_message(handle_, &raw, &position);
        return detail::give<Position>(code, [&] { return position; });
    }

    // Publishes as many as there is room for, in order, and says how many. An error that is not a full ring is an error
    // only if nothing was published before it.
    Returned<std::size_t> publish_many(const fw_slice *messages, std::size_t count, Kind kind = Kind::binary,
                                       Priority priority = Priority::normal) {
        std::size_t accepted = 0;
        fw_status code = fw_publish_many(handle_, static_cast<std::uint32_t>(priority), static_cast<std::uint32_t>(kind),
                                         messages, count, &accepted);
        if (code == FW_WOULD_BLOCK || accepted > 0)
            code = FW_OK;
        return detail::give<std::size_t>(code, [&] { return accepted; });
    }
    Returned<std::size_t> publish_many(const std::vector<View> &messages, Kind kind = Kind::binary,
                                       Priority priority = Priority::normal) {
        std::vector<fw_slice> slices;
        slices.reserve(messages.size());
        for (const View &message : messages)
            slices.push_back(message.slice());
        return publish_many(slices.data(), slices.size(), kind, priority);
    }

    // Publishes a message by reference and keeps `owner` (a vector, a string, a unique_ptr, …) until the engine does not
    // need it any more: it is then destroyed inside a poll(), shutdown(), stop() or the engine's destructor.
    template <typename Owner>
    Returned<Position> publish_ref(View message, Owner &&owner, Kind kind = Kind::binary,
                                   Priority priority = Priority::normal) {
        using Kept = std::decay_t<Owner>;
        auto kept = std::make_unique<Kept>(std::forward<Owner>(owner));
        return publish_kept(message, std::move(kept), kind, priority);
    }

    // The same for a container that holds the message itself: no copy of its bytes.
    template <typename Container>
    std::enable_if_t<!std::is_lvalue_reference_v<Container>, Returned<Position>>
    publish_owned(Container &&container, Kind kind = Kind::binary, Priority priority = Priority::normal) {
        auto kept = std::make_unique<Container>(std::move(container));
        const View message(*kept);
        return publish_kept(message, std::move(kept), kind, priority);
    }

    // How the subscribers stand: what a publisher slows down by, or sends less by.
    Returned<fw_pressure> pressure() const {
        fw_pressure pressure{};
        pressure.struct_size = sizeof(pressure);
        const fw_status code = fw_topic_pressure(handle_, &pressure);
        return detail::give<fw_pressure>(code, [&] { return pressure; });
    }

    // Memory to write a message in place.
    Returned<Buffer> claim(std::size_t size) {
        fw_buffer *buffer = nullptr;
        void *data = nullptr;
        const fw_status code = fw_claim(handle_, size, &buffer, &data);
        return detail::give<Buffer>(code, [&] { return Buffer(buffer, data, size); });
    }

private:
    friend class Engine;
    explicit Topic(fw_topic *handle) : handle_(handle) {}

    fw_status publish_raw(View message, Kind kind, Priority priority, Position *position) noexcept {
        return fw_publish(handle_, static_cast<std::uint32_t>(priority), static_cast<std::uint32_t>(kind), message.data(),
                          message.size(), position);
    }

    template <typename Kept>
    Returned<Position> publish_kept(View message, std::unique_ptr<Kept> kept, Kind kind, Priority priority) {
        static_assert(std::is_nothrow_destructible_v<Kept>, "it is destroyed where no exception may get out");
        Position position = 0;
        const auto release = [](void *context, const void *, std::size_t) { delete static_cast<Kept *>(context); };
        const fw_status code = fw_publish_ref(handle_, static_cast<std::uint32_t>(priority), static_cast<std::uint32_t>(kind),
                                              message.data(), message.size(), release, kept.get(), &position);
        if (code == FW_OK)
            (void)kept.release();
        return detail::give<Position>(code, [&] { return position; });
    }

    void free() noexcept {
        if (handle_ != nullptr)
            (void)fw_topic_free(std::exchange(handle_, nullptr));
    }

    fw_topic *handle_;
};

// A socket that listens, for another process to take over, or taken over from one.
struct Socket {
    std::string name;
    int fd = -1;
};

namespace detail {

// A configuration as C has it; it refers to the other one.
struct Flat {
    explicit Flat(const Config &config) : raw(config.base) {
        if (!config.listen.empty())
            raw.listen = config.listen.c_str();
        if (!config.server_name.empty())
            raw.server_name = config.server_name.c_str();
        if (!config.cpus.empty()) {
            raw.pinning = FW_PIN_LIST;
            raw.cpus = config.cpus.data();
            raw.cpus_count = config.cpus.size();
        }
        for (const TopicConfig &topic : config.topics) {
            fw_topic_config one = topic.base;
            one.pattern = topic.pattern.c_str();
            topics.push_back(one);
        }
        if (!topics.empty()) {
            raw.topics = topics.data();
            raw.topics_count = topics.size();
        }
        for (const std::string &origin : config.allowed_origins)
            origins.push_back(origin.c_str());
        if (!origins.empty()) {
            raw.allowed_origins = origins.data();
            raw.allowed_origins_count = origins.size();
        }
        if (raw.settings_count > 0)
            settings.assign(raw.settings, raw.settings + raw.settings_count);
        for (const auto &[name, value] : config.settings())
            settings.push_back(fw_setting{name.c_str(), value.c_str()});
        raw.settings = settings.data();
        raw.settings_count = settings.size();
    }
    Flat(const Flat &) = delete;
    Flat &operator=(const Flat &) = delete;

    fw_config raw;
    std::vector<fw_topic_config> topics;
    std::vector<const char *> origins;
    std::vector<fw_setting> settings;
};

// True: everything was done in time. False: something was cut off.
inline Returned<bool> ended(fw_status code) {
    const bool is_clean = code == FW_OK;
    return give<bool>(code == FW_TIMED_OUT ? fw_status(FW_OK) : code, [&] { return is_clean; });
}

} // namespace detail

// A running engine. Its destructor stops it at once; shutdown() does so in good order. Topics and buffers of it must not be
// used afterwards (all they give is an error).
class Engine {
public:
    static Returned<Engine> start(const Config &config = Config()) { return start(config, std::vector<Socket>()); }
    // With sockets that listen already; they stay the caller's.
    static Returned<Engine> start(const Config &config, const std::vector<Socket> &sockets) {
        if (fw_abi_version() != FW_ABI_VERSION)
            return refuse<Engine>(Status(FW_ABI_MISMATCH, "fanwire.hpp and libfanwire are of different versions"));
        const detail::Flat flat(config);
        std::vector<fw_socket> given;
        for (const Socket &socket : sockets)
            given.push_back(fw_socket{socket.name.c_str(), socket.fd});
        fw_engine *handle = nullptr;
        const fw_status code = fw_start_with(&flat.raw, given.data(), given.size(), &handle);
        return detail::give<Engine>(code, [&] { return Engine(handle); });
    }

    Engine(Engine &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Engine &operator=(Engine &&other) noexcept {
        if (this != &other) {
            free();
            handle_ = std::exchange(other.handle_, nullptr);
        }
        return *this;
    }
    ~Engine() { free(); }

    fw_engine *handle() const noexcept { return handle_; }

    // Everything delivered and everybody closed within the time: true. Something cut off: false.
    Returned<bool> shutdown(std::chrono::milliseconds deadline) {
        return detail::ended(fw_shutdown(handle_, detail::milliseconds(deadline)));
    }
    // The same with the closes (1012) spread over a window, which the deadline is to be longer than.
    Returned<bool> shutdown_over(std::chrono::milliseconds window, std::chrono::milliseconds deadline) {
        return detail::ended(fw_shutdown_over(handle_, detail::milliseconds(window), detail::milliseconds(deadline)));
    }
    // Ends in favour of another process that listens on the sockets with these names, and serves: taken_over() there.
    Returned<bool> hand_over(const std::vector<std::string> &names, std::chrono::milliseconds window,
                             std::chrono::milliseconds deadline) {
        std::vector<const char *> given;
        for (const std::string &name : names)
            given.push_back(name.c_str());
        return detail::ended(fw_hand_over(handle_, given.data(), given.size(), detail::milliseconds(window),
                                          detail::milliseconds(deadline)));
    }
    // What it listens on, for another process: descriptors that the caller closes.
    Returned<std::vector<Socket>> listening_sockets() const {
        std::vector<Socket> all;
        for (std::size_t index = 0;; index++) {
            // No name is longer than a path, or two of systemd's.
            char name[1024];
            int fd = -1;
            const fw_status code = fw_listening_socket(handle_, index, &fd, name, sizeof name, nullptr);
            if (code == FW_OK)
                all.push_back(Socket{name, fd});
            else
                return detail::give<std::vector<Socket>>(code == FW_GONE ? fw_status(FW_OK) : code,
                                                         [&] { return std::move(all); });
        }
    }
    // Names of the sockets that were handed over and are listened on.
    Returned<std::vector<std::string>> taken_over() const {
        std::vector<std::string> all;
        for (std::size_t index = 0;; index++) {
            char name[1024];
            const fw_status code = fw_taken_over(handle_, index, name, sizeof name, nullptr);
            if (code == FW_OK)
                all.emplace_back(name);
            else
                return detail::give<std::vector<std::string>>(code == FW_GONE ? fw_status(FW_OK) : code,
                                                              [&] { return std::move(all); });
        }
    }
    Returned<void> stop() { return detail::give(fw_stop(handle_)); }

    bool is_running() const noexcept {
        bool is_running = false;
        return fw_is_running(handle_, &is_running) == FW_OK && is_running;
    }
    // Which shard has failed and why; "" if none has.
    Returned<std::string> failure() const {
        return detail::text([&](char *buffer, std::size_t size, std::size_t *length) {
            return fw_failure(handle_, buffer, size, length);
        });
    }
    // Certificates and keys anew, from the same files; how many certificates there are, 0 where no listener speaks TLS.
    Returned<std::size_t> reload_certificates() const {
        std::size_t count = 0;
        const fw_status code = fw_reload_certificates(handle_, &count);
        return detail::give<std::size_t>(code, [&] { return count; });
    }
    // Another configuration while it runs: a line for each setting that has changed, or needs a restart.
    Returned<std::string> reconfigure(const Config &config) const {
        const detail::Flat flat(config);
        return detail::text([&](char *buffer, std::size_t size, std::size_t *length) {
            return fw_reconfigure(handle_, &flat.raw, buffer, size, length);
        });
    }
    // Refuses tokens from now on, and closes who came in by them: of a subject, of a name, made before a time (seconds since 1970); what
    // is empty, or 0, says nothing. How many connections are closed.
    Returned<std::size_t> revoke(const std::string &sub, const std::string &jti = std::string(), std::uint64_t before = 0) {
        std::size_t closed = 0;
        const fw_status code = fw_revoke(handle_, sub.empty() ? nullptr : sub.c_str(), jti.empty() ? nullptr : jti.c_str(),
                                         before, &closed);
        return detail::give<std::size_t>(code, [&] { return closed; });
    }
    // The port of the first address; 0 after an error.
    std::uint16_t port() const noexcept { return fw_port(handle_); }
    Returned<std::string> address(std::size_t index = 0) const {
        return detail::text([&](char *buffer, std::size_t size, std::size_t *length) {
            return fw_address(handle_, index, buffer, size, length);
        });
    }
    Returned<std::string> driver() const {
        return detail::text([&](char *buffer, std::size_t size, std::size_t *length) {
            return fw_driver_name(handle_, buffer, size, length);
        });
    }
    // Why it is not io_uring; "" if it is.
    Returned<std::string> driver_notice() const {
        return detail::text([&](char *buffer, std::size_t size, std::size_t *length) {
            return fw_driver_notice(handle_, buffer, size, length);
        });
    }
    Returned<std::string> memory_plan() const {
        return detail::text([&](char *buffer, std::size_t size, std::size_t *length) {
            return fw_memory_plan(handle_, buffer, size, length);
        });
    }

    Returned<Topic> topic(std::string_view name) {
        fw_topic *topic = nullptr;
        const fw_status code = fw_topic_open(handle_, std::string(name).c_str(), &topic);
        return detail::give<Topic>(code, [&] { return Topic(topic); });
    }
    Returned<void> remove_topic(std::string_view name) {
        return detail::give(fw_topic_remove(handle_, std::string(name).c_str()));
    }

    // Readable when poll() has something to do.
    int event_fd() const noexcept { return fw_event_fd(handle_); }
    // Calls `each(const Event &)` for every event that is there, waiting up to `timeout` for the first one, and runs what
    // messages by reference have kept. False once the engine has stopped and all was told. One thread at a time.
    template <typename Each> Returned<bool> poll(std::chrono::milliseconds timeout, Each &&each) {
        fw_event events[64];
        std::size_t count = 0;
        const fw_status code = fw_poll_events(handle_, events, 64, detail::milliseconds(timeout), &count);
        for (std::size_t i = 0; i < count; i++)
            each(Event{events[i]});
        return detail::give<bool>(code == FW_STOPPED ? fw_status(FW_OK) : code, [&] { return code == FW_OK; });
    }

    Returned<void> send_to(Connection connection, View message, Kind kind = Kind::binary) {
        return detail::give(
            fw_send_to(handle_, connection, static_cast<std::uint32_t>(kind), message.data(), message.size()));
    }
    Returned<void> close(Connection connection, std::uint32_t code = 1000, std::string_view reason = {}) {
        return detail::give(fw_close(handle_, connection, code, std::string(reason).c_str()));
    }

    // Lets in a client that asks (FW_EVENT_AUTHORIZE), or stay (FW_EVENT_REAUTHORIZE): patterns one a line; `lifetime` 0: for ever; `subject`: who it is.
    Returned<void> allow(Connection connection, std::string_view subscribe, std::string_view publish = {},
                         std::chrono::milliseconds lifetime = {}, std::string_view subject = {}) {
        return detail::give(fw_allow(handle_, connection, std::string(subscribe).c_str(), std::string(publish).c_str(),
                                     static_cast<std::uint64_t>(lifetime.count()),
                                     subject.empty() ? nullptr : std::string(subject).c_str()));
    }
    // Refuses one, with 401, 403 or 503.
    Returned<void> turn_away(Connection connection, std::uint32_t status = 403) {
        return detail::give(fw_refuse(handle_, connection, status));
    }

    Returned<fw_stats> stats() const {
        fw_stats stats{};
        stats.struct_size = sizeof(stats);
        const fw_status code = fw_read_stats(handle_, &stats);
        return detail::give<fw_stats>(code, [&] { return stats; });
    }

    // Counters, limits and histograms in the text format of OpenMetrics 1.0.
    Returned<std::string> metrics() const {
        return detail::text([&](char *buffer, std::size_t size, std::size_t *length) {
            return fw_metrics(handle_, buffer, size, length);
        });
    }

    // What the engine says of itself on one of its topics: "$sys/shards", "$sys/topics", "$sys/clients"; JSON.
    Returned<std::string> snapshot(std::string_view topic, std::chrono::milliseconds timeout) const {
        const std::string name(topic);
        return detail::text([&](char *buffer, std::size_t size, std::size_t *length) {
            return fw_snapshot(handle_, name.c_str(), detail::milliseconds(timeout), buffer, size, length);
        });
    }

private:
    explicit Engine(fw_engine *handle) : handle_(handle) {}

    template <typename T> static Returned<T> refuse(Status status) {
#ifndef FANWIRE_NO_EXCEPTIONS
        throw Error(status);
#else
        return status;
#endif
    }

    void free() noexcept {
        if (handle_ != nullptr)
            (void)fw_engine_free(std::exchange(handle_, nullptr));
    }

    fw_engine *handle_;
};

} // namespace fanwire

#endif // FANWIRE_HPP
