/*
 * Calls about the machine and the kernel as a whole, and small ones that belong to no other area:
 * uname, sysinfo, random bytes, host name, the x86 bases, rseq, and what only the owner
 * of a real machine may do.
 */
#include <asm/prctl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/klog.h>
#include <sys/random.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "host/host_facts.h"
#include "syscalls/syscalls.h"

#define CAP_SYS_ADMIN 21
#define CAP_SYSLOG    34

/* asm/prctl.h of newer hosts */
#ifndef ARCH_GET_XCOMP_SUPP
#define ARCH_GET_XCOMP_SUPP 0x1021
#define ARCH_GET_XCOMP_PERM 0x1022
#define ARCH_REQ_XCOMP_PERM 0x1023
#endif
#define ARCH_SHSTK_FIRST 0x5001
#define ARCH_SHSTK_LAST  0x5005

static bool capable(struct task *current, int capability) {
    struct credentials *creds CLEANUP(credentials_put) = task_creds(current);

    return credentials_capable(creds, capability);
}

/* ---- who and where we are ---- */

int64_t sys_uname(struct task *current, struct user_address buf) {
    struct kernel *kernel = current->thread_group->kernel;
    struct utsname name = {0};

    snprintf(name.sysname, sizeof(name.sysname), UTS_SYSNAME);
    snprintf(name.release, sizeof(name.release), UTS_RELEASE);
    snprintf(name.version, sizeof(name.version), UTS_VERSION);
    snprintf(name.machine, sizeof(name.machine), UTS_MACHINE);
    {
        LOCK_GUARD(&kernel->lock);
        memcpy(name.nodename, kernel->hostname, sizeof(name.nodename));
        memcpy(name.domainname, kernel->domainname, sizeof(name.domainname));
    }
    return answer_user(current->thread, name, buf);
}

/* sethostname(2), setdomainname(2): `to` has 65 bytes, guarded by kernel->lock. */
static int64_t set_name(struct task *current, char *to, struct user_address name, int length) {
    struct kernel *kernel = current->thread_group->kernel;
    char copy[65] = {0};

    if (!capable(current, CAP_SYS_ADMIN)) {
        return -EPERM;
    }
    if (length < 0 || length > 64) {
        return -EINVAL;
    }
    if (copy_from_user(current->thread, copy, name, (size_t)length) < 0) {
        return -EFAULT;
    }
    LOCK_GUARD(&kernel->lock);
    memcpy(to, copy, sizeof(copy));
    return 0;
}

int64_t sys_sethostname(struct task *current, struct user_address name, int len) {
    return set_name(current, current->thread_group->kernel->hostname, name, len);
}

int64_t sys_setdomainname(struct task *current, struct user_address name, int len) {
    return set_name(current, current->thread_group->kernel->domainname, name, len);
}

int64_t sys_getcpu(struct task *current, struct user_address cpu, struct user_address node,
                   struct user_address tcache) {
    unsigned on_cpu = 0, on_node = 0;

    /* The two threads of a task run on one core. */
    if (getcpu(&on_cpu, &on_node) < 0) {
        return -EFAULT;
    }
    if (!user_address_is_null(cpu) && put_user(current->thread, on_cpu, cpu) < 0) {
        return -EFAULT;
    }
    return user_address_is_null(node) ? 0 : put_user(current->thread, on_node, node);
}

/* "MemTotal:  16384 kB" of /proc/meminfo, in bytes. */
static unsigned long meminfo_field(const char *meminfo, const char *field) {
    const char *found = meminfo ? strstr(meminfo, field) : NULL;

    return found ? strtoul(found + strlen(field), NULL, 10) * 1024 : 0;
}

int64_t sys_sysinfo(struct task *current, struct user_address info) {
    struct kernel *kernel = current->thread_group->kernel;
    char *meminfo = host_facts_proc("meminfo"), *loadavg = host_facts_proc("loadavg");
    struct sysinfo value = {.mem_unit = 1};
    char *next = loadavg;

    value.uptime = (long)(host_clock_boottime() / 1000000000);
    value.totalram = meminfo_field(meminfo, "MemTotal:");
    value.freeram = meminfo_field(meminfo, "MemFree:");
    value.sharedram = meminfo_field(meminfo, "Shmem:");
    value.bufferram = meminfo_field(meminfo, "Buffers:");
    value.totalswap = meminfo_field(meminfo, "SwapTotal:");
    value.freeswap = meminfo_field(meminfo, "SwapFree:");
    value.procs = (unsigned short)MIN(atomic_load(&kernel->task_count), (size_t)UINT16_MAX);
    for (int i = 0; next && i < 3; i++) {
        value.loads[i] = (unsigned long)(strtod(next, &next) * (1 << SI_LOAD_SHIFT));
    }
    free(meminfo);
    free(loadavg);
    return answer_user(current->thread, value, info);
}

/* syslog(2): Starling's own log goes to the user, not to the guest, so the guest's is empty. */
int64_t sys_syslog(struct task *current, int type, struct user_address bufp, int len) {
    enum { READ = 2, READ_ALL = 3, READ_CLEAR = 4, CONSOLE_LEVEL = 8, SIZE_BUFFER = 10 };

    if (type != READ_ALL && type != SIZE_BUFFER && !capable(current, CAP_SYSLOG)) {
        return -EPERM;
    }
    if (type < 0 || type > SIZE_BUFFER) {
        return -EINVAL;
    }
    if (type == READ || type == READ_ALL || type == READ_CLEAR) {
        if (user_address_is_null(bufp) || len < 0) {
            return -EINVAL;
        }
        /* Nothing will ever come: rather than sleep for good. */
        return type == READ && len > 0 ? -EAGAIN : 0;
    }
    return type == SIZE_BUFFER ? 1 << 17 : 0;
}

