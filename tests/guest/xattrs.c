/* xattr(7): set, get, list, remove; names spaces and limits. */
#include "guest_test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static void make_file(const char *name) {
    int fd = open(name, O_CREAT | O_WRONLY, 0600);
    REQUIRE(fd >= 0);
    close(fd);
    if (setxattr(name, "user.probe", "", 0, 0) && errno == EOPNOTSUPP)
        SKIP("no user.* attributes on this file system");
    REQUIRE_OK(removexattr(name, "user.probe"));
}

TEST(set_and_get) {
    char value[64];
    make_file("f");
    CHECK_ERR(getxattr("f", "user.a", value, sizeof value), ENODATA);
    CHECK_OK(setxattr("f", "user.a", "one", 3, 0));
    CHECK_EQ(getxattr("f", "user.a", value, sizeof value), 3);
    CHECK(memcmp(value, "one", 3) == 0);
    CHECK_EQ(getxattr("f", "user.a", NULL, 0), 3);
    CHECK_ERR(getxattr("f", "user.a", value, 2), ERANGE);
    CHECK_ERR(setxattr("f", "user.a", "x", 1, XATTR_CREATE), EEXIST);
    CHECK_ERR(setxattr("f", "user.b", "x", 1, XATTR_REPLACE), ENODATA);
    CHECK_OK(setxattr("f", "user.a", "longer value", 12, XATTR_REPLACE));
    CHECK_EQ(getxattr("f", "user.a", value, sizeof value), 12);
    CHECK_OK(setxattr("f", "user.empty", "", 0, XATTR_CREATE));
    CHECK_EQ(getxattr("f", "user.empty", value, sizeof value), 0);
    CHECK_ERR(setxattr("f", "user.a", "x", 1, 8), EINVAL);
    CHECK_ERR(setxattr("f", "user.", "x", 1, 0), EINVAL);
    CHECK_ERR(setxattr("f", "", "x", 1, 0), ERANGE);
    CHECK_ERR(setxattr("f", "strange.name", "x", 1, 0), EOPNOTSUPP);
    CHECK_ERR(setxattr("none", "user.a", "x", 1, 0), ENOENT);
    static char big[65537];
    CHECK_ERR(setxattr("f", "user.big", big, sizeof big, 0), E2BIG);
    unlink("f");
}

TEST(list_and_remove) {
    char list[256];
    make_file("f");
    ssize_t before = listxattr("f", list, sizeof list);
    CHECK_OK(setxattr("f", "user.a", "1", 1, 0));
    CHECK_OK(setxattr("f", "user.bb", "2", 1, 0));
    CHECK_EQ(listxattr("f", NULL, 0), before + 15);
    CHECK_ERR(listxattr("f", list, 3), ERANGE);
    ssize_t n = listxattr("f", list, sizeof list);
    CHECK_EQ(n, before + 15);
    CHECK(memmem(list, (size_t)n, "user.a", 7) && memmem(list, (size_t)n, "user.bb", 8));
    CHECK_OK(removexattr("f", "user.a"));
    CHECK_ERR(removexattr("f", "user.a"), ENODATA);
    CHECK_EQ(listxattr("f", list, sizeof list), before + 8);
    int fd = open("f", O_RDONLY);
    CHECK_EQ(fgetxattr(fd, "user.bb", list, sizeof list), 1);
    CHECK_OK(fremovexattr(fd, "user.bb"));
    CHECK_OK(fsetxattr(fd, "user.c", "3", 1, 0));
    close(fd);
    fd = open("f", O_PATH);
    CHECK_ERR(fgetxattr(fd, "user.c", list, sizeof list), EBADF);
    close(fd);
    unlink("f");
}

TEST(links_have_none_of_their_own) {
    char value[8];
    make_file("f");
    REQUIRE_OK(symlink("f", "l"));
    CHECK_OK(setxattr("l", "user.a", "1", 1, 0)); /* follows */
    CHECK_EQ(getxattr("f", "user.a", value, sizeof value), 1);
    CHECK_ERR(lsetxattr("l", "user.a", "1", 1, 0), EPERM);
    CHECK_ERR(lgetxattr("l", "user.a", value, sizeof value), ENODATA);
    unlink("l");
    unlink("f");
}

TEST(trusted_needs_privilege) {
    char value[8], list[256];
    make_file("f");
    if (geteuid() != 0 || setxattr("f", "trusted.t", "1", 1, 0))
        SKIP("needs CAP_SYS_ADMIN");
    CHECK_EQ(getxattr("f", "trusted.t", value, sizeof value), 1);
    REQUIRE_OK(chmod("f", 0666));
    REQUIRE_OK(chmod(".", 0755));
    pid_t child = fork();
    if (child == 0) {
        CHECK_OK(setresuid(12345, 12345, 12345));
        CHECK_ERR(getxattr("f", "trusted.t", value, sizeof value), ENODATA);
        CHECK_ERR(setxattr("f", "trusted.t", "2", 1, 0), EPERM);
        ssize_t n = listxattr("f", list, sizeof list);
        CHECK(n >= 0 && !memmem(list, (size_t)n, "trusted.t", 9));
        CHECK_OK(setxattr("f", "user.mine", "2", 1, 0));
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    unlink("f");
}

TEST_MAIN()
