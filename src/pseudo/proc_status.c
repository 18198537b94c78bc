/*
 * /proc/PID/stat, statm and status: the figures of a process or of one thread, in the formats of
 * proc(5). Everything is copied under the lock that guards it, one lock at a time; a task that ends
 * meanwhile shows zeros where its running state was, as a zombie does on Linux.
 */
#include "pseudo/pseudo_internal.h"

#include <stdio.h>
#include <sys/sysmacros.h>

struct task_facts {
    pid_t pid, tgid, ppid, pgrp, sid;
    char comm[TASK_COMM_SIZE];
    char state;
    int nice, policy, priority, exit_code;
    size_t threads;
    bool no_new_privs, has_mm;
    struct credentials *creds; /* owned */
    struct usage usage, children;
    kernel_sigset pending, shared_pending, blocked, ignored, caught;
    size_t queued;
    uint64_t cpu_mask[HOST_CPU_WORDS];
    int64_t start_time_ns;
    int exit_signal;
    struct memory_totals totals;
    struct memory_layout layout;
    uint64_t resident, shared; /* bytes; shared: of files and shared memory */
    mode_t umask;
    int fd_size;
    dev_t tty;
    pid_t foreground;
};

static void facts_finish_cleanup(struct task_facts *facts) {
    if (facts->creds) {
        credentials_put(facts->creds);
    }
}

static char state_letter(struct task *task, bool exited) {
    if (exited) {
        return TASK_ZOMBIE;
    }
    return (char)task_current_state(task);
}

static void facts_signals(struct task_facts *facts, struct task *task) {
    struct thread_group *group = task->thread_group;

    signal_pending_sets(task, &facts->pending, &facts->shared_pending);
    facts->blocked = signal_get_mask(task);
    signal_get_sets(group, &facts->ignored, &facts->caught);
    facts->queued = signal_queued(group);
}

static void facts_memory(struct task_facts *facts, struct task *task) {
    struct memory_manager *mm CLEANUP(memory_manager_put) = task_mm(task);
    struct host_process *process CLEANUP(host_process_put) = NULL;
    uint64_t minor, major;

    if (!mm) {
        return;
    }
    facts->has_mm = true;
    memory_manager_totals(mm, &facts->totals);
    memory_manager_layout(mm, &facts->layout);
    process = thread_group_process(task->thread_group);
    if (host_process_memory(process, &facts->resident, &minor, &major)) {
        facts->resident = 0;
    }
    facts->resident = MIN(facts->resident, facts->totals.mapped);
    facts->shared = MIN(host_process_shared(process), facts->resident);
}

static int facts_gather(struct task_facts *facts, const struct pseudo_node *node) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);
    struct fd_table *files CLEANUP(fd_table_peek_put) = NULL;
    struct fs_context *fs CLEANUP(fs_context_put) = NULL;
    struct thread_group *group;
    bool exited;

    memset(facts, 0, sizeof(*facts));
    if (!task) {
        return -ESRCH;
    }
    group = task->thread_group;
    facts->pid = task_get_tid(task);
    facts->tgid = task_get_pid(task);
    facts->ppid = task_get_ppid(task);
    facts->pgrp = task_get_pgrp(task);
    facts->sid = task_get_sid(task);
    facts->creds = task_creds(task);
    facts->start_time_ns = group->start_time_ns;
    {
        READ_GUARD(&group->kernel->pids_lock);

        exited = task->exited;
        facts->threads = group->task_count;
        facts->exit_signal = group->exit_signal;
    }
    facts->state = state_letter(task, exited);
    {
        LOCK_GUARD(&task->lock);

        memcpy(facts->comm, task->comm, sizeof(facts->comm));
        memcpy(facts->cpu_mask, task->cpu_mask, sizeof(facts->cpu_mask));
        facts->nice = task->nice;
        facts->policy = task->sched_policy;
        facts->priority = task->sched_priority;
        facts->no_new_privs = task->no_new_privs;
    }
    if (!tty_of_task(task, &facts->tty, &facts->foreground)) {
        facts->tty = 0;
        facts->foreground = -1;
    }
    facts_signals(facts, task);
    facts_memory(facts, task);
    if (node->thread) {
        task_usage(task, &facts->usage);
    } else {
        thread_group_usage(group, &facts->usage);
    }
    {
        LOCK_GUARD(&group->signal_lock);

        facts->children = group->children_usage;
        facts->exit_code = group->exiting ? group->exit_status : 0;
    }
    fs = task_fs(task);
    facts->umask = fs ? fs_context_umask(fs) : 0;
    files = task_files(task);
    if (files) {
        /* Linux's tables grow in powers of two from 64 on. */
        facts->fd_size = 64;
        while (fd_table_next(files, facts->fd_size) >= 0) {
            facts->fd_size *= 2;
        }
    }
    return 0;
}

