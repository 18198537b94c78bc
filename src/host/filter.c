/*
 * The filter of guest processes, built by hand since it tests the instruction pointer (which
 * libseccomp does not offer).
 *
 * Outside the stub's text every call traps into the stub. Inside, a short list passes, clone(2)
 * asks the notifier, and everything else traps like a guest's call. A guest can jump to the stub's
 * `syscall` instructions with any arguments, so a call is on the list only if it is harmless with
 * any: it reaches nothing but the process's own memory, its own thread state, and descriptors that
 * the kernel gave it.
 */
#include "host/host_internal.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int allowed[] = {
    /* descriptors that the kernel gave it; and first, since each place costs a comparison */
    SYS_read,
    SYS_write,
    SYS_pread64,
    SYS_pwrite64,
    SYS_lseek,
    SYS_futex,
    SYS_readv,
    SYS_writev,
    SYS_close,
    SYS_recvmsg,
    SYS_rt_sigreturn,
    /* memory of its own process; mmap is below */
    SYS_munmap,
    SYS_mprotect,
    SYS_mremap,
    SYS_madvise,
    SYS_mincore,
    SYS_membarrier,
    /* its own thread */
    SYS_rt_sigprocmask,
    SYS_sigaltstack,
    SYS_arch_prctl,
    SYS_rseq,
    SYS_exit,
    SYS_exit_group,
};
_Static_assert(ARRAY_SIZE(allowed) <= 23,
               "design §11: at most 25 host calls open to guest code, with mmap and clone");

#define MAX_INSTRUCTIONS (2 * ARRAY_SIZE(allowed) + 32)

struct program {
    struct sock_filter code[MAX_INSTRUCTIONS];
    unsigned short size;
};

static void emit(struct program *program, struct sock_filter instruction) {
    if (program->size == MAX_INSTRUCTIONS) {
        panic("filter too long");
    }
    program->code[program->size++] = instruction;
}

#define LOAD(field)                                                                                \
    (struct sock_filter)                                                                           \
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define LOAD_AT(offset) (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offset))
/* Goes on when the comparison holds, else skips the next `skip` instructions, or the other way
 * round. */
#define SKIP_UNLESS(comparison, value, skip)                                                       \
    (struct sock_filter) BPF_JUMP(BPF_JMP | (comparison) | BPF_K, (uint32_t)(value), 0, (skip))
#define SKIP_IF(comparison, value, skip)                                                           \
    (struct sock_filter) BPF_JUMP(BPF_JMP | (comparison) | BPF_K, (uint32_t)(value), (skip), 0)
#define RETURN(action) (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, (action))

#define OFFSET_IP   offsetof(struct seccomp_data, instruction_pointer)
#define OFFSET_ARG0 offsetof(struct seccomp_data, args[0])
#define OFFSET_ARG1 offsetof(struct seccomp_data, args[1])
#define OFFSET_ARG3 offsetof(struct seccomp_data, args[3])

/*
 * Memory that would stay with nobody seeing it, so that --memory would not count it: shared pages
 * without a file live on when they are neither resident nor in a page table, and huge pages of the
 * host's pool are never in a process's figures. The kernel maps shared memory from memfds.
 */
static void emit_mmap(struct program *program) {
    emit(program, SKIP_UNLESS(BPF_JEQ, SYS_mmap, 6));
    emit(program, LOAD_AT(OFFSET_ARG3));
    emit(program, SKIP_IF(BPF_JSET, MAP_HUGETLB, 2));
    emit(program, SKIP_UNLESS(BPF_JSET, MAP_ANONYMOUS, 2));
    emit(program, SKIP_UNLESS(BPF_JSET, MAP_SHARED, 1));
    emit(program, RETURN(SECCOMP_RET_TRAP));
    emit(program, RETURN(SECCOMP_RET_ALLOW));
}

static void build(struct program *program, uint64_t stub_base, bool death_signal) {
    uint32_t low = (uint32_t)stub_base;

    emit(program, LOAD(arch));
    emit(program, SKIP_IF(BPF_JEQ, AUDIT_ARCH_X86_64, 1));
    emit(program, RETURN(SECCOMP_RET_TRAP));
    /* `syscall` leaves rip behind it: the last instruction of the text may end at the text's end.
     */
    emit(program, LOAD_AT(OFFSET_IP + 4));
    emit(program, SKIP_IF(BPF_JEQ, stub_base >> 32, 1));
    emit(program, RETURN(SECCOMP_RET_TRAP));
    emit(program, LOAD_AT(OFFSET_IP));
    emit(program, SKIP_IF(BPF_JGE, low, 1));
    emit(program, RETURN(SECCOMP_RET_TRAP));
    emit(program, SKIP_UNLESS(BPF_JGE, low + STUB_TEXT_SIZE, 1));
    emit(program, RETURN(SECCOMP_RET_TRAP));

    emit(program, LOAD(nr));
    for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
        emit(program, SKIP_UNLESS(BPF_JEQ, allowed[i], 1));
        emit(program, RETURN(SECCOMP_RET_ALLOW));
    }
    emit_mmap(program);
    emit(program, SKIP_UNLESS(BPF_JEQ, SYS_clone, 1));
    emit(program, RETURN(SECCOMP_RET_USER_NOTIF));
    if (death_signal) {
        /* Beyond the 25 calls that guests have in a pid namespace, and as harmless. */
        emit(program, SKIP_UNLESS(BPF_JEQ, SYS_getppid, 1));
        emit(program, RETURN(SECCOMP_RET_ALLOW));
        emit(program, SKIP_UNLESS(BPF_JEQ, SYS_prctl, 5));
        emit(program, LOAD_AT(OFFSET_ARG0));
        emit(program, SKIP_UNLESS(BPF_JEQ, PR_SET_PDEATHSIG, 3));
        emit(program, LOAD_AT(OFFSET_ARG1));
        emit(program, SKIP_UNLESS(BPF_JEQ, 9 /* SIGKILL */, 1));
        emit(program, RETURN(SECCOMP_RET_ALLOW));
    }
    emit(program, RETURN(SECCOMP_RET_TRAP));
}

/* From here on this process can make no call but from the stub. Needs no_new_privs. */
int filter_install(uint64_t stub_base, bool death_signal, int *listener_fd) {
    struct program program = {.size = 0};
    struct sock_fprog fprog = {.filter = program.code};
    long fd;

    build(&program, stub_base, death_signal);
    fprog.len = program.size;
    fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                 SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &fprog);
    if (fd < 0) {
        return -errno;
    }
    *listener_fd = (int)fd;
    return 0;
}
