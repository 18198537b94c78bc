/*
 * The substrate with real guest processes but no kernel above it: a few machine instructions run in
 * a fresh host process, their calls come in as events, and forks, threads and shared-memory
 * processes do the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/host_internal.h"

#define CODE 0x10000000ull

static struct host_job *job;

/* 1: syscall; jmp 1b */
static const uint8_t call_loop[] = {0x0f, 0x05, 0xeb, 0xfc};
/* movq (0),%rax */
static const uint8_t fault_code[] = {0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0};

struct guest {
    struct host_process *process;
    struct host_aspace *aspace;
    struct host_thread *thread;
};

static void load(struct guest *guest, const void *code, size_t size) {
    assert_int_equal(
        host_process_create(job, NULL, &guest->process, &guest->aspace, &guest->thread), 0);
    assert_int_equal(host_thread_call(guest->thread, SYS_mmap, CODE, PAGE_SIZE,
                                      PROT_READ | PROT_WRITE | PROT_EXEC,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, (uint64_t)-1, 0),
                     CODE);
    assert_int_equal(host_memory_write(guest->thread, CODE, code, size), size);
    host_thread_regs(guest->thread)->rip = CODE;
    host_thread_regs(guest->thread)->rax = 39;
    host_thread_regs(guest->thread)->rbx = 0x1234567890;
    host_thread_regs_changed(guest->thread);
}

static void drop(struct guest *guest) {
    assert_int_equal(host_process_kill(guest->process), 0);
    host_thread_put(guest->thread);
    host_aspace_put(guest->aspace);
    host_process_put(guest->process);
}

static void expect_call(struct host_thread *thread, uint64_t number) {
    struct host_event event;

    assert_int_equal(host_thread_resume(thread, &event), 0);
    assert_int_equal(event.kind, SLOT_EVENT_SYSCALL);
    assert_int_equal(host_thread_regs(thread)->rax, number);
    assert_int_equal(host_thread_regs(thread)->rip, CODE + 2);
    assert_int_equal(host_thread_regs(thread)->rbx, 0x1234567890);
}

static void test_calls(void **state) {
    struct guest guest;

    load(&guest, call_loop, sizeof(call_loop));
    expect_call(guest.thread, 39);
    for (uint64_t i = 0; i < 1024; i++) {
        if (i == 335 || i == 336) {
            continue; /* uretprobe, uprobe: newer hosts let no filter see them and answer SIGILL */
        }
        host_thread_regs(guest.thread)->rax = i;
        expect_call(guest.thread, i);
    }
    drop(&guest);
}

static void test_fault(void **state) {
    struct guest guest;
    struct host_event event;

    load(&guest, fault_code, sizeof(fault_code));
    assert_int_equal(host_thread_resume(guest.thread, &event), 0);
    assert_int_equal(event.kind, SLOT_EVENT_FAULT);
    assert_int_equal(event.fault.signo, SIGSEGV);
    assert_int_equal(event.fault.address, 0);
    assert_int_equal(event.fault.trapno, 14);
    drop(&guest);
}

/* A process that was made ahead is as clean as one made now. */
static void test_spares(void **state) {
    struct guest first, guest;

    load(&first, call_loop, sizeof(call_loop));
    for (int round = 0; round < 6; round++) {
        host_job_refill(job);
        assert_int_equal(
            host_process_create(job, first.thread, &guest.process, &guest.aspace, &guest.thread),
            0);
        assert_ptr_not_equal(guest.process, first.process);
        /* Nothing is where the others have their program. */
        assert_int_equal(host_thread_call(guest.thread, SYS_mmap, CODE, PAGE_SIZE, PROT_READ,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                                          (uint64_t)-1, 0),
                         CODE);
        drop(&guest);
    }
    expect_call(first.thread, 39);
    drop(&first);
}

