/* Who has a token (JWT) comes in, and may do what it says; whose token is taken back is closed: C11.
 *
 *     cc -std=c11 tokens.c $(pkg-config --cflags --libs fanwire) -o tokens
 *     openssl rand -hex 32 > secret
 *     fanwire token mint --key secret --sub u1 --subscribe news/today > token
 *     ./tokens --listen 127.0.0.1:9001 --keys secret
 *     websocat -H "Authorization: Bearer $(cat token)" ws://127.0.0.1:9001/t/news/today
 *
 * A line "revoke SUB" on stdin refuses that subject's tokens from now on, "reload" reads the keys again, and the end of stdin ends
 * the program. Speak TLS where others can listen.
 */
#include <fanwire.h>

#include <stdio.h>
#include <string.h>

static int fail(const char *what) {
    fprintf(stderr, "tokens: %s: %s\n", what, fw_last_error());
    return 1;
}

static void revoke(fw_engine *engine, const char *sub) {
    size_t closed;
    if (fw_revoke(engine, sub, NULL, 0, &closed) != FW_OK)
        fail("revoke");
    else
        printf("revoked %s: %zu closed\n", sub, closed);
}

static void reload(fw_engine *engine, const fw_config *config) {
    char lines[1024];
    if (fw_reconfigure(engine, config, lines, sizeof lines, NULL) != FW_OK)
        fail("everything stays as it was");
    else
        printf("reloaded: %s\n", lines);
}

int main(int argc, char **argv) {
    fw_config config;
    const char *keys = "secret";
    if (FW_CONFIG_INIT(&config) != FW_OK)
        return fail("this header and this library do not belong together");
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--listen") == 0)
            config.listen = argv[i + 1];
        else if (strcmp(argv[i], "--keys") == 0)
            keys = argv[i + 1];
        else
            return fprintf(stderr, "usage: tokens [--listen ADDRESS:PORT] [--keys FILE]\n"), 2;
    }
    /* As in the server's file of settings: docs/reference/token-settings.md. */
    const fw_setting settings[] = {{"token.keys_file", keys}, {"token.anonymous_subscribe", "public/**"}};
    config.settings = settings;
    config.settings_count = 2;

    fw_engine *engine;
    if (fw_start(&config, &engine) != FW_OK)
        return fail("start");
    printf("listening on port %d\n", fw_port(engine));
    fflush(stdout);

    char line[1100];
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "revoke ", 7) == 0)
            revoke(engine, line + 7);
        else if (strcmp(line, "reload") == 0)
            reload(engine, &config);
        else
            printf("revoke SUB, or reload\n");
        fflush(stdout);
    }
    fw_shutdown(engine, 2000);
    return fw_engine_free(engine) == FW_OK ? 0 : fail("free");
}
