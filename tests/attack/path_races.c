/*
 * timeout: 60
 * run-args: --bind .:$TMPDIR --user 0
 *
 * Races against the path walk: names change between a directory, a symlink that points out of the
 * root and nothing, while other threads open through them. Inside a chroot whose way out is barred
 * (nobody moves directories across its border) no walk may ever reach what is outside; a walk that
 * is to stay below its start (RESOLVE_BENEATH, RESOLVE_IN_ROOT) never leaves it even while
 * directories move. Done once on the overlay in memory, once on a host directory that was bound
 * in: there a host that resolved the symlink itself would find the secret.
 */
#include "guest_test.h"

#include <fcntl.h>
#include <ftw.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define ROUNDS 3000

static _Atomic int stop, escapes, opened;

static int is_secret(int fd) {
    char text[16] = {0};
    ssize_t n = read(fd, text, sizeof text - 1);
    return n > 0 && strcmp(text, "secret") == 0;
}

static void make_file(const char *name, const char *text) {
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0666);
    REQUIRE(fd >= 0);
    REQUIRE_EQ(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/* "d" is a directory with a file of its own or a symlink to one outside. */
static void *exchange_link(void *arg) {
    (void)arg;
    while (!stop)
        syscall(SYS_renameat2, AT_FDCWD, "/d", AT_FDCWD, "/s", 2 /* RENAME_EXCHANGE */);
    return NULL;
}
/* The same by removing and making anew. */
static void *replace_link(void *arg) {
    (void)arg;
    while (!stop) {
        if (mkdir("/e", 0755) == 0)
            rmdir("/e");
        if (symlink("../outside", "/e") == 0)
            unlink("/e");
    }
    return NULL;
}
static void *move_deep(void *arg) {
    (void)arg;
    while (!stop) {
        rename("/a/b", "/b");
        rename("/b", "/a/b");
    }
    return NULL;
}

static void *walk(void *arg) {
    static const char *const names[] = {
        "/d/file",
        "/s/file",
        "/d/../outside/file",
        "/e/file",
        "/e/../outside/file",
        "/a/b/c/../../../outside/file",
        "/a/b/c/../../../../outside/file",
        "/b/c/../../../outside/file",
        "/a/../../../outside/file",
    };
    for (int i = 0; i < ROUNDS; i++) {
        const char *name = names[i % (int)(sizeof names / sizeof *names)];
        int fd = open(name, i & 1 ? O_RDONLY : O_RDONLY | O_NOFOLLOW);
        if (fd >= 0) {
            opened++;
            escapes += is_secret(fd);
            close(fd);
        }
        /* Making and removing through the same names must not reach out either. */
        fd = open("/e/made", O_CREAT | O_WRONLY, 0600);
        if (fd >= 0)
            close(fd);
        unlink("/e/made");
        rename("/d/none", "/s/none");
    }
    return arg;
}

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(name);
}
static void remove_tree(const char *name) {
    CHECK_OK(nftw(name, remove_one, 16, FTW_DEPTH | FTW_PHYS));
}

static void race(const char *base) {
    char inside[256];
    pthread_t breakers[3], walkers[3];

    REQUIRE_OK(chdir(base));
    REQUIRE_OK(mkdir("race", 0755));
    REQUIRE_OK(mkdir("race/outside", 0777));
    make_file("race/outside/file", "secret");
    REQUIRE_OK(mkdir("race/jail", 0755));
    REQUIRE_OK(mkdir("race/jail/d", 0755));
    make_file("race/jail/d/file", "inside");
    REQUIRE_OK(mkdir("race/jail/a", 0755));
    REQUIRE_OK(mkdir("race/jail/a/b", 0755));
    REQUIRE_OK(mkdir("race/jail/a/b/c", 0755));
    REQUIRE_OK(symlink("../outside", "race/jail/s"));
    snprintf(inside, sizeof inside, "%s/race/jail", base);
    pid_t child = fork();
    if (child == 0) {
        if (chroot(inside) || chdir("/"))
            _exit(2);
        pthread_create(&breakers[0], NULL, exchange_link, NULL);
        pthread_create(&breakers[1], NULL, replace_link, NULL);
        pthread_create(&breakers[2], NULL, move_deep, NULL);
        for (int i = 0; i < 3; i++)
            pthread_create(&walkers[i], NULL, walk, NULL);
        for (int i = 0; i < 3; i++)
            pthread_join(walkers[i], NULL);
        stop = 1;
        for (int i = 0; i < 3; i++)
            pthread_join(breakers[i], NULL);
        CHECK_EQ(escapes, 0);
        CHECK(opened > 0); /* else nothing was tried */
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    CHECK_EQ(access("race/outside/made", F_OK), -1);
    CHECK_OK(access("race/outside/file", F_OK));
    remove_tree("race");
}

TEST(in_memory) {
    race("/var/tmp");
}

TEST(on_a_host_directory) {
    char here[200];

    REQUIRE(getcwd(here, sizeof here) != NULL);
    race(here);
}

static void *move_in_and_out(void *arg) {
    (void)arg;
    while (!stop) {
        rename("/var/tmp/p/start/in", "/var/tmp/p/in");
        rename("/var/tmp/p/in", "/var/tmp/p/start/in");
    }
    return NULL;
}

/* What is below the start moves out of it while a walk is in it: ".." must not follow. */
TEST(beneath) {
    pthread_t mover;
    int seen = 0, inside = 0;

    REQUIRE_OK(mkdir("/var/tmp/p", 0755));
    REQUIRE_OK(mkdir("/var/tmp/p/start", 0755));
    REQUIRE_OK(mkdir("/var/tmp/p/start/in", 0755));
    REQUIRE_OK(mkdir("/var/tmp/p/start/in/deep", 0755));
    make_file("/var/tmp/p/file", "secret");
    make_file("/var/tmp/p/start/file", "inside");
    int start = open("/var/tmp/p/start", O_PATH);
    REQUIRE(start >= 0);
    stop = 0;
    pthread_create(&mover, NULL, move_in_and_out, NULL);
    for (int i = 0; i < ROUNDS * 3; i++) {
        struct open_how how = {.flags = O_RDONLY,
                               .resolve = i & 1 ? RESOLVE_BENEATH : RESOLVE_IN_ROOT};
        int fd = (int)syscall(SYS_openat2, start, "in/deep/../../file", &how, sizeof how);
        if (fd >= 0) {
            inside++;
            seen += is_secret(fd);
            close(fd);
        }
    }
    stop = 1;
    pthread_join(mover, NULL);
    CHECK_EQ(seen, 0);
    CHECK(inside > 0); /* else nothing was tried */
    close(start);
    remove_tree("/var/tmp/p");
}

TEST_MAIN()
