/* stat, statx, chmod, chown, utimensat, access, truncate, links: what files say about themselves.
 */
#include "guest_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>

static struct stat stat_of(const char *name) {
    struct stat st = {0};
    lstat(name, &st);
    return st;
}

static void make_file(const char *name, const char *text, mode_t mode) {
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, mode);
    REQUIRE(fd >= 0);
    REQUIRE_EQ(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

TEST(stat_and_statx_agree) {
    struct statx x;
    make_file("f", "hello", 0644);
    struct stat st = stat_of("f");
    CHECK_EQ(st.st_size, 5);
    CHECK_EQ(st.st_nlink, 1);
    CHECK_EQ(st.st_mode, S_IFREG | 0644);
    CHECK_EQ(st.st_uid, geteuid());
    REQUIRE_OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &x));
    CHECK_EQ(x.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
    CHECK_EQ(x.stx_ino, st.st_ino);
    CHECK_EQ(makedev(x.stx_dev_major, x.stx_dev_minor), st.st_dev);
    CHECK_EQ(x.stx_mode, st.st_mode);
    CHECK_EQ(x.stx_size, st.st_size);
    CHECK_EQ(x.stx_mtime.tv_sec, st.st_mtim.tv_sec);
    CHECK_EQ(x.stx_mtime.tv_nsec, st.st_mtim.tv_nsec);
    CHECK_EQ(x.stx_nlink, 1);
    int fd = open("f", O_RDONLY);
    CHECK_OK(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &x));
    CHECK_EQ(x.stx_size, 5);
    CHECK_ERR(statx(fd, "", 0, STATX_SIZE, &x), ENOENT);
    CHECK_ERR(statx(AT_FDCWD, "f", 0x6000, STATX_SIZE, &x), EINVAL);
    CHECK_ERR(statx(AT_FDCWD, "f", 1 << 30, STATX_SIZE, &x), EINVAL);
    CHECK_ERR(statx(AT_FDCWD, "f", 0, 1u << 31, &x), EINVAL);
    CHECK_ERR(syscall(SYS_statx, AT_FDCWD, "f", 0, STATX_SIZE, (void *)8), EFAULT);
    close(fd);
    unlink("f");
}

TEST(change_mode) {
    make_file("f", "", 0600);
    CHECK_OK(chmod("f", 01751));
    CHECK_EQ(stat_of("f").st_mode, S_IFREG | 01751);
    int fd = open("f", O_RDONLY);
    CHECK_OK(fchmod(fd, 0400));
    CHECK_EQ(stat_of("f").st_mode, S_IFREG | 0400);
    close(fd);
    CHECK_ERR(chmod("none", 0600), ENOENT);
    CHECK_ERR(fchmod(99, 0600), EBADF);
    REQUIRE_OK(symlink("f", "l"));
    CHECK_OK(fchmodat(AT_FDCWD, "l", 0644, 0));
    CHECK_EQ(stat_of("f").st_mode, S_IFREG | 0644);
    unlink("l");
    unlink("f");
}

TEST(change_owner) {
    make_file("f", "", 0600);
    CHECK_OK(chown("f", (uid_t)-1, (gid_t)-1));
    CHECK_OK(chown("f", geteuid(), getegid()));
    CHECK_OK(chmod("f", 06777));
    if (geteuid() != 0) {
        CHECK_ERR(chown("f", geteuid() + 1, (gid_t)-1), EPERM);
    } else {
        CHECK_OK(chown("f", 1234, 4321));
        CHECK_EQ(stat_of("f").st_uid, 1234);
        CHECK_EQ(stat_of("f").st_gid, 4321);
        CHECK_EQ(stat_of("f").st_mode, S_IFREG | 0777); /* suid and sgid are gone */
        REQUIRE_OK(symlink("f", "l"));
        CHECK_OK(lchown("l", 7, 8));
        CHECK_EQ(stat_of("l").st_uid, 7);
        CHECK_EQ(stat_of("f").st_uid, 1234);
        unlink("l");
    }
    unlink("f");
}

