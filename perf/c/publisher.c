/* Publishes at a rate or flat out, and says what a publish costs: C11, against an installed fanwire.
 *
 *     cc -O2 -std=c11 perf/c/publisher.c $(pkg-config --cflags --libs fanwire) -o publisher
 *     ./publisher --size 64 --count 2000000                 ns for each fw_publish
 *     ./publisher --size 64 --count 2000000 --many 64       … with fw_publish_many, 64 at a time
 *     ./publisher --rate 10000 --seconds 60 --listen 0.0.0.0:9001 --topic perf
 *
 * What is measured: the mean time of a call over all messages, in bursts of at most half the ring, which the shard has
 * emptied before the next burst begins (or else it would be the shard that is measured). The shard is awake, because a
 * burst is preceded by one message outside of the measurement. Clock reads are outside too: two for each burst.
 */
#define _GNU_SOURCE

#include <fanwire.h>

#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MANY_MAX = 1024 };

struct options {
    const char *listen, *topic;
    unsigned long count, size, many, rate, burst, ring, subscribers;
    double seconds;
    uint32_t kind, priority, driver, shards;
    int cpu, shard_cpu, is_claim;
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "publisher: %s: %s\n", what, fw_last_error());
    exit(1);
}

static void check(fw_status status, const char *what) {
    if (status != FW_OK)
        die(what);
}

static fw_stats stats_of(fw_engine *engine) {
    fw_stats stats = {.struct_size = sizeof stats};
    check(fw_read_stats(engine, &stats), "stats");
    return stats;
}

static void wait_until_empty(fw_engine *engine) {
    while (stats_of(engine).ring_bytes > 0)
        sched_yield();
}

/* One burst of `count` messages; gives its time. */
static uint64_t burst(fw_topic *topic, const struct options *o, const unsigned char *data, unsigned long count) {
    static fw_slice slices[MANY_MAX];
    uint64_t began, refused = 0;
    if (o->many > 0) {
        for (unsigned long i = 0; i < o->many; i++)
            slices[i] = (fw_slice){data, o->size};
        began = now_ns();
        for (unsigned long done = 0; done < count;) {
            unsigned long want = count - done < o->many ? count - done : o->many;
            size_t accepted;
            fw_status status = fw_publish_many(topic, o->priority, o->kind, slices, want, &accepted);
            if (status != FW_OK && status != FW_WOULD_BLOCK)
                die("publish");
            refused += status == FW_WOULD_BLOCK;
            done += accepted;
        }
    } else if (o->is_claim) {
        began = now_ns();
        for (unsigned long done = 0; done < count; done++) {
            fw_buffer *buffer;
            void *memory;
            check(fw_claim(topic, o->size, &buffer, &memory), "claim");
            memcpy(memory, data, o->size);
            check(fw_commit(buffer, o->size, o->priority, o->kind, NULL), "commit");
        }
    } else {
        began = now_ns();
        for (unsigned long done = 0; done < count;) {
            fw_status status = fw_publish(topic, o->priority, o->kind, data, o->size, NULL);
            if (status == FW_OK)
                done++;
            else if (status == FW_WOULD_BLOCK)
                refused++;
            else
                die("publish");
        }
    }
    uint64_t took = now_ns() - began;
    if (refused > 0)
        fprintf(stderr, "publisher: the ring was full %llu times in a burst: this measures the shard\n",
                (unsigned long long)refused);
    return took;
}

static void flat_out(fw_engine *engine, fw_topic *topic, const struct options *o, const unsigned char *data,
                     uint64_t ring_bytes) {
    /* A record is a head of 32 bytes and the message, in units of 64 bytes. */
    unsigned long record = (o->size + 32 + 63) / 64 * 64;
    unsigned long per_burst = ring_bytes / 2 / record;
    if (o->burst > 0 && o->burst < per_burst)
        per_burst = o->burst;
    if (o->is_claim && per_burst > 10000)
        per_burst = 10000;
    uint64_t total = 0, best = UINT64_MAX;
    unsigned long done = 0, bursts = 0, unmeasured = per_burst;
    while (done < o->count) {
        unsigned long count = o->count - done < per_burst ? o->count - done : per_burst;
        wait_until_empty(engine);
        check(fw_publish(topic, o->priority, o->kind, data, o->size, NULL), "publish");
        wait_until_empty(engine);
        uint64_t took = burst(topic, o, data, count);
        if (unmeasured > 0) {
            /* Pages are touched and caches filled. */
            unmeasured = 0;
            continue;
        }
        total += took;
        done += count;
        bursts++;
        if (took / count < best)
            best = took / count;
    }
    printf("{\"call\":\"%s\",\"size\":%lu,\"many\":%lu,\"messages\":%lu,\"bursts\":%lu,\"ns_per_message\":%.1f,"
           "\"best_burst_ns\":%llu}\n",
           o->many > 0 ? "fw_publish_many" : o->is_claim ? "fw_claim+fw_commit" : "fw_publish", o->size, o->many, done, bursts,
           (double)total / (double)done, (unsigned long long)best);
}