/* Addresses are for those who may look into the task only. */
static bool may_see_addresses(const struct pseudo_node *node) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);

    return task && pseudo_may_access(task) == 0;
}

/* sched(7): 20 + nice for ordinary tasks, -1 - priority for real-time ones. */
static int kernel_priority(const struct task_facts *facts) {
    return facts->priority > 0 ? -1 - facts->priority : 20 + facts->nice;
}

/* proc(5) tty_nr: the minor number in bits 31 to 20 and 7 to 0, the major in 15 to 8. */
static int tty_number(dev_t device) {
    return (int)((minor(device) & 0xff) | major(device) << 8 | (minor(device) & ~0xffu) << 12);
}

int proc_stat_show(const struct pseudo_node *node, struct text *text) {
    struct task_facts f CLEANUP(facts_finish);
    int error = facts_gather(&f, node);
    bool visible = !error && may_see_addresses(node);
    struct thread_group *group CLEANUP(thread_group_put) = NULL;
    uint64_t rss_limit = RLIM64_INFINITY;

    if (error) {
        return error;
    }
    group = kernel_get_thread_group(node->kernel, f.tgid);
    if (group) {
        rss_limit = rlimits_get(&group->rlimits, RLIMIT_RSS);
    }
    text_printf(text, "%d (%s) %c %d %d %d %d %d %u ", f.pid, f.comm, f.state, f.ppid, f.pgrp,
                f.sid, tty_number(f.tty), f.foreground, 0x400000u);
    text_printf(
        text, "%llu %llu %llu %llu %llu %llu %llu %llu ", (unsigned long long)f.usage.minor_faults,
        (unsigned long long)f.children.minor_faults, (unsigned long long)f.usage.major_faults,
        (unsigned long long)f.children.major_faults, (unsigned long long)ns_to_ticks(f.usage.user),
        (unsigned long long)ns_to_ticks(f.usage.system),
        (unsigned long long)ns_to_ticks(f.children.user),
        (unsigned long long)ns_to_ticks(f.children.system));
    text_printf(text, "%d %d %zu 0 %llu %llu %llu %llu ", kernel_priority(&f), f.nice, f.threads,
                (unsigned long long)ns_to_ticks(f.start_time_ns),
                (unsigned long long)f.totals.mapped, (unsigned long long)f.resident / PAGE_SIZE,
                (unsigned long long)rss_limit);
    if (visible && f.has_mm) {
        text_printf(text, "%llu %llu %llu 0 0 ", (unsigned long long)f.layout.start_code,
                    (unsigned long long)f.layout.end_code,
                    (unsigned long long)f.layout.start_stack);
    } else {
        /* Linux: 1 and 1 for tasks with memory that must not be seen. */
        text_puts(text, f.has_mm ? "1 1 0 0 0 " : "0 0 0 0 0 ");
    }
    text_printf(
        text, "%llu %llu %llu %llu 0 0 0 %d %d %d %d 0 0 0 ",
        (unsigned long long)(f.pending & INT32_MAX), (unsigned long long)(f.blocked & INT32_MAX),
        (unsigned long long)(f.ignored & INT32_MAX), (unsigned long long)(f.caught & INT32_MAX),
        node->thread ? -1 : f.exit_signal, 0, f.priority, f.policy);
    if (visible && f.has_mm) {
        text_printf(text, "%llu %llu %llu %llu %llu %llu %llu %d\n",
                    (unsigned long long)f.layout.start_data, (unsigned long long)f.layout.end_data,
                    (unsigned long long)f.layout.start_brk, (unsigned long long)f.layout.arg_start,
                    (unsigned long long)f.layout.arg_end, (unsigned long long)f.layout.env_start,
                    (unsigned long long)f.layout.env_end, f.exit_code);
    } else {
        text_printf(text, "0 0 0 0 0 0 0 %d\n", visible ? f.exit_code : 0);
    }
    return 0;
}

