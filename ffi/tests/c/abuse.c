/* Every exported function with NULL, with wrong, freed and invented handles, with arguments out of range, after a stop and
 * after a free: always a status, never a crash. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

static int released;

static void on_release(void *context, const void *data, size_t len) {
    (void)context, (void)data, (void)len;
    released++;
}

static char text[256];
static size_t length;
static uint64_t position;
static const char big[4096];

/* Each call of the interface that takes an engine, with this one; all must give `wanted`. */
static void all_engine_calls(fw_engine *engine, fw_status wanted) {
    fw_topic *topic = (fw_topic *)text;
    fw_event event;
    fw_stats stats = {.struct_size = sizeof stats};
    size_t count = 7;
    bool is_running = true;
    EXPECT(wanted, fw_shutdown(engine, 0));
    EXPECT(wanted, fw_stop(engine));
    EXPECT(wanted, fw_shutdown_over(engine, 0, 0));
    EXPECT(wanted, fw_hand_over(engine, NULL, 0, 0, 0));
    fw_config config;
    EXPECT(FW_OK, FW_CONFIG_INIT(&config));
    EXPECT(wanted, fw_reconfigure(engine, &config, text, sizeof text, &length));
    int fd = 7;
    EXPECT(wanted, fw_listening_socket(engine, 0, &fd, text, sizeof text, &length));
    CHECK(fd == -1);
    EXPECT(wanted, fw_taken_over(engine, 0, text, sizeof text, &length));
    EXPECT(wanted, fw_is_running(engine, &is_running));
    EXPECT(wanted, fw_failure(engine, text, sizeof text, &length));
    EXPECT(wanted, fw_address(engine, 0, text, sizeof text, &length));
    CHECK(fw_port(engine) == 0);
    EXPECT(wanted, fw_driver_name(engine, text, sizeof text, &length));
    EXPECT(wanted, fw_driver_notice(engine, text, sizeof text, &length));
    EXPECT(wanted, fw_memory_plan(engine, text, sizeof text, &length));
    EXPECT(wanted, fw_send_to(engine, 1, FW_KIND_TEXT, "x", 1));
    EXPECT(wanted, fw_send_ref_to(engine, 1, FW_KIND_TEXT, "x", 1, on_release, NULL));
    EXPECT(wanted, fw_close(engine, 1, 1000, "x"));
    EXPECT(wanted, fw_allow(engine, 1, "a", NULL, 0, NULL));
    EXPECT(wanted, fw_refuse(engine, 1, 403));
    EXPECT(wanted, fw_revoke(engine, "a", NULL, 0, &count));
    EXPECT(wanted, fw_topic_open(engine, "a", &topic));
    CHECK(topic == NULL);
    EXPECT(wanted, fw_topic_remove(engine, "a"));
    EXPECT(wanted, fw_poll_events(engine, &event, 1, 0, &count));
    CHECK(count == 0);
    CHECK(fw_event_fd(engine) == -1);
    EXPECT(wanted, fw_read_stats(engine, &stats));
    EXPECT(wanted, fw_read_shard_stats(engine, 0, &stats));
    EXPECT(wanted, fw_metrics(engine, text, sizeof text, &length));
    EXPECT(wanted, fw_snapshot(engine, "$sys/shards", 0, text, sizeof text, &length));
    /* Last: with a good handle it would end it. */
    EXPECT(wanted, fw_engine_free(engine));
}

static void all_topic_calls(fw_topic *topic, fw_status wanted) {
    fw_slice slice = {"x", 1};
    size_t accepted = 7;
    fw_buffer *buffer = (fw_buffer *)text;
    void *data = text;
    uint32_t id;
    uint64_t epoch;
    EXPECT(wanted, fw_publish(topic, FW_PRIORITY_NORMAL, FW_KIND_TEXT, "x", 1, &position));
    EXPECT(wanted, fw_publish(topic, FW_PRIORITY_NORMAL, FW_KIND_TEXT, "x", 1, NULL));
    EXPECT(wanted, fw_publish_wait(topic, FW_PRIORITY_NORMAL, FW_KIND_TEXT, "x", 1, 1000000, &position));
    EXPECT(wanted, fw_publish_many(topic, FW_PRIORITY_NORMAL, FW_KIND_TEXT, &slice, 1, &accepted));
    CHECK(accepted == 0);
    EXPECT(wanted, fw_publish_many_wait(topic, FW_PRIORITY_NORMAL, FW_KIND_TEXT, &slice, 1, 1000000, &accepted));
    CHECK(accepted == 0);
    fw_message message = {.struct_size = sizeof message, .data = "x", .len = 1, .key = "k", .ttl_ms = 1000};
    EXPECT(wanted, fw_publish_message(topic, &message, &position));
    EXPECT(wanted, fw_publish_ref(topic, FW_PRIORITY_NORMAL, FW_KIND_TEXT, big, 4000, on_release, NULL, NULL));
    EXPECT(wanted, fw_topic_pressure(topic, &(fw_pressure){.struct_size = sizeof(fw_pressure)}));
    EXPECT(wanted, fw_claim(topic, 10, &buffer, &data));
    CHECK(buffer == NULL && data == NULL);
    if (wanted != FW_STOPPED && wanted != FW_REMOVED) {
        EXPECT(wanted, fw_topic_name(topic, text, sizeof text, &length));
        EXPECT(wanted, fw_topic_id(topic, &id, &epoch));
        EXPECT(wanted, fw_topic_free(topic));
    }
}

