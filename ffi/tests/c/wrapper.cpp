// fanwire.hpp does what it says: with exceptions, and (FANWIRE_NO_EXCEPTIONS, -fno-exceptions) with values.
#include <fanwire.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

#define CHECK(condition)                                                                                            \
    do {                                                                                                            \
        if (!(condition)) {                                                                                         \
            std::fprintf(stderr, "%s:%d: not true: %s (%s)\n", __FILE__, __LINE__, #condition, fw_last_error());    \
            std::exit(1);                                                                                           \
        }                                                                                                           \
    } while (0)

// The value, in either mode.
#ifdef FANWIRE_NO_EXCEPTIONS
template <typename T> T get(fanwire::Result<T> result) {
    CHECK(result.ok());
    return std::move(result).value();
}
inline void done(fanwire::Result<void> result) { CHECK(result.ok()); }
#define CODE_OF(call) ((call).status().code())
#else
template <typename T> T get(T value) { return value; }
#define done(call) (call)
#define CODE_OF(call)                                                                                               \
    ([&]() -> fw_status {                                                                                           \
        try {                                                                                                       \
            (void)(call);                                                                                           \
        } catch (const fanwire::Error &error) {                                                                     \
            CHECK(std::strlen(error.what()) > 0);                                                                   \
            return error.code();                                                                                    \
        }                                                                                                           \
        return FW_OK;                                                                                               \
    }())
#endif

static fanwire::Config small(const char *driver) {
    fanwire::Config config;
    config.listen = "127.0.0.1:0";
    config.server_name = "wrapper";
    config.topics.emplace_back("live/**").base.policy = FW_SLOW_LATEST;
    config.topics.back().base.lane_bytes = 1 << 16;
    config.allowed_origins = {"https://a.example", "https://b.example"};
    config.base.driver = std::strcmp(driver, "uring") == 0 ? FW_DRIVER_URING : FW_DRIVER_EPOLL;
    config.base.shards = 1;
    config.base.connections_max = 16;
    config.base.ring_bytes = 1 << 16;
    config.base.pool_bytes = 4 << 20;
    config.base.lane_bytes = 1 << 20;
    config.base.payload_bytes = 8 << 20;
    config.base.message_bytes_max = 4 << 20;
    done(config.set("limits.unsent_bytes_max", "4KiB"));
    done(config.set("limits.ping_every", "5s"));
    CHECK(CODE_OF(config.set("limits.unsent_byte", "4KiB")) == FW_BAD_CONFIG);
    CHECK(CODE_OF(config.set("limits.unsent_bytes_max", "1")) == FW_BAD_CONFIG);
    CHECK(config.settings().size() == 2);
    return config;
}

struct Counted {
    explicit Counted(int *counter) : alive(counter) { ++*alive; }
    Counted(Counted &&other) noexcept : alive(std::exchange(other.alive, nullptr)) {}
    ~Counted() {
        if (alive != nullptr)
            --*alive;
    }
    int *alive;
};

int main(int argc, char **argv) {
    const fanwire::Config config = small(argc > 1 ? argv[1] : "epoll");
    auto engine = get(fanwire::Engine::start(config));
    CHECK(engine.is_running() && engine.port() != 0 && engine.event_fd() >= 0);
    CHECK(get(engine.address()) == "127.0.0.1:" + std::to_string(engine.port()));
    CHECK(get(engine.driver()) == "epoll" || get(engine.driver()) == "uring");
    CHECK(get(engine.memory_plan()).size() > 255);
    CHECK(get(engine.driver_notice()).empty());

    auto topic = get(engine.topic("live/1"));
    CHECK(get(topic.name()) == "live/1");
    auto moved = std::move(topic);
    topic = std::move(moved);

    // Everything that is bytes.
    const auto first = get(topic.publish("text", fanwire::Kind::text));
    const auto second = get(topic.publish(std::string("text"), fanwire::Kind::text, fanwire::Priority::high));
    CHECK(second > first);
    CHECK(get(topic.publish(std::string_view("{}"), fanwire::Kind::json)) > second);
    (void)get(topic.publish(std::vector<unsigned char>{1, 2, 3}));
    (void)get(topic.publish(std::vector<float>{1, 2, 3}));
    (void)get(topic.publish(std::array<std::uint32_t, 4>{}));
    (void)get(topic.publish({}));
    CHECK(fanwire::View(std::vector<float>{1, 2, 3}).size() == 12);
    CHECK(get(topic.try_publish("x")).has_value());
    (void)get(topic.publish_message("x", "key", std::chrono::seconds(1)));
    (void)get(topic.publish_message("x", "", {}, fanwire::Kind::text, fanwire::Priority::normal, std::string(1024, 'a')));
    (void)get(topic.publish_wait("x", std::chrono::milliseconds(1000)));
    CHECK(get(topic.publish_many({"a", "b", std::string("c")}, fanwire::Kind::text)) == 3);
    CHECK(get(topic.publish_many({"a", "b", "\xff", "c"}, fanwire::Kind::text)) == 2);
    CHECK(CODE_OF(topic.publish_many({"\xff"}, fanwire::Kind::text)) == FW_NOT_UTF8);

    // In place.
    {
        auto buffer = get(topic.claim(100));
        CHECK(buffer.size() == 100 && buffer.data()[99] == 0);
        std::memset(buffer.data(), 'b', buffer.size());
        done(buffer.grow(50000));
        CHECK(buffer.size() == 50000 && buffer.data()[99] == 'b' && buffer.data()[49999] == 0);
        auto other = std::move(buffer);
        (void)get(other.commit(50));
        CHECK(CODE_OF(other.commit()) == FW_NULL);
        auto given_back = get(topic.claim(100));
        CHECK(CODE_OF(given_back.commit(101)) == FW_BAD_ARGUMENT);
    }

    // By reference.
    int alive = 0;
    static const std::string large(100000, 'x');
    (void)get(topic.publish_ref(large, Counted(&alive)));
    (void)get(topic.publish_owned(std::vector<unsigned char>(100000)));
    (void)get(topic.publish_owned(std::string(100, 'y'), fanwire::Kind::text));
    CHECK(alive == 1);
    CHECK(CODE_OF(topic.publish_ref("\xff", Counted(&alive), fanwire::Kind::text)) == FW_NOT_UTF8);
    CHECK(alive == 1);
    int events = 0;
    CHECK(get(engine.poll(std::chrono::milliseconds(0), [&](const fanwire::Event &) { events++; })));
    CHECK(events == 0);

    // Errors.
    CHECK(CODE_OF(engine.topic("a//b")) == FW_BAD_NAME);
    CHECK(CODE_OF(engine.remove_topic("none")) == FW_GONE);
    CHECK(CODE_OF(engine.close(1, 1)) == FW_BAD_ARGUMENT);
    CHECK(CODE_OF(topic.publish("\xff", fanwire::Kind::text)) == FW_NOT_UTF8);
    fanwire::Config wrong = config;
    wrong.listen = "nonsense";
    CHECK(CODE_OF(fanwire::Engine::start(wrong)) == FW_BAD_CONFIG);
    done(engine.remove_topic("live/1"));
    CHECK(CODE_OF(topic.publish("x")) == FW_REMOVED);

    CHECK(get(engine.stats()).shards == 1);
    CHECK(get(engine.reconfigure(config)).empty());
    fanwire::Config other = config;
    done(other.set("limits.ping_every", "77s"));
    CHECK(get(engine.reconfigure(other)) == "changed: limits.ping_every");

    // Another one goes on with its sockets.
    {
        auto held = get(engine.listening_sockets());
        CHECK(held.size() == 1 && held[0].fd >= 0 && get(engine.taken_over()).empty());
        fanwire::Config same = config;
        same.listen = held[0].name;
        auto next = get(fanwire::Engine::start(same, held));
        close(held[0].fd);
        CHECK(next.port() == engine.port() && get(next.taken_over()) == std::vector<std::string>{held[0].name});
        auto before = get(fanwire::Engine::start(config));
        CHECK(get(before.hand_over({}, std::chrono::milliseconds(1), std::chrono::minutes(2))));
        CHECK(get(next.shutdown_over(std::chrono::milliseconds(1), std::chrono::minutes(2))));
    }
    CHECK(CODE_OF(engine.revoke("u1")) == FW_BAD_CONFIG);
    CHECK(CODE_OF(engine.revoke("")) == FW_BAD_ARGUMENT);
    const std::string metrics = get(engine.metrics());
    CHECK(metrics.find("\nfanwire_shards 1\n") != std::string::npos);
    CHECK(metrics.substr(metrics.size() - 7) == "\n# EOF\n");
    CHECK(get(engine.snapshot("$sys/topics", std::chrono::minutes(1))).find("\"topics\":[") != std::string::npos);
    CHECK(CODE_OF(engine.snapshot("$sys/gaps", std::chrono::seconds(1))) == FW_BAD_NAME);
    CHECK(get(engine.shutdown(std::chrono::seconds(5))));
    CHECK(alive == 0);
    CHECK(!engine.is_running());
    CHECK(CODE_OF(engine.stop()) == FW_STOPPED);
    CHECK(!get(engine.poll(std::chrono::hours(1), [](const fanwire::Event &) {})));
    CHECK(get(engine.stats()).references == 0);

    // The destructors end what is not ended; a topic may outlive its engine.
    auto survivor = [&] {
        auto inner = get(fanwire::Engine::start(config));
        auto one = get(inner.topic("a"));
        (void)get(one.publish_ref(large, Counted(&alive)));
        return one;
    }();
    CHECK(alive == 0);
    CHECK(CODE_OF(survivor.publish("x")) == FW_BAD_HANDLE);
    std::puts("wrapper: ok");
    return 0;
}
