/* read(2), write(2) and their families on files: positions, appends, vectors, faults in the middle,
 * limits, copies. */
#include "guest_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* An address where nothing is mapped; the compiler shall not know. */
static char *volatile nowhere = (char *)8;

static int make(const char *name, const char *text) {
    int fd = open(name, O_CREAT | O_TRUNC | O_RDWR, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static const char *content(const char *name) {
    static char text[256];
    int fd = open(name, O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return text;
}

/* Two pages of which the second is not there. */
static char *edge(void) {
    long page = sysconf(_SC_PAGESIZE);
    char *p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    CHECK_OK(munmap(p + page, page));
    return p + page;
}

TEST(positions) {
    int fd = make("p", "0123456789");
    int twin = dup(fd), other = open("p", O_RDWR);
    char b[8] = {0};
    CHECK_EQ(read(fd, b, 3), 3);
    CHECK_EQ(lseek(twin, 0, SEEK_CUR), 3);
    CHECK_EQ(lseek(other, 0, SEEK_CUR), 0);
    CHECK_EQ(pread(fd, b, 2, 8), 2);
    CHECK_EQ(b[0], '8');
    CHECK_EQ(pread(fd, b, 2, 10), 0);
    CHECK_EQ(pread(fd, b, 2, 1000), 0);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 3);
    CHECK_ERR(pread(fd, b, 2, -1), EINVAL);
    CHECK_ERR(lseek(fd, -1, SEEK_SET), EINVAL);
    CHECK_ERR(lseek(fd, 0, 99), EINVAL);
    CHECK_EQ(lseek(fd, 5, SEEK_END), 15);
    CHECK_EQ(read(fd, b, 2), 0);
    CHECK_EQ(write(fd, "x", 1), 1);
    struct stat st;
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_size, 16);
    CHECK_EQ(pread(fd, b, 6, 10), 6);
    CHECK_EQ(b[0], 0);
    CHECK_EQ(b[5], 'x');
    lseek(fd, 0, SEEK_SET);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_EQ(read(fd, b, 4), 4);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 4);
}

TEST(append) {
    int fd = make("a", "start");
    int end = open("a", O_WRONLY | O_APPEND);
    CHECK_EQ(write(end, "1", 1), 1);
    CHECK_EQ(lseek(end, 0, SEEK_SET), 0);
    CHECK_EQ(write(end, "2", 1), 1);
    CHECK_EQ(lseek(end, 0, SEEK_CUR), 7);
    CHECK_EQ(pwrite(end, "3", 1, 0), 1); /* pwrite(2) BUGS: appends all the same */
    CHECK_STREQ(content("a"), "start123");
    CHECK_OK(fcntl(fd, F_SETFL, O_APPEND));
    CHECK_EQ(write(fd, "4", 1), 1);
    CHECK_OK(fcntl(fd, F_SETFL, 0));
    lseek(fd, 0, SEEK_SET);
    CHECK_EQ(write(fd, "S", 1), 1);
    CHECK_STREQ(content("a"), "Start1234");
}

static void append_lines(const char *name, char c) {
    int fd = open(name, O_WRONLY | O_APPEND);
    char line[5000];
    memset(line, c, sizeof line - 1);
    line[sizeof line - 1] = '\n';
    for (int i = 0; i < 50; i++)
        CHECK_EQ(write(fd, line, sizeof line), sizeof line);
}

TEST(appends_do_not_mix) {
    close(make("mix", ""));
    pid_t pids[4];
    for (int i = 0; i < 4; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            append_lines("mix", 'a' + i);
            CHILD_EXIT();
        }
    }
    for (int i = 0; i < 4; i++)
        CHECK_CHILD_OK(pids[i]);
    FILE *f = fopen("mix", "r");
    static char line[6000];
    int lines = 0;
    while (fgets(line, sizeof line, f)) {
        lines++;
        CHECK_EQ(strlen(line), 5000);
        CHECK_EQ(strspn(line, (char[]){line[0], 0}), 4999);
    }
    fclose(f);
    CHECK_EQ(lines, 200);
}

