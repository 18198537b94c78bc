/* rename(2), renameat2(2): every kind onto every kind. */
#include "guest_test.h"

#include <fcntl.h>
#include <sys/stat.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE  2
#endif

static void make_file(const char *name) {
    int fd = open(name, O_CREAT | O_WRONLY, 0644);
    REQUIRE(fd >= 0);
    close(fd);
}

static struct stat stat_of(const char *name) {
    struct stat st = {0};
    lstat(name, &st);
    return st;
}

enum kind { NONE, FILE_KIND, LINK, EMPTY, FULL, KINDS };
static const char *const kind_names[] = {"none", "file", "link", "empty", "full"};

static void make(enum kind kind, const char *name) {
    char child[64];
    switch (kind) {
    case FILE_KIND:
        make_file(name);
        break;
    case LINK:
        REQUIRE_OK(symlink("somewhere", name));
        break;
    case FULL:
        REQUIRE_OK(mkdir(name, 0755));
        snprintf(child, sizeof child, "%s/child", name);
        make_file(child);
        break;
    case EMPTY:
        REQUIRE_OK(mkdir(name, 0755));
        break;
    default:
        break;
    }
}

static void clear(const char *name) {
    char child[64];
    snprintf(child, sizeof child, "%s/child", name);
    unlink(child);
    if (unlink(name))
        rmdir(name);
}

/* What rename(from, to) gives: 0 or an errno. */
static int expected(enum kind from, enum kind to) {
    bool from_dir = from >= EMPTY, to_dir = to >= EMPTY;
    if (from == NONE)
        return ENOENT;
    if (to == NONE)
        return 0;
    if (!from_dir)
        return to_dir ? EISDIR : 0;
    if (!to_dir)
        return ENOTDIR;
    return to == FULL ? ENOTEMPTY : 0;
}

TEST(matrix) {
    for (int from = NONE; from < KINDS; from++) {
        for (int to = NONE; to < KINDS; to++) {
            make((enum kind)from, "from");
            make((enum kind)to, "to");
            ino_t ino = stat_of("from").st_ino, to_ino = stat_of("to").st_ino;
            int want = expected((enum kind)from, (enum kind)to);
            int got = rename("from", "to") ? errno : 0;
            GUEST_CHECK(got == want || (want == ENOTEMPTY && got == EEXIST), , "%s onto %s: %s",
                        kind_names[from], kind_names[to], strerrorname_np(got));
            if (want == 0) {
                CHECK_EQ(stat_of("to").st_ino, ino);
                CHECK_EQ(access("from", F_OK), -1);
            } else {
                CHECK_EQ(stat_of("to").st_ino, to_ino);
            }
            clear("from");
            clear("to");
        }
    }
}

TEST(noreplace_and_exchange) {
    make(FILE_KIND, "a");
    make(FULL, "b");
    ino_t a = stat_of("a").st_ino, b = stat_of("b").st_ino;
    if (renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE) && errno == EINVAL)
        SKIP("no renameat2 flags on this file system");
    CHECK_OK(rename("c", "a"));
    CHECK_ERR(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE), EEXIST);
    CHECK_ERR(renameat2(AT_FDCWD, "a", AT_FDCWD, "none", RENAME_EXCHANGE), ENOENT);
    CHECK_ERR(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
    CHECK_ERR(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", 1u << 16), EINVAL);
    CHECK_OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE));
    CHECK_EQ(stat_of("a").st_ino, b);
    CHECK_EQ(stat_of("b").st_ino, a);
    CHECK_OK(access("a/child", F_OK));
    clear("a");
    clear("b");
}

TEST(into_itself) {
    REQUIRE_OK(mkdir("d", 0755));
    REQUIRE_OK(mkdir("d/e", 0755));
    CHECK_ERR(rename("d", "d/x"), EINVAL);
    CHECK_ERR(rename("d", "d/e"), EINVAL);
    CHECK_ERR(rename("d", "d/e/x"), EINVAL);
    CHECK_ERR(rename("d/e", "d"), ENOTEMPTY);
    CHECK_ERR(rename("d/.", "x"), EBUSY);
    CHECK_ERR(rename("d/e/..", "x"), EBUSY);
    CHECK_ERR(rename("d", "."), EBUSY);
    CHECK_OK(rename("d", "d"));
    CHECK_OK(rename("d/e", "d/e/"));
    CHECK_OK(rename("d/e/", "d/f/"));
    CHECK_OK(access("d/f", F_OK));
    rmdir("d/f");
    rmdir("d");
}

TEST(trailing_slashes) {
    make_file("f");
    CHECK_ERR(rename("f/", "g"), ENOTDIR);
    CHECK_ERR(rename("f", "g/"), ENOTDIR);
    CHECK_ERR(rename("none/", "g"), ENOENT);
    unlink("f");
}

TEST(links_of_one_file) {
    make_file("one");
    REQUIRE_OK(link("one", "two"));
    CHECK_OK(rename("one", "two"));
    CHECK_EQ(stat_of("one").st_ino, stat_of("two").st_ino);
    CHECK_EQ(stat_of("one").st_nlink, 2);
    CHECK_OK(unlink("one"));
    CHECK_EQ(stat_of("two").st_nlink, 1);
    unlink("two");
}

TEST(link_counts_of_directories) {
    REQUIRE_OK(mkdir("p", 0755));
    REQUIRE_OK(mkdir("q", 0755));
    REQUIRE_OK(mkdir("p/child", 0755));
    /* Some file systems count 1 for every directory; what matters is that they agree. */
    nlink_t p = stat_of("p").st_nlink, q = stat_of("q").st_nlink;
    CHECK_OK(rename("p/child", "q/child"));
    if (p == 3) {
        CHECK_EQ(stat_of("p").st_nlink, p - 1);
        CHECK_EQ(stat_of("q").st_nlink, q + 1);
    }
    CHECK_OK(rmdir("q/child"));
    CHECK_EQ(stat_of("q").st_nlink, q);
    rmdir("p");
    rmdir("q");
}

TEST(an_open_file_follows_its_name) {
    char name[64], shown[4096], cwd[4096];
    make_file("before");
    REQUIRE_OK(mkdir("dir", 0755));
    int fd = open("before", O_RDONLY);
    CHECK_OK(rename("before", "dir/after"));
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(name, shown, sizeof shown - 1);
    REQUIRE(n > 0 && getcwd(cwd, sizeof cwd));
    shown[n] = 0;
    strncat(cwd, "/dir/after", sizeof cwd - strlen(cwd) - 1);
    CHECK_STREQ(shown, cwd);
    CHECK_OK(unlink("dir/after"));
    n = readlink(name, shown, sizeof shown - 1);
    shown[n > 0 ? n : 0] = 0;
    strncat(cwd, " (deleted)", sizeof cwd - strlen(cwd) - 1);
    CHECK_STREQ(shown, cwd);
    close(fd);
    rmdir("dir");
}

TEST_MAIN()
