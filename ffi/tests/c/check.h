/* What all C tests need. */
#ifndef CHECK_H
#define CHECK_H

#include <fanwire.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                                            \
    do {                                                                                                            \
        if (!(condition)) {                                                                                         \
            fprintf(stderr, "%s:%d: not true: %s (last error: %s)\n", __FILE__, __LINE__, #condition,               \
                    fw_last_error());                                                                               \
            _Exit(1);                                                                                               \
        }                                                                                                           \
    } while (0)

/* The call must give this status. */
#define EXPECT(wanted, call)                                                                                        \
    do {                                                                                                            \
        fw_status got_ = (call);                                                                                    \
        if (got_ != (wanted)) {                                                                                     \
            fprintf(stderr, "%s:%d: %s gave %d (%s: %s), not %s\n", __FILE__, __LINE__, #call, (int)got_,           \
                    fw_status_str((int)got_), fw_last_error(), #wanted);                                            \
            _Exit(1);                                                                                               \
        }                                                                                                           \
    } while (0)

/* A small engine: little memory, one shard, any port. */
static inline fw_config small_config(const char *driver) {
    fw_config config;
    EXPECT(FW_OK, FW_CONFIG_INIT(&config));
    config.listen = "127.0.0.1:0";
    config.shards = 1;
    config.driver = strcmp(driver, "uring") == 0 ? FW_DRIVER_URING : FW_DRIVER_EPOLL;
    config.connections_max = 16;
    config.cursors_max = 1024;
    config.ring_bytes = 1 << 16;
    config.pool_bytes = 4 << 20;
    config.lane_bytes = 1 << 20;
    config.payload_bytes = 8 << 20;
    config.remainder_bytes = 1 << 20;
    config.message_bytes_max = 4 << 20;
    config.events_capacity = 64;
    config.events_messages = 1;
    return config;
}

static inline fw_engine *small_engine(const char *driver) {
    fw_config config = small_config(driver);
    fw_engine *engine;
    fw_status status = fw_start(&config, &engine);
    if (status == FW_NO_URING) {
        printf("skip: %s\n", fw_last_error());
        _Exit(77);
    }
    EXPECT(FW_OK, status);
    CHECK(engine != NULL);
    return engine;
}

static inline fw_topic *topic_of(fw_engine *engine, const char *name) {
    fw_topic *topic;
    EXPECT(FW_OK, fw_topic_open(engine, name, &topic));
    CHECK(topic != NULL);
    return topic;
}

static inline void rest_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* Entries of a directory of /proc/self: open descriptors ("fd"), threads ("task"). */
static inline int count_of(const char *what) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/%s", what);
    DIR *directory = opendir(path);
    CHECK(directory != NULL);
    int count = 0;
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

static inline const char *driver_argument(int argc, char **argv) { return argc > 1 ? argv[1] : "epoll"; }

#endif
