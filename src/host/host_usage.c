/*
 * What the host's /proc and clocks tell of the CPU time and the memory of a guest's host process.
 * Ranges one by one are in host_smaps.c.
 */
#include "host/host_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* What there is of a small file of /proc, NUL-terminated; -ESRCH when its process has gone. */
static int read_text(const char *path, char *text, size_t size) {
    int fd = host_proc_open(path, O_RDONLY);
    ssize_t got;

    if (fd < 0) {
        return fd;
    }
    got = host_read(fd, text, size - 1);
    close(fd);
    if (got <= 0) {
        return -ESRCH;
    }
    text[got] = '\0';
    return 0;
}

/* One numbered field (from 1) and those behind it of /proc/PID/stat, past the name, which may hold
 * anything. */
static int read_stat(const char *path, unsigned long long *fields, int count) {
    char text[1024], *at;
    int result = read_text(path, text, sizeof(text));

    if (result) {
        return result;
    }
    at = strrchr(text, ')');
    if (!at) {
        return -ESRCH;
    }
    at += 2; /* field 3, the state, is a letter */
    for (int i = 0; i < count; i++) {
        at = strchr(at, ' ');
        if (!at) {
            return -ESRCH;
        }
        fields[i] = strtoull(++at, NULL, 10); /* field 4 + i */
    }
    return 0;
}

/* The clock of another process's CPU time (include/linux/posix-timers_types.h): all of it or only
 * that in user mode, counted in ticks; or all of it, exactly. */
#define PROCESS_CLOCK(pid, kind) ((clockid_t)((~(unsigned)(pid) << 3) | (kind)))
#define CLOCK_KIND_PROF          0
#define CLOCK_KIND_VIRT          1
#define CLOCK_KIND_SCHED         2

