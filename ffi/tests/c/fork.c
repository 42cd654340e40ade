/* A forked child gets FW_FORKED for all that is its parent's, may have an engine of its own, and harms nobody by its exit. */
#define _GNU_SOURCE
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>

static void on_release(void *context, const void *data, size_t len) {
    (void)context, (void)data, (void)len;
}

static void in_child(fw_engine *engine, fw_topic *topic, fw_buffer *buffer, const char *driver) {
    fw_stats stats = {.struct_size = sizeof stats};
    fw_topic *other;
    fw_buffer *claimed;
    fw_event event;
    void *data;
    size_t count;
    for (int round = 0; round < 2; round++) {
        EXPECT(FW_FORKED, fw_publish(topic, 2, 1, "x", 1, NULL));
        EXPECT(FW_FORKED, fw_publish_wait(topic, 2, 1, "x", 1, 1000, NULL));
        EXPECT(FW_FORKED, fw_publish_many(topic, 2, 1, &(fw_slice){"x", 1}, 1, &count));
        EXPECT(FW_FORKED, fw_publish_ref(topic, 2, 1, "x", 1, on_release, NULL, NULL));
        EXPECT(FW_FORKED, fw_claim(topic, 1, &claimed, &data));
        EXPECT(FW_FORKED, fw_commit(buffer, 1, 2, 1, NULL));
        EXPECT(FW_FORKED, fw_grow(buffer, 100, &data));
        EXPECT(FW_FORKED, fw_abort(buffer));
        EXPECT(FW_FORKED, fw_topic_free(topic));
        EXPECT(FW_FORKED, fw_topic_open(engine, "a", &other));
        EXPECT(FW_FORKED, fw_send_to(engine, 1, 1, "x", 1));
        EXPECT(FW_FORKED, fw_close(engine, 1, 1000, NULL));
        EXPECT(FW_FORKED, fw_allow(engine, 1, NULL, NULL, 0, NULL));
        EXPECT(FW_FORKED, fw_refuse(engine, 1, 403));
        EXPECT(FW_FORKED, fw_poll_events(engine, &event, 1, 1000, &count));
        EXPECT(FW_FORKED, fw_read_stats(engine, &stats));
        EXPECT(FW_FORKED, fw_shutdown(engine, 1000));
        EXPECT(FW_FORKED, fw_stop(engine));
        EXPECT(FW_FORKED, fw_engine_free(engine));
        CHECK(fw_event_fd(engine) == -1);
        /* The second time with an engine of our own. */
        if (round == 0) {
            fw_engine *own = small_engine(driver);
            CHECK(own != engine);
            fw_topic *own_topic = topic_of(own, "a");
            CHECK(own_topic != topic);
            EXPECT(FW_OK, fw_publish(own_topic, 2, 1, "x", 1, NULL));
            EXPECT(FW_FORKED, fw_publish(topic, 2, 1, "x", 1, NULL));
            EXPECT(FW_OK, fw_shutdown(own, 5000));
            EXPECT(FW_OK, fw_engine_free(own));
            EXPECT(FW_BAD_HANDLE, fw_publish(own_topic, 2, 1, "x", 1, NULL));
        }
    }
    /* A child of the child knows neither. */
    fw_engine *own = small_engine(driver);
    pid_t child = fork();
    if (child == 0) {
        EXPECT(FW_FORKED, fw_stop(engine));
        EXPECT(FW_FORKED, fw_stop(own));
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    EXPECT(FW_OK, fw_engine_free(own));
}

static int wait_for_exit(pid_t child) {
    int status;
    pid_t got;
    while ((got = waitpid(child, &status, 0)) < 0 && errno == EINTR)
        continue;
    CHECK(got == child);
    return status;
}

/* Uses the library all the time, so that children are forked in the middle of everything. */
static atomic_int is_over;
static void *disturb(void *engine) {
    while (!atomic_load(&is_over)) {
        fw_topic *topic;
        if (fw_topic_open(engine, "disturbance", &topic) == FW_OK) {
            (void)fw_publish(topic, 3, 1, "x", 1, NULL);
            CHECK(fw_topic_free(topic) == FW_OK);
        }
    }
    return NULL;
}

static int connected(int port) {
    static const char request[] = "GET /t/a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    char answer[1024];
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(client, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(write(client, request, sizeof request - 1) == sizeof request - 1);
    size_t got = 0;
    while (got < 4 || memcmp(answer + got - 4, "\r\n\r\n", 4) != 0) {
        CHECK(read(client, answer + got, 1) == 1);
        CHECK(++got < sizeof answer);
    }
    CHECK(strncmp(answer, "HTTP/1.1 101", 12) == 0);
    return client;
}

/* What is published reaches the client; nothing else does. */
static void still_there(int client, fw_topic *topic, char mark) {
    char frame[3];
    EXPECT(FW_OK, fw_publish_wait(topic, 2, 1, &mark, 1, 20000, NULL));
    struct pollfd fds = {.fd = client, .events = POLLIN};
    CHECK(poll(&fds, 1, 20000) == 1);
    CHECK(recv(client, frame, 3, MSG_WAITALL) == 3);
    CHECK(frame[1] == 1 && frame[2] == mark);
}

int main(int argc, char **argv) {
    const char *driver = driver_argument(argc, argv);
    fw_engine *engine = small_engine(driver);
    fw_topic *topic = topic_of(engine, "a");
    fw_buffer *buffer;
    void *data;
    pthread_t disturber;
    EXPECT(FW_OK, fw_claim(topic, 10, &buffer, &data));
    int client = connected(fw_port(engine));
    still_there(client, topic, '0');
    CHECK(pthread_create(&disturber, NULL, disturb, engine) == 0);
    for (int round = 0; round < 20; round++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            in_child(engine, topic, buffer, driver);
            /* By exit() too: with all that runs then. */
            if (round % 2 == 0)
                exit(0);
            _exit(0);
        }
        still_there(client, topic, (char)('A' + round));
        CHECK(wait_for_exit(child) == 0);
        still_there(client, topic, (char)('a' + round));
    }
    atomic_store(&is_over, 1);
    CHECK(pthread_join(disturber, NULL) == 0);
    EXPECT(FW_OK, fw_abort(buffer));
    /* A new process in our place's child: exec closes all that is ours. */
    pid_t child = fork();
    if (child == 0) {
        execlp("true", "true", (char *)NULL);
        _exit(127);
    }
    CHECK(wait_for_exit(child) == 0);
    still_there(client, topic, '1');
    /* The client does not answer the close frame: it may be cut off. */
    fw_status end = fw_shutdown(engine, 500);
    CHECK(end == FW_OK || end == FW_TIMED_OUT);
    EXPECT(FW_OK, fw_engine_free(engine));
    close(client);
    puts("fork: ok");
    return 0;
}