TEST(set_times) {
    struct timespec times[2] = {{1000, 1}, {2000, 999999999}};
    make_file("f", "x", 0600);
    CHECK_OK(utimensat(AT_FDCWD, "f", times, 0));
    struct stat st = stat_of("f");
    CHECK_EQ(st.st_atim.tv_sec, 1000);
    CHECK_EQ(st.st_atim.tv_nsec, 1);
    CHECK_EQ(st.st_mtim.tv_sec, 2000);
    CHECK_EQ(st.st_mtim.tv_nsec, 999999999);
    CHECK(st.st_ctim.tv_sec > 1000000);
    times[0].tv_nsec = UTIME_OMIT;
    times[1].tv_nsec = UTIME_NOW;
    CHECK_OK(utimensat(AT_FDCWD, "f", times, 0));
    st = stat_of("f");
    CHECK_EQ(st.st_atim.tv_sec, 1000);
    CHECK(st.st_mtim.tv_sec > 1000000);
    times[1].tv_nsec = UTIME_OMIT;
    CHECK_OK(utimensat(AT_FDCWD, "none", times, 0)); /* nothing to do, not even to look */
    times[1].tv_nsec = 1000000000;
    CHECK_ERR(utimensat(AT_FDCWD, "f", times, 0), EINVAL);
    times[0] = times[1] = (struct timespec){5, 0};
    CHECK_ERR(utimensat(AT_FDCWD, "none", times, 0), ENOENT);
    REQUIRE_OK(symlink("f", "l"));
    CHECK_OK(utimensat(AT_FDCWD, "l", times, AT_SYMLINK_NOFOLLOW));
    CHECK_EQ(stat_of("l").st_mtim.tv_sec, 5);
    CHECK(stat_of("f").st_mtim.tv_sec != 5);
    int fd = open("f", O_RDONLY);
    CHECK_OK(futimens(fd, times));
    CHECK_EQ(stat_of("f").st_mtim.tv_sec, 5);
    close(fd);
    struct timeval old[2] = {{7, 8}, {9, 10}};
    CHECK_OK(utimes("f", old));
    CHECK_EQ(stat_of("f").st_mtim.tv_nsec, 10000);
    CHECK_OK(utimes("f", NULL));
    CHECK(stat_of("f").st_mtim.tv_sec > 1000000);
    unlink("l");
    unlink("f");
}

TEST(times_move_with_changes) {
    struct timespec old[2] = {{1000, 0}, {1000, 0}};
    char c;
    make_file("f", "x", 0600);
    CHECK_OK(utimensat(AT_FDCWD, "f", old, 0));
    int fd = open("f", O_RDWR);
    CHECK_EQ(read(fd, &c, 1), 1);
    CHECK_EQ(stat_of("f").st_mtim.tv_sec, 1000);
    CHECK_EQ(write(fd, "y", 1), 1);
    CHECK(stat_of("f").st_mtim.tv_sec > 1000);
    CHECK_OK(utimensat(AT_FDCWD, "f", old, 0));
    CHECK_OK(ftruncate(fd, 0));
    CHECK(stat_of("f").st_mtim.tv_sec > 1000);
    close(fd);
    REQUIRE_OK(mkdir("d", 0755));
    CHECK_OK(utimensat(AT_FDCWD, "d", old, 0));
    CHECK_OK(rename("f", "d/f"));
    CHECK(stat_of("d").st_mtim.tv_sec > 1000);
    CHECK_OK(utimensat(AT_FDCWD, "d", old, 0));
    CHECK_OK(chmod("d/f", 0644));
    CHECK_EQ(stat_of("d").st_mtim.tv_sec, 1000);
    CHECK_OK(unlink("d/f"));
    CHECK(stat_of("d").st_mtim.tv_sec > 1000);
    rmdir("d");
}