static void all_buffer_calls(fw_buffer *buffer, fw_status wanted) {
    void *data = text;
    EXPECT(wanted, fw_grow(buffer, 100, &data));
    CHECK(data == text);
    EXPECT(wanted, fw_commit(buffer, 1, FW_PRIORITY_NORMAL, FW_KIND_TEXT, &position));
    EXPECT(wanted, fw_commit(buffer, 1, FW_PRIORITY_NORMAL, FW_KIND_TEXT, NULL));
    EXPECT(wanted, fw_abort(buffer));
}

static void all_calls(void *handle, fw_status wanted) {
    all_engine_calls(handle, wanted);
    all_topic_calls(handle, wanted);
    all_buffer_calls(handle, wanted);
}

static void invented_handles(void) {
    static const uint64_t numbers[] = {1,          0x7fffffffffffull,     0x00100000,           0x100400000ull,
                                       ~0ull,      0x8000000000000000ull, 0x1004fffffull,       0xdeadbeefdeadbeefull,
                                       0x500400005, 0x100500000ull,       0x200000ull << 20 | 3};
    all_calls(NULL, FW_NULL);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        all_calls((void *)(uintptr_t)numbers[i], FW_BAD_HANDLE);
    /* Real memory, with anything in it. */
    all_calls(text, FW_BAD_HANDLE);
    void *heap = calloc(1, 4096);
    all_calls(heap, FW_BAD_HANDLE);
    free(heap);
}

static void wrong_kinds(fw_engine *engine, fw_topic *topic, fw_buffer *buffer) {
    all_topic_calls((fw_topic *)engine, FW_BAD_HANDLE);
    all_topic_calls((fw_topic *)buffer, FW_BAD_HANDLE);
    all_buffer_calls((fw_buffer *)engine, FW_BAD_HANDLE);
    all_buffer_calls((fw_buffer *)topic, FW_BAD_HANDLE);
    all_engine_calls((fw_engine *)topic, FW_BAD_HANDLE);
    all_engine_calls((fw_engine *)buffer, FW_BAD_HANDLE);
}

static void null_arguments(fw_topic *topic) {
    fw_engine *engine;
    fw_slice slice = {NULL, 1};
    size_t count;
    fw_buffer *buffer;
    void *data;
    fw_config config = small_config("epoll");
    EXPECT(FW_NULL, fw_config_init(NULL, sizeof config));
    EXPECT(FW_NULL, fw_start(NULL, &engine));
    EXPECT(FW_NULL, fw_start(&config, NULL));
    EXPECT(FW_NULL, fw_publish(topic, 2, 1, NULL, 1, NULL));
    EXPECT(FW_NULL, fw_publish_wait(topic, 2, 1, NULL, 1, 0, NULL));
    EXPECT(FW_NULL, fw_publish_many(topic, 2, 1, NULL, 1, &count));
    EXPECT(FW_NULL, fw_publish_many(topic, 2, 1, &slice, 1, NULL));
    EXPECT(FW_NULL, fw_publish_many(topic, 2, 1, &slice, 1, &count));
    EXPECT(FW_NULL, fw_publish_many_wait(topic, 2, 1, NULL, 1, 0, &count));
    EXPECT(FW_NULL, fw_publish_many_wait(topic, 2, 1, &slice, 1, 0, NULL));
    EXPECT(FW_NULL, fw_publish_many_wait(topic, 2, 1, &slice, 1, 0, &count));
    EXPECT(FW_NULL, fw_publish_message(topic, NULL, NULL));
    EXPECT(FW_NULL, fw_publish_message(topic, &(fw_message){.struct_size = sizeof(fw_message), .len = 1}, NULL));
    EXPECT(FW_OK, fw_publish_message(topic, &(fw_message){.struct_size = sizeof(fw_message)}, NULL));
    EXPECT(FW_NULL, fw_publish_ref(topic, 2, 1, NULL, 1, on_release, NULL, NULL));
    EXPECT(FW_NULL, fw_publish_ref(topic, 2, 1, "x", 1, NULL, NULL, NULL));
    EXPECT(FW_NULL, fw_claim(topic, 1, NULL, &data));
    EXPECT(FW_NULL, fw_claim(topic, 1, &buffer, NULL));
    EXPECT(FW_NULL, fw_topic_name(topic, NULL, 1, NULL));
    EXPECT(FW_OK, fw_topic_name(topic, NULL, 0, &length));
    EXPECT(FW_OK, fw_topic_id(topic, NULL, NULL));
    EXPECT(FW_NULL, fw_topic_pressure(topic, NULL));
    EXPECT(FW_ABI_MISMATCH, fw_topic_pressure(topic, &(fw_pressure){.struct_size = sizeof(fw_pressure) - 8}));
    EXPECT(FW_ABI_MISMATCH, fw_topic_pressure(topic, &(fw_pressure){.struct_size = sizeof(fw_pressure) + 8}));
    EXPECT(FW_OK, fw_topic_pressure(topic, &(fw_pressure){.struct_size = sizeof(fw_pressure)}));
    EXPECT(FW_OK, fw_publish(topic, 2, 1, NULL, 0, NULL));
    EXPECT(FW_OK, fw_publish_many(topic, 2, 1, NULL, 0, &count));
}

