/*
 * timeout: 120
 * run-args: --user 0
 *
 * What a guest can only read stays as it is, whoever is asked to write it: the stub's text, what
 * the kernel tells the stub (ids, descriptor tables), the pages of the guest's own maps without
 * write permission. And what is another process's stays out of reach: its slots, and its memory for
 * who has no right to it.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "host/slot.h"
#include "stub_probe.h"

#define PAGE 4096UL

static unsigned char *stub;

static sigjmp_buf store_failed;

static void on_fault(int signal) {
    siglongjmp(store_failed, signal);
}

/* Does a store there fault? What it would write is what stands there, if that can be read. */
static bool store_faults(volatile unsigned char *at) {
    volatile unsigned char byte = 0;

    if (sigsetjmp(store_failed, 0) == 0) {
        byte = *at;
    }
    if (sigsetjmp(store_failed, 0) == 0) {
        *at = byte;
        return false;
    }
    return true;
}

static void on_faults(void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_NODEFER};

    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

static bool find_stub(void) {
    stub = stub ? stub : stub_find();
    return stub != NULL;
}

TEST(stores_fault) {
    char line[512];
    unsigned long start, end;
    char mode[8];
    FILE *maps = fopen("/proc/self/maps", "r");

    REQUIRE(find_stub());
    REQUIRE(maps);
    on_faults(on_fault);
    for (unsigned long at = 0; at < STUB_TEXT_SIZE; at += PAGE) {
        CHECK(store_faults(stub + at));
        CHECK(store_faults(stub + at + PAGE - 1));
    }
    for (unsigned long at = 0; at < STUB_PUBLIC_SIZE; at += PAGE) {
        CHECK(store_faults(stub + STUB_PUBLIC_OFFSET + at));
    }
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx %7s", &start, &end, mode) == 3 && mode[1] != 'w') {
            CHECK(store_faults((unsigned char *)start));
            CHECK(store_faults((unsigned char *)end - 1));
        }
    }
    on_faults(SIG_DFL);
    fclose(maps);
    check_kernel_serves();
}

/* The kernel writes for nobody what he cannot write himself. */
TEST(calls_write_nothing_there) {
    REQUIRE(find_stub());
    unsigned char *places[] = {stub, stub + PAGE, stub + STUB_PUBLIC_OFFSET,
                               stub + STUB_PUBLIC_OFFSET + STUB_TABLES_OFFSET};
    char name[] = "/tmp/read_only_pages.XXXXXX", bytes[64] = "written";
    int file = mkstemp(name), ends[2], memory = open("/proc/self/mem", O_RDWR);

    REQUIRE(file >= 0 && memory >= 0);
    REQUIRE_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    CHECK_EQ(write(file, bytes, sizeof bytes), (long)sizeof bytes);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        void *to = places[i];
        struct iovec from = {bytes, sizeof bytes}, there = {to, sizeof bytes};

        for (int times = 0; times < 20; times++) { /* the first by the kernel, then by the stub */
            CHECK_ERR(pread(file, to, sizeof bytes, 0), EFAULT);
        }
        CHECK_EQ(write(ends[0], bytes, 8), 8);
        CHECK_ERR(read(ends[1], to, 8), EFAULT);
        CHECK_ERR(syscall(SYS_getcwd, to, 64), EFAULT);
        CHECK_ERR(syscall(SYS_clock_gettime, CLOCK_REALTIME, to), EFAULT);
        CHECK_ERR(syscall(SYS_uname, to), EFAULT);
        CHECK_ERR(process_vm_writev(getpid(), &from, 1, &there, 1, 0), EFAULT);
        CHECK(pwrite(memory, bytes, sizeof bytes, (off_t)(uintptr_t)to) == -1);
        CHECK(memcmp(to, bytes, 8) != 0);
    }
    unlink(name);
    close(file);
    close(memory);
    close(ends[0]);
    close(ends[1]);
    check_kernel_serves();
}

/* By the stub's own instructions: the host does not make them writable, neither where they are nor
 * elsewhere, and no descriptor of the process leads to them. */
