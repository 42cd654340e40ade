/* A thousand engines one after the other: no thread and no descriptor is left, and memory does not grow. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

static int released;

static void on_release(void *context, const void *data, size_t len) {
    (void)data, (void)len;
    ++*(int *)context;
}

static long resident_kib(void) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long kib = -1;
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    fclose(file);
    return kib;
}

static void cycle(const char *driver, int round) {
    static char message[20000];
    fw_engine *engine = small_engine(driver);
    fw_topic *topic = topic_of(engine, "a/b");
    fw_buffer *buffer;
    void *data;
    size_t count;
    for (int i = 0; i < 20; i++)
        EXPECT(FW_OK, fw_publish(topic, 2, 1, message, 100, NULL));
    EXPECT(FW_OK, fw_publish_ref(topic, 2, 1, message, sizeof message, on_release, &released, NULL));
    EXPECT(FW_OK, fw_claim(topic, 1000, &buffer, &data));
    if (round % 2 == 0)
        EXPECT(FW_OK, fw_commit(buffer, 1000, 2, 1, NULL));
    EXPECT(FW_OK, fw_poll_events(engine, NULL, 0, 0, &count));
    /* Topics and buffers are freed with the engine, or before. */
    if (round % 3 == 0)
        EXPECT(FW_OK, fw_topic_free(topic));
    if (round % 4 == 0)
        EXPECT(FW_OK, fw_shutdown(engine, 5000));
    if (round % 4 == 1)
        EXPECT(FW_OK, fw_stop(engine));
    EXPECT(FW_OK, fw_engine_free(engine));
}

int main(int argc, char **argv) {
    const char *driver = driver_argument(argc, argv);
    int rounds = argc > 2 ? atoi(argv[2]) : 1000;
    for (int i = 0; i < rounds / 10 + 1; i++)
        cycle(driver, i);
    int descriptors = count_of("fd"), threads = count_of("task");
    long resident = resident_kib();
    for (int i = 0; i < rounds; i++)
        cycle(driver, i);
    CHECK(released == rounds + rounds / 10 + 1);
    /* A thread that was joined may take a moment to leave /proc. */
    for (int i = 0; i < 100 && count_of("task") > threads; i++)
        rest_ms(10);
    CHECK(count_of("fd") == descriptors);
    CHECK(count_of("task") == threads);
    CHECK(threads == 3);
    long grown = resident_kib() - resident;
    printf("cycles: ok, %d engines, %ld KiB grown\n", rounds, grown);
    /* An engine of this size takes about 10 MiB: one that is not freed would show many times over. */
    CHECK(rounds < 100 || grown < 16 * 1024);
    return 0;
}
