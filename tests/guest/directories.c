/* mkdir, rmdir, getdents, link counts; the working directory; chroot. */
#include "guest_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct dirent64_kernel {
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

TEST(make_and_remove) {
    CHECK_OK(mkdir("d", 0755));
    CHECK_ERR(mkdir("d", 0755), EEXIST);
    CHECK_ERR(mkdir("d/.", 0755), EEXIST);
    CHECK_ERR(mkdir("d/..", 0755), EEXIST);
    CHECK_ERR(mkdir("/", 0755), EEXIST);
    CHECK_ERR(mkdir("none/x", 0755), ENOENT);
    CHECK_OK(mkdir("d/e/", 0755));
    CHECK_ERR(rmdir("d"), ENOTEMPTY);
    CHECK_ERR(rmdir("d/."), EINVAL);
    CHECK_ERR(rmdir("d/e/.."), ENOTEMPTY);
    CHECK_ERR(rmdir("none"), ENOENT);
    CHECK_ERR(unlink("d"), EISDIR);
    CHECK_ERR(unlinkat(AT_FDCWD, "d", 1), EINVAL);
    CHECK_OK(unlinkat(AT_FDCWD, "d/e", AT_REMOVEDIR));
    int fd = open("d", O_RDONLY | O_DIRECTORY);
    CHECK_OK(rmdir("d"));
    CHECK_ERR(openat(fd, "x", O_CREAT | O_WRONLY, 0600), ENOENT);
    CHECK_ERR(mkdirat(fd, "x", 0700), ENOENT);
    char buffer[256];
    CHECK_ERR(syscall(SYS_getdents64, fd, buffer, sizeof buffer), ENOENT);
    struct stat st;
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_nlink, 0);
    close(fd);
}

TEST(nodes) {
    struct stat st;
    CHECK_OK(mknod("plain", S_IFREG | 0640, 0));
    CHECK_OK(mknod("zero", 0600, 0));
    CHECK_OK(stat("zero", &st));
    CHECK(S_ISREG(st.st_mode));
    CHECK_OK(mkfifo("fifo", 0600));
    CHECK_OK(stat("fifo", &st));
    CHECK(S_ISFIFO(st.st_mode));
    CHECK_OK(mknod("socket", S_IFSOCK | 0600, 0));
    CHECK_ERR(open("socket", O_RDWR), ENXIO);
    CHECK_ERR(mknod("plain", S_IFREG | 0600, 0), EEXIST);
    CHECK_ERR(mknod("dir", S_IFDIR | 0600, 0), EPERM);
    CHECK_ERR(mknod("link", S_IFLNK | 0600, 0), EINVAL);
    CHECK_ERR(mknod("slash/", S_IFREG | 0600, 0), ENOENT);
    unlink("plain"), unlink("zero"), unlink("fifo"), unlink("socket");
}

#define FILES 500
TEST(a_listing_is_stable_while_files_go) {
    static int seen[FILES];
    char buffer[512], name[32];
    int dots = 0, strange = 0;
    REQUIRE_OK(mkdir("big", 0755));
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "big/f%d", i);
        int fd = open(name, O_CREAT | O_WRONLY, 0600);
        REQUIRE(fd >= 0);
        close(fd);
    }
    int fd = open("big", O_RDONLY | O_DIRECTORY);
    for (;;) {
        long n = syscall(SYS_getdents64, fd, buffer, sizeof buffer);
        REQUIRE(n >= 0);
        if (n == 0)
            break;
        for (long at = 0; at < n;) {
            struct dirent64_kernel *d = (void *)(buffer + at);
            int number;
            if (sscanf(d->name, "f%d", &number) == 1) {
                CHECK(d->type == DT_REG || d->type == DT_UNKNOWN);
                seen[number]++;
                CHECK_OK(unlinkat(fd, d->name, 0));
            } else if (!strcmp(d->name, ".") || !strcmp(d->name, "..")) {
                dots++;
            } else {
                strange++;
            }
            at += d->reclen;
        }
    }
    for (int i = 0; i < FILES; i++)
        GUEST_CHECK(seen[i] == 1, break, "f%d was seen %d times", i, seen[i]);
    CHECK_EQ(dots, 2);
    CHECK_EQ(strange, 0);
    close(fd);
    CHECK_OK(rmdir("big"));
}