static void ask_the_host(const unsigned char *site) {
    unsigned char *public = stub + STUB_PUBLIC_OFFSET, *tables = public + STUB_TABLES_OFFSET;
    unsigned char *pages[] = {public, tables, public + STUB_PUBLIC_SIZE - PAGE}, before[PAGE];
    const long rw = PROT_READ | PROT_WRITE;

    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        memcpy(before, pages[i], PAGE);
        CHECK_EQ(stub_call(site, SYS_mprotect, (long)pages[i], PAGE, rw), -EACCES);
        CHECK_EQ(stub_call(site, SYS_mprotect, (long)pages[i], PAGE, rw | PROT_EXEC), -EACCES);
        CHECK(stub_call(site, SYS_madvise, (long)pages[i], PAGE, MADV_REMOVE) < 0);
        for (long fd = 0; fd < 64; fd++) {
            unsigned char *copy =
                (unsigned char *)stub_call(site, SYS_mmap, 0, PAGE, rw, MAP_SHARED, fd);

            if ((unsigned long)copy < -4095ul) {
                ((volatile unsigned char *)copy)[PAGE - 1]++;
                CHECK_EQ(memcmp(before, pages[i], PAGE), 0);
                ((volatile unsigned char *)copy)[PAGE - 1]--;
                (void)stub_call(site, SYS_munmap, (long)copy, PAGE);
            }
        }
    }
    unsigned char *last = pages[2];
    long moved =
        stub_call(site, SYS_mremap, (long)last, 0, PAGE, MREMAP_MAYMOVE); /* another view of it */

    if ((unsigned long)moved < -4095ul) {
        CHECK_EQ(stub_call(site, SYS_mprotect, moved, PAGE, rw), -EACCES);
    }
}

TEST(the_host_keeps_them_read_only) {
    const unsigned char *site = stub_syscall_site();
    pid_t child;

    REQUIRE(find_stub());
    REQUIRE(site != NULL);
    child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        ask_the_host(site);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    check_kernel_serves();
}

/* A child has slots of its own: what stands in its parent's is not there. */
TEST(slots_are_not_shared) {
    REQUIRE(find_stub());
    volatile uint64_t *unused =
        (volatile uint64_t *)(stub + STUB_SLOTS_OFFSET + 4000 * STUB_SLOT_STRIDE);
    int to_child[2], to_parent[2];
    char byte = 'x';

    REQUIRE_OK(pipe(to_child));
    REQUIRE_OK(pipe(to_parent));
    *unused = 0x1111;
    pid_t child = fork();
    if (child == 0) {
        CHECK(*unused != 0x1111);
        *unused = 0x2222;
        CHECK_EQ(write(to_parent[1], &byte, 1), 1);
        CHECK_EQ(read(to_child[0], &byte, 1), 1);
        CHECK_EQ(*unused, 0x2222);
        CHILD_EXIT();
    }
    CHECK_EQ(read(to_parent[0], &byte, 1), 1);
    CHECK_EQ(*unused, 0x1111);
    *unused = 0x3333;
    CHECK_EQ(write(to_child[1], &byte, 1), 1);
    CHECK_CHILD_OK(child);
    CHECK_EQ(*unused, 0x3333);
}

/* ptrace(2), access mode checking: the memory of another user's process. */
TEST(memory_of_others) {
    static char secret[64] = "secret";
    pid_t child = fork();

    if (child == 0) {
        char copy[64] = "", name[64];
        struct iovec here = {copy, sizeof copy}, there = {secret, sizeof secret};
        pid_t parent = getppid();
        int fd;

        CHECK_OK(setgid(1234));
        CHECK_OK(setuid(1234));
        strcpy(secret, "overwritten"); /* this process's */
        CHECK_ERR(process_vm_readv(parent, &here, 1, &there, 1, 0), EPERM);
        CHECK_ERR(process_vm_writev(parent, &there, 1, &there, 1, 0), EPERM);
        snprintf(name, sizeof name, "/proc/%d/mem", parent);
        CHECK_ERR(fd = open(name, O_RDONLY), EACCES);
        CHECK_ERR(fd = open(name, O_RDWR), EACCES);
        snprintf(name, sizeof name, "/proc/%d/environ", parent);
        CHECK_ERR(fd = open(name, O_RDONLY), EACCES);
        snprintf(name, sizeof name, "/proc/%d/fd/0", parent);
        CHECK(readlink(name, copy, sizeof copy) == -1);
        CHECK(strcmp(copy, "secret") != 0);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    CHECK_STREQ(secret, "secret");
    check_kernel_serves();
}

TEST_MAIN()
