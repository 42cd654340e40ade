/* Messages by reference: released exactly once, only inside fw_poll_events, fw_shutdown, fw_stop or fw_engine_free, on the
 * thread that makes the call; bounded; the descriptor tells. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

enum { MESSAGES = 3000, BYTES = 20000 };

static unsigned char memory[BYTES];
static atomic_int times[MESSAGES];
static _Thread_local int may_release;
static int released;

static void on_release(void *context, const void *data, size_t len) {
    CHECK(may_release);
    CHECK(data == memory && len == BYTES);
    CHECK(atomic_fetch_add((atomic_int *)context, 1) == 0);
    released++;
}

static fw_status poll_now(fw_engine *engine) {
    fw_event events[16];
    size_t count;
    may_release = 1;
    fw_status status = fw_poll_events(engine, events, 16, 0, &count);
    may_release = 0;
    return status;
}

static void one_after_the_other(fw_engine *engine, fw_topic *topic) {
    fw_stats stats = {.struct_size = sizeof stats};
    int blocked = 0;
    for (int i = 0; i < MESSAGES; i++) {
        fw_status status;
        while ((status = fw_publish_ref(topic, 2, 1, memory, BYTES, on_release, &times[i], NULL)) == FW_WOULD_BLOCK) {
            blocked++;
            EXPECT(FW_OK, poll_now(engine));
        }
        EXPECT(FW_OK, status);
        EXPECT(FW_OK, fw_read_stats(engine, &stats));
        /* Bounded: payload_bytes of the configuration, and what waits to be told. */
        CHECK(stats.payload_bytes <= 8 << 20);
        CHECK(stats.references == (uint64_t)(i + 1 - released));
        CHECK(stats.reference_bytes == stats.references * BYTES);
    }
    /* A log keeps the last of them: it is released with the engine. Others come as the descriptor says. */
    while (released < MESSAGES / 2) {
        struct pollfd fds = {.fd = fw_event_fd(engine), .events = POLLIN};
        CHECK(poll(&fds, 1, 20000) == 1);
        EXPECT(FW_OK, poll_now(engine));
    }
    printf("references: %d released while it ran, blocked %d times\n", released, blocked);
}

static void past_the_limit(fw_engine *engine, fw_topic *topic, int first) {
    /* A topic's log may hold 1 MiB, and so much is retained. Removing the topic lets go of all. */
    int i = first, refused = 0;
    for (; i < MESSAGES && refused < 100; i++) {
        fw_status status = fw_publish_ref(topic, 2, 1, memory, BYTES, on_release, &times[i], NULL);
        if (status == FW_WOULD_BLOCK) {
            refused++;
            i--;
        } else {
            EXPECT(FW_OK, status);
        }
    }
    EXPECT(FW_OK, fw_topic_remove(engine, "a"));
    for (int k = 0; k < 2000 && released < i; k++) {
        struct pollfd fds = {.fd = fw_event_fd(engine), .events = POLLIN};
        CHECK(poll(&fds, 1, 20000) == 1);
        EXPECT(FW_OK, poll_now(engine));
    }
    CHECK(released == i);
}

static void reset(void) {
    released = 0;
    for (int i = 0; i < MESSAGES; i++)
        atomic_store(&times[i], 0);
}

int main(int argc, char **argv) {
    const char *driver = driver_argument(argc, argv);
    for (int way = 0; way < 5; way++) {
        fw_config config = small_config(driver);
        /* With events and without: the descriptor is there in either case. */
        config.events_capacity = way % 2 ? 64 : 0;
        config.events_messages = 0;
        fw_engine *engine;
        EXPECT(FW_OK, fw_start(&config, &engine));
        fw_topic *topic = topic_of(engine, "a");
        reset();
        if (way == 0) {
            past_the_limit(engine, topic, 0);
        } else {
            one_after_the_other(engine, topic);
        }
        int before = released;
        may_release = 1;
        if (way == 1)
            EXPECT(FW_OK, fw_shutdown(engine, 5000));
        if (way == 2)
            EXPECT(FW_OK, fw_stop(engine));
        if (way != 0)
            CHECK(way >= 3 || released == MESSAGES);
        EXPECT(FW_OK, fw_engine_free(engine));
        may_release = 0;
        if (way != 0) {
            CHECK(before < MESSAGES);
            CHECK(released == MESSAGES);
            for (int i = 0; i < MESSAGES; i++)
                CHECK(atomic_load(&times[i]) == 1);
        }
    }
    puts("references: ok");
    return 0;
}