TEST(vectors) {
    int fd = make("v", "");
    struct iovec iov[3] = {{(char *)"ab", 2}, {NULL, 0}, {(char *)"cde", 3}};
    CHECK_EQ(writev(fd, iov, 3), 5);
    CHECK_EQ(pwritev(fd, iov, 3, 10), 5);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 5);
    char a[4] = {0}, b[16] = {0};
    struct iovec in[2] = {{a, 3}, {b, 15}};
    CHECK_EQ(preadv(fd, in, 2, 0), 15);
    CHECK_STREQ(a, "abc");
    CHECK_EQ(memcmp(b, "de\0\0\0\0\0abcde", 12), 0);
    CHECK_EQ(preadv2(fd, in, 2, -1, 0), 10);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 15);
    CHECK_ERR(preadv2(fd, in, 2, -2, 0), EINVAL);
    CHECK_ERR(preadv2(fd, in, 2, 0, 0x4000), EOPNOTSUPP);
    int many = nowhere ? 1025 : 0;
    CHECK_ERR(readv(fd, in, nowhere ? -1 : 0), EINVAL);
    CHECK_ERR(readv(fd, in, many), EINVAL);
    CHECK_EQ(readv(fd, in, 0), 0);
    struct iovec bad = {a, (size_t)-1};
    CHECK_ERR(writev(fd, &bad, 1), EINVAL);
    CHECK_ERR(readv(fd, (struct iovec *)nowhere, 1), EFAULT);
    int p[2];
    CHECK_OK(pipe(p));
    CHECK_ERR(preadv(p[0], in, 1, 0), ESPIPE);
    CHECK_ERR(pwrite(p[1], "x", 1, 0), ESPIPE);
    CHECK_ERR(lseek(p[0], 0, SEEK_CUR), ESPIPE);
}

TEST(wrong_descriptors) {
    close(make("wrong", "text"));
    int r = open("wrong", O_RDONLY), w = open("wrong", O_WRONLY), d = open(".", O_RDONLY);
    int path = open("wrong", O_PATH);
    char b[4];
    CHECK_ERR(write(r, "x", 1), EBADF);
    CHECK_ERR(read(w, b, 1), EBADF);
    CHECK_ERR(read(d, b, 1), EISDIR);
    CHECK_ERR(read(path, b, 1), EBADF);
    CHECK_ERR(write(path, b, 1), EBADF);
    CHECK_ERR(lseek(path, 0, SEEK_CUR), EBADF);
    CHECK_ERR(read(999, b, 1), EBADF);
    CHECK_ERR(read(-1, b, 1), EBADF);
    CHECK_EQ(read(r, NULL, 0), 0);
    CHECK_ERR(read(r, nowhere, 1), EFAULT);
    CHECK_ERR(write(w, nowhere, 1), EFAULT);
    CHECK_ERR(fsync(999), EBADF);
    CHECK_OK(fsync(w));
    CHECK_OK(fdatasync(r));
    int p[2];
    CHECK_OK(pipe(p));
    CHECK_ERR(fsync(p[0]), EINVAL);
}

TEST(fault_in_the_middle) {
    int fd = make("fault", "0123456789");
    char *end = edge();
    CHECK_EQ(read(fd, end - 4, 10), 4);
    CHECK_EQ(memcmp(end - 4, "0123", 4), 0);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 4);
    CHECK_ERR(read(fd, end, 4), EFAULT);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 4);
    memcpy(end - 3, "xyz", 3);
    CHECK_EQ(pwrite(fd, end - 3, 8, 0), 3);
    CHECK_STREQ(content("fault"), "xyz3456789");
    CHECK_ERR(pwrite(fd, end, 8, 0), EFAULT);
    struct iovec iov[2] = {{end - 2, 2}, {end, 5}};
    CHECK_EQ(writev(fd, iov, 2), 2);
    CHECK_STREQ(content("fault"), "xyz3yz6789");
}

/* Larger than any buffer in between. */
TEST(large) {
    size_t size = 5 << 20;
    char *a = malloc(size), *b = malloc(size);
    for (size_t i = 0; i < size; i++)
        a[i] = (char)(i * 7 + (i >> 12));
    int fd = make("large", "");
    CHECK_EQ(write(fd, a, size), size);
    CHECK_EQ(pread(fd, b, size, 0), size);
    CHECK(memcmp(a, b, size) == 0);
    CHECK_EQ(pread(fd, b, size, 100), size - 100);
    CHECK(memcmp(a + 100, b, size - 100) == 0);
    int zero = open("/dev/zero", O_RDONLY);
    CHECK_EQ(read(zero, b, size), size);
    CHECK_EQ(b[0] | b[size / 2] | b[size - 1], 0);
    int null = open("/dev/null", O_WRONLY);
    CHECK_EQ(write(null, a, size), size);
    int random = open("/dev/urandom", O_RDONLY);
    CHECK_EQ(read(random, b, 300000), 300000);
    free(a);
    free(b);
}

static volatile sig_atomic_t got;
static void handler(int signal) {
    got = signal;
}

