// uWebSockets: app.publish to the subscribers of a topic. The publisher has the process's first thread, the loop another one; messages
// cross by Loop::defer, one burst to a turn of the loop. Lines: see perf/src/host/mod.rs.

#include <App.h>

#include <fcntl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <deque>
#include <future>
#include <iostream>
#include <mutex>
#include <sstream>
#include <thread>

#ifdef PEER_TLS
using App = uWS::SSLApp;
static constexpr auto scheme = "wss";
#else
using App = uWS::App;
static constexpr auto scheme = "ws";
#endif

struct Subscriber {
    std::string topic;
};
using Burst = std::vector<std::pair<std::string, std::string>>;

static uint64_t now_ns() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return uint64_t(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

static void sleep_until(uint64_t moment_ns) {
    timespec moment{time_t(moment_ns / 1'000'000'000), long(moment_ns % 1'000'000'000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &moment, nullptr) == EINTR) {
    }
}

static uint32_t crc32(uint32_t crc, std::string_view bytes) {
    static const auto table = [] {
        std::array<uint32_t, 256> table{};
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320u ^ (value >> 1) : value >> 1;
            table[i] = value;
        }
        return table;
    }();
    crc = ~crc;
    for (unsigned char byte : bytes) crc = table[(crc ^ byte) & 255] ^ (crc >> 8);
    return ~crc;
}

// The payload that the clients check: see perf/src/payload.rs.
static std::string payload(uint64_t seq, uint64_t intended_ns, size_t bytes) {
    char head[64];
    snprintf(head, sizeof head, "FW1 %016llx %016llx ", (unsigned long long)seq, (unsigned long long)intended_ns);
    std::string fill;
    uint64_t state = seq * 0x9e3779b97f4a7c15u | 1;
    while (38 + 9 + fill.size() < bytes) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        for (int at = 0; at < 64 && 38 + 9 + fill.size() < bytes; at += 8) fill += char('A' + ((state >> at) & 15));
    }
    char sum[16];
    snprintf(sum, sizeof sum, "%08x ", crc32(crc32(0, head), fill));
    return std::string(head) + sum + fill;
}

static App *app;
static std::mutex lock;
static std::deque<Burst> waiting;
static bool is_deferred = false;
static uWS::Loop *loop;

// One burst to a turn.
static void step() {
    Burst burst;
    {
        std::lock_guard guard(lock);
        burst = std::move(waiting.front());
        waiting.pop_front();
        is_deferred = !waiting.empty();
        if (is_deferred) loop->defer(step);
    }
    for (auto &[topic, message] : burst) app->publish(topic, message, uWS::OpCode::TEXT);
}

static void hand_over(Burst burst) {
    std::lock_guard guard(lock);
    waiting.push_back(std::move(burst));
    if (!is_deferred) {
        is_deferred = true;
        loop->defer(step);
    }
}

static uint64_t checked(int file) {
    uint64_t counters[64], sum = 0;
    ssize_t got = file < 0 ? 0 : pread(file, counters, sizeof counters, 0);
    for (ssize_t at = 0; at < got / 8; at++) sum += counters[at];
    return sum;
}

static void publish(std::istringstream &words, uint64_t &sent) {
    double rate, seconds;
    size_t bytes, burst, topics, subscribers, ahead;
    std::string look, progress;
    words >> rate >> bytes >> burst >> topics >> seconds >> look >> subscribers >> ahead >> progress;
    int file = progress == "-" ? -1 : open(progress.c_str(), O_RDONLY);
    uint64_t base = checked(file), began = now_ns(), count = 0, late = 0;
    auto next = [&](uint64_t intended_ns) {
        auto message = std::pair("t" + std::to_string(sent % topics), payload(sent / topics + 1, intended_ns, bytes));
        sent++;
        return message;
    };
    if (rate > 0) {
        for (uint64_t total = std::ceil(rate * seconds); count < total; count++) {
            uint64_t intended_ns = began + uint64_t(count * 1e9 / rate);
            sleep_until(intended_ns);
            late = std::max(late, now_ns() - intended_ns);
            hand_over({next(intended_ns)});
        }
    } else {
        for (uint64_t end = began + uint64_t(seconds * 1e9); now_ns() < end;) {
            uint64_t seen = checked(file) - base, out = count * subscribers;
            if (out > seen && out - seen > ahead * burst * subscribers) {
                sleep_until(now_ns() + 100'000);
                continue;
            }
            Burst messages;
            for (size_t i = 0; i < burst; i++) messages.push_back(next(now_ns()));
            hand_over(std::move(messages));
            count += burst;
        }
    }
    if (file >= 0) close(file);
    std::cout << "published " << count << ' ' << now_ns() - began << ' ' << late << " 0" << std::endl;
}

int main() {
    prctl(PR_SET_TIMERSLACK, 1);
    std::promise<int> port;
    std::thread server([&] {
#ifdef PEER_TLS
        App local({.key_file_name = getenv("PEER_KEY"), .cert_file_name = getenv("PEER_CERTIFICATE")});
#else
        App local;
#endif
        app = &local;
        loop = uWS::Loop::get();
        local
            .ws<Subscriber>("/t/:topic",
                            {.compression = uWS::DISABLED,
                             .idleTimeout = 0,
                             .maxBackpressure = 16 * 1024 * 1024,
                             .upgrade =
                                 [](auto *response, auto *request, auto *context) {
                                     response->template upgrade<Subscriber>(
                                         {std::string(request->getParameter(0))}, request->getHeader("sec-websocket-key"),
                                         request->getHeader("sec-websocket-protocol"),
                                         request->getHeader("sec-websocket-extensions"), context);
                                 },
                             .open = [](auto *socket) { socket->subscribe(socket->getUserData()->topic); }})
            .listen("127.0.0.1", 0, [&](us_listen_socket_t *socket) {
                port.set_value(us_socket_local_port(std::is_same_v<App, uWS::SSLApp>, (us_socket_t *)socket));
            })
            .run();
    });
    std::cout << "listening on " << scheme << "://127.0.0.1:" << port.get_future().get() << " publisher-thread" << std::endl;
    uint64_t sent = 0;
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words(line);
        std::string command;
        words >> command;
        if (command == "publish") publish(words, sent);
        else std::cout << "counters {}" << std::endl;
    }
    _exit(0);
}