/* ---- random bytes ---- */

int64_t sys_getrandom(struct task *current, struct user_address buf, size_t buflen,
                      unsigned int flags) {
    char bytes[1024];
    size_t done = 0;

    if (flags & ~FLAGS_GETRANDOM_KNOWN ||
        (flags & (GRND_RANDOM | GRND_INSECURE)) == (GRND_RANDOM | GRND_INSECURE)) {
        return -EINVAL;
    }
    buflen = MIN(buflen, (size_t)INT_MAX);
    while (done < buflen) {
        size_t size = MIN(buflen - done, sizeof(bytes));
        ssize_t got = host_getrandom(bytes, size);

        if (got <= 0 ||
            copy_to_user(current->thread, user_address_add(buf, done), bytes, (size_t)got) < 0) {
            return done ? (int64_t)done : got <= 0 ? got : -EFAULT;
        }
        done += (size_t)got;
        /* random(4): a large request may be cut short by a signal, not a small one. */
        if (done > 256 && signal_pending(current)) {
            break;
        }
    }
    explicit_bzero(bytes, sizeof(bytes));
    return (int64_t)done;
}

/* ---- the processor ---- */

int64_t sys_arch_prctl(struct task *current, int op, unsigned long addr) {
    switch (op) {
    case ARCH_SET_FS:
    case ARCH_SET_GS:
        if (addr >= USER_TASK_SIZE) {
            return -EPERM;
        }
        if (op == ARCH_SET_GS) {
            /* Patched calls need it; this program shall have it. */
            int result = memory_patch_off(current->mm, current->thread);

            if (result) {
                return result;
            }
        }
        return host_thread_call(current->thread, SYS_arch_prctl, (uint64_t)op, addr, 0, 0, 0, 0);
    case ARCH_GET_FS:
        return put_user(current->thread, host_thread_regs(current->thread)->fs_base,
                        user_address(addr));
    case ARCH_GET_GS:
        return put_user(current->thread, host_thread_regs(current->thread)->gs_base,
                        user_address(addr));
    case ARCH_GET_XCOMP_SUPP:
    case ARCH_GET_XCOMP_PERM:
    case ARCH_REQ_XCOMP_PERM:
        /* What the processor and the host's kernel say of this very process. */
        return host_thread_call(current->thread, SYS_arch_prctl, (uint64_t)op, addr, 0, 0, 0, 0);
    case ARCH_GET_CPUID:
        return 1; /* cpuid does not fault */
    case ARCH_SET_CPUID:
        return -ENODEV;
    default:
        return op >= ARCH_SHSTK_FIRST && op <= ARCH_SHSTK_LAST ? -EOPNOTSUPP : -EINVAL;
    }
}

/*
 * rseq(2) is about what the host does to the guest's thread when it moves or interrupts it, so the
 * host thread is registered with the host. A fork inherits that, exec starts from a fresh process;
 * a thread is taken out before its memory may go (exit.c). A thread's first one its stub makes
 * (stub/told.c).
 */
int64_t sys_rseq(struct task *current, struct user_address rseq, unsigned int rseq_len, int flags,
                 unsigned int sig) {
    struct slot_told told = host_thread_told(current->thread);
    int64_t result;

    if (rseq.value >= USER_TASK_SIZE) {
        return -EFAULT;
    }
    result = host_thread_call(current->thread, SYS_rseq, rseq.value, rseq_len, (uint64_t)flags, sig,
                              0, 0);
    if (result == 0) {
        told.rseq_address = flags & RSEQ_FLAG_UNREGISTER ? 0 : rseq.value;
        told.rseq_size = rseq_len;
        told.rseq_signature = sig;
        host_thread_set_told(current->thread, &told);
    }
    return result;
}

/* ---- what only the owner of a machine may do: nobody here owns one ---- */

int64_t sys_iopl(struct task *current, unsigned int level) {
    return level > 3 ? -EINVAL : level == 0 ? 0 : -EPERM;
}

int64_t sys_ioperm(struct task *current, unsigned long from, unsigned long num, int turn_on) {
    if (from + num <= from || from + num > 65536) {
        return -EINVAL;
    }
    return turn_on ? -EPERM : 0;
}

int64_t sys_reboot(struct task *current, unsigned int magic, unsigned int magic2, unsigned int op,
                   struct user_address arg) {
    return -EPERM;
}

int64_t sys_swapon(struct task *current, struct user_address path, int swapflags) {
    return -EPERM;
}

int64_t sys_swapoff(struct task *current, struct user_address path) {
    return -EPERM;
}

int64_t sys_acct(struct task *current, struct user_address filename) {
    return -EPERM;
}

int64_t sys_vhangup(struct task *current) {
    return -EPERM;
}

int64_t sys_init_module(struct task *current, struct user_address module_image, unsigned long len,
                        struct user_address param_values) {
    return -EPERM;
}

int64_t sys_finit_module(struct task *current, int fd, struct user_address param_values,
                         int flags) {
    return -EPERM;
}

int64_t sys_delete_module(struct task *current, struct user_address name, unsigned int flags) {
    return -EPERM;
}

int64_t sys_kexec_load(struct task *current, unsigned long entry, unsigned long nr_segments,
                       struct user_address segments, unsigned long flags) {
    return -EPERM;
}