TEST(size_limit) {
    pid_t pid = fork();
    if (pid == 0) {
        got = 0;
        signal(SIGXFSZ, handler);
        CHECK_OK(setrlimit(RLIMIT_FSIZE, &(struct rlimit){10, 10}));
        int fd = make("limit", "12345678");
        lseek(fd, 8, SEEK_SET);
        CHECK_EQ(write(fd, "abcd", 4), 2);
        CHECK_EQ(got, 0);
        CHECK_ERR(write(fd, "abcd", 4), EFBIG);
        CHECK_EQ(got, SIGXFSZ);
        got = 0;
        CHECK_ERR(ftruncate(fd, 11), EFBIG);
        CHECK_EQ(got, SIGXFSZ);
        CHECK_OK(ftruncate(fd, 10));
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
}

/* As with write: what fits is copied, the signal comes when nothing fits; and at the end of what is
 * copied from, there is nothing to complain about. */
TEST(size_limit_of_copies) {
    pid_t pid = fork();
    if (pid == 0) {
        int p[2], from = make("from", "0123456789abcdef"), to = make("to", "");
        off_t at = 0;
        got = 0;
        signal(SIGXFSZ, handler);
        CHECK_OK(pipe(p));
        CHECK_EQ(write(p[1], "0123456789abcdef", 16), 16);
        CHECK_OK(setrlimit(RLIMIT_FSIZE, &(struct rlimit){10, 10}));
        CHECK_EQ(copy_file_range(from, &at, to, NULL, 8, 0), 8);
        CHECK_EQ(copy_file_range(from, &at, to, NULL, 8, 0), 2);
        CHECK_EQ(got, 0);
        CHECK_EQ(at, 10);
        CHECK_ERR(copy_file_range(from, &at, to, NULL, 6, 0), EFBIG);
        CHECK_EQ(got, SIGXFSZ);
        got = 0;
        at = 16;
        CHECK_EQ(sendfile(to, from, &at, 6), 0);
        CHECK_EQ(got, 0);
        at = 4;
        CHECK_EQ(splice(p[0], NULL, to, &at, 6, 0), 6);
        CHECK_EQ(at, 10);
        CHECK_EQ(got, 0);
        CHECK_ERR(splice(p[0], NULL, to, &at, 6, 0), EFBIG);
        CHECK_EQ(got, SIGXFSZ);
        close(p[1]);
        char rest[16];
        CHECK_EQ(read(p[0], rest, sizeof rest), 10); /* what did not fit is still there */
        got = 0;
        CHECK_EQ(splice(p[0], NULL, to, &at, 6, 0), 0);
        CHECK_EQ(got, 0);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
}

TEST(broken_pipe) {
    int p[2];
    signal(SIGPIPE, handler);
    got = 0;
    CHECK_OK(pipe(p));
    close(p[0]);
    CHECK_ERR(write(p[1], "x", 1), EPIPE);
    CHECK_EQ(got, SIGPIPE);
    signal(SIGPIPE, SIG_DFL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)!write(p[1], "x", 1);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
}

TEST(send_file) {
    int in = make("in", "0123456789"), out = make("out", ""), p[2];
    off_t offset = 2;
    CHECK_EQ(sendfile(out, in, &offset, 3), 3);
    CHECK_EQ(offset, 5);
    CHECK_EQ(lseek(in, 0, SEEK_CUR), 0);
    CHECK_EQ(sendfile(out, in, NULL, 100), 10);
    CHECK_EQ(lseek(in, 0, SEEK_CUR), 10);
    CHECK_STREQ(content("out"), "2340123456789");
    CHECK_EQ(sendfile(out, in, NULL, 100), 0);
    CHECK_OK(pipe(p));
    offset = 8;
    CHECK_EQ(sendfile(p[1], in, &offset, 100), 2);
    char b[4] = {0};
    CHECK_EQ(read(p[0], b, 4), 2);
    CHECK_STREQ(b, "89");
    CHECK_ERR(sendfile(in, 999, NULL, 1), EBADF);
    offset = -1;
    CHECK_ERR(sendfile(out, in, &offset, 1), EINVAL);
    /* The offset is written even when nothing was sent. */
    off_t *constant = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(constant != MAP_FAILED);
    CHECK_ERR(sendfile(out, in, constant, 1), EFAULT);
    CHECK_OK(ftruncate(in, 0));
    CHECK_ERR(sendfile(out, in, constant, 1), EFAULT);
    CHECK_OK(munmap(constant, 4096));
    int appender = open("out", O_WRONLY | O_APPEND);
    CHECK_ERR(sendfile(appender, in, NULL, 1), EINVAL);
}

TEST(copy_range) {
    int in = make("cin", "0123456789"), out = make("cout", "abcdefghij");
    off64_t from = 4, to = 2;
    CHECK_EQ(copy_file_range(in, &from, out, &to, 3, 0), 3);
    CHECK_EQ(from, 7);
    CHECK_EQ(to, 5);
    CHECK_STREQ(content("cout"), "ab456fghij");
    CHECK_EQ(copy_file_range(in, NULL, out, NULL, 2, 0), 2);
    CHECK_EQ(lseek(in, 0, SEEK_CUR), 2);
    CHECK_EQ(lseek(out, 0, SEEK_CUR), 2);
    CHECK_STREQ(content("cout"), "01456fghij");
    from = 10;
    CHECK_EQ(copy_file_range(in, &from, out, NULL, 5, 0), 0);
    CHECK_ERR(copy_file_range(in, NULL, out, NULL, 5, 1), EINVAL);
    from = 0, to = 1;
    CHECK_ERR(copy_file_range(in, &from, in, &to, 5, 0), EINVAL);
    int d = open(".", O_RDONLY), p[2];
    CHECK_ERR(copy_file_range(d, NULL, out, NULL, 5, 0), EISDIR);
    CHECK_OK(pipe(p));
    CHECK_ERR(copy_file_range(p[0], NULL, out, NULL, 5, 0), EINVAL);
}

TEST(holes_and_allocation) {
    int fd = make("hole", "");
    CHECK_EQ(pwrite(fd, "x", 1, 1 << 20), 1);
    CHECK_EQ(lseek(fd, 0, SEEK_DATA), 1 << 20);
    CHECK_EQ(lseek(fd, 0, SEEK_HOLE), 0);
    CHECK_ERR(lseek(fd, 2 << 20, SEEK_DATA), ENXIO);
    CHECK_OK(fallocate(fd, 0, 0, 2 << 20));
    struct stat st;
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_size, 2 << 20);
    CHECK_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 4096));
    char b = 1;
    CHECK_EQ(pread(fd, &b, 1, 1 << 20), 1);
    CHECK_EQ(b, 0);
    CHECK_ERR(fallocate(fd, 0, -1, 1), EINVAL);
    CHECK_ERR(fallocate(fd, 0, 0, 0), EINVAL);
    CHECK_ERR(fallocate(fd, 0x4000, 0, 1), EOPNOTSUPP);
    int r = open("hole", O_RDONLY);
    CHECK_ERR(fallocate(r, 0, 0, 1), EBADF);
    CHECK_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL), 0);
    CHECK_EQ(posix_fadvise(fd, 0, 0, 77), EINVAL);
    CHECK_EQ(posix_fadvise(999, 0, 0, 0), EBADF);
    CHECK_OK(readahead(fd, 0, 4096));
    CHECK_OK(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
    CHECK_OK(syncfs(fd));
}

