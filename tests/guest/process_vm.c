/* process_vm_readv(2), process_vm_writev(2): another process's memory. */
#include "guest_test.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define PAGE 4096

static struct child {
    pid_t pid;
    int go, ready;
    char *pages; /* at the same address in both: rw, r, none, rw */
} child;

/* A child with memory of its own at child.pages; it ends, checked, by end_child(). */
static void start_child(void) {
    int ready[2], go[2];
    char c;

    child.pages = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(child.pages != MAP_FAILED);
    REQUIRE_OK(pipe(ready));
    REQUIRE_OK(pipe(go));
    child.pid = fork();
    REQUIRE_OK(child.pid);
    if (child.pid == 0) {
        close(go[1]);
        for (int i = 0; i < 4; i++)
            memset(child.pages + i * PAGE, '0' + i, PAGE);
        mprotect(child.pages + PAGE, PAGE, PROT_READ);
        mprotect(child.pages + 2 * PAGE, PAGE, PROT_NONE);
        CHECK_EQ(write(ready[1], "x", 1), 1);
        CHECK_EQ(read(go[0], &c, 1), 1);
        CHECK_EQ(memcmp(child.pages + 10, "written", 7), 0);
        CHECK_EQ(child.pages[PAGE], '1');
        CHILD_EXIT();
    }
    close(go[0]);
    child.go = go[1];
    REQUIRE_EQ(read(ready[0], &c, 1), 1);
    close(ready[0]);
    close(ready[1]);
}

static ssize_t get(void *to, size_t size, size_t offset, size_t count) {
    struct iovec local = {to, size}, remote = {child.pages + offset, count};
    return process_vm_readv(child.pid, &local, 1, &remote, 1, 0);
}

static ssize_t put(const void *from, size_t offset, size_t size) {
    struct iovec local = {(void *)from, size}, remote = {child.pages + offset, size};
    return process_vm_writev(child.pid, &local, 1, &remote, 1, 0);
}

static void end_child(void) {
    CHECK_EQ(put("written", 10, 7), 7);
    CHECK_EQ(write(child.go, "x", 1), 1);
    CHECK_CHILD_OK(child.pid);
    close(child.go);
    munmap(child.pages, 4 * PAGE);
}

TEST(reads_and_protections) {
    static char buffer[4 * PAGE];

    start_child();
    CHECK_EQ(get(buffer, 100, 5, 100), 100);
    CHECK_EQ(buffer[99], '0');
    CHECK_EQ(get(buffer, 50, 0, 100), 50); /* the smaller of the two */
    CHECK_EQ(get(buffer, 100, 0, 50), 50);
    CHECK_EQ(get(buffer, sizeof buffer, 0, 4 * PAGE), 2 * PAGE); /* as far as it goes */
    CHECK_EQ(buffer[2 * PAGE - 1], '1');
    CHECK_ERR(get(buffer, 10, 2 * PAGE, 10), EFAULT);
    CHECK_ERR(put("x", PAGE, 1), EFAULT);
    CHECK_ERR(put("x", 2 * PAGE, 1), EFAULT);
    CHECK_EQ(put(buffer, PAGE - 1, 2), 1);
    CHECK_EQ(child.pages[10], 0); /* the parent's own is another */
    end_child();
}

TEST(vectors) {
    char a[3] = "", b[6] = "";
    struct iovec local[3] = {{a, 2}, {NULL, 0}, {b, 5}};

    start_child();
    struct iovec remote[4] = {{child.pages + PAGE - 1, 2},
                              {NULL, 0},
                              {child.pages + 3 * PAGE, 1},
                              {child.pages + 3 * PAGE - 1, 2}};
    CHECK_EQ(process_vm_readv(child.pid, local, 3, remote, 4, 0), 3);
    CHECK_STREQ(a, "01");
    CHECK_STREQ(b, "3");
    local[2].iov_base = (void *)8;
    CHECK_EQ(process_vm_readv(child.pid, local, 3, remote, 4, 0), 2);
    CHECK_EQ(process_vm_readv(child.pid, local, 0, remote, 4, 0), 0);
    CHECK_EQ(process_vm_readv(child.pid, local, 3, remote, 0, 0), 0);
    CHECK_ERR(process_vm_readv(child.pid, local, 3, remote, 4, 1), EINVAL);
    CHECK_ERR(process_vm_readv(child.pid, local, 2000, remote, 4, 0), EINVAL);
    CHECK_ERR(process_vm_readv(child.pid, local, 3, remote, 2000, 0), EINVAL);
    CHECK_ERR(process_vm_readv(child.pid, local, 3, (void *)8, 4, 0), EFAULT);
    CHECK_ERR(process_vm_readv(child.pid, (void *)8, 3, remote, 4, 0), EFAULT);
    end_child();
}

TEST(whom) {
    char mine[] = "mine", seen[5] = "";
    struct iovec local = {seen, 5}, remote = {mine, 5};

    CHECK_EQ(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), 5);
    CHECK_STREQ(seen, "mine");
    start_child();
    end_child();
    CHECK_ERR(process_vm_readv(child.pid, &local, 1, &remote, 1, 0), ESRCH);
    pid_t other = fork();
    if (other == 0) {
        if (geteuid() == 0) {
            REQUIRE_OK(setgid(65534));
            REQUIRE_OK(setuid(65534));
            CHECK_ERR(process_vm_readv(getppid(), &local, 1, &remote, 1, 0), EPERM);
        }
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(other);
}

/* A reader, while the memory goes away and comes back. */
static void *comes_and_goes(void *arg) {
    for (int i = 0; i < 2000; i++) {
        mmap(arg, PAGE, i & 1 ? PROT_NONE : PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    }
    return NULL;
}

TEST(races_with_mmap) {
    char *page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), byte;
    struct iovec local = {&byte, 1}, remote = {page, 1};
    pthread_t thread;

    REQUIRE_EQ(pthread_create(&thread, NULL, comes_and_goes, page), 0);
    for (int i = 0; i < 2000; i++) {
        ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
        CHECK(got == 1 || (got == -1 && errno == EFAULT));
        got = process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
        CHECK(got == 1 || (got == -1 && errno == EFAULT));
    }
    pthread_join(thread, NULL);
}

TEST_MAIN()
