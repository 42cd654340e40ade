/* An echo server on events, in an ordinary poll loop: C11.
 *
 *     cc -std=c11 echo.c $(pkg-config --cflags --libs fanwire) -o echo
 *     ./echo --listen 127.0.0.1:9001
 *     websocat ws://127.0.0.1:9001/
 *
 * What a client sends comes back to it. "bye" closes the connection.
 */
#define _POSIX_C_SOURCE 200809L

#include <fanwire.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EVENTS = 64 };

/* A signal handler may not call fanwire: it writes into a pipe, which the loop reads. */
static int signal_pipe[2];

static void on_signal(int number) {
    int saved = errno;
    char byte = (char)number;
    ssize_t written = write(signal_pipe[1], &byte, 1);
    (void)written;
    errno = saved;
}

static int fail(const char *what) {
    fprintf(stderr, "echo: %s: %s\n", what, fw_last_error());
    return 1;
}

static void on_event(fw_engine *engine, const fw_event *event) {
    unsigned long long connection = (unsigned long long)event->connection;
    switch (event->type) {
    case FW_EVENT_OPENED:
        printf("%llx opened %s from %s\n", connection, event->text, event->peer);
        break;
    case FW_EVENT_MESSAGE:
        if (event->len == 3 && memcmp(event->data, "bye", 3) == 0) {
            if (fw_close(engine, event->connection, 1000, "as you wish") != FW_OK)
                fail("close");
            break;
        }
        if (fw_send_to(engine, event->connection, event->kind, event->data, event->len) != FW_OK)
            fail("send");
        break;
    case FW_EVENT_CLOSED:
        printf("%llx closed with %u\n", connection, event->code);
        break;
    default: /* subscriptions, evictions, and what later versions tell */
        break;
    }
    fflush(stdout);
}

/* Takes all events that are there. */
static fw_status take_events(fw_engine *engine) {
    fw_event events[EVENTS];
    size_t count;
    do {
        fw_status status = fw_poll_events(engine, events, EVENTS, 0, &count);
        if (status != FW_OK)
            return status;
        for (size_t i = 0; i < count; i++)
            on_event(engine, &events[i]);
    } while (count == EVENTS);
    return FW_OK;
}

int main(int argc, char **argv) {
    fw_config config;
    if (FW_CONFIG_INIT(&config) != FW_OK)
        return fail("this header and this library do not belong together");
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--listen") == 0)
            config.listen = argv[i + 1];
        else
            return fprintf(stderr, "usage: echo [--listen ADDRESS:PORT]\n"), 2;
    }
    config.events_capacity = 4096;
    config.events_messages = 1;

    if (pipe(signal_pipe) != 0)
        return perror("echo: pipe"), 1;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    fw_engine *engine;
    if (fw_start(&config, &engine) != FW_OK)
        return fail("start");
    printf("listening on port %d\n", fw_port(engine));
    fflush(stdout);

    struct pollfd fds[] = {{.fd = fw_event_fd(engine), .events = POLLIN}, {.fd = signal_pipe[0], .events = POLLIN}};
    fw_status status = FW_OK;
    while (status == FW_OK && fds[1].revents == 0) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return perror("echo: poll"), 1;
        status = take_events(engine);
    }
    if (status != FW_OK)
        fail("events");

    if (fw_shutdown(engine, 2000) == FW_TIMED_OUT)
        fprintf(stderr, "echo: some clients were cut off\n");
    /* What happened until the end; FW_STOPPED says that this was all. */
    while ((status = take_events(engine)) == FW_OK)
        continue;
    if (fw_engine_free(engine) != FW_OK)
        return fail("free");
    return status == FW_STOPPED ? 0 : fail("events");
}
