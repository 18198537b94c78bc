/*
 * The descriptor page: fs/fd_page.c and fd_table.c on the kernel's side, the stub's own code
 * (stub/descriptor.c, linked in here) on the other, over memory that stands for the guest's.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "fs/vfs_internal.h"
#include "host/host_internal.h"
#include "vfs_test.h"

/* stub_internal.h, whose other names are the C library's here. */
int descriptor_call(const struct stub_thread *thread, uint32_t number, const uint64_t args[6],
                    int64_t *result);
int descriptor_noted(const struct stub_thread *thread, uint64_t fd);

#define ASKS_KERNEL 1000000 /* no result of a call */

struct world {
    struct vfs_test t;
    char *memory;
    struct slot_public *public;
    struct stub_thread stub;
    struct host_process *process;
    struct host_thread *thread;
    struct fd_table *table;
};

static void world_make(struct world *w) {
    struct host_job *job = host_job_new_mock();

    vfs_test_start(&w->t, 0);
    fd_page_enable();
    w->memory = mmap(NULL, STUB_TOTAL_SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(w->memory, MAP_FAILED);
    w->public = (struct slot_public *)(w->memory + STUB_PUBLIC_OFFSET);
    *w->public = (struct slot_public){.flags = SLOT_PUBLIC_LOCAL, .table = STUB_TABLES_OFFSET};
    w->stub = (struct stub_thread){.public = w->public, .stub_base = (uint64_t)w->memory};
    w->process = host_process_new_mock(job);
    w->process->table = (struct slot_fd *)((char *)w->public + STUB_TABLES_OFFSET);
    w->process->notes = ((struct slot *)(w->memory + STUB_SLOTS_OFFSET))->notes;
    w->thread = host_thread_new_mock(w->process);
    w->table = fd_table_new();
    fd_table_before_resume(w->table, w->thread);
    host_job_put(job);
}

static void world_free(struct world *w) {
    fd_table_put(w->table);
    host_thread_put(w->thread);
    host_process_put(w->process);
    munmap(w->memory, STUB_TOTAL_SIZE);
    vfs_test_finish(&w->t);
}

static int64_t stub_call(struct world *w, uint32_t number, int fd, uint64_t a, uint64_t b) {
    const uint64_t args[6] = {(uint32_t)fd, a, b};
    int64_t result = 0;

    return descriptor_call(&w->stub, number, args, &result) ? result : ASKS_KERNEL;
}

static int64_t stub_close(struct world *w, int fd) {
    return stub_call(w, SYS_close, fd, 0, 0);
}

static int64_t stub_getfd(struct world *w, int fd) {
    return stub_call(w, SYS_fcntl, fd, F_GETFD, 0);
}

static int open_fd(struct world *w, const char *name, int flags) {
    struct file *file;
    int fd;

    assert_int_equal(vfs_open(&w->t.walk, name, flags, 0600, 0, &file), 0);
    fd = fd_table_install(w->table, file, 0, 1024, flags & O_CLOEXEC);
    file_put(file);
    return fd;
}

/* Borrowed from a descriptor that keeps it. */
static struct file *file_of(struct world *w, int fd) {
    struct file *file = fd_table_get(w->table, fd);

    assert_non_null(file);
    file_put(file);
    return file;
}

static bool is_open(struct world *w, int fd) {
    struct file *file = fd_table_get(w->table, fd);

    if (file) {
        file_put(file);
    }
    return file != NULL;
}

static void test_answers(void **state) {
    struct world w;
    int rw, dir;

    world_make(&w);
    rw = open_fd(&w, "/f", O_CREAT | O_RDWR | O_APPEND);
    dir = open_fd(&w, "/", O_RDONLY | O_CLOEXEC);
    assert_int_equal(stub_getfd(&w, rw), 0);
    assert_int_equal(stub_getfd(&w, dir), FD_CLOEXEC);
    assert_int_equal(stub_call(&w, SYS_fcntl, rw, F_GETFL, 0), O_RDWR | O_APPEND);
    assert_int_equal(stub_call(&w, SYS_fcntl, dir, F_SETFD, FD_CLOEXEC), 0);
    assert_int_equal(stub_call(&w, SYS_fcntl, dir, F_SETFD, 0), ASKS_KERNEL);
    assert_int_equal(fd_table_set_flags(w.table, dir, 0), 0);
    assert_int_equal(stub_getfd(&w, dir), 0);
    assert_int_equal(stub_call(&w, SYS_ioctl, rw, TCGETS, 0), -ENOTTY);
    assert_int_equal(stub_call(&w, SYS_ioctl, rw, FIONREAD, 0), ASKS_KERNEL);
    assert_int_equal(stub_call(&w, SYS_fcntl, rw, F_DUPFD, 0), ASKS_KERNEL);
    assert_int_equal(stub_call(&w, SYS_dup, rw, 0, 0), ASKS_KERNEL);
    /* Not open, not shown, no number of a descriptor. */
    assert_int_equal(stub_getfd(&w, 7), ASKS_KERNEL);
    assert_int_equal(stub_getfd(&w, -1), ASKS_KERNEL);
    assert_int_equal(stub_getfd(&w, SLOT_SHOWN_FDS), ASKS_KERNEL);
    atomic_store(&file_of(&w, rw)->flags, O_RDWR | O_NONBLOCK);
    fd_page_refresh(file_of(&w, rw)->inode);
    assert_int_equal(stub_call(&w, SYS_fcntl, rw, F_GETFL, 0), O_RDWR | O_NONBLOCK);
    w.public->flags = 0;
    assert_int_equal(stub_getfd(&w, rw), ASKS_KERNEL);
    world_free(&w);
}

static void test_close(void **state) {
    struct inode *inode;
    struct world w;
    int fd, writes;

    world_make(&w);
    writes = open_fd(&w, "/f", O_CREAT | O_RDWR);
    inode = file_of(&w, writes)->inode;
    fd = open_fd(&w, "/f", O_RDONLY);
    assert_int_equal(atomic_load(&inode->shown), 2);
    assert_int_equal(stub_close(&w, writes), ASKS_KERNEL);
    assert_int_equal(stub_close(&w, fd), 0);
    assert_int_equal(stub_close(&w, fd), -EBADF);
    assert_int_equal(stub_getfd(&w, fd), ASKS_KERNEL);
    assert_true(descriptor_noted(&w.stub, (uint64_t)fd));
    fd_table_begin_call(w.table);
    assert_false(is_open(&w, fd));
    assert_false(descriptor_noted(&w.stub, (uint64_t)fd));
    assert_int_equal(stub_close(&w, fd), ASKS_KERNEL);
    /* The number again: another word, to which no old note belongs. */
    assert_int_equal(open_fd(&w, "/f", O_RDONLY), fd);
    assert_int_equal(stub_getfd(&w, fd), 0);
    assert_int_equal(atomic_load(&inode->shown), 2);
    /* Two that would use one place. */
    assert_int_equal(fd_table_replace(w.table, fd + SLOT_NOTES, file_of(&w, fd), 1024, false),
                     fd + SLOT_NOTES);
    assert_int_equal(stub_close(&w, fd), 0);
    assert_int_equal(stub_close(&w, fd + SLOT_NOTES), ASKS_KERNEL);
    /* The kernel comes to close what the stub has closed already: that other one has. */
    assert_int_equal(fd_table_close(w.table, fd), -EBADF);
    assert_false(is_open(&w, fd));
    assert_int_equal(fd_table_close(w.table, fd + SLOT_NOTES), 0);
    /* dup2(2) onto a closed one. */
    assert_int_equal(open_fd(&w, "/f", O_RDONLY), fd);
    assert_int_equal(stub_close(&w, fd), 0);
    assert_int_equal(fd_table_replace(w.table, fd, file_of(&w, writes), 1024, true), fd);
    assert_int_equal(stub_getfd(&w, fd), FD_CLOEXEC);
    fd_table_begin_call(w.table);
    assert_true(is_open(&w, fd));
    world_free(&w);
}

static void test_what_is_seen(void **state) {
    struct flock lock = {.l_type = F_RDLCK};
    struct world w;
    int fd, other;

    world_make(&w);
    assert_int_equal(fd_table_close(w.table, open_fd(&w, "/f", O_CREAT | O_RDWR)), 0);
    /* Closed just before it would be seen: it is closed. */
    fd = open_fd(&w, "/f", O_RDONLY);
    other = open_fd(&w, "/f", O_RDONLY);
    assert_int_equal(stub_close(&w, fd), 0);
    assert_int_equal(file_lock_posix(file_of(&w, other), w.table, 1, F_SETLK, &lock), 0);
    assert_false(is_open(&w, fd));
    assert_int_equal(stub_close(&w, other), ASKS_KERNEL);
    assert_int_equal(stub_getfd(&w, other), 0);
    assert_int_equal(fd_table_close(w.table, other), 0);
    /* A name goes. */
    assert_int_equal(fd_table_close(w.table, open_fd(&w, "/g", O_CREAT | O_RDWR)), 0);
    fd = open_fd(&w, "/g", O_RDONLY);
    other = open_fd(&w, "/g", O_RDONLY);
    assert_int_equal(stub_close(&w, fd), 0);
    assert_int_equal(vfs_unlink(&w.t.walk, "/g"), 0);
    assert_false(is_open(&w, fd));
    assert_int_equal(stub_close(&w, other), ASKS_KERNEL);
    /* Somebody watches. */
    fd = open_fd(&w, "/", O_RDONLY);
    other = open_fd(&w, "/", O_RDONLY);
    assert_int_equal(stub_close(&w, fd), 0);
    donation_hold();
    assert_false(is_open(&w, fd));
    assert_int_equal(stub_close(&w, other), ASKS_KERNEL);
    donation_release();
    fd = open_fd(&w, "/", O_RDONLY);
    assert_int_equal(stub_close(&w, fd), 0);
    fd_page_refresh(NULL);
    assert_false(is_open(&w, fd));
    world_free(&w);
}

/* Every word that is no note of a closable descriptor as it is shown now. */
static void test_forged(void **state) {
    struct world w;
    uint64_t shown, closable;
    int writes, reads;

    world_make(&w);
    writes = open_fd(&w, "/f", O_CREAT | O_RDWR);
    reads = open_fd(&w, "/f", O_RDONLY);
    shown = w.process->table[writes].shown;
    closable = w.process->table[reads].shown;
    const uint64_t words[] = {
        ~0ull,
        1,
        0x80000000ull,
        0x80000000ull | SLOT_SHOWN_FDS,
        0x80000000ull | 0x7fffffff,
        SLOT_NOTE(shown, (unsigned)writes),
        SLOT_NOTE(closable - (1ull << 32), (unsigned)reads),
        SLOT_NOTE(closable + (1ull << 32), (unsigned)reads),
        SLOT_NOTE(closable, (unsigned)reads) & ~0x80000000ull,
        SLOT_NOTE(closable, 200u),
    };
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        for (size_t k = 0; k < SLOT_NOTES; k++) {
            w.process->notes[k] = words[i];
        }
        fd_table_begin_call(w.table);
        fd_page_refresh(NULL);
        assert_true(is_open(&w, writes));
        assert_true(is_open(&w, reads));
    }
    /* In another's place it is none either. */
    w.process->notes[(unsigned)(reads + 1) % SLOT_NOTES] = SLOT_NOTE(closable, (unsigned)reads);
    w.process->notes[(unsigned)reads % SLOT_NOTES] = 0;
    fd_table_begin_call(w.table);
    assert_true(is_open(&w, reads));
    world_free(&w);
}