static void test_fork(void **state) {
    struct guest guest, child;
    uint8_t byte = 0;

    load(&guest, call_loop, sizeof(call_loop));
    expect_call(guest.thread, 39);
    assert_int_equal(host_process_clone(guest.thread, false, false, 0, &child.process,
                                        &child.aspace, &child.thread),
                     0);
    host_thread_regs(child.thread)->rax = 7;
    expect_call(child.thread, 7);
    host_thread_regs(guest.thread)->rax = 8;
    expect_call(guest.thread, 8);
    /* Copies, not the same memory. */
    assert_int_equal(host_memory_write(child.thread, CODE + 100, "x", 1), 1);
    assert_int_equal(host_memory_read(guest.thread, &byte, CODE + 100, 1), 1);
    assert_int_equal(byte, 0);
    drop(&child);
    drop(&guest);
}

static void test_thread(void **state) {
    struct guest guest;
    struct host_thread *thread;

    load(&guest, call_loop, sizeof(call_loop));
    expect_call(guest.thread, 39);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(host_thread_clone(guest.thread, false, 0, &thread), 0);
        host_thread_regs(thread)->rax = 9;
        expect_call(thread, 9);
        host_thread_exit(thread, NULL, 0);
        host_thread_put(thread);
    }
    drop(&guest);
}

static void test_shared_memory_process(void **state) {
    struct guest guest, child;
    uint8_t byte = 0;

    load(&guest, call_loop, sizeof(call_loop));
    expect_call(guest.thread, 39);
    assert_int_equal(host_process_clone(guest.thread, true, false, 0, &child.process, &child.aspace,
                                        &child.thread),
                     0);
    host_thread_regs(child.thread)->rax = 7;
    expect_call(child.thread, 7);
    assert_int_equal(host_memory_write(child.thread, CODE + 100, "x", 1), 1);
    assert_int_equal(host_memory_read(guest.thread, &byte, CODE + 100, 1), 1);
    assert_int_equal(byte, 'x');
    drop(&child);
    host_thread_regs(guest.thread)->rax = 1;
    expect_call(guest.thread, 1);
    drop(&guest);
}

static void test_death_is_seen(void **state) {
    struct guest guest;
    struct host_event event;

    load(&guest, call_loop, sizeof(call_loop));
    expect_call(guest.thread, 39);
    assert_int_equal(host_process_kill(guest.process), 0);
    assert_int_equal(host_thread_resume(guest.thread, &event), -ESRCH);
    drop(&guest);
}

/* The core that a host thread (0: this one) is bound to; -1: not to a single one. */
static int bound_to(pid_t tid) {
    cpu_set_t set;

    if (sched_getaffinity(tid, sizeof(set), &set) < 0 || CPU_COUNT(&set) != 1) {
        return -1;
    }
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &set)) {
            return cpu;
        }
    }
    return -1;
}

struct pair {
    int kernel, guest; /* cores, while the guest makes a call */
};

/* A task's kernel thread, new so that it has not spread. */
static void *run_pair(void *arg) {
    struct pair *pair = arg;
    struct host_event event;
    struct guest guest;

    load(&guest, call_loop, sizeof(call_loop));
    (void)!host_thread_resume(guest.thread, &event);
    pair->kernel = bound_to(0);
    pair->guest = bound_to(atomic_load(&guest.thread->tid));
    drop(&guest);
    wait_thread_ends();
    return NULL;
}

/* Both threads of a task belong to one core. */
static void test_pairs(void **state) {
    cpu_set_t cores;

    assert_int_equal(sched_getaffinity(0, sizeof(cores), &cores), 0);
    if (CPU_COUNT(&cores) < 2) {
        skip(); /* nothing is bound there */
    }
    for (int i = 0; i < 8; i++) {
        struct pair pair = {-1, -1};
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, run_pair, &pair), 0);
        pthread_join(thread, NULL);
        assert_true(pair.guest >= 0);
        assert_int_equal(pair.kernel, pair.guest);
    }
}

static int setup(void **state) {
    if (host_proc_setup()) {
        return -1;
    }
    job = host_job_new();
    return IS_ERR(job) || host_job_ready(job) || poller_start() ? -1 : 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_fault),
        cmocka_unit_test(test_spares),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_thread),
        cmocka_unit_test(test_shared_memory_process),
        cmocka_unit_test(test_death_is_seen),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