TEST(listing_details) {
    char buffer[1024];
    REQUIRE_OK(mkdir("l", 0755));
    for (const char *p = "abc"; *p; p++) {
        char name[] = {'l', '/', *p, 0};
        close(open(name, O_CREAT | O_WRONLY, 0600));
    }
    int fd = open("l", O_RDONLY | O_DIRECTORY);
    CHECK_ERR(syscall(SYS_getdents64, fd, buffer, 8), EINVAL);
    CHECK_ERR(syscall(SYS_getdents64, fd, (void *)1, sizeof buffer), EFAULT);
    long all = syscall(SYS_getdents64, fd, buffer, sizeof buffer);
    CHECK_EQ(all, 5 * 24);
    CHECK_EQ(syscall(SYS_getdents64, fd, buffer, sizeof buffer), 0);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EQ(syscall(SYS_getdents64, fd, buffer, sizeof buffer), all);
    /* Back to the second entry by the position that came with the first. */
    struct dirent64_kernel *first = (void *)buffer;
    char second[256];
    strcpy(second, ((struct dirent64_kernel *)(buffer + first->reclen))->name);
    CHECK_EQ(lseek(fd, first->off, SEEK_SET), first->off);
    CHECK_EQ(syscall(SYS_getdents64, fd, buffer, 24), 24);
    CHECK_STREQ(((struct dirent64_kernel *)buffer)->name, second);
    close(fd);
    fd = open("l/a", O_RDONLY);
    CHECK_ERR(syscall(SYS_getdents64, fd, buffer, sizeof buffer), ENOTDIR);
    CHECK_ERR(read(open("l", O_RDONLY), buffer, 10), EISDIR);
    close(fd);
    unlink("l/a"), unlink("l/b"), unlink("l/c"), rmdir("l");
}

TEST(working_directory) {
    char start[4096], here[4096];
    REQUIRE(getcwd(start, sizeof start));
    REQUIRE_OK(mkdir("w", 0755));
    REQUIRE_OK(mkdir("w/x", 0755));
    CHECK_ERR(chdir("none"), ENOENT);
    CHECK_OK(chdir("w/x"));
    REQUIRE(getcwd(here, sizeof here));
    CHECK_STREQ(here + strlen(start), "/w/x");
    CHECK_EQ(syscall(SYS_getcwd, here, sizeof here), (long)strlen(here) + 1);
    CHECK_ERR(syscall(SYS_getcwd, here, 3), ERANGE);
    /* A rename of what is above is seen. */
    char old[4200], new[4200];
    snprintf(old, sizeof old, "%s/w", start);
    snprintf(new, sizeof new, "%s/v", start);
    CHECK_OK(rename(old, new));
    REQUIRE(getcwd(here, sizeof here));
    CHECK_STREQ(here + strlen(start), "/v/x");
    CHECK_OK(rmdir("../x"));
    CHECK_EQ(syscall(SYS_getcwd, here, sizeof here), -1);
    CHECK_EQ(errno, ENOENT);
    CHECK_ERR(open("f", O_CREAT | O_WRONLY, 0600), ENOENT);
    CHECK_OK(chdir(".."));
    REQUIRE(getcwd(here, sizeof here));
    CHECK_STREQ(here + strlen(start), "/v");
    int fd = open("/", O_PATH);
    CHECK_OK(fchdir(fd));
    CHECK_STREQ(getcwd(here, sizeof here), "/");
    close(fd);
    fd = open("/proc/self/status", O_RDONLY);
    CHECK_ERR(fchdir(fd), ENOTDIR);
    close(fd);
    CHECK_OK(chdir(start));
    rmdir("v");
}

TEST(chroot_hides_what_is_above) {
    char here[4096];
    REQUIRE_OK(mkdir("r", 0755));
    REQUIRE_OK(mkdir("r/sub", 0755));
    close(open("r/inside", O_CREAT | O_WRONLY, 0600));
    REQUIRE_OK(symlink("/inside", "r/sub/link"));
    pid_t child = fork();
    if (child == 0) {
        if (chroot("r") && errno == EPERM)
            _exit(0); /* not for ordinary users */
        CHECK_OK(chdir("/sub"));
        CHECK_OK(access("link", F_OK));
        CHECK_OK(access("../../../inside", F_OK));
        CHECK_STREQ(getcwd(here, sizeof here), "/sub");
        CHECK_EQ(access("/r", F_OK), -1);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    unlink("r/sub/link"), unlink("r/inside"), rmdir("r/sub"), rmdir("r");
}

TEST_MAIN()