int proc_statm_show(const struct pseudo_node *node, struct text *text) {
    struct task_facts f CLEANUP(facts_finish);
    int error = facts_gather(&f, node);

    if (error) {
        return error;
    }
    text_printf(
        text, "%llu %llu %llu %llu 0 %llu 0\n", (unsigned long long)f.totals.mapped / PAGE_SIZE,
        (unsigned long long)f.resident / PAGE_SIZE, (unsigned long long)f.shared / PAGE_SIZE,
        (unsigned long long)f.totals.exec / PAGE_SIZE,
        (unsigned long long)(f.totals.data + f.totals.stack) / PAGE_SIZE);
    return 0;
}

static const char *state_name(char state) {
    switch (state) {
    case TASK_RUNNING:
        return "R (running)";
    case TASK_SLEEPING:
        return "S (sleeping)";
    case TASK_DISK:
        return "D (disk sleep)";
    case TASK_STOPPED:
        return "T (stopped)";
    case TASK_TRACED:
        return "t (tracing stop)";
    case TASK_ZOMBIE:
        return "Z (zombie)";
    default:
        return "X (dead)";
    }
}

static void kilobytes(struct text *text, const char *name, uint64_t bytes) {
    text_printf(text, "%s:\t%8llu kB\n", name, (unsigned long long)(bytes >> 10));
}

static void status_memory(struct text *text, const struct task_facts *f) {
    uint64_t code = f->layout.end_code - f->layout.start_code;
    uint64_t peak = MAX(f->usage.max_rss, f->resident);

    kilobytes(text, "VmPeak", f->totals.mapped);
    kilobytes(text, "VmSize", f->totals.mapped);
    kilobytes(text, "VmLck", f->totals.locked);
    kilobytes(text, "VmPin", 0);
    kilobytes(text, "VmHWM", MIN(peak, f->totals.mapped));
    kilobytes(text, "VmRSS", f->resident);
    kilobytes(text, "RssAnon", f->resident - f->shared);
    kilobytes(text, "RssFile", f->shared);
    kilobytes(text, "RssShmem", 0);
    kilobytes(text, "VmData", f->totals.data);
    kilobytes(text, "VmStk", f->totals.stack);
    kilobytes(text, "VmExe", code);
    kilobytes(text, "VmLib", f->totals.exec - MIN(code, f->totals.exec));
    kilobytes(text, "VmPTE", f->resident / 512);
    kilobytes(text, "VmSwap", 0);
    text_puts(text, "HugetlbPages:\t       0 kB\nCoreDumping:\t0\nTHP_enabled:\t1\n");
    text_puts(text, "untag_mask:\t0xffffffffffffffff\n");
}

