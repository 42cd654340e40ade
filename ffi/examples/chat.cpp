// A chat room, and a clock in it: C++17.
//
//     c++ -std=c++17 chat.cpp $(pkg-config --cflags --libs fanwire) -o chat
//     ./chat 127.0.0.1:9001
//     websocat ws://127.0.0.1:9001/          say something here …
//     websocat ws://127.0.0.1:9001/t/room    … and everybody here reads it
//
// What a client without a topic sends is published on the topic "room". A picture of the room (a large message) is published
// by reference whenever somebody says "picture".
#include <fanwire.hpp>

#include <csignal>
#include <iostream>
#include <string>
#include <vector>

namespace {

volatile std::sig_atomic_t is_over = 0;

void on_signal(int) { is_over = 1; }

std::vector<unsigned char> picture() {
    std::vector<unsigned char> pixels(512 * 1024);
    for (std::size_t i = 0; i < pixels.size(); i++)
        pixels[i] = static_cast<unsigned char>(i * 31);
    return pixels;
}

void run(const std::string &listen) {
    fanwire::Config config;
    config.listen = listen;
    config.server_name = "chat";
    config.topics.emplace_back("room").base.retention = FW_RETENTION_NONE;
    config.base.events_capacity = 4096;
    config.base.events_messages = 1;

    auto engine = fanwire::Engine::start(config);
    auto room = engine.topic("room");
    std::cout << "listening on port " << engine.port() << std::endl;

    unsigned long ticks = 0;
    while (is_over == 0) {
        engine.poll(std::chrono::milliseconds(200), [&](const fanwire::Event &event) {
            if (event.type() != FW_EVENT_MESSAGE)
                return;
            if (event.message_text() == "picture") {
                // The engine keeps the vector until nobody needs it.
                room.publish_owned(picture(), fanwire::Kind::binary, fanwire::Priority::low);
            } else if (!room.try_publish(event.message(), event.kind())) {
                engine.send_to(event.connection(), "the room is full of words, try again", fanwire::Kind::text);
            }
        });
        if (++ticks % 5 == 0)
            room.publish("tick", fanwire::Kind::text, fanwire::Priority::low);
    }
    if (!engine.shutdown(std::chrono::seconds(2)))
        std::cerr << "some clients were cut off\n";
}

} // namespace

int main(int argc, char **argv) {
    std::signal(SIGINT, on_signal);
    std::signal(SIGTERM, on_signal);
    try {
        run(argc > 1 ? argv[1] : "127.0.0.1:9001");
    } catch (const fanwire::Error &error) {
        std::cerr << "chat: " << error.what() << " (" << fw_status_str(error.code()) << ")\n";
        return 1;
    }
    return 0;
}
