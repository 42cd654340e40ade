/* A rover that tells where it is: C11.
 *
 *     cc -std=c11 rover.c $(pkg-config --cflags --libs fanwire) -lm -o rover
 *     ./rover --listen 127.0.0.1:9001 --seconds 60
 *     websocat ws://127.0.0.1:9001/t/rover/1/pose
 *
 * Three ways to publish, for three kinds of data:
 *   rover/1/pose    10 Hz, JSON, copied: small and simple
 *   rover/1/imu    200 Hz, binary, critical, written in place into the engine's memory
 *   rover/1/camera  30 Hz, 256 KiB, by reference: the engine sends from the camera's own buffers and gives them back
 */
#define _POSIX_C_SOURCE 200809L

#include <fanwire.h>

#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FRAMES = 8, FRAME_BYTES = 256 * 1024 };

/* The camera's buffers. All of this is used by one thread: release callbacks run in our own fw_poll_events. */
struct camera {
    unsigned char *frames[FRAMES];
    unsigned char *free[FRAMES];
    int free_count;
    unsigned long sent, skipped;
};

struct imu_sample {
    uint64_t time_ns;
    float acceleration[3];
    float rotation[3];
};

static volatile sig_atomic_t is_over;

static void on_signal(int number) {
    (void)number;
    is_over = 1;
}

static int fail(const char *what) {
    fprintf(stderr, "rover: %s: %s\n", what, fw_last_error());
    return 1;
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The engine does not need this frame any more. */
static void on_frame_released(void *context, const void *data, size_t len) {
    struct camera *camera = context;
    (void)len;
    for (int i = 0; i < FRAMES; i++)
        if (camera->frames[i] == data)
            camera->free[camera->free_count++] = camera->frames[i];
}

static fw_status publish_frame(fw_topic *topic, struct camera *camera, unsigned long number) {
    if (camera->free_count == 0) {
        /* All frames are on their way to somebody: a camera skips one rather than wait. */
        camera->skipped++;
        return FW_OK;
    }
    unsigned char *frame = camera->free[--camera->free_count];
    memset(frame, (int)(number & 0xff), FRAME_BYTES);
    memcpy(frame, &number, sizeof number);
    fw_status status = fw_publish_ref(topic, FW_PRIORITY_LOW, FW_KIND_BINARY, frame, FRAME_BYTES, on_frame_released,
                                      camera, NULL);
    if (status == FW_OK) {
        camera->sent++;
    } else {
        /* Not taken, so it is ours at once. */
        camera->free[camera->free_count++] = frame;
    }
    return status == FW_WOULD_BLOCK ? FW_OK : status;
}

static fw_status publish_imu(fw_topic *topic, double t) {
    fw_buffer *buffer;
    void *memory;
    fw_status status = fw_claim(topic, sizeof(struct imu_sample), &buffer, &memory);
    if (status != FW_OK)
        return status;
    struct imu_sample *sample = memory;
    sample->time_ns = now_ns();
    sample->acceleration[0] = (float)sin(t);
    sample->acceleration[2] = 9.81f;
    sample->rotation[2] = (float)cos(t);
    status = fw_commit(buffer, sizeof *sample, FW_PRIORITY_CRITICAL, FW_KIND_BINARY, NULL);
    if (status == FW_WOULD_BLOCK)
        (void)fw_abort(buffer);
    return status;
}

static fw_status publish_pose(fw_topic *topic, double t) {
    char json[128];
    int len = snprintf(json, sizeof json, "{\"x\":%.3f,\"y\":%.3f,\"heading\":%.4f}", 10 * cos(t / 10), 10 * sin(t / 10),
                       fmod(t / 10 + 1.5707963, 6.2831853));
    return fw_publish(topic, FW_PRIORITY_NORMAL, FW_KIND_JSON, json, (size_t)len, NULL);
}

int main(int argc, char **argv) {
    fw_config config;
    if (FW_CONFIG_INIT(&config) != FW_OK)
        return fail("this header and this library do not belong together");
    double seconds = 60;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--listen") == 0)
            config.listen = argv[i + 1];
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = atof(argv[i + 1]);
        else
            return fprintf(stderr, "usage: rover [--listen ADDRESS:PORT] [--seconds N]\n"), 2;
    }
    /* Nobody wants an old frame, or an old measurement, first. The engine keeps as many messages as lane_bytes hold, whether
     * or not somebody reads them: with room for four frames, half of our buffers are always free for new ones. */
    fw_topic_config live[] = {
        {.struct_size = sizeof(fw_topic_config),
         .retention = FW_RETENTION_NONE,
         .pattern = "rover/*/camera",
         .lane_bytes = 4 * (FRAME_BYTES + 64)},
        {.struct_size = sizeof(fw_topic_config), .retention = FW_RETENTION_NONE, .pattern = "rover/*/imu"},
    };
    config.topics = live;
    config.topics_count = 2;

    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    fw_engine *engine;
    fw_topic *pose, *imu, *images;
    if (fw_start(&config, &engine) != FW_OK)
        return fail("start");
    if (fw_topic_open(engine, "rover/1/pose", &pose) != FW_OK || fw_topic_open(engine, "rover/1/imu", &imu) != FW_OK ||
        fw_topic_open(engine, "rover/1/camera", &images) != FW_OK)
        return fail("topic");
    struct camera camera = {0};
    for (int i = 0; i < FRAMES; i++) {
        camera.frames[i] = camera.free[i] = malloc(FRAME_BYTES);
        if (camera.frames[i] == NULL)
            return perror("rover"), 1;
    }
    camera.free_count = FRAMES;
    printf("listening on port %d\n", fw_port(engine));
    fflush(stdout);

    const uint64_t began = now_ns(), tick = 5000000;
    fw_status status = FW_OK;
    for (unsigned long n = 0; !is_over && status == FW_OK && (double)n * 0.005 < seconds; n++) {
        double t = (double)n * 0.005;
        status = publish_imu(imu, t);
        if (status == FW_OK && n % 20 == 0)
            status = publish_pose(pose, t);
        if (status == FW_OK && n % 7 == 0)
            status = publish_frame(images, &camera, n / 7);
        if (status == FW_WOULD_BLOCK)
            status = FW_OK;
        /* No events are asked for: this only runs the release callbacks. */
        size_t count;
        if (status == FW_OK)
            status = fw_poll_events(engine, NULL, 0, 0, &count);
        uint64_t next = began + (n + 1) * tick, now = now_ns();
        if (next > now) {
            struct timespec rest = {(time_t)((next - now) / 1000000000), (long)((next - now) % 1000000000)};
            nanosleep(&rest, NULL);
        }
    }
    if (status != FW_OK)
        fail("publish");

    fw_status end = fw_shutdown(engine, 5000);
    /* The shutdown has given every frame back. */
    printf("sent %lu frames, skipped %lu, %d of %d buffers are back%s\n", camera.sent, camera.skipped, camera.free_count,
           FRAMES, end == FW_TIMED_OUT ? ", some clients were cut off" : "");
    int is_whole = camera.free_count == FRAMES;
    for (int i = 0; i < FRAMES; i++)
        free(camera.frames[i]);
    if (fw_engine_free(engine) != FW_OK)
        return fail("free");
    return status == FW_OK && is_whole ? 0 : 1;
}
