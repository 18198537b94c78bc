/* inotify(7). */
#include "guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>

static int in;
static char dir[64], buffer[16384] __attribute__((aligned(8)));
static size_t at, used;

static void start(void) {
    strcpy(dir, "/tmp/inotify-XXXXXX");
    REQUIRE(mkdtemp(dir) != NULL);
    REQUIRE_OK(in = inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    at = used = 0;
}
static const char *path(const char *name) {
    static char text[4][256];
    static int next;
    char *p = text[next++ % 4];
    snprintf(p, 256, "%s/%s", dir, name);
    return p;
}
static const struct inotify_event *next(void) {
    if (at == used) {
        ssize_t n = read(in, buffer, sizeof buffer);
        if (n <= 0)
            return NULL;
        at = 0;
        used = (size_t)n;
    }
    const struct inotify_event *e = (const struct inotify_event *)(buffer + at);
    at += sizeof *e + e->len;
    return e;
}
#define EXPECT(w, m, n)                                                                            \
    do {                                                                                           \
        const struct inotify_event *ev = next();                                                   \
        CHECK(ev != NULL);                                                                         \
        if (ev) {                                                                                  \
            CHECK_EQ(ev->wd, w);                                                                   \
            CHECK_EQ(ev->mask, m);                                                                 \
            CHECK_STREQ(ev->len ? ev->name : "", n);                                               \
        }                                                                                          \
    } while (0)

TEST(directory) {
    start();
    struct pollfd p = {.fd = in, .events = POLLIN};
    int w =
        inotify_add_watch(in, dir, IN_CREATE | IN_DELETE | IN_MOVE | IN_CLOSE_WRITE | IN_MODIFY);
    CHECK_OK(w);
    CHECK_EQ(poll(&p, 1, 0), 0);
    CHECK_ERR(read(in, buffer, 16), EAGAIN);
    int f = open(path("file"), O_CREAT | O_RDWR, 0600);
    CHECK_EQ(write(f, "x", 1), 1);
    close(f);
    CHECK_EQ(poll(&p, 1, 1000), 1);
    CHECK_ERR(read(in, buffer, 8), EINVAL);
    EXPECT(w, IN_CREATE, "file");
    EXPECT(w, IN_MODIFY, "file");
    EXPECT(w, IN_CLOSE_WRITE, "file");
    CHECK_OK(mkdir(path("sub"), 0700));
    EXPECT(w, IN_CREATE | IN_ISDIR, "sub");
    CHECK_OK(rename(path("file"), path("other")));
    const struct inotify_event *e = next();
    REQUIRE(e != NULL);
    uint32_t cookie = e->cookie;
    CHECK_EQ(e->mask, IN_MOVED_FROM);
    CHECK(cookie != 0);
    e = next();
    REQUIRE(e != NULL);
    CHECK_EQ(e->mask, IN_MOVED_TO);
    CHECK_EQ(e->cookie, cookie);
    CHECK_STREQ(e->name, "other");
    CHECK_OK(unlink(path("other")));
    EXPECT(w, IN_DELETE, "other");
    CHECK_OK(rmdir(path("sub")));
    EXPECT(w, IN_DELETE | IN_ISDIR, "sub");
    CHECK_OK(inotify_rm_watch(in, w));
    EXPECT(w, IN_IGNORED, "");
    CHECK_ERR(inotify_rm_watch(in, w), EINVAL);
    close(in);
    rmdir(dir);
}

TEST(file) {
    char c;
    start();
    int f = open(path("file"), O_CREAT | O_RDWR, 0600);
    CHECK_EQ(write(f, "abc", 3), 3);
    int w = inotify_add_watch(in, path("file"), IN_ALL_EVENTS);
    CHECK_EQ(inotify_add_watch(in, path("file"), IN_ALL_EVENTS), w);
    CHECK_ERR(inotify_add_watch(in, path("file"), IN_ALL_EVENTS | IN_MASK_CREATE), EEXIST);
    CHECK_EQ(pread(f, &c, 1, 0), 1);
    EXPECT(w, IN_ACCESS, "");
    CHECK_EQ(pwrite(f, "x", 1, 0), 1);
    CHECK_EQ(pwrite(f, "y", 1, 0), 1); /* the same again is told once */
    EXPECT(w, IN_MODIFY, "");
    CHECK_OK(fchmod(f, 0640));
    EXPECT(w, IN_ATTRIB, "");
    CHECK_OK(ftruncate(f, 0));
    EXPECT(w, IN_MODIFY, "");
    close(f);
    EXPECT(w, IN_CLOSE_WRITE, "");
    f = open(path("file"), O_RDONLY);
    EXPECT(w, IN_OPEN, "");
    close(f);
    EXPECT(w, IN_CLOSE_NOWRITE, "");
    CHECK_OK(unlink(path("file")));
    EXPECT(w, IN_ATTRIB, "");
    EXPECT(w, IN_DELETE_SELF, "");
    EXPECT(w, IN_IGNORED, "");
    CHECK(next() == NULL);
    close(in);
    rmdir(dir);
}

/* A directory and its parent, both watched: the parent hears of it first. */
TEST(directory_and_parent) {
    start();
    CHECK_OK(mkdir(path("sub"), 0700));
    int parent = inotify_add_watch(in, dir, IN_ATTRIB | IN_OPEN);
    int w = inotify_add_watch(in, path("sub"), IN_ATTRIB | IN_OPEN | IN_MOVE_SELF | IN_DELETE_SELF);
    CHECK_OK(chmod(path("sub"), 0750));
    EXPECT(parent, (uint32_t)(IN_ATTRIB | IN_ISDIR), "sub");
    EXPECT(w, (uint32_t)(IN_ATTRIB | IN_ISDIR), "");
    close(open(path("sub"), O_RDONLY));
    EXPECT(parent, (uint32_t)(IN_OPEN | IN_ISDIR), "sub");
    EXPECT(w, (uint32_t)(IN_OPEN | IN_ISDIR), "");
    CHECK_OK(rename(path("sub"), path("moved")));
    EXPECT(w, IN_MOVE_SELF, "");

    char name[64], line[256], want[64];
    snprintf(name, sizeof name, "/proc/self/fdinfo/%d", in);
    struct stat st;
    REQUIRE_OK(stat(path("moved"), &st));
    snprintf(want, sizeof want, "inotify wd:%x ino:%lx ", w, (unsigned long)st.st_ino);
    FILE *info = fopen(name, "r");
    int found = 0;
    REQUIRE(info != NULL);
    while (fgets(line, sizeof line, info))
        found += strncmp(line, want, strlen(want)) == 0 && strstr(line, " mask:c24 ") != NULL;
    fclose(info);
    CHECK_EQ(found, 1);

    CHECK_OK(rmdir(path("moved")));
    EXPECT(w, IN_DELETE_SELF, "");
    EXPECT(w, IN_IGNORED, "");
    CHECK(next() == NULL);
    close(in);
    rmdir(dir);
}

TEST(one_shot_and_errors) {
    start();
    int w = inotify_add_watch(in, dir, IN_CREATE | IN_ONESHOT | IN_ONLYDIR);
    CHECK_OK(w);
    close(open(path("a"), O_CREAT | O_WRONLY, 0600));
    close(open(path("b"), O_CREAT | O_WRONLY, 0600));
    EXPECT(w, IN_CREATE, "a");
    EXPECT(w, IN_IGNORED, "");
    CHECK(next() == NULL);
    CHECK_ERR(inotify_add_watch(in, path("a"), IN_CREATE | IN_ONLYDIR), ENOTDIR);
    CHECK_ERR(inotify_add_watch(in, path("none"), IN_CREATE), ENOENT);
    CHECK_ERR(inotify_add_watch(in, dir, 0), EINVAL);
    CHECK_ERR(inotify_add_watch(0, dir, IN_CREATE), EINVAL);
    CHECK_ERR(inotify_add_watch(9999, dir, IN_CREATE), EBADF);
    CHECK_ERR(inotify_init1(1), EINVAL);
    unlink(path("a"));
    unlink(path("b"));
    close(in);
    rmdir(dir);
}

TEST_MAIN()
