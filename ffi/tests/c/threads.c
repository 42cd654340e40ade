/* Sixteen threads use one engine at once, in every way, while others stop and free it under them: statuses, no crash, and
 * every reference is released once. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 16 };

static fw_engine *_Atomic engine;
static fw_topic *_Atomic topic;
static fw_buffer *_Atomic buffer;
static atomic_int is_over, offered, released;
static char message[5000];

static void on_release(void *context, const void *data, size_t len) {
    fw_topic *mine = atomic_load(&topic);
    size_t count;
    CHECK(context == &released && data == message && len == sizeof message);
    atomic_fetch_add(&released, 1);
    /* Publishing is allowed here, ending is not. */
    (void)fw_publish(mine, 2, 1, "from a callback", 15, NULL);
    fw_status status = fw_poll_events(atomic_load(&engine), NULL, 0, 0, &count);
    CHECK(status == FW_BUSY);
    EXPECT(FW_BUSY, fw_engine_free(atomic_load(&engine)));
}

static void may_be(fw_status status) {
    switch (status) {
    case FW_OK:
    case FW_WOULD_BLOCK:
    case FW_BAD_HANDLE:
    case FW_REMOVED:
    case FW_GONE:
    case FW_STOPPED:
    case FW_BUSY:
    case FW_TIMED_OUT:
        return;
    default:
        fprintf(stderr, "unexpected: %s: %s\n", fw_status_str(status), fw_last_error());
        _Exit(1);
    }
}

static void *work(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument * 2654435761u + 1;
    while (!atomic_load(&is_over)) {
        fw_engine *e = atomic_load(&engine);
        fw_topic *t = atomic_load(&topic), *own;
        fw_buffer *b;
        void *data;
        fw_event events[8];
        fw_slice slices[] = {{"a", 1}, {"b", 1}, {message, 100}};
        fw_stats stats = {.struct_size = sizeof stats};
        size_t count;
        char text[100];
        bool is_running;
        seed = seed * 1664525u + 1013904223u;
        switch (seed >> 24 & 31) {
        case 0: may_be(fw_topic_open(e, "shared", &own)); may_be(own ? fw_topic_free(own) : FW_OK); break;
        case 1: may_be(fw_topic_remove(e, "other")); break;
        case 2: may_be(fw_poll_events(e, events, 8, 1, &count)); break;
        case 3: may_be(fw_read_stats(e, &stats)); break;
        case 4: may_be(fw_read_shard_stats(e, 0, &stats)); break;
        case 5: may_be(fw_address(e, 0, text, sizeof text, &count)); break;
        case 6: may_be(fw_send_to(e, seed, FW_KIND_TEXT, "x", 1)); break;
        case 7: may_be(fw_close(e, seed, 1000, "x")); may_be(fw_allow(e, seed, "a", "b", 1, NULL)); may_be(fw_refuse(e, seed, 403)); break;
        case 8: may_be(fw_is_running(e, &is_running)); break;
        case 9: (void)fw_event_fd(e); (void)fw_port(e); break;
        case 10: may_be(fw_memory_plan(e, text, sizeof text, &count)); may_be(fw_metrics(e, text, sizeof text, &count)); break;
        case 11: may_be(fw_topic_name(t, text, sizeof text, &count)); break;
        case 12: may_be(fw_topic_open(e, "other", &own)); may_be(own ? fw_publish(own, 3, 0, "x", 1, NULL) : FW_OK);
                 may_be(own ? fw_topic_free(own) : FW_OK); break;
        case 13: may_be(fw_publish_wait(t, 2, 1, "x", 1, 2, NULL)); break;
        case 14: may_be(fw_commit(atomic_load(&buffer), 4, 2, 1, NULL)); break;
        case 15: may_be(fw_abort(atomic_load(&buffer))); break;
        case 16:
            if (fw_claim(t, 4, &b, &data) == FW_OK) {
                memcpy(data, "abcd", 4);
                /* For anybody to commit or abort; the last one is freed with the engine. */
                atomic_store(&buffer, b);
            }
            break;
        case 17:
        case 18:
            /* Counted first: it may be released before this returns. */
            atomic_fetch_add(&offered, 1);
            if (fw_publish_ref(t, 3, 1, message, sizeof message, on_release, &released, NULL) != FW_OK)
                atomic_fetch_sub(&offered, 1);
            break;
        case 19: may_be(fw_publish_many(t, 2, 1, slices, 3, &count)); break;
        case 21: may_be(fw_publish_many_wait(t, 2, 1, slices, 3, 2, &count)); break;
        case 22: may_be(fw_publish_message(t, &(fw_message){.struct_size = sizeof(fw_message), .data = "x", .len = 1}, NULL)); break;
        case 20: may_be(fw_topic_id(t, NULL, NULL)); break;
        default: may_be(fw_publish(t, seed >> 8 & 3, 1, message, seed >> 10 & 255, NULL)); break;
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    const char *driver = driver_argument(argc, argv);
    int rounds = argc > 2 ? atoi(argv[2]) : 20;
    pthread_t threads[THREADS];
    fw_buffer *first;
    void *data;
    atomic_store(&engine, small_engine(driver));
    atomic_store(&topic, topic_of(atomic_load(&engine), "shared"));
    EXPECT(FW_OK, fw_claim(atomic_load(&topic), 4, &first, &data));
    atomic_store(&buffer, first);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i) == 0);
    for (int round = 0; round < rounds; round++) {
        rest_ms(20);
        fw_engine *old = atomic_load(&engine);
        /* Three ways to end it, under the hands of all. */
        if (round % 3 == 0)
            may_be(fw_shutdown(old, 2000));
        if (round % 3 == 1)
            may_be(fw_stop(old));
        rest_ms(2);
        fw_engine *new = small_engine(driver);
        fw_topic *new_topic = topic_of(new, "shared");
        atomic_store(&engine, new);
        EXPECT(FW_OK, fw_engine_free(old));
        EXPECT(FW_BAD_HANDLE, fw_engine_free(old));
        atomic_store(&topic, new_topic);
    }
    atomic_store(&is_over, 1);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    EXPECT(FW_OK, fw_engine_free(atomic_load(&engine)));
    CHECK(atomic_load(&offered) > 0);
    CHECK(atomic_load(&offered) == atomic_load(&released));
    printf("threads: ok, %d references\n", atomic_load(&released));
    return 0;
}