static int64_t clock_ns(clockid_t clock) {
    struct timespec now;

    if (clock_gettime(clock, &now) < 0) {
        return 0; /* it has gone */
    }
    return now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Ticks go to whoever runs when one comes: beside the exact total only their proportion is of use,
 * and it changes, while neither part may ever shrink. */
static void cpu_times_update(struct cpu_times *times, int64_t total, int64_t user_ticks,
                             int64_t system_ticks) {
    int64_t ticks = user_ticks + system_ticks, user = total;

    if (total <= times->user + times->system) {
        return;
    }
    if (ticks > 0) {
        user = (int64_t)((double)total * (double)user_ticks / (double)ticks);
    }
    user = MIN(MAX(user, times->user), total - times->system);
    *times = (struct cpu_times){.user = user, .system = total - user};
}

int host_process_cpu_time(struct host_process *process, int64_t *user, int64_t *system) {
    int64_t total, user_ticks, all_ticks;

    *user = *system = 0;
    if (process->mock || process->pid == 0) {
        return 0;
    }
    user_ticks = clock_ns(PROCESS_CLOCK(process->pid, CLOCK_KIND_VIRT));
    all_ticks = clock_ns(PROCESS_CLOCK(process->pid, CLOCK_KIND_PROF));
    total = clock_ns(PROCESS_CLOCK(process->pid, CLOCK_KIND_SCHED));
    lock_acquire(&process->lock);
    cpu_times_update(&process->cpu_times, total, user_ticks, MAX(all_ticks - user_ticks, 0));
    *user = process->cpu_times.user;
    *system = process->cpu_times.system;
    lock_release(&process->lock);
    return 0;
}

int host_thread_cpu_time(struct host_thread *thread, int64_t *user, int64_t *system) {
    unsigned long long fields[12];
    int64_t tick_ns = 1000000000 / sysconf(_SC_CLK_TCK), total, user_ticks, system_ticks;
    char path[64], text[128];
    int result;

    *user = *system = 0;
    if (thread->mock || thread->tid == 0) {
        return 0;
    }
    snprintf(path, sizeof(path), "%d/task/%d/stat", thread->process->pid,
             atomic_load(&thread->tid));
    result = read_stat(path, fields, 12);
    if (result) {
        return result;
    }
    user_ticks = (int64_t)fields[14 - 4] * tick_ns;
    system_ticks = (int64_t)fields[15 - 4] * tick_ns;
    /* Those count whole ticks, by sampling; the sum is known exactly where the host keeps it
     * (CONFIG_SCHED_INFO). */
    snprintf(path, sizeof(path), "%d/task/%d/schedstat", thread->process->pid,
             atomic_load(&thread->tid));
    total = read_text(path, text, sizeof(text)) ? user_ticks + system_ticks
                                                : (int64_t)strtoull(text, NULL, 10);
    lock_acquire(&thread->process->lock);
    cpu_times_update(&thread->cpu_times, total, user_ticks, system_ticks);
    *user = thread->cpu_times.user;
    *system = thread->cpu_times.system;
    lock_release(&thread->process->lock);
    return 0;
}

/* "Pss_Anon:      96 kB" of proc_pid_smaps_rollup, "VmPTE:" of proc_pid_status; in bytes. */
static uint64_t size_field(const char *text, const char *field) {
    const char *found = strstr(text, field);

    return found ? strtoull(found + strlen(field), NULL, 10) * 1024 : 0;
}

int host_process_memory(struct host_process *process, uint64_t *resident, uint64_t *minor_faults,
                        uint64_t *major_faults) {
    unsigned long long fields[21];
    char path[64];
    int result;

    *resident = *minor_faults = *major_faults = 0;
    if (process->mock || process->pid == 0) {
        return 0;
    }
    snprintf(path, sizeof(path), "%d/stat", process->pid);
    result = read_stat(path, fields, 21);
    if (result == 0) {
        *minor_faults = fields[10 - 4];
        *major_faults = fields[12 - 4];
        *resident = fields[24 - 4] * PAGE_SIZE;
    }
    return result;
}

/* ---- what is held, for --memory; event thread ---- */

/* Given up for the moment of a look when guests have all other descriptors. */
static int spare_fd = -1;

static int read_held(const char *path, char *text, size_t size) {
    int result = read_text(path, text, size);

    if ((result == -EMFILE || result == -ENFILE) && spare_fd >= 0) {
        close(spare_fd);
        spare_fd = -1;
        result = read_text(path, text, size);
    }
    if (spare_fd < 0) {
        spare_fd = host_proc_open(".", O_PATH | O_DIRECTORY);
    }
    return result;
}

static int status_held(const char *path, struct memory_held *held) {
    char text[4096];
    int result = read_held(path, text, sizeof(text));

    if (result == 0) {
        held->private = size_field(text, "RssAnon:") + size_field(text, "VmSwap:");
        held->shared = size_field(text, "RssShmem:");
        held->tables = size_field(text, "VmPTE:");
    }
    return result;
}

int host_process_memory_held(struct host_process *process, struct memory_held *held) {
    char path[64];

    *held = (struct memory_held){0};
    if (process->mock || process->pid == 0) {
        return 0;
    }
    snprintf(path, sizeof(path), "%d/status", process->pid);
    return status_held(path, held);
}

int host_process_memory_share(struct host_process *process, struct memory_held *held) {
    char path[64], text[4096];
    int result = host_process_memory_held(process, held);

    if (result || process->mock || process->pid == 0) {
        return result;
    }
    snprintf(path, sizeof(path), "%d/smaps_rollup", process->pid);
    result = read_held(path, text, sizeof(text));
    if (result == 0) {
        held->private = size_field(text, "Pss_Anon:") + size_field(text, "SwapPss:");
        held->shared = size_field(text, "Pss_Shmem:");
    }
    return result;
}

int host_own_memory(uint64_t *bytes) {
    struct memory_held held = {0};
    int result = status_held("self/status", &held);

    *bytes = held.private + held.tables;
    return result;
}