static void at_rate(fw_topic *topic, const struct options *o, unsigned char *data) {
    uint64_t began = now_ns(), late_max = 0, blocked = 0, cost = 0;
    unsigned long sent = 0, per_tick = o->rate / 1000 > 0 ? o->rate / 1000 : 1;
    double gap_ns = 1e9 * (double)per_tick / (double)o->rate;
    for (unsigned long tick = 0; (double)tick * gap_ns < o->seconds * 1e9; tick++) {
        uint64_t due = began + (uint64_t)((double)tick * gap_ns), now;
        while ((now = now_ns()) < due) {
            struct timespec rest = {(time_t)((due - now) / 1000000000), (long)((due - now) % 1000000000)};
            nanosleep(&rest, NULL);
        }
        if (now - due > late_max)
            late_max = now - due;
        for (unsigned long i = 0; i < per_tick; i++) {
            /* Intended time of sending, for readers that measure latency. */
            if (o->size >= sizeof due)
                memcpy(data, &due, sizeof due);
            fw_status status = fw_publish(topic, o->priority, o->kind, data, o->size, NULL);
            if (status == FW_WOULD_BLOCK)
                blocked++;
            else
                check(status, "publish");
            sent++;
        }
        cost += now_ns() - now;
    }
    printf("{\"call\":\"fw_publish\",\"size\":%lu,\"rate\":%lu,\"messages\":%lu,\"would_block\":%llu,"
           "\"ns_per_message\":%.1f,\"late_max_us\":%.0f}\n",
           o->size, o->rate, sent, (unsigned long long)blocked, (double)cost / (double)sent, (double)late_max / 1000);
}

static struct options read_options(int argc, char **argv) {
    struct options o = {.listen = "127.0.0.1:0", .topic = "perf", .count = 2000000, .size = 64, .seconds = 10,
                        .kind = FW_KIND_BINARY, .priority = FW_PRIORITY_NORMAL, .shards = 1, .cpu = -1, .shard_cpu = -1};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(name, "--claim") == 0) {
            o.is_claim = 1;
            continue;
        }
        unsigned long number = strtoul(value, NULL, 0);
        if (strcmp(name, "--listen") == 0) o.listen = value;
        else if (strcmp(name, "--topic") == 0) o.topic = value;
        else if (strcmp(name, "--count") == 0) o.count = number;
        else if (strcmp(name, "--size") == 0) o.size = number;
        else if (strcmp(name, "--many") == 0) o.many = number;
        else if (strcmp(name, "--rate") == 0) o.rate = number;
        else if (strcmp(name, "--burst") == 0) o.burst = number;
        else if (strcmp(name, "--ring") == 0) o.ring = number;
        else if (strcmp(name, "--seconds") == 0) o.seconds = strtod(value, NULL);
        else if (strcmp(name, "--kind") == 0) o.kind = (uint32_t)number;
        else if (strcmp(name, "--priority") == 0) o.priority = (uint32_t)number;
        else if (strcmp(name, "--shards") == 0) o.shards = (uint32_t)number;
        else if (strcmp(name, "--wait-for") == 0) o.subscribers = number;
        else if (strcmp(name, "--cpu") == 0) o.cpu = (int)number;
        else if (strcmp(name, "--shard-cpu") == 0) o.shard_cpu = (int)number;
        else if (strcmp(name, "--epoll") == 0 && number <= 1) o.driver = number ? FW_DRIVER_EPOLL : FW_DRIVER_AUTO;
        else {
            fprintf(stderr,
                    "usage: publisher [--size BYTES] [--count N] [--many N | --claim] [--burst N] [--ring BYTES]\n"
                    "                 [--rate N --seconds S]\n"
                    "                 [--listen ADDRESS] [--topic NAME] [--kind 0..2] [--priority 0..3] [--shards N]\n"
                    "                 [--wait-for SUBSCRIBERS] [--cpu N] [--shard-cpu N] [--epoll 1]\n");
            exit(2);
        }
        i++;
    }
    if (o.many > MANY_MAX)
        o.many = MANY_MAX;
    return o;
}

int main(int argc, char **argv) {
    struct options o = read_options(argc, argv);
    fw_config config;
    check(FW_CONFIG_INIT(&config), "configuration");
    config.listen = o.listen;
    config.shards = o.shards;
    config.driver = o.driver;
    if (o.ring > 0)
        config.ring_bytes = o.ring;
    uint32_t shard_cpu = (uint32_t)o.shard_cpu;
    if (o.shard_cpu >= 0) {
        config.pinning = FW_PIN_LIST;
        config.cpus = &shard_cpu;
        config.cpus_count = 1;
    }
    fw_engine *engine;
    fw_topic *topic;
    check(fw_start(&config, &engine), "start");
    check(fw_topic_open(engine, o.topic, &topic), "topic");
    if (o.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(o.cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set) != 0)
            perror("publisher: --cpu");
    }
    unsigned char *data = calloc(1, o.size + 1);
    if (data == NULL)
        return perror("publisher"), 1;
    memset(data, 'x', o.size);
    fprintf(stderr, "listening on port %d\n", fw_port(engine));
    /* A subscription counts from its topic's first message on. */
    if (o.subscribers > 0)
        check(fw_publish(topic, o.priority, o.kind, data, o.size, NULL), "publish");
    while (stats_of(engine).cursors < o.subscribers) {
        struct timespec rest = {0, 10000000};
        nanosleep(&rest, NULL);
    }
    if (o.rate > 0)
        at_rate(topic, &o, data);
    else
        flat_out(engine, topic, &o, data, config.ring_bytes);
    if (fw_shutdown(engine, 5000) == FW_TIMED_OUT)
        fprintf(stderr, "publisher: some subscribers were cut off\n");
    check(fw_engine_free(engine), "free");
    free(data);
    return 0;
}
