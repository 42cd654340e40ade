/* The host's signals are the host's: no handler and no mask is changed, none of its signals arrives on our threads, and a
 * storm of them disturbs no call. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

static atomic_int storms, elsewhere;
static pthread_t main_thread;

static void on_signal(int number) {
    (void)number;
    atomic_fetch_add(&storms, 1);
    if (!pthread_equal(pthread_self(), main_thread))
        atomic_fetch_add(&elsewhere, 1);
}

struct snapshot {
    struct sigaction actions[65];
    sigset_t mask;
    stack_t stack;
};

static void take(struct snapshot *s) {
    memset(s, 0, sizeof *s);
    for (int number = 1; number < 65; number++)
        sigaction(number, NULL, &s->actions[number]);
    pthread_sigmask(SIG_SETMASK, NULL, &s->mask);
    sigaltstack(NULL, &s->stack);
}

static void compare(const struct snapshot *before) {
    struct snapshot now;
    take(&now);
    for (int number = 1; number < 65; number++) {
        CHECK(now.actions[number].sa_handler == before->actions[number].sa_handler);
        CHECK(now.actions[number].sa_flags == before->actions[number].sa_flags);
        CHECK(sigismember(&now.mask, number) == sigismember(&before->mask, number));
    }
    CHECK(now.stack.ss_sp == before->stack.ss_sp && now.stack.ss_flags == before->stack.ss_flags);
}

/* SigBlk of each thread but the main one must have all signals (those that can be blocked). */
static void others_block_all(void) {
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    int others = 0;
    CHECK(tasks != NULL);
    while ((entry = readdir(tasks)) != NULL) {
        char path[300], line[256];
        unsigned long long blocked = 0;
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid())
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        FILE *file = fopen(path, "r");
        CHECK(file != NULL);
        while (fgets(line, sizeof line, file) != NULL)
            if (sscanf(line, "SigBlk: %llx", &blocked) == 1)
                break;
        fclose(file);
        /* SIGKILL, SIGSTOP, and glibc's own two (32, 33) cannot be blocked. */
        CHECK((blocked | 1ull << 8 | 1ull << 18 | 3ull << 31) == ~0ull);
        others++;
    }
    closedir(tasks);
    CHECK(others > 0);
}

int main(int argc, char **argv) {
    const char *driver = driver_argument(argc, argv);
    static char alternative[64 * 1024];
    struct sigaction action = {.sa_handler = on_signal};
    struct snapshot before;
    fw_event event;
    size_t count;
    main_thread = pthread_self();
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGCHLD, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    signal(SIGPIPE, SIG_DFL);
    CHECK(sigaltstack(&(stack_t){.ss_sp = alternative, .ss_size = sizeof alternative}, NULL) == 0);
    take(&before);

    fw_engine *engine = small_engine(driver);
    fw_topic *topic = topic_of(engine, "a");
    compare(&before);
    others_block_all();

    /* A thousand a second. */
    struct itimerval storm = {{0, 1000}, {0, 1000}};
    setitimer(ITIMER_REAL, &storm, NULL);
    for (int round = 0; round < 300 || atomic_load(&storms) < 200; round++) {
        EXPECT(FW_OK, fw_publish_wait(topic, 2, 1, "x", 1, 5000, NULL));
        EXPECT(FW_OK, fw_poll_events(engine, &event, 1, 2, &count));
        if (round % 50 == 0) {
            fw_engine *other = small_engine(driver);
            EXPECT(FW_OK, fw_publish(topic_of(other, "b"), 2, 1, "x", 1, NULL));
            EXPECT(FW_OK, fw_shutdown(other, 5000));
            EXPECT(FW_OK, fw_engine_free(other));
        }
    }
    EXPECT(FW_OK, fw_shutdown(engine, 5000));
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    EXPECT(FW_OK, fw_engine_free(engine));
    compare(&before);
    CHECK(atomic_load(&elsewhere) == 0);
    printf("signals: ok, %d of them\n", atomic_load(&storms));
    return 0;
}
