/* The interface as it was promised, in numbers: a host that was compiled before must find it so. Within one ABI version structs
 * that begin with their size may grow at the end, and nothing else may change. */
#include "check.h"

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type)
#define PLACE(type, field, bytes) _Static_assert(offsetof(type, field) == (bytes), #type "." #field)

_Static_assert(FW_ABI_VERSION == 1, "another version has another list");

SIZE(fw_status, 4);
SIZE(fw_slice, 16);
PLACE(fw_slice, len, 8);

SIZE(fw_event, 96);
PLACE(fw_event, type, 0);
PLACE(fw_event, kind, 4);
PLACE(fw_event, connection, 8);
PLACE(fw_event, data, 16);
PLACE(fw_event, len, 24);
PLACE(fw_event, text, 32);
PLACE(fw_event, peer, 40);
PLACE(fw_event, protocol, 48);
PLACE(fw_event, code, 56);
PLACE(fw_event, priority, 60);
PLACE(fw_event, certificate, 64);
PLACE(fw_event, reserved, 72);

PLACE(fw_message, struct_size, 0);
PLACE(fw_message, priority, 4);
PLACE(fw_message, kind, 8);
PLACE(fw_message, ttl_ms, 12);
PLACE(fw_message, data, 16);
PLACE(fw_message, len, 24);
PLACE(fw_message, key, 32);
PLACE(fw_message, attributes, 40);
PLACE(fw_message, attributes_len, 48);
SIZE(fw_message, 56);

PLACE(fw_topic_config, struct_size, 0);
PLACE(fw_topic_config, retention, 4);
PLACE(fw_topic_config, pattern, 8);
PLACE(fw_topic_config, lane_bytes, 16);
PLACE(fw_topic_config, retention_age_ms, 40);
PLACE(fw_topic_config, policy, 48);
PLACE(fw_topic_config, batch_window_us, 56);

PLACE(fw_config, struct_size, 0);
PLACE(fw_config, listen, 8);
PLACE(fw_config, cpus, 24);
PLACE(fw_config, connections_max, 40);
PLACE(fw_config, ring_bytes, 56);
PLACE(fw_config, message_bytes_max, 96);
PLACE(fw_config, close_timeout_ms, 136);
PLACE(fw_config, topics, 144);
PLACE(fw_config, server_name, 176);
PLACE(fw_config, publish_access, 184);
PLACE(fw_config, deflate, 188);
PLACE(fw_config, lock_memory, 196);
PLACE(fw_config, events_messages, 204);
PLACE(fw_config, close_window_ms, 208);
PLACE(fw_config, unsent_bytes_max, 216);
PLACE(fw_config, settings, 224);
PLACE(fw_config, settings_count, 232);
SIZE(fw_config, 240);
PLACE(fw_setting, name, 0);
PLACE(fw_setting, value, 8);
SIZE(fw_setting, 16);

SIZE(fw_pressure, 64);
PLACE(fw_pressure, subscribers, 8);
PLACE(fw_pressure, fullest, 16);
PLACE(fw_pressure, oldest_ns, 24);
PLACE(fw_pressure, dropped, 32);

PLACE(fw_stats, struct_size, 0);
PLACE(fw_stats, ring_bytes, 8);
PLACE(fw_stats, references, 24);
PLACE(fw_stats, connections, 40);
PLACE(fw_stats, messages, 136);
PLACE(fw_stats, passed_over, 200);
PLACE(fw_stats, events_waiting, 304);
PLACE(fw_stats, accept_exhausted, 344);

#define VALUE(name, number) _Static_assert((name) == (number), #name)
VALUE(FW_OK, 0);
VALUE(FW_WOULD_BLOCK, 1);
VALUE(FW_NULL, 2);
VALUE(FW_BAD_HANDLE, 3);
VALUE(FW_BAD_ARGUMENT, 4);
VALUE(FW_TOO_LARGE, 5);
VALUE(FW_NOT_UTF8, 6);
VALUE(FW_BAD_NAME, 7);
VALUE(FW_TOO_MANY, 8);
VALUE(FW_REMOVED, 9);
VALUE(FW_GONE, 10);
VALUE(FW_STOPPED, 11);
VALUE(FW_TIMED_OUT, 12);
VALUE(FW_BUSY, 13);
VALUE(FW_FORKED, 14);
VALUE(FW_BAD_CONFIG, 15);
VALUE(FW_NO_URING, 16);
VALUE(FW_CANNOT_LISTEN, 17);
VALUE(FW_SYSTEM, 18);
VALUE(FW_ABI_MISMATCH, 19);
VALUE(FW_INTERNAL, 99);
VALUE(FW_PRIORITY_CRITICAL, 0);
VALUE(FW_PRIORITY_LOW, 3);
VALUE(FW_KIND_TEXT, 0);
VALUE(FW_KIND_BINARY, 1);
VALUE(FW_KIND_JSON, 2);
VALUE(FW_EVENT_OPENED, 1);
VALUE(FW_EVENT_LAGGING, 7);
VALUE(FW_FOREVER, 0xffffffff);

int main(void) {
    fw_config config;
    memset(&config, 0xee, sizeof config);
    EXPECT(FW_OK, FW_CONFIG_INIT(&config));
    CHECK(config.struct_size == sizeof config);
    CHECK(strcmp(config.listen, "127.0.0.1:9001") == 0);
    CHECK(fw_abi_version() == FW_ABI_VERSION);
    puts("layout: ok");
    return 0;
}
