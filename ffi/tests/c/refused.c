/* Where a sandbox refuses io_uring, an engine falls back and says why, or does not start if io_uring was asked for. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* From now on io_uring_setup gives this error. */
static void refuse_io_uring(unsigned error) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

int main(int argc, char **argv) {
    fw_config config = small_config("epoll");
    fw_engine *engine;
    char text[2000];
    size_t length;
    refuse_io_uring(argc > 1 && strcmp(argv[1], "ENOSYS") == 0 ? ENOSYS : EPERM);
    config.driver = FW_DRIVER_URING;
    EXPECT(FW_NO_URING, fw_start(&config, &engine));
    CHECK(engine == NULL && strlen(fw_last_error()) > 20);
    config.driver = FW_DRIVER_AUTO;
    EXPECT(FW_OK, fw_start(&config, &engine));
    EXPECT(FW_OK, fw_driver_name(engine, text, sizeof text, &length));
    CHECK(strcmp(text, "epoll") == 0);
    EXPECT(FW_OK, fw_driver_notice(engine, text, sizeof text, &length));
    CHECK(length > 20);
    EXPECT(FW_OK, fw_publish(topic_of(engine, "a"), FW_PRIORITY_NORMAL, FW_KIND_TEXT, "x", 1, NULL));
    EXPECT(FW_OK, fw_engine_free(engine));
    printf("refused: ok: %s\n", text);
    return 0;
}