/* Processors that the task may use: a hexadecimal mask in groups of 32, and a list. */
static void status_cpus(struct text *text, const struct task_facts *f) {
    unsigned count = MIN(host_facts_cpu_count(), HOST_CPU_WORDS * 64u), first = UINT32_MAX;
    bool any = false, comma = false;
    uint64_t mask[HOST_CPU_WORDS], all[HOST_CPU_WORDS];

    (void)host_cpu_mask(all);
    for (size_t i = 0; i < HOST_CPU_WORDS; i++) {
        mask[i] = all[i] & f->cpu_mask[i];
        any = any || mask[i];
    }
    if (!any) {
        memcpy(mask, all, sizeof(mask));
    }
    text_puts(text, "Cpus_allowed:\t");
    for (unsigned word = (count + 31) / 32; word-- > 0;) {
        uint32_t bits = (uint32_t)(mask[word / 2] >> (word % 2 * 32));
        unsigned valid = MIN(count - word * 32, 32u);

        bits &= valid == 32 ? UINT32_MAX : (1u << valid) - 1;
        text_printf(text, valid == 32 || word ? "%08x%s" : "%x%s", bits, word ? "," : "\n");
    }
    text_puts(text, "Cpus_allowed_list:\t");
    for (unsigned cpu = 0; cpu <= count; cpu++) {
        bool set = cpu < count && (mask[cpu / 64] >> (cpu % 64) & 1);

        if (set && first == UINT32_MAX) {
            first = cpu;
        } else if (!set && first != UINT32_MAX) {
            text_printf(text, first == cpu - 1 ? "%s%u" : "%s%u-%u", comma ? "," : "", first,
                        cpu - 1);
            comma = true;
            first = UINT32_MAX;
        }
    }
    text_puts(text, "\nMems_allowed:\t1\nMems_allowed_list:\t0\n");
}

static void status_ids(struct text *text, const struct task_facts *f) {
    const struct credentials *c = f->creds;

    text_printf(text, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n", c->uid, c->euid, c->suid,
                c->fsuid, c->gid, c->egid, c->sgid, c->fsgid);
    text_printf(text, "FDSize:\t%d\nGroups:\t", f->fd_size);
    for (size_t i = 0; i < c->group_count; i++) {
        text_printf(text, "%s%u", i ? " " : "", c->groups[i]);
    }
    text_printf(text, " \nNStgid:\t%d\nNSpid:\t%d\nNSpgid:\t%d\nNSsid:\t%d\nKthread:\t0\n", f->tgid,
                f->pid, f->pgrp, f->sid);
}

int proc_status_show(const struct pseudo_node *node, struct text *text) {
    struct task_facts f CLEANUP(facts_finish);
    int error = facts_gather(&f, node);
    struct thread_group *group CLEANUP(thread_group_put) = NULL;

    if (error) {
        return error;
    }
    group = kernel_get_thread_group(node->kernel, f.tgid);
    text_puts(text, "Name:\t");
    text_put_escaped(text, f.comm, "\n");
    text_puts(text, "\n");
    if (f.has_mm) {
        text_printf(text, "Umask:\t%#04o\n", f.umask);
    }
    text_printf(text, "State:\t%s\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\n",
                state_name(f.state), f.tgid, f.pid, f.ppid);
    status_ids(text, &f);
    if (f.has_mm) {
        status_memory(text, &f);
    }
    text_printf(text, "Threads:\t%zu\nSigQ:\t%zu/%llu\n", f.threads, f.queued,
                group ? (unsigned long long)rlimits_get(&group->rlimits, RLIMIT_SIGPENDING) : 0);
    text_printf(text, "SigPnd:\t%016llx\nShdPnd:\t%016llx\nSigBlk:\t%016llx\n",
                (unsigned long long)f.pending, (unsigned long long)f.shared_pending,
                (unsigned long long)f.blocked);
    text_printf(text, "SigIgn:\t%016llx\nSigCgt:\t%016llx\n", (unsigned long long)f.ignored,
                (unsigned long long)f.caught);
    text_printf(text, "CapInh:\t%016llx\nCapPrm:\t%016llx\nCapEff:\t%016llx\n",
                (unsigned long long)f.creds->cap_inheritable,
                (unsigned long long)f.creds->cap_permitted,
                (unsigned long long)f.creds->cap_effective);
    text_printf(text, "CapBnd:\t%016llx\nCapAmb:\t%016llx\n",
                (unsigned long long)f.creds->cap_bounding,
                (unsigned long long)f.creds->cap_ambient);
    text_printf(text, "NoNewPrivs:\t%d\nSeccomp:\t0\nSeccomp_filters:\t0\n", f.no_new_privs);
    text_puts(text, "Speculation_Store_Bypass:\tvulnerable\n"
                    "SpeculationIndirectBranch:\tconditional enabled\n");
    status_cpus(text, &f);
    text_puts(text, "voluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n");
    return 0;
}