TEST(truncate_file) {
    char text[16];
    make_file("f", "hello", 0600);
    CHECK_OK(truncate("f", 3));
    CHECK_EQ(stat_of("f").st_size, 3);
    CHECK_OK(truncate("f", 8));
    int fd = open("f", O_RDWR);
    CHECK_EQ(read(fd, text, sizeof text), 8);
    CHECK(memcmp(text, "hel\0\0\0\0\0", 8) == 0);
    CHECK_OK(ftruncate(fd, 1 << 20));
    CHECK_EQ(pread(fd, text, 1, (1 << 20) - 1), 1);
    CHECK_ERR(ftruncate(fd, -1), EINVAL);
    CHECK_ERR(truncate("f", -1), EINVAL);
    CHECK_ERR(truncate(".", 0), EISDIR);
    CHECK_ERR(truncate("none", 0), ENOENT);
    close(fd);
    fd = open("f", O_RDONLY);
    CHECK_ERR(ftruncate(fd, 0), EINVAL);
    CHECK_ERR(ftruncate(99, 0), EBADF);
    close(fd);
    struct rlimit limit, small;
    CHECK_OK(getrlimit(RLIMIT_FSIZE, &limit));
    small = limit;
    small.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &small));
    CHECK_ERR(truncate("f", 2 << 20), EFBIG);
    CHECK_OK(truncate("f", 8192));
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &limit));
    signal(SIGXFSZ, SIG_DFL);
    unlink("f");
}

TEST(holes) {
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    REQUIRE(fd >= 0);
    CHECK_EQ(pwrite(fd, "end", 3, 1 << 20), 3);
    struct stat st = stat_of("f");
    CHECK_EQ(st.st_size, (1 << 20) + 3);
    CHECK(st.st_blocks * 512 < (1 << 20));
    off_t data = lseek(fd, 0, SEEK_DATA);
    CHECK(data == 0 || (data > 0 && data <= 1 << 20));
    CHECK(lseek(fd, 0, SEEK_HOLE) >= 0);
    CHECK_ERR(lseek(fd, 2 << 20, SEEK_DATA), ENXIO);
    close(fd);
    unlink("f");
}

TEST(may_access) {
    make_file("f", "", 0600);
    CHECK_OK(access("f", F_OK));
    CHECK_OK(access("f", R_OK | W_OK));
    CHECK_ERR(access("f", X_OK), EACCES); /* not even root */
    CHECK_ERR(access("none", F_OK), ENOENT);
    CHECK_ERR(access("f", 8), EINVAL);
    CHECK_OK(chmod("f", 0100));
    CHECK_OK(access("f", X_OK));
    CHECK_OK(faccessat(AT_FDCWD, "f", X_OK, AT_EACCESS));
    REQUIRE_OK(symlink("none", "l"));
    CHECK_ERR(access("l", F_OK), ENOENT);
    CHECK_OK(syscall(SYS_faccessat2, AT_FDCWD, "l", F_OK, AT_SYMLINK_NOFOLLOW));
    CHECK_ERR(syscall(SYS_faccessat2, AT_FDCWD, "l", F_OK, 1), EINVAL);
    unlink("l");
    if (geteuid() == 0) {
        pid_t child = fork();
        if (child == 0) {
            /* access(2) asks for the real user, open for the effective one. */
            CHECK_OK(chmod("f", 0600));
            CHECK_OK(chown("f", 0, 0));
            CHECK_OK(chmod(".", 0755));
            CHECK_OK(setresuid(12345, 0, 0));
            CHECK_ERR(access("f", R_OK), EACCES);
            CHECK_OK(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));
            CHILD_EXIT();
        }
        CHECK_CHILD_OK(child);
    }
    unlink("f");
}

