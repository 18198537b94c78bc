/* mount(2), umount2(2): tmpfs, bind, remount, moving, in a mount namespace of the test's own. */
#include "guest_test.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>

/* Natively nothing may be left mounted, so everything is done in a namespace that goes with us. */
static void own_namespace(void) {
    static bool done;
    if (done)
        return;
    if (unshare(CLONE_NEWNS))
        SKIP("needs CAP_SYS_ADMIN and mount namespaces");
    REQUIRE_OK(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
    done = true;
}

static void make_file(const char *name, const char *text) {
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    REQUIRE(fd >= 0);
    REQUIRE_EQ(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static bool in_mounts(const char *needle) {
    char line[4096];
    bool found = false;
    FILE *f = fopen("/proc/self/mounts", "r");
    REQUIRE(f != NULL);
    while (fgets(line, sizeof line, f))
        found = found || strstr(line, needle);
    fclose(f);
    return found;
}

TEST(tmpfs) {
    struct statfs fs;
    struct stat st, up;
    own_namespace();
    REQUIRE_OK(mkdir("m", 0755));
    make_file("m/hidden", "");
    REQUIRE_OK(mount("mine", "m", "tmpfs", MS_NOSUID, "size=1m,mode=0700"));
    CHECK_ERR(access("m/hidden", F_OK), ENOENT);
    CHECK_OK(statfs("m", &fs));
    CHECK_EQ(fs.f_type, 0x01021994);
    CHECK_EQ(fs.f_blocks * (unsigned long)fs.f_bsize, 1 << 20);
    CHECK(fs.f_flags & 2 /* ST_NOSUID */);
    CHECK_OK(stat("m", &st));
    CHECK_EQ(st.st_mode, S_IFDIR | 0700);
    CHECK_OK(stat("m/..", &up));
    CHECK(st.st_dev != up.st_dev);
    CHECK(in_mounts("mine "));
    CHECK_ERR(rmdir("m"), EBUSY);
    CHECK_ERR(rename("m", "n"), EBUSY);
    make_file("m/f", "f");
    CHECK_ERR(rename("m/f", "f"), EXDEV);
    CHECK_ERR(link("m/f", "f"), EXDEV);
    int fd = open("m/f", O_RDONLY);
    CHECK_ERR(umount("m"), EBUSY);
    close(fd);
    CHECK_OK(umount("m"));
    CHECK_OK(access("m/hidden", F_OK));
    CHECK_ERR(umount("m"), EINVAL);
    CHECK(!in_mounts("mine "));
    unlink("m/hidden"), rmdir("m");
}

TEST(size_limit) {
    static char block[65536];
    own_namespace();
    REQUIRE_OK(mkdir("m", 0755));
    REQUIRE_OK(mount("none", "m", "tmpfs", 0, "size=256k"));
    int fd = open("m/f", O_CREAT | O_WRONLY, 0600);
    ssize_t n;
    long total = 0;
    while ((n = write(fd, block, sizeof block)) > 0)
        total += n;
    CHECK_EQ(n, -1);
    CHECK_EQ(errno, ENOSPC);
    CHECK(total > 192 * 1024 && total <= 256 * 1024);
    CHECK_OK(ftruncate(fd, 0));
    CHECK_EQ(write(fd, block, sizeof block), sizeof block);
    close(fd);
    CHECK_OK(umount("m"));
    rmdir("m");
}

TEST(inode_limit) {
    struct statfs fs;
    own_namespace();
    REQUIRE_OK(mkdir("m", 0755));
    REQUIRE_OK(mount("none", "m", "tmpfs", 0, "nr_inodes=4"));
    make_file("m/a", "");
    CHECK_OK(mkdir("m/b", 0755));
    CHECK_OK(symlink("x", "m/c"));
    CHECK_OK(statfs("m", &fs));
    CHECK_EQ(fs.f_files, 4);
    CHECK_EQ(fs.f_ffree, 0);
    CHECK_ERR(open("m/d", O_CREAT | O_WRONLY, 0600), ENOSPC);
    CHECK_ERR(mkdir("m/d", 0755), ENOSPC);
    CHECK_ERR(mknod("m/d", S_IFIFO | 0600, 0), ENOSPC);
    CHECK_OK(rmdir("m/b"));
    CHECK_OK(mkdir("m/d", 0755));
    CHECK_OK(umount("m"));
    CHECK_ERR(mount("none", "m", "tmpfs", 0, "nr_inodes=4%"), EINVAL);
    CHECK_ERR(mount("none", "m", "tmpfs", 0, "nr_inodes="), EINVAL);
    CHECK_ERR(mount("none", "m", "tmpfs", 0, "mode=8"), EINVAL);
    rmdir("m");
}

TEST(size_as_part_of_memory) {
    struct statfs tenth, half;
    own_namespace();
    REQUIRE_OK(mkdir("m", 0755));
    REQUIRE_OK(mount("none", "m", "tmpfs", 0, "size=10%"));
    CHECK_OK(statfs("m", &tenth));
    CHECK_OK(umount("m"));
    REQUIRE_OK(mount("none", "m", "tmpfs", 0, "size=50%"));
    CHECK_OK(statfs("m", &half));
    CHECK_OK(umount("m"));
    long memory = sysconf(_SC_PHYS_PAGES);
    CHECK((long)half.f_blocks > memory * 45 / 100 && (long)half.f_blocks < memory * 55 / 100);
    CHECK((long)tenth.f_blocks > memory * 8 / 100 && (long)tenth.f_blocks < memory * 12 / 100);
    rmdir("m");
}

TEST(read_only_and_remount) {
    own_namespace();
    REQUIRE_OK(mkdir("m", 0755));
    REQUIRE_OK(mount("none", "m", "tmpfs", 0, NULL));
    make_file("m/f", "");
    REQUIRE_OK(mount("none", "m", NULL, MS_REMOUNT | MS_RDONLY, NULL));
    CHECK_ERR(open("m/f", O_WRONLY), EROFS);
    CHECK_ERR(open("m/new", O_CREAT | O_WRONLY, 0600), EROFS);
    CHECK_ERR(mkdir("m/d", 0755), EROFS);
    CHECK_ERR(unlink("m/f"), EROFS);
    CHECK_ERR(rename("m/f", "m/g"), EROFS);
    CHECK_ERR(chmod("m/f", 0600), EROFS);
    CHECK_ERR(truncate("m/f", 0), EROFS);
    CHECK_ERR(access("m/f", W_OK), EROFS);
    CHECK_OK(access("m/f", R_OK));
    REQUIRE_OK(mount("none", "m", NULL, MS_REMOUNT, NULL));
    CHECK_OK(unlink("m/f"));
    CHECK_OK(umount("m"));
    rmdir("m");
}

TEST(bind) {
    struct stat a, b;
    own_namespace();
    REQUIRE_OK(mkdir("from", 0755));
    REQUIRE_OK(mkdir("from/sub", 0755));
    REQUIRE_OK(mkdir("to", 0755));
    make_file("from/sub/f", "bound");
    make_file("file", "x");
    REQUIRE_OK(mount("from/sub", "to", NULL, MS_BIND, NULL));
    CHECK_OK(stat("from/sub/f", &a));
    CHECK_OK(stat("to/f", &b));
    CHECK_EQ(a.st_ino, b.st_ino);
    CHECK_EQ(a.st_dev, b.st_dev);
    /* ".." from a mount's root leads to where it is mounted. */
    CHECK_OK(access("to/../file", F_OK));
    /* One file system, two mounts: no renames or links across them. */
    CHECK_ERR(rename("to/f", "from/f"), EXDEV);
    make_file("to/made", "");
    CHECK_OK(access("from/sub/made", F_OK));
    /* A bind mount has flags of its own. */
    REQUIRE_OK(mount("none", "to", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    CHECK_ERR(open("to/f", O_WRONLY), EROFS);
    CHECK_OK(unlink("from/sub/made"));
    CHECK_ERR(access("to/made", F_OK), ENOENT);
    CHECK_OK(umount("to"));
    /* Files on files only. */
    CHECK_ERR(mount("file", "to", NULL, MS_BIND, NULL), ENOTDIR);
    REQUIRE_OK(mount("from/sub/f", "file", NULL, MS_BIND, NULL));
    char text[16] = {0};
    int fd = open("file", O_RDONLY);
    CHECK_EQ(read(fd, text, sizeof text), 5);
    close(fd);
    CHECK_OK(umount("file"));
    unlink("from/sub/f"), rmdir("from/sub"), rmdir("from"), rmdir("to"), unlink("file");
}

TEST(recursive_bind_and_move) {
    own_namespace();
    REQUIRE_OK(mkdir("a", 0755));
    REQUIRE_OK(mkdir("b", 0755));
    REQUIRE_OK(mkdir("c", 0755));
    REQUIRE_OK(mount("none", "a", "tmpfs", 0, NULL));
    REQUIRE_OK(mkdir("a/inner", 0755));
    REQUIRE_OK(mount("none", "a/inner", "tmpfs", 0, NULL));
    make_file("a/inner/f", "");
    REQUIRE_OK(mount("a", "b", NULL, MS_BIND, NULL));
    CHECK_ERR(access("b/inner/f", F_OK), ENOENT);
    CHECK_OK(umount("b"));
    REQUIRE_OK(mount("a", "b", NULL, MS_BIND | MS_REC, NULL));
    CHECK_OK(access("b/inner/f", F_OK));
    CHECK_ERR(umount("b"), EBUSY);
    CHECK_OK(umount2("b", MNT_DETACH));
    CHECK_ERR(access("b/inner", F_OK), ENOENT);
    REQUIRE_OK(mount("a", "c", NULL, MS_MOVE, NULL));
    CHECK_OK(access("c/inner/f", F_OK));
    CHECK_ERR(access("a/inner", F_OK), ENOENT);
    CHECK_ERR(mount("c", "c/inner", NULL, MS_MOVE, NULL), ELOOP);
    CHECK_OK(umount2("c", MNT_DETACH));
    rmdir("a"), rmdir("b"), rmdir("c");
}

TEST(flags_of_a_mount) {
    own_namespace();
    REQUIRE_OK(mkdir("m", 0755));
    REQUIRE_OK(mount("none", "m", "tmpfs", MS_NOEXEC | MS_NODEV, NULL));
    make_file("m/script", "#!/bin/sh\nexit 0\n");
    REQUIRE_OK(chmod("m/script", 0755));
    CHECK_ERR(access("m/script", X_OK), EACCES);
    pid_t child = fork();
    if (child == 0) {
        CHECK_ERR(execl("m/script", "script", (char *)NULL), EACCES);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    if (mknod("m/null", S_IFCHR | 0666, 0x103) == 0)
        CHECK_ERR(open("m/null", O_RDONLY), EACCES);
    CHECK_OK(umount("m"));
    rmdir("m");
}

TEST(errors) {
    own_namespace();
    CHECK_ERR(mount("none", "missing", "tmpfs", 0, NULL), ENOENT);
    CHECK_ERR(mount("none", ".", "nosuchfs", 0, NULL), ENODEV);
    CHECK_ERR(umount("missing"), ENOENT);
    CHECK_ERR(umount2(".", 1 << 20), EINVAL);
    pid_t child = fork();
    if (child == 0) {
        CHECK_OK(setresuid(12345, 12345, 12345));
        CHECK_ERR(mount("none", "/", "tmpfs", 0, NULL), EPERM);
        CHECK_ERR(umount("/proc"), EPERM);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
}

TEST_MAIN()