/* More than the file system can ever hold is refused before any of it is taken. */
TEST(allocation_without_end) {
    int fd = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);
    struct stat st;

    CHECK_OK(fd);
    CHECK_EQ(pwrite(fd, "x", 1, 100000), 1);
    CHECK_ERR(fallocate(fd, 0, 0, 1l << 44), ENOSPC);
    CHECK_ERR(fallocate(fd, FALLOC_FL_KEEP_SIZE, 4096, 1l << 60), ENOSPC);
    CHECK_ERR(fallocate(fd, 0, 1, INT64_MAX - 1), ENOSPC);
    CHECK_OK(fallocate(fd, 0, 0, 40 << 20));
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_size, 40 << 20);
    CHECK_OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 40 << 20, 20 << 20));
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_size, 40 << 20);
    CHECK_EQ(st.st_blocks, 60 << 11);
}

/* Threads and processes that share a position take turns: no byte is read twice. */
TEST(shared_position) {
    int fd = make("turns", "");
    char block[1000];
    for (int i = 0; i < 400; i++) {
        memset(block, i & 0xff, sizeof block);
        CHECK_EQ(write(fd, block, sizeof block), sizeof block);
    }
    lseek(fd, 0, SEEK_SET);
    int p[2];
    CHECK_OK(pipe(p));
    for (int i = 0; i < 4; i++) {
        if (fork() == 0) {
            while (read(fd, block, sizeof block) == (ssize_t)sizeof block) {
                CHECK_EQ(block[0], block[sizeof block - 1]);
                CHECK_EQ(write(p[1], block, 1), 1);
            }
            CHILD_EXIT();
        }
    }
    close(p[1]);
    int count = 0;
    while (read(p[0], block, 1) == 1)
        count++;
    CHECK_EQ(count, 400);
    int status;
    while (wait(&status) > 0)
        CHECK_EQ(status, 0);
}

TEST_MAIN()
