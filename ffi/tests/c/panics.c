/* Against a library in which a panic is planted behind every entry: each becomes FW_INTERNAL, and the host lives. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

static int released;

static void on_release(void *context, const void *data, size_t len) {
    (void)context, (void)data, (void)len;
    released++;
}

static void plant(const char *where) { CHECK(setenv("FANWIRE_PLANTED_PANIC", where, 1) == 0); }

static void planted(const char *name, fw_status status) {
    char wanted[100];
    plant("");
    snprintf(wanted, sizeof wanted, "planted in %s", name);
    if (status != FW_INTERNAL || strstr(fw_last_error(), wanted) == NULL) {
        fprintf(stderr, "%s gave %s: %s\n", name, fw_status_str(status), fw_last_error());
        _Exit(1);
    }
}

int main(int argc, char **argv) {
    const char *driver = driver_argument(argc, argv);
    fw_config config = small_config(driver);
    fw_engine *engine = small_engine(driver), *other;
    fw_topic *topic = topic_of(engine, "a"), *second;
    fw_buffer *buffer, *none;
    fw_stats stats = {.struct_size = sizeof stats};
    fw_event event;
    void *data;
    char text[100];
    size_t count;
    bool is_running;
    static char message[5000];
    EXPECT(FW_OK, fw_claim(topic, 10, &buffer, &data));

    /* Each by its name, and all at once. */
    for (int all = 0; all < 2; all++) {
#define PLANTED(name, call) (plant(all ? "all" : #name), planted(#name, call))
        PLANTED(fw_config_init, FW_CONFIG_INIT(&config));
        PLANTED(fw_setting_check, fw_setting_check("driver", "epoll"));
        PLANTED(fw_start, fw_start(&config, &other));
        PLANTED(fw_shutdown, fw_shutdown(engine, 1));
        PLANTED(fw_stop, fw_stop(engine));
        PLANTED(fw_engine_free, fw_engine_free(engine));
        PLANTED(fw_is_running, fw_is_running(engine, &is_running));
        PLANTED(fw_failure, fw_failure(engine, text, sizeof text, &count));
        PLANTED(fw_address, fw_address(engine, 0, text, sizeof text, &count));
        PLANTED(fw_port, fw_port(engine) == 0 ? FW_INTERNAL : FW_OK);
        PLANTED(fw_driver_name, fw_driver_name(engine, text, sizeof text, &count));
        PLANTED(fw_driver_notice, fw_driver_notice(engine, text, sizeof text, &count));
        PLANTED(fw_memory_plan, fw_memory_plan(engine, text, sizeof text, &count));
        PLANTED(fw_send_to, fw_send_to(engine, 1, 1, "x", 1));
        PLANTED(fw_send_ref_to, fw_send_ref_to(engine, 1, 1, "x", 1, on_release, NULL));
        PLANTED(fw_close, fw_close(engine, 1, 1000, NULL));
        PLANTED(fw_allow, fw_allow(engine, 1, NULL, NULL, 0, NULL));
        PLANTED(fw_refuse, fw_refuse(engine, 1, 403));
        PLANTED(fw_topic_open, fw_topic_open(engine, "b", &second));
        PLANTED(fw_topic_free, fw_topic_free(topic));
        PLANTED(fw_topic_remove, fw_topic_remove(engine, "b"));
        PLANTED(fw_topic_name, fw_topic_name(topic, text, sizeof text, &count));
        PLANTED(fw_topic_id, fw_topic_id(topic, NULL, NULL));
        PLANTED(fw_publish, fw_publish(topic, 2, 1, "x", 1, NULL));
        PLANTED(fw_publish_wait, fw_publish_wait(topic, 2, 1, "x", 1, 1, NULL));
        PLANTED(fw_publish_many, fw_publish_many(topic, 2, 1, &(fw_slice){"x", 1}, 1, &count));
        PLANTED(fw_publish_many_wait, fw_publish_many_wait(topic, 2, 1, &(fw_slice){"x", 1}, 1, 1, &count));
        PLANTED(fw_publish_message, fw_publish_message(topic, &(fw_message){.struct_size = sizeof(fw_message)}, NULL));
        PLANTED(fw_grow, fw_grow(buffer, 1, &data));
        PLANTED(fw_publish_ref, fw_publish_ref(topic, 2, 1, "x", 1, on_release, NULL, NULL));
        PLANTED(fw_claim, fw_claim(topic, 1, &none, &data));
        PLANTED(fw_commit, fw_commit(buffer, 1, 2, 1, NULL));
        PLANTED(fw_abort, fw_abort(buffer));
        PLANTED(fw_poll_events, fw_poll_events(engine, &event, 1, 0, &count));
        PLANTED(fw_event_fd, fw_event_fd(engine) == -1 ? FW_INTERNAL : FW_OK);
        PLANTED(fw_read_stats, fw_read_stats(engine, &stats));
        PLANTED(fw_read_shard_stats, fw_read_shard_stats(engine, 0, &stats));
        PLANTED(fw_metrics, fw_metrics(engine, text, sizeof text, &count));
        PLANTED(fw_snapshot, fw_snapshot(engine, "$sys/shards", 1, text, sizeof text, &count));
    }
    /* Nothing was harmed. */
    EXPECT(FW_OK, fw_publish(topic, 2, 1, "x", 1, NULL));
    EXPECT(FW_OK, fw_commit(buffer, 1, 2, 1, NULL));

    /* A panic in the middle of an engine: it takes no more messages, and can still be ended. */
    EXPECT(FW_OK, fw_publish_ref(topic, 2, 1, message, sizeof message, on_release, NULL, NULL));
    plant("fw_publish.inside");
    planted("fw_publish.inside", fw_publish(topic, 2, 1, "x", 1, NULL));
    EXPECT(FW_INTERNAL, fw_publish(topic, 2, 1, "x", 1, NULL));
    CHECK(strstr(fw_last_error(), "before") != NULL);
    EXPECT(FW_INTERNAL, fw_topic_open(engine, "c", &second));
    EXPECT(FW_OK, fw_shutdown(engine, 5000));
    CHECK(released == 1);
    EXPECT(FW_OK, fw_engine_free(engine));

    /* Others were never meant. */
    engine = small_engine(driver);
    EXPECT(FW_OK, fw_publish(topic_of(engine, "a"), 2, 1, "x", 1, NULL));
    EXPECT(FW_OK, fw_engine_free(engine));
    puts("panics: ok");
    return 0;
}