static void null_arguments_of_the_engine(fw_engine *engine) {
    fw_event event;
    size_t count;
    fw_topic *topic;
    EXPECT(FW_NULL, fw_is_running(engine, NULL));
    EXPECT(FW_NULL, fw_address(engine, 0, NULL, 1, NULL));
    EXPECT(FW_NULL, fw_failure(engine, NULL, 1, NULL));
    EXPECT(FW_NULL, fw_driver_name(engine, NULL, 1, NULL));
    EXPECT(FW_NULL, fw_memory_plan(engine, NULL, 1, &length));
    EXPECT(FW_NULL, fw_metrics(engine, NULL, 1, &length));
    EXPECT(FW_OK, fw_metrics(engine, NULL, 0, &length));
    CHECK(length > 10000);
    EXPECT(FW_OK, fw_metrics(engine, text, 24, NULL));
    CHECK(strcmp(text, "# TYPE fanwire_build in") == 0);
    EXPECT(FW_NULL, fw_snapshot(engine, NULL, 1000, text, sizeof text, &length));
    EXPECT(FW_BAD_NAME, fw_snapshot(engine, "$sys/other", 1000, text, sizeof text, &length));
    EXPECT(FW_BAD_NAME, fw_snapshot(engine, "$sys/gaps", 1000, text, sizeof text, &length));
    EXPECT(FW_NULL, fw_snapshot(engine, "$sys/shards", 60000, NULL, 1, &length));
    EXPECT(FW_OK, fw_snapshot(engine, "$sys/clients", 60000, text, 11, &length));
    CHECK(length > 40 && strcmp(text, "{\"at_ms\":1") == 0);
    EXPECT(FW_BAD_NAME, fw_topic_open(engine, "$sys/shards", &topic));
    EXPECT(FW_BAD_NAME, fw_topic_remove(engine, "$sys/shards"));
    EXPECT(FW_NULL, fw_send_to(engine, 1, FW_KIND_BINARY, NULL, 1));
    EXPECT(FW_NULL, fw_send_ref_to(engine, 1, FW_KIND_BINARY, "x", 1, NULL, NULL));
    EXPECT(FW_NULL, fw_topic_open(engine, NULL, &topic));
    EXPECT(FW_NULL, fw_topic_open(engine, "a", NULL));
    EXPECT(FW_NULL, fw_topic_remove(engine, NULL));
    EXPECT(FW_NULL, fw_poll_events(engine, NULL, 1, 0, &count));
    EXPECT(FW_NULL, fw_poll_events(engine, &event, 1, 0, NULL));
    EXPECT(FW_OK, fw_poll_events(engine, NULL, 0, 0, &count));
    EXPECT(FW_NULL, fw_read_stats(engine, NULL));
    EXPECT(FW_NULL, fw_read_shard_stats(engine, 0, NULL));
}

