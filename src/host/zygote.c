/*
 * The zygote: the process from which every guest process is cloned. It starts as a copy of the
 * kernel process in namespaces of its own, gives up everything a guest must not have, puts the
 * filter on, and jumps into the stub, whose first act is to unmap the rest.
 */
#include "host/host_internal.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/auxv.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

static void NORETURN fail(struct zygote_report *report, const char *what) {
    report->failed = what;
    atomic_store(&report->state, -errno);
    _exit(1);
}

/* An empty, read-only file system as the root, in our own mount namespace. */
static int empty_root(void) {
    static const char *const places[] = {"/tmp", "/proc", "/dev", "/usr", "/etc"};

    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        return -errno;
    }
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        if (mount("none", places[i], "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY,
                  "size=4k") < 0) {
            continue;
        }
        if (chdir(places[i]) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
            umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
            return -errno;
        }
        return 0;
    }
    return -errno;
}

static void drop_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};

    for (int capability = 0; capability <= 63; capability++) {
        if (prctl(PR_CAPBSET_DROP, capability) < 0 && errno == EINVAL) {
            break;
        }
    }
    if (syscall(SYS_capset, &header, none) < 0) {
        _exit(1);
    }
}

static void install_handlers(uint64_t stub_base) {
    static const int caught[] = {SIGSYS, SIGSEGV, SIGBUS,          SIGFPE,
                                 SIGILL, SIGTRAP, STUB_KICK_SIGNAL};
    const struct stub_header *header = (const struct stub_header *)stub_blob_start;
    struct user_sigaction action = {.mask = 0};

    for (int signal = 1; signal <= SIGNAL_MAX; signal++) {
        /* A call of the stub's own on a guest's descriptor fails with EPIPE or EFBIG; the signal
         * that goes with it is the kernel's to send. */
        bool ignored = signal == SIGCHLD || signal == SIGPIPE || signal == SIGXFSZ;

        action.handler = ignored ? (uint64_t)SIG_IGN : (uint64_t)SIG_DFL;
        syscall(SYS_rt_sigaction, signal, &action, NULL, sizeof(kernel_sigset));
    }
    action.handler = stub_base + header->handler;
    action.restorer = stub_base + header->restorer;
    action.flags = SA_SIGINFO | SA_ONSTACK | 0x04000000 /* SA_RESTORER */;
    action.mask = ~0ull;
    for (size_t i = 0; i < ARRAY_SIZE(caught); i++) {
        syscall(SYS_rt_sigaction, caught[i], &action, NULL, sizeof(kernel_sigset));
    }
    action.mask = ~0ull;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &action.mask, NULL, sizeof(kernel_sigset));
}

/* Text, slots, stacks and public area at the stub's base: what is shared with the kernel is not
 * inherited by forks. */
static int map_stub(const struct zygote_setup *setup) {
    char *base = (char *)setup->stub_base;
    size_t size = (size_t)(stub_blob_end - stub_blob_start);

    if (mmap(base, STUB_TOTAL_SIZE, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) != base) {
        return -errno;
    }
    if (mprotect(base, STUB_TEXT_SIZE, PROT_READ | PROT_WRITE) < 0) {
        return -errno;
    }
    memcpy(base, stub_blob_start, size);
    if (mprotect(base, STUB_TEXT_SIZE, PROT_READ | PROT_EXEC) < 0) {
        return -errno;
    }
    if (mmap(base + STUB_SLOTS_OFFSET, STUB_SLOTS_SIZE, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_FIXED, setup->context_fd, 0) == MAP_FAILED ||
        madvise(base + STUB_SLOTS_OFFSET, STUB_SLOTS_SIZE, MADV_DONTFORK) < 0) {
        return -errno;
    }
    if (mmap(base + STUB_PUBLIC_OFFSET, STUB_PUBLIC_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED,
             setup->public_fd, 0) == MAP_FAILED ||
        madvise(base + STUB_PUBLIC_OFFSET, STUB_PUBLIC_SIZE, MADV_DONTFORK) < 0) {
        return -errno;
    }
    if (mprotect(base + STUB_STACKS_OFFSET, STUB_MAX_SLOTS * STUB_STACK_SIZE,
                 PROT_READ | PROT_WRITE) < 0) {
        return -errno;
    }
    return 0;
}