TEST(permission_of_others) {
    if (geteuid() != 0)
        SKIP("needs root to become somebody else");
    REQUIRE_OK(chmod(".", 0755));
    make_file("private", "x", 0600);
    make_file("public", "x", 0644);
    REQUIRE_OK(mkdir("sticky", 0777));
    REQUIRE_OK(chmod("sticky", 01777));
    make_file("sticky/roots", "x", 0600);
    REQUIRE_OK(chmod("sticky/roots", 0666));
    REQUIRE_OK(mkdir("closed", 0700));
    make_file("closed/f", "x", 0666);
    pid_t child = fork();
    if (child == 0) {
        CHECK_OK(setresgid(12345, 12345, 12345));
        CHECK_OK(setresuid(12345, 12345, 12345));
        CHECK_ERR(open("private", O_RDONLY), EACCES);
        CHECK(open("public", O_RDONLY) >= 0);
        CHECK_ERR(open("public", O_WRONLY), EACCES);
        CHECK_ERR(open("closed/f", O_RDONLY), EACCES);
        CHECK_ERR(open("new", O_CREAT | O_WRONLY, 0600), EACCES);
        CHECK_ERR(mkdir("new", 0700), EACCES);
        CHECK_ERR(chmod("public", 0666), EPERM);
        CHECK_ERR(unlink("public"), EACCES);
        CHECK_ERR(unlink("sticky/roots"), EPERM);
        CHECK_ERR(rename("sticky/roots", "sticky/x"), EPERM);
        int fd = open("sticky/roots", O_WRONLY);
        CHECK(fd >= 0);
        struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}}, then[2] = {{1, 0}, {1, 0}};
        CHECK_OK(futimens(fd, now));
        CHECK_ERR(futimens(fd, then), EPERM);
        fd = open("sticky/mine", O_CREAT | O_RDWR, 0600);
        CHECK(fd >= 0);
        CHECK_OK(fchmod(fd, 02755));
        CHECK_OK(unlink("sticky/mine"));
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    /* suid goes when somebody without CAP_FSETID writes. */
    REQUIRE_OK(chmod("public", 04777));
    child = fork();
    if (child == 0) {
        CHECK_OK(setresuid(12345, 12345, 12345));
        int fd = open("public", O_WRONLY);
        CHECK_EQ(write(fd, "y", 1), 1);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    CHECK_EQ(stat_of("public").st_mode, S_IFREG | 0777);
    /* A set-group-ID directory hands its group and the bit down. */
    REQUIRE_OK(mkdir("group", 0755));
    REQUIRE_OK(chown("group", 0, 4321));
    REQUIRE_OK(chmod("group", 02755));
    make_file("group/f", "", 0600);
    REQUIRE_OK(mkdir("group/d", 0700));
    CHECK_EQ(stat_of("group/f").st_gid, 4321);
    CHECK_EQ(stat_of("group/d").st_gid, 4321);
    CHECK_EQ(stat_of("group/d").st_mode, S_IFDIR | 02700);
}

TEST(hard_links) {
    make_file("one", "shared", 0600);
    CHECK_OK(link("one", "two"));
    CHECK_EQ(stat_of("one").st_nlink, 2);
    CHECK_EQ(stat_of("one").st_ino, stat_of("two").st_ino);
    CHECK_ERR(link("one", "two"), EEXIST);
    CHECK_ERR(link("none", "three"), ENOENT);
    CHECK_ERR(link(".", "dir"), EPERM);
    CHECK_ERR(link("one", "three/"), ENOENT);
    REQUIRE_OK(symlink("one", "sym"));
    CHECK_OK(link("sym", "symtwo")); /* the link itself */
    CHECK(S_ISLNK(stat_of("symtwo").st_mode));
    CHECK_OK(linkat(AT_FDCWD, "sym", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
    CHECK_EQ(stat_of("followed").st_ino, stat_of("one").st_ino);
    CHECK_ERR(linkat(AT_FDCWD, "one", AT_FDCWD, "x", 1 << 20), EINVAL);
    CHECK_OK(unlink("one"));
    CHECK_EQ(stat_of("two").st_nlink, 2);
    CHECK_ERR(link("/proc/self/status", "other"), EXDEV);
    unlink("two"), unlink("sym"), unlink("symtwo"), unlink("followed");
}

TEST(file_system) {
    struct statfs fs;
    CHECK_OK(statfs(".", &fs));
    CHECK(fs.f_bsize > 0);
    CHECK_EQ(fs.f_namelen, 255);
    CHECK_ERR(statfs("none", &fs), ENOENT);
    CHECK_ERR(fstatfs(99, &fs), EBADF);
    CHECK_OK(statfs("/proc", &fs));
    CHECK_EQ(fs.f_type, 0x9fa0);
}

TEST_MAIN()
