/* path_resolution(7), symlink(7), openat2(2): how a name becomes a file. */
#include "guest_test.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static void make_file(const char *name, const char *text) {
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    REQUIRE(fd >= 0);
    REQUIRE_EQ(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static ino_t inode_of(const char *name) {
    struct stat st;
    return stat(name, &st) == 0 ? st.st_ino : 0;
}

static int stat_errno(const char *name) {
    struct stat st;
    return stat(name, &st) == 0 ? 0 : errno;
}

static int lstat_errno(const char *name) {
    struct stat st;
    return lstat(name, &st) == 0 ? 0 : errno;
}

TEST(dots_and_slashes) {
    REQUIRE_OK(mkdir("d", 0755));
    REQUIRE_OK(mkdir("d/e", 0755));
    make_file("d/e/f", "f");
    CHECK_EQ(inode_of("d/e/f"), inode_of("./d/.//e/../e/./f"));
    CHECK_EQ(inode_of("."), inode_of("d/e/../.."));
    CHECK_EQ(inode_of("/"), inode_of("/../../.."));
    CHECK_EQ(stat_errno(""), ENOENT);
    CHECK_EQ(stat_errno("d/none/../e"), ENOENT);
    CHECK_EQ(stat_errno("d/e/f/"), ENOTDIR);
    CHECK_EQ(stat_errno("d/e/f/."), ENOTDIR);
    CHECK_EQ(stat_errno("d/e/f/.."), ENOTDIR);
    CHECK_EQ(stat_errno("d/e/f/x"), ENOTDIR);
    CHECK_EQ(stat_errno("d/e/"), 0);
    CHECK_EQ(stat_errno("d/e/none/"), ENOENT);
}

TEST(names_that_are_too_long) {
    char name[PATH_MAX + 10];
    memset(name, 'a', sizeof name);
    name[NAME_MAX + 1] = 0;
    CHECK_EQ(stat_errno(name), ENAMETOOLONG);
    name[NAME_MAX] = 0;
    CHECK_EQ(stat_errno(name), ENOENT);
    memset(name, '/', sizeof name);
    name[PATH_MAX] = 0;
    CHECK_EQ(stat_errno(name), ENAMETOOLONG);
    name[PATH_MAX - 1] = 0;
    CHECK_EQ(stat_errno(name), 0);
}

TEST(symlinks) {
    char text[64] = {0};
    make_file("target", "t");
    REQUIRE_OK(symlink("target", "link"));
    REQUIRE_OK(mkdir("dir", 0755));
    REQUIRE_OK(symlink("dir", "dirlink"));
    REQUIRE_OK(symlink("nowhere", "dangling"));
    CHECK_EQ(inode_of("link"), inode_of("target"));
    CHECK_EQ(stat_errno("link/"), ENOTDIR);
    CHECK_EQ(stat_errno("dirlink/"), 0);
    CHECK_EQ(stat_errno("dirlink/.."), 0);
    CHECK_EQ(inode_of("dirlink/.."), inode_of("."));
    CHECK_EQ(stat_errno("dangling"), ENOENT);
    CHECK_EQ(lstat_errno("dangling"), 0);
    CHECK_EQ(lstat_errno("dangling/"), ENOENT);
    CHECK_EQ(readlink("link", text, sizeof text), 6);
    CHECK_STREQ(text, "target");
    CHECK_EQ(readlink("link", text, 3), 3);
    CHECK_ERR(readlink("link", text, 0), EINVAL);
    CHECK_ERR(readlink("target", text, sizeof text), EINVAL);
    CHECK_ERR(symlink("x", "link"), EEXIST);
    CHECK_ERR(symlink("", "empty"), ENOENT);
    CHECK_ERR(mkdir("dangling", 0755), EEXIST);
    CHECK_ERR(mkdir("dangling/", 0755), EEXIST);
    CHECK_ERR(rmdir("dirlink"), ENOTDIR);
    CHECK_ERR(unlink("dirlink/"), ENOTDIR);
    CHECK_ERR(rmdir("dirlink/"), ENOTDIR);
}

TEST(forty_links_and_a_loop) {
    char name[16], target[16];
    make_file("l0", "");
    for (int i = 1; i <= 41; i++) {
        snprintf(name, sizeof name, "l%d", i);
        snprintf(target, sizeof target, "l%d", i - 1);
        REQUIRE_OK(symlink(target, name));
    }
    CHECK_EQ(stat_errno("l40"), 0);
    CHECK_EQ(stat_errno("l41"), ELOOP);
    REQUIRE_OK(symlink("loop2", "loop1"));
    REQUIRE_OK(symlink("loop1", "loop2"));
    CHECK_EQ(stat_errno("loop1"), ELOOP);
    CHECK_EQ(lstat_errno("loop1"), 0);
    CHECK_EQ(stat_errno("loop1/x"), ELOOP);
    CHECK_ERR(open("loop1", O_CREAT | O_WRONLY, 0600), ELOOP);
}

TEST(nofollow_and_path) {
    struct stat st;
    char text[16] = {0};
    make_file("f", "hello");
    REQUIRE_OK(symlink("f", "lf"));
    REQUIRE_OK(mkdir("dd", 0755));
    REQUIRE_OK(symlink("dd", "ld"));
    CHECK_ERR(open("lf", O_NOFOLLOW | O_RDONLY), ELOOP);
    CHECK_ERR(open("ld", O_NOFOLLOW | O_RDONLY | O_DIRECTORY), ENOTDIR);
    CHECK_ERR(open("f", O_DIRECTORY), ENOTDIR);
    CHECK_ERR(open("lf/", O_RDONLY), ENOTDIR);
    int fd = open("lf", O_PATH | O_NOFOLLOW);
    REQUIRE(fd >= 0);
    CHECK_OK(fstat(fd, &st));
    CHECK(S_ISLNK(st.st_mode));
    CHECK_EQ(readlinkat(fd, "", text, sizeof text), 1);
    CHECK_ERR(read(fd, text, 1), EBADF);
    CHECK_ERR(fchmod(fd, 0600), EBADF);
    CHECK_EQ(fcntl(fd, F_GETFL) & O_PATH, O_PATH);
    close(fd);
    fd = open("dd", O_PATH);
    REQUIRE(fd >= 0);
    int made = openat(fd, "child", O_CREAT | O_RDWR, 0600);
    CHECK(made >= 0);
    close(made);
    CHECK_OK(fstatat(fd, "child", &st, 0));
    CHECK_OK(fstatat(fd, "", &st, AT_EMPTY_PATH));
    CHECK(S_ISDIR(st.st_mode));
    CHECK_ERR(fstatat(fd, "", &st, 0), ENOENT);
    CHECK_ERR(fstatat(99, "x", &st, 0), EBADF);
    CHECK_OK(fstatat(99, "/", &st, 0));
    int file = open("f", O_RDONLY);
    CHECK_ERR(fstatat(file, "x", &st, 0), ENOTDIR);
    CHECK_ERR(fstatat(file, "..", &st, 0), ENOTDIR);
    close(file);
    close(fd);
}

/* EAGAIN is for a ".." while anybody, anywhere, renames or mounts (openat2(2)): tried again. */
static int open_how(int dirfd, const char *name, uint64_t flags, uint64_t resolve) {
    struct open_how how = {.flags = flags, .resolve = resolve};
    int fd;
    do
        fd = (int)syscall(SYS_openat2, dirfd, name, &how, sizeof how);
    while (fd < 0 && errno == EAGAIN);
    return fd;
}

static int resolve_errno(int dirfd, const char *name, uint64_t resolve) {
    int fd = open_how(dirfd, name, O_PATH, resolve);
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

TEST(openat2_resolve) {
    REQUIRE_OK(mkdir("jail", 0755));
    REQUIRE_OK(mkdir("jail/in", 0755));
    make_file("outside", "");
    make_file("jail/inside", "");
    REQUIRE_OK(symlink("../outside", "jail/up"));
    REQUIRE_OK(symlink("/inside", "jail/abs"));
    REQUIRE_OK(symlink("inside", "jail/ok"));
    int jail = open("jail", O_PATH | O_DIRECTORY);
    REQUIRE(jail >= 0);
    CHECK_EQ(resolve_errno(jail, "in/../inside", RESOLVE_BENEATH), 0);
    CHECK_EQ(resolve_errno(jail, "..", RESOLVE_BENEATH), EXDEV);
    CHECK_EQ(resolve_errno(jail, "in/../..", RESOLVE_BENEATH), EXDEV);
    CHECK_EQ(resolve_errno(jail, "up", RESOLVE_BENEATH), EXDEV);
    CHECK_EQ(resolve_errno(jail, "abs", RESOLVE_BENEATH), EXDEV);
    CHECK_EQ(resolve_errno(jail, "/inside", RESOLVE_BENEATH), EXDEV);
    CHECK_EQ(resolve_errno(jail, "ok", RESOLVE_BENEATH), 0);
    CHECK_EQ(resolve_errno(jail, "abs", RESOLVE_IN_ROOT), 0);
    CHECK_EQ(resolve_errno(jail, "/inside", RESOLVE_IN_ROOT), 0);
    CHECK_EQ(resolve_errno(jail, "../../inside", RESOLVE_IN_ROOT), 0);
    CHECK_EQ(resolve_errno(jail, "up", RESOLVE_IN_ROOT), ENOENT);
    CHECK_EQ(resolve_errno(jail, "ok", RESOLVE_NO_SYMLINKS), ELOOP);
    CHECK_EQ(resolve_errno(jail, "inside", RESOLVE_NO_SYMLINKS), 0);
    CHECK_EQ(resolve_errno(jail, "inside", RESOLVE_BENEATH | RESOLVE_IN_ROOT), EINVAL);
    CHECK_EQ(resolve_errno(jail, "inside", 1u << 20), EINVAL);
    CHECK_EQ(resolve_errno(AT_FDCWD, "/proc/self", RESOLVE_NO_XDEV), EXDEV);
    CHECK_EQ(resolve_errno(AT_FDCWD, "/proc/self/cwd", RESOLVE_NO_MAGICLINKS), ELOOP);
    CHECK_ERR(open_how(jail, "inside", O_RDONLY | (1ull << 40), 0), EINVAL);
    struct {
        struct open_how how;
        uint64_t more;
    } longer = {.how = {.flags = O_RDONLY}, .more = 0};
    int fd = (int)syscall(SYS_openat2, jail, "inside", &longer, sizeof longer);
    CHECK(fd >= 0);
    close(fd);
    longer.more = 1;
    CHECK_ERR(syscall(SYS_openat2, jail, "inside", &longer, sizeof longer), E2BIG);
    CHECK_ERR(syscall(SYS_openat2, jail, "inside", &longer, 8), EINVAL);
    longer.how.mode = 0600;
    CHECK_ERR(syscall(SYS_openat2, jail, "inside", &longer.how, sizeof longer.how), EINVAL);
    close(jail);
}

TEST(bad_addresses) {
    struct stat st;
    CHECK_ERR(open((char *)1, O_RDONLY), EFAULT);
    CHECK_ERR(stat((char *)1, &st), EFAULT);
    CHECK_ERR(syscall(SYS_stat, "/", (void *)1), EFAULT);
    CHECK_ERR(mkdir((char *)1, 0700), EFAULT);
    CHECK_ERR(rename("x", (char *)1), EFAULT);
}

TEST_MAIN()