static void arguments_out_of_range(fw_engine *engine, fw_topic *topic) {
    static const uint32_t wrong[] = {4, 5, 255, 256, 257, 0x80000000u, UINT32_MAX};
    size_t count;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fw_slice slice = {"x", 1};
        EXPECT(FW_BAD_ARGUMENT, fw_publish(topic, wrong[i], FW_KIND_TEXT, "x", 1, NULL));
        EXPECT(FW_BAD_ARGUMENT, fw_publish(topic, FW_PRIORITY_LOW, wrong[i], "x", 1, NULL));
        EXPECT(FW_BAD_ARGUMENT, fw_publish_many(topic, wrong[i], FW_KIND_TEXT, &slice, 1, &count));
        EXPECT(FW_BAD_ARGUMENT, fw_send_to(engine, 1, wrong[i], "x", 1));
        EXPECT(FW_BAD_ARGUMENT, fw_read_shard_stats(engine, wrong[i], &(fw_stats){.struct_size = sizeof(fw_stats)}));
    }
    static const uint32_t codes[] = {0, 1, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65536 + 1000, UINT32_MAX};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        EXPECT(FW_BAD_ARGUMENT, fw_close(engine, 1, codes[i], NULL));
    EXPECT(FW_NOT_UTF8, fw_close(engine, 1, 1000, "\xff"));
    static const uint32_t statuses[] = {0, 101, 200, 400, 404, 500, UINT32_MAX};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        EXPECT(FW_BAD_ARGUMENT, fw_refuse(engine, 1, statuses[i]));
    EXPECT(FW_NOT_UTF8, fw_allow(engine, 1, "\xff", NULL, 0, NULL));
    EXPECT(FW_NOT_UTF8, fw_allow(engine, 1, NULL, "\xff", 0, NULL));
    EXPECT(FW_BAD_NAME, fw_allow(engine, 1, "a*", NULL, 0, NULL));
    EXPECT(FW_BAD_NAME, fw_allow(engine, 1, "a\n\nb", NULL, 0, NULL));
    char lines[257 * 2 + 1] = "";
    for (int i = 0; i < 257; i++)
        strcat(lines, "a\n");
    EXPECT(FW_TOO_MANY, fw_allow(engine, 1, NULL, lines, 0, NULL));
    EXPECT(FW_NOT_UTF8, fw_allow(engine, 1, NULL, NULL, 0, "\xff"));
    EXPECT(FW_BAD_ARGUMENT, fw_revoke(engine, NULL, NULL, 0, NULL));
    EXPECT(FW_NOT_UTF8, fw_revoke(engine, "\xff", NULL, 0, NULL));
    EXPECT(FW_NOT_UTF8, fw_revoke(engine, NULL, "\xff", 0, NULL));
    EXPECT(FW_BAD_CONFIG, fw_revoke(engine, "a", "b", 1, NULL));
    EXPECT(FW_BAD_ARGUMENT, fw_publish(topic, 2, 1, "x", SIZE_MAX, NULL));
    EXPECT(FW_TOO_LARGE, fw_claim(topic, SIZE_MAX, &(fw_buffer *){NULL}, &(void *){NULL}));
    EXPECT(FW_TOO_LARGE, fw_claim(topic, (4 << 20) + 1, &(fw_buffer *){NULL}, &(void *){NULL}));
    EXPECT(FW_NOT_UTF8, fw_publish(topic, 2, FW_KIND_TEXT, "\xff", 1, NULL));
    EXPECT(FW_NOT_UTF8, fw_topic_open(engine, "\xff", &(fw_topic *){NULL}));
    EXPECT(FW_BAD_NAME, fw_topic_open(engine, "", &(fw_topic *){NULL}));
    EXPECT(FW_BAD_NAME, fw_topic_open(engine, "a//b", &(fw_topic *){NULL}));
    EXPECT(FW_BAD_NAME, fw_topic_open(engine, "a/*", &(fw_topic *){NULL}));
    CHECK(strstr(fw_last_error(), "byte 2") != NULL);
    EXPECT(FW_GONE, fw_topic_remove(engine, "no/such/topic"));
    EXPECT(FW_GONE, fw_address(engine, 1, text, sizeof text, NULL));
    EXPECT(FW_ABI_MISMATCH, fw_publish_message(topic, &(fw_message){.struct_size = 8}, NULL));
    static const char said[1025];
    fw_message with = {.struct_size = sizeof with, .attributes = said, .attributes_len = 1024};
    EXPECT(FW_OK, fw_publish_message(topic, &with, NULL));
    with.attributes_len = 1025;
    EXPECT(FW_TOO_LARGE, fw_publish_message(topic, &with, NULL));
    with.attributes_len = SIZE_MAX;
    EXPECT(FW_BAD_ARGUMENT, fw_publish_message(topic, &with, NULL));
    with.attributes = NULL;
    EXPECT(FW_NULL, fw_publish_message(topic, &with, NULL));
    /* As a host has it that was compiled before there were attributes. */
    with.struct_size = 40;
    EXPECT(FW_OK, fw_publish_message(topic, &with, NULL));
    EXPECT(FW_BAD_ARGUMENT, fw_publish_message(topic, &(fw_message){.struct_size = sizeof(fw_message), .kind = 3}, NULL));
    EXPECT(FW_NOT_UTF8, fw_publish_message(topic, &(fw_message){.struct_size = sizeof(fw_message), .key = "\xff"}, NULL));
    EXPECT(FW_ABI_MISMATCH, fw_read_stats(engine, &(fw_stats){.struct_size = 3}));
    EXPECT(FW_ABI_MISMATCH, fw_read_stats(engine, &(fw_stats){.struct_size = 1 << 20}));
    /* A batch stops at what is wrong in it, and says how far it got. */
    fw_slice slices[] = {{"1", 1}, {"2", 1}, {"\xff", 1}, {"4", 1}};
    EXPECT(FW_NOT_UTF8, fw_publish_many(topic, 2, FW_KIND_TEXT, slices, 4, &count));
    CHECK(count == 2);
    slices[1].data = NULL;
    EXPECT(FW_NULL, fw_publish_many(topic, 2, FW_KIND_TEXT, slices, 4, &count));
    CHECK(count == 1);
}