static void set_range(struct stub_thread *thread, size_t index, uint64_t start, uint64_t end) {
    thread->unmap[index][0] = start;
    thread->unmap[index][1] = end > start ? end - start : 0;
}

static struct stub_thread *prepare_thread(const struct zygote_setup *setup) {
    struct stub_thread *thread = (struct stub_thread *)(setup->stub_base + STUB_STACKS_OFFSET);
    uint64_t stub_end = setup->stub_base + STUB_TOTAL_SIZE;

    thread->slot = (struct slot *)(setup->stub_base + STUB_SLOTS_OFFSET);
    thread->masked = 1;
    thread->fast_sp = (uint64_t)thread + STUB_FAST_SP_OFFSET;
    thread->public = (const struct slot_public *)(setup->stub_base + STUB_PUBLIC_OFFSET);
    thread->stub_base = setup->stub_base;
    thread->control_fd = 0; /* moved there by close_inherited() */
    thread->has_fsgsbase = (getauxval(AT_HWCAP2) & 2) != 0;
    thread->kernel_pid = setup->death_signal ? (uint32_t)setup->kernel_pid : 0;
    set_range(thread, 0, 0, setup->stub_base);
    if (setup->vdso_start > stub_end) {
        set_range(thread, 1, stub_end, setup->vdso_start);
        set_range(thread, 2, setup->vdso_end, USER_TASK_SIZE);
    } else {
        set_range(thread, 1, stub_end, USER_TASK_SIZE);
    }
    return thread;
}

static int close_inherited(const struct zygote_setup *setup) {
    if (dup3(setup->control_fd, 0, O_CLOEXEC) < 0) {
        return -errno;
    }
    return syscall(SYS_close_range, 1, ~0u, 0) < 0 ? -errno : 0;
}

/* glibc registered these with the host for a thread whose memory is about to go. */
static void forget_libc_thread(void) {
    if (__rseq_size) {
        char *area = (char *)__builtin_thread_pointer() + __rseq_offset;

        syscall(SYS_rseq, area, MAX(__rseq_size, 32u), RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
    }
    syscall(SYS_set_robust_list, NULL, 24);
    syscall(SYS_set_tid_address, NULL);
}

static void NORETURN enter_stub(struct stub_thread *thread) {
    const struct stub_header *header = (const struct stub_header *)stub_blob_start;
    uint64_t start = thread->stub_base + header->start;
    uint64_t stack = (uint64_t)thread + STUB_STACK_SIZE - 64;

    __asm__ volatile("movq %0, %%rsp\n\tjmp *%1" : : "r"(stack), "r"(start) : "memory");
    __builtin_unreachable();
}

void zygote_main(const struct zygote_setup *setup, struct zygote_report *report) {
    struct rlimit no_core = {0, 0}, descriptors = {GUEST_FDS, GUEST_FDS};
    struct stub_thread *thread;
    int listener = -1;

    prctl(PR_SET_NAME, "starling-guest");
    setsid();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
        fail(report, "prctl(PR_SET_PDEATHSIG)");
    }
    if (setup->death_signal && getppid() != setup->kernel_pid) {
        _exit(1); /* it ended before we asked */
    }
    report->own_network = unshare(CLONE_NEWNET) == 0; /* join_network() in host_job.c */
    setrlimit(RLIMIT_CORE, &no_core);
    setrlimit(RLIMIT_NOFILE, &descriptors);
    install_handlers(setup->stub_base);
    if (map_stub(setup) < 0) {
        fail(report, "map the stub");
    }
    if (setup->own_namespaces && empty_root() < 0) {
        fail(report, "make an empty root");
    }
    if (close_inherited(setup) < 0) {
        fail(report, "close_range");
    }
    drop_capabilities();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0) {
        fail(report, "prctl(PR_SET_NO_NEW_PRIVS)");
    }
    /* Where there is none the filter has to do; `starling doctor` tells. */
    (void)!host_landlock_deny_all();
    /* For a program's whole life, and here it costs nothing: mm/memory_patch.c. */
    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
    thread = prepare_thread(setup);
    forget_libc_thread();
    if (filter_install(setup->stub_base, setup->death_signal, &listener) < 0) {
        fail(report, "seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER)");
    }
    report->listener_fd = listener;
    atomic_store(&report->state, 1);
    enter_stub(thread);
}