static void test_tables(void **state) {
    struct host_thread *thread;
    struct host_process *process;
    struct fd_table *copy;
    struct world w;
    int fd, kept;

    world_make(&w);
    kept = open_fd(&w, "/f", O_CREAT | O_RDWR);
    fd = open_fd(&w, "/f", O_RDONLY);
    copy = fd_table_fork(w.table);
    assert_int_equal(stub_close(&w, fd), 0);
    fd_table_settle(w.table);
    assert_false(is_open(&w, fd));
    /* The copy is nobody's yet, and not concerned. */
    fd_table_settle(copy);
    assert_int_equal(fd_table_get_flags(copy, fd), 0);
    fd_table_put(copy);
    /* A second process uses the table: what was closed is, and nothing is shown. */
    fd = open_fd(&w, "/f", O_RDONLY);
    assert_int_equal(stub_close(&w, fd), 0);
    process = host_process_new_mock(w.process->job);
    thread = host_thread_new_mock(process);
    fd_table_before_resume(w.table, thread);
    assert_false(is_open(&w, fd));
    assert_int_equal(stub_getfd(&w, kept), ASKS_KERNEL);
    assert_int_equal(open_fd(&w, "/f", O_RDONLY), fd);
    assert_int_equal(stub_close(&w, fd), ASKS_KERNEL);
    assert_int_equal(atomic_load(&file_of(&w, kept)->inode->shown), 0);
    host_thread_put(thread);
    host_process_put(process);
    world_free(&w);
    /* exec: another process. */
    world_make(&w);
    kept = open_fd(&w, "/f", O_CREAT | O_RDWR);
    fd = open_fd(&w, "/f", O_RDONLY);
    assert_int_equal(stub_close(&w, fd), 0);
    fd_table_leave_process(w.table);
    assert_false(is_open(&w, fd));
    assert_int_equal(stub_getfd(&w, kept), ASKS_KERNEL);
    world_free(&w);
}