static void configurations(const char *driver) {
    fw_engine *engine = (fw_engine *)text;
    fw_config config;
#define REFUSED(wanted, change)                                                                                     \
    do {                                                                                                            \
        config = small_config(driver);                                                                              \
        change;                                                                                                     \
        EXPECT(wanted, fw_start(&config, &engine));                                                                 \
        CHECK(engine == NULL && *fw_last_error() != 0);                                                             \
    } while (0)
    REFUSED(FW_ABI_MISMATCH, config.struct_size = 0);
    REFUSED(FW_ABI_MISMATCH, config.struct_size = sizeof config + 8);
    REFUSED(FW_NULL, config.listen = NULL);
    REFUSED(FW_BAD_CONFIG, config.listen = "");
    REFUSED(FW_BAD_CONFIG, config.listen = "nonsense");
    REFUSED(FW_NOT_UTF8, config.listen = "\xff");
    REFUSED(FW_CANNOT_LISTEN, config.listen = "192.0.2.1:1");
    REFUSED(FW_NULL, config.server_name = NULL);
    REFUSED(FW_BAD_CONFIG, config.driver = 3);
    REFUSED(FW_BAD_CONFIG, config.driver = UINT32_MAX);
    REFUSED(FW_BAD_CONFIG, config.pinning = 3);
    REFUSED(FW_BAD_CONFIG, config.pinning = FW_PIN_LIST);
    REFUSED(FW_NULL, (config.pinning = FW_PIN_LIST, config.cpus_count = 1));
    REFUSED(FW_BAD_CONFIG, config.publish_access = 3);
    REFUSED(FW_BAD_CONFIG, config.shards = 65);
    REFUSED(FW_BAD_CONFIG, config.shards = UINT32_MAX);
    REFUSED(FW_BAD_CONFIG, config.ring_bytes = 1000);
    REFUSED(FW_BAD_CONFIG, config.ring_bytes = UINT64_MAX);
    REFUSED(FW_BAD_CONFIG, config.pool_bytes = UINT64_MAX);
    REFUSED(FW_BAD_CONFIG, config.payload_bytes = 0);
    REFUSED(FW_BAD_CONFIG, config.message_bytes_max = UINT64_MAX);
    REFUSED(FW_BAD_CONFIG, config.connections_max = UINT32_MAX);
    REFUSED(FW_BAD_CONFIG, config.topics_max = 0);
    REFUSED(FW_BAD_CONFIG, config.events_capacity = UINT32_MAX);
    REFUSED(FW_BAD_CONFIG, config.handshake_timeout_ms = 0);
    REFUSED(FW_BAD_CONFIG, config.lane_bytes = 0);
    REFUSED(FW_BAD_CONFIG, config.lane_bytes = (16 << 10) - 1);
    REFUSED(FW_BAD_CONFIG, config.lane_bytes = UINT64_MAX);
    REFUSED(FW_BAD_CONFIG, config.pool_bytes = 0);
    REFUSED(FW_BAD_CONFIG, config.ring_bytes = 0);
    REFUSED(FW_BAD_CONFIG, config.ring_bytes = (64 << 10) + 1);
    REFUSED(FW_BAD_CONFIG, config.payload_bytes = 2 * config.message_bytes_max - 1);
    REFUSED(FW_BAD_CONFIG, config.payload_bytes = UINT64_MAX);
    REFUSED(FW_BAD_CONFIG, config.remainder_bytes = UINT64_MAX);
    REFUSED(FW_BAD_CONFIG, config.message_bytes_max = 0);
    REFUSED(FW_BAD_CONFIG, config.message_bytes_max = (64 << 20) + 1);
    REFUSED(FW_BAD_CONFIG, config.request_bytes_max = 0);
    REFUSED(FW_BAD_CONFIG, config.request_bytes_max = 511);
    REFUSED(FW_BAD_CONFIG, config.request_bytes_max = 65537);
    REFUSED(FW_BAD_CONFIG, config.request_bytes_max = UINT64_MAX);
    REFUSED(FW_BAD_CONFIG, config.connections_max = 16000001);
    REFUSED(FW_BAD_CONFIG, config.cursors_max = 0);
    REFUSED(FW_BAD_CONFIG, config.cursors_max = UINT32_MAX);
    REFUSED(FW_BAD_CONFIG, config.topics_max = 1000001);
    REFUSED(FW_BAD_CONFIG, config.topics_max = UINT32_MAX);
    REFUSED(FW_BAD_CONFIG, config.events_capacity = (1 << 20) + 1);
    REFUSED(FW_BAD_CONFIG, (config.events_capacity = 0, config.events_messages = 1));
    char name[257];
    memset(name, 'x', 256);
    name[256] = 0;
    REFUSED(FW_BAD_CONFIG, config.server_name = name);
    REFUSED(FW_BAD_CONFIG, config.unsent_bytes_max = 0);
    REFUSED(FW_BAD_CONFIG, config.unsent_bytes_max = 1023);
    REFUSED(FW_BAD_CONFIG, config.unsent_bytes_max = (64 << 20) + 1);
    REFUSED(FW_BAD_CONFIG, config.unsent_bytes_max = UINT64_MAX);
    REFUSED(FW_NULL, config.settings_count = 1);
    REFUSED(FW_BAD_CONFIG, config.settings_count = SIZE_MAX);
    fw_setting settings[] = {{"limits.ping_every", "5s"}, {"limits.ping_every", "7s"}};
#define WITH(setting, text) (settings[1].name = setting, settings[1].value = text, config.settings = settings, config.settings_count = 2)
    REFUSED(FW_NULL, WITH(NULL, "5s"));
    REFUSED(FW_NULL, WITH("driver", NULL));
    REFUSED(FW_NOT_UTF8, WITH("driver", "\xff"));
    REFUSED(FW_BAD_CONFIG, WITH("limits.ping_evry", "5s"));
    CHECK(strstr(fw_last_error(), "did you mean limits.ping_every?") != NULL);
    REFUSED(FW_BAD_CONFIG, WITH("limits.ping_every", "5"));
    REFUSED(FW_BAD_CONFIG, WITH("memory.ring_bytes", "100KiB"));
    CHECK(strstr(fw_last_error(), "64KiB to 4GiB") != NULL);
    EXPECT(FW_NULL, fw_setting_check(NULL, "5s"));
    EXPECT(FW_NULL, fw_setting_check("driver", NULL));
    EXPECT(FW_BAD_CONFIG, fw_setting_check("driver", "kqueue"));
    EXPECT(FW_BAD_CONFIG, fw_setting_check("drver", "epoll"));
    EXPECT(FW_OK, fw_setting_check("driver", "epoll"));
#define TAKEN(change)                                                                                               \
    do {                                                                                                            \
        config = small_config(driver);                                                                              \
        change;                                                                                                     \
        EXPECT(FW_OK, fw_start(&config, &engine));                                                                  \
        EXPECT(FW_OK, fw_publish(topic_of(engine, "a"), 2, 0, "x", 1, NULL));                                       \
        EXPECT(FW_OK, fw_shutdown(engine, UINT32_MAX));                                                             \
        EXPECT(FW_OK, fw_engine_free(engine));                                                                      \
    } while (0)
    TAKEN(config.unsent_bytes_max = 1024);
    TAKEN(config.unsent_bytes_max = 64 << 20);
    TAKEN(WITH("limits.unsent_bytes_max", "4KiB"));
    TAKEN((WITH("topics", "a/**=latest\nb=disconnect,keep-for=1m"), config.settings_count = 2));
    TAKEN(config.server_name = name + 1);
    TAKEN(config.server_name = "");
    TAKEN(config.ring_bytes = 64 << 10);
    TAKEN(config.lane_bytes = 16 << 10);
    TAKEN(config.remainder_bytes = 0);
    TAKEN(config.message_bytes_max = 1);
    TAKEN(config.payload_bytes = 2 * config.message_bytes_max);
    TAKEN(config.request_bytes_max = 512);
    TAKEN(config.request_bytes_max = 65536);
    TAKEN(config.connections_max = 0);
    TAKEN(config.connections_max = 1);
    TAKEN(config.cursors_max = 1);
    TAKEN(config.topics_max = 1);
    TAKEN(config.topics_max = 1000000);
    TAKEN(config.subscriptions_per_connection_max = 0);
    TAKEN(config.subscriptions_per_connection_max = UINT32_MAX);
    TAKEN(config.handshake_timeout_ms = 1);
    TAKEN(config.handshake_timeout_ms = UINT64_MAX);
    TAKEN(config.ping_every_ms = 0);
    TAKEN(config.ping_every_ms = UINT64_MAX);
    TAKEN(config.idle_timeout_ms = 0);
    TAKEN(config.idle_timeout_ms = UINT64_MAX);
    TAKEN(config.close_timeout_ms = 0);
    TAKEN(config.close_timeout_ms = UINT64_MAX);
    TAKEN(config.close_window_ms = 1);
    TAKEN(config.close_window_ms = UINT64_MAX);
    // A host compiled with the first header: its struct ends here.
    TAKEN(config.struct_size = offsetof(fw_config, close_window_ms));
    TAKEN(config.compression_threshold_bytes = 0);
    TAKEN(config.compression_threshold_bytes = UINT32_MAX);
    TAKEN((config.events_capacity = 0, config.events_messages = 0));
    TAKEN(config.events_capacity = 1);
    engine = (fw_engine *)text;
    REFUSED(FW_NULL, config.topics_count = 1);
    REFUSED(FW_NULL, config.allowed_origins_count = 1);
    fw_topic_config topic = {.struct_size = sizeof topic, .pattern = "a/**"};
    config.topics = NULL;
    REFUSED(FW_ABI_MISMATCH, (topic.struct_size = 4, config.topics = &topic, config.topics_count = 1));
    REFUSED(FW_NULL, (topic.struct_size = sizeof topic, topic.pattern = NULL, config.topics = &topic, config.topics_count = 1));
    REFUSED(FW_BAD_CONFIG, (topic.pattern = "a//", config.topics = &topic, config.topics_count = 1));
    REFUSED(FW_BAD_CONFIG, (topic.pattern = "a", topic.retention = UINT32_MAX, config.topics = &topic, config.topics_count = 1));
    REFUSED(FW_BAD_CONFIG, (topic.retention = 3, config.topics = &topic, config.topics_count = 1));
    REFUSED(FW_BAD_CONFIG, (topic.retention = 0, topic.policy = 3, config.topics = &topic, config.topics_count = 1));
    REFUSED(FW_BAD_CONFIG, (topic.policy = 0, config.topics = &topic, config.topics_count = SIZE_MAX));
    for (uint32_t size = 0; size < 300; size += 4)
        if (size < offsetof(fw_config, close_window_ms) || size > sizeof config)
            EXPECT(FW_ABI_MISMATCH, fw_config_init(&config, size));
}

