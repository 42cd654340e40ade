/* Ships the lines of its standard input to whoever wants to read them: C11.
 *
 *     cc -std=c11 logship.c $(pkg-config --cflags --libs fanwire) -o logship
 *     journalctl -f -o cat | ./logship --listen 127.0.0.1:9001 --topic logs/$(hostname)
 *     websocat ws://127.0.0.1:9001/t/logs/$(hostname)
 *
 * Lines that come together are published together. A line with "error" in it is of high priority, all others are normal.
 */
#define _POSIX_C_SOURCE 200809L

#include <fanwire.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024, BATCH = 256 };

struct shipper {
    fw_topic *topic;
    fw_slice batch[BATCH];
    size_t count;
    uint32_t priority;
    unsigned long lines, replaced;
};

static volatile sig_atomic_t is_over;

static void on_signal(int number) {
    (void)number;
    is_over = 1;
}

static int fail(const char *what) {
    fprintf(stderr, "logship: %s: %s\n", what, fw_last_error());
    return 1;
}

/* Publishes the batch. A log must not lose lines because readers are slow: when there is no room it waits, and the
 * program that writes into our pipe waits with it. */
static fw_status flush(struct shipper *shipper) {
    size_t done = 0;
    while (done < shipper->count) {
        size_t accepted;
        const fw_slice *rest = shipper->batch + done;
        fw_status status =
            fw_publish_many(shipper->topic, shipper->priority, FW_KIND_TEXT, rest, shipper->count - done, &accepted);
        done += accepted;
        shipper->lines += accepted;
        if (status == FW_NOT_UTF8) {
            const char *note = "(a line that is not UTF-8)";
            status = fw_publish_wait(shipper->topic, shipper->priority, FW_KIND_TEXT, note, strlen(note), 60000, NULL);
            shipper->replaced++;
            done++;
        } else if (status == FW_WOULD_BLOCK) {
            const fw_slice *next = shipper->batch + done;
            status =
                fw_publish_wait(shipper->topic, shipper->priority, FW_KIND_TEXT, next->data, next->len, 60000, NULL);
            shipper->lines++;
            done++;
        }
        if (status != FW_OK)
            return status;
    }
    shipper->count = 0;
    return FW_OK;
}

static int has_error(const char *line, size_t len) {
    for (size_t i = 0; i + 5 <= len; i++)
        if (memcmp(line + i, "error", 5) == 0 || memcmp(line + i, "ERROR", 5) == 0)
            return 1;
    return 0;
}

static fw_status add(struct shipper *shipper, const char *line, size_t len) {
    uint32_t priority = has_error(line, len) ? FW_PRIORITY_HIGH : FW_PRIORITY_NORMAL;
    if (shipper->count == BATCH || (shipper->count > 0 && priority != shipper->priority)) {
        fw_status status = flush(shipper);
        if (status != FW_OK)
            return status;
    }
    shipper->priority = priority;
    shipper->batch[shipper->count++] = (fw_slice){line, len};
    return FW_OK;
}

static fw_status ship(struct shipper *shipper) {
    static char chunk[CHUNK];
    size_t held = 0;
    while (!is_over) {
        ssize_t got = read(STDIN_FILENO, chunk + held, sizeof chunk - held);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        held += (size_t)got;
        size_t from = 0;
        for (char *end; (end = memchr(chunk + from, '\n', held - from)) != NULL; from = (size_t)(end - chunk) + 1) {
            fw_status status = add(shipper, chunk + from, (size_t)(end - chunk) - from);
            if (status != FW_OK)
                return status;
        }
        /* A line longer than the chunk goes in pieces. */
        if (from == 0 && held == sizeof chunk) {
            fw_status status = add(shipper, chunk, held);
            if (status != FW_OK)
                return status;
            from = held;
        }
        /* The batch points into the chunk: out with it before the chunk changes. */
        fw_status status = flush(shipper);
        if (status != FW_OK)
            return status;
        memmove(chunk, chunk + from, held - from);
        held -= from;
    }
    if (held > 0) {
        fw_status status = add(shipper, chunk, held);
        if (status != FW_OK)
            return status;
    }
    return flush(shipper);
}

int main(int argc, char **argv) {
    fw_config config;
    if (FW_CONFIG_INIT(&config) != FW_OK)
        return fail("this header and this library do not belong together");
    const char *topic = "logs/stdin";
    int wait_for_reader = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--listen") == 0 && i + 1 < argc)
            config.listen = argv[++i];
        else if (strcmp(argv[i], "--topic") == 0 && i + 1 < argc)
            topic = argv[++i];
        else if (strcmp(argv[i], "--wait-for-reader") == 0)
            wait_for_reader = 1;
        else
            return fprintf(stderr, "usage: logship [--listen ADDRESS:PORT] [--topic NAME] [--wait-for-reader]\n"), 2;
    }
    config.publish_access = FW_PUBLISH_NOBODY;
    config.events_capacity = 1024;

    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    fw_engine *engine;
    if (fw_start(&config, &engine) != FW_OK)
        return fail("start");
    struct shipper shipper = {.priority = FW_PRIORITY_NORMAL};
    if (fw_topic_open(engine, topic, &shipper.topic) != FW_OK)
        return fail("topic");
    printf("listening on port %d\n", fw_port(engine));
    fflush(stdout);

    fw_event event = {0};
    size_t count;
    while (wait_for_reader && !is_over && event.type != FW_EVENT_SUBSCRIBED)
        if (fw_poll_events(engine, &event, 1, 1000, &count) != FW_OK)
            return fail("events");

    fw_status status = ship(&shipper);
    int code = status == FW_OK ? 0 : fail("publish");
    if (fw_shutdown(engine, 10000) == FW_TIMED_OUT)
        fprintf(stderr, "logship: some readers were too slow and were cut off\n");
    fprintf(stderr, "shipped %lu lines, %lu were not UTF-8\n", shipper.lines, shipper.replaced);
    if (fw_engine_free(engine) != FW_OK)
        code = fail("free");
    return code;
}