/* ---- the two sides at once ---- */

#define ROUNDS 20000

struct racer {
    struct world *w;
    _Atomic int fd, round, ready;
    int closed;
};

/* Without sleeping as long as both have a core. */
static void await(_Atomic int *what, int round) {
    for (int spins = 0; atomic_load(what) < round; spins++) {
        if (spins > 1000) {
            sched_yield();
        }
    }
}

static void *race_close(void *arg) {
    struct racer *racer = arg;

    for (int round = 1; round <= ROUNDS; round++) {
        await(&racer->round, round);
        racer->closed = stub_close(racer->w, atomic_load(&racer->fd)) == 0;
        atomic_store(&racer->ready, round);
    }
    return NULL;
}

/* One of the two has closed it, whatever the kernel does at that moment. */
static void test_race(void **state) {
    struct world w;
    struct racer racer = {.w = &w};
    pthread_t thread;
    int by_stub = 0;

    world_make(&w);
    assert_int_equal(fd_table_close(w.table, open_fd(&w, "/f", O_CREAT | O_RDWR)), 0);
    assert_int_equal(pthread_create(&thread, NULL, race_close, &racer), 0);
    for (int round = 1; round <= ROUNDS; round++) {
        int fd = open_fd(&w, "/f", O_RDONLY), closed;

        atomic_store(&racer.fd, fd);
        atomic_store(&racer.round, round);
        for (volatile int delay = round % 200; delay > 0; delay--) {
        }
        if (round % 3 == 0) {
            fd_page_refresh(NULL);
        }
        closed = fd_table_close(w.table, fd) == 0;
        await(&racer.ready, round);
        assert_int_equal(closed + racer.closed, 1);
        by_stub += racer.closed;
        assert_false(is_open(&w, fd));
        fd_table_begin_call(w.table);
        assert_false(descriptor_noted(&w.stub, (uint64_t)fd));
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    print_message("the stub closed %d of %d\n", by_stub, ROUNDS);
    world_free(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),      cmocka_unit_test(test_close),
        cmocka_unit_test(test_what_is_seen), cmocka_unit_test(test_forged),
        cmocka_unit_test(test_tables),       cmocka_unit_test(test_race),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