static void buffers(fw_topic *topic) {
    fw_buffer *buffer, *other;
    void *data;
    EXPECT(FW_OK, fw_claim(topic, 100, &buffer, &data));
    for (int i = 0; i < 100; i++)
        CHECK(((char *)data)[i] == 0);
    memset(data, 'a', 100);
    EXPECT(FW_BAD_ARGUMENT, fw_commit(buffer, 101, 2, 1, NULL));
    EXPECT(FW_BAD_ARGUMENT, fw_commit(buffer, 100, 4, 1, NULL));
    EXPECT(FW_BAD_ARGUMENT, fw_commit(buffer, 100, 2, 3, NULL));
    EXPECT(FW_OK, fw_commit(buffer, 50, 2, 1, &position));
    all_buffer_calls(buffer, FW_BAD_HANDLE);
    EXPECT(FW_OK, fw_claim(topic, 100, &other, &data));
    CHECK(other != buffer);
    all_buffer_calls(buffer, FW_BAD_HANDLE);
    EXPECT(FW_OK, fw_abort(other));
    all_buffer_calls(other, FW_BAD_HANDLE);
    EXPECT(FW_OK, fw_claim(topic, 100, &buffer, &data));
    memset(data, 'a', 100);
    EXPECT(FW_NULL, fw_grow(buffer, 200, NULL));
    EXPECT(FW_OK, fw_grow(buffer, 10, &data));
    EXPECT(FW_OK, fw_grow(buffer, 100000, &data));
    CHECK(((char *)data)[99] == 'a' && ((char *)data)[100] == 0 && ((char *)data)[99999] == 0);
    EXPECT(FW_WOULD_BLOCK, fw_grow(buffer, SIZE_MAX, &data));
    EXPECT(FW_OK, fw_commit(buffer, 100000, 2, 1, NULL));
    EXPECT(FW_OK, fw_claim(topic, 0, &buffer, &data));
    EXPECT(FW_OK, fw_commit(buffer, 0, 2, 1, NULL));
    /* Text that is none: commit it as what it is. */
    EXPECT(FW_OK, fw_claim(topic, 1, &buffer, &data));
    *(char *)data = (char)0xff;
    EXPECT(FW_NOT_UTF8, fw_commit(buffer, 1, 2, FW_KIND_TEXT, NULL));
    EXPECT(FW_BAD_ARGUMENT, fw_commit(buffer, 0, 2, FW_KIND_BINARY, NULL));
    EXPECT(FW_OK, fw_commit(buffer, 1, 2, FW_KIND_BINARY, NULL));
    /* As many as fit, then no room; then all are given back. */
    static fw_buffer *claimed[64];
    int count = 0;
    fw_status status;
    while ((status = fw_claim(topic, 1 << 20, &claimed[count], &data)) == FW_OK)
        CHECK(++count < 64);
    EXPECT(FW_WOULD_BLOCK, status);
    CHECK(count >= 3);
    while (count > 0)
        EXPECT(FW_OK, fw_abort(claimed[--count]));
    EXPECT(FW_OK, fw_claim(topic, 1 << 20, &buffer, &data));
    EXPECT(FW_OK, fw_abort(buffer));
}

