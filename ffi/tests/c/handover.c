/* An engine that goes on as another one, which has its sockets; here both are in one process. And: other settings while it runs. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static const char REQUEST[] = "GET /t/a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                              "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n";

static int upgraded(uint16_t port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    CHECK(write(fd, REQUEST, sizeof REQUEST - 1) == sizeof REQUEST - 1);
    char head[12];
    CHECK(recv(fd, head, sizeof head, MSG_WAITALL) == sizeof head && memcmp(head, "HTTP/1.1 101", sizeof head) == 0);
    return fd;
}

static void goes_on_in_another(const char *driver) {
    char name[64], taken[64], text[64];
    size_t length = 0;
    fw_engine *old = small_engine(driver), *new = NULL;
    uint16_t port = fw_port(old);
    fw_socket held = {.name = name, .fd = -1};
    EXPECT(FW_OK, fw_listening_socket(old, 0, &held.fd, name, sizeof name, &length));
    CHECK(held.fd >= 0 && length == strlen("127.0.0.1:0") && strcmp(name, "127.0.0.1:0") == 0);
    int none = 7;
    EXPECT(FW_GONE, fw_listening_socket(old, 1, &none, text, sizeof text, NULL));
    CHECK(none == -1);
    EXPECT(FW_GONE, fw_taken_over(old, 0, text, sizeof text, NULL));
    fw_config config = small_config(driver);
    config.shards = 2;
    EXPECT(FW_OK, fw_start_with(&config, &held, 1, &new));
    close(held.fd);
    CHECK(fw_port(new) == port);
    EXPECT(FW_OK, fw_taken_over(new, 0, taken, sizeof taken, NULL));
    CHECK(strcmp(taken, name) == 0);
    int client = upgraded(port);
    const char *names[] = {taken};
    EXPECT(FW_OK, fw_hand_over(old, names, 1, 1, 120000));
    EXPECT(FW_STOPPED, fw_hand_over(old, names, 1, 1, 120000));
    EXPECT(FW_OK, fw_engine_free(old));
    int other = upgraded(port);
    close(other);
    close(client);
    EXPECT(FW_OK, fw_shutdown_over(new, 1, 120000));
    EXPECT(FW_OK, fw_engine_free(new));
}

static void sockets_of_no_use_are_refused(const char *driver) {
    fw_config config = small_config(driver);
    fw_engine *engine = (fw_engine *)&config;
    int pair[2];
    CHECK(pipe(pair) == 0);
    fw_socket wrong[] = {{"web", -1}, {"web", 1 << 20}, {"web", pair[0]}, {NULL, pair[0]}};
    fw_status wanted[] = {FW_BAD_ARGUMENT, FW_BAD_ARGUMENT, FW_BAD_CONFIG, FW_NULL};
    config.listen = "fd:web";
    for (int i = 0; i < 4; i++) {
        EXPECT(wanted[i], fw_start_with(&config, &wrong[i], 1, &engine));
        CHECK(engine == NULL);
    }
    EXPECT(FW_NULL, fw_start_with(&config, NULL, 1, &engine));
    EXPECT(FW_BAD_CONFIG, fw_start_with(&config, NULL, 0, &engine));
    close(pair[0]);
    close(pair[1]);
}

static void takes_other_settings(const char *driver) {
    char text[256];
    fw_engine *engine = small_engine(driver);
    fw_config config = small_config(driver);
    EXPECT(FW_OK, fw_reconfigure(engine, &config, text, sizeof text, NULL));
    CHECK(strcmp(text, "") == 0);
    config.close_window_ms = 77;
    config.pool_bytes = 8 << 20;
    EXPECT(FW_OK, fw_reconfigure(engine, &config, text, sizeof text, NULL));
    CHECK(strcmp(text, "changed: limits.close_window\nneeds a restart: memory.pool_bytes") == 0);
    config.topics_max = 0;
    config.pool_bytes = 1;
    EXPECT(FW_BAD_CONFIG, fw_reconfigure(engine, &config, text, sizeof text, NULL));
    CHECK(strstr(fw_last_error(), "pool_bytes") != NULL);
    config.struct_size = 3;
    EXPECT(FW_ABI_MISMATCH, fw_reconfigure(engine, &config, text, sizeof text, NULL));
    EXPECT(FW_NULL, fw_reconfigure(engine, NULL, text, sizeof text, NULL));
    EXPECT(FW_OK, fw_engine_free(engine));
}

int main(int argc, char **argv) {
    const char *driver = argc > 1 ? argv[1] : "epoll";
    goes_on_in_another(driver);
    sockets_of_no_use_are_refused(driver);
    takes_other_settings(driver);
    puts("handover: ok");
    return 0;
}
