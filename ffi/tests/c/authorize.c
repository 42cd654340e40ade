/* The host decides who comes in, by a table of keys. */
#include "check.h"

#include <arpa/inet.h>
#include <sys/socket.h>

static const struct {
    const char *key, *subscribe, *publish;
    uint32_t refused;
} keys[] = {
    {"reader", "rover/**\nnews", NULL, 0},
    {"writer", "chat/me", "chat/me", 0},
    {"nobody", NULL, NULL, 401},
    {"banned", NULL, NULL, 403},
    {"later", NULL, NULL, 503},
};

/* Connects and asks for the upgrade. */
static int asks(const fw_engine *engine, const char *target, const char *headers) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(fw_port(engine))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(client >= 0 && connect(client, (struct sockaddr *)&address, sizeof address) == 0);
    char request[1024];
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
                          target, headers);
    CHECK(write(client, request, (size_t)length) == length);
    return client;
}

/* The status that it is answered with. */
static int status_of(int client) {
    char answer[13] = "";
    CHECK(recv(client, answer, 12, MSG_WAITALL) == 12);
    close(client);
    return atoi(answer + 9);
}

/* The next event of this type. */
static fw_event next(fw_engine *engine, uint32_t type) {
    fw_event event;
    size_t count = 0;
    do {
        EXPECT(FW_OK, fw_poll_events(engine, &event, 1, 60000, &count));
    } while (count == 0 || event.type != type);
    return event;
}

/* Reads until this has come. */
static void read_until(int client, const char *end) {
    char heard[2048] = "";
    for (size_t at = 0; strstr(heard, end) == NULL; at++) {
        CHECK(at + 1 < sizeof heard && read(client, heard + at, 1) == 1);
        if (heard[at] == '\0')
            heard[at] = ' ';
    }
}

/* A client that is in brings another token: what it grants takes the place of what was granted, with its end. */
static void brings_another_token(fw_engine *engine) {
    int client = asks(engine, "/", "X-Key: first\r\nSec-WebSocket-Protocol: fanwire.json.v1\r\n");
    fw_event event = next(engine, FW_EVENT_AUTHORIZE);
    EXPECT(FW_OK, fw_allow(engine, event.connection, "a", NULL, 0, "u1"));
    read_until(client, "\"welcome\"");
    const char auth[] = "{\"type\":\"auth\",\"id\":7,\"token\":\"second\"}";
    /* A text frame, masked with zeros. */
    char frame[6 + sizeof auth - 1] = {(char)0x81, (char)(0x80 | (sizeof auth - 1))};
    memcpy(frame + 6, auth, sizeof auth - 1);
    CHECK(write(client, frame, sizeof frame) == (ssize_t)sizeof frame);
    uint64_t connection = event.connection;
    event = next(engine, FW_EVENT_REAUTHORIZE);
    CHECK(event.connection == connection && strcmp(event.text, "second") == 0);
    EXPECT(FW_OK, fw_allow(engine, connection, "b", NULL, 1, "u1"));
    read_until(client, "{\"type\":\"authorized\",\"id\":7,\"expires_in_ms\":");
    read_until(client, "\x11\x31");
    close(client);
}

int main(int argc, char **argv) {
    fw_config config = small_config(driver_argument(argc, argv));
    fw_setting settings[] = {{"access.ask_host_within", "5s"}, {"access.ask_host_headers", "x-key,x-other"}};
    config.settings = settings;
    config.settings_count = 2;
    fw_engine *engine;
    fw_status started = fw_start(&config, &engine);
    if (started == FW_NO_URING)
        return 77;
    EXPECT(FW_OK, started);

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char header[64];
        snprintf(header, sizeof header, "X-Key: %s\r\nX-Unasked: 1\r\n", keys[i].key);
        int client = asks(engine, "/?topic=rover/1", header);
        fw_event event = next(engine, FW_EVENT_AUTHORIZE);
        char expected[64];
        int length = snprintf(expected, sizeof expected, "x-key: %s\r\n", keys[i].key);
        CHECK(event.len == (size_t)length && memcmp(event.data, expected, event.len) == 0);
        CHECK(strcmp(event.text, "/?topic=rover/1") == 0 && event.code == 0);
        CHECK(strncmp(event.peer, "127.0.0.1:", 10) == 0);
        if (keys[i].refused != 0)
            EXPECT(FW_OK, fw_refuse(engine, event.connection, keys[i].refused));
        else
            EXPECT(FW_OK, fw_allow(engine, event.connection, keys[i].subscribe, keys[i].publish, 0, NULL));
        int wanted = keys[i].refused != 0 ? (int)keys[i].refused : i == 0 ? 101 : 403;
        CHECK(status_of(client) == wanted);
        /* The first decision counts. */
        fw_status late = fw_refuse(engine, event.connection, 401);
        CHECK(late == FW_OK || late == FW_GONE);
    }

    /* Without the headers, and with a time that ends: the frame is 88 02 and the code 4401. */
    int client = asks(engine, "/t/news", "");
    fw_event event = next(engine, FW_EVENT_AUTHORIZE);
    CHECK(event.len == 0 && strcmp(event.text, "/t/news") == 0);
    EXPECT(FW_OK, fw_allow(engine, event.connection, "news", "", 1, NULL));
    unsigned char last[4] = {0}, byte;
    while (memcmp(last + 2, "\x11\x31", 2) != 0) {
        CHECK(read(client, &byte, 1) == 1);
        memmove(last, last + 1, 3);
        last[3] = byte;
    }
    CHECK(last[0] == 0x88);
    close(client);
    brings_another_token(engine);
    EXPECT(FW_OK, fw_engine_free(engine));
    return 0;
}