static void removed_topic(fw_engine *engine) {
    fw_topic *topic = topic_of(engine, "to/be/removed");
    fw_buffer *buffer;
    void *data;
    EXPECT(FW_OK, fw_claim(topic, 10, &buffer, &data));
    EXPECT(FW_OK, fw_topic_remove(engine, "to/be/removed"));
    EXPECT(FW_GONE, fw_topic_remove(engine, "to/be/removed"));
    EXPECT(FW_REMOVED, fw_publish(topic, 2, 0, "x", 1, NULL));
    EXPECT(FW_REMOVED, fw_publish_wait(topic, 2, 0, "x", 1, 1000, NULL));
    EXPECT(FW_REMOVED, fw_commit(buffer, 10, 2, 1, NULL));
    EXPECT(FW_BAD_HANDLE, fw_abort(buffer));
    EXPECT(FW_OK, fw_topic_name(topic, text, sizeof text, &length));
    CHECK(strcmp(text, "to/be/removed") == 0 && length == 13);
    EXPECT(FW_OK, fw_topic_name(topic, text, 3, &length));
    CHECK(strcmp(text, "to") == 0 && length == 13);
    EXPECT(FW_OK, fw_topic_free(topic));
    all_topic_calls(topic, FW_BAD_HANDLE);
}

