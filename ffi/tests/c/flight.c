/* Replays a recording at full speed: lines "TOPIC<tab>MESSAGE" from standard input, read whole before the first is published. */
#include "check.h"

enum { TOPICS_MAX = 64 };

static struct {
    char *name;
    fw_topic *topic;
} topics[TOPICS_MAX];
static size_t topic_count;

static fw_topic *topic_named(fw_engine *engine, char *name) {
    for (size_t i = 0; i < topic_count; i++)
        if (strcmp(topics[i].name, name) == 0)
            return topics[i].topic;
    CHECK(topic_count < TOPICS_MAX);
    topics[topic_count].name = name;
    return topics[topic_count++].topic = topic_of(engine, name);
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    fw_config config = small_config(argv[1]);
    uint64_t clients = strtoull(argv[3], NULL, 10);
    config.shards = 2;
    config.connections_max = 256;
    config.cursors_max = 1 << 16;
    config.lane_bytes = strtoull(argv[2], NULL, 10);
    /* Beside large budgets room for the whole recording: a shard that gets no time for a moment is not passed over. */
    config.ring_bytes = config.lane_bytes >= 64 << 20 ? 64 << 20 : 1 << 20;
    config.pool_bytes = 32 * config.lane_bytes > (64 << 20) ? 32 * config.lane_bytes : 64 << 20;
    config.events_capacity = 0;
    config.events_messages = 0;
    fw_engine *engine;
    fw_status status = fw_start(&config, &engine);
    if (status == FW_NO_URING) {
        printf("skip: %s\n", fw_last_error());
        return 77;
    }
    EXPECT(FW_OK, status);
    printf("listening on %u\n", fw_port(engine));
    fflush(stdout);

    size_t size = 0, room = 1 << 20, got;
    char *text = malloc(room + 1);
    CHECK(text != NULL);
    while ((got = fread(text + size, 1, room - size, stdin)) > 0) {
        size += got;
        if (size == room)
            CHECK((text = realloc(text, (room *= 2) + 1)) != NULL);
    }
    text[size] = 0;
    /* The first pass makes the topics, the second publishes; between them every client must be there. */
    unsigned long published = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (char *line = text; line < text + size;) {
            /* The first pass leaves a NUL where the tab was. */
            char *tab = pass == 0 ? strchr(line, '\t') : line + strlen(line);
            CHECK(tab != NULL);
            *tab = 0;
            fw_topic *topic = topic_named(engine, line);
            char *message = tab + 1, *end = strchr(message, '\n');
            CHECK(end != NULL);
            if (pass == 1) {
                EXPECT(FW_OK, fw_publish_wait(topic, FW_PRIORITY_NORMAL, FW_KIND_JSON, message, (size_t)(end - message),
                                              60000, NULL));
                published++;
            }
            line = end + 1;
        }
        for (size_t i = 0; i < topic_count; i++) {
            fw_pressure pressure = {.struct_size = sizeof pressure};
            for (int tries = 0; tries < 6000; tries++) {
                EXPECT(FW_OK, fw_topic_pressure(topics[i].topic, &pressure));
                if (pressure.subscribers == clients)
                    break;
                rest_ms(10);
            }
            CHECK(pressure.subscribers == clients);
        }
    }
    EXPECT(FW_OK, fw_shutdown(engine, 120000));
    EXPECT(FW_OK, fw_engine_free(engine));
    free(text);
    printf("published %lu on %zu topics\n", published, topic_count);
    return 0;
}
