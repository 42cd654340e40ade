/* Who may come in, and what each may do, by a table of API keys: C11.
 *
 *     cc -std=c11 keys.c $(pkg-config --cflags --libs fanwire) -o keys
 *     printf 'one-long-random-key rover-1 fleet/news rover/1/pose,rover/1/imu\n' > table
 *     ./keys --listen 127.0.0.1:9001 --table table
 *     websocat -H 'X-Api-Key: one-long-random-key' ws://127.0.0.1:9001/t/fleet/news
 *
 * A line of the table: the key, who has it, what he may subscribe to, what he may publish on; lists with commas, - for
 * nothing. Who stays connected may bring another key of his by {"type":"auth","token":"..."}. Speak TLS where others
 * can listen.
 */
#define _POSIX_C_SOURCE 200809L

#include <fanwire.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { ENTRIES_MAX = 1000, FIELD_MAX = 256, EVENTS = 64 };

struct entry {
    char key[FIELD_MAX], subject[FIELD_MAX], subscribe[FIELD_MAX], publish[FIELD_MAX];
};

static struct entry table[ENTRIES_MAX];
static size_t entries;
static volatile sig_atomic_t is_over;

static void on_signal(int number) {
    (void)number;
    is_over = 1;
}

static int fail(const char *what) {
    fprintf(stderr, "keys: %s: %s\n", what, fw_last_error());
    return 1;
}

/* A list of the table as fanwire wants it: one pattern a line, nothing for -. */
static void to_lines(char *list) {
    if (strcmp(list, "-") == 0)
        list[0] = '\0';
    for (char *comma = list; (comma = strchr(comma, ',')) != NULL; comma++)
        *comma = '\n';
}

static int read_table(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return perror(path), -1;
    char line[4 * FIELD_MAX + 8];
    while (fgets(line, sizeof line, file) != NULL) {
        struct entry *entry = &table[entries];
        if (line[0] == '#' || line[0] == '\n')
            continue;
        if (entries == ENTRIES_MAX || sscanf(line, "%255s %255s %255s %255s", entry->key, entry->subject,
                                             entry->subscribe, entry->publish) != 4) {
            /* The line holds a key: only its number is told. */
            fprintf(stderr, "%s: entry %zu has no four fields, or is one too many\n", path, entries + 1);
            fclose(file);
            return -1;
        }
        to_lines(entry->subscribe);
        to_lines(entry->publish);
        entries++;
    }
    fclose(file);
    return 0;
}

/* Takes as long for a key that is nearly right as for one that is not. */
static int is_key(const char *key, const char *given, size_t length) {
    volatile unsigned char difference = strlen(key) != length;
    for (size_t i = 0; i < length; i++)
        difference |= (unsigned char)(given[i] ^ key[i < strlen(key) ? i : 0]);
    return difference == 0;
}

static const struct entry *find(const char *given, size_t length) {
    const struct entry *found = NULL;
    for (size_t i = 0; i < entries; i++)
        if (is_key(table[i].key, given, length))
            found = &table[i];
    return found;
}

/* The one header that was asked for: "x-api-key: VALUE" and CR LF. Two of them are one too many. */
static const struct entry *by_header(const fw_event *event) {
    static const char name[] = "x-api-key: ";
    const char *line = event->data;
    size_t length = event->len, name_length = sizeof name - 1;
    if (length < name_length + 2 || strncasecmp(line, name, name_length) != 0)
        return NULL;
    length -= name_length + 2;
    line += name_length;
    if (memchr(line, '\r', length) != NULL)
        return NULL;
    return find(line, length);
}

static void decide(fw_engine *engine, const fw_event *event, const struct entry *entry) {
    fw_status status;
    do {
        if (entry == NULL)
            status = fw_refuse(engine, event->connection, 401);
        else
            status = fw_allow(engine, event->connection, entry->subscribe, entry->publish, 0, entry->subject);
        /* FW_WOULD_BLOCK: its shard has not taken what it was told before, which is a matter of microseconds. */
    } while (status == FW_WOULD_BLOCK && !is_over);
    if (status != FW_OK && status != FW_GONE && status != FW_STOPPED)
        fail("decide");
    printf("%s %s\n", entry == NULL ? "refused" : "let in", entry == NULL ? event->peer : entry->subject);
    fflush(stdout);
}

int main(int argc, char **argv) {
    fw_config config;
    const char *path = "table";
    if (FW_CONFIG_INIT(&config) != FW_OK)
        return fail("this header and this library do not belong together");
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--listen") == 0)
            config.listen = argv[i + 1];
        else if (strcmp(argv[i], "--table") == 0)
            path = argv[i + 1];
        else
            return fprintf(stderr, "usage: keys [--listen ADDRESS:PORT] [--table FILE]\n"), 2;
    }
    if (read_table(path) != 0)
        return 1;
    const fw_setting settings[] = {{"access.ask_host_within", "5s"}, {"access.ask_host_headers", "x-api-key"}};
    config.settings = settings;
    config.settings_count = 2;
    config.events_capacity = 1024;

    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    fw_engine *engine;
    if (fw_start(&config, &engine) != FW_OK)
        return fail("start");
    printf("listening on port %d\n", fw_port(engine));
    fflush(stdout);

    while (!is_over) {
        fw_event events[EVENTS];
        size_t count;
        /* Not for ever: a signal may come between the look at is_over and the wait. */
        if (fw_poll_events(engine, events, EVENTS, 200, &count) != FW_OK)
            return fail("events");
        for (size_t i = 0; i < count; i++) {
            if (events[i].type == FW_EVENT_AUTHORIZE)
                decide(engine, &events[i], by_header(&events[i]));
            else if (events[i].type == FW_EVENT_REAUTHORIZE)
                decide(engine, &events[i], find(events[i].text, strlen(events[i].text)));
        }
    }
    fw_shutdown(engine, 2000);
    return fw_engine_free(engine) == FW_OK ? 0 : fail("free");
}