static void after_the_end(const char *driver, int is_orderly) {
    fw_engine *engine = small_engine(driver), *other = small_engine(driver);
    fw_topic *topic = topic_of(engine, "a"), *freed = topic_of(engine, "a");
    fw_stats stats = {.struct_size = sizeof stats};
    fw_buffer *buffer, *kept;
    void *data;
    size_t count;
    bool is_running;
    EXPECT(FW_OK, fw_claim(topic, 10, &buffer, &data));
    EXPECT(FW_OK, fw_claim(topic, 10, &kept, &data));
    EXPECT(FW_OK, fw_topic_free(freed));
    all_topic_calls(freed, FW_BAD_HANDLE);
    wrong_kinds(engine, topic, buffer);
    null_arguments(topic);
    null_arguments_of_the_engine(engine);
    arguments_out_of_range(engine, topic);
    EXPECT(FW_OK, fw_is_running(engine, &is_running));
    CHECK(is_running);
    EXPECT(FW_OK, fw_abort(kept));
    buffers(topic);
    EXPECT(FW_OK, fw_claim(topic, 10, &kept, &data));
    removed_topic(engine);
    int before = released;
    static char message[100000];
    EXPECT(FW_OK, fw_publish_ref(topic, 2, 1, message, sizeof message, on_release, NULL, NULL));
    EXPECT(FW_OK, fw_publish_ref(topic, 2, 1, message, 10, on_release, NULL, NULL));
    EXPECT(FW_NOT_UTF8, fw_publish_ref(topic, 2, 0, "\xff", 1, on_release, NULL, NULL));
    CHECK(released == before);

    EXPECT(FW_OK, is_orderly ? fw_shutdown(engine, 5000) : fw_stop(engine));
    CHECK(released == before + 2);
    EXPECT(FW_STOPPED, fw_shutdown(engine, 5000));
    EXPECT(FW_STOPPED, fw_stop(engine));
    EXPECT(FW_OK, fw_is_running(engine, &is_running));
    CHECK(!is_running);
    all_topic_calls(topic, FW_STOPPED);
    EXPECT(FW_STOPPED, fw_commit(buffer, 10, 2, 1, NULL));
    EXPECT(FW_BAD_HANDLE, fw_commit(buffer, 10, 2, 1, NULL));
    EXPECT(FW_STOPPED, fw_topic_open(engine, "b", &freed));
    EXPECT(FW_STOPPED, fw_topic_remove(engine, "a"));
    EXPECT(FW_STOPPED, fw_send_to(engine, 0, FW_KIND_TEXT, "x", 1));
    EXPECT(FW_STOPPED, fw_send_ref_to(engine, 0, FW_KIND_TEXT, message, sizeof message, on_release, NULL));
    EXPECT(FW_STOPPED, fw_close(engine, 0, 1000, NULL));
    EXPECT(FW_STOPPED, fw_allow(engine, 0, NULL, NULL, 0, NULL));
    EXPECT(FW_STOPPED, fw_refuse(engine, 0, 401));
    EXPECT(FW_STOPPED, fw_poll_events(engine, &(fw_event){0}, 1, FW_FOREVER, &count));
    EXPECT(FW_OK, fw_read_stats(engine, &stats));
    CHECK(stats.references == 0 && stats.reference_bytes == 0);
    CHECK(fw_event_fd(engine) >= 0);

    EXPECT(FW_OK, fw_engine_free(engine));
    all_engine_calls(engine, FW_BAD_HANDLE);
    all_topic_calls(topic, FW_BAD_HANDLE);
    all_buffer_calls(kept, FW_BAD_HANDLE);
    all_buffer_calls(buffer, FW_BAD_HANDLE);
    CHECK(released == before + 2);
    /* The other one has not noticed. */
    topic = topic_of(other, "a");
    EXPECT(FW_OK, fw_publish(topic, 2, 0, "x", 1, NULL));
    EXPECT(FW_OK, fw_engine_free(other));
    all_topic_calls(topic, FW_BAD_HANDLE);
}

int main(int argc, char **argv) {
    const char *driver = driver_argument(argc, argv);
    CHECK(fw_abi_version() == FW_ABI_VERSION);
    CHECK(strcmp(fw_version(), "") != 0);
    CHECK(strcmp(fw_last_error(), "") == 0);
    for (int32_t status = -3; status < 120; status++)
        CHECK(*fw_status_str(status) != 0);
    /* Before there ever was an engine, and after. */
    invented_handles();
    configurations(driver);
    after_the_end(driver, 1);
    after_the_end(driver, 0);
    invented_handles();
    puts("abuse: ok");
    return 0;
}
