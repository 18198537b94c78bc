/* open(2): creation, exclusion, truncation, append, O_TMPFILE, umask, access modes. */
#include "guest_test.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int mode_of(const char *name) {
    struct stat st;
    return stat(name, &st) == 0 ? (int)st.st_mode : -1;
}

static int size_of(const char *name) {
    struct stat st;
    return stat(name, &st) == 0 ? (int)st.st_size : -1;
}

TEST(create_and_umask) {
    mode_t old = umask(027);
    int fd = open("f", O_CREAT | O_EXCL | O_RDWR, 0666);
    CHECK(fd >= 0);
    close(fd);
    CHECK_EQ(mode_of("f"), S_IFREG | 0640);
    CHECK_OK(mkdir("d", 0777));
    CHECK_EQ(mode_of("d"), S_IFDIR | 0750);
    CHECK_EQ(umask(07777), 027);
    CHECK_EQ(umask(old), 0777);
    CHECK_ERR(open("f", O_CREAT | O_EXCL, 0600), EEXIST);
    CHECK_ERR(open("d", O_CREAT, 0600), EISDIR);
    CHECK_ERR(open("d", O_WRONLY), EISDIR);
    CHECK_ERR(open("new/", O_CREAT | O_WRONLY, 0600), EISDIR);
    CHECK_ERR(open("none/new", O_CREAT | O_WRONLY, 0600), ENOENT);
    CHECK_ERR(open("none", O_RDONLY), ENOENT);
    /* The mode of a new file does not bind who makes it. */
    fd = open("readonly", O_CREAT | O_RDWR, 0400);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, "x", 1), 1);
    close(fd);
}

TEST(through_a_dangling_link) {
    CHECK_OK(symlink("made", "dangling"));
    CHECK_ERR(open("dangling", O_CREAT | O_EXCL | O_RDWR, 0600), EEXIST);
    CHECK_ERR(open("dangling", O_RDONLY), ENOENT);
    CHECK_ERR(open("dangling", O_CREAT | O_NOFOLLOW, 0600), ELOOP);
    int fd = open("dangling", O_CREAT | O_RDWR, 0600);
    CHECK(fd >= 0);
    close(fd);
    CHECK_EQ(mode_of("made"), S_IFREG | 0600);
}

TEST(truncate_and_append) {
    char text[16] = {0};
    int fd = open("a", O_CREAT | O_WRONLY, 0600);
    REQUIRE(fd >= 0);
    CHECK_EQ(write(fd, "hello", 5), 5);
    int appender = open("a", O_WRONLY | O_APPEND);
    CHECK_EQ(write(appender, "12", 2), 2);
    CHECK_EQ(lseek(appender, 0, SEEK_CUR), 7);
    CHECK_EQ(write(fd, "!", 1), 1); /* at its own position: over the 1 */
    CHECK_EQ(lseek(appender, 0, SEEK_SET), 0);
    CHECK_EQ(write(appender, "3", 1), 1);
    close(fd);
    close(appender);
    fd = open("a", O_RDONLY);
    CHECK_EQ(read(fd, text, sizeof text), 8);
    CHECK_STREQ(text, "hello!23");
    CHECK_ERR(write(fd, "x", 1), EBADF);
    close(fd);
    fd = open("a", O_WRONLY | O_TRUNC);
    CHECK_ERR(read(fd, text, 1), EBADF);
    close(fd);
    CHECK_EQ(size_of("a"), 0);
    CHECK_EQ(fcntl(open("a", O_RDWR | O_APPEND | O_CLOEXEC), F_GETFL) & (O_ACCMODE | O_APPEND),
             O_RDWR | O_APPEND);
}

TEST(tmpfile) {
    char name[64], text[8] = {0};
    struct stat st;
    int fd = open(".", O_TMPFILE | O_RDWR, 0640);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
        SKIP("no O_TMPFILE on this file system");
    REQUIRE(fd >= 0);
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_nlink, 0);
    CHECK_EQ(write(fd, "tmp", 3), 3);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    CHECK_OK(linkat(AT_FDCWD, name, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_nlink, 1);
    close(fd);
    fd = open("named", O_RDONLY);
    CHECK_EQ(read(fd, text, 8), 3);
    CHECK_STREQ(text, "tmp");
    close(fd);
    CHECK_ERR(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
    CHECK_ERR(open("named", O_TMPFILE | O_RDWR, 0600), ENOTDIR);
    fd = open(".", O_TMPFILE | O_EXCL | O_RDWR, 0600);
    REQUIRE(fd >= 0);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    CHECK_ERR(linkat(AT_FDCWD, name, AT_FDCWD, "named2", AT_SYMLINK_FOLLOW), ENOENT);
    close(fd);
}

TEST(an_unlinked_file_lives_on) {
    char text[8] = {0};
    struct stat st;
    int fd = open("gone", O_CREAT | O_RDWR, 0600);
    REQUIRE(fd >= 0);
    CHECK_OK(unlink("gone"));
    CHECK_ERR(unlink("gone"), ENOENT);
    CHECK_EQ(write(fd, "alive", 5), 5);
    CHECK_EQ(pread(fd, text, 8, 0), 5);
    CHECK_STREQ(text, "alive");
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_nlink, 0);
    CHECK_EQ(st.st_size, 5);
    int other = open("gone", O_CREAT | O_EXCL | O_RDWR, 0600);
    CHECK(other >= 0);
    CHECK_EQ(read(other, text, 8), 0);
    close(other);
    close(fd);
}

TEST(descriptors_are_the_lowest_free) {
    int a = open("/", O_RDONLY), b = open("/", O_RDONLY), c = open("/", O_RDONLY);
    CHECK_EQ(b, a + 1);
    CHECK_EQ(c, a + 2);
    close(a);
    CHECK_EQ(open("/", O_RDONLY), a);
    close(b);
    close(a);
    CHECK_EQ(open("/", O_RDONLY), a);
    CHECK_EQ(open("/", O_RDONLY), b);
    close(a);
    close(b);
    close(c);
    CHECK_ERR(close(c), EBADF);
    struct rlimit limit, small;
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
    small = limit;
    small.rlim_cur = (rlim_t)a;
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &small));
    CHECK_ERR(open("/", O_RDONLY), EMFILE);
    CHECK_ERR(open("unmade", O_CREAT | O_WRONLY, 0600), EMFILE);
    CHECK_ERR(access("unmade", F_OK), ENOENT);
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
}

TEST(a_running_program_is_busy) {
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    REQUIRE(n > 0);
    self[n] = 0;
    /* EACCES and EROFS where the program is not ours to write. */
    CHECK(open(self, O_WRONLY) == -1 && (errno == ETXTBSY || errno == EACCES || errno == EROFS));
}

TEST_MAIN()
